"""Reward model and judge: what they share and don't, what they learn, and a recall that can't flatter."""

import importlib.util
import json
import random

import numpy as np
import pytest
import torch
from transformers import BertConfig, BertModel, BertTokenizer

from minirft import captions
from minirft.body import DATA, load_body, to_axis_angle
from minirft.critics import Critics
from minirft.data import load_poses
from minirft.errors import InputError
from minirft.prior import PosePrior
from minirft.retrieval import CHOOSING, KINDS, REWARDING, Panel, Retriever, SentenceEncoder, recall

spec = importlib.util.spec_from_file_location("build_retrieval", DATA / "build" / "retrieval.py")
build = importlib.util.module_from_spec(spec)
spec.loader.exec_module(build)


@pytest.fixture(scope="module")
def world():
    body, poses = load_body(), load_poses(DATA / "rare.npz").pose[::50]
    joints = body.joints(poses)
    rng = random.Random(0)
    return poses, joints, [captions.describe(row, rng, count=4).text for row in captions.holds(joints)]


@pytest.mark.parametrize("kind", KINDS)
def test_embeddings_are_unit_vectors_whatever_the_padding_and_the_case(kind, world):
    poses, joints, texts = world
    retriever = Retriever(kind, seed=0).eval()
    together, alone = retriever.embed_text(texts[:5]), retriever.embed_text([texts[0].upper()])
    torch.testing.assert_close(together[:1], alone, rtol=1e-4, atol=1e-5)
    torch.testing.assert_close(together.norm(dim=-1), torch.ones(5))
    torch.testing.assert_close(retriever.embed_pose(poses, joints).norm(dim=-1), torch.ones(len(poses)))


def test_judge_and_third_opinion_look_at_joints_alone_the_reward_model_at_rotations_too(world):
    poses, joints, _ = world
    reward_model = Retriever("reward_model")
    for retriever in (Retriever("judge"), Retriever("third_opinion")):
        assert torch.equal(retriever.embed_pose(poses, joints), retriever.embed_pose(poses.flip(0), joints))
        assert not torch.equal(retriever.embed_pose(poses, joints), retriever.embed_pose(poses, joints.flip(0)))
    for other in ((poses.flip(0), joints), (poses, joints.flip(0))):
        assert not torch.equal(reward_model.embed_pose(poses, joints), reward_model.embed_pose(*other))


def test_a_panel_thinks_of_a_pose_what_its_members_think_on_average(world):
    poses, joints, texts = world
    panel = Panel.load()
    text, pose = panel.embed_text(texts[:5]), panel.embed_pose(poses[:5], joints[:5])
    torch.testing.assert_close(text.norm(dim=-1), torch.ones(5))
    members = [Retriever.load(kind) for kind in CHOOSING]
    thought = [(m.embed_text(texts[:5]) * m.embed_pose(poses[:5], joints[:5])).sum(-1) for m in members]
    torch.testing.assert_close((text * pose).sum(-1), sum(thought) / len(thought))
    for i, one in enumerate(thought):  # no two are one network
        assert all((one - other).abs().max() > 0.01 for other in thought[i + 1 :])


def test_neither_a_reward_nor_a_choice_asks_the_judge():
    panels = Critics.load(load_body(), rewarding=REWARDING[:1]).reward_model, Critics.load(load_body()).reward_model, Panel.load()
    asked = [[member.kind for member in panel] for panel in panels]
    assert asked == [["reward_model"], list(REWARDING), list(CHOOSING)] and "judge" not in CHOOSING


@pytest.mark.parametrize("kind", KINDS)
def test_what_ships_finds_poses_of_sentences_it_has_not_met(kind):
    """Fresh sentences of poses from the prior, in a pool of 200, where chance finds 10 % among twenty."""
    body, poses = load_body(), PosePrior.load().sample(200, generator=torch.Generator().manual_seed(5))
    joints, rng, retriever = body.joints(poses), random.Random(5), Retriever.load(kind)
    texts = [captions.describe(row, rng, count=4).text for row in captions.holds(joints)]
    found = recall(retriever.embed_text(texts), retriever.embed_pose(poses, joints))
    assert found["t2p"]["20"] > 50 and found["p2t"]["20"] > 50


def test_reward_model_and_judge_share_no_trial(tmp_path):
    clips = [f"trial{i // 3}" for i in range(30)]
    angles = np.arange(30)[:, None] * np.full((30, 72), 1e-3)
    np.savez(tmp_path / "train.npz", pose=angles.astype(np.float32), clip=np.array(clips))
    halves = [to_axis_angle(half)[:, 4] * 1e3 for half in build.halves(tmp_path / "train.npz")]
    own = [{clips[round(float(angle))] for angle in half[:15]} for half in halves]
    assert own[0] and own[1] and not own[0] & own[1] and own[0] | own[1] == set(clips)


