"""What a picture shows is what the body does."""

import errno
import time
import warnings

import matplotlib.figure
import numpy as np
import pytest
import torch
import trimesh
from PIL import Image

from minirft.body import JOINT, to_matrix
from minirft.errors import InputError
from minirft.render import (SHEET_LIMIT, camera_axes, draw_over, mesh_image, photo_sheet, pose_sheet, rasterise,
                            skeleton_axes, write_mesh)


def pose(**turns):
    """A pose (24, 3, 3): the joints named turned by an axis-angle, the others at rest."""
    axis_angle = torch.zeros(24, 3)
    for name, turn in turns.items():
        axis_angle[JOINT[name]] = torch.tensor(turn)
    return to_matrix(axis_angle.flatten())


def body_pixels(body, vertices, **options):
    """Where the body is: (H, W) bool."""
    image = mesh_image(vertices, body.faces, **options).astype(int)
    return image[..., 2] - image[..., 0] > 8  # its skin is blue, the paper rather yellow


def test_a_square_covers_exactly_its_pixels():
    corners = np.array([[2, 3, 0], [2, 9, 0], [12, 9, 0], [12, 3, 0]], np.float32)
    pixels, _, weights = rasterise(corners, np.array([[0, 1, 2], [0, 2, 3]]), 16)
    expected = {y * 16 + x for y in range(3, 9) for x in range(2, 12)}
    assert set(pixels.tolist()) == expected and len(pixels) == len(expected)
    np.testing.assert_allclose(weights.sum(1), 1, atol=1e-6)


