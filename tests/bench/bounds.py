"""What bounds the gain of HyGRPO: the noise of its gradient, the policy, or the reward model?

    python tests/bench/bounds.py --poses train.npz --validation validation.npz --out WORK      # a quarter of an hour on one core
    python tests/bench/bounds.py                                                            # prints the table

From one SFT model, on 500 sentences about validation subjects, mean poses. `hygrpo` is alignment.py's; `gradient` goes as many steps
with the same settings, KL, semantic and plausible reward, but differentiates these for a few draws as wide (and without talk): what it
is better by is the cost of noise. `search` moves the poses of the SFT model one by one (fit.refine_to_words), by one reward model, two
and three: what is better there, the policy did not learn; what is not, the reward does not know. The search's settings were chosen on these
sentences. Writes data/results/bounds.json.
"""

import argparse
import json
from pathlib import Path

import torch
from alignment import align, base, made_by, mean_recall
from tqdm import tqdm

from minirft import captions, train
from minirft import head as gaussian
from minirft.body import DATA, load_body
from minirft.critics import Critics
from minirft.data import load_poses
from minirft.evaluate import Instruments, ask, exam_samples, measure
from minirft.fit import refine_to_words
from minirft.policy import PosePolicy
from minirft.retrieval import CHOOSING, REWARDING, Panel
from minirft.rewards import plausibility
from minirft.rollout import to_pose
from minirft.runs import CLIP_NORM

RESULT = DATA / "results" / "bounds.json"
DRAWS = 8  # that an exact gradient is averaged over
ROWS = {"judge, mean recall, %": lambda r: mean_recall(r["judge"]),
        "reward model, mean recall, %": lambda r: mean_recall(r["reward_model"]),
        "statements never rewarded, %": lambda r: 100 * r["satisfied_unrewarded"],
        "statements of other kinds, %": lambda r: 100 * r["satisfied_rewarded"],
        "plausible, %": lambda r: 100 * r["plausible"], "nearest real pose, mm": lambda r: r["nearest_real_mm"]}


def follow_gradient(policy, poses, critics, config):
    """train.rft's steps with the gradient of the semantic and plausible rewards of draws, through the draws."""
    body, weights = critics.body, captions.weights_among(poses, critics.body)
    policy.add_lora("rft", seed=config.seed).eval()
    groups = [{"params": [p for p in part.parameters() if p.requires_grad], "peak": lr}
              for part, lr in ((policy.head, config.lr), (policy.model, config.adapter_lr))]
    optimizer, generator = torch.optim.AdamW(groups, weight_decay=0.0, betas=(0.9, 0.95)), torch.Generator().manual_seed(config.seed)
    widths = torch.tensor([config.widths[k % len(config.widths)] for k in range(DRAWS)])
    for step in tqdm(range(config.steps), desc="gradient"):
        samples = train.fresh_samples(poses, body, weights, config.prompts, config, step)
        tokens = policy.encode([s.question for s in samples], [s.answer for s in samples])
        with torch.no_grad(), policy.reference():
            reference = policy.score(tokens)
        scores = policy.score(tokens)
        noise = widths[:, None] * torch.randn(len(samples), DRAWS, 132, generator=generator)
        pose = to_pose(scores.mean[:, None] + scores.std[:, None] * noise)
        text = critics.reward_model.embed_text([s.caption for s in samples])[:, None]
        reward = config.reward_weights["semantic"] * (text * critics.reward_model.embed_pose(pose, body.joints(pose))).sum(-1)
        reward = reward + config.reward_weights["plausible"] * plausibility(critics.prior.score(pose))
        kl = gaussian.kl(scores.mean, scores.std, reference.mean, reference.std)
        for group in optimizer.param_groups:
            group["lr"] = group["peak"] * train.schedule(step, config)
        optimizer.zero_grad()
        (config.pose_beta * kl.mean() - reward.mean()).backward()
        torch.nn.utils.clip_grad_norm_([p for group in groups for p in group["params"]], CLIP_NORM)
        optimizer.step()
    return policy


def bench(arguments):
    torch.set_num_threads(1)
    body, validation = load_body(), load_poses(arguments.validation).pose
    poses = torch.cat([load_poses(arguments.poses).pose, load_poses(DATA / "rare.npz").pose])
    exam = exam_samples(validation, torch.arange(500) * (len(validation) // 500), body=body, seed=0)
    tools, critics, config = Instruments.load(body, validation), Critics.load(body), train.RFTConfig(talk_share=0.0)
    sft = PosePolicy.from_pretrained(base(0, arguments.out))
    start, std = ask(sft, exam), sft.gaussian([s.question for s in exam])[1].nan_to_num(0.1)
    found = {"sft": start}
    panels = {"one reward model": REWARDING[:1], "two reward models": REWARDING, "three reward models": CHOOSING}
    for name, kinds in panels.items():
        found[f"search, {name}"] = refine_to_words(body, start, std, [s.caption for s in exam], Panel.load(kinds), critics.prior)
    aligned, _ = align(base(0, arguments.out), "hygrpo", poses, body, seed=0, steps=config.steps, out=arguments.out / "hygrpo")
    found["hygrpo"] = ask(aligned.eval(), exam)
    found["gradient"] = ask(follow_gradient(sft, poses, critics, config), exam)
    report = {name: measure(pose, exam, tools) for name, pose in found.items()}
    RESULT.write_text(json.dumps({"rows": report, "sentences": len(exam)} | made_by(), indent=1) + "\n")


def table(report):
    """The report as Markdown."""
    lines = ["| | " + " | ".join(ROWS) + " |", "|---" * (len(ROWS) + 1) + "|"]
    for name, row in report["rows"].items():
        lines.append(f"| {name} | " + " | ".join(f"{read(row):.1f}" for read in ROWS.values()) + " |")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--poses"), parser.add_argument("--validation"), parser.add_argument("--out", type=Path)
    arguments = parser.parse_args()
    if arguments.poses:
        bench(arguments)
    if not RESULT.exists():
        parser.error(f"{RESULT} is not there; give --poses, --validation and --out to make it")
    print(table(json.loads(RESULT.read_text())))


if __name__ == "__main__":
    main()
