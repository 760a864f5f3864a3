"""The field's files in exactly their authors' formats, tiny: what is read of them, and what is said of those that are missing or broken."""

import functools
import json
import os
import pickle
import random
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import roma
import torch
from PIL import Image

from minirft import amass, captions, files, published, rewards, train
from minirft.body import DATA, JOINT, canonical_yaw, load_body, to_matrix
from minirft.cli import main
from minirft.critics import Critics
from minirft.data import POSE, load_poses
from minirft.errors import InputError
from minirft.mix import Mix, to_learn
from minirft.photos import Eyes, Photo
from minirft.policy import PosePolicy

ROOT = Path(__file__).resolve().parents[1]
TURN = np.array([np.pi / 2, 0, 0])  # a root that stands upright where Z is up


def sequence(path, rows, *, fps=120.0, **others):
    """An npz of AMASS in SMPL+H, as published: float64, the rest of its arrays there too."""
    path.parent.mkdir(parents=True, exist_ok=True)
    count = len(rows)
    arrays = {"trans": np.zeros((count, 3)), "gender": np.array("male"), "mocap_framerate": np.array(fps), "betas": np.zeros(16),
              "dmpls": np.zeros((count, 8)), "poses": rows} | others
    np.savez(path, **{name: array for name, array in arrays.items() if array is not None})


def motion(count=5, seed=0):
    """Axis-angles (T, 156), a standing body that stirs and turns; its fingers are far from still."""
    rng = np.random.default_rng(seed)
    poses = rng.normal(0, 0.1, (count, 156))
    turned = torch.linspace(0.5, 2.5, count, dtype=torch.float64)[:, None] * torch.tensor([0, 0, 1.0])  # about its vertical
    poses[:, :3] = roma.rotvec_composition([turned, torch.tensor(TURN).expand(count, 3)]).numpy()
    poses[:, 66:] = rng.normal(0, 1.0, (count, 90))
    return poses


def write(path, value):
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(json.dumps(value))


def posescript_v2(root, *, places=None, human=None, auto=None, splits=None):
    """A release of PoseScript V2 over three sequences of AMASS, whose folders have their new names."""
    for n, name in enumerate(("BMLrub/rub001/0000_treadmill_norm_poses.npz", "CMU/01/01_01_poses.npz", "CMU/02/02_01_poses.npz")):
        sequence(root / "AMASS" / name, motion(seed=n))
    folder = root / "posescript_release"
    old = "BioMotionLab_NTroje/rub001/0000_treadmill_norm_poses.npz"  # the listing has the old ones
    places = places or {"0": ["AMASS", old, 0], "1": ["AMASS", "CMU/01/01_01_poses.npz", 3], "2": ["AMASS", "CMU/02/02_01_poses.npz", 4],
                        "3": ["AMASS", "CMU/02/02_01_poses.npz", 0]}
    write(folder / "ids_2_dataset_sequence_and_frame_index_100k.json", places)
    for split, ids in (splits or {"train": [0, 3], "val": [1], "test": [2]}).items():
        write(folder / f"{split}_ids_100k.json", ids)
    write(folder / "posescript_human_6293.json", human or {"0": ["Arms {up}."], "2": ["He kneels.", "On his knees."]})
    write(folder / "posescript_auto_100k.json", auto or {str(i): [f"auto {i} {j}" for j in range(3)] for i in range(4)})
    return folder


def found(root, *names):
    """{(dataset, part): Found}."""
    return {(f.dataset, f.part): f for f in published.survey(root, names or tuple(published.DATASETS))}


def picture(path, size=(200, 160), colour=(90, 120, 150)):
    path.parent.mkdir(parents=True, exist_ok=True)
    Image.new("RGB", size, colour).save(path)


def people(count=3, *, writer="4D-Humans", names=None):
    """The arrays of 3DPW's or Human3.6M's evaluation file, as 4D-Humans or SPIN writes it."""
    rng = np.random.default_rng(1)
    pose = rng.normal(0, 0.2, (count, 72))
    pose[:, :3] = [np.pi, 0, 0]  # upright for a camera
    names = names or [f"downtown_walking_00/image_{i:05d}.jpg" for i in range(count)]
    joints = np.concatenate([rng.normal(0, 0.4, (count, 24, 3)), np.ones((count, 24, 1))], 2)
    if writer == "SPIN":
        return {"imgname": np.array(names), "center": np.full((count, 2), 80.0), "scale": np.full(count, 0.5), "pose": pose,
                "shape": np.zeros((count, 10)), "gender": np.array(["m"] * count), "S": joints}
    return {"imgname": np.array([n.encode() for n in names]), "center": np.full((count, 2), 80.0, np.float32),
            "scale": np.full((count, 2), 100.0, np.float32), "body_pose": pose.astype(np.float32), "has_body_pose": np.ones(count, np.float32),
            "betas": np.zeros((count, 10), np.float32), "has_betas": np.ones(count, np.float32), "extra_keypoints_3d": joints[:, :19]}


def threedpw(root, arrays, name="3dpw_test.npz"):
    (root / "hmr2_evaluation_data").mkdir(parents=True, exist_ok=True)
    np.savez(root / "hmr2_evaluation_data" / name, **arrays)
    for i in range(3):
        picture(root / "3DPW" / "imageFiles" / "downtown_walking_00" / f"image_{i:05d}.jpg")


def rpe_entry(i, **others):
    """An entry of RPE as its corrected lists write it; every list counts its pictures from 000000."""
    rng = np.random.default_rng(i)
    return {"id": f"{i:06d}", "image": f"{i:06d}.png", "real_image": f"3DPW/imageFiles/downtown_walking_00/image_{i:05d}.jpg",
            "conversations": [{"from": "human", "value": "<image>\nThe man is about to sit down, can you give his SMPL pose?"},
                              {"from": "gpt", "value": "Sure, it is <POSE>."}],
            "ground_truth": {"joint_cam": rng.normal(0, 0.4, (24, 3)).tolist(), "fitted_joint_cam": rng.normal(0, 0.4, (24, 3)).tolist(),
                             "joint_img": rng.normal(80, 9, (24, 2)).tolist(), "bbox": [10, 10, 90, 120],
                             "smpl_param": {"shape": [0.0] * 10, "pose": rng.normal(0, 0.2, 72).tolist(), "trans": [0, 0, 3], "gender": "male"}}} | others


class Payload:
    def __init__(self, mark):
        self.mark = mark

    def __reduce__(self):
        return os.system, (f"touch {self.mark}",)


# AMASS.

def test_a_sequence_stands_upright_faces_forward_and_keeps_its_hands_still(tmp_path):
    poses = motion(4)
    poses[:, :66] = 0
    poses[:, :3] = TURN
    poses[1, :3] = roma.rotvec_composition([torch.tensor([0, 0, 1.0]).double(), torch.tensor(TURN)]).numpy()  # turned about Z, its up
    pose = amass.to_pose(poses)
    torch.testing.assert_close(pose[0], torch.eye(3).expand(24, 3, 3), atol=1e-6, rtol=0)
    assert (pose[:, 22:] == torch.eye(3)).all() and not torch.allclose(pose[1, 0], torch.eye(3), atol=0.1)
    joints = load_body().joints(canonical_yaw(pose))
    assert (joints[:, JOINT["head"], 1] > joints[:, JOINT["pelvis"], 1] + 0.4).all()
    assert (joints[:, JOINT["left_hip"], 0] > joints[:, JOINT["right_hip"], 0]).all() and (joints[:, JOINT["left_foot"], 2] > 0).all()


