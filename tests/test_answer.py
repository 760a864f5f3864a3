"""From a photograph to files: the largest person is the one that is posed, and what is written fits together."""

import numpy as np
import pytest
import torch
import trimesh
from PIL import Image

from minirft import answer
from minirft.answer import answer_photo, pick, write_meshes
from minirft.body import DATA, to_6d, to_matrix
from minirft.data import load_poses
from minirft.errors import InputError
from minirft.fit import camera, landmarks, misfit
from minirft.policy import PosePolicy

FACING = torch.diag(torch.tensor([1.0, -1.0, -1.0]))  # upright, looking into the camera
SIZE = 300, 240  # pixels of the photograph
ASK = "What is the pose of this person?"


@pytest.fixture(scope="module")
def truth():
    """A pose (24, 3, 3) as a camera before it sees it."""
    pose = load_poses(DATA / "rare.npz").pose[200]
    return torch.cat([FACING @ pose[:1], pose[1:]])


@pytest.fixture(scope="module")
def person(body, truth, person_of):
    return person_of(body, truth, scale=80.0, shift=(150.0, 120.0))


@pytest.fixture(scope="module")
def policy():
    """The shipped policy, looking at landmarks; of its poses only this matters here, that they look into the camera."""
    policy = PosePolicy.from_pretrained("mini-sft")
    policy.sees = "features"
    last = policy.head.layers[-1]
    with torch.no_grad():
        last.weight[:6], last.bias[:6] = 0, to_6d(FACING)
    return policy


@pytest.fixture
def mute(policy):
    """The same policy, unable to say <POSE>."""
    barred = policy._barred
    policy._barred = torch.cat([barred, torch.tensor([policy.pose_id])])
    yield policy
    policy._barred = barred


@pytest.fixture
def ask(policy, body, person, tmp_path, monkeypatch):
    """ask(question, ...): answer_photo of a photograph in which BlazePose sees `people`, and the arrays that it wrote."""
    def asked(question=None, *, people=(person,), size=SIZE, sheet=False, out=tmp_path, seed=0, **settings):
        monkeypatch.setattr(answer, "BlazePose", lambda: lambda photo: list(people))
        if not sheet:  # it takes half a second a pose
            monkeypatch.setattr(answer, "photo_sheet", lambda *_, **__: None)
        noise = np.random.default_rng(0).integers(90, 130, (size[1], size[0], 3), dtype=np.uint8)
        Image.fromarray(noise).save(tmp_path / "photo.png")
        given = answer_photo(policy, tmp_path / "photo.png", question, body=body, out=out, seed=seed, **settings)
        return *given, dict(np.load(out / "poses.npz", allow_pickle=False))

    return asked


def numbered(costs):
    """Poses, answers and log-probabilities of P questions with M answers each, all saying which they are, and their costs."""
    costs = torch.tensor(costs)
    number = torch.arange(costs.numel(), dtype=torch.float32).view(costs.shape)
    pose = number[..., None, None, None].expand(*costs.shape, 24, 3, 3)
    return costs, pose, [[f"{int(i)}" for i in row] for row in number], -number


def test_the_cheapest_are_picked_with_their_answers_best_first():
    costs, pose, answers, log_prob = numbered([[0.3, 0.1, 0.2, 0.4], [5.0, 8.0, 7.0, 6.0]])
    best, said, log_prob = pick(costs, 3, pose, answers, log_prob)
    assert best.shape == (2, 3, 24, 3, 3)
    assert said == [["1", "2", "0"], ["4", "7", "6"]]
    assert best[..., 0, 0, 0].tolist() == (-log_prob).tolist() == [[1, 2, 0], [4, 7, 6]]


def test_answers_without_a_pose_are_picked_last():
    costs, pose, answers, log_prob = numbered([[torch.inf, 0.2, torch.inf, 0.1]])
    assert pick(costs, 2, pose, answers, log_prob)[1] == [["3", "1"]]
    assert pick(costs, 3, pose, answers, log_prob)[1][0][:2] == ["3", "1"]
    assert pick(torch.full((1, 4), torch.inf), 2, pose, answers, log_prob)[0].shape == (1, 2, 24, 3, 3)


