"""Does HyGRPO align? Arms that branch from several SFT models, judged on subjects that none of them has seen.

    python tests/bench/alignment.py --seed 1 --poses train.npz --test test.npz --out WORK    # resumes
    python tests/bench/alignment.py                                                 # prints the table

Every arm starts from the same SFT model. `sft+` goes on with supervised learning for the CPU-seconds that hygrpo-wide took, sampling and
rewards counted, the others take the same number of steps. `hygrpo` is the recipe that ships, from which `grpo`, `hygrpo-k1` and
`hygrpo-kl` (twice the weight of the pose's KL) differ as they say. `hygrpo-verifiable` is the recipe before it (VERIFIABLE: half of the
statements' kinds were paid for too); `hygrpo-narrow` is that with two narrow draws beside a wide one. `hygrpo-wide` is the one before that
(FORMER: one reward model, no narrow draws, a third of the adapter's rate), from which hygrpo-exact differs in Delta's groups, the poses of
one answer instead of all of a prompt's, and hygrpo-two in the semantic reward, the mean of two reward models' opinions as in hygrpo.
`-refined`: what `generate --refine` makes of an arm's poses. `sft-narrowed`: `sft`, whose draws take a share of its std, NARROWED, which makes
them as various as hygrpo's on validation subjects: what of a better draw is alignment, and what is only less noise? `hygrpo-mean`: hygrpo whose
rewards teach the mean alone, drawn from likewise. `hygrpo-near`: that, held by the reward `near` (NEAR) instead of three quarters of the KL; all
its draws are narrow, since they teach no std. `hygrpo-long` is that for 700 steps, `sft++` what `sft+` is, for its seconds. Some two CPU-hours a
seed. Each arm writes data/results/alignment/SEED-ARM.json as soon as it is done; an arm whose report is there is not run again. The SFT models
have learnt from sentences alone: seed 0 is mini-sft, 1 and 2 were data/seeds/, as they were at commit 2b3aebd, from where they are taken.
data/README.md says how they, train.npz and test.npz are made.
"""

import argparse
import contextlib
import json
import platform
import statistics
import subprocess
import sys
import time
from pathlib import Path

import torch

from minirft import hygrpo, train
from minirft.body import DATA, load_body
from minirft.critics import Critics
from minirft.data import load_poses, poses_from
from minirft.evaluate import evaluate
from minirft.fit import refine_to_words
from minirft.policy import PosePolicy
from minirft.prior import PosePrior
from minirft.retrieval import REWARDING, Panel

VERIFIABLE = {"reward_weights": train.RFTConfig().reward_weights | {"verifiable": 1.0}}  # the recipe before this one
FORMER = VERIFIABLE | {"widths": (1.0,), "adapter_lr": 3e-4}  # and the one before that, which had one reward model too
NEAR = {"reward_weights": train.RFTConfig().reward_weights | {"near": 2.5}, "pose_beta": 3e-3, "align_std": False, "widths": (0.3,)}
ARMS = {"sft": None, "sft+": None, "grpo": {"algorithm": "grpo"},
        # The paper's one pose an answer, in groups of its size: as many answers a step as hygrpo.
        "hygrpo-k1": {"poses_per_answer": 1, "group_size": 8, "prompts": 16}, "hygrpo": {},
        "hygrpo-kl": {"pose_beta": 2.4e-2}, "hygrpo-mean": {"align_std": False}, "hygrpo-near": NEAR,
        "hygrpo-long": NEAR | {"steps": 700}, "sft++": None, "hygrpo-verifiable": VERIFIABLE,
        "hygrpo-narrow": VERIFIABLE | {"widths": (1.0, 0.3, 0.3), "poses_per_answer": 96}, "hygrpo-wide": FORMER,
        "hygrpo-two": FORMER, "hygrpo-exact": FORMER, "sft-narrowed": None, "sft-refined": None, "hygrpo-near-refined": None}