@pytest.mark.parametrize(("old", "new"), [("BioMotionLab_NTroje", "BMLrub"), ("MPI_HDM05", "HDM05"), ("MPI_Limits", "PosePrior"),
                                          ("MPI_mosh", "MoSh"), ("SSM_synced", "SSM"), ("DFaust_67", "DFaust"), ("TCD_handMocap", "TCDHands"),
                                          ("Eyes_Japan_Dataset", "EyesJapanDataset"), ("Transitions_mocap", "Transitions")])
def test_old_and_new_folder_names_are_one(old, new):
    assert amass.sequence_key(f"{old}/s/x_poses.npz") == amass.sequence_key(f"/data/AMASS/{new}/s/x_poses.npz")
    assert amass.sequence_key(f"{old}/s/x_poses.npz") != amass.sequence_key("CMU/s/x_poses.npz")


@pytest.mark.parametrize("name", ["", "/", "x_poses.npz", "s/x_poses.npz"])
def test_a_name_that_is_too_short_is_no_sequence_of_amass(tmp_path, name):
    folder = posescript_v2(tmp_path, places={"2": ["AMASS", name, 0]})
    assert sum(map(len, found(folder.parent, "PoseScript")["PoseScript V2, human texts", "test"].missing.values())) == 1


@pytest.mark.parametrize(("name", "others", "says"), [
    ("x_stageii.npz", {}, "SMPL-X, another fit.*SMPL\\+H G"),
    ("x_poses.npz", {"surface_model_type": np.array("smplx")}, "SMPL-X"),
    ("x_poses.npz", {"poses": None}, "no array 'poses'"),
    ("x_poses.npz", {"poses": np.zeros((3, 165))}, r"\(3, 165\).*\(T, 156\)"),
    ("x_poses.npz", {"poses": np.zeros((0, 156))}, r"\(0, 156\)"),
    ("x_poses.npz", {"poses": np.array([{}])}, "poses holds Python objects.*allow_pickle"),
])
def test_what_is_no_sequence_of_smplh_is_refused_with_the_reason(tmp_path, name, others, says):
    sequence(tmp_path / name, motion(), **others)
    with pytest.raises(InputError, match=says) as error:
        amass.read_sequence(tmp_path / name)
    assert str(tmp_path / name) in str(error.value)


def test_a_pickle_is_not_executed_wherever_it_hides(tmp_path):
    mark, evil = tmp_path / "sprung", np.array([Payload(tmp_path / "sprung")], dtype=object)
    sequence(tmp_path / "CMU" / "01" / "a_poses.npz", motion(), poses=evil)
    (tmp_path / "CMU" / "01" / "b_poses.npz").write_bytes(pickle.dumps(Payload(mark)))
    threedpw(tmp_path, people() | {"imgname": evil})
    np.save(tmp_path / "J_regressor_h36m.npy", evil)
    everything = found(tmp_path)
    assert not mark.exists()
    assert sum(map(len, everything["AMASS", "CMU"].unreadable.values())) == 2
    assert "imgname holds Python objects" in " ".join(everything["3DPW", "test"].unreadable)


def test_the_way_out_of_an_array_of_objects_works_as_told(tmp_path):
    path = tmp_path / "names.npz"
    np.savez(path, imgname=np.array(["a.jpg", "b.jpg"], dtype=object), center=np.zeros((2, 2)))
    with pytest.raises(InputError, match="write it anew: (.*)") as error:
        files.read_arrays(path, ["center", "imgname"])
    recipe = str(error.value).split("write it anew: ")[1]
    exec(recipe, {"numpy": np, "FILE": str(path)})
    assert files.read_arrays(path, ["imgname"])["imgname"].tolist() == ["a.jpg", "b.jpg"]


def test_arrays_that_are_not_asked_for_may_be_objects(tmp_path):
    threedpw(tmp_path, people() | {"extra_info": np.array([{}, {}, {}])})
    assert len(found(tmp_path)["3DPW", "test"].samples) == 3


# PoseScript.

def test_posescript_v2_is_read_by_split_with_every_text_of_its_pose(tmp_path):
    posescript_v2(tmp_path)
    got = found(tmp_path, "PoseScript")
    human, auto = ("PoseScript V2, human texts", "PoseScript V2, automatic texts")
    assert {key: len(f.samples) for key, f in got.items()} == {
        (human, "train"): 1, (human, "val"): 0, (human, "test"): 2, (auto, "train"): 6, (auto, "val"): 3, (auto, "test"): 3}
    assert all(f.whole for f in got.values())
    first, second = got[human, "test"].samples
    assert (first.caption, second.caption, first.key, first.task) == ("He kneels.", "On his knees.", "2", "text")
    assert first.caption in first.question and first.answer.count(POSE) == 1 and first.statements == () and first.picture is None
    rows = np.concatenate([np.load(tmp_path / "AMASS/CMU/02/02_01_poses.npz")["poses"][4:5, :66], np.zeros((1, 6))], 1)
    true = to_matrix(torch.tensor(rows, dtype=torch.float32))[0]
    torch.testing.assert_close(first.pose[1:], true[1:], atol=1e-5, rtol=0)  # frame 4, and no finger in joints 22 and 23
    torch.testing.assert_close(first.pose, canonical_yaw(first.pose), atol=1e-5, rtol=0)
    assert (first.pose[0] @ torch.tensor([0, 1.0, 0]))[1] > 0.95  # upright, Y up


def test_braces_of_a_text_are_letters(tmp_path):
    posescript_v2(tmp_path)
    sample, = found(tmp_path, "PoseScript")["PoseScript V2, human texts", "train"].samples
    assert "Arms {up}." in sample.question


def test_posescript_v1_with_plain_strings_and_its_six_automatic_files_is_read(tmp_path):
    folder = posescript_v2(tmp_path)
    for path in list(folder.iterdir()):
        if "100k" in path.name and "auto" not in path.name:
            path.rename(path.with_name(path.name.replace("_100k", "")))
    (folder / "posescript_human_6293.json").unlink(), (folder / "posescript_auto_100k.json").unlink()
    write(folder / "human3937.json", {"0": "Both arms up.", "2": "Kneeling."})
    for letter in "ABCDEF":
        write(folder / f"automatic_{letter}.json", {str(i): f"{letter} {i}" for i in range(4)})
    got = found(tmp_path, "PoseScript")
    assert [s.caption for s in got["PoseScript V1, human texts", "train"].samples] == ["Both arms up."]
    assert [s.caption for s in got["PoseScript V1, automatic texts", "val"].samples] == [f"{letter} 1" for letter in "ABCDEF"]
    assert all(f.whole for f in got.values()) and not any("V2" in name for name, _ in got)


