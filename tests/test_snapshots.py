"""Made-up photographs: what is said of them is what is in them."""

import numpy as np
import pytest
import torch
from PIL import Image

from minirft import snapshots
from minirft.body import DATA, JOINT, JOINT_NAMES, PARENTS, from_6d, load_body, to_6d
from minirft.data import load_poses
from minirft.render import rasterise
from minirft.snapshots import HIPS, LIMB_OF, simulate_landmarks, snapshot
from minirft.vision import NAMES


@pytest.fixture(scope="module")
def body():
    return load_body()


@pytest.fixture(scope="module")
def poses():
    return load_poses(DATA / "rare.npz").pose[::40]


def standing():
    return torch.eye(3).repeat(24, 1, 1)


def test_the_same_seed_takes_the_same_picture_and_another_another(body, poses):
    one, same, other = (snapshot(body, poses[0], np.random.default_rng(seed)) for seed in (1, 1, 2))
    assert one.image.shape == (224, 224, 3) and one.image.dtype == np.uint8
    assert np.array_equal(one.image, same.image) and torch.equal(one.joints, same.joints)
    assert not np.array_equal(one.image, other.image) and not torch.equal(one.joints, other.joints)


def test_joints_lie_where_a_pinhole_camera_shows_them(body, poses):
    for seed, pose in enumerate(poses[:20]):
        shot = snapshot(body, pose, np.random.default_rng(seed), size=100)
        assert (shot.joints[:, 2] > 1).all()  # before the camera
        flat = shot.joints[:, :2] / shot.joints[:, 2:]
        moved, pixels = flat - flat.mean(0), shot.pixels - shot.pixels.mean(0)
        scale = (moved * pixels).sum() / moved.square().sum()
        torch.testing.assert_close(pixels, scale * moved, atol=1e-3, rtol=1e-3)
        assert scale > 0  # x to the right and y down, in both


def test_the_pose_is_the_one_asked_for_with_its_root_as_the_camera_sees_it(body, poses):
    for seed, pose in enumerate(poses[:20]):
        shot = snapshot(body, pose, np.random.default_rng(seed))
        assert torch.equal(shot.pose[1:], pose[1:])
        torch.testing.assert_close(from_6d(to_6d(shot.pose[:1])), shot.pose[:1], atol=1e-5, rtol=0)  # a rotation
        ours, seen = body.joints(shot.pose), shot.joints  # of the mean shape, of the shape in the picture
        bones = [(j, PARENTS[j]) for j in range(1, 24) if JOINT_NAMES[j].split("_")[-1] in ("knee", "ankle", "elbow", "wrist")]
        cosine = torch.stack([torch.cosine_similarity(ours[j] - ours[p], seen[j] - seen[p], dim=0) for j, p in bones])
        assert cosine.min() > 0.97


def test_a_standing_body_stands_in_the_picture_and_its_left_is_on_the_right_from_the_front(body):
    seen = set()
    for seed in range(30):
        shot = snapshot(body, standing(), np.random.default_rng(seed))
        assert shot.pixels[JOINT["head"], 1] < shot.pixels[JOINT["pelvis"], 1] < shot.pixels[JOINT["left_ankle"], 1]
        facing = -shot.pose[0, 2, 2].item()  # 1: towards the camera
        left = shot.pixels[JOINT["left_wrist"], 0] > shot.pixels[JOINT["right_wrist"], 0]
        if abs(facing) > 0.4:
            assert left == (facing > 0)
            seen.add(facing > 0)
    assert seen == {True, False}


def test_the_body_covers_its_joints(body, poses, monkeypatch):
    """Every joint lies within the body, so its pixel is one that the renderer drew."""
    covered = []

    def watched(*given):
        covered.append(rasterise(*given))
        return covered[-1]

    monkeypatch.setattr(snapshots, "rasterise", watched)
    for seed, pose in enumerate(poses[:20]):
        shot = snapshot(body, pose, np.random.default_rng(seed), obstacles=[])
        x, y = shot.pixels[~shot.hidden].int().T.tolist()
        drawn = np.zeros((224, 224), bool)
        drawn.reshape(-1)[covered[-1][0]] = True
        assert drawn[y, x].all()
        assert 0.01 < drawn.mean() < 0.6


