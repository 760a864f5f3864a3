"""From a picture to a pose: what SFT gives, what RFT adds, and what a specialist would do, from three seeds.

    python tests/bench/pictures.py --sft data/mini-sft --seed 0 --poses train.npz --album ALBUM --test test.npz --out WORK
    python tests/bench/pictures.py                                                             # prints the tables

Arms as in alignment.py: `sft`; `rft`; `sft+`, taught on for the CPU-seconds that `rft` took; `sft-narrowed`, `sft` that only draws with
less of its std; `rft-mean`, whose rewards leave the std alone; and `regressor`, a plain network from the same encoder's tokens to a pose,
taught by the same pictures and losses and nothing else. Each is measured on photographs made of the test subjects and on those of
photographs.py, which needs PyAV. Each arm writes data/results/pictures/SEED-ARM.json once it is done; one that is there is not run again.
Seed 0 is mini-sft; the two others lie in the history (git archive 7d75ab6 data/seeds | tar -x -C WORK); data/README.md says how they and
the album are made. SENTENCES below is a model that has learnt from sentences alone.

    python tests/bench/pictures.py --sft SENTENCES --arms see-features see-pixels see-both ...   # what it looks at
    python tests/bench/pictures.py --sft data/mini-sft --arms rft-no-joint rft-no-aligned ...   # what it earns
"""

import argparse
import json
import time
from functools import partial
from pathlib import Path

import photographs
import torch
from alignment import FORMER, go_on, interval, made_by, stored, timed

from minirft import train
from minirft.body import DATA, load_body
from minirft.critics import Critics
from minirft.data import SEE, load_poses
from minirft.evaluate import TWELVE, evaluate_pictures, picture_errors
from minirft.lesson import Specialist, teach_to_read
from minirft.policy import PosePolicy
from minirft.retrieval import REWARDING
from minirft.rollout import to_pose
from minirft.snapshots import exam_album, load_album
from minirft.vision import Projector, tokens

ARMS = ("regressor", "sft", "sft+", "sft-narrowed", "rft", "rft-mean")
ABLATION = tuple(f"see-{part}" for part in SEE)
# By the former recipe: the weights of rewards left out. Pictures earn these two and no other.
FORMERLY = {"rft-wide": {}, "rft-no-joint": {"joint": 0.0}, "rft-no-aligned": {"aligned": 0.0}}
ORDER = ("rft", "rft-mean", "sft", "sft+", "sft-narrowed", "regressor", *FORMERLY, *ABLATION)  # rft first: its seconds are sft+'s budget
RESULTS = DATA / "results" / "pictures"
NARROWED = 0.33  # of sft's std, which makes draws as various as rft's on photographs made of validation poses
SHARE = 0.5  # of SFT's questions, about pictures
RFT = {"prompts": 96, "image_share": 0.3}  # 67 about sentences, about as many as the 64 of a run without pictures
PICTURES = 1000
ABLATION_STEPS = 400


def regress(poses, album, body, *, seed):
    """The specialist: the projector of the policy with a head right behind it, which SFT begins with, taught half as long again."""
    specialist, began = Specialist(Projector(1), seed=seed), time.process_time()
    teach_to_read(specialist, poses, train.SFTConfig(seed=seed, lesson_steps=6000), body=body, album=album)
    return (lambda features: to_pose(specialist(features)[0])), time.process_time() - began


def bench(arguments):
    torch.set_num_threads(1)  # CPU-seconds mean the same whatever else the machine does
    body, seed = load_body(), arguments.seed
    poses = torch.cat([load_poses(arguments.poses).pose, load_poses(DATA / "rare.npz").pose])
    album, exam = load_album(arguments.album), exam_album(body, load_poses(arguments.test).pose, count=PICTURES)
    shots = photographs.look(photographs.photographs())
    for arm in [arm for arm in ORDER if arm in arguments.arms]:
        path, work = arguments.results / f"{seed}-{arm}.json", arguments.out / f"{seed}-{arm}"
        if path.exists():
            continue
        if arm == "regressor":
            pose_of, seconds = regress(poses, album, body, seed=seed)
            with torch.no_grad():
                report = picture_errors({"mean": pose_of(exam.tokens)[:, None]}, exam, body)
                seen = pose_of(torch.stack([tokens(shot.person) for shot in shots]))
            far = photographs.distances(body.joints(seen)[:, TWELVE], torch.stack([shot.truth for shot in shots]))
            report["photographs"] = {metric: {"mean": values.mean().item()} for metric, values in far.items()}
        else:
            if arm in ("sft", "sft-narrowed"):
                policy, seconds = PosePolicy.from_pretrained(arguments.sft), 0.0
                policy.generate = partial(policy.generate, width=NARROWED if arm == "sft-narrowed" else 1.0)
            elif arm in ("rft", "rft-mean", *FORMERLY):
                settings = FORMER | {"reward_weights": FORMER["reward_weights"] | FORMERLY[arm]} if arm in FORMERLY else {}
                config = train.RFTConfig(seed=seed, align_std=arm != "rft-mean", **settings | RFT)
                critics = Critics.load(body, rewarding=REWARDING[:1] if arm in FORMERLY else REWARDING)
                policy, seconds = timed(train.rft, arguments.sft, poses, config, work, album=album, critics=critics)
            elif arm == "sft+":
                budget = json.loads((arguments.results / f"{seed}-rft.json").read_text())["cpu_seconds"]
                policy, seconds = go_on(arguments.sft, poses, body, seed=seed, seconds=budget, out=work, album=album,
                                        image_share=SHARE)
            else:
                config = train.SFTConfig(steps=ABLATION_STEPS, seed=seed, lr=1e-3, image_share=0.9, see=arm.removeprefix("see-"))
                policy, seconds = timed(train.sft, arguments.sft, poses, config, work, body=body, album=album)
            report = evaluate_pictures(policy.eval(), exam, body=body, name=f"{arm} of SFT seed {seed}")
            report["photographs"] = photographs.measure(policy, shots, body)
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(report | {"cpu_seconds": seconds} | made_by(), indent=1) + "\n")


