"""The field's protocols on cases small enough to reckon by hand, and the table in which no column mixes what does not compare."""

import json
import re

import numpy as np
import pytest
import torch
from test_published import people, posescript_v2, rpe_entry, threedpw, write

from minirft import protocols
from minirft.body import DATA, load_body, to_matrix
from minirft.cli import main
from minirft.data import Sample
from minirft.errors import InputError
from minirft.policy import PosePolicy
from minirft.protocols import FIGURES, PROTOCOLS


class Answers:
    """A policy that gives these poses, whatever it is asked: (P, 24, 3, 3), NaN for none."""

    name = "stub"

    def __init__(self, poses):
        self.poses, self.asked = poses, []

    def must_see(self):
        return "pixels"

    def generate(self, questions, *, pictures, n, seed):
        first = len(self.asked)
        self.asked += questions
        return self.poses[first : first + len(questions), None], None, None


@pytest.fixture(scope="module")
def smpl():
    """A body with SMPL's 6,890 vertices: the open one, each of the last ones there twice."""
    body = load_body()
    return smpl_of(body)


def smpl_of(body):
    arrays = dict(np.load(DATA / "body.npz"))
    more = 6890 - len(arrays["v_template"])
    for name in ("v_template", "shapedirs", "posedirs", "weights"):
        arrays[name] = np.concatenate([arrays[name], arrays[name][-more:]])
    arrays["J_regressor"] = np.concatenate([np.asarray(arrays["J_regressor"]), np.zeros((24, more))], 1)
    return type(body)(arrays, "SMPL_NEUTRAL")


def two_test_poses(root):
    posescript_v2(root, human={"0": ["Arms up."], "2": ["He kneels.", "On his knees."], "1": "Arms out."}, splits={"train": [0, 3], "val": [], "test": [2, 1]})


def regressor(root):
    """Human3.6M's regressor: joint k is vertex 100 k."""
    array = np.zeros((17, 6890))
    array[range(17), [100 * k for k in range(17)]] = 1
    np.save(root / "J_regressor_h36m.npy", array)


def camera_poses(count, seed=0):
    pose = to_matrix(torch.randn(count, 72, generator=torch.Generator().manual_seed(seed)) * 0.2)
    pose[:, 22:] = torch.eye(3)
    return pose


# By hand.

def test_spins_order_takes_regressed_joints_to_measured_ones():
    names_h36m = ["pelvis", "r_hip", "r_knee", "r_ankle", "l_hip", "l_knee", "l_ankle", "spine", "neck", "jaw", "head", "l_shoulder", "l_elbow", "l_wrist",
                  "r_shoulder", "r_elbow", "r_wrist"]
    names_j24 = ["r_ankle", "r_knee", "r_hip", "l_hip", "l_knee", "l_ankle", "r_wrist", "r_elbow", "r_shoulder", "l_shoulder", "l_elbow", "l_wrist",
                 "neck", "top", "pelvis", "thorax", "spine", "jaw", "head"]
    # SPIN's own lists, which pair Human3.6M's ankles with LSP's by position
    assert protocols.FROM_REGRESSOR[:14] == [6, 5, 4, 1, 2, 3, 16, 15, 14, 11, 12, 13, 8, 10]
    assert names_h36m[protocols.FROM_REGRESSOR[protocols.PELVIS]] == names_j24[protocols.FROM_MEASURED[protocols.PELVIS]] == "pelvis"
    assert [names_j24[i] for i in protocols.FROM_MEASURED[12:]] == ["neck", "head", "pelvis", "spine", "jaw"]
    assert [names_h36m[i] for i in protocols.FROM_REGRESSOR[6:14]] == [names_j24[i] for i in protocols.FROM_MEASURED[6:14]]
    assert sorted(protocols.FROM_REGRESSOR) == list(range(17)) and len(set(protocols.FROM_MEASURED)) == 17


