"""The metrics: zero for the truth, blind to what they should be blind to, and unkind to missing poses."""

import json

import numpy as np
import pytest
import roma
import torch
from PIL import Image

from minirft import evaluate
from minirft.body import DATA, JOINT, to_6d
from minirft.data import SHOWN, PoseSet, load_poses, to_picture
from minirft.errors import InputError
from minirft.files import write_json
from minirft.policy import PosePolicy
from minirft.prior import PosePrior
from minirft.snapshots import TENSORS, Album, snapshot
from minirft.vision import BlazePose, Region, tokens


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


COLUMNS = {"mean", "samples", "best_of_8", "best_by_joint", "refined"}


class Seer:
    """A policy that knows an album and answers with what `make` makes of its poses, (M, 24, 3, 3) or (M, n, 24, 3, 3)."""

    name = "seer"

    def __init__(self, album, make, std=0.2):
        self.poses, self.std, self.at, self.asked = make(album.pose), std, 0, []

    def must_see(self):
        return "features"

    def generate(self, questions, *, pictures, n, seed):
        self.part = self.poses[self.at : self.at + len(questions)]
        self.at += len(questions)
        self.asked += zip(questions, pictures, strict=True)
        pose = (self.part if self.part.dim() == 5 else self.part[:, None].expand(-1, n, -1, -1, -1)).clone()
        return pose, [["It is <POSE>."] * n for _ in questions], torch.zeros(pose.shape[:2])

    def gaussian(self, questions, pictures):
        mean = to_6d((self.part if self.part.dim() == 4 else self.part[:, 0])[:, :22]).flatten(1)
        return mean, torch.full_like(mean, self.std).masked_fill(mean.isnan(), torch.nan)


@pytest.fixture(scope="module")
def album(body, poses, album_of):
    return album_of(body, poses)


@pytest.fixture
def see(body, album):
    """see(make): what evaluate_pictures says of a policy that answers with make(the album's poses)."""
    return lambda make, **settings: evaluate.evaluate_pictures(Seer(album, make, **settings), album, body=body, progress=False)


def shaken(amount, draws=evaluate.DRAWS):
    """Turns every joint of every draw by about so many radians."""
    def make(truth):
        turn = amount * torch.randn(len(truth), draws, 24, 3, generator=torch.Generator().manual_seed(0))
        return truth[:, None] @ roma.rotvec_to_rotmat(turn)

    return make


def test_the_true_poses_lie_in_their_photographs_but_for_the_bodies_shapes(see, album):
    report = see(lambda truth: truth)
    about = {"model": "seer", "task": "image", "sees": "features", "seed": 0, "body": "open", "joints": "open-24",
             "pictures": len(album), "found": 1.0, "missing_mm": evaluate.MISSING_MM, "draws": 8}
    assert about.items() <= report.items()
    for errors in (report, report["twelve"]):
        assert COLUMNS <= set(errors["mpjpe_mm"]) and COLUMNS <= set(errors["pa_mpjpe_mm"])
        assert all(1 < errors["mpjpe_mm"][column] < 70 for column in COLUMNS - {"refined"})
        assert all(0 < errors["pa_mpjpe_mm"][column] < errors["mpjpe_mm"][column] for column in COLUMNS)
    assert set(report["misfit"]) == COLUMNS and all(0 < off < 0.03 for off in report["misfit"].values())
    assert report["mpjpe_mm"]["samples"] == pytest.approx(report["mpjpe_mm"]["mean"], rel=1e-4)
    for errors in report["twelve"].values():  # what was seen here are the true landmarks
        assert errors["blazepose"] < 0.1
    assert json.loads(json.dumps(report)) == report


def test_wrong_poses_are_further_off_and_refining_helps_in_the_picture(see):
    right, near, wrong = see(lambda truth: truth), see(shaken(0.2)), see(lambda truth: truth.roll(1, 0))
    for metric in ("mpjpe_mm", "pa_mpjpe_mm", "misfit"):
        assert right[metric]["mean"] < 0.8 * near[metric]["mean"] < 0.64 * wrong[metric]["mean"]
    for report in (near, wrong):
        assert report["misfit"]["refined"] < 0.7 * report["misfit"]["mean"]


def test_the_best_of_eight_fits_no_worse_than_the_mean_or_any_other(see, body, album):
    report = see(shaken(0.25))
    drawn = shaken(0.25)(album.pose)
    off = evaluate.misfit(body, drawn, album.person(range(len(album)), draws=True))
    assert report["misfit"]["best_of_8"] == pytest.approx(off.min(1).values.mean().item(), rel=1e-4)
    assert report["misfit"]["mean"] == pytest.approx(off[:, 0].mean().item(), rel=1e-4)
    assert report["misfit"]["samples"] == pytest.approx(off[:, 1:].mean().item(), rel=1e-4)
    assert report["misfit"]["best_of_8"] < 0.9 * report["misfit"]["mean"]
    assert report["mpjpe_mm"]["best_of_8"] < report["mpjpe_mm"]["samples"]
    assert report["misfit"]["best_by_joint"] < 0.9 * report["misfit"]["mean"]
    assert report["diversity_mm"]["samples"] == pytest.approx(evaluate.diversity_mm(body.joints(drawn[:, 1:])).mean().item(), rel=1e-4)


