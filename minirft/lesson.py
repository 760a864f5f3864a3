"""What is learnt of a pose, and the lesson that comes before a language model learns to see.

Pictures are dear to a language model. So its projector learns first to tell poses from an encoder's features without it, and
what this Specialist says is what the language model then learns to say: most of what is uncertain in a picture is out of it.
"""

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from . import head
from .body import to_6d
from .data import grow
from .head import PoseHead
from .rollout import to_pose
from .runs import CLIP_NORM
from .snapshots import lean, simulate_landmarks


def pose_losses(mean, std, truth, body, aim=None):
    """How far Gaussians (A, 132) are from true poses (A, 24, 3, 3): rotation, joint and std of sft_losses.

    aim: (A, 132) where the means shall go, if not to the truth.
    """
    target = to_6d(truth[:, :22]).flatten(1)  # (A, 132)
    aim = target if aim is None else aim
    joint = (body.joints(to_pose(mean)) - body.joints(to_pose(aim))).norm(dim=-1).mean()
    return {"rotation": (mean - aim).abs().mean(), "joint": joint,
            "std": -head.log_prob(target, mean.detach(), std).mean() / target.shape[1]}


class Specialist(nn.Module):
    """From an encoder's features (..., T, C) to mean and std of a pose, each (..., 132): a projector's first half and a head."""

    def __init__(self, projector, *, seed=0):
        super().__init__()
        self.projector = projector
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.head = PoseHead(projector.speaker.in_features).to(projector.speaker.weight.device)

    def forward(self, features):
        return self.head(self.projector.read(features))


def teach_to_read(specialist, poses, config, *, body, album=None, progress=True):
    """The lesson: a Specialist, and the projector in it, learns from 256 pictures a step. Returns the Specialist.

    poses: (M, 24, 3, 3); album: an Album or None; config: an SFTConfig.
    """
    device = specialist.head.layers[-1].weight.device
    learning = [p for name, p in specialist.named_parameters() if "speaker" not in name]  # that part is the language model's
    optimizer = torch.optim.AdamW(learning, lr=1e-3, weight_decay=config.weight_decay)
    simulated = 256 if album is None else 256 - round(256 * config.album_share) if album.by_landmarks else 0
    steps = min(config.lesson_steps, 2 * config.steps)
    for step in tqdm(range(steps), desc="lesson", disable=not progress):
        generator, seen = torch.Generator().manual_seed(config.seed * 1_000_003 + step), []
        if simulated:
            drawn = grow(poses, count=simulated, generator=generator)
            seen.append(lean(*simulate_landmarks(body, drawn, np.random.default_rng((config.seed, step))), generator))
        if simulated < 256:
            pick = torch.randint(len(album), (256 - simulated,), generator=generator)
            seen.append(album.askew(pick, generator))
        truth, features = (torch.cat(parts).to(device) for parts in zip(*seen))
        losses = pose_losses(*specialist(features), truth, body)
        optimizer.param_groups[0]["lr"] = 1e-3 * (1 - step / steps)
        optimizer.zero_grad()
        sum(getattr(config, f"{k}_weight") * v for k, v in losses.items()).backward()
        nn.utils.clip_grad_norm_(learning, CLIP_NORM)
        optimizer.step()
    return specialist
