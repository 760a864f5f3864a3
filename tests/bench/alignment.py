"""Does HyGRPO align? Arms that branch from several SFT models, judged on subjects that none of them has seen.

    python tests/bench/alignment.py --sft RUN1 RUN2 RUN3 --poses train.npz --test test.npz --out WORK    # hours; resumes
    python tests/bench/alignment.py                                                          # prints the stored table

Every arm starts from the same SFT model. `sft+` goes on with supervised learning for the CPU-seconds that hygrpo took,
sampling and rewards counted; grpo, hygrpo-k1 and hygrpo take the same number of steps. Writes data/results/alignment.json.
"""

import argparse
import contextlib
import json
import shutil
import statistics
import time
from pathlib import Path

import torch

from minirft import train
from minirft.body import DATA, load_body
from minirft.critics import Critics
from minirft.data import load_poses
from minirft.evaluate import evaluate
from minirft.policy import PosePolicy

ARMS = {"sft": None, "sft+": None, "grpo": {"algorithm": "grpo"}, "hygrpo-k1": {"poses_per_answer": 1}, "hygrpo": {}}
ORDER = ("hygrpo", "sft", "sft+", "grpo", "hygrpo-k1")  # hygrpo first: its seconds are sft+'s budget
CONTINUED_LR = 5e-4  # a quarter of SFT's peak; not tuned
RESULTS = DATA / "results" / "alignment.json"


def align(sft, arm, poses, body, *, seed, steps, out):
    """Train one arm; returns the policy and its CPU-seconds."""
    policy = PosePolicy.from_pretrained(sft)
    if arm == "sft":
        return policy, 0.0
    critics = Critics.load(body)
    config = train.RFTConfig(steps=steps, seed=seed, **ARMS[arm])
    began = time.process_time()
    train.rft(policy, poses, config, critics=critics, out=out)
    return policy, time.process_time() - began


def go_on(sft, poses, body, *, seed, seconds, out):
    """The control: supervised learning for so many CPU-seconds more, with a schedule that ends with them."""
    def run(steps, out):
        policy, began = PosePolicy.from_pretrained(sft), time.process_time()
        config = train.SFTConfig(steps=steps, seed=seed + 1000, lr=CONTINUED_LR, warmup=10, batch_size=48, micro_batch=24)
        train.sft(policy, poses, config, body=body, out=out)
        return policy, time.process_time() - began

    began = run(2, out / "warm")[1]
    per_step = (run(12, out / "timed")[1] - began) / 10
    return run(max(1, round(seconds / per_step)), out / "run")


def bench(arguments):
    body, test = load_body(), load_poses(arguments.test)
    poses = torch.cat([load_poses(arguments.poses).pose, load_poses(DATA / "rare.npz").pose])
    for seed, sft in enumerate(arguments.sft):
        for arm in ORDER:
            work = arguments.out / f"{seed}-{arm}"
            done = work / "report.json"
            if done.exists():
                continue
            shutil.rmtree(work, ignore_errors=True)
            if arm == "sft+":
                budget = json.loads((arguments.out / f"{seed}-hygrpo" / "report.json").read_text())["cpu_seconds"]
                policy, seconds = go_on(sft, poses, body, seed=seed, seconds=budget, out=work)
            else:
                policy, seconds = align(sft, arm, poses, body, seed=seed, steps=arguments.steps, out=work)
            report = evaluate(policy.eval(), test, body=body, name=f"{arm} of SFT seed {seed}")
            work.mkdir(parents=True, exist_ok=True)
            done.write_text(json.dumps(report | {"cpu_seconds": seconds, "steps": arguments.steps}))
    reports = {arm: [json.loads((arguments.out / f"{seed}-{arm}" / "report.json").read_text())
                     for seed in range(len(arguments.sft))] for arm in ARMS}
    RESULTS.write_text(json.dumps(reports, indent=1) + "\n")


def mean_recall(report):
    return statistics.mean(report["t2p"].values())


ROWS = {
    "judge, mean recall, %": lambda r, c: mean_recall(r["judge"][c]),
    "reward model, mean recall, %": lambda r, c: mean_recall(r["reward_model"][c]),
    "statements never rewarded, %": lambda r, c: 100 * r["satisfied_unrewarded"][c],
    "statements rewarded, %": lambda r, c: 100 * r["satisfied_rewarded"][c],
    "plausible, %": lambda r, c: 100 * r["plausible"][c],
    "nearest real pose, mm": lambda r, c: r["nearest_real_mm"][c],
    "MPJPE, mm": lambda r, c: r["mpjpe_mm"][c],
    "diversity of samples, mm": lambda r, c: r["diversity_mm"].get(c),
    "CPU-seconds": lambda r, c: r["cpu_seconds"] if c == "mean" else None,
}


def table(reports):
    """Mean over SFT seeds with the smallest and the largest in brackets, as Markdown."""
    lines = []
    for column in ("mean", "samples"):
        lines += [f"\n| {column} pose{'s' * (column == 'samples')} | " + " | ".join(reports) + " | real poses |",
                  "|---" * (len(reports) + 2) + "|"]
        for name, read in ROWS.items():
            values = {arm: [read(r, column) for r in rows] for arm, rows in reports.items()}
            if None in values["sft"]:
                continue
            cells = [f"{statistics.mean(v):.1f} ({min(v):.1f} to {max(v):.1f})" for v in values.values()]
            real = read(reports["sft"][0], "real")
            lines.append(f"| {name} | " + " | ".join(cells) + f" | {'' if real is None else f'{real:.1f}'} |")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--sft", nargs="+")
    parser.add_argument("--poses"), parser.add_argument("--test"), parser.add_argument("--out", type=Path)
    parser.add_argument("--steps", type=int, default=train.RFTConfig().steps)
    arguments = parser.parse_args()
    if arguments.sft:
        with contextlib.suppress(KeyboardInterrupt):
            bench(arguments)
    if not RESULTS.exists():
        parser.error(f"{RESULTS} is not there yet; give --sft, --poses, --test and --out to make it")
    print(table(json.loads(RESULTS.read_text())))


if __name__ == "__main__":
    main()