ORDER = ("hygrpo-wide", *(arm for arm in ARMS if arm != "hygrpo-wide"))  # first, since its seconds are sft+'s budget
BUDGETS = {"sft+": "hygrpo-wide", "sft++": "hygrpo-long"}  # whose CPU-seconds supervised learning goes on for
NARROWED = {"sft-narrowed": 0.64, "hygrpo-mean": 0.7, "hygrpo-near": 0.7, "hygrpo-long": 0.7}
CONTINUED_LR = 5e-4  # a quarter of SFT's peak
RESULTS = DATA / "results" / "alignment"
BASES = {0: "data/mini-sft", 1: "data/seeds/sft-1", 2: "data/seeds/sft-2"}
COMMIT = "2b3aebd"
T_95 = {2: 12.71, 3: 4.30, 4: 3.18, 5: 2.78}  # Student's, by how many seeds there are


def base(seed, out):
    """The folder of an SFT model that has learnt from sentences alone: what data/ held before its models learnt to see."""
    folder = out / "bases" / BASES[seed]
    if not (folder / "policy.json").exists():
        (out / "bases").mkdir(parents=True, exist_ok=True)
        archive = subprocess.run(["git", "archive", COMMIT, BASES[seed]], cwd=DATA.parent, stdout=subprocess.PIPE, check=True)
        subprocess.run(["tar", "-x", "-C", out / "bases"], input=archive.stdout, check=True)
    return folder


def align(sft, arm, poses, body, *, seed, steps, out):
    """Train one arm; returns the policy and its CPU-seconds. A run that was stopped goes on."""
    config = train.RFTConfig(**{"steps": steps, "seed": seed} | ARMS[arm])
    critics = Critics.load(body, rewarding=REWARDING[:1] if arm in ("hygrpo-wide", "hygrpo-exact") else REWARDING)
    with exact_split() if arm == "hygrpo-exact" else contextlib.nullcontext():
        return timed(train.rft, sft, poses, config, out, critics=critics)


@contextlib.contextmanager
def exact_split():
    """Inside, a pose is compared with the others of its own answer, not of its prompt: what the answer is worth is F's alone."""
    of_prompt = hygrpo.hybrid_advantages

    def of_answer(answer_rewards, pose_rewards, has_pose, group_size, **settings):
        text, _ = of_prompt(answer_rewards, pose_rewards, has_pose, group_size, **settings)
        del settings["missing"], settings["kinds"]
        valid = has_pose[:, None].expand_as(pose_rewards).flatten()
        pose = hygrpo.group_advantages(pose_rewards.flatten(), pose_rewards.shape[1], valid=valid, **settings)
        return text, pose.view_as(pose_rewards)

    hygrpo.hybrid_advantages = of_answer
    try:
        yield
    finally:
        hygrpo.hybrid_advantages = of_prompt


def go_on(sft, poses, body, *, seed, seconds, out, album=None, **settings):
    """The control: supervised learning for so many CPU-seconds more, with a schedule that ends with them. settings: SFTConfig's."""
    def run(steps, out):
        config = train.SFTConfig(**{"steps": steps, "seed": seed + 1000, "lr": CONTINUED_LR, "warmup": 10, "batch_size": 48,
                                    "micro_batch": 24} | settings)
        return timed(train.sft, sft, poses, config, out, body=body, album=album)

    began = run(2, out / "warm")[1]
    per_step = (run(12, out / "timed")[1] - began) / 10
    return run(max(1, round(seconds / per_step)), out / "run")


def timed(loop, sft, poses, config, out, **others):
    """A training loop from an SFT checkpoint or a policy on; CPU-seconds are kept beside the run, so that a resumed one adds up."""
    policy, clock = sft if isinstance(sft, PosePolicy) else PosePolicy.from_pretrained(sft), out / "seconds.json"
    spent, began = json.loads(clock.read_text()) if clock.exists() else 0.0, time.process_time()
    try:
        loop(policy, poses, config, out=out, resume=(out / "last").exists(), **others)
    finally:
        out.mkdir(parents=True, exist_ok=True)
        spent += time.process_time() - began
        clock.write_text(json.dumps(spent))
    return policy, spent


