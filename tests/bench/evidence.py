"""What is true? All tables, and the arms that no other bench has: each reward left out, the KL, two weights, K at equal time.

    python tests/bench/evidence.py                  # writes and prints data/results/tables.md, draws data/results/evidence.png
    python tests/bench/evidence.py --seed 1 --poses train.npz --validation validation.npz --test test.npz --out WORK   # resumes

The tables are of the reports of alignment.py, peers.py, pictures.py and speed.py too. Every arm here starts from one of alignment.py's
SFT models and goes STEPS steps by the recipe that ships, but for what its name says; those of K go on for the CPU-seconds that `hygrpo`
took. Each is measured on 1,000 sentences about the test subjects. Arms in WATCHED are looked at every ten steps, on 300 sentences about
validation subjects. data/results/evidence/SEED-ARM.json is written once an arm is done; one that is there is not made again. Three
minutes an arm on one core.
"""

import argparse
import json
import re
import statistics
import time
from functools import partial
from pathlib import Path

import alignment
import bounds
import matplotlib.pyplot as plt
import memory
import peers
import pictures
import speed
import torch
from alignment import BASES, ROWS, base, interval, made_by, mean_recall, table, timed

from minirft import train
from minirft.body import DATA, load_body
from minirft.critics import Critics
from minirft.data import load_poses
from minirft.evaluate import Instruments, evaluate, exam_samples, measure, verdict
from minirft.policy import PosePolicy
from minirft.retrieval import REWARDING, Retriever

STEPS = 50
WEIGHTS, BETA = train.RFTConfig().reward_weights, train.RFTConfig().pose_beta
NO_KL = {"pose_beta": 0.0, "text_beta": 0.0}


def paying(**weights):
    return {"reward_weights": WEIGHTS | weights}


ARMS = {
    "hygrpo": {}, "one reward model": {}, "no narrow draws": {"widths": (1.0,)}, "no semantic": paying(semantic=0.0),
    "no plausible": paying(plausible=0.0), "no format, no similarity": paying(format=0.0, similarity=0.0), "no KL": NO_KL,
    "no plausible, no KL": paying(plausible=0.0) | NO_KL, "verifiable too": paying(verifiable=1.0),
    "verifiable for semantic": paying(semantic=0.0, verifiable=1.0),
    "semantic x 1/4": paying(semantic=WEIGHTS["semantic"] / 4), "semantic x 4": paying(semantic=WEIGHTS["semantic"] * 4),
    "pose_beta x 1/4": {"pose_beta": BETA / 4}, "pose_beta x 4": {"pose_beta": BETA * 4},
    # As many answers a step as the others; groups of the paper's size where an answer has one pose.
    "K = 1": {"poses_per_answer": 1, "group_size": 8, "prompts": 16}, "K = 16": {"poses_per_answer": 16},
}
TABLES = {
    "Each part left out": ("sft", "hygrpo", "no semantic", "no plausible", "no format, no similarity", "no KL", "one reward model",
                           "no narrow draws"),
    "Rewards and the KL": ("sft", "hygrpo", "verifiable too", "verifiable for semantic", "no plausible", "no KL", "no plausible, no KL"),
    "Two weights": ("semantic x 1/4", "hygrpo", "semantic x 4", "pose_beta x 1/4", "pose_beta x 4"),
    "Poses an answer, equal CPU-seconds": ("K = 1", "K = 16", "hygrpo"),
}
COMPARED = (("hygrpo", "sft+"), ("hygrpo", "hygrpo-verifiable"), ("hygrpo-verifiable", "sft+"), ("hygrpo-narrow", "sft+"),
            ("hygrpo-wide", "sft+"), ("hygrpo-two", "sft+"), ("sft-refined", "sft+"), ("hygrpo-near-refined", "sft+"),
            ("hygrpo", "sft+", "samples"), ("hygrpo", "sft-narrowed", "samples"),
            ("hygrpo-mean", "sft+"), ("hygrpo-mean", "hygrpo"), ("hygrpo-mean", "hygrpo", "samples"),
            ("hygrpo-near", "sft+"), ("hygrpo-near", "hygrpo"), ("hygrpo-near", "hygrpo", "samples"),
            ("hygrpo-long", "sft++"), ("hygrpo-long", "sft+"), ("hygrpo-long", "hygrpo-near"), ("hygrpo-long", "hygrpo"),
            ("hygrpo-long", "hygrpo", "samples"), ("sft++", "sft+"))  # arms of alignment.py
