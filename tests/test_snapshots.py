"""Made-up photographs: what is said of them is what is in them."""

import os
import re

import numpy as np
import pytest
import torch
from PIL import Image

from minirft import snapshots
from minirft.body import DATA, JOINT, JOINT_NAMES, PARENTS, from_6d, to_6d
from minirft.data import load_poses
from minirft.errors import InputError
from minirft.fit import misfit
from minirft.render import rasterise
from minirft.snapshots import (LIMB_OF, TENSORS, exam_album, lean, load_album, make_album, photograph,
                               simulate_landmarks, snapshot)
from minirft.vision import HIPS, NAMES, BlazePose, tokens


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
    assert 0.02 < off < 0.15  # metres: off as a network is, and no more
    seen = torch.tensor([NAMES.index(name) for name in parts])
    gap = (said / scale[:, None, None] - joints).norm(dim=-1)
    clear, dim = (gap[where].mean() for where in (tokens[:, seen, 3] > 0.8, tokens[:, seen, 3] < 0.5))
    assert dim > 2 * clear  # what is hardly visible is far off
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


def test_a_photograph_keeps_what_is_in_it_and_what_was_seen_of_it(body, poses, stub_blazepose):
    album = photograph(body, poses[:12], stub_blazepose, np.random.default_rng(3), size=96)
    assert len(album) == 12 and len(album.jpeg) == 12
    rng = np.random.default_rng(3)
    for i, pose in enumerate(poses[:12]):
        shot, image = snapshot(body, pose, rng, size=96), album.image(i)
        assert image.mode == "RGB" and np.abs(np.asarray(image).astype(float) - shot.image).mean() < 6  # jpeg loses a little
        for name in ("pose", "joints", "pixels", "hidden"):
            assert torch.equal(getattr(album, name)[i], getattr(shot, name)), name
        people = stub_blazepose(image)
        person = stub_blazepose.look(image, snapshots.Region.whole(image))
        assert album.found[i] == (len(people) == 1)  # the others are looked for in the whole picture
        assert torch.equal(album.tokens[i], tokens(person))
        for name, theirs in (("seen", person.image), ("world", person.world), ("visible", person.visible)):
            np.testing.assert_allclose(getattr(album, name)[i], theirs, rtol=1e-6)
    assert {album.found.dtype, album.hidden.dtype} == {torch.bool} and 0 < album.found.sum() < 12
    assert {getattr(album, name).dtype for name in TENSORS} == {torch.bool, torch.float32}


def test_an_album_gives_people_to_fit_and_pictures_to_look_at(body, poses, album_of):
    album = album_of(body, poses[:5])
    one, three, drawn = album.person(2), album.person(range(1, 4)), album.person(range(1, 4), draws=True)
    assert one.image.shape == (33, 2) and np.array_equal(one.image, three.image[1]) and three.visible.shape == (3, 33)
    off = misfit(body, album.pose, album.person(range(5)))
    assert off.shape == (5,) and off.max() < 0.05  # another shape, and perspective
    draws = album.pose[1:4, None].repeat(1, 6, 1, 1, 1)
    torch.testing.assert_close(misfit(body, draws, drawn), off[1:4, None].expand(3, 6))
    for see, has in (("features", (False, True)), ("pixels", (True, False)), ("both", (True, True))):
        picture = album.picture(2, see)
        assert (picture.pixels is not None, picture.features is not None) == has
        assert picture.features is None or torch.equal(picture.features, album.tokens[2])
        assert picture.pixels is None or np.array_equal(picture.pixels, np.asarray(album.image(2)))


def test_an_exam_is_of_other_poses_for_another_seed(body, poses, stub_blazepose):
    first, again, other = (exam_album(body, poses, count=3, seed=seed, progress=False) for seed in (0, 0, 1))
    assert len(first) == 3 and first.jpeg == again.jpeg and torch.equal(first.pose, again.pose)
    assert not torch.equal(first.pose[:, 1:], other.pose[:, 1:])
    assert all(any(torch.equal(row[1:], pose[1:]) for pose in poses) for row in first.pose)