class Answers:
    """What evaluate() asks of a policy, of anything that turns sentences into n poses: show(sentences, n, generator) (P, n, 24, 3, 3)."""

    def __init__(self, name, show):
        self.name, self.show = name, show

    @torch.no_grad()
    def generate(self, sentences, *, n=1, seed=0):
        return self.show(sentences, n, torch.Generator().manual_seed(seed)), None, None


def narrow(policy, width):
    """A policy that draws with a share of its std."""
    return Answers(f"{policy.name}, {width} of its std", lambda said, n, generator: policy.generate(
        said, n=n, width=width, seed=generator.initial_seed())[0])


def refine(policy, body):
    """A policy whose poses are moved to where the reward models like them best, as `minirft generate --refine` does."""
    panel, prior, known = Panel.load(), PosePrior.load(), body.joints(poses_from("prior", 0))

    def show(said, n, generator):
        seed = generator.initial_seed()
        with torch.enable_grad():
            std = policy.gaussian(said)[1].nan_to_num(0.1)
            return refine_to_words(body, policy.generate(said, n=n, seed=seed)[0], std, said, panel, prior, known=known, seed=seed)

    return Answers(f"{policy.name}, refined", show)


def bench(arguments):
    torch.set_num_threads(1)  # CPU-seconds mean the same whatever else the machine does
    body, test, seed = load_body(), load_poses(arguments.test), arguments.seed
    sft = base(seed, arguments.out)
    poses = torch.cat([load_poses(arguments.poses).pose, load_poses(DATA / "rare.npz").pose])
    for arm in [arm for arm in ORDER if arm in arguments.arms]:
        report, work = arguments.results / f"{seed}-{arm}.json", arguments.out / f"{seed}-{arm}"
        if report.exists():
            continue
        if arm in ("sft", "sft-narrowed"):
            policy, seconds = PosePolicy.from_pretrained(sft).eval(), 0.0
        elif arm.endswith("-refined"):
            name = f"{seed}-{arm.removesuffix('-refined')}"
            trained = PosePolicy.from_pretrained(sft if arm == "sft-refined" else arguments.out / name / "last")
            policy, seconds = refine(trained.eval(), body), json.loads((arguments.results / f"{name}.json").read_text())["cpu_seconds"]
        elif arm in BUDGETS:
            budget = json.loads((arguments.results / f"{seed}-{BUDGETS[arm]}.json").read_text())["cpu_seconds"]
            policy, seconds = go_on(sft, poses, body, seed=seed, seconds=budget, out=work)
        else:
            policy, seconds = align(sft, arm, poses, body, seed=seed, steps=arguments.steps, out=work)
            policy.eval()
        if arm in NARROWED:
            policy = narrow(policy, NARROWED[arm])
        measured = evaluate(policy, test, body=body, name=f"{arm} of SFT seed {seed}")
        report.parent.mkdir(parents=True, exist_ok=True)
        config = work / ("run" if arm in BUDGETS else "") / "config.json"
        steps = json.loads(config.read_text())["steps"] if config.exists() else 0
        report.write_text(json.dumps(measured | {"cpu_seconds": seconds, "steps": steps} | made_by(), indent=1) + "\n")


def stored(folder, arms=tuple(ARMS)):
    """The reports there are, {arm: {seed: report}}."""
    found = {arm: {path.name.split("-")[0]: json.loads(path.read_text()) for path in sorted(folder.glob(f"[0-9]-{arm}.json"))}
             for arm in arms}
    return {arm: rows for arm, rows in found.items() if rows}


def _read(path):
    return Path(path).read_text().splitlines() if Path(path).exists() else []


def made_by():
    """What a report says of how it was made."""
    found = subprocess.run(["git", "rev-parse", "--short", "HEAD"], cwd=DATA.parent, capture_output=True, text=True).stdout.strip()
    cpu = next((line.split(":")[1].strip() for line in _read("/proc/cpuinfo") if line.startswith("model name")), platform.machine())
    words = [Path(word).name if "/" in word else word for word in sys.argv]
    machine = f"{cpu}, {torch.get_num_threads()} thread(s), torch {torch.__version__}"
    return {"command": " ".join(words), "commit": found, "machine": machine}


def mean_recall(report):
    return statistics.mean(report["t2p"].values())