def test_weights_give_back_the_place_on_the_face():
    corners = np.array([[1, 1, 5], [3, 14, 2], [13, 6, 8]], np.float32)
    pixels, face, weights = rasterise(corners, np.array([[0, 1, 2]]), 16)
    place = weights @ corners
    np.testing.assert_allclose(place[:, 0], pixels % 16 + 0.5, atol=1e-4)
    np.testing.assert_allclose(place[:, 1], pixels // 16 + 0.5, atol=1e-4)
    assert len(pixels) > 50


def test_the_nearer_face_hides_the_other_whatever_their_order():
    near = np.array([[0, 0, 1], [0, 16, 1], [16, 0, 1]], np.float32)
    both = np.concatenate([near, near * [1, 1, -1]]).astype(np.float32)
    for faces, seen in (([[0, 1, 2], [3, 4, 5]], 0), ([[3, 4, 5], [0, 1, 2]], 1)):
        assert set(rasterise(both, np.array(faces), 16)[1].tolist()) == {seen}


def test_a_face_seen_from_behind_is_not_drawn():
    corners = np.array([[0, 0, 1], [0, 16, 1], [16, 0, 1]], np.float32)
    assert len(rasterise(corners, np.array([[0, 2, 1]]), 16)[0]) == 0


def test_the_left_hand_raised_is_on_the_readers_right_from_the_front(body):
    vertices = body.vertices(pose(left_shoulder=(0.0, 0.0, 1.2)))
    top = {view: np.argwhere(body_pixels(body, vertices, view=view))[0, 1] for view in ("front", "back")}
    assert top["front"] > 140 and top["back"] < 116


def test_from_the_side_the_body_faces_right(body):
    reach = pose(left_shoulder=(0.0, -1.5, 0.0), right_shoulder=(0.0, 1.5, 0.0))
    columns = np.flatnonzero(body_pixels(body, body.vertices(reach), view="side")[:120].any(0))
    rest = np.flatnonzero(body_pixels(body, body.vertices(pose()), view="side")[:120].any(0))
    assert columns.max() - columns.min() > 1.5 * (rest.max() - rest.min())
    feet = np.flatnonzero(body_pixels(body, body.vertices(reach), view="side")[200:].any(0)).mean()
    hands = columns.max()
    assert hands > feet + 30


def test_where_the_body_floats_does_not_matter(body):
    vertices = body.vertices(pose()).numpy()
    images = [mesh_image(vertices + shift, body.faces).astype(int) for shift in (0, np.array([0.3, 1.7, -2]))]
    assert np.abs(images[0] - images[1]).mean() < 0.5


def test_a_body_half_as_tall_is_drawn_half_as_tall(body):
    vertices = body.vertices(pose()).numpy()
    tall, small = (body_pixels(body, vertices * scale, elevation=0).any(1).sum() for scale in (1, 0.5))
    assert tall / small == pytest.approx(2, rel=0.05)


@pytest.mark.parametrize("view", ["front", "side", 45])
@pytest.mark.parametrize("turns", [
    {"left_shoulder": (0.0, 0.0, 1.5), "right_shoulder": (0.0, 0.0, -1.5)},  # arms up
    {"pelvis": (-1.57, 0.0, 0.0), "left_shoulder": (0.0, 0.0, 1.5), "right_shoulder": (0.0, 0.0, -1.5)},  # lying long
    {"left_hip": (-1.5, 0.0, 0.8), "right_hip": (0.9, 0.0, -0.8)},  # a leap
])
def test_every_pose_lies_within_the_picture(body, turns, view):
    inside = body_pixels(body, body.vertices(pose(**turns)), view=view)
    assert inside.sum() > 1000
    assert not (inside[0].any() or inside[-1].any() or inside[:, 0].any() or inside[:, -1].any())


def test_the_ground_is_darker_under_the_feet(body):
    image = mesh_image(body.vertices(pose()), body.faces).astype(int).sum(2)
    assert image[225:235, 90:165].min() < image[225:235, :20].min() - 60


def test_camera_axes_are_right_handed_and_look_down():
    axes = camera_axes(30, 12)
    np.testing.assert_allclose(axes @ axes.T, np.eye(3), atol=1e-6)
    assert np.linalg.det(axes) == pytest.approx(1, abs=1e-5)
    assert axes[2, 1] == pytest.approx(np.sin(np.radians(12)), abs=1e-6)


def test_an_unknown_view_names_the_known_ones(body):
    with pytest.raises(ValueError, match="front, front right, side, back"):
        mesh_image(body.vertices(pose()), body.faces, view="top")


def test_a_picture_takes_a_fraction_of_a_second(body):
    vertices = body.vertices(pose()).numpy()
    seconds = []
    for _ in range(5):
        start = time.process_time()
        mesh_image(vertices, body.faces)
        seconds.append(time.process_time() - start)
    assert min(seconds) < 0.3  # 0.04 s where it was written


def test_a_sheet_shows_every_sentence_and_says_where_there_is_no_pose(body, tmp_path):
    titles = ["A very long sentence about a person " * 6, "costs $5 and $6\nover two lines", "no pose \U0001F642"]
    poses = torch.stack([pose(), pose(left_shoulder=(0.0, 0.0, 1.2)), torch.full((24, 3, 3), float("nan"))])
    figure = pose_sheet(body, poses, titles, path=tmp_path / "poses.png")
    written = [" ".join(text.get_text().split()) for text in figure.texts]
    assert written[:3] == [" ".join(title.split()) for title in titles]
    pictures = [axes.images[0].get_array() for axes in figure.axes]
    blue = [(np.asarray(p)[..., 2].astype(int) - np.asarray(p)[..., 0] > 25).sum() for p in pictures]
    assert blue[0] > 3000 and blue[1] > 3000 and blue[2] == 0
    assert (np.asarray(pictures[2]) < 160).any()  # its words
    with Image.open(tmp_path / "poses.png") as image:
        assert image.width > 3 * 500


def test_samples_of_a_sentence_lie_side_by_side(body):
    figure = pose_sheet(body, torch.stack([pose()] * 6).view(2, 3, 24, 3, 3), ["a", "b"], views=("front",))
    assert [axes.images[0].get_array().shape for axes in figure.axes] == [(256, 768, 3)] * 2


def test_a_sheet_too_long_says_how_much_it_shows(body):
    count = SHEET_LIMIT + 5
    figure = pose_sheet(body, torch.full((count, 24, 3, 3), float("nan")), ["x"] * count)
    assert len(figure.axes) == SHEET_LIMIT and f"first {SHEET_LIMIT} of {count}" in figure.texts[-1].get_text()


def test_what_is_said_of_a_sheet_stays_on_it(body):
    figure = pose_sheet(body, pose()[None], ["up"], legend="before, after")
    figure.draw_without_rendering()
    boxes = {text.get_text(): text.get_window_extent() for text in figure.texts}
    assert any("Body: open" in text for text in boxes) and "before, after" in boxes
    assert all(0 <= box.x0 and box.x1 <= figure.bbox.x1 and 0 <= box.y0 and box.y1 <= figure.bbox.y1 for box in boxes.values())


def test_a_sheet_wants_one_title_a_pose(body):
    for titles in ([], ["a", "b"]):
        with pytest.raises(ValueError, match="titles"):
            pose_sheet(body, pose()[None], titles)


def test_a_full_disk_leaves_the_earlier_sheet(body, tmp_path, monkeypatch):
    path = tmp_path / "poses.png"
    path.write_bytes(b"earlier")

    def full(self, name, **options):
        name.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(matplotlib.figure.Figure, "savefig", full)
    with pytest.raises(InputError, match="No space left"):
        pose_sheet(body, torch.full((1, 24, 3, 3), float("nan")), ["x"], path=path)
    assert path.read_bytes() == b"earlier" and len(list(tmp_path.iterdir())) == 1


def board(width, height, place=(0.0, 0.0), half=(0.5, 0.25)):
    """A grey photograph and, in the camera frame, an upright rectangle that faces the camera."""
    x, y = np.array(place)[:, None] + np.array(half)[:, None] * [[-1, 1, 1, -1], [-1, -1, 1, 1]]
    photo = np.random.default_rng(0).integers(60, 200, (height, width, 3), dtype=np.uint8)
    return photo, np.stack([x, y, np.full(4, 3.0)], 1), np.array([[0, 2, 1], [0, 3, 2]])  # y points down


@pytest.mark.parametrize(("width", "height", "shift"), [
    (60, 20, (30, 10)), (60, 20, (52, 4)), (60, 20, (58, 19)), (20, 60, (10, 30)), (20, 60, (3, 55)), (20, 60, (17, 58)),
    (40, 40, (2, 2)), (40, 40, (-30, 70))])
def test_a_body_is_painted_where_it_is_in_the_photograph_and_nothing_else_is(width, height, shift):
    """Within, across each edge and beside of wide and of tall photographs: 20 x 10 pixels about `shift`."""
    photo, corners, faces = board(width, height)
    drawn = draw_over(photo, corners, faces, scale=20.0, shift=shift)
    assert drawn.shape == photo.shape and drawn.dtype == np.uint8
    expected = np.zeros((height, width), bool)
    x, y = shift
    expected[max(0, y - 5) : max(0, y + 5), max(0, x - 10) : max(0, x + 10)] = True
    np.testing.assert_array_equal((drawn != photo).any(-1), expected)
    assert expected.any() == (x > -10)


def test_the_photograph_shows_faintly_through_the_body(body):
    photo = np.zeros((40, 40, 3), np.uint8)
    photo[:, 20:] = 255
    drawn = draw_over(photo, *board(40, 40)[1:], scale=40.0, shift=(20, 20))[20].astype(int)
    assert 0 < drawn[30, 2] - drawn[10, 2] < 60


def test_drawn_over_a_person_the_body_covers_it_the_right_way_up_and_round(body):
    """In the camera frame of one who looks at us: the head above, the left arm, which is raised, on the right."""
    turned = pose(left_shoulder=(0.0, 0.0, 1.2))
    turned[0] = torch.diag(torch.tensor([1.0, -1.0, -1.0]))
    vertices, joints = body.vertices(turned).numpy(), body.joints(turned).numpy()
    for width, height in ((300, 200), (200, 300)):
        photo = np.full((height, width, 3), 250, np.uint8)
        shift = np.array([width / 2, height / 2])
        covered = (draw_over(photo, vertices, body.faces, scale=90.0, shift=shift) != photo).any(-1)
        x, y = (joints[:, :2] * 90 + shift).astype(int).T
        assert covered[y, x].all()
        low, high = ((bound(0) * 90)[:2] + shift for bound in (vertices.min, vertices.max))
        rows, columns = np.nonzero(covered)
        np.testing.assert_allclose([columns.min(), rows.min(), columns.max(), rows.max()], [*low, *high], atol=1.5)
        hand = joints[JOINT["left_hand"], :2] * 90 + shift
        assert hand[0] > width / 2 and hand[1] < height / 2
        assert covered[: int(hand[1]) + 3, int(hand[0]) - 5 :].any() and not covered[: int(hand[1]) + 3, : width // 2 - 20].any()


def test_of_what_lies_behind_each_other_the_nearer_is_drawn():
    """A slanted board, lit otherwise than an upright one: before it, then behind it."""
    photo, upright, faces = board(40, 40)
    slanted = upright + np.array([0, 0, 0.4]) * (upright[:, 1:2] > 0)
    both = np.concatenate([faces, faces + 4])
    alone = {name: draw_over(photo, corners, faces, scale=40.0, shift=(20, 20))
             for name, corners in (("upright", upright), ("slanted", slanted))}
    assert (alone["upright"] != alone["slanted"])[12:28, 5:35].any(-1).all()
    for nearer, corners in (("slanted", [upright + [0, 0, 1], slanted]), ("upright", [upright, slanted + [0, 0, 1]])):
        drawn = draw_over(photo, np.concatenate(corners), both, scale=40.0, shift=(20, 20))
        assert np.array_equal(drawn, alone[nearer])


@pytest.mark.parametrize("shape", [(120, 240), (240, 120)])
@pytest.mark.parametrize("count", [1, 3])
def test_a_photo_sheet_has_a_row_for_each_pose_and_says_what_was_asked(body, tmp_path, shape, count):
    photo = np.random.default_rng(0).integers(0, 255, (*shape, 3), dtype=np.uint8)
    drawn = [np.full((*shape, 3), 40 * i, np.uint8) for i in range(count)]
    turned = pose(left_shoulder=(0.0, 0.0, 1.2))
    turned[0] = torch.diag(torch.tensor([1.0, -1.0, -1.0]))
    bodies = body.vertices(turned[None].repeat(count, 1, 1, 1))
    if count == 3:
        bodies[1] = torch.nan  # an answer without a pose
    title = "What does this person do, who costs $5? " * (8 if count == 3 else 1)
    figure = photo_sheet(photo, drawn, bodies, body.faces, title, path=tmp_path / "sheet.png")
    shown = [np.asarray(axes.images[0].get_array()) for axes in figure.axes]
    assert len(shown) == (4 if count == 1 else 4 + 2 + 4)
    for row, start in enumerate([0] if count == 1 else [0, 4, 6]):
        assert np.array_equal(shown[start], photo) and np.array_equal(shown[start + 1], drawn[row])
    front = shown[2].astype(int)  # alone, as the camera sees it, the raised hand on the right
    top = np.argwhere(front[..., 2] - front[..., 0] > 40)[0, 1]
    assert top > front.shape[1] / 2 + 10
    assert [" ".join(text.get_text().split()) for text in figure.texts] == [title.strip()]
    boxes = np.array([axes.get_position().bounds for axes in figure.axes])
    assert (boxes[:, :2] >= 0).all() and (boxes[:, :2] + boxes[:, 2:] <= 1 + 1e-6).all()
    lines = figure.texts[0].get_text().count("\n") + 1
    bottom = 1 - (0.12 + lines * 9.5 * 1.2 / 72) / figure.get_figheight()  # of the words
    assert (boxes[:, 1] + boxes[:, 3]).max() <= bottom + 0.01
    for i, (x, y, width, height) in enumerate(boxes):  # no picture lies over another
        for x2, y2, *_ in boxes[i + 1 :]:
            assert x2 >= x + width - 1e-6 or y2 + height <= y + 1e-6
    with Image.open(tmp_path / "sheet.png") as image:
        assert image.format == "PNG" and abs(image.height - 128 * figure.get_figheight()) < 2


def test_a_photo_sheet_of_one_answer_without_a_pose_shows_the_photograph(body, tmp_path):
    photo = np.zeros((50, 80, 3), np.uint8)
    figure = photo_sheet(photo, [photo], torch.full((1, len(body.skin_at_rest), 3), torch.nan), body.faces, "hello",
                         path=tmp_path / "sheet.png")
    assert len(figure.axes) == 2 and (tmp_path / "sheet.png").is_file()


def test_letters_that_the_font_lacks_are_no_warning_on_either_sheet(body, tmp_path):
    """A question in another script or with an emoji is the user's good right."""
    photo, title = np.zeros((50, 80, 3), np.uint8), "\u3053\u306e\u4eba \U0001f938?"
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        pose_sheet(body, torch.full((1, 24, 3, 3), torch.nan), [title], path=tmp_path / "poses.png")
        photo_sheet(photo, [photo], torch.full((1, len(body.skin_at_rest), 3), torch.nan), body.faces, title,
                    path=tmp_path / "sheet.png")


def test_a_full_disk_leaves_the_earlier_photo_sheet(body, tmp_path, monkeypatch):
    path, photo = tmp_path / "poses.png", np.zeros((50, 80, 3), np.uint8)
    path.write_bytes(b"earlier")

    def full(self, name, **options):
        name.write_bytes(b"half")
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(matplotlib.figure.Figure, "savefig", full)
    with pytest.raises(InputError, match="No space left"):
        photo_sheet(photo, [photo], torch.full((1, 8, 3), torch.nan), body.faces, "x", path=path)
    assert path.read_bytes() == b"earlier" and len(list(tmp_path.iterdir())) == 1


def test_the_stick_figure_is_blue_on_its_left_and_orange_on_its_right(body):
    figure = matplotlib.figure.Figure()
    axes = figure.add_subplot(projection="3d")
    skeleton_axes(body.joints(pose()), axes)
    middle = {color: np.mean([line.get_data_3d()[0] for line in axes.lines if line.get_color() == color])
              for color in ("tab:blue", "tab:orange")}
    assert middle["tab:blue"] > 0.1 and middle["tab:orange"] < -0.1
    assert min(line.get_data_3d()[2].min() for line in axes.lines) >= 0


@pytest.mark.parametrize("suffix", [".obj", ".glb"])
def test_a_mesh_file_holds_the_body(body, tmp_path, suffix):
    vertices = body.vertices(pose())
    write_mesh(tmp_path / f"body{suffix}", vertices, body.faces)
    mesh = trimesh.load(tmp_path / f"body{suffix}", force="mesh", process=False)
    assert mesh.faces.shape == tuple(body.faces.shape)
    np.testing.assert_allclose(mesh.bounds, [vertices.amin(0), vertices.amax(0)], atol=1e-5)
    assert mesh.volume > 0.03  # cubic metres: the faces look outwards


def test_mesh_files_of_other_kinds_or_places_are_refused(body, tmp_path):
    (tmp_path / "file").write_text("")
    refused = {tmp_path / "body.xyz": r"end the name in \.obj or \.glb", tmp_path / "file" / "a.obj": "cannot write"}
    for path, message in refused.items():
        with pytest.raises(InputError, match=message):
            write_mesh(path, body.vertices(pose()), body.faces)
