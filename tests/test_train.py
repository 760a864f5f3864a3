"""Supervised training: repeatable, resumable to the bit, indifferent to how a batch is cut, and it learns."""

import json
from dataclasses import replace

import numpy as np
import pytest
import torch
from safetensors.torch import load_file, save_file

from minirft import captions, runs, train
from minirft.body import from_6d
from minirft.data import POSE, Sample
from minirft.errors import InputError
from minirft.lesson import Specialist, pose_losses
from minirft.policy import PosePolicy
from minirft.snapshots import simulate_landmarks
from minirft.train import SFTConfig
from minirft.vision import Projector

TINY = {"batch_size": 6, "micro_batch": 3, "warmup": 2, "validate_every": 2, "save_every": 2}


def run(poses, body, out, *, steps=4, resume=False, **settings):
    """A run of the mini policy."""
    return train.sft(PosePolicy.mini(seed=1), poses, SFTConfig(steps=steps, **TINY | settings), body=body, out=out,
                     validation=poses[:8], resume=resume, progress=False)


def lines(out):
    return [json.loads(line) for line in (out / "metrics.jsonl").read_text().splitlines()]


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_a_run_stopped_and_resumed_ends_in_the_same_weights(poses, body, tmp_path, stop_at, share):
    whole = run(poses, body, tmp_path / "whole", image_share=share)
    with stop_at(2), pytest.raises(KeyboardInterrupt):
        run(poses, body, tmp_path / "cut", image_share=share)
    resumed = run(poses, body, tmp_path / "cut", resume=True, image_share=share)
    for (name, one), two in zip(whole.state_dict().items(), resumed.state_dict().values()):
        assert torch.equal(one, two), name
    assert lines(tmp_path / "whole") == lines(tmp_path / "cut")


def test_a_run_killed_between_checkpoints_resumes_from_the_last_one(poses, body, tmp_path, monkeypatch):
    run(poses, body, tmp_path / "whole")

    def killed(*arguments):
        raise SystemExit  # no chance to save, as after `kill -9`

    real = train.fresh_samples
    monkeypatch.setattr(train, "fresh_samples", lambda *a: killed() if a[5] == 3 else real(*a))
    with pytest.raises(SystemExit):
        run(poses, body, tmp_path / "cut")
    monkeypatch.undo()
    run(poses, body, tmp_path / "cut", resume=True)
    assert lines(tmp_path / "whole") == lines(tmp_path / "cut")


def test_a_run_killed_before_its_first_checkpoint_begins_again(poses, body, tmp_path, monkeypatch):
    run(poses, body, tmp_path / "whole", steps=2)
    real = train.fresh_samples
    for step in (0, 1):  # before its first line, and after
        monkeypatch.setattr(train, "fresh_samples", lambda *a: (1 / 0 if a[5] == step else real(*a)))
        with pytest.raises(ZeroDivisionError):
            run(poses, body, tmp_path / "cut", steps=2)
        with pytest.raises(InputError, match="leave --resume away to begin"):
            run(poses, body, tmp_path / "cut", steps=2, resume=True)
    monkeypatch.undo()
    run(poses, body, tmp_path / "cut", steps=2)
    assert lines(tmp_path / "whole") == lines(tmp_path / "cut")


@pytest.mark.parametrize(("name", "content", "says"), [
    ("policy.json", "{}", "holds a model"), ("config.json", '{"model_type": "llava"}', "holds a model"),
    ("config.json", "", "holds a model"),
    ("last/policy.json", "{}", "holds a run already"), (".old/policy.json", "{}", "holds a run already")])
def test_a_run_does_not_begin_where_it_would_overwrite_a_model(tmp_path, name, content, says):
    (tmp_path / name).parent.mkdir(exist_ok=True)
    (tmp_path / name).write_text(content)
    with pytest.raises(InputError, match=f"{says}.*another --out"):
        runs.begin_run(SFTConfig(), tmp_path, torch.zeros(1))
    assert [path.read_text() for path in tmp_path.rglob("*.*") if path.is_file()] == [content]


def test_a_run_does_not_go_on_with_other_poses(poses, body, tmp_path):
    run(poses, body, tmp_path, steps=2)
    with pytest.raises(InputError, match=r"goes on as it began, but poses \d+, mean .* -> \d+, mean"):
        run(poses[1:], body, tmp_path, steps=2, resume=True)


