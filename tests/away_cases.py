"""What must run where the model is on a card, run on the device of away.py or on a real one: test_device.py starts these in a process
of their own."""

import json
import math
import os

import pytest
import torch
from PIL import Image
from test_backbones import (QUESTIONS, checkpoints, kind, shown,  # noqa: F401, fixtures among them
                            test_neither_a_shared_prompt_nor_checkpoints_nor_logits_in_parts_change_a_gradient,
                            test_what_is_sampled_is_scored_alike_with_a_shared_prompt_and_with_a_plain_forward)

from minirft import cli, evaluate, options, train
from minirft.answer import answer_sentences
from minirft.body import DATA
from minirft.critics import Critics
from minirft.data import POSE
from minirft.policy import PosePolicy

SFT = {"steps": 2, "batch_size": 8, "micro_batch": 4, "image_share": 0.5, "warmup": 1, "lesson_steps": 2, "validate_every": 2}
RFT = {"steps": 3, "prompts": 6, "group_size": 2, "poses_per_answer": 4, "micro_batch": 4, "image_share": 0.4, "warmup": 1,
       "inner_steps": 2}


CARD = os.environ.get("MINIRFT_DEVICE") == "cuda"


@pytest.fixture(autouse=True)
def device(monkeypatch):
    """`cuda`, or `away` with PyTorch's optimiser: bitsandbytes' pages live on real cards alone."""
    if CARD:
        yield "cuda"
        return
    from away import Away, Generator

    monkeypatch.setattr(torch, "Generator", Generator)
    monkeypatch.setattr(train, "make_optimizer", lambda groups, device, **settings: torch.optim.AdamW(groups, **settings))
    with Away():
        yield "away"


@pytest.fixture
def policy(kind, checkpoints, device):  # noqa: F811
    """For what is imported: in the numbers of the CPU, which tests compare closely."""
    return PosePolicy.from_backbone(checkpoints[kind], four_bit=False, side=64).eval().to(device)


def test_the_device_refuses_what_a_card_refuses(device):
    there, here = torch.arange(4.0, device=device), torch.arange(4)
    assert (there + 1)[here].cpu().tolist() == [1, 2, 3, 4] and (there * torch.tensor(2.0)).device.type == device
    for mixed in (lambda: there + here, lambda: here[there.long()], lambda: torch.stack([there, here.float()]),
                  lambda: torch.randn(2, device=device, generator=torch.Generator())):
        with pytest.raises(RuntimeError, match="same device|device type for generator"):
            mixed()


def test_sentences_and_pictures_are_answered_chosen_moved_and_judged(device, body, poses, album_of, tmp_path):
    policy, album = PosePolicy.from_pretrained("mini-rft", device=device), album_of(body, poses[:6])
    pose, said = answer_sentences(policy, ["kneel", "raise both arms"], body=body, out=tmp_path, seed=0, n=2, best_of=4, fit=True)
    here, same = answer_sentences(PosePolicy.from_pretrained("mini-rft"), ["kneel", "raise both arms"], body=body, out=tmp_path, seed=0,
                                  n=2, best_of=4, fit=True)
    assert pose.isfinite().all()
    if not CARD:  # whose random numbers are others
        assert said == same
        torch.testing.assert_close(pose, here, rtol=0, atol=1e-3)
    report = evaluate.evaluate_pictures(policy, album, body=body, progress=False)
    assert report["mpjpe_mm"]["mean"] < 300


def test_a_run_of_each_stage_gives_what_it_gives_on_the_cpu(device, body, poses, album_of, tmp_path, stop_at):
    album, metrics = album_of(body, poses[:6]), {}
    for place in (device, "cpu"):
        out = tmp_path / place
        train.sft(PosePolicy.mini().to(place), poses, train.SFTConfig(**SFT), body=body, out=out / "sft", album=album,
                  validation=poses[:8], validation_album=album, progress=False)
        critics = Critics.load(body, own={"high": lambda samples, answers, pose, joints: joints[..., 15, 1].nan_to_num()})
        weights = train.RFTConfig().reward_weights | {"high": 1.0, "verifiable": 1.0}
        config = train.RFTConfig(**RFT, reward_weights=weights)
        settings = {"critics": critics, "out": out / "rft", "album": album, "progress": False}
        with stop_at(1), pytest.raises(KeyboardInterrupt):
            train.rft(PosePolicy.from_pretrained("mini-sft", device=place), poses, config, **settings)
        aligned = train.rft(PosePolicy.from_pretrained("mini-sft", device=place), poses, config, resume=True, **settings)
        assert aligned.device.type == place and PosePolicy.from_pretrained(out / "rft").device.type == "cpu"
        metrics[place] = [json.loads(line) for stage in ("sft", "rft") for line in (out / stage / "metrics.jsonl").read_text().splitlines()]
    for i, (there, here) in enumerate(zip(*metrics.values(), strict=True)):
        if CARD and i >= SFT["steps"]:  # its random numbers are others
            assert there.keys() == here.keys() and all(math.isfinite(value) for value in there.values())
        else:
            assert there == pytest.approx(here, rel=0.05, abs=0.01)


def test_each_family_is_taught_and_aligned_there(device, kind, checkpoints, body, poses, album_of, tmp_path):  # noqa: F811
    album = album_of(body, poses[:6])
    policy = PosePolicy.from_backbone(checkpoints[kind], four_bit=CARD, side=64, device=device).checkpoint_gradients()
    config = train.SFTConfig(steps=1, batch_size=6, micro_batch=3, image_share=0.7, album_share=1.0, see="both", talk_share=0.0, warmup=1)
    train.sft(policy, poses, config, body=body, out=tmp_path / "sft", album=album, progress=False)
    taught = PosePolicy.from_pretrained(tmp_path / "sft", device=device).checkpoint_gradients()
    config = train.RFTConfig(**RFT | {"steps": 1, "album_share": 1.0})
    train.rft(taught, poses, config, critics=Critics.load(body), out=tmp_path / "rft", album=album, progress=False)
    tokens = taught.encode(QUESTIONS, [f"Here is the pose: {POSE}"] * 3, shown())
    again = PosePolicy.from_pretrained(tmp_path / "rft", device=device)
    with torch.no_grad():
        assert taught.score(tokens).mean.device.type == device
        torch.testing.assert_close(again.score(tokens).mean, taught.score(tokens).mean, rtol=1e-3, atol=1e-3)


def test_every_command_with_a_device_runs_there(device, tmp_path, monkeypatch, stub_blazepose, capsys):
    monkeypatch.setitem(options.DEVICE[2], "type", str)
    monkeypatch.setattr("minirft.cli.EXAM", 4)
    file, run = str(DATA / "rare.npz"), str(tmp_path / "run")
    Image.new("RGB", (64, 64), "white").save(tmp_path / "photo.png")
    commands = [["sft", "--base", "mini-sft", "--poses", file, "--validation", file, "--steps", "1", "--out", str(tmp_path / "sft")],
                ["rft", "--model", "mini-sft", "--poses", file, "--validation", file, "--steps", "1", "--questions", "4", "--out", run],
                ["generate", "kneel", "-n", "2", "--best-of", "4", "--refine", "--model", run, "--out", str(tmp_path / "kneel")],
                ["generate", "--image", str(tmp_path / "photo.png"), "--refine", "--model", run, "--out", str(tmp_path / "photo")],
                ["evaluate", "--model", run, "--poses", file, "--limit", "10"],
                ["evaluate", "--model", run, "--poses", file, "--limit", "4", "--task", "image"]]
    for command in commands:
        assert cli.main([*command, "--device", device]) == 0, (command, capsys.readouterr().err)