def test_fourteen_joints_are_compared_with_the_pelvis_on_the_pelvis_which_does_not_count():
    truth = torch.randn(1, 17, 3, generator=torch.Generator().manual_seed(0))
    moved = truth + torch.tensor([0.5, 0, 2.0])
    assert protocols.joint_errors(moved, truth, PROTOCOLS["3dpw-14"])[0].item() == pytest.approx(0, abs=1e-3)
    hand = moved.clone()
    hand[0, 6, 0] += 0.14  # one of 14 by 140 mm
    assert protocols.joint_errors(hand, truth, PROTOCOLS["3dpw-14"])[0].item() == pytest.approx(10, abs=1e-3)
    assert protocols.joint_errors(hand, truth, PROTOCOLS["h36m-17"])[0].item() == pytest.approx(140 / 17, abs=1e-3)
    hip = moved.clone()
    hip[0, protocols.PELVIS, 1] += 0.05  # the pelvis alone: all 14 are off by it
    assert protocols.joint_errors(hip, truth, PROTOCOLS["3dpw-14"])[0].item() == pytest.approx(50, abs=1e-3)
    assert protocols.joint_errors(hip, truth, PROTOCOLS["3dpw-14"])[1].item() == pytest.approx(0, abs=1e-2)


def test_alignment_forgives_turn_size_and_place_and_nothing_else():
    truth = torch.randn(1, 22, 3, generator=torch.Generator().manual_seed(0))
    turn = to_matrix(torch.tensor([[0.3, -1.0, 0.5] * 24]))[0, 0]
    same = 1.7 * truth @ turn.T + 3
    mpjpe, aligned = protocols.joint_errors(same, truth, PROTOCOLS["rpe-22"])
    assert mpjpe.item() > 300 and aligned.item() == pytest.approx(0, abs=1e-2)
    assert protocols.joint_errors(same * torch.tensor([1, 1, -1.0]), truth, PROTOCOLS["rpe-22"])[1].item() > 100  # a mirror image


def test_truth_that_was_not_measured_is_none_and_zeros_are_not_measured():
    joints = torch.randn(19, 3)
    sample, body = Sample("q", "a", joints=joints), load_body()
    torch.testing.assert_close(protocols.truth_of(sample, PROTOCOLS["3dpw-14"], body), joints[protocols.FROM_MEASURED])
    for spoilt in (joints * 0, joints.index_fill(0, torch.tensor([18]), torch.nan), joints.index_fill(0, torch.tensor([14]), torch.nan)):
        assert protocols.truth_of(Sample("q", "a", joints=spoilt), PROTOCOLS["3dpw-14"], body) is None
    odd = joints.index_fill(0, torch.tensor([16]), torch.nan)  # the spine is one of 17, not of 14
    assert protocols.truth_of(Sample("q", "a", joints=odd), PROTOCOLS["3dpw-14"], body) is not None
    assert protocols.truth_of(Sample("q", "a", joints=odd), PROTOCOLS["h36m-17"], body) is None
    assert protocols.truth_of(Sample("q", "a"), PROTOCOLS["open-24"], body) is None


# Run on files.

@pytest.mark.parametrize(("name", "file", "joints"), [("3dpw-14", "3dpw_test.npz", 14), ("h36m-14", "h36m_val_p2.npz", 14), ("h36m-17", "h36m_val_p2.npz", 17)])
def test_a_pose_that_is_the_truth_has_no_error_and_a_missing_one_the_stated(tmp_path, smpl, name, file, joints):
    poses, arrays = camera_poses(3), people()
    regressor(tmp_path)
    at = smpl.vertices(poses)[:, [100 * k for k in range(17)]]
    arrays["extra_keypoints_3d"][..., protocols.FROM_MEASURED, :3] = at[:, protocols.FROM_REGRESSOR] + 2
    threedpw(tmp_path, arrays, file)
    for missing, expected in ((None, 0), (1, 100)):
        given = poses.clone()
        if missing is not None:
            given[missing] = torch.nan
        report = protocols.run(name, tmp_path, Answers(given), body=smpl)
        (measured, errors), = report["rows"]
        assert measured == f"SMPL; {joints}" and errors == pytest.approx([expected] * 2, abs=0.1)  # 300 mm for one of three
        assert report["without_pose"] == (missing is not None) and report["missing_mm"] == 300


def test_a_picture_that_cannot_be_opened_counts_as_no_pose_and_ends_nothing(tmp_path, smpl):
    threedpw(tmp_path, people())
    samples = [s for found in protocols.survey(tmp_path, ["3DPW"]) for s in found.samples]
    samples[1].picture.path.write_bytes(b"no picture")

    class Seeing(Answers):
        def generate(self, questions, *, pictures, **settings):
            return torch.eye(3).repeat(len(questions), 1, 24, 1, 1), None, None

    with pytest.warns(UserWarning, match="counts as an answer without a pose: .*cannot be read as a picture"):
        made = protocols.answer(Seeing(None), samples)
    assert made.isnan().flatten(1).any(1).tolist() == [k == 1 for k in range(len(samples))]