@pytest.mark.parametrize(("place", "kind", "says"), [
    (None, "unreadable", "has no such pose"),  # an id out of range
    (["AMASS", "CMU/02/02_01_poses.npz", 5], "unreadable", "CMU: the sequence has fewer frames"),
    (["AMASS", "CMU/02/02_01_poses.npz", -1], "unreadable", "does not say which frame"),
    (["AMASS", "CMU/02/02_01_poses.npz"], "unreadable", "does not say which frame"),
    (["MOYO", "CMU/02/02_01_poses.npz", 0], "unreadable", "does not say which frame"),
    (["AMASS", "KIT/3/walk_poses.npz", 0], "missing", "KIT lacks the sequence, get .*SMPL.H G"),
    (["AMASS", "../../etc/passwd", 0], "missing", "lacks the sequence"),
    (["AMASS", "CMU/bad/nan_poses.npz", 1], "unreadable", "CMU: the frame holds NaN"),
    (["AMASS", "CMU/bad/wide_poses.npz", 1], "unreadable", r"CMU: has poses of shape \(5, 165\)"),
    (["AMASS", "CMU/bad/cut_poses.npz", 1], "unreadable", "CMU.*cut short"),
])
def test_what_a_pose_lacks_is_told_by_subset_and_the_others_stay(tmp_path, place, kind, says):
    places = {"0": ["AMASS", "CMU/01/01_01_poses.npz", 0], "2": place}
    folder = posescript_v2(tmp_path, places={i: p for i, p in places.items() if p}, splits={"train": [], "val": [], "test": [0, 2]}, auto={"0": ["x"]})
    poses = motion()
    poses[1, 5] = np.nan
    sequence(tmp_path / "AMASS" / "CMU" / "bad" / "nan_poses.npz", poses)
    sequence(tmp_path / "AMASS" / "CMU" / "bad" / "wide_poses.npz", np.zeros((5, 165)))
    (tmp_path / "AMASS" / "CMU" / "bad" / "cut_poses.npz").write_bytes((tmp_path / "AMASS/CMU/01/01_01_poses.npz").read_bytes()[:500])
    part = found(folder.parent, "PoseScript")["PoseScript V2, human texts", "test"]
    (why, names), = getattr(part, kind).items()
    assert [s.key for s in part.samples] == ["0"] and len(names) == 1 and names[0].startswith("2")
    assert len(part.missing) + len(part.unreadable) == 1
    assert re.search(says, why), why
    assert any(f"1 {kind}" in line for line in part.lines())


def test_where_amass_is_smplx_the_missing_poses_are_told_so(tmp_path):
    folder = posescript_v2(tmp_path)
    path = tmp_path / "AMASS/CMU/02/02_01_poses.npz"
    sequence(path.with_name("02_01_stageii.npz"), motion())
    path.unlink()
    part = found(folder.parent, "PoseScript")["PoseScript V2, human texts", "test"]
    assert not part.samples and sum(map(len, part.missing.values())) == 1
    refused = found(tmp_path, "AMASS")["AMASS", "CMU"]
    assert refused.sequences == 1 and "SMPL-X" in " ".join(refused.unreadable)


@pytest.mark.parametrize(("value", "whole"), [("one", True), (["one", "two"], True), ([], True), (None, False), (3, False), (["one", None], False), ("  ", False)])
def test_texts_are_strings_or_lists_of_them(tmp_path, value, whole):
    posescript_v2(tmp_path, human={"2": value})
    part = found(tmp_path, "PoseScript")["PoseScript V2, human texts", "test"]
    assert part.whole == whole and [s.caption for s in part.samples] == (([value] if isinstance(value, str) else value) if whole else [])


def test_a_text_whose_id_is_in_no_split_is_told(tmp_path):
    posescript_v2(tmp_path, human={"1": ["in val"], "9": ["nowhere"]})
    part = found(tmp_path, "PoseScript")["PoseScript V2, human texts", "in no split"]
    assert part.unreadable == {"no list of a split has it": ["9"]}


@pytest.mark.parametrize(("name", "content", "kind"), [
    ("test_ids_100k.json", None, "missing"), ("test_ids_100k.json", "{}", "unreadable"), ("test_ids_100k.json", "[1, ", "unreadable"),
    ("posescript_human_6293.json", None, "missing"), ("posescript_human_6293.json", "[]", "unreadable"),
    ("ids_2_dataset_sequence_and_frame_index_100k.json", "{", "unreadable")])
def test_a_file_of_the_release_that_is_absent_or_broken_is_told(tmp_path, name, content, kind):
    path = posescript_v2(tmp_path) / name
    path.unlink() if content is None else path.write_text(content)
    bad = [f for f in published.survey(tmp_path, ["PoseScript"]) if not f.whole]
    assert any(getattr(f, kind) for f in bad) and any(name[:10] in line for f in bad for line in f.lines())


# PoseFix.

def posefix(root):
    posescript_v2(root)
    folder = root / "posefix_release"
    write(folder / "pair_id_2_pose_ids.json", [[0, 1], [2, 3]])
    for split in ("train", "val", "test"):
        for which in ("in", "out"):
            ids = {("train", "in"): [1], ("test", "out"): [0]}.get((split, which), [])
            write(folder / f"{split}_{which}_sequence_pair_ids.json", ids)
    write(folder / "posefix_human_6157.json", {"0": ["Lower your arms."], "1": "Turn left."})
    write(folder / "posefix_paraphrases_4284.json", {"1": ["Make a left turn."]})
    write(folder / "posefix_auto_135305.json", {"0": ["auto"], "1": ["auto"]})
    return folder


def test_a_pair_of_posefix_is_told_in_words_then_changed(tmp_path):
    posefix(tmp_path)
    got = found(tmp_path, "PoseFix")
    sample, = got["PoseFix, human texts", "test"].samples
    assert sample.caption == "" and sample.question.endswith(" Lower your arms.") and len(sample.question) > 25
    told = [s.question for s in got["PoseFix, human texts", "train"].samples]
    assert [question.endswith(end) for question, end in zip(told, (" Turn left.", " Make a left turn."), strict=True)] == [True, True]
    frames = {s.key: s.pose for s in found(tmp_path, "PoseScript")["PoseScript V2, automatic texts", "val"].samples}
    torch.testing.assert_close(sample.pose, frames["1"])  # the second pose of pair 0
    assert all(f.whole for f in got.values())


def test_a_turn_within_a_sequence_stays_and_one_between_sequences_does_not(tmp_path):
    folder = posefix(tmp_path)
    poses = np.zeros((5, 156))
    poses[:, :3] = TURN
    poses[0, :3] = roma.rotvec_composition([torch.tensor([0, 0, 1.0]).double(), torch.tensor(TURN)]).numpy()
    sequence(tmp_path / "AMASS/CMU/02/02_01_poses.npz", poses)  # poses 2 (frame 4) and 3 (frame 0): turned by a radian
    write(folder / "pair_id_2_pose_ids.json", [[1, 3], [2, 3]])
    got = found(tmp_path, "PoseFix")
    within, between = (got["PoseFix, human texts", part].samples[0].pose[0] for part in ("train", "test"))
    torch.testing.assert_close(roma.rotmat_to_rotvec(within), torch.tensor([0, 1.0, 0]), atol=1e-5, rtol=0)
    torch.testing.assert_close(between, torch.eye(3), atol=1e-5, rtol=0)


