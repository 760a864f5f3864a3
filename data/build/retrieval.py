"""Train data/reward_model.safetensors, second_opinion, third_opinion and judge beside it; no other shares a trial with the judge.

    python data/build/retrieval.py TRAIN.npz VALIDATION.npz data [--steps 3000] [--kinds second_opinion ...]

Every second trial (in the order of their names) is the judge's, the others belong to the three others; so with the rare poses, of which
many are each other's mirror images: data/README.md says how many of the judge's the others have seen in a mirror. Half an
hour on one core for each opinion and for the judge, twice as much for the reward model.
Prints recall on validation subjects, in a pool of 1,000, and how well draws around one pose are told apart; notes both in
the files.
"""

import argparse
import json
import random
from pathlib import Path

import numpy as np
import torch
from torch.nn.functional import cosine_similarity, cross_entropy
from tqdm import tqdm

from minirft import captions
from minirft.body import DATA, JOINT, flip_pose, from_6d, load_body, to_6d
from minirft.data import grow, load_poses
from minirft.retrieval import Retriever, recall

SEEDS = {"reward_model": 1, "second_opinion": 11, "third_opinion": 31, "judge": 2}
LIMBS = [[JOINT[f"{side}_{part}"] for part in parts] for side in ("left", "right") for parts in
         (("collar", "shoulder"), ("shoulder", "elbow"), ("elbow", "wrist"), ("hip",), ("hip", "knee"), ("knee", "ankle"))]
LIMBS += [[JOINT["pelvis"]], [JOINT["spine1"], JOINT["spine2"], JOINT["spine3"]], [JOINT["neck"], JOINT["head"]]]


def sentences(holds, rng, weights, counts=(2, 3, 4, 5, 6, 8)):
    """A sentence about each pose, with so many things to say."""
    return [captions.describe(row, rng, count=rng.choice(counts), weights=weights).text for row in holds]


def halves(path):
    """The training poses (M, 24, 3, 3) of even and of odd trials, rare poses shared out alike."""
    train, rare = load_poses(path), load_poses(DATA / "rare.npz").pose
    odd = torch.as_tensor(np.unique(train.clip, return_inverse=True)[1] % 2 == 1)
    return torch.cat([train.pose[~odd], rare[::2]]), torch.cat([train.pose[odd], rare[1::2]])


def as_captured(poses, batch, generator):
    """Some of the poses, half of them mirrored, and no near misses."""
    drawn = poses[torch.randperm(len(poses), generator=generator)[:batch]]
    mirrored = torch.rand(batch, generator=generator) < 0.5
    return torch.where(mirrored[:, None, None, None], flip_pose(drawn), drawn), None


def swap_limb(poses, generator):
    """Poses (B, 24, 3, 3), each with one limb of another."""
    swapped, other = poses.clone(), poses[torch.randperm(len(poses), generator=generator)]
    limb = torch.randint(len(LIMBS), (len(poses),), generator=generator)
    for i, joints in enumerate(LIMBS):
        rows = (limb == i).nonzero()[:, 0]
        swapped[rows[:, None], joints] = other[rows[:, None], joints]
    return swapped


def shake(poses, level, generator):
    """Poses (B, 24, 3, 3) with noise on their 6D rotations of std `level`, broadcastable to (B, 24, 1)."""
    return from_6d(to_6d(poses) + level * torch.randn(*poses.shape[:2], 6, generator=generator))


def as_drawn(poses, batch, generator):
    """What a policy would draw around `batch` poses, and what a sentence about such a draw must tell it from.

    Twelve more draws around the same pose, one and two limbs of other draws, a few joints turned about 25 degrees, and the
    mirror image: (B, 24, 3, 3), (B, 16, 24, 3, 3). All shake alike, so that noise gives nothing away and the words decide.
    """
    poses = grow(poses, count=batch, generator=generator)
    level = max(0.04, 0.26 * torch.rand((), generator=generator).item() - 0.04)
    level = level * (0.3 + 1.4 * torch.rand(batch, 24, 1, generator=generator))
    drawn, *siblings = (shake(poses, level, generator) for _ in range(13))
    one = swap_limb(drawn, generator)
    turned = torch.rand(batch, 24, 1, generator=generator) < 0.25
    others = [swap_limb(drawn, generator), swap_limb(one, generator), shake(drawn, 0.4 * turned, generator), flip_pose(drawn)]
    return drawn, torch.stack(siblings + others, 1)