WATCHED = ("hygrpo", "verifiable too", "no plausible", "no KL", "no plausible, no KL")
EQUAL_TIME = ("K = 1", "K = 16")
RESULTS = DATA / "results" / "evidence"
SIZES = (1, 2, 4, 8, 16, 32, 64)  # of best-of-N


def align(arm, poses, body, validation, *, seed, out, budget):
    """Train one arm: the policy, its CPU-seconds, the looks at it on the way. budget: CPU-seconds for those that go by time."""
    def run(steps, out, look=None):
        config = train.RFTConfig(steps=steps, seed=seed, look_every=10, **ARMS[arm])
        critics = Critics.load(body, rewarding=REWARDING[:1] if arm == "one reward model" else REWARDING)
        return timed(train.rft, base(seed, out.parents[1]), poses, config, out, critics=critics, look=look)

    steps = STEPS
    if arm in EQUAL_TIME:
        began = run(1, out / "warm")[1]
        steps = max(1, round(budget / ((run(6, out / "timed")[1] - began) / 5)))
    if arm not in WATCHED:
        return *run(steps, out / "run"), []
    exam = exam_samples(validation, torch.arange(300) * (len(validation) // 300), body=body, seed=seed)
    look = partial(watch, exam=exam, tools=Instruments.load(body, validation))
    first = look(PosePolicy.from_pretrained(base(seed, out.parent)), 0)
    policy, seconds = run(steps, out / "run", look)
    rows = [json.loads(line) for line in (out / "run" / "metrics.jsonl").read_text().splitlines()]
    first.pop("seconds")
    looks = [first | {"step": 0}] + [{k: row[k] for k in ("seconds", *first)} | {"step": row["step"] + 1} for row in rows if "judge" in row]
    return policy, seconds - sum(look.pop("seconds") for look in looks[1:]), looks


def watch(policy, step, *, exam, tools):
    """The numbers of the reward-hacking picture, of the mean pose, percent and mm, and the CPU-seconds it took to look."""
    began, seen = time.process_time(), verdict(policy, exam, tools)
    seen["satisfied_unrewarded"] = seen["satisfied"]["unrewarded"]
    return {"seconds": time.process_time() - began} | _short(seen)


def best_of(policy, poses, body, *, seed, count=200):
    """Draw 64 answers to each of 200 sentences; of the first N keep the one that the reward model likes best. A row for each N."""
    samples = exam_samples(poses, torch.randperm(len(poses), generator=torch.Generator().manual_seed(seed))[:count], body=body, seed=seed)
    tools, model = Instruments.load(body, poses), Retriever.load("reward_model")
    parts = [policy.generate([s.question for s in samples[i : i + 20]], n=1 + max(SIZES), seed=seed + i)[0] for i in range(0, count, 20)]
    pose = torch.cat(parts)[:, 1:]  # the first is the mean pose
    there = ~pose.isnan().flatten(2).any(-1)
    made = model.embed_pose(pose.nan_to_num(), body.joints(pose.nan_to_num()))
    likeness = (model.embed_text([s.caption for s in samples])[:, None] * made).sum(-1).masked_fill(~there, -torch.inf)
    rows = []
    for size in SIZES:
        kept = pose[torch.arange(count), likeness[:, :size].argmax(1)][:, None]
        rows.append({"n": size} | _short(measure(kept, samples, tools)))
    return rows


def _short(report):
    return {"judge": mean_recall(report["judge"]), "reward_model": mean_recall(report["reward_model"]),
            "plausible": 100 * report["plausible"], "unrewarded": 100 * report["satisfied_unrewarded"],
            "nearest_real_mm": report["nearest_real_mm"]}


def bench(arguments):
    torch.set_num_threads(1)  # CPU-seconds mean the same whatever else the machine does
    body, test, seed = load_body(), load_poses(arguments.test), arguments.seed
    poses = torch.cat([load_poses(arguments.poses).pose, load_poses(DATA / "rare.npz").pose])
    validation = load_poses(arguments.validation).pose
    for arm in arguments.arms:  # hygrpo first: its seconds are the budget of others
        report, work = path_of(arguments.results, seed, arm), arguments.out / f"{seed}-{slug(arm)}"
        if report.exists():
            continue
        budget = json.loads(path_of(arguments.results, seed, "hygrpo").read_text())["cpu_seconds"] if arm in EQUAL_TIME else None
        policy, seconds, looks = align(arm, poses, body, validation, seed=seed, out=work, budget=budget)
        measured = evaluate(policy.eval(), test, body=body, name=f"{arm}, SFT seed {seed}")
        config = json.loads((work / "run" / "config.json").read_text())
        measured |= {"cpu_seconds": seconds, "steps": config["steps"], "looks": looks} | made_by()  # of looks, validation subjects
        if arm == "hygrpo":
            sft = PosePolicy.from_pretrained(base(seed, arguments.out))
            measured["best_of"] = {name: best_of(each, test.pose, body, seed=seed) for name, each in (("sft", sft), ("hygrpo", policy))}
        report.parent.mkdir(parents=True, exist_ok=True)
        report.write_text(json.dumps(measured, indent=1) + "\n")


def path_of(folder, seed, arm):
    return folder / f"{seed}-{slug(arm)}.json"


def slug(arm):
    return re.sub(r"\W+", "-", arm)


def reports_in(folder):
    """{arm: {seed: report}} of the arms here, and of `sft` from alignment.py's."""
    found = {arm: {str(seed): json.loads(path_of(folder, seed, arm).read_text()) for seed in BASES if path_of(folder, seed, arm).exists()}
             for arm in ARMS}
    return {"sft": alignment.stored(alignment.RESULTS)["sft"]} | {arm: rows for arm, rows in found.items() if rows}


def differences(reports, arms, against="hygrpo"):
    """What each arm has more than `against`, seed by seed, of the mean pose: a line an arm."""
    for arm in [arm for arm in arms if arm in reports and arm != against]:
        pairs = [(reports[arm][seed], reports[against][seed]) for seed in reports[arm] if seed in reports[against]]
        said = [f"{name}: {interval([ROWS[name](a, 'mean') - ROWS[name](b, 'mean') for a, b in pairs], '+.1f')}" for name in ROWS]
        yield f"- {arm}: " + "; ".join(said)


def draw(reports, path):
    """The reward-hacking picture: what the reward model thinks, and what it is worth, over training; and best-of-N against N."""
    watched, rows = [arm for arm in WATCHED if arm in reports], ("reward_model", "judge", "unrewarded", "plausible")
    titles = {"unrewarded": "statements never rewarded, %", "plausible": "plausible, %"}
    figure, axes = plt.subplots(1, len(rows) + 1, figsize=(15, 3), layout="constrained")
    for ax, name in zip(axes, rows):
        for arm in watched:
            ax.plot(*_averaged([report["looks"] for report in reports[arm].values()], "step", name), label=arm)
        ax.set(title=titles.get(name, f"{name.replace('_', ' ')}, mean recall, %"), xlabel="step")
    axes[0].legend(fontsize=7)
    for policy, style in (("sft", ":"), ("hygrpo", "-")):
        chosen = [report["best_of"][policy] for report in reports["hygrpo"].values()]
        for name, colour in (("reward_model", "C5"), ("judge", "black"), ("unrewarded", "C6")):
            axes[-1].plot(*_averaged(chosen, "n", name), style, color=colour, label=f"{name.replace('_', ' ')}, {policy}")
    axes[-1].set(xscale="log", title="best of N draws, %", xlabel="N")
    axes[-1].set_xticks(SIZES, SIZES), axes[-1].minorticks_off(), axes[-1].legend(fontsize=6)
    figure.savefig(path, dpi=90)
    plt.close(figure)


def _averaged(seeds, along, name):
    """Of each seed's rows: where they stand, and the mean over seeds of what they say."""
    return [row[along] for row in seeds[0]], [statistics.mean(row[name] for row in rows) for rows in zip(*seeds)]


def everything(folder=RESULTS):
    """All tables as one Markdown page."""
    reports, aligned = reports_in(folder), alignment.stored(alignment.RESULTS)
    seen, others = pictures.stored(pictures.RESULTS, pictures.ORDER), peers.stored(peers.RESULTS, peers.PEERS)
    gains = [alignment.gains(aligned, *pair) for pair in COMPARED if set(pair[:2]) <= set(aligned)]
    parts = ["# All tables", "`python tests/bench/evidence.py` writes this page from the reports in this folder; [README.md](README.md) "
             "says what each number means. Where there are several SFT seeds: their mean and half the width of its 95 % interval.",
             "## Words: HyGRPO against its alternatives, at length", table(aligned, alignment.ARMS), *gains,
             f"## Words: what does what, {STEPS} steps"]
    for title, arms in TABLES.items():
        if len(set(arms) & set(reports)) > 1:
            more = "Of the mean pose, more than `hygrpo`:\n" + "\n".join(differences(reports, arms))
            parts += [f"### {title}", table(reports, arms), more]
    parts += ["### Best of N draws, by the reward model, 200 sentences", best_table(reports)]
    if bounds.RESULT.exists():
        parts += ["## Words: what bounds the gain, 500 sentences about validation subjects, mean poses",
                  bounds.table(json.loads(bounds.RESULT.read_text()))]
    parts += ["## Words: peers, one seed", peers.table({peer: rows["0"] for peer, rows in others.items()})]
    parts += ["## The paper's directions", papers_table(reports, aligned, seen, others), "## Pictures", pictures.table(seen, pictures.ARMS),
              "`rft` less `sft+`, seed by seed:\n\n- " + "\n- ".join(pictures.gains(seen)),
              "### What it earns", pictures.table(seen, ("sft", "rft", *pictures.FORMERLY), pictures.UNREFINED),
              "### What it looks at", pictures.table(seen, pictures.ABLATION, pictures.UNREFINED)]
    for path in sorted(RESULTS.parent.glob("speed*.json")):
        parts += [f"## Speed: a step of HyGRPO, {path.stem}", speed.table(json.loads(path.read_text()))]
    counted = [json.loads(path.read_text()) for path in sorted(RESULTS.parent.glob("memory-*.json"))]
    parts += ["## Memory: a step of HyGRPO on models of real size, GiB, counted without a card", memory.table(counted)]
    return "\n\n".join(parts) + "\n"


def papers_table(reports, aligned, seen, others):
    """Markdown: what Pose-RFT's tables say of its parts, and what ours say of them here."""
    def words(before, after, name, *, of=aligned):
        told = [interval([ROWS[name](report, "mean") for report in of[arm].values()]) for arm in (before, after)]
        return f"{name.split(',')[0]} {told[0]} → {told[1]}"

    def pictures_of(before, after, what, *path):
        told = [interval([pictures.read(report, path) for report in seen[arm].values()]) for arm in (before, after)]
        return f"{what} {told[0]} → {told[1]} mm"

    judge, rewarding = "judge, mean recall, %", "reward model, mean recall, %"
    far, aligned_far, drawn = ("MPJPE", "mpjpe_mm", "mean"), ("PA", "pa_mpjpe_mm", "mean"), ("a draw", "mpjpe_mm", "samples")
    rows = [
        ("reward lifts text to pose", "mean recall 37.4 → 53.6", "; ".join(words("sft+", "hygrpo", name) for name in (judge, rewarding))),
        ("GRPO on the words alone moves nothing", "", words("sft", "grpo", judge)),
        ("a Gaussian head by itself gives nothing", "mean recall 36.2 → 37.4", words("deterministic", "gaussian", judge, of=others)),
        ("reward lifts image to pose", "MPJPE 91.4 → 85.9, PA 59.2 → 51.6",
         "; ".join(pictures_of("sft+", "rft", *what) for what in (far, aligned_far, drawn))),
        ("the pose-aware encoder lifts image to pose", "", pictures_of("see-pixels", "see-features", *far)),
        ("without the joint reward it is worse", "PA 21.9 more",
         "; ".join(pictures_of("rft-wide", "rft-no-joint", *what) for what in (far, aligned_far, drawn)) + " (`aligned` still paid)"),
        ("without the format reward (here: nor similarity) it is worse", "MPJPE 85.9 → 131.9",
         words("hygrpo", "no format, no similarity", judge, of=reports)),
    ]
    return "\n".join(["| the paper | its figures | here |", "|---|---|---|", *(f"| {' | '.join(row)} |" for row in rows)])


def best_table(reports):
    """Markdown: N and what the chosen draw is worth, mean over seeds."""
    names = ("reward_model", "judge", "unrewarded", "plausible", "nearest_real_mm")
    lines = ["| of | N | " + " | ".join(name.replace("_", " ") for name in names) + " |", "|---" * (len(names) + 2) + "|"]
    for policy in ("sft", "hygrpo"):
        found = [report["best_of"][policy] for report in reports["hygrpo"].values()]
        lines += [f"| {policy} | {rows[0]['n']} | " + " | ".join(interval([row[name] for row in rows]) for name in names) + " |"
                  for rows in zip(*found)]
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, choices=BASES, default=0), parser.add_argument("--poses")
    parser.add_argument("--validation"), parser.add_argument("--test"), parser.add_argument("--out", type=Path)
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS)), parser.add_argument("--results", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    if arguments.poses:
        bench(arguments)
    reports = reports_in(arguments.results)
    if "hygrpo" not in reports:
        parser.error(f"{arguments.results} holds no reports; give --poses, --validation, --test and --out to make some")
    page = everything(arguments.results)
    (arguments.results.parent / "tables.md").write_text(page, encoding="utf-8")
    print(page)
    draw(reports, arguments.results.parent / "evidence.png")


if __name__ == "__main__":
    main()