def test_pairs_out_of_range_and_of_poses_that_are_absent_are_told(tmp_path):
    folder = posefix(tmp_path)
    write(folder / "posefix_human_6157.json", {"0": ["x"], "1": ["y"], "7": ["z"]})
    write(folder / "train_in_sequence_pair_ids.json", [1, 7])
    (tmp_path / "AMASS/CMU/02/02_01_poses.npz").unlink()
    got = found(tmp_path, "PoseFix")["PoseFix, human texts", "train"]
    assert not got.samples and got.unreadable == {"pair_id_2_pose_ids.json has no such pair": ["7"]}
    assert list(got.missing.values()) == [["1"]] and "AMASS's CMU lacks" in " ".join(got.missing)


def test_posefix_without_posescript_says_what_it_lacks(tmp_path):
    posefix(tmp_path)
    (tmp_path / "posescript_release" / "ids_2_dataset_sequence_and_frame_index_100k.json").unlink()
    assert found(tmp_path, "PoseFix")["PoseFix", ""].missing


# 3DPW and Human3.6M.

@pytest.mark.parametrize("writer", ["4D-Humans", "SPIN"])
def test_both_scale_conventions_give_the_same_square(tmp_path, writer):
    threedpw(tmp_path, people(writer=writer))
    got = found(tmp_path)["3DPW", "test"]
    assert got.whole and [s.picture.side for s in got.samples] == [100.0] * 3 and got.samples[0].picture.middle == (80.0, 80.0)
    sample, arrays = got.samples[1], people(writer=writer)
    assert sample.task == "image" and sample.key == "1, downtown_walking_00/image_00001.jpg" and sample.answer.count(POSE) == 1
    true = to_matrix(torch.tensor(arrays["pose" if writer == "SPIN" else "body_pose"][1], dtype=torch.float32))
    torch.testing.assert_close(sample.pose[:22], true[:22])  # the root as the camera sees it
    assert (sample.pose[22:] == torch.eye(3)).all() and sample.joints.shape == ((24, 3) if writer == "SPIN" else (19, 3))


@pytest.mark.parametrize(("change", "count"), [
    ({"scale": np.full((3, 1), 100.0)}, 3), ({"scale": np.full(3, 100.0)}, 3), ({"imgname": np.array([f"downtown_walking_00/image_{i:05d}.jpg" for i in range(3)])}, 3)])
def test_shapes_of_scale_and_names_as_text_or_bytes_are_all_read(tmp_path, change, count):
    threedpw(tmp_path, people() | change)
    assert [s.picture.side for s in found(tmp_path)["3DPW", "test"].samples] == [100.0] * count


def test_arrays_that_a_file_may_lack_may_be_absent(tmp_path):
    spin = people(writer="SPIN")
    threedpw(tmp_path / "a", {k: v for k, v in spin.items() if k in ("imgname", "center", "scale", "S")}, "h36m_valid_protocol2.npz")
    threedpw(tmp_path / "b", {k: v for k, v in people().items() if not k.startswith("has") and k != "extra_keypoints_3d"})
    alone, posed = found(tmp_path / "a")["Human3.6M", "val"], found(tmp_path / "b")["3DPW", "test"]
    assert all(s.pose is None and s.joints is not None for s in alone.samples) and len(alone.samples) == 3
    assert all(s.pose is not None and s.joints is None for s in posed.samples) and len(posed.samples) == 3


def test_a_row_of_zeros_that_says_it_has_no_pose_gives_none(tmp_path):
    arrays = people()
    arrays["has_body_pose"][1], arrays["body_pose"][1] = 0, 0
    arrays["extra_keypoints_3d"][2, 18, 3] = 0
    threedpw(tmp_path, arrays)
    samples = found(tmp_path)["3DPW", "test"].samples
    assert [s.pose is None for s in samples] == [False, True, False]
    assert samples[2].joints[18].isnan().all() and samples[2].joints[:18].isfinite().all()


@pytest.mark.parametrize(("writer", "change", "says"), [
    ("4D-Humans", {"scale": np.full(3, 0.5)}, "scale is some 0.5; 4D-Humans's is the side of the box in pixels"),
    ("SPIN", {"scale": np.full(3, 150.0)}, "scale is some 150; SPIN's is the side of the box in pixels / 200"),
    ("4D-Humans", {"center": np.zeros((3, 1, 2))}, r"center has shape \(3, 1, 2\)"),
    ("4D-Humans", {"body_pose": np.zeros((2, 72))}, r"body_pose has shape \(2, 72\).*\(3, 72\)"),
    ("SPIN", {"S": np.zeros((3, 19, 4))}, r"S has shape \(3, 19, 4\).*\(3, 24, 4\)"),
    ("SPIN", {"imgname": np.arange(3)}, "imgname .*int64"),
    ("SPIN", {"imgname": np.array("one")}, "imgname has shape"),
    ("4D-Humans", {"body_pose": np.array([{}] * 3)}, "body_pose holds Python objects"),
])
def test_a_file_in_another_shape_or_unit_is_refused_whole(tmp_path, writer, change, says):
    threedpw(tmp_path, people(writer=writer) | change)
    got = found(tmp_path)["3DPW", "test"]
    (why, names), = got.unreadable.items()
    assert not got.samples and names == ["3dpw_test.npz"] and re.search(says, why), why


def test_a_file_of_somebody_elses_layout_is_told(tmp_path):
    threedpw(tmp_path, {"imgname": np.array(["a"]), "gt_3d_kpts": np.zeros(1)})
    assert "neither 4D-Humans' file nor SPIN's" in " ".join(found(tmp_path)["3DPW", "test"].unreadable)


@pytest.mark.parametrize("number", [np.nan, 1e20])  # of the second no rotation comes
def test_rows_with_nan_and_pictures_that_are_absent_are_told_one_by_one(tmp_path, number):
    arrays = people()
    arrays["body_pose"][0, 7] = number
    threedpw(tmp_path, arrays)
    (tmp_path / "3DPW/imageFiles/downtown_walking_00/image_00002.jpg").unlink()
    got = found(tmp_path)["3DPW", "test"]
    assert [s.key for s in got.samples] == ["1, downtown_walking_00/image_00001.jpg"]
    assert [list(kind.values()) for kind in (got.unreadable, got.missing)] == [
        [["row 0, downtown_walking_00/image_00000.jpg"]], [["row 2, downtown_walking_00/image_00002.jpg"]]]


def test_of_a_sequence_that_is_absent_no_other_sequences_pictures_are_taken(tmp_path):
    names = [f"imageFiles/{sequence}/image_{i:05d}.jpg" for sequence in ("a_walk", "b_walk", "c_walk") for i in range(3)]
    for name in names[3:]:
        picture(tmp_path / name)
    for root in (tmp_path, tmp_path / "imageFiles"):
        found_at = published.Disk(root).pictures(names)
        assert found_at == [None] * 3 + [tmp_path / name for name in names[3:]]


def test_a_name_that_no_file_can_have_is_a_picture_that_is_absent(tmp_path):
    long, (_, real, _) = "x" * 300 + ".jpg", people()["imgname"].tolist()
    threedpw(tmp_path, people(names=[long, real.decode(), "a\0b.jpg"]))
    write(tmp_path / "llava_instruct_150k.json", [{"id": "a", "image": long, "conversations": [{"from": "human", "value": "What?"},
                                                                                              {"from": "gpt", "value": "A bus."}]}])
    got = found(tmp_path)
    assert len(got["3DPW", "test"].samples) == 1 and sum(map(len, got["3DPW", "test"].missing.values())) == 2
    assert got["VQA", "train"].missing == {"pictures": ["a"]}