def test_who_looks_at_pixels_too_learns_from_photographs(poses, body, tmp_path):
    with pytest.raises(InputError, match="from photographs; give it some by --album"):
        run(poses, body, tmp_path, steps=1, see="both", image_share=0.5)


def test_what_a_full_disk_leaves_of_a_last_line_is_dropped_on_resuming(poses, body, tmp_path):
    run(poses, body, tmp_path, steps=2)
    whole = (tmp_path / "metrics.jsonl").read_text()
    (tmp_path / "metrics.jsonl").write_text(whole + '{"step": 2, "tex')
    run(poses, body, tmp_path, steps=2, resume=True)
    assert (tmp_path / "metrics.jsonl").read_text() == whole


def test_a_run_of_all_weights_stands_on_nothing_and_a_damaged_one_is_told_in_one_line(poses, body, tmp_path):
    whole = run(poses, body, tmp_path, steps=2).state_dict()
    config = SFTConfig(steps=2, **TINY)
    for other in (PosePolicy.from_pretrained("mini-sft"), PosePolicy.mini()):
        resumed = train.sft(other, poses, config, body=body, out=tmp_path, resume=True, progress=False)
        assert all(torch.equal(value, whole[name]) for name, value in resumed.state_dict().items())
    moments = tmp_path / "last" / "optimizer.safetensors"
    save_file(load_file(moments), moments)
    with pytest.raises(InputError, match="does not say at which step"):
        run(poses, body, tmp_path, steps=2, resume=True)
    for name in ("last/policy.json", "config.json"):
        (tmp_path / name).write_text("[]")
        with pytest.raises(InputError, match=f"{name}: holds a list where an object belongs"):
            run(poses, body, tmp_path, steps=2, resume=True)


def test_micro_batches_change_no_gradient(poses, body):
    weights = captions.weights_among(poses, body)
    gradients = []
    for size in (2, 5, 12):
        policy, config = PosePolicy.mini(seed=0), SFTConfig(batch_size=12, talk_share=0.3)
        for part, share in train.micro_batches(train.fresh_samples(poses, body, weights, 12, config, 0), size):
            losses = train.sft_losses(policy, part, body)
            sum(share[k] * v for k, v in losses.items()).backward()
        gradients.append(torch.cat([p.grad.flatten() for p in policy.parameters() if p.grad is not None]))
    for other in gradients[1:]:
        assert (gradients[0] - other).norm() < 1e-4 * gradients[0].norm()


def test_a_few_poses_are_learnt_by_heart(poses, body, tmp_path):
    run(poses[:4], body, tmp_path / "run", steps=60, warmup=5, batch_size=8, micro_batch=8, talk_share=0.0, lr=3e-3)
    history = lines(tmp_path / "run")
    assert history[-1]["joint"] < 0.6 * history[0]["joint"]
    assert history[-1]["text"] < 0.3 * history[0]["text"]


def test_the_std_loss_moves_no_mean(poses, body):
    policy = PosePolicy.mini(seed=0)
    weights = captions.weights_among(poses, body)
    losses = train.sft_losses(policy, train.fresh_samples(poses, body, weights, 4, SFTConfig(talk_share=0.0), 0), body)
    losses["std"].backward()
    last = policy.head.layers[-1]
    assert last.weight.grad[:132].abs().max() == 0 and last.weight.grad[132:].abs().max() > 0


def test_a_teacher_is_imitated_in_sentences_and_the_truth_in_std_and_pictures(poses, body):
    policy, teacher = PosePolicy.mini(seed=0), PosePolicy.from_pretrained("mini-sft")
    weights = captions.weights_among(poses, body)

    def losses(policy, samples, **teaching):
        return {k: v.item() for k, v in train.sft_losses(policy.eval(), samples, body, **teaching).items()}

    told = train.fresh_samples(poses, body, weights, 8, SFTConfig(talk_share=0.2), 0)
    itself = losses(teacher, told, teacher=teacher)
    assert itself["rotation"] < 1e-6 and itself["joint"] < 1e-5  # the rest is as without
    assert {k: itself[k] for k in ("text", "std")} == pytest.approx({k: losses(teacher, told)[k] for k in ("text", "std")})
    taught, alone = losses(policy, told, teacher=teacher), losses(policy, told)
    assert taught["rotation"] != alone["rotation"] and taught["std"] == alone["std"]
    shown = train.fresh_samples(poses, body, weights, 4, SFTConfig(talk_share=0.0, image_share=1.0), 0)
    assert losses(policy, shown, teacher=teacher) == losses(policy, shown)


