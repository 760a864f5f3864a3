"""The search of the pose prior that rare.py fills data/rare.npz with: poses in which statements hold, though no captured
body may have shown them, and what makes a body sound beside them: joint ranges, limbs apart, balance.
"""

import math

import torch

from minirft import captions
from minirft.body import JOINT, to_6d, to_axis_angle
from minirft.prior import BODY_JOINTS, CODE, assemble

# Where the body's mass sits, by joint and for both sides alike. After de Leva 1996, segments halved between their ends.
MASS = {"pelvis": 0.15, "spine2": 0.14, "spine3": 0.14, "head": 0.07, "shoulder": 0.014, "elbow": 0.021, "wrist": 0.014,
        "hip": 0.08, "knee": 0.086, "ankle": 0.019, "foot": 0.014}
# Limbs as segments between two joints, and the pairs of them that should not pass through each other.
LIMBS = tuple((JOINT[a.format(side)], JOINT[b.format(side)]) for a, b in (
    ("{}_hip", "{}_knee"), ("{}_knee", "{}_ankle"), ("{}_ankle", "{}_foot"), ("{}_shoulder", "{}_elbow"),
    ("{}_elbow", "{}_hand")) for side in ("left", "right")) + ((JOINT["pelvis"], JOINT["neck"]), (JOINT["neck"], JOINT["head"]))
PAIRS = tuple((i, k) for i in range(len(LIMBS)) for k in range(i) if not {*LIMBS[i]} & {*LIMBS[k]})


def excess(prior, pose, joints):
    """How far poses and their joints (..., 24, 3) leave what captured bodies do: (..., 63 + P), 0 within it.

    Radians by which each joint's rotation vector leaves its range (knees and elbows bend one way), then metres by
    which pairs of limbs come closer than any two did. Differentiable; for a body of about the open one's size.
    """
    vector = to_axis_angle(pose[..., BODY_JOINTS, :, :])
    turned = (prior.low.flatten() - vector).relu() + (vector - prior.high.flatten()).relu()
    return torch.cat([turned, (prior.clearance - limb_distances(joints)).relu()], dim=-1)


def limb_distances(joints):
    """The distance between the two segments of each of PAIRS: joints (..., 24, 3) to (..., P) metres."""
    start, end = (joints[..., [limb[i] for limb in LIMBS], :] for i in (0, 1))
    one, two = ([pair[i] for pair in PAIRS] for i in (0, 1))
    first, second, between = (end - start)[..., one, :], (end - start)[..., two, :], start[..., one, :] - start[..., two, :]
    a, e = first.square().sum(-1), second.square().sum(-1)
    b, c, f = (first * second).sum(-1), (first * between).sum(-1), (second * between).sum(-1)
    # Closest points of two segments: Ericson, Real-Time Collision Detection, 5.1.9.
    s = ((b * f - c * e) / (a * e - b * b).clamp(min=1e-8)).clamp(0, 1)
    t = ((b * s + f) / e).clamp(0, 1)
    s = ((b * t - c) / a).clamp(0, 1)
    return ((between + s[..., None] * first - t[..., None] * second).square().sum(-1) + 1e-10).sqrt()


def imbalance(joints):
    """How far the centre of mass hangs out over what touches the floor: joints (..., 24, 3) to (...,) metres.

    What lies within 13 cm of the lowest joint touches; 8 cm around it still carry. Only for bodies that keep still.
    """
    mass = joints.new_tensor([MASS.get(name.split("_")[-1], 0.0) for name in JOINT])
    level = joints[..., [0, 2]]
    middle = (level * mass[:, None]).sum(-2) / mass.sum()
    aloft = (joints[..., 1] > joints[..., 1].amin(-1, keepdim=True) + 0.13)[..., None]
    low = level.masked_fill(aloft, math.inf).amin(-2) - 0.08
    high = level.masked_fill(aloft, -math.inf).amax(-2) + 0.08
    return ((low - middle).relu() + (middle - high).relu()).sum(-1)


def search(prior, statements, count, *, body, generator):
    """Poses in which all the statements hold, though capture may have none: at most `count`, all different.

    statements: names or indices of captions.STATEMENTS.
    Returns (n <= count, 24, 3, 3), the most plausible first; n = 0 where nothing was found.
    """
    starts = near_samples(prior, statements, 2 * count, body=body, generator=generator)
    poses, found = settle(prior, starts, [statements] * len(starts), body=body, generator=generator)
    return choose(prior, poses[found], count, body=body)


def near_samples(prior, statements, count, *, body, generator):
    """Of twenty times as many samples the `count` that come nearest to satisfying the statements: (count, 24, 3, 3)."""
    pool = prior.sample(20 * count, generator=generator)
    return pool[captions.violation(statements, body.joints(pool)).sum(-1).argsort()[:count]]


def settle(prior, starts, wanted, *, body, generator, steps=80):
    """Move poses until their statements hold: the search itself, many targets side by side.

    starts: (M, 24, 3, 3); wanted: M lists of statements, one a pose. Minimises, over the latent and over what the decoder
    misses, -log p(latent, joints) plus what is missing of the statements, of a sound body and of its balance.
    Returns poses (M, 24, 3, 3) and whether each of them got there (M,) bool.
    """
    named = list(dict.fromkeys(name for names in wanted for name in names))
    asked = torch.tensor([[name in names for name in named] for names in wanted]).float()
    with torch.no_grad():
        latent = prior.encode(starts)
        missed = (to_6d(starts[:, BODY_JOINTS]).flatten(-2) - prior.columns(latent[:, :CODE])) / prior.residual
        latent += 0.2 * torch.randn(latent.shape, generator=generator)  # two searches from one start shall differ
    latent.requires_grad_(True), missed.requires_grad_(True)  # the second counts in the decoder's usual errors
    optimizer = torch.optim.Adam([{"params": [latent], "lr": 0.07}, {"params": [missed], "lr": 0.15}], betas=(0.8, 0.99))
    best, found = starts.clone(), torch.zeros(len(starts), dtype=torch.bool)
    for _ in range(steps):
        pose = assemble(prior.columns(latent[:, :CODE]) + prior.residual * missed, latent[:, CODE:])
        joints = body.joints(pose)
        lack = (captions.violation(named, joints) * asked).sum(-1)
        turned, close = excess(prior, pose, joints).split([63, len(PAIRS)], dim=-1)
        fall = imbalance(joints)
        held = (lack == 0) & (turned.amax(-1) < 0.1) & (close.amax(-1) < 0.015) & (fall < 0.04)
        best[held], found = pose[held].detach(), found | held  # at the edge of a statement the last step may be outside
        loss = 0.5 * missed.square().sum(-1) - prior.log_density(latent) + 60 * lack + 100 * fall
        loss = loss + 200 * turned.square().sum(-1) + 2e4 * close.square().sum(-1)
        optimizer.zero_grad()
        loss.sum().backward()
        optimizer.step()
    holding = captions.satisfied(named, body.joints(best)).float()
    return best, found & ((1 - holding) * asked).sum(-1).eq(0)


def choose(prior, poses, count, *, body, floor=-1.0, least=0.03):
    """At most `count` of poses (M, 24, 3, 3), most plausible first: score >= floor, `least` metres apart by joint."""
    score = prior.score(poses)
    poses = poses[score.argsort(descending=True)][: int((score >= floor).sum())]
    joints = body.joints(poses)
    apart = (joints[:, None] - joints).norm(dim=-1).mean(-1) > least  # (M, M)
    kept = []
    for row in range(len(poses)):
        if len(kept) < count and apart[row, kept].all():
            kept.append(row)
    return poses[kept]