def test_names_that_lead_out_of_the_folder_are_not_followed(tmp_path):
    picture(tmp_path / "secret.jpg")
    names = ["downtown_walking_00/image_00000.jpg", "../../../secret.jpg", str(tmp_path / "secret.jpg")]
    threedpw(tmp_path / "data", people(names=names))
    got = found(tmp_path / "data")["3DPW", "test"]
    assert len(got.samples) == 1 and sum(map(len, got.missing.values())) == 2


# Pictures are opened late, and cropped as the dataset says.

def test_pictures_are_opened_when_looked_at_and_not_before(tmp_path, monkeypatch):
    threedpw(tmp_path, people())
    for path in (tmp_path / "3DPW").rglob("*.jpg"):
        path.write_bytes(b"not a picture")
    sample = found(tmp_path)["3DPW", "test"].samples[0]
    with pytest.raises(InputError, match="image_00000.jpg: cannot be read as a picture"):
        Eyes("pixels").look(sample)


def test_a_crop_is_the_datasets_square(tmp_path):
    image = np.zeros((160, 200, 3), np.uint8)
    image[30:130, 30:130] = 255  # the square about (80, 80) of side 100
    threedpw(tmp_path, people())
    Image.fromarray(image).save(tmp_path / "3DPW/imageFiles/downtown_walking_00/image_00000.jpg", quality=100)
    look = Eyes("pixels").look(found(tmp_path)["3DPW", "test"].samples[0])
    assert look.picture.pixels.shape == (224, 224, 3) and look.picture.pixels.mean() > 250 and look.picture.features is None
    whole = Eyes("pixels").look(found(tmp_path)["3DPW", "test"].samples[0].__class__("q", "a", picture=Photo(look_path(tmp_path))))
    assert 40 < whole.picture.pixels.mean() < 100  # all of it, with margins


def look_path(root):
    return root / "3DPW/imageFiles/downtown_walking_00/image_00000.jpg"


def test_the_encoder_looks_at_the_datasets_person_and_at_the_largest_where_no_square_is_given(tmp_path, monkeypatch, stub_blazepose):
    threedpw(tmp_path, people())
    seen = []
    look = type(stub_blazepose).look
    monkeypatch.setattr(type(stub_blazepose), "look", lambda self, image, region: seen.append(region) or look(self, image, region))
    monkeypatch.setattr("minirft.photos.BlazePose", type(stub_blazepose))
    sample, eyes = found(tmp_path)["3DPW", "test"].samples[0], Eyes("both")
    assert eyes.look(sample).picture.features.shape == (33, 6) and eyes.look(sample).picture.pixels is not None
    assert seen[0].side == 100 and seen[0].middle.tolist() == [80, 80]
    seen.clear()
    eyes.look(sample.__class__("q", "a", picture=Photo(look_path(tmp_path))))
    assert seen[0].side == 200  # the stub's, of the whole picture
    boxes = []
    Eyes("features", lambda image, person: boxes.append(person.region) or torch.zeros(192, 8)).look(sample)
    assert boxes[0].side == 100
    talk = eyes.look(sample.__class__("q", "a", picture=Photo(look_path(tmp_path), person=False))).picture
    assert talk.features is None and talk.pixels is not None


# RPE.

def test_rpes_four_lists_are_keyed_by_id_and_show_the_whole_picture(tmp_path):
    threedpw(tmp_path, people())
    for part in ("behavior", "outfits", "pose", "shape"):
        write(tmp_path / "RPE-refined" / f"refine_vqa_{part}_withGT.json", [rpe_entry(i) for i in range(2)])
    got = found(tmp_path, "RPE")
    keys = [s.key for f in got.values() for s in f.samples]
    assert {part for _, part in got} == {"behavior", "outfits", "pose", "shape"} and len(set(keys)) == 8 and "shape/000001" in keys
    sample = got["RPE", "shape"].samples[1]
    assert sample.question == "The man is about to sit down, can you give his SMPL pose?" and sample.answer == "Sure, it is <POSE>."
    assert sample.picture.side is None and sample.picture.path.name == "image_00001.jpg" and sample.task == "image"
    torch.testing.assert_close(sample.joints, torch.tensor(rpe_entry(1)["ground_truth"]["fitted_joint_cam"]))
    true = to_matrix(torch.tensor(rpe_entry(1)["ground_truth"]["smpl_param"]["pose"]))
    torch.testing.assert_close(sample.pose[:22], true[:22])


def wrong_truth(**others):
    return {"ground_truth": rpe_entry(1)["ground_truth"] | others}


@pytest.mark.parametrize(("change", "says"), [
    ({"conversations": []}, "in turns"), ({"conversations": [{"from": "gpt", "value": "x"}, {"from": "human", "value": "y"}]}, "in turns"),
    ({"ground_truth": {}}, "fitted_joint_cam"), ({"conversations": None}, "NoneType"),
    (wrong_truth(fitted_joint_cam=[[1, 2]] * 24), "24 x 3 finite numbers"), (wrong_truth(smpl_param={"pose": [0.0] * 71}), "72 finite"),
    (wrong_truth(smpl_param={"pose": [1e20] * 72}), "too large to be angles"),
    (wrong_truth(smpl_param={"pose": ["x"] * 72}), "72 finite"), (wrong_truth(smpl_param={"pose": [float("nan")] * 72}), "72 finite"),
    (wrong_truth(fitted_joint_cam=(1000 * np.random.default_rng(0).normal(0, 0.4, (24, 3))).tolist()), "not in metres"),
    ({"real_image": "3DPW/imageFiles/downtown_walking_00/image_09999.jpg"}, "pictures")])
def test_a_broken_entry_of_rpe_is_told_and_the_others_stay(tmp_path, change, says):
    threedpw(tmp_path, people())
    write(tmp_path / "refine_vqa_pose_withGT.json", [rpe_entry(0), rpe_entry(1, **change)])
    got = found(tmp_path, "RPE")["RPE", "pose"]
    notes = got.unreadable | got.missing
    assert [s.key for s in got.samples] == ["pose/000000"] and list(notes.values()) == [["000001"]] and says in " ".join(notes)


# Talk.

def test_llavas_list_gives_first_exchanges_with_and_without_pictures(tmp_path):
    picture(tmp_path / "coco" / "train2017" / "000000033471.jpg")
    turns = [{"from": "human", "value": "What is on the bus?\n<image>"}, {"from": "gpt", "value": "An advertisement."}]
    more = [{"from": "human", "value": "And behind it?"}, {"from": "gpt", "value": "A house."}]
    write(tmp_path / "llava_instruct_150k.json", [
        {"id": "000000033471", "image": "000000033471.jpg", "conversations": turns + more}, {"id": "text", "conversations": more},
        {"id": "gone", "image": "000000000001.jpg", "conversations": turns}, {"id": "cut", "conversations": turns[:1]}, "no entry"])
    got = found(tmp_path, "VQA")["VQA", "train"]
    seen, said = got.samples
    assert (seen.question, seen.answer, seen.task, seen.pose) == ("What is on the bus?", "An advertisement.", "talk", None)
    assert seen.picture.path.name == "000000033471.jpg" and not seen.picture.person and said.picture is None
    assert got.missing == {"pictures": ["gone"]} and sorted(map(str, got.unreadable.values())) == ["['cut']", "['entry 4']"]
    assert "1 later questions of a talk are not used" in got.remark