def test_rpe_is_measured_on_22_joints_over_its_four_lists_and_each(tmp_path, smpl):
    threedpw(tmp_path, people())
    poses = camera_poses(3)
    joints = smpl.joints(poses) + 1
    joints[:, 22:] += 5  # hands do not count
    joints[2, 0] += torch.tensor([0.0, 0.022, 0])  # the pelvis of the third
    for part, i in (("behavior", 0), ("pose", 1), ("shape", 2)):
        entry = rpe_entry(i)
        entry["ground_truth"]["fitted_joint_cam"] = (joints[i].clone()[:22].tolist() + joints[i, :2].tolist())
        write(tmp_path / f"refine_vqa_{part}_withGT.json", [entry])
    policy = Answers(poses)
    report = protocols.run("rpe-22", tmp_path, policy, body=smpl)
    (total, errors), *parts = report["rows"]
    assert total == "SMPL; 22" and errors[0] == pytest.approx(22 * 21 / 22 / 3, abs=0.1)
    assert [what.split("; ")[2] for what, _ in parts] == ["RPE behavior alone", "RPE pose alone", "RPE shape alone"]
    assert parts[0][1][0] == pytest.approx(0, abs=0.1) and parts[2][1][0] == pytest.approx(21, abs=0.1)
    assert policy.asked == ["The man is about to sit down, can you give his SMPL pose?"] * 3  # its own words, not ours


@pytest.mark.parametrize(("name", "prepare", "says"), [
    ("3dpw-14", None, "14 joints .*cannot be had of the open body; pass SMPL_NEUTRAL.pkl by --body, or use open-24"),
    ("rpe-22", None, "22 joints .*open body"),
    ("h36m-17", "smpl", "J_regressor_h36m.npy is not there; get it from SPIN"),
    ("h36m-17", "narrow", r"\(17, 100\); Human3.6M's regressor is \(17, 6890\)"),
    ("3dpw-14", "spin", "3dpw_test.npz.*3 samples without truth for these joints.*|nothing there for 3dpw-14.*4D-Humans"),
    ("3dpw-14", "two", "3dpw-14 is run on one set, but there are 3DPW 3dpw_other.npz, 3DPW 3dpw_test.npz"),
    ("posescript-full", None, "nothing there for posescript-full; get posescript_release_v2.zip"),
    ("mpjpe", None, "mpjpe: no protocol; use one of 3dpw-14, h36m-14"),
])
def test_what_a_protocol_lacks_is_one_line_with_the_way_out(tmp_path, smpl, name, prepare, says):
    threedpw(tmp_path, people(writer="SPIN" if prepare == "spin" else "4D-Humans") | ({"S": np.zeros((3, 24, 4))} if prepare == "spin" else {}))
    if prepare == "two":
        threedpw(tmp_path, people(), "3dpw_other.npz")
    if prepare in ("spin", "two"):
        regressor(tmp_path)
    if prepare == "narrow":
        np.save(tmp_path / "J_regressor_h36m.npy", np.zeros((17, 100)))
    with pytest.raises(InputError, match=says):
        protocols.run(name, tmp_path, Answers(camera_poses(3)), body=smpl if prepare else load_body())


@pytest.mark.parametrize("name", ["empty", "npz", "short", "text"])
def test_a_regressor_that_is_no_array_is_one_line(tmp_path, smpl, name):
    regressor(tmp_path)
    path = tmp_path / "J_regressor_h36m.npy"
    np.savez(tmp_path / "some.npz", array=np.load(path))
    path.write_bytes({"empty": b"", "npz": (tmp_path / "some.npz").read_bytes(), "short": path.read_bytes()[:1000], "text": b"none"}[name])
    with pytest.raises(InputError, match="J_regressor_h36m.npy: (cannot be read as an array|has shape)"):
        protocols.run("3dpw-14", tmp_path, Answers(camera_poses(3)), body=smpl)


def test_samples_without_truth_are_left_out_and_told(tmp_path, smpl):
    arrays = people()
    arrays["extra_keypoints_3d"][1] = 0
    threedpw(tmp_path, arrays), regressor(tmp_path)
    report = protocols.run("3dpw-14", tmp_path, Answers(camera_poses(2)), body=smpl)
    assert report["samples"] == 2 and "    1 samples without truth for these joints are left out" in report["notes"]