def test_a_teacher_that_is_not_there_leaves_no_run_behind(poses, body, tmp_path):
    with pytest.raises(InputError, match="mini-stf: neither a checkpoint folder"):
        run(poses, body, tmp_path / "run", teacher="mini-stf")
    assert not (tmp_path / "run").exists()


def test_batches_are_a_function_of_seed_and_step(poses, body):
    weights = captions.weights_among(poses, body)
    first, again, next_step, other = (
        [s.question for s in train.fresh_samples(poses, body, weights, 8, SFTConfig(seed=seed), step)]
        for seed, step in ((0, 0), (0, 0), (0, 1), (1, 0)))
    assert first == again and first != next_step and first != other


def test_a_run_is_not_overwritten_and_resumes_only_with_its_own_config(poses, body, tmp_path):
    run(poses, body, tmp_path / "run", steps=2)
    with pytest.raises(InputError, match="holds a run already"):
        run(poses, body, tmp_path / "run", steps=2)
    with pytest.raises(InputError, match="steps 2 -> 3"):
        run(poses, body, tmp_path / "run", steps=3, resume=True)
    with pytest.raises(InputError, match="no checkpoint to resume"):
        run(poses, body, tmp_path / "nothing", resume=True)


@pytest.mark.parametrize("text, name, value", [("lr=1", "lr", 1.0), ("widths=0.3", "widths", (0.3,)), ("widths=1,0.25", "widths", (1.0, 0.25)),
                                               ("align_std=False", "align_std", False), ("algorithm=grpo", "algorithm", "grpo")])
def test_a_number_is_read_as_what_it_is_by_default(text, name, value):
    before = train.RFTConfig()
    after = runs.with_settings(before, [text])
    assert getattr(after, name) == value and type(getattr(after, name)) is type(getattr(before, name))
    assert replace(after, **{name: getattr(before, name)}) == before


@pytest.mark.parametrize("text", ["lr", "lr=", "lr=fast", "lr=True", "lr=" + "(" * 5000, "lr=" + "9" * 5000, "steps=1.5", "steps=True", "align_std=1",
                                  "widths=a", "widths=1,(2,)", "reward_weights={}", "speed=1", "=1"])
def test_what_is_no_such_number_is_one_short_line(text):
    with pytest.raises(InputError, match=f"^--set {text[:3]}.*; give ") as told:
        runs.with_settings(train.RFTConfig(), [text])
    assert len(str(told.value)) < 700


def test_a_gradient_that_is_not_finite_stops_with_the_last_good_state(poses, body, tmp_path, monkeypatch):
    real = train.sft_losses

    def poisoned(*arguments, **settings):
        policy, losses = arguments[0], real(*arguments, **settings)
        if policy.training and (tmp_path / "run" / "last").exists():
            losses["joint"] = losses["joint"] * torch.nan
        return losses

    monkeypatch.setattr(train, "sft_losses", poisoned)
    with pytest.raises(InputError, match="step 2: the gradient is not finite"):
        run(poses, body, tmp_path / "run")
    policy = PosePolicy.from_pretrained(tmp_path / "run")
    assert all(p.isfinite().all() for p in policy.parameters())


def test_pictures_and_sentences_are_learnt_together(poses, body, tmp_path):
    """Half the questions show a person; what is asked of them is the pose as a camera sees it."""
    config = SFTConfig(steps=2, batch_size=12, micro_batch=6, image_share=0.5, validate_every=2, save_every=2)
    weights = captions.weights_among(poses, body)
    samples = train.fresh_samples(poses, body, weights, 200, config, 0)
    shown = [s for s in samples if s.task == "image"]
    assert 70 < len(shown) < 130 and all(s.picture.features.shape == (33, 6) and not s.statements for s in shown)
    assert all(s.picture is None for s in samples if s.caption)
    again = train.fresh_samples(poses, body, weights, 200, config, 0)
    assert all(torch.equal(a.picture.features, b.picture.features) for a, b in zip(shown, (s for s in again if s.task == "image")))
    train.sft(PosePolicy.mini(), poses, config, body=body, out=tmp_path / "run", progress=False)
    lines = [json.loads(line) for line in (tmp_path / "run" / "metrics.jsonl").read_text().splitlines()]
    assert len(lines) == 2 and all(np.isfinite(line["joint"]) for line in lines)