@pytest.mark.parametrize("kind", KINDS)
def test_a_few_pairs_are_learnt_and_survive_saving(kind, world, tmp_path):
    poses, joints, texts = (part[:24] for part in world)
    retriever = Retriever(kind, seed=0)
    optimizer = torch.optim.AdamW(retriever.parameters(), lr=1e-3)
    for _ in range(60):
        loss = build.contrastive_loss(retriever.embed_text(texts), retriever.embed_pose(poses, joints), retriever.model.log_scale)
        optimizer.zero_grad(), loss.backward(), optimizer.step()
    retriever.save(tmp_path / "model.safetensors")
    back = Retriever.load(kind, tmp_path / "model.safetensors")
    found = recall(back.embed_text(texts), back.embed_pose(poses, joints), ks=(1,))
    assert found["t2p"]["1"] > 80 and found["pool"] == 24


def test_near_misses_count_against_a_sentence():
    text, far = torch.eye(4), -torch.eye(4)[:, None]
    plain = build.contrastive_loss(text, text, torch.tensor(1.0))
    assert build.contrastive_loss(text, text, torch.tensor(1.0), near=far) < build.contrastive_loss(
        text, text, torch.tensor(1.0), near=text[:, None])
    assert plain < build.contrastive_loss(text, text, torch.tensor(1.0), near=text[:, None])


def test_noise_does_not_tell_a_draw_from_its_near_misses(world):
    """All shake alike: what a draw is told from lies as far from the captured pose as the draw itself, or moved on purpose."""
    poses = world[0][:1]
    generator = torch.Generator().manual_seed(0)
    drawn, near = build.as_drawn(poses, 64, generator)
    assert near.shape == (64, 16, 24, 3, 3)
    gap = (near[:, :12] - drawn[:, None]).flatten(2).norm(dim=-1)  # twelve more draws around the same pose
    assert gap.min() > 0 and gap.std(1).mean() < 0.3 * gap.mean()
    same = (near[:, 12] == drawn).flatten(2).all(-1)  # one limb is another draw's, the rest is its own
    assert 0 < (~same).sum(1).max() <= 3 and torch.equal(near[:, 15], build.flip_pose(drawn))


def test_the_reward_model_tells_the_draws_of_one_sentence_apart():
    """Of poses shaken alike around one, those that keep more of the sentence are liked better: what a reward is for."""
    poses = PosePrior.load().sample(60, generator=torch.Generator().manual_seed(3))
    assert build.told_apart(Retriever.load("reward_model"), poses, load_body()) > 0.35
    assert abs(build.told_apart(Retriever("reward_model"), poses, load_body())) < 0.2  # untaught


def test_a_missing_pose_finds_nothing_and_is_found_by_nothing():
    missing = torch.tensor([False, True, False])
    found = recall(torch.eye(3), torch.eye(3), ks=(1, 3), missing=missing)
    assert found["t2p"]["1"] == found["p2t"]["1"] == pytest.approx(200 / 3)
    everywhere = recall(torch.eye(3), torch.full((3, 3), 9.0), ks=(1,), missing=torch.ones(3, dtype=torch.bool))
    assert everywhere["t2p"]["1"] == everywhere["p2t"]["1"] == 0.0


def test_a_sentence_encoder_from_a_folder_gives_unit_vectors_that_no_padding_changes(tmp_path):
    words = ["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]", "arms", "up", "down", "both"]
    (tmp_path / "vocab.txt").write_text("\n".join(words))
    BertTokenizer(str(tmp_path / "vocab.txt")).save_pretrained(tmp_path)
    torch.manual_seed(0)
    size = {"hidden_size": 16, "num_hidden_layers": 1, "num_attention_heads": 2, "intermediate_size": 16}
    BertModel(BertConfig(vocab_size=len(words), **size)).save_pretrained(tmp_path)
    (tmp_path / "1_Pooling").mkdir()
    vectors = []
    for first in (True, False):
        (tmp_path / "1_Pooling" / "config.json").write_text(json.dumps({"pooling_mode_cls_token": first}))
        encoder = SentenceEncoder(str(tmp_path))
        together, alone = encoder.embed_text(["arms up", "both arms down"]), encoder.embed_text(["arms up"])
        torch.testing.assert_close(together[:1], alone)
        torch.testing.assert_close(together.norm(dim=-1), torch.ones(2))
        vectors.append(alone)
    assert (vectors[0] - vectors[1]).abs().max() > 1e-3  # the folder says how to pool


def test_recall_counts_by_hand():
    text = torch.eye(4)
    pose = torch.eye(4)[[0, 1, 3, 2]]  # the last two sentences find each other's pose
    assert recall(text, pose, ks=(1, 2))["t2p"] == {"1": 50.0, "2": 50.0}  # and tie with the rest, so second is not theirs
    assert recall(text, text, ks=(1,))["p2t"] == {"1": 100.0}


def test_a_model_that_says_the_same_of_everything_finds_nothing():
    same = torch.ones(50, 8)
    assert recall(same, same, ks=(5, 10, 20))["t2p"] == {"5": 0.0, "10": 0.0, "20": 0.0}


def test_a_file_of_the_other_kind_is_one_clear_line(tmp_path):
    Retriever("judge").save(tmp_path / "judge.safetensors")
    with pytest.raises(InputError, match="no reward_model"):
        Retriever.load("reward_model", tmp_path / "judge.safetensors")
