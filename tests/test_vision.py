"""The pose-aware encoder: its geometry by hand, and what it sees of real photographs where there are some."""

import hashlib
import subprocess
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from minirft import vision
from minirft.body import InputError
from minirft.vision import ANCHORS, FILES, NAMES, BlazePose, Person, Region, fetch_blazepose, tokens

PHOTOS = Path(__file__).parents[2] / "shared" / "data" / "photos"


@pytest.fixture(scope="module")
def blazepose():
    """The real networks, fetched once."""
    try:
        return BlazePose()
    except InputError as error:
        pytest.skip(f"BlazePose cannot be fetched here: {error}")


def photo(name):
    if not (PHOTOS / name).is_file():
        pytest.skip(f"{PHOTOS / name} is not here")
    return Image.open(PHOTOS / name).convert("RGB")


def at(person, *names):
    """The mean place in the photograph of some landmarks, pixels."""
    return person.image[[NAMES.index(name) for name in names]].mean(0)


def test_a_region_stands_on_the_hips_and_its_top_is_where_the_body_points():
    upright = Region.around(np.array([100.0, 50.0]), np.array([100.0, 10.0]))
    np.testing.assert_allclose([upright.side, upright.angle], [100, 0], atol=1e-9)
    np.testing.assert_allclose(upright.to_image([[0, -1], [1, 0], [0, 0]]), [[100, 0], [150, 50], [100, 50]], atol=1e-9)
    leaning = Region.around(np.array([100.0, 50.0]), np.array([140.0, 50.0]))  # head to the right
    np.testing.assert_allclose(leaning.to_image([[0, -1], [1, 0]]), [[150, 50], [100, 100]], atol=1e-9)


def test_a_crop_shows_what_the_region_covers():
    picture = Image.new("RGB", (400, 300))
    picture.paste((255, 0, 0), (190, 40, 210, 60))  # red above the middle
    picture.paste((0, 0, 255), (290, 140, 310, 160))  # blue to its right
    upright = np.asarray(vision._crop(picture, Region(np.array([200.0, 150.0]), 250.0, 0.0), 100))
    assert upright[10, 50].tolist() == [255, 0, 0] and upright[50, 90].tolist() == [0, 0, 255]
    turned = np.asarray(vision._crop(picture, Region(np.array([200.0, 150.0]), 250.0, np.pi / 2), 100))
    assert turned[10, 50].tolist() == [0, 0, 255]  # what was to the right is up
    assert upright[0, 50].tolist() != [255, 0, 0] and not upright[0, 0].any()


def test_guesses_start_from_the_middles_of_cells():
    assert ANCHORS.shape == (2254, 2) and 0 < ANCHORS.min() and ANCHORS.max() < 1
    np.testing.assert_allclose(ANCHORS[:3] * 224, [[4, 4], [4, 4], [12, 4]], atol=1e-4)
    np.testing.assert_allclose(ANCHORS[-1] * 224, [208, 208], atol=1e-4)


def test_guesses_that_overlap_are_one_person():
    boxes = np.array([[0, 0, 10, 10], [20, 0, 30, 10], [1, 1, 11, 11], [21, 0, 31, 10.0]])
    groups = vision._same_person(boxes, np.array([0.6, 0.9, 0.8, 0.7]))
    assert [sorted(group.tolist()) for group in groups] == [[1, 3], [0, 2]]


