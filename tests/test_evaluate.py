"""The metrics: zero for the truth, blind to what they should be blind to, and unkind to missing poses."""

import numpy as np
import pytest
import roma
import torch

from minirft import evaluate
from minirft.body import DATA, load_body
from minirft.data import PoseSet, load_poses
from minirft.policy import PosePolicy
from minirft.prior import PosePrior


@pytest.fixture(scope="module")
def body():
    return load_body()


@pytest.fixture(scope="module")
def poses():
    return load_poses(DATA / "rare.npz").pose[::40][:24]


class Oracle:
    """A policy that knows which poses are asked for and answers with what `make` makes of them."""

    name = "oracle"

    def __init__(self, asked, make):
        self.asked, self.make, self.at = asked, make, 0

    def generate(self, questions, *, n, seed):
        part = self.make(torch.stack(self.asked))[self.at : self.at + len(questions)]
        self.at += len(questions)
        return part[:, None].repeat(1, n, 1, 1, 1), [["It is <POSE>."] * n for _ in questions], torch.zeros(len(part), n)


@pytest.fixture
def report(poses, body, monkeypatch):
    """report(make): what evaluate says of a policy that answers pose p with make(p)."""
    asked, real = [], evaluate.text_sample

    def recorded(*arguments, **settings):
        sample = real(*arguments, **settings)
        asked.append(sample.pose)
        return sample

    monkeypatch.setattr(evaluate, "text_sample", recorded)
    count = len(poses)
    pose_set = PoseSet(poses, np.full(count, ""), np.arange(count), np.full(count, ""))
    return lambda make: evaluate.evaluate(Oracle(asked, make), pose_set, body=body, progress=False)


def test_the_truth_itself_has_no_error_and_satisfies_everything(report):
    result = report(lambda truth: truth)
    for column in ("mean", "samples", "real"):
        assert result["satisfied"][column] == pytest.approx(1.0)
        assert result["mpjpe_mm"][column] < 1e-3 and result["pa_mpjpe_mm"][column] < 1e-2
        assert result["format_failures"][column] == 0.0
    assert result["nearest_real_mm"]["mean"] == pytest.approx(result["nearest_real_mm"]["real"], rel=1e-4)
    assert result["diversity_mm"]["samples"] == 0.0 < result["diversity_mm"]["real"]


def test_other_peoples_poses_satisfy_less(report):
    result = report(lambda truth: truth.roll(1, 0))
    assert result["satisfied"]["mean"] < 0.7 and result["mpjpe_mm"]["mean"] > 50


def test_a_missing_pose_counts_as_a_failure_with_the_stated_penalty(report):
    def half(truth):
        return torch.cat([torch.full_like(truth[:12], torch.nan), truth[12:]])

    result = report(half)
    assert result["format_failures"]["mean"] == result["format_failures"]["samples"] == 0.5
    assert result["mpjpe_mm"]["mean"] == pytest.approx(evaluate.MISSING_MM / 2, rel=1e-4)
    assert 0.2 < result["satisfied"]["mean"] < 0.8


def test_a_policy_that_never_poses_is_measured_too(report):
    result = report(lambda truth: torch.full_like(truth, torch.nan))
    assert result["satisfied"]["samples"] == 0.0 and result["format_failures"]["mean"] == 1.0
    assert result["diversity_mm"]["samples"] is None


def test_mpjpe_ignores_where_the_pelvis_is_and_procrustes_also_turn_and_size():
    generator = torch.Generator().manual_seed(0)
    truth = torch.randn(5, 24, 3, generator=generator)
    turn = roma.random_rotmat(5, generator=generator)
    moved = truth + torch.tensor([1.0, 2.0, 3.0])
    similar = 1.7 * truth @ turn.transpose(-1, -2) + 4
    assert evaluate.mpjpe_mm(moved, truth).max() < 1e-3
    assert evaluate.mpjpe_mm(similar, truth).min() > 100
    assert evaluate.pa_mpjpe_mm(similar, truth).max() < 1e-2
    mirrored = truth * torch.tensor([-1.0, 1.0, 1.0])
    assert evaluate.pa_mpjpe_mm(mirrored, truth).min() > 100  # a mirror image is another pose


def test_one_joint_off_by_24_mm_is_one_mm_of_mpjpe():
    truth = torch.zeros(1, 24, 3)
    off = truth.clone()
    off[0, 5, 1] = 0.024
    assert evaluate.mpjpe_mm(off, truth).item() == pytest.approx(1.0, rel=1e-5)


def test_nearest_agrees_with_every_pair_compared_and_leaves_out_its_own(poses, body):
    joints = body.joints(poses)
    every = evaluate.mpjpe_mm(joints[:, None], joints[None])
    torch.testing.assert_close(evaluate.nearest_mm(joints[:7], joints), torch.zeros(7), rtol=0, atol=1e-3)
    every.fill_diagonal_(torch.inf)
    torch.testing.assert_close(evaluate.nearest_mm(joints, joints, torch.arange(len(joints))), every.min(1).values)


def test_diversity_is_the_mean_over_pairs_and_skips_missing_draws():
    joints = torch.zeros(1, 3, 24, 3)
    joints[0, 1, 1:, 0] = 0.024  # 23 mm from the first
    joints[0, 2] = torch.nan
    assert evaluate.diversity_mm(joints).item() == pytest.approx(23.0, rel=1e-5)


@pytest.mark.slow
def test_the_aligned_model_that_ships_draws_what_is_said_more_often(body):
    """Kinds of statements that no reward paid for, in single draws, and what the judge makes of them."""
    poses = PosePrior.load().sample(160, generator=torch.Generator().manual_seed(7))
    samples = evaluate.exam_samples(poses, torch.arange(100), body=body, seed=7)
    tools = evaluate.Instruments.load(body, poses[100:])
    before, after = (evaluate.measure(evaluate.ask(PosePolicy.from_pretrained(name), samples, draws=2)[:, 1:], samples, tools)
                     for name in ("mini-sft", "mini-rft"))
    assert after["satisfied_unrewarded"] > before["satisfied_unrewarded"] + 0.05
    assert after["judge"]["t2p"]["10"] > before["judge"]["t2p"]["10"] + 5 and after["plausible"] > before["plausible"]
