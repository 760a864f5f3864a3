"""Reward model and judge: what they share and don't, what they learn, and a recall that can't flatter."""

import random

import pytest
import torch

from minirft import captions
from minirft.body import DATA, InputError, load_body
from minirft.data import load_poses
from minirft.retrieval import KINDS, Retriever, contrastive_loss, recall


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


def test_the_judge_looks_at_joints_the_reward_model_at_rotations(world):
    poses, joints, _ = world
    judge, reward_model = Retriever("judge"), Retriever("reward_model")
    assert torch.equal(judge.embed_pose(poses, joints), judge.embed_pose(poses.flip(0), joints))
    assert torch.equal(reward_model.embed_pose(poses, joints), reward_model.embed_pose(poses, joints.flip(0)))


@pytest.mark.parametrize("kind", KINDS)
def test_a_few_pairs_are_learnt_and_survive_saving(kind, world, tmp_path):
    poses, joints, texts = (part[:24] for part in world)
    retriever = Retriever(kind, seed=0)
    optimizer = torch.optim.AdamW(retriever.parameters(), lr=3e-3)
    for _ in range(40):
        loss = contrastive_loss(retriever.embed_text(texts), retriever.embed_pose(poses, joints), retriever.model.log_scale)
        optimizer.zero_grad(), loss.backward(), optimizer.step()
    retriever.save(tmp_path / "model.safetensors")
    back = Retriever.load(kind, tmp_path / "model.safetensors")
    found = recall(back.embed_text(texts), back.embed_pose(poses, joints), ks=(1,))
    assert found["t2p"]["1"] > 80 and found["pool"] == 24


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