def test_what_is_written_is_the_pose_the_landmarks_and_the_camera_between_them(ask, body, person, tmp_path):
    pose, answers, people, made = ask(ASK, n=3, sheet=True)
    assert pose.shape == (1, 3, 24, 3, 3) and people == 1 and pose.isfinite().all()
    assert {name: array.shape for name, array in made.items()} == {
        "pose": (1, 3, 72), "joints": (1, 3, 24, 3), "answer": (1, 3), "frame": (), "log_prob": (1, 3), "prompt": (1,),
        "landmarks": (33, 2), "camera": (1, 3, 3)}
    assert made["frame"] == "camera" and made["prompt"].tolist() == [ASK] and made["answer"].tolist() == answers
    torch.testing.assert_close(to_matrix(torch.tensor(made["pose"])), pose, atol=1e-4, rtol=0)
    np.testing.assert_allclose(made["joints"], body.joints(pose), atol=1e-4)
    np.testing.assert_allclose(made["landmarks"], person.image, atol=1e-3)
    scale, shift = camera(landmarks(body, pose[0]), person)
    np.testing.assert_allclose(made["camera"][0], torch.cat([scale[:, 0], shift[:, 0]], 1), rtol=1e-4)
    with Image.open(tmp_path / "poses.png") as picture:
        assert picture.format == "PNG" and picture.height > 3 * 300


def test_of_several_people_the_first_is_posed_and_all_are_counted(ask, body, truth, person_of):
    small = person_of(body, truth.roll(1, 0), scale=20.0)
    first, _, people, made = ask(ASK, people=[person_of(body, truth), small, small])
    assert people == 3
    alone, other = (ask(ASK, people=[one])[0] for one in (person_of(body, truth), small))
    assert torch.equal(first, alone) and not torch.allclose(first, other, atol=1e-3)


def test_nobody_is_an_error_that_names_the_photograph(ask, tmp_path):
    with pytest.raises(InputError, match=r"photo\.png: nobody was found"):
        ask(ASK, people=[])
    assert not (tmp_path / "poses.npz").exists()


def test_a_policy_that_does_not_see_says_so(ask, policy, monkeypatch):
    monkeypatch.setattr(policy, "sees", None)
    with pytest.raises(InputError, match="has not learnt to see"):
        ask(ASK)


def test_without_a_question_the_usual_one_is_asked(ask):
    usual, asked, other = (ask(question)[0] for question in (None, answer.SHOWN[0], "Describe the arms of this person."))
    assert torch.equal(usual, asked) and not torch.equal(usual, other)


@pytest.mark.parametrize("see", ["features", "pixels", "both"])
def test_a_policy_gets_what_it_looks_at_and_a_crop_of_the_person(ask, policy, person, monkeypatch, see):
    monkeypatch.setattr(policy, "sees", see)
    given, real = [], policy.generate
    monkeypatch.setattr(policy, "generate", lambda *a, pictures, **s: given.extend(pictures) or real(*a, pictures=pictures, **s))
    assert ask(ASK)[0].isfinite().all()
    assert (given[0].pixels is None, given[0].features is None) == (see == "features", see == "pixels")
    if see != "features":
        assert given[0].pixels.shape == (224, 224, 3) and 85 < given[0].pixels[60:160, 60:160].mean() < 135
    if see != "pixels":
        np.testing.assert_allclose(given[0].features[:, 4:], (person.image - [150, 120]) / 100, atol=1e-4)


def test_an_answer_without_a_pose_does_no_harm(ask, mute, tmp_path):
    pose, answers, people, made = ask("hello", n=3, best_of=5, fit=True, sheet=True)
    assert pose.isnan().flatten(2).any(-1).all() and people == 1 and not any("<POSE>" in said for said in answers[0])
    assert made["pose"].shape == (1, 3, 72) and np.isnan(made["pose"]).all() and np.isnan(made["joints"]).all()
    assert np.isnan(made["log_prob"]).all() and np.isfinite(made["landmarks"]).all()
    with Image.open(tmp_path / "poses.png") as picture:
        assert min(picture.size) > 300


def test_answers_with_and_without_a_pose_stand_side_by_side(ask, policy, body, person, tmp_path, monkeypatch):
    real = policy.generate

    def halting(*arguments, **settings):  # every other answer holds none
        pose, answers, log_prob = real(*arguments, **settings)
        pose[:, ::2] = torch.nan
        return pose, [[said if k % 2 else "No." for k, said in enumerate(row)] for row in answers], log_prob

    monkeypatch.setattr(policy, "generate", halting)
    monkeypatch.setattr(policy, "gaussian", lambda *_: torch.full((2, 1, 132), torch.nan))  # the likeliest answer holds none
    pose, answers, _, made = ask(ASK, n=4, fit=True, sheet=True)
    there = np.isfinite(made["pose"]).all(-1)[0]
    assert there.tolist() == [False, True, False, True] == [said != "No." for said in answers[0]]
    assert np.isfinite(made["camera"][0][there]).all() and misfit(body, pose[0], person)[there].isfinite().all()
    pose, answers, _, _ = ask(ASK, n=3, best_of=4)
    assert [said != "No." for said in answers[0]] == [True, True, False] == pose[0].flatten(1).isfinite().all(1).tolist()
    write_meshes(body, pose, tmp_path, upright=False)
    assert {path.name for path in tmp_path.glob("*.obj")} == {"pose_000_00.obj", "pose_000_01.obj"}