ROWS = {
    "judge, mean recall, %": lambda r, c: mean_recall(r["judge"][c]),
    "reward model, mean recall, %": lambda r, c: mean_recall(r["reward_model"][c]),
    "statements never rewarded, %": lambda r, c: 100 * r["satisfied_unrewarded"][c],
    "statements of other kinds, %": lambda r, c: 100 * r["satisfied_rewarded"][c],
    "plausible, %": lambda r, c: 100 * r["plausible"][c],
    "nearest real pose, mm": lambda r, c: r["nearest_real_mm"][c],
    "MPJPE, mm": lambda r, c: r["mpjpe_mm"][c],
}


def interval(values, form=".1f"):
    """The mean over seeds and half the width of its 95 % interval (Student's t); of one seed the value alone."""
    if len(values) < 2:
        return f"{values[0]:{form}}"
    half = T_95[len(values)] * statistics.stdev(values) / len(values) ** 0.5
    return f"{statistics.mean(values):{form}} ± {half:{form.lstrip('+')}}"


def gains(reports, arm="hygrpo", over="sft+", column="mean"):
    """What an arm has over another from the same SFT model, as a rule over as much more supervised learning, a line each.
    column: "mean", of the mean pose, or "samples", of a draw."""
    pairs = [(reports[arm][seed], reports[over][seed]) for seed in reports[arm] if seed in reports[over]]

    def differences(name):
        return [ROWS[name](ours, column) - ROWS[name](theirs, column) for ours, theirs in pairs]

    def ratios(read):
        return [read(ours) / read(theirs) for ours, theirs in pairs]

    counted = ["judge, mean recall", "statements never rewarded", "statements of other kinds"] + ["plausible"] * (column == "samples")
    return "\n".join([f"{arm} over {over}, seed by seed{', of a draw' * (column == 'samples')}:",
                      *(f"- {name}, points: {interval(differences(f'{name}, %'), '+.1f')}" for name in counted),
                      f"- nearest real pose, times as far: {interval(ratios(lambda r: r['nearest_real_mm'][column]), '.2f')}",
                      f"- diversity of samples, share that is left: {interval(ratios(lambda r: r['diversity_mm']['samples']), '.2f')}"])


def table(reports, arms):
    """Markdown, a row an arm: the mean pose, one draw, and the real poses asked about."""
    arms = [arm for arm in arms if arm in reports]
    lines = ["| | " + " | ".join(ROWS) + " | diversity, mm | CPU-seconds |", "|---" * (len(ROWS) + 3) + "|"]
    for column in ("mean", "samples"):
        for arm in arms:
            rows = list(reports[arm].values())
            cells = [interval([ROWS[name](report, column) for report in rows]) for name in ROWS]
            more = [interval([report["diversity_mm"]["samples"] for report in rows]) if column == "samples" else "",
                    interval([report["cpu_seconds"] for report in rows], ".0f")]
            lines.append(f"| {arm}, {'mean pose' if column == 'mean' else 'a draw'} | " + " | ".join(cells + more) + " |")
    real = next(iter(reports[arms[0]].values()))
    cells = [f"{ROWS[name](real, 'real'):.1f}" for name in ROWS] + [f"{real['diversity_mm']['real']:.1f}"]
    lines.append("| real poses | " + " | ".join(cells) + " | |")
    return "\n".join(lines) + "\n\nSFT seeds: " + "; ".join(f"{arm} {len(reports[arm])}" for arm in arms) + "."


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", type=int, choices=BASES, default=0)
    parser.add_argument("--poses"), parser.add_argument("--test"), parser.add_argument("--out", type=Path)
    parser.add_argument("--arms", nargs="+", choices=ARMS, default=list(ARMS))
    parser.add_argument("--steps", type=int, default=train.RFTConfig().steps)
    parser.add_argument("--results", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    if arguments.poses:
        bench(arguments)
    reports = stored(arguments.results)
    if not reports:
        parser.error(f"{arguments.results} holds no reports; give --poses, --test and --out to make some")
    print(table(reports, ARMS))
    if {"hygrpo", "sft+"} <= set(reports):
        print(gains(reports))


if __name__ == "__main__":
    main()