def seen_in(samples):
    return [s for s in samples if s.task == "image"]


@pytest.fixture(scope="module")
def album(poses, body, album_of):
    return album_of(body, poses[:20])


@pytest.fixture(scope="module")
def draw(poses, body, album):
    """draw(...): the samples of a step of 120, half of the questions about a picture."""
    weights = captions.weights_among(poses, body)

    def samples(*, step=0, album=album, see="features", **settings):
        config = SFTConfig(**{"image_share": 0.5, "see": see} | settings)
        return train.fresh_samples(poses, body, weights, 120, config, step, album, see)

    return samples


def row_of(sample, album):
    """Which picture of the album a sample shows, None for a simulated one. Where cameras lean, places in the crop stay."""
    pose, features = sample.pose, sample.picture.features
    if features is None:
        same = album.pose.flatten(1).eq(pose.flatten()).all(1).nonzero()
    else:
        same = album.tokens[..., 3:].flatten(1).eq(features[:, 3:].flatten()).all(1).nonzero()
    return int(same[0, 0]) if len(same) else None


@pytest.mark.parametrize(("share", "low", "high"), [(0.0, 0, 0), (0.5, 0.3, 0.7), (1.0, 1, 1)])
def test_of_the_people_seen_the_stated_share_is_from_the_album(draw, album, share, low, high):
    shown = seen_in(draw(album_share=share))
    rows = [row_of(sample, album) for sample in shown]
    assert 40 < len(shown) < 80 and low <= sum(row is not None for row in rows) / len(rows) <= high
    assert len({row for row in rows if row is not None}) in ([0] if share == 0 else range(8, 21))
    for sample, row in zip(shown, rows):
        assert sample.picture.pixels is None and sample.picture.features.shape == (33, 6)
        assert row is None or torch.equal(sample.pose[1:], album.pose[row, 1:])


def test_without_an_album_all_people_are_simulated_and_with_one_sentences_stay_as_they_are(draw, album):
    alone, beside = draw(album=None), draw()
    assert len(seen_in(alone)) == len(seen_in(beside)) and not any(row_of(s, album) is not None for s in seen_in(alone))
    assert [s.question for s in alone if s.task == "text"] == [s.question for s in beside if s.task == "text"]


def test_who_looks_at_pixels_gets_photographs_alone_and_who_looks_at_both_gets_both(draw, album):
    for sample in seen_in(draw(see="pixels", album_share=0.2)):
        row = row_of(sample, album)
        assert np.array_equal(sample.picture.pixels, np.asarray(album.image(row))) and sample.picture.features is None
    both = seen_in(draw(see="both"))
    assert {row_of(sample, album) is None for sample in both} == {True, False}
    for sample in both:  # of a simulated person there is no photograph
        assert (sample.picture.pixels is None) == (row_of(sample, album) is None) and sample.picture.features is not None


def test_pictures_are_a_function_of_seed_and_step_too(draw, album):
    def what(**settings):
        return [(s.question, s.answer, row_of(s, album), s.picture.features.sum().item()) for s in seen_in(draw(**settings))]

    first, again, next_step, other = what(), what(), what(step=1), what(seed=1)
    assert first == again and first != next_step and first != other


@pytest.mark.parametrize("see", ["features", "pixels", "both"])
def test_a_run_with_an_album_teaches_what_it_looks_at_and_examines_it(poses, body, album, tmp_path, see):
    config = SFTConfig(steps=2, **TINY | {"batch_size": 8}, image_share=0.9, album_share=1.0, see=see)
    policy = PosePolicy.mini()
    eyes = {"pixels": policy.model.model.vision_tower, "features": policy.projector}
    before = {name: [p.clone() for p in part.parameters()] for name, part in eyes.items()}
    train.sft(policy, poses, config, body=body, out=tmp_path / "run", album=album, validation=poses[:8], validation_album=album,
              progress=False)
    learnt = {name for name, part in eyes.items()
              if any(not torch.equal(p, q) for p, q in zip(part.parameters(), before[name]))}
    assert learnt == {"pixels", "features"} - {{"features": "pixels", "pixels": "features"}.get(see)}
    assert policy.sees == PosePolicy.from_pretrained(tmp_path / "run").sees == see
    last = lines(tmp_path / "run")[-1]
    assert {"val_image_text", "val_image_rotation", "val_image_std", "val_image_mpjpe_mm", "val_mpjpe_mm"} <= set(last)
    assert all(np.isfinite(value) for value in last.values())