def test_best_of_keeps_what_fits_the_photograph_best(ask, body, person):
    every, said, _, made = ask(ASK, n=10)
    best, kept, _, made_best = ask(ASK, n=3, best_of=10)
    off = misfit(body, every[0], person)
    order = off[1:].argsort()[:2] + 1
    assert off.max() > 1.05 * off.min() > misfit(body, best[0, 0], person)  # the first is put together of them all
    torch.testing.assert_close(best[0, 1:], every[0, order])
    assert kept[0] == [said[0][k] for k in (0, *order)]
    np.testing.assert_allclose(made_best["log_prob"][0, 1:], made["log_prob"][0][order], rtol=1e-5)
    assert np.isnan(made_best["log_prob"][0, 0])


def test_refining_brings_every_pose_nearer_to_the_landmarks(ask, body, person):
    drawn, refined = (ask(ASK, n=4, fit=fit, seed=3)[0][0] for fit in (False, True))
    before, after = misfit(body, drawn, person), misfit(body, refined, person)
    assert (after < 0.8 * before).all()
    torch.testing.assert_close(refined @ refined.transpose(-1, -2), torch.eye(3).expand(4, 24, 3, 3), atol=1e-4, rtol=0)


def test_the_seed_fixes_what_is_drawn(ask, tmp_path):
    one, same, other = (ask(ASK, n=3, seed=seed, out=tmp_path / folder)[0] for folder, seed in (("a", 1), ("b", 1), ("c", 2)))
    assert (tmp_path / "a" / "poses.npz").read_bytes() == (tmp_path / "b" / "poses.npz").read_bytes()
    assert torch.equal(one[0, 0], other[0, 0]) and not torch.allclose(one[0, 1:], other[0, 1:], atol=1e-3)


@pytest.mark.parametrize("size", [(300, 240), (3000, 2400)])
def test_the_body_is_drawn_where_the_person_is_seen(ask, policy, body, truth, person_of, monkeypatch, size):
    """The true pose, in a photograph as it is and in one that is drawn smaller than it is."""
    times = size[0] / 300
    seen, sheets = person_of(body, truth, scale=80.0 * times, shift=(150.0 * times, 120.0 * times)), []
    monkeypatch.setattr(policy, "generate", lambda *a, **s: (truth[None, None].clone(), [["It is <POSE>."]], torch.zeros(1, 1)))
    monkeypatch.setattr(answer, "photo_sheet", lambda photo, drawn, *_, **__: sheets.append((photo, drawn[0])))
    ask(ASK, people=[seen], size=size, sheet=True)
    photo, drawn = sheets[0]
    smaller = photo.shape[1] / size[0]
    assert max(photo.shape) <= answer.DRAWN_SIDE and photo.shape == drawn.shape
    y, x = np.nonzero((photo != drawn).any(-1))
    low, high = (bound * smaller for bound in (seen.image.min(0), seen.image.max(0)))
    np.testing.assert_allclose([x.min(), y.min(), x.max(), y.max()], [*low, *high], atol=0.2 * (high - low).max())
    inside = (photo != drawn).any(-1)[tuple((seen.image[[23, 24]] * smaller).astype(int)[:, ::-1].T)]
    assert inside.all()  # the hips


def test_meshes_are_written_with_up_up(body, truth, tmp_path):
    canonical = load_poses(DATA / "rare.npz").pose[200]
    for name, pose, upright in (("text", canonical, True), ("photo", truth, False)):
        write_meshes(body, torch.stack([torch.full((24, 3, 3), torch.nan), pose])[None], tmp_path / name, upright=upright)
        assert [path.name for path in (tmp_path / name).iterdir()] == ["pose_000_01.obj"]
    meshes = [trimesh.load(tmp_path / name / "pose_000_01.obj", process=False) for name in ("text", "photo")]
    np.testing.assert_allclose(meshes[0].vertices, body.vertices(canonical), atol=1e-5)
    middle = [mesh.vertices - mesh.vertices.mean(0) for mesh in meshes]
    np.testing.assert_allclose(*middle, atol=1e-4)  # the same body: not mirrored, not on its head
    assert all(mesh.volume > 0.03 for mesh in meshes)  # cubic metres: the faces look outwards