def files(folder):
    return {path.name: (path.read_bytes(), path.stat().st_mtime_ns) for path in folder.iterdir()}


def make(body, poses, folder, **settings):
    make_album(body, poses, folder, progress=False, **{"count": 5, "part": 2} | settings)
    return {name: content for name, (content, _) in files(folder).items() if name.endswith(".npz")}


def test_an_album_comes_back_from_disk(body, poses, stub_blazepose, tmp_path):
    assert set(make(body, poses, tmp_path / "all")) == {"0000.npz", "0001.npz", "0002.npz"}
    album = load_album(tmp_path / "all")
    assert len(album) == len(album.jpeg) == 6 and all(len(getattr(album, name)) == 6 for name in TENSORS)  # whole parts
    rng, generator = np.random.default_rng((0, 1)), torch.Generator().manual_seed(1)  # of the second part
    second = photograph(body, snapshots.grow(poses, count=2, generator=generator), stub_blazepose, rng)
    assert album.jpeg[2:4] == second.jpeg
    for name in TENSORS:
        assert torch.equal(getattr(album, name)[2:4], getattr(second, name)), name
        assert getattr(album, name).dtype == getattr(second, name).dtype, name
    assert [album.image(i).size for i in range(6)] == [(224, 224)] * 6 and len(set(album.jpeg)) == 6


def test_what_is_there_already_is_not_made_again(body, poses, stub_blazepose, tmp_path):
    whole = make(body, poses, tmp_path)
    (tmp_path / "0001.npz").unlink()
    (tmp_path / "0002.npz").write_bytes(b"left alone")
    before = files(tmp_path)
    make(body, poses, tmp_path)
    after = files(tmp_path)
    assert after.pop("0001.npz")[0] == whole["0001.npz"]
    before.pop("about.json"), after.pop("about.json")
    assert after == before


def test_an_album_that_was_stopped_goes_on(body, poses, stub_blazepose, tmp_path, monkeypatch):
    def stopped(self, image):
        seen.append(image)
        if len(seen) == 4:
            raise KeyboardInterrupt
        return looked(self, image)

    seen, looked = [], type(stub_blazepose).__call__
    with monkeypatch.context() as patch:
        patch.setattr(type(stub_blazepose), "__call__", stopped)
        with pytest.raises(KeyboardInterrupt):
            make(body, poses, tmp_path / "cut")
    assert set(files(tmp_path / "cut")) == {"0000.npz", "about.json"}  # whole parts and nothing else
    assert make(body, poses, tmp_path / "cut") == make(body, poses, tmp_path / "whole")


def test_a_part_depends_on_the_seed_and_its_number_alone(body, poses, stub_blazepose, tmp_path):
    five, two, other = (make(body, poses, tmp_path / name, count=count, seed=seed)
                        for name, count, seed in (("five", 5, 0), ("two", 2, 0), ("other", 2, 1)))
    assert set(two) == {"0000.npz"} and two["0000.npz"] == five["0000.npz"] != other["0000.npz"]
    assert len(set(five.values())) == 3


def test_asked_for_more_an_album_grows_and_keeps_what_it_has(body, poses, stub_blazepose, tmp_path):
    few, more = (make(body, poses, tmp_path, count=count) for count in (2, 6))
    assert len(load_album(tmp_path)) == 6 and few.items() <= more.items()


def test_a_folder_begun_otherwise_is_refused(body, poses, stub_blazepose, tmp_path):
    make(body, poses, tmp_path)
    for other in ({"seed": 1}, {"part": 3}, {"encoder": lambda image, person: torch.zeros(2, 3)}):
        if "encoder" in other:
            other["encoder"].name = "vit.ckpt"
        with pytest.raises(InputError, match="was begun with.*another folder"):
            make(body, poses, tmp_path, **other)