ROWS = {  # name: (where in a report, its column)
    "renders: MPJPE of the mean pose, mm": ("mpjpe_mm", "mean"),
    "PA-MPJPE of the mean pose": ("pa_mpjpe_mm", "mean"),
    "MPJPE of a draw": ("mpjpe_mm", "samples"),
    "PA-MPJPE of a draw": ("pa_mpjpe_mm", "samples"),
    "how various draws are, mm": ("diversity_mm", "samples"),
    "MPJPE of the best of 8 by reprojection": ("mpjpe_mm", "best_of_8"),
    "PA-MPJPE of the best of 8": ("pa_mpjpe_mm", "best_of_8"),
    "MPJPE of the best of 8, joint by joint": ("mpjpe_mm", "best_by_joint"),
    "PA-MPJPE of the best of 8, joint by joint": ("pa_mpjpe_mm", "best_by_joint"),
    "MPJPE of the mean pose, refined": ("mpjpe_mm", "refined"),
    "PA-MPJPE of the mean pose, refined": ("pa_mpjpe_mm", "refined"),
    "twelve joints: MPJPE of the mean pose": ("twelve", "mpjpe_mm", "mean"),
    "BlazePose's own landmarks": ("twelve", "mpjpe_mm", "blazepose"),
    "PA-MPJPE of the mean pose, twelve joints": ("twelve", "pa_mpjpe_mm", "mean"),
    "BlazePose's own landmarks, PA": ("twelve", "pa_mpjpe_mm", "blazepose"),
    "photographs: MPJPE of the mean pose": ("photographs", "mpjpe_mm", "mean"),
    "MPJPE refined": ("photographs", "mpjpe_mm", "refined"),
    "BlazePose's own landmarks there": ("photographs", "mpjpe_mm", "blazepose"),
    "PA-MPJPE of the mean pose, photographs": ("photographs", "pa_mpjpe_mm", "mean"),
    "PA-MPJPE refined": ("photographs", "pa_mpjpe_mm", "refined"),
    "BlazePose's own landmarks there, PA": ("photographs", "pa_mpjpe_mm", "blazepose"),
    "CPU-seconds after SFT": ("cpu_seconds",),
}
UNREFINED = {name: path for name, path in ROWS.items() if path[-1] != "refined"}  # of arms from before `refine` heard of depths


def read(report, path):
    """What stands in a report under a path of keys, None where it has none."""
    for key in path:
        report = report.get(key) if report else None
    return report


def table(reports, arms, rows=ROWS):
    """{arm: {seed: report}} as Markdown, a line for each of `rows`: the mean over seeds and its 95 % interval."""
    shown = {arm: list(reports[arm].values()) for arm in arms if arm in reports}
    lines = ["| | " + " | ".join(shown) + " |", "|---" * (len(shown) + 1) + "|"]
    for name, path in rows.items():
        values = [[read(report, path) for report in found] for found in shown.values()]
        cells = ["" if None in row else interval(row) for row in values]
        lines.append(f"| {name} | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n\nSeeds: " + ", ".join(f"{arm} {len(found)}" for arm, found in shown.items()) + "."


def gains(reports):
    """What rft has less than sft+ in each seed, mm, a line a metric."""
    for name, path in list(ROWS.items())[:11]:
        pairs = [(read(reports["rft"][seed], path), read(reports["sft+"][seed], path)) for seed in reports["rft"] if seed in reports["sft+"]]
        if not any(None in pair for pair in pairs):
            yield f"{name}: {', '.join(f'{ours - theirs:+.1f}' for ours, theirs in pairs)}"


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sft"), parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--poses"), parser.add_argument("--album"), parser.add_argument("--test")
    parser.add_argument("--out", type=Path), parser.add_argument("--results", type=Path, default=RESULTS)
    parser.add_argument("--arms", nargs="+", choices=ORDER, default=list(ARMS))
    arguments = parser.parse_args()
    if arguments.sft:
        bench(arguments)
    reports = stored(arguments.results, ORDER)
    if not reports:
        parser.error(f"{arguments.results} holds no reports; give --sft, --poses, --album, --test and --out to make some")
    for arms, rows in ((ARMS, ROWS), (("sft", "rft", *FORMERLY), UNREFINED), (ABLATION, UNREFINED)):
        if set(arms) & set(reports):
            print(table(reports, arms, rows), end="\n\n")
    if {"rft", "sft+"} <= set(reports):
        print("rft less sft+, seed by seed:", *gains(reports), sep="\n")


if __name__ == "__main__":
    main()