def test_without_pictures_what_a_policy_sees_stays_as_it_was(poses, body, tmp_path):
    policy = PosePolicy.mini()
    policy.sees = "both"
    config = SFTConfig(steps=1, **TINY)
    assert train.sft(policy, poses, config, body=body, out=tmp_path / "run", progress=False).sees == "both"
    assert train.sft(PosePolicy.mini(), poses, config, body=body, out=tmp_path / "other", progress=False).sees is None


def test_the_lesson_teaches_the_projector_to_tell_poses_from_landmarks(poses, body):
    projector, config = Projector(8), SFTConfig(lesson_steps=60, steps=100)
    before = [parameter.clone() for parameter in projector.parameters()]
    say = train.teach_to_read(Specialist(projector), poses, config, body=body, progress=False)
    truth, seen = simulate_landmarks(body, poses[:40], np.random.default_rng(1))
    with torch.no_grad():
        told, shuffled = (pose_losses(*say(tokens), truth, body) for tokens in (seen, seen.roll(7, 0)))
    assert told["joint"] < 0.7 * shuffled["joint"] and told["rotation"] < shuffled["rotation"]
    speaker = [projector.speaker.weight, projector.speaker.bias]  # what only the language model can teach
    assert all(torch.equal(a, b) == any(b is part for part in speaker) for a, b in zip(before, projector.parameters()))
    fresh = Specialist(Projector(8))
    again = train.teach_to_read(Specialist(Projector(8)), poses, SFTConfig(lesson_steps=3, steps=1), body=body, progress=False)
    assert not torch.equal(again.head.layers[1].weight, fresh.head.layers[1].weight)  # twice `steps` at most, and it does run


def test_of_pictures_the_mean_is_taught_by_the_specialist_and_the_std_by_the_truth(draw, body):
    policy, specialist = PosePolicy.mini(seed=0), Specialist(Projector(8), seed=3)
    samples = draw()
    with torch.no_grad():
        alone, taught = (train.sft_losses(policy, samples, body, specialist=given) for given in (None, specialist))
    assert alone["std"] == taught["std"] and alone["text"] == taught["text"]
    said = specialist(torch.stack([s.picture.features for s in samples if s.picture]))[0]
    for s, mean in zip([s for s in samples if s.picture], said):
        s.pose[:22] = from_6d(mean.detach().unflatten(0, (22, 6)))
    with torch.no_grad():
        same = train.sft_losses(policy, samples, body)
    assert alone["joint"] != taught["joint"] and taught["joint"].item() == pytest.approx(same["joint"].item(), rel=1e-4)


def test_a_lesson_is_given_once(poses, body, tmp_path, monkeypatch):
    given = []
    monkeypatch.setattr(train, "teach_to_read", lambda *a, **k: given.append(a))
    config = SFTConfig(steps=1, batch_size=4, micro_batch=4, image_share=0.5)
    policy = train.sft(PosePolicy.mini(), poses, config, body=body, out=tmp_path / "first", progress=False)
    train.sft(policy, poses, config, body=body, out=tmp_path / "second", progress=False)  # it has learnt to see
    train.sft(PosePolicy.mini(), poses, SFTConfig(steps=1, batch_size=4), body=body, out=tmp_path / "words", progress=False)
    assert len(given) == 1


def test_a_policy_with_an_adapter_keeps_the_eyes_that_it_learns_with(poses, body, tmp_path):
    config = SFTConfig(steps=2, **TINY | {"batch_size": 8}, image_share=0.9)
    taught = PosePolicy.from_pretrained("mini-rft")
    before = [p.clone() for p in taught.projector.parameters()]
    train.sft(taught, poses, config, body=body, out=tmp_path / "run", progress=False)
    learnt, again = list(taught.projector.parameters()), list(PosePolicy.from_pretrained(tmp_path / "run").projector.parameters())
    assert not all(map(torch.equal, learnt, before)) and all(map(torch.equal, learnt, again))


def test_sentences_of_which_nobody_knows_what_they_state_teach_the_probe_nothing(poses, body):
    policy, samples = PosePolicy.mini(), [Sample("Kneel down.", f"It is {POSE}.", pose, caption="Kneel down.") for pose in poses[:3]]
    probe = torch.nn.Linear(policy.head.layers[1].in_features, len(captions.STATEMENTS))
    assert train.sft_losses(policy, samples, body, probe=probe)["probe"].item() == 0