@pytest.mark.parametrize("content", ["", '{"seed": 0', "[" * 100_000], ids=["empty", "cut", "deep"])
def test_a_folder_that_does_not_say_what_it_was_begun_with_is_refused(body, poses, stub_blazepose, tmp_path, content):
    (tmp_path / "about.json").write_text(content)
    with pytest.raises(InputError, match="about.json: does not say what the album was begun with .*another folder"):
        make(body, poses, tmp_path)
    assert (tmp_path / "about.json").read_text() == content and len(files(tmp_path)) == 1


class Payload:
    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.system, (f"touch {self.mark}",)


DAMAGED = {  # what is wrong: (what is made of the arrays, what the error must say)
    "an array is missing": (lambda a: {k: v for k, v in a.items() if k != "tokens"}, "no array 'tokens'"),
    "no pictures": (lambda a: {k: v for k, v in a.items() if k != "jpeg"}, "no array 'jpeg'"),
    "tokens of another encoder than the other parts'": (lambda a: a | {"tokens": a["tokens"][:, :, :5]}, "tokens"),
    "no list of tokens": (lambda a: a | {"tokens": a["tokens"][:, 0]}, r"'tokens' has shape \(2, 6\)"),
    "fewer landmarks than pictures": (lambda a: a | {"seen": a["seen"][:1]}, r"'seen' has shape \(1, 33, 2\)"),
    "words for numbers": (lambda a: a | {"pose": a["pose"].astype(str)}, "'pose' holds"),
    "numbers for yes and no": (lambda a: a | {"hidden": a["hidden"].astype(np.float32)}, "'hidden' holds float32"),
    "not finite": (lambda a: a | {"world": np.where(a["world"] > 0, np.nan, a["world"])}, "'world' holds NaN"),
    "a number for a list": (lambda a: a | {"found": np.array(True)}, "'found' has shape"),
    "pictures that end behind the last byte": (lambda a: a | {"ends": a["ends"] + 1000}, "ends"),
    "pictures that end before they start": (lambda a: a | {"ends": a["ends"][::-1]}, "ends"),
    "no rows": (lambda a: {k: v[:0] for k, v in a.items()}, "0001.npz: holds no pictures"),
    "negative ends": (lambda a: a | {"ends": -a["ends"]}, "ends"),
}


@pytest.fixture(scope="module")
def arrays(body, poses, album_of):
    """One part of an album, as it is stored."""
    album = album_of(body, poses[:2])
    return {name: getattr(album, name).numpy() for name in TENSORS} | {
        "jpeg": np.frombuffer(b"".join(album.jpeg), np.uint8), "ends": np.cumsum([len(data) for data in album.jpeg])}


@pytest.mark.parametrize("what", DAMAGED)
def test_a_damaged_album_is_one_clear_line(arrays, tmp_path, what):
    damage, says = DAMAGED[what]
    np.savez(tmp_path / "0000.npz", **arrays)
    assert len(load_album(tmp_path)) == 2
    np.savez(tmp_path / "0001.npz", **damage(arrays))
    with pytest.raises(InputError, match=f"{re.escape(str(tmp_path))}.*{says}") as raised:
        load_album(tmp_path)
    assert "\n" not in str(raised.value)