# One's own lines.

def test_lines_of_ones_own_are_poses_pictures_and_talk(tmp_path):
    picture(tmp_path / "me.png")
    pose = [0.0, 1.0, 0.0] + [0.1] * 69
    lines = [{"question": "Arms up.", "pose": pose}, {"question": "Who?", "image": "me.png", "box": [10, 20, 40, 60], "pose": pose, "answer": "So: <POSE>"},
             {"question": "Hello?", "answer": "Hi."}, {"question": "What colour?", "answer": "Blue.", "image": "me.png"}]
    (tmp_path / "mine.jsonl").write_text("\n".join(map(json.dumps, lines)) + "\n")
    text, seen, talk, colour = found(tmp_path, "your own")["your own", "train"].samples
    assert text.task == "text" and text.caption == "Arms up." and text.answer.count(POSE) == 1
    torch.testing.assert_close(text.pose[0], torch.eye(3), atol=1e-6, rtol=0)  # its yaw is gone
    assert not torch.allclose(seen.pose[0], torch.eye(3), atol=0.1) and (text.pose[22:] == torch.eye(3)).all()
    assert seen.task == "image" and seen.picture.side == 60 and seen.picture.middle == (30, 50) and seen.picture.person
    assert (talk.task, talk.pose, talk.picture) == ("talk", None, None) and colour.task == "talk" and not colour.picture.person


@pytest.mark.parametrize(("line", "says"), [
    ("{", "Expecting"), ('["question"]', "list indices"), ('{"answer": "x"}', "no 'question'"), ('{"question": "x"}', "no 'answer'"),
    ('{"question": " ", "answer": "x"}', "are sentences"), ('{"question": "x", "answer": "<POSE>"}', "says <POSE> once"),
    ('{"question": "x", "pose": [1, 2]}', "72 finite"), ('{"question": 3, "answer": "x"}', "strip"),
    ('{"question": "x", "answer": "y", "image": "gone.png"}', "pictures"), ('{"question": "\\ud800 x", "answer": "y"}', "half a letter"),
    ('{"question": "x", "answer": "\\udc00"}', "half a letter"), (f'{{"question": "x", "pose": {[1e20] * 72}}}', "too large to be angles"),
    (f'{{"question": "x", "answer": "y", "image": "{"x" * 300}"}}', "too long"), ("[" * 100_000, "recursion"),
    ('{"question": "x", "answer": "y", "box": [1, 2, 3, 4]}', "a box without an image"),
    ('{"question": "x", "answer": "y", "image": "mine.jsonl", "box": [1, 2, 0, 4]}', "a box without an area")],
    ids=range(16))
def test_a_broken_line_is_told_by_its_number(tmp_path, line, says):
    (tmp_path / "mine.jsonl").write_text('{"question": "Hello?", "answer": "Hi."}\n' + line)
    got = found(tmp_path, "your own")["your own", "train"]
    notes = got.unreadable | got.missing
    assert len(got.samples) == 1 and list(notes.values()) == [["line 2"]] and says in " ".join(notes)


@pytest.mark.parametrize("make", [lambda path: path.symlink_to("nowhere"), os.mkfifo, lambda path: path.symlink_to(path.name)])
def test_lines_that_are_in_no_file_are_told_and_the_check_goes_on(tmp_path, make):
    make(tmp_path / "mine.jsonl")
    (tmp_path / "yours.jsonl").write_text('{"question": "Hello?", "answer": "Hi."}\n')
    mine, yours = published.survey(tmp_path, ["your own"])
    assert list(mine.unreadable.values()) == [["mine.jsonl"]] and len(yours.samples) == 1 and yours.whole


def test_a_line_may_hold_signs_that_end_lines_elsewhere(tmp_path):
    (tmp_path / "mine.jsonl").write_text('{"question": "One\u2028two\u0085three?", "answer": "Hi."}\r\n\n{"question": "Hello?", "answer": "Hi."}\n', encoding="utf-8")
    mine = found(tmp_path)["your own", "train"]
    assert mine.whole and [s.key for s in mine.samples] == ["mine.jsonl, line 1", "mine.jsonl, line 3"]


# The check, and learning from it all.

def test_the_check_of_a_whole_folder_says_what_is_there_and_what_else_there_is(tmp_path, capsys):
    posescript_v2(tmp_path)
    threedpw(tmp_path, people())
    published.check(tmp_path)
    out = capsys.readouterr().out
    assert "PoseScript V2, human texts, test: 2 samples found, 0 missing, 0 unreadable" in out and "AMASS, CMU: 2 sequences found" in out
    assert "3DPW, test, 3dpw_test.npz: 3 samples found" in out and "not here: RPE; get refine_vqa" in out and "not here: AMASS" not in out


def test_the_check_of_a_broken_folder_names_the_first_few_and_fails(tmp_path, capsys):
    human = {str(i): [f"text {i}"] for i in range(2, 12)}
    posescript_v2(tmp_path, human=human, splits={"train": [], "val": [], "test": list(range(12))})
    with pytest.raises(InputError, match=r"1 of \d+ parts are not whole|parts are not whole"):
        published.check(tmp_path)
    out = capsys.readouterr().out
    assert "2 samples found, 0 missing, 8 unreadable" in out and "has no such pose: 8 (4, 5, 6, ...)" in out
    assert "to mend: PoseScript; get posescript_release_v2.zip" in out


def test_an_empty_folder_and_none_are_errors(tmp_path, capsys):
    with pytest.raises(InputError, match="holds none of AMASS"):
        published.check(tmp_path)
    assert "not here: AMASS; get sequences" in capsys.readouterr().out
    with pytest.raises(InputError, match="nowhere: no such folder"):
        published.check(tmp_path / "nowhere")


def test_the_folder_one_stands_in_is_read_as_any_other(tmp_path, monkeypatch):
    posescript_v2(tmp_path)
    monkeypatch.chdir(tmp_path / "AMASS" / "CMU")
    assert {key: f.sequences for key, f in found(".").items()} == {("AMASS", "CMU"): 2}
    assert {f.part for f in published.survey("01", ["AMASS"])} == {"CMU"}


def test_json_that_is_nested_without_end_is_unreadable(tmp_path):
    folder = posescript_v2(tmp_path)
    (folder / "posescript_human_6293.json").write_text("[" * 100_000)
    assert any("posescript_human_6293.json" in line for f in published.survey(tmp_path, ["PoseScript"]) for line in f.lines())


def test_folders_may_be_links_and_links_may_lead_in_circles(tmp_path):
    posescript_v2(tmp_path / "elsewhere")
    (tmp_path / "data").mkdir()
    for name in ("AMASS", "posescript_release"):
        (tmp_path / "data" / name).symlink_to(tmp_path / "elsewhere" / name)
    (tmp_path / "data" / "self").symlink_to(tmp_path / "data")
    founds = published.survey(tmp_path / "data", ["PoseScript"])
    assert [len(f.samples) for f in founds] == [1, 0, 2, 6, 3, 3] and all(f.whole for f in founds)  # each once


