"""Samples: true of their poses, a function of their seed, and clear about sides and words."""

import random
import re
import warnings

import numpy as np
import pytest
import torch

from minirft import captions, data
from minirft.body import DATA, to_axis_angle
from minirft.errors import InputError
from minirft.files import save_npz


@pytest.fixture(scope="module")
def poses():
    return data.load_poses(DATA / "rare.npz").pose[::20]


@pytest.fixture(scope="module")
def samples(poses, body):
    rng = random.Random(0)
    return [data.text_sample(p, row, rng, body=body) for p, row in zip(poses, captions.holds(body.joints(poses)))]


def test_every_statement_of_a_sample_holds_of_its_pose(samples, body):
    for sample in samples:
        assert sample.statements and captions.satisfied(sample.statements, body.joints(sample.pose)).all()


def test_a_sentence_that_names_no_side_is_of_the_right_one(samples):
    silent, mirrored = 0, 0
    for sample in samples:
        sided = [captions.STATEMENTS[i].name for i in sample.statements if captions.MIRROR[i] not in sample.statements]
        if sided and not re.search("left|right", sample.question.lower()):
            silent += 1
            mirrored += any(re.search("left|right", name)[0] == "right" for name in sided)
    assert silent >= 5 and mirrored >= silent - 1  # a borderline pose may stay as it was


def test_same_seed_same_sample(poses, body):
    row = captions.holds(body.joints(poses[0]))
    one, same, other = (data.text_sample(poses[0], row, random.Random(seed), body=body) for seed in (1, 1, 2))
    assert (one.question, one.answer) == (same.question, same.answer) != (other.question, other.answer)


def test_pose_answers_hold_one_pose_token_and_talk_holds_none():
    assert all(answer.count(data.POSE) == 1 for answer in data.ANSWERS)
    rng = random.Random(0)
    for _ in range(200):
        sample = data.talk_sample(rng)
        assert data.POSE not in sample.answer and sample.pose is None and sample.task == "talk"


def test_grown_poses_are_rotations_of_one_body_or_two(poses):
    grown = data.grow(poses, count=300, generator=torch.Generator().manual_seed(0))
    identity = torch.eye(3).expand_as(grown)
    torch.testing.assert_close(grown @ grown.transpose(-1, -2), identity, atol=1e-4, rtol=0)
    again = data.grow(poses, count=300, generator=torch.Generator().manual_seed(0))
    assert torch.equal(grown, again)
    whole = (grown[:, None] - poses).abs().amax((2, 3, 4)).amin(1) < 1e-6  # neither mirrored nor put together
    legs = (grown[:, None, [1, 2, 4, 5]] - poses[:, [1, 2, 4, 5]]).abs().amax((2, 3, 4)).amin(1) < 1e-6
    assert 0.1 < whole.float().mean() < 0.5 and legs.float().mean() > whole.float().mean() + 0.05


def test_a_lying_body_is_not_given_a_standing_ones_arms(poses):
    lying = poses[poses[:, 0, 1, 1] < 0.3]
    assert len(lying) > 10
    grown = data.grow(lying, count=100, generator=torch.Generator().manual_seed(0))
    both = torch.cat([lying, data.flip_pose(lying)])
    assert ((grown[:, None] - both).abs().amax((2, 3, 4)).amin(1) < 1e-6).all()


def test_unknown_words_are_named_and_a_sentence_of_none_known_is_an_error():
    with pytest.warns(UserWarning, match="wobbling"):
        data.check_words(["raise the wobbling arm"])
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        data.check_words(["Raise both arms, please!", "T-pose"])
    with pytest.raises(InputError, match="xyzzy"):
        data.check_words(["raise an arm", "xyzzy plugh"])


def test_the_demo_speaks_words_the_policy_knows():
    known = data.known_words()
    strange = {w for line in (DATA / "prompts.txt").read_text().splitlines() for w in data.words(line)} - known
    assert not strange


def test_a_pose_file_keeps_what_is_known_of_each_pose(tmp_path):
    np.savez(tmp_path / "p.npz", pose=np.zeros((3, 72), np.float32), clip=np.array(["a", "b", "c"]))
    poses = data.load_poses(tmp_path / "p.npz")
    assert len(poses) == 3 and poses.clip.tolist() == ["a", "b", "c"] and poses.frame.tolist() == [0, 1, 2]
    torch.testing.assert_close(poses.pose, torch.eye(3).expand(3, 24, 3, 3))


def test_a_pose_file_of_numbers_that_no_rotation_comes_of_is_refused(tmp_path):
    np.savez(tmp_path / "p.npz", pose=np.full((2, 72), 1e20))
    with pytest.raises(InputError, match="p.npz: 'pose' holds numbers too large to be angles"):
        data.load_poses(tmp_path / "p.npz")


def test_what_generate_wrote_is_read_a_row_for_each_pose_that_is_there(tmp_path, poses):
    rows = to_axis_angle(poses[:4]).numpy().reshape(2, 2, 72)
    rows[1, 0] = np.nan
    save_npz(tmp_path / "poses.npz", pose=rows, prompt=np.array(["kneel", "sit"]), frame=np.array("canonical"))
    found = data.load_poses(tmp_path / "poses.npz")
    assert found.clip.tolist() == ["kneel", "kneel", "sit"] and found.frame.tolist() == [0, 1, 1]
    assert torch.allclose(found.pose, poses[[0, 1, 3]], atol=1e-4)
    save_npz(tmp_path / "photo.npz", pose=rows, prompt=np.array(["kneel", "sit"]), frame=np.array("camera"))
    with pytest.raises(InputError, match="as a camera saw them"):
        data.load_poses(tmp_path / "photo.npz")


def test_weights_of_many_poses_are_those_of_all_at_once(poses, body):
    many = poses.repeat(32, 1, 1, 1)  # more than are looked at together
    assert len(many) > 8192
    at_once = captions.weights_for(captions.holds(body.joints(many)).float().mean(0))
    assert captions.weights_among(many, body) == pytest.approx(at_once)