def test_a_folder_without_an_album_or_with_something_else_is_one_clear_line(arrays, tmp_path):
    (tmp_path / "readme.npz").write_text("not a part")
    for folder in (tmp_path, tmp_path / "nowhere", tmp_path / "readme.npz"):
        with pytest.raises(InputError, match="holds no album; `minirft album"):
            load_album(folder)
    np.savez(tmp_path / "whole.npz", **arrays)
    content = (tmp_path / "whole.npz").read_bytes()
    for broken in (content[: len(content) // 2], b"", b"text", content[:300] + b"oops" + content[304:]):
        (tmp_path / "0000.npz").write_bytes(broken)
        with pytest.raises(InputError, match="0000.npz"):
            load_album(tmp_path)


def test_a_hostile_album_is_not_run(arrays, tmp_path):
    for name in ("jpeg", "pose", "extra"):
        np.savez(tmp_path / "0000.npz", **arrays | {name: np.array([Payload(tmp_path / "sprung")] * 2, dtype=object)})
        with pytest.raises(InputError, match="0000.npz is not an npz of plain arrays"):
            load_album(tmp_path)
    assert not (tmp_path / "sprung").exists()


@pytest.fixture(scope="module")
def blazepose():
    """The real networks, fetched once."""
    try:
        return BlazePose()
    except InputError as error:
        pytest.skip(f"BlazePose cannot be fetched here: {error}")


def test_what_the_network_sees_in_a_photograph_fits_the_pose_in_it(body, blazepose):
    album = photograph(body, standing().repeat(8, 1, 1, 1), blazepose, np.random.default_rng(1), obstacles=[])
    parts = [name for name in NAMES if name in JOINT and "hip" not in name]
    off = album.seen[:, [NAMES.index(name) for name in parts]] - album.pixels[:, [JOINT[name] for name in parts]]
    assert album.found.sum() >= 6 and off[album.found].norm(dim=-1).mean(1).median() < 0.04 * 224
    fits = misfit(body, album.pose, album.person(range(8)))[album.found]
    others = misfit(body, album.pose.roll(1, 0), album.person(range(8)))[album.found]  # from where other cameras stand
    assert fits.median() < 0.05 and fits.median() < 0.7 * others.median()


@pytest.mark.slow
def test_a_network_trained_on_photographs_finds_the_bodies(body, blazepose):
    found, errors, parts = 0, [], [name for name in NAMES if name in JOINT and "hip" not in name]
    for seed in range(40):
        shot = snapshot(body, standing(), np.random.default_rng(seed), obstacles=[])
        people = blazepose(Image.fromarray(shot.image))
        found += len(people) > 0
        if people:
            seen = people[0].image[[NAMES.index(name) for name in parts]]
            errors.append(np.linalg.norm(seen - shot.pixels[[JOINT[name] for name in parts]].numpy(), axis=1).mean())
    assert found >= 30 and np.median(errors) < 0.04 * 224


def test_a_leaning_camera_turns_what_is_in_metres_with_the_pose_and_leaves_what_is_in_the_crop(body, poses):
    pose, tokens = simulate_landmarks(body, poses[:50], np.random.default_rng(0))
    leaning, turned = lean(pose, tokens, torch.Generator().manual_seed(0))
    turn = leaning[:, 0] @ pose[:, 0].transpose(1, 2)  # (50, 3, 3)
    torch.testing.assert_close(turned[..., :3], tokens[..., :3] @ turn.transpose(1, 2))
    assert torch.equal(turned[..., 3:], tokens[..., 3:]) and torch.equal(leaning[:, 1:], pose[:, 1:])
    torch.testing.assert_close(turn[:, 2], torch.tensor([0.0, 0.0, 1.0]).expand(50, 3))  # about the line of sight
    angle = torch.rad2deg(torch.atan2(turn[:, 1, 0], turn[:, 0, 0]))
    assert 10 < angle.std() < 20 and angle.min() < 0 < angle.max()


def test_simulated_crops_turn_with_the_body_as_blazeposes_do(body, poses):
    """What stands in a crop stands upright in it, also of who lies or bows."""
    tokens = simulate_landmarks(body, poses, np.random.default_rng(0))[1]
    place = tokens[..., 4:]  # x to the right, y down
    up = place[:, [NAMES.index("left_shoulder"), NAMES.index("right_shoulder")]].mean(1) - place[:, HIPS].mean(1)
    tilt = torch.atan2(up[:, 0], -up[:, 1]).abs().rad2deg()
    assert tilt.median() < 5 and tilt.quantile(0.9) < 20