def contrastive_loss(text, pose, log_scale, near=None):
    """Symmetric InfoNCE: each sentence finds its own pose among the batch's, each pose its sentence. (B, E) twice.

    near: (B, M, E), M more poses for each sentence that resemble its own and are not it.
    """
    scale = log_scale.exp().clamp(max=100)
    logits = scale * text @ pose.T
    own = torch.arange(len(text), device=text.device)
    among = logits if near is None else torch.cat([logits, scale * (text[:, None] * near).sum(-1)], 1)
    return (cross_entropy(among, own) + cross_entropy(logits.T, own)) / 2


def learn(retriever, poses, body, *, steps, seed, drawn_by=as_captured, counts=(2, 3, 4, 5, 6, 8), lr=2e-3, batch=256):
    """InfoNCE on fresh sentences about poses (and near misses) that `drawn_by` makes of the captured ones."""
    weights = captions.weights_among(poses, body)
    trained = [p for p in retriever.parameters() if p.requires_grad]
    optimizer = torch.optim.AdamW(trained, lr=lr, weight_decay=0.01)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=steps, pct_start=0.05)
    generator, rng = torch.Generator().manual_seed(seed), random.Random(seed)
    for _ in (bar := tqdm(range(steps), desc=retriever.kind)):
        drawn, near = drawn_by(poses, batch, generator)
        if near is not None:
            near = retriever.embed_pose(near, body.joints(near))
        joints = body.joints(drawn)
        text = retriever.embed_text(sentences(captions.holds(joints), rng, weights, counts))
        loss = contrastive_loss(text, retriever.embed_pose(drawn, joints), retriever.model.log_scale, near)
        optimizer.zero_grad(), loss.backward()
        torch.nn.utils.clip_grad_norm_(trained, 1.0)
        optimizer.step(), schedule.step()
        bar.set_postfix_str(f"loss {loss.item():.2f}")
    return retriever.eval().requires_grad_(False)


def told_apart(retriever, poses, body, *, shaken=0.1, draws=32, seed=3):
    """How well draws around one pose are told apart: over `draws` shaken poses around each, the correlation of what the
    model thinks of them with the share of the sentence that they satisfy. poses (P, 24, 3, 3). Returns the mean over P."""
    generator, rng = torch.Generator().manual_seed(seed), random.Random(seed)
    said = [captions.describe(row, rng, count=3) for row in captions.holds(body.joints(poses))]
    joints = body.joints(drawn := torch.stack([shake(poses, shaken, generator) for _ in range(draws)], 1))
    kept = torch.stack([row[:, list(c.statements)].float().mean(1) for row, c in zip(captions.holds(joints), said)])
    liked = (retriever.embed_text([c.text for c in said])[:, None] * retriever.embed_pose(drawn, joints)).sum(-1)
    kept, liked = kept - kept.mean(1, keepdim=True), liked - liked.mean(1, keepdim=True)
    return cosine_similarity(kept, liked)[kept.abs().amax(1) > 0].mean().item()  # where there is anything to tell


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("train"), parser.add_argument("validation"), parser.add_argument("out", type=Path)
    parser.add_argument("--steps", type=int, default=3000), parser.add_argument("--kinds", nargs="+", choices=SEEDS, default=list(SEEDS))
    arguments = parser.parse_args()
    body, validation = load_body(), load_poses(arguments.validation).pose
    pool = validation[torch.randperm(len(validation), generator=torch.Generator().manual_seed(0))[:1000]]
    joints = body.joints(pool)
    asked = sentences(captions.holds(joints), random.Random(0), None)
    rewarding, judging = halves(arguments.train)
    for kind in arguments.kinds:
        seed, poses = SEEDS[kind], judging if kind == "judge" else rewarding
        retriever = learn(Retriever(kind, seed=seed), poses, body, steps=arguments.steps, seed=seed)
        if kind == "reward_model":  # it can read now; next, to tell one draw from another, which the others never learn
            retriever.requires_grad_(True)
            retriever.model.words.requires_grad_(False), retriever.model.reader.requires_grad_(False)
            retriever = learn(retriever, poses, body, steps=arguments.steps, seed=seed, drawn_by=as_drawn, lr=1.5e-3,
                              counts=(1, 2, 2, 3, 3, 4, 5, 6))
        found = recall(retriever.embed_text(asked), retriever.embed_pose(pool, joints))
        retriever.about = {"poses": len(poses), "steps": arguments.steps, "seed": seed, "validation": found,
                           "told_apart": told_apart(retriever, pool[:300], body)}
        retriever.save(arguments.out / f"{kind}.safetensors")
        print(kind, json.dumps(retriever.about))


if __name__ == "__main__":
    main()
