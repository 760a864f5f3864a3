"""The rewards: bounded, ordered as they say, blind to what they should be blind to."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from minirft import rewards


def test_joint_location_falls_with_distance_and_ignores_where_the_pelvis_is():
    truth = torch.randn(24, 3, generator=torch.Generator().manual_seed(0))
    off = truth.clone()
    off[1:] += torch.tensor([0.0, 0.1, 0.0])
    far = truth.clone()
    far[1:] += torch.tensor([0.0, 0.3, 0.0])
    same, near, farther = (rewards.joint_location(j, truth).item() for j in (truth + 5.0, off, far))
    assert same == pytest.approx(20.0, rel=1e-3) and same > near > farther > 0
    assert near == pytest.approx(1 / (0.1 * 23 / 24 + 0.05), rel=1e-4)


def test_cosines_ignore_length_and_are_one_for_the_same_direction():
    one = torch.randn(4, 16, generator=torch.Generator().manual_seed(0))
    torch.testing.assert_close(rewards.semantic_alignment(one, 7 * one), torch.ones(4))
    torch.testing.assert_close(rewards.text_similarity(one, -one), -torch.ones(4))


@pytest.mark.parametrize("answer, wants, right", [
    ("The SMPL pose of this person is <POSE>.", True, 1), ("<POSE>", True, 1), ("It is.", True, 0), ("", True, 0),
    ("<POSE><POSE>", True, 0), ("It is <POSE> <image>.", True, 0), ("I only know poses.", False, 1),
    ("It is <POSE>.", False, 0), ("", False, 0)])
def test_format_wants_one_pose_or_none(answer, wants, right):
    assert rewards.answer_format([answer], wants_pose=[wants]).item() == right


def test_verifiable_is_the_share_of_the_counted_statements():
    holds = torch.tensor([[[1, 1, 0, 0], [0, 0, 0, 0]], [[1, 1, 1, 1], [0, 1, 0, 1]]], dtype=torch.bool)  # (2, 2, 4)
    statements = [(0, 2), (1, 3)]
    assert torch.equal(rewards.verifiable(holds, statements), torch.tensor([[0.5, 0.0], [1.0, 1.0]]))
    counted = torch.tensor([True, True, False, False])
    assert torch.equal(rewards.verifiable(holds, statements, counted=counted), torch.tensor([[1.0, 0.0], [1.0, 1.0]]))
    none = torch.zeros(4, dtype=torch.bool)
    assert (rewards.verifiable(holds, statements, counted=none) == 0).all()


def test_plausibility_is_bounded_and_grows_with_the_score():
    score = torch.tensor([0.0, -1.0, -5.0, -10.0, -1000.0, 3.0])
    torch.testing.assert_close(rewards.plausibility(score), torch.tensor([1.0, 0.9, 0.5, 0.0, 0.0, 1.0]))


def test_nearness_is_to_the_nearest_pose_wherever_the_pelvis_is_and_in_the_shape_that_it_was_asked_in():
    known = torch.randn(30, 24, 3, generator=torch.Generator().manual_seed(0))
    asked = known[[7, 3, 20, 7]].clone() + 4.0
    asked[1, 5] += torch.tensor([0.0, 0.03, 0.04])  # one joint, 50 mm
    found = rewards.nearness(asked.reshape(2, 2, 24, 3), known)
    torch.testing.assert_close(found, -torch.tensor([[0.0, 0.05 / 24], [0.0, 0.0]]), atol=1e-5, rtol=0)
    torch.testing.assert_close(rewards.nearness(asked[1], known), found[0, 1])
    many = torch.randn(2500, 24, 3, generator=torch.Generator().manual_seed(1))  # more than are looked at at once
    torch.testing.assert_close(rewards.nearness(many, known)[2400:], rewards.nearness(many[2400:], known))
    by_hand = ((many[:5, None] - many[:5, None, :1]) - (known - known[:, :1])).norm(dim=-1).mean(-1).amin(1)
    assert (rewards.nearness(many[:5], known) <= -by_hand).all()


def test_the_total_is_weighted_by_name_and_a_forgotten_weight_is_an_error():
    named = {"format": torch.ones(2), "verifiable": torch.tensor([0.5, 1.0])}
    assert torch.equal(rewards.total(named, {"format": 2.0, "verifiable": 4.0}), torch.tensor([4.0, 6.0]))
    with pytest.raises(ValueError, match="verifiable"):
        rewards.total(named, {"format": 1.0})


def test_the_file_works_alone_in_an_empty_folder(tmp_path):
    shutil.copy(Path(rewards.__file__), tmp_path / "rewards.py")
    code = "import sys, doctest, rewards; print(doctest.testmod(rewards), any(m.startswith('minirft') for m in sys.modules))"
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "TestResults(failed=0, attempted=3) False"
