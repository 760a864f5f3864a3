"""The pose-aware encoder: its geometry by hand, and what it sees of real photographs where there are some."""

import hashlib
import subprocess
import zipfile
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image, ImageOps

from minirft import files, vision
from minirft.errors import InputError
from minirft.vision import (ANCHORS, FILES, NAMES, BlazePose, Person, Region, crop_person, fetch_blazepose, open_photo,
                            tokens)

PHOTOS = Path(__file__).parents[2] / "shared" / "data" / "photos"


@pytest.fixture(scope="module")
def blazepose():
    """The real networks, fetched once."""
    try:
        return BlazePose()
    except InputError as error:
        pytest.skip(f"BlazePose cannot be fetched here: {error}")


def photo_path(name):
    if not (PHOTOS / name).is_file():
        pytest.skip(f"{PHOTOS / name} is not here")
    return PHOTOS / name


def photo(name):
    return Image.open(photo_path(name)).convert("RGB")


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


@pytest.mark.parametrize("size", [(400, 300), (90, 500), (64, 64)])
def test_the_whole_of_a_picture_is_a_square_about_it(size):
    region = Region.whole(Image.new("RGB", size))
    width, height = size
    np.testing.assert_allclose([*region.middle, region.side, region.angle], [width / 2, height / 2, max(size), 0])
    low, high = region.to_image([[-1, -1], [1, 1]])
    assert (low <= 0).all() and (high >= size).all() and np.isclose(high - low, size).any()


@pytest.mark.parametrize("side", [224, 96])
def test_a_person_is_cropped_whole_with_a_quarter_around(side):
    """Red where the topmost landmark is, blue at the leftmost, in a picture that ends just below the feet."""
    picture = Image.new("RGB", (400, 420), (90, 90, 90))
    picture.paste((255, 0, 0), (240, 0, 260, 20))
    picture.paste((0, 0, 255), (190, 200, 210, 220))
    landmarks = np.random.default_rng(0).uniform((220, 60), (300, 380), (33, 2))
    landmarks[:3] = [[250, 10], [200, 210], [300, 410]]  # 400 pixels high, the middle of the box at (250, 210)
    person = Person(landmarks, np.zeros((33, 3)), np.ones(33), 1.0, Region(np.array([0.0, 0.0]), 10.0, 1.0))
    crop = crop_person(picture, person, side)
    assert crop.size == (side, side)
    pixels = np.asarray(crop)

    def at(x, y):  # of the photograph
        return pixels[tuple(((np.array([y, x]) - [210 - 250, 250 - 250]) / 500 * side).astype(int))].tolist()

    assert at(250, 10) == [255, 0, 0] and at(200, 210) == [0, 0, 255] and at(300, 300) == [90, 90, 90]
    assert at(250, 440) == at(250, -20) == [0, 0, 0]  # outside of the photograph


TURNED = {1: "top left", 3: "bottom right", 6: "top right", 8: "bottom left"}  # EXIF's number: where the stored corner belongs


@pytest.mark.parametrize("orientation", TURNED)
@pytest.mark.parametrize("suffix", ["jpg", "png"])
def test_a_photograph_is_turned_as_the_camera_was_held(tmp_path, orientation, suffix):
    stored = Image.new("RGB", (64, 32), (0, 0, 255))
    stored.paste((255, 0, 0), (0, 0, 16, 16))  # red in the upper left of what is stored
    exif = Image.Exif()
    exif[0x0112] = orientation
    stored.save(tmp_path / f"held.{suffix}", exif=exif, **({"quality": 95, "subsampling": 0} if suffix == "jpg" else {}))
    picture = open_photo(tmp_path / f"held.{suffix}")
    assert picture.size == ((32, 64) if orientation in (6, 8) else (64, 32))
    x, y = np.array(picture.size) - 1
    corners = {"top left": (4, 4), "top right": (x - 4, 4), "bottom left": (4, y - 4), "bottom right": (x - 4, y - 4)}
    red = [name for name, place in corners.items() if picture.getpixel(place)[0] > 128]
    assert red == [TURNED[orientation]]


@pytest.mark.parametrize(("mode", "suffix", "colour", "expected"), [
    ("RGBA", "png", (200, 40, 10, 255), (200, 40, 10)), ("LA", "png", (77, 255), (77, 77, 77)), ("L", "jpg", 77, (77, 77, 77)),
    ("L", "png", 200, (200, 200, 200)), ("1", "png", 1, (255, 255, 255)), ("P", "png", (200, 40, 10), (200, 40, 10)),
    ("P", "gif", (200, 40, 10), (200, 40, 10)), ("CMYK", "jpg", (0, 255, 255, 0), (255, 0, 0)),
    ("RGB", "webp", (60, 60, 60), (60, 60, 60)), ("RGB", "bmp", (1, 2, 3), (1, 2, 3)),
])
def test_pictures_of_every_kind_become_rgb(tmp_path, mode, suffix, colour, expected):
    if mode == "P":
        picture = Image.new("RGB", (20, 10), colour).convert("P", palette=Image.Palette.ADAPTIVE)
    else:
        picture = Image.new(mode, (20, 10), colour)
    assert picture.mode == mode
    picture.save(tmp_path / f"picture.{suffix}")
    opened = open_photo(tmp_path / f"picture.{suffix}")
    assert opened.mode == "RGB" and opened.size == (20, 10)
    np.testing.assert_allclose(opened.getpixel((5, 5)), expected, atol=3)


