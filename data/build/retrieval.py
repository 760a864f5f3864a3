"""Train data/reward_model.safetensors and data/judge.safetensors on trials that they do not share.

    python data/build/retrieval.py TRAIN.npz VALIDATION.npz data [--steps 3000]

Every second trial (in the order of their names) is the judge's, the others the reward model's; so with the rare poses.
Prints recall on validation subjects, in a pool of 1,000, and notes it in the files.
"""

import argparse
import json
import random
from pathlib import Path

import numpy as np
import torch
from torch.nn.functional import cross_entropy
from tqdm import tqdm

from minirft import captions
from minirft.body import DATA, JOINT, flip_pose, from_6d, load_body, to_6d
from minirft.data import load_poses
from minirft.retrieval import Retriever, recall

LIMBS = [[JOINT[f"{side}_{part}"] for part in parts] for side in ("left", "right") for parts in
         (("collar", "shoulder"), ("shoulder", "elbow"), ("elbow", "wrist"), ("hip",), ("hip", "knee"), ("knee", "ankle"))]
LIMBS += [[JOINT["pelvis"]], [JOINT["spine1"], JOINT["spine2"], JOINT["spine3"]], [JOINT["neck"], JOINT["head"]]]


def sentences(holds, rng, weights):
    return [captions.describe(row, rng, count=rng.choice((2, 3, 4, 5, 6, 8)), weights=weights).text for row in holds]


def halves(path):
    """The training poses (M, 24, 3, 3) of even and of odd trials, rare poses shared out alike."""
    train, rare = load_poses(path), load_poses(DATA / "rare.npz").pose
    odd = torch.as_tensor(np.unique(train.clip, return_inverse=True)[1] % 2 == 1)
    return torch.cat([train.pose[~odd], rare[::2]]), torch.cat([train.pose[odd], rare[1::2]])


def near_misses(poses, generator):
    """Poses (B, 24, 3, 3) that resemble each of B: one with a limb of another pose, one with a few joints turned about 15
    degrees: (B, 2, 24, 3, 3). Against them a model learns what a sentence says of a hand, not of the whole alone."""
    count = len(poses)
    other = poses[torch.randperm(count, generator=generator)]
    swapped = poses.clone()
    limb = torch.randint(len(LIMBS), (count,), generator=generator)
    for i, joints in enumerate(LIMBS):
        rows = (limb == i).nonzero()[:, 0]
        swapped[rows[:, None], joints] = other[rows[:, None], joints]
    turned = torch.rand(count, 24, 1, generator=generator) < 0.3
    noise = 0.25 * turned[..., None] * torch.randn(count, 24, 2, 3, generator=generator)
    noisy = from_6d(to_6d(poses) + noise.flatten(-2))
    return torch.stack([swapped, noisy], 1)


def contrastive_loss(text, pose, log_scale, near=None):
    """Symmetric InfoNCE: each sentence finds its own pose among the batch's, each pose its sentence. (B, E) twice.

    near: (B, M, E), M more poses for each sentence that resemble its own and are not it.
    """
    scale = log_scale.exp().clamp(max=100)
    logits = scale * text @ pose.T
    own = torch.arange(len(text), device=text.device)
    among = logits if near is None else torch.cat([logits, scale * (text[:, None] * near).sum(-1)], 1)
    return (cross_entropy(among, own) + cross_entropy(logits.T, own)) / 2


def learn(retriever, poses, body, *, steps, seed, hard=False, lr=2e-3, batch=256):
    """InfoNCE on fresh sentences of mirrored poses; `hard`: against near misses too."""
    weights = captions.weights_for(captions.holds(body.joints(poses)).float().mean(0))
    optimizer = torch.optim.AdamW(retriever.parameters(), lr=lr, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=steps, pct_start=0.05)
    generator, rng = torch.Generator().manual_seed(seed), random.Random(seed)
    for _ in (bar := tqdm(range(steps), desc=retriever.kind)):
        drawn = poses[torch.randperm(len(poses), generator=generator)[:batch]]
        mirrored = torch.rand(batch, generator=generator) < 0.5
        drawn = torch.where(mirrored[:, None, None, None], flip_pose(drawn), drawn)
        joints = body.joints(drawn)
        text = retriever.embed_text(sentences(captions.holds(joints), rng, weights))
        near = None
        if hard:
            near = torch.cat([near_misses(drawn, generator) for _ in range(2)], 1)
            near = retriever.embed_pose(near, body.joints(near))
        loss = contrastive_loss(text, retriever.embed_pose(drawn, joints), retriever.model.log_scale, near)
        optimizer.zero_grad(), loss.backward()
        torch.nn.utils.clip_grad_norm_(retriever.parameters(), 1.0)
        optimizer.step(), schedule.step()
        bar.set_postfix_str(f"loss {loss.item():.2f}")
    return retriever.eval().requires_grad_(False)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("train"), parser.add_argument("validation"), parser.add_argument("out", type=Path)
    parser.add_argument("--steps", type=int, default=3000)
    arguments = parser.parse_args()
    body, validation = load_body(), load_poses(arguments.validation).pose
    pool = validation[torch.randperm(len(validation), generator=torch.Generator().manual_seed(0))[:1000]]
    joints = body.joints(pool)
    asked = sentences(captions.holds(joints), random.Random(0), None)
    for (kind, seed), poses in zip((("reward_model", 1), ("judge", 2)), halves(arguments.train)):
        hard = kind == "reward_model"
        retriever = learn(Retriever(kind, seed=seed), poses, body, steps=arguments.steps, seed=seed, hard=hard)
        found = recall(retriever.embed_text(asked), retriever.embed_pose(pool, joints))
        retriever.about = {"poses": len(poses), "steps": arguments.steps, "seed": seed, "validation": found}
        retriever.save(arguments.out / f"{kind}.safetensors")
        print(kind, json.dumps(found))


if __name__ == "__main__":
    main()