def test_only_training_splits_are_learnt_from_and_what_is_not_is_said(tmp_path):
    posescript_v2(tmp_path)
    threedpw(tmp_path, people())
    (tmp_path / "mine.jsonl").write_text('{"question": "Hello?", "answer": "Hi."}\n')
    samples, lines = to_learn(tmp_path, see="features")
    assert sorted(s.key for s in samples) == ["0", "0", "0", "0", "3", "3", "3", "mine.jsonl, line 1"]
    assert sum("not a training split" in line for line in lines) == 4  # empty ones have nothing to leave out


def test_pictures_are_learnt_from_by_who_looks_at_them(tmp_path):
    threedpw(tmp_path, people(), "3dpw_train.npz")
    turns = [{"from": "human", "value": "<image>\nWhat?"}, {"from": "gpt", "value": "A bus."}]
    write(tmp_path / "llava_instruct_150k.json", [{"id": "a", "image": "image_00000.jpg", "conversations": turns}])
    taken = {see: sorted(s.task for s in to_learn(tmp_path, see=see)[0]) for see in ("features", "pixels")}
    assert taken == {"features": ["image"] * 3, "pixels": ["image"] * 3 + ["talk"]}
    with pytest.raises(InputError, match="nothing to learn from"):
        to_learn(tmp_path, see=None)


def test_a_mix_draws_its_share_and_every_task_equally_often(tmp_path):
    posescript_v2(tmp_path)
    (tmp_path / "mine.jsonl").write_text('{"question": "Hello?", "answer": "Hi."}\n')
    samples, _ = to_learn(tmp_path, see=None)
    mix = Mix(samples, 0.25, Eyes(None))
    drawn = [mix.draw(40, random.Random(i)) for i in range(50)]
    assert 0.2 < sum(map(len, drawn)) / 2000 < 0.3
    talk = sum(s.task == "talk" for part in drawn for s in part) / sum(map(len, drawn))
    assert 0.4 < talk < 0.6  # one of eight samples, one of two tasks
    assert drawn[3] == mix.draw(40, random.Random(3))


def test_what_is_longer_than_a_model_reads_is_left_out_and_longer_answers_are_given_room(tmp_path):
    """One such line would end a run at the step that draws it, and again at each resuming."""
    long, said = "stand up " * 900, "Well, " + "you see, " * 20 + POSE
    rows = [{"question": long, "answer": "No."}, {"question": "sit", "answer": said, "pose": [0.0] * 72}, {"question": "Hi", "answer": "Hi."}]
    (tmp_path / "mine.jsonl").write_text("\n".join(map(json.dumps, rows)))
    policy, mix = PosePolicy.mini(), Mix(to_learn(tmp_path, see=None)[0], 1.0, Eyes(None))
    with pytest.warns(UserWarning, match="left out: 1 samples of more than"):
        longest = mix.suit(policy)
    assert longest == len(policy.tokenizer(said).input_ids) + 1 > 24
    assert {s.question for s in mix.draw(50, random.Random(0))} == {"sit", "Hi"}
    (tmp_path / "mine.jsonl").write_text(json.dumps(rows[0]))
    with pytest.raises(InputError, match="no sample is as short"), pytest.warns(UserWarning):
        Mix(to_learn(tmp_path, see=None)[0], 1.0, Eyes(None)).suit(policy)


def test_a_run_gives_answers_the_room_that_its_own_samples_need(tmp_path, body, poses):
    said = "Well, " + "you see, " * 8 + POSE
    (tmp_path / "mine.jsonl").write_text(json.dumps({"question": "sit", "answer": said, "pose": [0.0] * 72}))
    own, out = (Mix(to_learn(tmp_path, see=None)[0], 0.5, Eyes(None)) for _ in "ab"), tmp_path / "run"
    config = train.SFTConfig(steps=1, batch_size=4, micro_batch=4)
    taught = train.sft(PosePolicy.mini(), poses, config, body=body, out=out, own=next(own), progress=False)
    needed = len(taught.tokenizer(said).input_ids) + 1
    assert PosePolicy.from_pretrained(out).answer_tokens == taught.answer_tokens == needed > 24
    rft = train.RFTConfig(steps=1, prompts=2, poses_per_answer=2, micro_batch=2)
    aligned = train.rft(PosePolicy.mini(), poses, rft, critics=Critics.load(body), out=tmp_path / "rft", own=next(own), progress=False)
    assert aligned.answer_tokens == needed


def test_a_picture_that_cannot_be_opened_is_left_out_of_a_batch_with_a_warning(tmp_path):
    threedpw(tmp_path, people(), "3dpw_train.npz")
    samples, _ = to_learn(tmp_path, see="pixels")
    path = samples[1].picture.path
    path.write_bytes(path.read_bytes()[:200])
    with pytest.warns(UserWarning, match=f"left out: .*{path.name}"):
        drawn = Mix(samples, 1.0, Eyes("pixels")).draw(24, random.Random(0))
    assert 0 < len(drawn) < 24 and all(s.picture.pixels is not None for s in drawn)


def test_a_batch_holds_ready_samples_beside_generated_ones_the_same_for_a_seed(tmp_path):
    posescript_v2(tmp_path)
    body, config = load_body(), train.SFTConfig()
    poses = torch.eye(3).expand(4, 24, 3, 3)
    weights = captions.weights_among(poses, body)
    mix = Mix(to_learn(tmp_path, see=None)[0], 0.5, Eyes(None))
    one, same, without = (train.fresh_samples(poses, body, weights, 40, config, 7, own=own) for own in (mix, mix, None))
    ready = [s for s in one if s.key]
    assert len(one) == len(without) == 40 and 10 <= len(ready) <= 30 and not any(s.key for s in without)
    assert [s.question for s in one] == [s.question for s in same]


# The commands.

def run(*arguments):
    return main([str(argument) for argument in arguments])


def test_data_check_prints_and_its_exit_says_whether_all_is_whole(tmp_path, capsys):
    posescript_v2(tmp_path)
    assert run("data", "check", tmp_path) == 0
    assert "human texts, test: 2 samples found, 0 missing, 0 unreadable" in capsys.readouterr().out
    (tmp_path / "AMASS/CMU/02/02_01_poses.npz").unlink()
    assert run("data", "check", tmp_path) == 2
    captured = capsys.readouterr()
    assert "0 samples found, 1 missing" in captured.out and "to mend: PoseScript; get" in captured.out and "Traceback" not in captured.err
    assert re.search("minirft: error: .*parts are not whole", captured.err)


@pytest.mark.parametrize("arguments", [["a", "b", "--out", "x.npz"], ["a"], ["check"], ["check", "a", "b"]])
def test_data_asked_for_wrongly_says_what_to_give(arguments, capsys):
    assert run("data", *arguments) == 2
    assert "`minirft data check DIR`" in capsys.readouterr().err