def test_training_files_are_no_benchmark(tmp_path):
    threedpw(tmp_path, people(), "3dpw_train.npz")
    with pytest.raises(InputError, match="nothing there for open-24.*3DPW, train: not asked"):
        protocols.run("open-24", tmp_path, Answers(camera_poses(3)), body=load_body())


def test_what_papers_test_on_is_not_3dpws_validation(tmp_path, smpl):
    threedpw(tmp_path, people(), "3dpw_val.npz"), regressor(tmp_path)
    with pytest.raises(InputError, match="nothing there for 3dpw-14.*3DPW, val: not asked"):
        protocols.run("3dpw-14", tmp_path, Answers(camera_poses(3)), body=smpl)
    assert protocols.run("open-24", tmp_path, Answers(camera_poses(3)), body=load_body())["samples"] == 3
    threedpw(tmp_path, people())
    assert protocols.run("3dpw-14", tmp_path, Answers(camera_poses(3)), body=smpl)["samples"] == 3


def test_the_open_body_measures_the_true_poses_on_itself(tmp_path):
    arrays = people()
    threedpw(tmp_path, arrays)
    true = to_matrix(torch.tensor(arrays["body_pose"]))
    report = protocols.run("open-24", tmp_path, Answers(true), body=load_body())
    assert report["rows"][0][0] == "open; 24" and report["rows"][0][1] == pytest.approx([0, 0], abs=0.1)  # hands are no matter: 24 joints, not their turn
    assert "| ChatPose" not in protocols.table(report) and "No paper gives figures for this" in protocols.table(report)


def test_a_limit_picks_by_seed(tmp_path):
    two_test_poses(tmp_path)
    picks = {seed: Answers(camera_poses(1)) for seed in range(6)}
    for seed, policy in picks.items():
        assert protocols.run("posescript-full", tmp_path, policy, body=load_body(), seed=seed, limit=1)["samples"] == 1
    assert {tuple(policy.asked) for policy in picks.values()} == {("He kneels.",), ("Arms out.",)}


# Retrieval.

def test_a_pool_is_seeded_names_its_size_and_is_easier_than_all():
    generator = torch.Generator().manual_seed(0)
    text = torch.nn.functional.normalize(torch.randn(200, 8, generator=generator), dim=-1)
    made = torch.nn.functional.normalize(text + 0.8 * torch.randn(200, 8, generator=generator), dim=-1)
    none = torch.zeros(200, dtype=torch.bool)
    pool, full = protocols.recalls(text, made, none)
    assert pool == "200 poses" and len(full) == 2 * len(protocols.KS)
    (name, small), (_, same), (_, other) = (protocols.recalls(text, made, none, size=20, seed=seed) for seed in (1, 1, 2))
    assert name == f"20 of 200 poses, {protocols.POOLS} times, seed 1" and small == same != other
    assert all(a > b for a, b in zip(small[:3], full[:3])) and small[3] == 100  # of 20 the first 20
    assert protocols.recalls(text, made, none, size=500)[0] == "200 poses"


def test_an_answer_without_a_pose_finds_nothing():
    same = torch.eye(4)
    missing = torch.tensor([True, False, False, False])
    _, figures = protocols.recalls(same, same, missing)
    assert figures[:2] == [75, 75]


@pytest.mark.parametrize("name", ["posescript-full", "posescript-pool"])
def test_posescripts_test_texts_are_asked_as_they_are_and_every_row_names_retriever_and_pool(tmp_path, name, monkeypatch):
    monkeypatch.setattr(protocols, "POOL", 1)
    two_test_poses(tmp_path)
    policy = Answers(camera_poses(2))
    report = protocols.run(name, tmp_path, policy, body=load_body())
    assert policy.asked == ["He kneels.", "Arms out."]  # the human texts of the test split alone, one a pose
    assert "    1 further texts of a pose are left out" in report["notes"]
    pool = "2 poses" if name.endswith("full") else "1 of 2 poses, 100 times, seed 0"
    assert [what for what, _ in report["rows"]] == [f"minirft's {kind}; {pool}" for kind in ("reward_model", "reward_model, real poses", "judge", "judge, real poses")]
    printed = protocols.table(report)
    assert f"| stub | minirft's judge; {pool} |" in printed
    ours = {what for what, _ in report["rows"]}
    assert not any(what in ours for _, what, _ in FIGURES[name])  # no column says that theirs compare with ours