def test_sixteen_bits_of_grey_keep_their_shades(tmp_path):
    ramp = np.linspace(0, 65535, 256).astype(np.uint16)[None].repeat(4, 0)
    Image.fromarray(ramp).save(tmp_path / "depth.png")
    assert np.abs(np.asarray(open_photo(tmp_path / "depth.png"))[0, :, 0].astype(int) - np.arange(256)).max() <= 2


@pytest.mark.parametrize(("top", "kind", "suffix"), [
    (1, np.float32, "tif"), (255, np.float32, "tif"), (255, np.int32, "tif"), (65535, np.int32, "tif"), (2**32 - 1, np.uint32, "tif"),
    (4095, np.uint16, "png"), (255, np.uint16, "png"), (65535, np.uint16, "tif")])
def test_grey_of_any_depth_keeps_its_shades(tmp_path, top, kind, suffix):
    ramp = (np.linspace(0, 1, 256)[None].repeat(4, 0) * top).astype(kind)
    Image.fromarray(ramp).save(tmp_path / f"grey.{suffix}")
    assert np.abs(np.asarray(open_photo(tmp_path / f"grey.{suffix}"))[0, :, 0].astype(int) - np.arange(256)).max() <= 1


def test_what_is_not_finite_or_brighter_than_white_spoils_no_shade(tmp_path):
    grey = np.array([[0.5, 1.02, np.nan, np.inf, -1.0]], np.float32)
    Image.fromarray(grey).save(tmp_path / "grey.tif")
    assert np.asarray(open_photo(tmp_path / "grey.tif"))[0, :, 0].tolist() == [128, 255, 0, 0, 0]


@pytest.fixture(scope="module")
def no_photos(tmp_path_factory):
    """A folder of what is no photograph."""
    root = tmp_path_factory.mktemp("no_photos")
    Image.effect_noise((200, 200), 50).convert("RGB").save(root / "whole.jpg")
    Image.effect_noise((200, 200), 50).save(root / "whole.png")
    for name in ("whole.jpg", "whole.png"):
        content = (root / name).read_bytes()
        (root / f"cut_{name}").write_bytes(content[: len(content) // 2])
    (root / "header.jpg").write_bytes((root / "whole.jpg").read_bytes()[:30])
    (root / "text.jpg").write_text("a person,\nstanding\n")
    (root / "empty.png").write_bytes(b"")
    (root / "noise.png").write_bytes(bytes(range(256)))
    (root / "folder.jpg").mkdir()
    (root / "vector.svg").write_text("<svg xmlns='http://www.w3.org/2000/svg'/>")
    return root


@pytest.mark.parametrize("name", ["text.jpg", "cut_whole.jpg", "cut_whole.png", "header.jpg", "empty.png", "noise.png", "none.jpg",
                                  "folder.jpg", "vector.svg"])
def test_what_is_no_picture_is_one_clear_line(no_photos, name):
    assert open_photo(no_photos / "whole.jpg").size == (200, 200)
    with pytest.raises(InputError, match=rf"{name}: cannot be read as a picture \(.+\); give a jpg or png") as raised:
        open_photo(no_photos / name)
    assert "\n" not in str(raised.value) and len(str(raised.value)) < 500


def test_a_picture_that_would_fill_the_memory_is_refused(tmp_path, monkeypatch):
    Image.new("1", (200, 200)).save(tmp_path / "bomb.png")
    monkeypatch.setattr(Image, "MAX_IMAGE_PIXELS", 1000)
    with pytest.raises(InputError, match="bomb.png: cannot be read as a picture .*bomb"):
        open_photo(tmp_path / "bomb.png")


def test_a_video_is_refused_with_the_way_out():
    with pytest.raises(InputError, match=r"squats\.mp4: cannot be read as a picture .* of a video one frame"):
        open_photo(photo_path("squats.mp4"))


def test_a_photograph_is_opened_as_it_is():
    path = photo_path("yoga.jpg")
    with Image.open(path) as image:
        assert np.array_equal(np.asarray(open_photo(path)), np.asarray(image.convert("RGB")))


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
    monkeypatch.setattr(files.subprocess, "run", download)
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
    monkeypatch.setattr(files.subprocess, "run", lambda *_, **__: failed)
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


def test_a_person_is_looked_at_in_the_whole_of_a_small_picture(blazepose):
    """Where the detector finds nobody, a crop of a person is enough for the second network."""
    picture = photo("yoga.jpg")
    person = blazepose(picture)[0]
    crop = crop_person(picture, person)
    again = blazepose.look(crop, Region.whole(crop))
    low, high = person.image.min(0), person.image.max(0)
    side = 1.25 * (high - low).max()
    expected = (person.image - ((low + high) / 2 - side / 2)) / side * crop.width
    assert np.linalg.norm(again.image - expected, axis=1).mean() < 0.05 * crop.width


def test_a_picture_thin_as_a_thread_shows_nobody(blazepose):
    for size in ((1000, 1), (1, 1000), (1, 1)):
        assert blazepose(Image.new("RGB", size, (120, 130, 140))) == []


def test_the_largest_person_comes_first_and_nobody_is_an_empty_list(blazepose):
    people = blazepose(photo("three_people.jpg"))
    assert len(people) >= 2 and people[0].region.side >= people[-1].region.side * 0.8
    noise = np.random.default_rng(0).integers(0, 255, (200, 300, 3), dtype=np.uint8)
    assert blazepose(Image.fromarray(noise)) == []
