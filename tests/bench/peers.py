"""What one would take instead: a conditional VAE, a regression head without a Gaussian, and looking for the nearest training pose.

    python tests/bench/peers.py --poses train.npz --test test.npz --out WORK      # makes the reports there are none of
    python tests/bench/peers.py                                                       # prints the table from data/results/peers/

`cvae` is in PoseScript's manner (a text encoder and a pose encoder that meet in a latent Gaussian, one decoder), `deterministic` in
ChatPose's (the very same small language model and lesson as `mini-sft` before it learnt to see, seed 0, 6,000 steps, but nothing is
learnt of a spread, so that every draw is the same pose), `retrieval` shows the training pose that the reward model likes best. All
learn from the sentences and poses that `mini-sft` learnt from. `gaussian` is that `mini-sft`, `mini-sft` and `mini-rft` are what ships,
`refined` what `generate --refine` makes of their poses. Text to pose, the same 1,000 sentences about test subjects.
"""

import argparse
import json
import time
from pathlib import Path

import torch
from alignment import ROWS, Answers, base, made_by, refine, stored, timed
from torch import nn
from tqdm import tqdm

from minirft import captions, train
from minirft.body import DATA, load_body, to_6d
from minirft.data import load_poses
from minirft.evaluate import ask, evaluate, exam_samples
from minirft.policy import PosePolicy
from minirft.retrieval import Retriever
from minirft.rollout import to_pose

REFINED = {f"{name}, refined": name for name in ("mini-sft", "mini-rft")}
PEERS = ("retrieval", "cvae", "deterministic", "gaussian", "mini-sft", "mini-rft", *REFINED)
RESULTS = DATA / "results" / "peers"
CODE, WIDTH = 32, 512  # of the VAE


def retrieve(poses, body):
    """The n poses of `poses` (M, 24, 3, 3) that the reward model finds most like a sentence, the likest first."""
    model = Retriever.load("reward_model")
    made = torch.cat([model.embed_pose(part, body.joints(part)) for part in poses.split(1000)])
    return Answers("retrieval", lambda said, n, _: poses[(model.embed_text(said) @ made.T).topk(n).indices])


class CVAE(nn.Module):
    """p(z | sentence) and q(z | pose) are taught to agree, and one decoder makes the pose of z (PoseScript, ECCV 2022)."""

    def __init__(self, tokenizer, numbers):
        """numbers: (M, 132), what the 6D numbers of poses are like; some hardly move, and a decoder must not shake them."""
        super().__init__()
        self.centre, self.spread = numbers.mean(0), numbers.std(0)
        self.tokenizer, self.words = tokenizer, nn.Embedding(len(tokenizer), 96, padding_idx=0)
        self.reader = nn.GRU(96, 128, batch_first=True, bidirectional=True)
        self.of_text = nn.Linear(256, 2 * CODE)
        self.of_pose, self.decoder = mlp(132, 2 * CODE), mlp(CODE, 132)

    def read(self, sentences):
        """P sentences to the mean and the logarithm of the std of their latents, (P, 32) each."""
        rows = [torch.tensor(self.tokenizer(s.lower(), add_special_tokens=False).input_ids) for s in sentences]
        tokens = nn.utils.rnn.pad_sequence(rows, batch_first=True)
        states = self.reader(self.words(tokens))[0].masked_fill((tokens == 0)[..., None], -torch.inf)
        return self.of_text(states.amax(1)).chunk(2, -1)

    def see(self, numbers):
        """Poses' 6D numbers (P, 132) to the mean and the logarithm of the std of their latents, (P, 32) each."""
        return self.of_pose((numbers - self.centre) / self.spread.clamp(min=0.01)).chunk(2, -1)

    def decode(self, latent):
        return self.centre + self.spread * self.decoder(latent)

    def show(self, sentences, n, generator):
        mean, log_std = self.read(sentences)
        noise = torch.randn(len(mean), n, CODE, generator=generator)
        noise[:, 0] = 0
        return to_pose(self.decode(mean[:, None] + log_std.exp()[:, None] * noise))


def mlp(size, out):
    return nn.Sequential(nn.Linear(size, WIDTH), nn.GELU(), nn.Linear(WIDTH, WIDTH), nn.GELU(), nn.Linear(WIDTH, out))


def divergence(mean, log_std, other_mean, other_log_std):
    """KL of one diagonal Gaussian from another, nats, averaged over rows."""
    gap = (2 * (log_std - other_log_std)).exp() + ((mean - other_mean) / other_log_std.exp()).square()
    return (0.5 * (gap - 1) + other_log_std - log_std).sum(-1).mean()