def test_data_makes_a_pose_file_of_amass_without_yaw_at_the_rate_asked_for(tmp_path, capsys):
    poses = motion(120)
    poses[:, 3:66] = 0
    poses[:, 3 * 16 + 1] = np.linspace(0, 6, 120)  # the left arm goes round
    angle = torch.linspace(0, 3, 120, dtype=torch.float64)[:, None] * torch.tensor([0, 0, 1.0])
    poses[:, :3] = roma.rotvec_composition([angle, torch.tensor(TURN).expand(120, 3)]).numpy()  # and the body about its vertical
    sequence(tmp_path / "AMASS" / "CMU" / "01" / "01_01_poses.npz", poses, fps=60.0)
    sequence(tmp_path / "AMASS" / "CMU" / "02" / "02_01_stageii.npz", poses)
    sequence(tmp_path / "AMASS" / "CMU" / "02" / "02_02_poses.npz", np.full((3, 156), np.nan))
    sequence(tmp_path / "AMASS" / "CMU" / "02" / "02_03_poses.npz", poses, mocap_framerate=None)
    sequence(tmp_path / "AMASS" / "KIT" / "01" / "a_poses.npz", motion(4))
    assert run("data", tmp_path / "AMASS", "--out", tmp_path / "poses.npz", "--hz", 8) == 0
    captured, made = capsys.readouterr(), load_poses(tmp_path / "poses.npz")
    assert "3 files could not be read" in captured.out
    for says in ("SMPL-X, another fit", "holds NaN", "frames a second"):
        assert says in captured.err
    mine = made.subject == "CMU/01"
    assert set(made.subject) == {"CMU/01", "KIT/01"} and 14 <= mine.sum() <= 17 and set(np.diff(made.frame[mine])) <= {7, 8}
    torch.testing.assert_close(made.pose[mine][:, 0], torch.eye(3).expand(int(mine.sum()), 3, 3), atol=1e-4, rtol=0)
    assert (made.pose[:, 22:] == torch.eye(3)).all()


@pytest.fixture
def small(monkeypatch):
    monkeypatch.setattr(train, "SFTConfig", functools.partial(train.SFTConfig, batch_size=8, micro_batch=8))
    monkeypatch.setattr(train, "RFTConfig", functools.partial(train.RFTConfig, prompts=6, group_size=2, poses_per_answer=2))
    monkeypatch.setattr("minirft.cli.EXAM", 3)


def test_sft_and_rft_learn_from_published_data_and_keep_what_it_was(tmp_path, small, monkeypatch, capsys):
    posescript_v2(tmp_path / "data")
    (tmp_path / "data" / "mine.jsonl").write_text('{"question": "What is a squat?", "answer": "An exercise."}\n')
    seen, fresh = [], train.fresh_samples
    monkeypatch.setattr(train, "fresh_samples", lambda *arguments: seen.append(fresh(*arguments)) or seen[-1])
    poses = ["--poses", DATA / "rare.npz", "--data", tmp_path / "data", "--steps", 1]
    assert run("sft", "--base", "mini-sft", *poses, "--data-share", 0.9, "--out", tmp_path / "sft") == 0
    assert "7 of them to learn from" not in capsys.readouterr().out  # 1 human text and 6 automatic ones stand apart
    assert run("rft", "--model", "mini-sft", *poses, "--out", tmp_path / "rft") == 0
    assert "automatic texts, train: 6 samples found" in capsys.readouterr().out
    assert all(any(s.key for s in batch) for batch in seen) and {s.task for batch in seen for s in batch if s.key} == {"text", "talk"}
    about = json.loads((tmp_path / "sft" / "data.json").read_text())
    assert about["share"] == 0.9 and about["data"] == str(tmp_path / "data") and any("6 of them to learn from" in line for line in about["found"])
    assert run("sft", "--base", "mini-sft", *poses, "--data-share", 0.2, "--resume", "--out", tmp_path / "sft") == 2
    assert "with share 0.9; go on with that" in capsys.readouterr().err
    assert run("sft", "--base", "mini-sft", *poses, "--data-share", 0.2, "--out", tmp_path / "sft") == 2
    assert "holds a run already" in capsys.readouterr().err
    assert json.loads((tmp_path / "sft" / "data.json").read_text())["share"] == 0.9  # the run's own record stays


def test_sft_on_pictures_of_a_dataset_looks_at_them(tmp_path, small, monkeypatch, stub_blazepose):
    monkeypatch.setattr("minirft.photos.BlazePose", type(stub_blazepose))
    threedpw(tmp_path / "data", people(), "3dpw_train.npz")
    arguments = ["sft", "--base", "mini-sft", "--poses", DATA / "rare.npz", "--data", tmp_path / "data", "--data-share", 0.9, "--steps", 1]
    assert run(*arguments, "--out", tmp_path / "run") == 0
    assert np.isfinite(json.loads((tmp_path / "run" / "metrics.jsonl").read_text())["rotation"])
    eyes = [PosePolicy.from_pretrained(name).projector.parameters() for name in (tmp_path / "run", "mini-sft")]
    assert not all(map(torch.equal, *eyes))  # which learn from these too


def test_a_text_without_statements_ties_the_verifiable_reward(tmp_path):
    posescript_v2(tmp_path)
    sample = to_learn(tmp_path, see=None)[0][0]
    holds = torch.rand(1, 5, len(captions.STATEMENTS)) < 0.5
    assert rewards.verifiable(holds, [sample.statements]).unique().tolist() == [0.0]


@pytest.mark.slow
@pytest.mark.skipif(not Path("/proc/self/status").exists(), reason="reads the peak of memory where Linux has it")
def test_a_hundred_thousand_poses_with_texts_are_read_in_ten_seconds_and_little_memory(tmp_path):
    poses, places = motion(250), {}
    for n in range(500):  # 100,000 of 125,000 frames
        name = f"CMU/{n // 10:02d}/{n:03d}_poses.npz"
        sequence(tmp_path / name, poses)
        places |= {str(n * 200 + i): ["AMASS", name, i] for i in range(200)}
    write(tmp_path / "ids_2_dataset_sequence_and_frame_index_100k.json", places)
    for split, ids in {"train": range(80_000), "val": range(80_000, 90_000), "test": range(90_000, 100_000)}.items():
        write(tmp_path / f"{split}_ids_100k.json", list(ids))
    write(tmp_path / "posescript_auto_100k.json", {i: [f"The person stands with bent arms, {n}, {i}. " * 6 for n in range(3)] for i in places})
    write(tmp_path / "posescript_human_6293.json", {"0": ["Standing."]})
    # not ru_maxrss, which a child begins with at what its parent had; what libraries take differs with the version of Python
    code = ("import re, time, torch\nfrom minirft.published import survey\n"
            "peak = lambda: int(re.search(r'VmHWM:\\s+(\\d+)', open('/proc/self/status').read())[1]) / 2**20\n"
            "start, before = time.process_time(), peak()\n"
            f"founds = survey({str(tmp_path)!r}, ['PoseScript'])\n"
            "print(sum(len(f.samples) for f in founds), all(f.whole for f in founds), time.process_time() - start, peak() - before)")
    done = subprocess.run([sys.executable, "-c", code], cwd=ROOT, text=True, capture_output=True, env=os.environ | {"OMP_NUM_THREADS": "1", "PYTHONPATH": str(ROOT)})
    assert done.returncode == 0, done.stderr
    count, whole, seconds, gigabytes = done.stdout.split()
    assert (count, whole) == ("300001", "True") and float(seconds) < 10 and float(gigabytes) < 0.7, done.stdout
