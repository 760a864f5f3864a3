"""From a picture to a pose: what SFT gives, what RFT adds, and what a specialist would do, from three seeds.

    python tests/bench/pictures.py --sft data/mini-sft --seed 0 --poses train.npz --album ALBUM --test test.npz --out WORK
    python tests/bench/pictures.py                                                             # prints the tables

Arms as in alignment.py: `sft`; `sft+`, taught on for the CPU-seconds that `rft` took; `rft`, half of its questions about
pictures; and `regressor`, a plain network from the same encoder's tokens to rotations, taught by the same pictures and losses
and nothing else. Each is measured on photographs made of the test subjects and, where PyAV is there to read videos, on
photographs.py's. Each arm writes data/results/pictures/SEED-ARM.json once it is done.

    python tests/bench/pictures.py --see both --seed 0 --base data/mini-sft ...    # an arm of the ablation: what it looks at
"""

import argparse
import json
import time
from pathlib import Path

import numpy as np
import torch
from alignment import _timed, over
from torch import nn

from minirft import train
from minirft.body import DATA, load_body, to_6d
from minirft.critics import Critics
from minirft.data import SEE, grow, load_poses
from minirft.evaluate import evaluate_pictures, picture_errors
from minirft.policy import PosePolicy
from minirft.rollout import to_pose
from minirft.snapshots import exam_album, load_album, simulate_landmarks

ARMS = ("regressor", "sft", "sft+", "rft")
RESULTS = DATA / "results" / "pictures"
SHARE = 0.5  # of the questions, about pictures
PICTURES = 1000


class Regressor(nn.Module):
    """Tokens (N, 33, 6) to rotations: four linear layers."""

    def __init__(self, *, width=512):
        super().__init__()
        sizes = [33 * 6, width, width, width, 132]
        layers = [layer for a, b in zip(sizes, sizes[1:]) for layer in (nn.Linear(a, b), nn.GELU())]
        self.layers = nn.Sequential(*layers[:-1])

    def forward(self, tokens):
        return self.layers(tokens.flatten(1))


def regress(poses, album, body, *, seed, steps=6000, size=256):
    """The specialist: SFT's pictures, half simulated and half from the album, and its losses of the pose."""
    torch.manual_seed(seed)
    net, generator, rng = Regressor(), torch.Generator().manual_seed(seed), np.random.default_rng(seed)
    optimizer = torch.optim.AdamW(net.parameters(), lr=1e-3, weight_decay=0.01)
    config, began = train.SFTConfig(steps=steps), time.process_time()
    for step in range(steps):
        optimizer.param_groups[0]["lr"] = 1e-3 * train.schedule(step, config)
        made, seen = simulate_landmarks(body, grow(poses, count=size // 2, generator=generator), rng)
        pick = torch.randint(len(album), (size // 2,), generator=generator)
        pose, tokens = torch.cat([made, album.pose[pick]]), torch.cat([seen, album.tokens[pick]])
        action = net(tokens)
        joint = (body.joints(to_pose(action)) - body.joints(pose)).norm(dim=-1).mean()
        loss = (action - to_6d(pose[:, :22]).flatten(1)).abs().mean() + joint
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    return net.eval(), time.process_time() - began


def teach_on(sft, poses, album, body, *, seed, seconds, out):
    """The control: SFT, text and pictures, for so many CPU-seconds more, with a schedule that ends with them."""
    def run(steps, out):
        config = train.SFTConfig(steps=steps, seed=seed + 1000, lr=5e-4, warmup=10, image_share=SHARE)
        return _timed(train.sft, sft, poses, config, out, body=body, album=album)

    began = run(2, out / "warm")[1]
    return run(max(1, round(seconds / ((run(12, out / "timed")[1] - began) / 10))), out / "run")


def bench(arguments):
    torch.set_num_threads(1)  # CPU-seconds mean the same whatever else the machine does
    body, seed, work = load_body(), arguments.seed, arguments.out
    poses = torch.cat([load_poses(arguments.poses).pose, load_poses(DATA / "rare.npz").pose])
    album, exam = load_album(arguments.album), exam_album(body, load_poses(arguments.test).pose, count=PICTURES)
    shots = photographs()
    for arm in ("rft", "sft", "sft+", "regressor"):
        path = arguments.results / f"{seed}-{arm}.json"
        if arm not in arguments.arms or path.exists():
            continue
        if arm == "regressor":
            net, seconds = regress(poses, album, body, seed=seed)
            with torch.no_grad():
                report = picture_errors({"mean": to_pose(net(exam.tokens))[:, None]}, exam, body)
            report |= {"photographs": shots.errors(lambda tokens: to_pose(net(tokens))) if shots else None}
        else:
            if arm == "sft":
                policy, seconds = PosePolicy.from_pretrained(arguments.sft), 0.0
            elif arm == "sft+":
                budget = json.loads((arguments.results / f"{seed}-rft.json").read_text())["cpu_seconds"]
                policy, seconds = teach_on(arguments.sft, poses, album, body, seed=seed, seconds=budget, out=work / f"{seed}-sft+")
            else:
                config = train.RFTConfig(seed=seed, image_share=SHARE)
                policy, seconds = _timed(train.rft, arguments.sft, poses, config, work / f"{seed}-rft", album=album,
                                         critics=Critics.load(body))
            report = evaluate_pictures(policy.eval(), exam, body=body, name=f"{arm} of SFT seed {seed}")
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps(report | {"cpu_seconds": seconds}, indent=1) + "\n")