def test_tokens_do_not_depend_on_the_persons_size_nor_on_the_place_in_the_photograph():
    rng = np.random.default_rng(0)
    world, place, visible = rng.normal(size=(33, 3)), rng.uniform(-1, 1, (33, 2)), rng.uniform(size=33)
    near, far = Region(np.array([300.0, 200.0]), 500.0, 0.3), Region(np.array([80.0, 90.0]), 60.0, -1.0)
    one = tokens(Person(near.to_image(place), world, visible, 1.0, near))
    other = tokens(Person(far.to_image(place), 1.7 * world + 0.2, visible, 1.0, far))
    assert one.shape == (33, 6) and one.dtype == torch.float32
    torch.testing.assert_close(one, other, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(one[:, 3], visible, atol=1e-6)
    np.testing.assert_allclose(one[:, 4:], place, atol=1e-5)


def test_the_files_are_taken_from_the_wheel_once_and_checked(tmp_path, monkeypatch):
    content, calls = {name: name.encode() for name in FILES}, []

    def download(command, **_):
        calls.append(command)
        with zipfile.ZipFile(Path(command[command.index("--dest") + 1]) / "mediapipe.whl", "w") as wheel:
            for name, data in content.items():
                wheel.writestr(f"mediapipe/modules/{name}", data)
        return subprocess.CompletedProcess(command, 0, "", "")

    monkeypatch.setenv("MINIRFT_CACHE", str(tmp_path))
    monkeypatch.setattr(vision.subprocess, "run", download)
    with pytest.raises(InputError, match="is not the file it was"):
        fetch_blazepose()
    monkeypatch.setattr(vision, "FILES", {name: hashlib.sha256(data).hexdigest() for name, data in content.items()})
    folder = fetch_blazepose()
    assert {path.name for path in folder.iterdir()} == {Path(name).name for name in FILES}
    assert fetch_blazepose() == folder and len(calls) == 2
    next(folder.iterdir()).write_bytes(b"damaged")
    fetch_blazepose()
    assert len(calls) == 3
    assert calls[0][calls[0].index("--python-version") + 1] == "3.11"  # whatever Python runs this


def test_without_a_network_it_is_one_clear_line(tmp_path, monkeypatch):
    monkeypatch.setenv("MINIRFT_CACHE", str(tmp_path))
    failed = subprocess.CompletedProcess([], 1, "", "looking\nERROR: No matching distribution found\n")
    monkeypatch.setattr(vision.subprocess, "run", lambda *_, **__: failed)
    with pytest.raises(InputError, match="No matching distribution found.*put its .* into"):
        fetch_blazepose()


def test_a_warrior_pose_is_seen(blazepose):
    """A man in profile of a lunge, arms level, right knee bent, on a beach."""
    people = blazepose(photo("yoga.jpg"))
    assert len(people) == 1
    person, torso = people[0], np.linalg.norm(at(people[0], "left_shoulder") - at(people[0], "left_hip"))
    for side in ("left", "right"):
        assert abs(at(person, f"{side}_wrist") - at(person, f"{side}_shoulder"))[1] < 0.25 * torso
    assert at(person, "right_wrist")[0] < at(person, "right_shoulder")[0] < at(person, "left_wrist")[0]  # he faces us
    world = dict(zip(NAMES, person.world))

    def bend(side):  # degrees away from straight
        thigh, shin = world[f"{side}_knee"] - world[f"{side}_hip"], world[f"{side}_ankle"] - world[f"{side}_knee"]
        return np.degrees(np.arccos(thigh @ shin / np.linalg.norm(thigh) / np.linalg.norm(shin)))

    assert bend("right") > 50 > 30 > bend("left")


def test_a_mirrored_and_a_turned_photograph_show_the_same_person(blazepose):
    picture = photo("yoga.jpg")
    person = blazepose(picture)[0]
    mirrored, turned = blazepose(ImageOps.mirror(picture))[0], blazepose(picture.transpose(Image.Transpose.ROTATE_90))[0]
    swap = [NAMES.index(name.replace("left", "*").replace("right", "left").replace("*", "right")) for name in NAMES]
    size = person.region.side
    expected = np.stack([picture.width - person.image[swap, 0], person.image[swap, 1]], 1)
    assert np.linalg.norm(mirrored.image - expected, axis=1).mean() < 0.03 * size
    expected = np.stack([person.image[:, 1], picture.width - person.image[:, 0]], 1)
    assert np.linalg.norm(turned.image - expected, axis=1).mean() < 0.03 * size
    up = turned.world[NAMES.index("nose")]
    assert abs(up[0]) > abs(up[1])  # the camera's frame turns with the photograph


def test_the_largest_person_comes_first_and_nobody_is_an_empty_list(blazepose):
    people = blazepose(photo("three_people.jpg"))
    assert len(people) >= 2 and people[0].region.side >= people[-1].region.side * 0.8
    noise = np.random.default_rng(0).integers(0, 255, (200, 300, 3), dtype=np.uint8)
    assert blazepose(Image.fromarray(noise)) == []
