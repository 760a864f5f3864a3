"""What is learnt of a pose, and the lesson in which a projector learns to read it before the language model is asked."""

import numpy as np
import torch
from torch import nn
from tqdm import tqdm

from . import head
from .body import to_6d
from .data import grow
from .head import PoseHead
from .rollout import to_pose
from .snapshots import simulate_landmarks


def pose_losses(mean, std, truth, body):
    """How far Gaussians (A, 132) are from true poses (A, 24, 3, 3): rotation, joint and std of sft_losses."""
    target = to_6d(truth[:, :22]).flatten(1)  # (A, 132)
    joint = (body.joints(to_pose(mean)) - body.joints(truth)).norm(dim=-1).mean()
    return {"rotation": (mean - target).abs().mean(), "joint": joint,
            "std": -head.log_prob(target, mean.detach(), std).mean() / target.shape[1]}


def teach_to_read(projector, poses, config, *, body, album=None, progress=True):
    """A lesson before SFT: the projector learns to tell a pose from an encoder's features, without the language model, which
    makes each picture dear. poses: (M, 24, 3, 3); config: an SFTConfig; 256 pictures a step.

    Returns the PoseHead that reads the pose from projector.read(features): with it the projector is a specialist by itself.
    """
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(config.seed)
        say = PoseHead(projector.speaker.in_features).to(projector.speaker.weight.device)
    learning = [p for part in (projector.narrow, projector.reader, say) for p in part.parameters()]
    optimizer = torch.optim.AdamW(learning, lr=1e-3, weight_decay=config.weight_decay)
    simulated = 256 if album is None else 256 - round(256 * config.album_share) if album.by_landmarks else 0
    steps = min(config.lesson_steps, 2 * config.steps)
    for step in tqdm(range(steps), desc="lesson", disable=not progress):
        generator, views = torch.Generator().manual_seed(config.seed * 1_000_003 + step), []
        if simulated:
            drawn = grow(poses, count=simulated, generator=generator)
            views.append(simulate_landmarks(body, drawn, np.random.default_rng((config.seed, step))))
        if simulated < 256:
            pick = torch.randint(len(album), (256 - simulated,), generator=generator)
            views.append((album.pose[pick], album.tokens[pick]))
        truth, features = (torch.cat(parts).to(say.layers[-1].weight.device) for parts in zip(*views))
        losses = pose_losses(*say(projector.read(features)), truth, body)
        optimizer.param_groups[0]["lr"] = 1e-3 * (1 - step / steps)
        optimizer.zero_grad()
        sum(getattr(config, f"{k}_weight") * v for k, v in losses.items()).backward()
        nn.utils.clip_grad_norm_(learning, config.clip_norm)
        optimizer.step()
    return say