def teach_cvae(poses, body, *, seed, steps=6000, batch=96, kl=2e-3):
    """6,000 steps of 96 sentences, as the language model had; errors of rotations and joints as there."""
    torch.manual_seed(seed)
    model = CVAE(Retriever.load("reward_model").tokenizer, to_6d(poses[:, :22]).flatten(1))
    optimizer = torch.optim.AdamW(model.parameters(), lr=1e-3)
    config = train.SFTConfig(seed=seed, steps=steps, talk_share=0.0)
    weights = captions.weights_among(poses, body)
    for step in tqdm(range(steps), desc="cvae"):
        optimizer.param_groups[0]["lr"] = 1e-3 * train.schedule(step, config)
        samples = train.fresh_samples(poses, body, weights, batch, config, step)
        pose = torch.stack([s.pose for s in samples])
        truth = to_6d(pose[:, :22]).flatten(1)
        (mean, log_std), said = model.see(truth), model.read([s.question for s in samples])
        made = model.decode(mean + log_std.exp() * torch.randn_like(mean))
        gap = (body.joints(to_pose(made)) - body.joints(pose)).norm(dim=-1).mean()
        nothing = torch.zeros_like(mean)
        loss = (made - truth).abs().mean() + gap
        loss = loss + kl * divergence(mean, log_std, *said)
        loss = loss + kl / 10 * (divergence(mean, log_std, nothing, nothing) + divergence(*said, nothing, nothing))
        optimizer.zero_grad()
        loss.backward()
        nn.utils.clip_grad_norm_(model.parameters(), 1.0)
        optimizer.step()
    return Answers("cvae", model.eval().show)


def make(peer, poses, body, arguments):
    """A peer and the CPU-seconds it learnt for, None where that is not known."""
    if peer == "retrieval":
        return retrieve(poses, body), 0.0
    if peer == "cvae":
        began = time.process_time()
        return teach_cvae(poses, body, seed=0), time.process_time() - began
    if peer in REFINED:
        return refine(PosePolicy.from_pretrained(REFINED[peer]), body), None
    if peer == "deterministic":
        policy, seconds = timed(train.sft, PosePolicy.mini(seed=0), poses, train.SFTConfig(std_weight=0.0), arguments.out / peer, body=body)
        return Answers(peer, lambda said, n, _: policy.generate(said)[0].expand(-1, n, 24, 3, 3)), seconds
    return PosePolicy.from_pretrained(base(0, arguments.out) if peer == "gaussian" else peer), None


def bench(arguments):
    torch.set_num_threads(1)
    body, test = load_body(), load_poses(arguments.test)
    poses = torch.cat([load_poses(arguments.poses).pose, load_poses(DATA / "rare.npz").pose])
    for peer in [peer for peer in arguments.peers if not (arguments.results / f"0-{peer}.json").exists()]:
        answers, seconds = make(peer, poses, body, arguments)
        report = evaluate(answers, test, body=body, name=peer)
        began, asked = time.process_time(), exam_samples(test.pose, torch.arange(100), body=body, seed=0)
        ask(answers, asked)
        report |= {"cpu_seconds": seconds, "ms_a_pose": (time.process_time() - began) * 10} | made_by()
        arguments.results.mkdir(parents=True, exist_ok=True)
        (arguments.results / f"0-{peer}.json").write_text(json.dumps(report, indent=1) + "\n")


def table(reports):
    """{peer: report} as Markdown, the mean pose and, in brackets, a draw; of the poses asked about the same in the last column."""
    lines = ["| mean pose (a draw) | " + " | ".join(ROWS) + " | diversity, mm | ms a pose |", "|---" * (len(ROWS) + 3) + "|"]
    for peer, report in reports.items():
        cells = [f"{ROWS[name](report, 'mean'):.1f} ({ROWS[name](report, 'samples'):.1f})" for name in ROWS]
        lines.append(f"| {peer} | " + " | ".join(cells) + f" | {report['diversity_mm']['samples']:.0f} | {report['ms_a_pose']:.0f} |")
    real = next(iter(reports.values()))
    cells = [f"{ROWS[name](real, 'real'):.1f}" for name in ROWS] + [f"{real['diversity_mm']['real']:.0f}"]
    return "\n".join([*lines, "| real poses | " + " | ".join(cells) + " | |"])


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--poses"), parser.add_argument("--test"), parser.add_argument("--out", type=Path)
    parser.add_argument("--peers", nargs="+", choices=PEERS, default=PEERS), parser.add_argument("--results", type=Path, default=RESULTS)
    arguments = parser.parse_args()
    if arguments.poses:
        bench(arguments)
    reports = {peer: rows["0"] for peer, rows in stored(arguments.results, PEERS).items()}
    if not reports:
        parser.error(f"{arguments.results} holds no reports; give --poses, --test and --out to make some")
    print(table(reports))


if __name__ == "__main__":
    main()