def test_missing_poses_count_as_stated_and_any_other_is_better_than_none(see):
    def halting(truth):  # half of the likeliest answers hold no pose, of every other answer the last half
        drawn = shaken(0.0)(truth)
        drawn[: len(truth) // 2, 0] = torch.nan
        drawn[:, 4:] = torch.nan
        return drawn

    whole, report = see(lambda truth: truth), see(halting)
    for errors, all_there in ((report, whole), (report["twelve"], whole["twelve"])):
        for metric in ("mpjpe_mm", "pa_mpjpe_mm"):
            assert 0 < errors[metric]["mean"] - evaluate.MISSING_MM / 2 < all_there[metric]["mean"]
            expected = (3 * all_there[metric]["mean"] + 4 * evaluate.MISSING_MM) / 7
            assert errors[metric]["samples"] == pytest.approx(expected, rel=1e-3)
            assert errors[metric]["best_of_8"] == pytest.approx(all_there[metric]["mean"], rel=1e-3)
            assert min(errors[metric][column] for column in ("best_by_joint", "refined")) > evaluate.MISSING_MM / 2
    assert all(0 < off < 0.03 for off in report["misfit"].values())  # of those that are there
    assert [report["format_failures"][column] for column in ("mean", "samples")] == pytest.approx([0.5, 4 / 7], abs=1e-3)
    assert sum(map(len, report["calibration"].values())) > 0 and np.isfinite(report["calibration"]["rms_error"]).all()


def test_a_policy_that_never_poses_is_measured_on_photographs_too(see, tmp_path):
    report = see(lambda truth: torch.full_like(truth, torch.nan))
    assert all(report["mpjpe_mm"][column] == report["pa_mpjpe_mm"][column] == evaluate.MISSING_MM for column in COLUMNS)
    write_json(tmp_path / "report.json", report)  # JSON has no NaN
    assert report["calibration"] == {"std": [], "rms_error": []}


def test_each_photograph_is_asked_about_in_its_own_batch_whatever_their_number(body, album_of):
    """More than a batch of fifty: every pose is held against its own picture."""
    poses = load_poses(DATA / "rare.npz").pose[::15][:55]
    album = album_of(body, poses)

    def bent(truth):  # arms and legs a little wrong
        turn = roma.rotvec_to_rotmat(torch.tensor([0.0, 0.0, 0.4]))
        limbs = [JOINT[f"{side}_{part}"] for side in ("left", "right") for part in ("shoulder", "hip")]
        return truth.index_copy(1, torch.tensor(limbs), truth[:, limbs] @ turn)

    seer = Seer(album, bent)
    report = evaluate.evaluate_pictures(seer, album, body=body, seed=3, name="its name", progress=False)
    assert report["pictures"] == 55 and report["model"] == "its name" and report["misfit"]["mean"] < 0.1
    assert report["misfit"]["refined"] < 0.6 * report["misfit"]["mean"]  # each to its own landmarks
    assert report["mpjpe_mm"]["refined"] < 0.9 * report["mpjpe_mm"]["mean"] and len(seer.asked) == 55
    assert all(torch.equal(picture.features, album.tokens[i]) and picture.pixels is None
               for i, (_, picture) in enumerate(seer.asked))
    questions = [question for question, _ in seer.asked]
    assert set(questions) <= set(SHOWN) and len(set(questions)) > 3
    again = Seer(album, bent)
    evaluate.evaluate_pictures(again, album, body=body, seed=3, progress=False)
    assert questions == [question for question, _ in again.asked]


def test_a_policy_that_has_not_learnt_to_see_is_not_measured_on_photographs(body, album):
    with pytest.raises(InputError, match="has not learnt to see"):
        evaluate.evaluate_pictures(PosePolicy.mini(), album, body=body, progress=False)


def test_a_real_policy_is_measured_on_photographs_and_again_alike(body, album):
    policy = PosePolicy.from_pretrained("mini-sft")
    policy.sees = "features"
    few = Album(album.jpeg[:3], *(getattr(album, name)[:3] for name in TENSORS))
    one, same, other = (evaluate.evaluate_pictures(policy, few, body=body, seed=seed, progress=False) for seed in (0, 0, 1))
    assert one == same and one["mpjpe_mm"]["samples"] != other["mpjpe_mm"]["samples"]
    assert len(one["calibration"]["std"]) == 10 and 0.019 < one["calibration"]["std"][0] < one["calibration"]["std"][-1] < 0.71


def test_the_twelve_are_compared_with_the_middle_of_the_hips_on_the_middle_of_the_hips():
    truth = torch.randn(4, 12, 3, generator=torch.Generator().manual_seed(0))
    assert evaluate.hip_mpjpe_mm(truth + torch.tensor([3.0, -1.0, 2.0]), truth).max() < 1e-3
    off = truth.clone()
    off[:, 9, 0] += 0.012
    torch.testing.assert_close(evaluate.hip_mpjpe_mm(off, truth), torch.ones(4), rtol=1e-3, atol=1e-4)
    hips = truth.clone()
    hips[:, 0, 0] += 0.012  # a hip is off, and half as much, on the other side, is everything else
    torch.testing.assert_close(evaluate.hip_mpjpe_mm(hips, truth), torch.full((4,), 6.0), rtol=1e-3, atol=1e-4)
    assert evaluate.hip_mpjpe_mm(1.2 * truth, truth).min() > 100
    assert [evaluate.BOTH[i] for i in evaluate.HIPS] == ["left_hip", "right_hip"]


def erring(count, claimed=1.0, seed=0):
    """Means and stds (P, 132) and true poses that lie so many times `claimed` from them."""
    generator = torch.Generator().manual_seed(seed)
    truth = roma.random_rotmat(count * 24, generator=generator).view(count, 24, 3, 3)
    std = 0.02 * 30 ** torch.rand(count, 132, generator=generator)  # 0.02 to 0.6
    mean = to_6d(truth[:, :22]).flatten(1) + std * torch.randn(count, 132, generator=generator)
    return mean, std * claimed, truth


def test_a_spread_that_is_true_is_calibrated():
    found = evaluate.calibration(*erring(300))
    std, error = (np.array(found[name]) for name in ("std", "rms_error"))
    assert len(std) == len(error) == 10 and (np.diff(std) > 0).all() and 0.02 < std[0] < 0.04 < 0.4 < std[-1] < 0.6
    np.testing.assert_allclose(error, std, rtol=0.05)
    assert len(evaluate.calibration(*erring(30), bins=4)["std"]) == 4


def test_a_head_that_is_too_sure_or_that_knows_nothing_is_found_out():
    sure = evaluate.calibration(*erring(300, claimed=0.25))
    np.testing.assert_allclose(np.array(sure["rms_error"]) / sure["std"], 4, rtol=0.05)
    mean, std, truth = erring(300)
    guessed = evaluate.calibration(mean, std[torch.randperm(300)].roll(7, 1), truth)  # spreads of others
    assert max(guessed["rms_error"]) < 1.2 * min(guessed["rms_error"]) and guessed["std"][-1] > 5 * guessed["std"][0]


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


@pytest.mark.slow
def test_the_head_is_less_sure_of_an_arm_that_it_cannot_see(body):
    """The same photographs with and without something before the left forearm and hand."""
    policy = PosePolicy.from_pretrained("mini-sft")
    if policy.sees is None:
        pytest.skip("mini-sft has not learnt to see")
    try:
        blazepose = BlazePose()
    except InputError as error:
        pytest.skip(f"BlazePose cannot be fetched here: {error}")
    arm, shown = [JOINT["left_elbow"], JOINT["left_wrist"]], []
    for seed, pose in enumerate(load_poses(DATA / "rare.npz").pose[::12][:150]):
        free = snapshot(body, pose, np.random.default_rng(seed), obstacles=[])
        pixels = free.pixels[[*arm, JOINT["left_hand"]]].numpy()
        low, high = pixels.min(0) - 8, pixels.max(0) + 8
        hidden = snapshot(body, pose, np.random.default_rng(seed), obstacles=[(*low, *(high - low))])
        assert hidden.hidden[[*arm, JOINT["left_hand"]]].all()
        for shot in (free, hidden):
            image = Image.fromarray(shot.image)
            person = next(iter(blazepose(image)), None) or blazepose.look(image, Region.whole(image))
            shown.append(to_picture(image, tokens(person), policy.sees))
    parts = [shown[i : i + 50] for i in range(0, len(shown), 50)]
    std = torch.cat([policy.gaussian([SHOWN[0]] * len(part), part)[1] for part in parts]).view(-1, 2, 22, 6)
    rise = (std[:, 1, arm] - std[:, 0, arm]).mean((1, 2))  # of each photograph
    assert rise.mean() > 2 * rise.std() / len(rise) ** 0.5, f"{rise.mean():.4f} of {std[:, 0, arm].mean():.4f}"