# The table and the command.

def test_the_papers_figures_stand_beside_ours_and_say_what_they_are_of():
    report = {"protocol": "3dpw-14", "model": "mine", "samples": 3, "without_pose": 1, "missing_mm": 300.0, "rows": [("SMPL; 14", [100.0, 50.0])]}
    lines = protocols.table(report).splitlines()
    assert "3 samples, 1 answers without a pose, which count 300 mm" in lines[0]
    assert lines[1] == "| model | body; joints | MPJPE | PA-MPJPE |" and lines[3] == "| mine | SMPL; 14 | 100.0 | 50.0 |"
    assert "| Pose-RFT | SMPL; not said | 85.9 | 51.6 |" in lines and "| HMR2.0 | SMPL; 14 | 70.0 | 44.5 |" in lines
    full = {"protocol": "posescript-full", "rows": [("x", [1.0] * 8)]}
    lines = protocols.table(report | full).splitlines()
    row = next(line for line in lines if line.startswith("| Pose-RFT"))
    assert "| 42.2 | 53.0 | 65.5 |" in row and row.endswith("| 53.6 |")  # the paper's mean of the three
    assert {line.count("|") for line in lines if line.startswith("|")} == {12}


def test_a_report_of_every_protocol_fits_its_table():
    for name, protocol in PROTOCOLS.items():
        report = {"protocol": name, "model": "m", "samples": 1, "without_pose": 0, "missing_mm": 300.0, "rows": [("x", [1.0] * (2 if protocol.joints else 8))]}
        rows = [line for line in protocols.table(report).splitlines() if line.startswith("|")]
        assert len({row.count("|") for row in rows}) == 1 and len(rows) == 3 + len(FIGURES.get(name, []))


def test_evaluate_runs_a_protocol_and_prints_the_table(tmp_path, capsys):
    two_test_poses(tmp_path)
    arguments = ["evaluate", "--protocol", "posescript-full", "--data", str(tmp_path), "--json", str(tmp_path / "report.json")]
    assert main(arguments) == 0
    out, report = capsys.readouterr().out, json.loads((tmp_path / "report.json").read_text())
    assert "PoseScript V2, human texts, test: 3 samples found" in out and "| mini-sft | minirft's judge; 2 poses |" in out and "| ChatPose |" in out
    assert report["protocol"] == "posescript-full" and report["model"] == "mini-sft" and report["body"] == "open"


def test_evaluate_looks_at_pictures_where_a_protocol_asks_about_them(tmp_path, monkeypatch, stub_blazepose, capsys):
    monkeypatch.setattr("minirft.photos.BlazePose", type(stub_blazepose))
    threedpw(tmp_path, people())
    write(tmp_path / "vqa_pose.json", [rpe_entry(0)])
    assert main(["evaluate", "--protocol", "open-24", "--data", str(tmp_path)]) == 0
    rows = [line for line in capsys.readouterr().out.splitlines() if line.startswith("| mini-sft")]
    assert [row.split(" | ")[1] for row in rows] == ["open; 24", "open; 24; 3DPW 3dpw_test.npz alone", "open; 24; RPE pose alone"]
    assert all(20 < float(row.split(" | ")[2]) < 1000 for row in rows)


@pytest.mark.parametrize(("arguments", "says"), [
    (["--protocol", "open-24"], "--protocol NAME with --data DIR"), (["--data", "x"], "--protocol NAME with --data DIR"), ([], "--poses FILE, or --protocol"),
    (["--protocol", "open-24", "--data", "x", "--poses", "y"], "either"), (["--protocol", "nothing", "--data", "."], "no protocol; use one of"),
    (["--protocol", "3dpw-14", "--data", "."], "pass SMPL_NEUTRAL.pkl by --body"), (["--protocol", "open-24", "--data", "nowhere"], "no such folder")])
def test_a_protocol_asked_for_wrongly_is_one_line(arguments, says, capsys):
    assert main(["evaluate", *arguments]) == 2
    assert re.search(says, capsys.readouterr().err)


def test_a_policy_that_is_blind_cannot_be_asked_about_pictures(tmp_path):
    threedpw(tmp_path, people())
    with pytest.raises(InputError, match="has not learnt to see"):
        protocols.run("open-24", tmp_path, PosePolicy.mini(), body=load_body())