def test_what_stands_in_the_way_hides_what_is_behind_it(body, poses):
    shot = snapshot(body, poses[3], np.random.default_rng(5), obstacles=[(0, 0, 224, 112)])
    free = snapshot(body, poses[3], np.random.default_rng(5), obstacles=[])
    outside = ((free.pixels < 0) | (free.pixels >= 224)).any(1)
    assert torch.equal(free.hidden, outside) and torch.equal(free.pixels, shot.pixels)
    assert torch.equal(shot.hidden, outside | (shot.pixels[:, 1] < 112))
    assert shot.hidden.any() and not shot.hidden.all()
    upper = shot.image[4:100, 4:220].reshape(-1, 3).astype(float)
    assert upper.std(0).max() < 12 < free.image[4:100, 4:220].reshape(-1, 3).astype(float).std(0).max()  # noise apart, one colour


def test_pictures_vary_in_everything(body):
    shots = [snapshot(body, standing(), np.random.default_rng(seed)) for seed in range(30)]
    assert np.std([shot.image.mean() for shot in shots]) > 15
    height = [np.ptp(shot.pixels[:, 1].numpy()) for shot in shots]
    assert 0.85 * 224 < max(height) and min(height) < 0.7 * 224
    assert any(shot.hidden.any() for shot in shots) and not all(shot.hidden.any() for shot in shots)


def test_simulated_landmarks_are_those_of_the_body_as_the_camera_sees_it(body, poses):
    seen, tokens = simulate_landmarks(body, poses, np.random.default_rng(0))
    assert seen.shape == poses.shape and tokens.shape == (len(poses), 33, 6) and tokens.isfinite().all()
    assert torch.equal(seen[:, 1:], poses[:, 1:]) and not torch.allclose(seen[:, 0], poses[:, 0])
    torch.testing.assert_close(tokens[:, HIPS, :3].mean(1), torch.zeros(len(poses), 3), atol=1e-5, rtol=0)
    parts = [name for name in NAMES if name in JOINT]
    joints = body.joints(seen)[:, [JOINT[name] for name in parts]]
    joints = joints - joints[:, [parts.index("left_hip"), parts.index("right_hip")]].mean(1, keepdim=True)
    said = tokens[:, [NAMES.index(name) for name in parts], :3]
    scale = (said * joints).sum((1, 2)) / joints.square().sum((1, 2))  # tokens are over the torso's length
    off = (said / scale[:, None, None] - joints).norm(dim=-1).mean()
    assert 0.02 < off < 0.1  # metres: off as a network is, and no more
    names = np.array(NAMES)
    assert set(names[np.array(LIMB_OF) == 1]) == {name for name in NAMES if name.startswith("left") and name.split("_", 1)[1] in
                                                  ("shoulder", "elbow", "wrist", "pinky", "index", "thumb")}


def test_simulated_landmarks_see_left_and_right_head_and_feet(body):
    _, tokens = simulate_landmarks(body, standing().repeat(200, 1, 1, 1), np.random.default_rng(0))
    at = {name: tokens[:, NAMES.index(name)] for name in NAMES}
    assert (at["nose"][:, 1] < at["left_hip"][:, 1]).all() and (at["left_heel"][:, 1] > at["left_hip"][:, 1]).all()  # y down
    facing = (at["nose"][:, 2] < (at["left_ear"] + at["right_ear"])[:, 2] / 2 - 0.03)  # the nose nearer than the ears
    left_on_the_right = at["left_shoulder"][:, 0] > at["right_shoulder"][:, 0]
    assert (left_on_the_right == facing).float().mean() > 0.75


@pytest.mark.slow
def test_a_network_trained_on_photographs_finds_the_bodies(body, poses):
    from minirft.body import InputError
    from minirft.vision import NAMES, BlazePose

    try:
        blazepose = BlazePose()
    except InputError as error:
        pytest.skip(f"BlazePose cannot be fetched here: {error}")
    found, errors, parts = 0, [], [name for name in NAMES if name in JOINT and "hip" not in name]
    for seed in range(40):
        shot = snapshot(body, standing(), np.random.default_rng(seed), obstacles=[])
        people = blazepose(Image.fromarray(shot.image))
        found += len(people) > 0
        if people:
            seen = people[0].image[[NAMES.index(name) for name in parts]]
            errors.append(np.linalg.norm(seen - shot.pixels[[JOINT[name] for name in parts]].numpy(), axis=1).mean())
    assert found >= 30 and np.median(errors) < 0.04 * 224
