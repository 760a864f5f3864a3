"""A pose moved to what is known of it: the landmarks seen in a photograph, or the words of a sentence.

The camera is weak perspective: a scale and a shift, the best there are for the pose; only `refine` also looks for how far
away it is. Good for a last correction of a pose; what lies in depth, places in a picture do not tell, and what BlazePose says of it
in metres is rough. A person here is a vision.Person, or many in one, of arrays (..., 33, 2), (..., 33, 3) and (..., 33) that
broadcast with the poses.
"""

import torch

from .body import JOINT, to_6d
from .rewards import nearness, plausibility
from .rollout import to_pose
from .vision import HIPS, NAMES

OFF = 0.03  # how far a landmark seen lies from the true one, of the person's size: the middle of errors with long tails
DEEP, HEARD = 0.3, 0.5  # of its depth, metres, and what that counts beside its place; both by PA-MPJPE on renders of validation poses
SURE = 0.05  # a std below which no policy is believed: aligned ones are surer than right
SEMANTIC, PLAUSIBLE, BELIEF = 4.0, 0.5, 0.01  # weights of a pose's rewards and of its distance from the policy, about those of RFT
NEAR = 3.0  # and of its distance in metres from the nearest pose that bodies take: without it a search exaggerates
SHAKES, SHAKEN = 6, 0.07  # a pose is judged by so many that are so far from it, in 6D numbers: what one network imagines is narrow
WAY, ROUNDS = 1 / 3, 2  # how far joints go from the mean pose towards a draw, and how often each is asked
AWAY, NEARER = 4.0, 0.3  # metres from a camera to a person, and how much nearer or farther, as a logarithm's spread


def _places():
    """For each of BlazePose's landmarks the joint that it moves with and where it is from there, metres, body upright."""
    on_head = {"nose": (0, 0, 0.12), "eye_inner": (0.015, 0.04, 0.1), "eye": (0.032, 0.04, 0.095),
               "eye_outer": (0.045, 0.04, 0.085), "ear": (0.075, 0.01, 0.01), "mouth": (0.022, -0.055, 0.095)}
    on_limbs = {"pinky": ("hand", (0, -0.005, -0.045)), "index": ("hand", (0, 0, 0.035)), "thumb": ("hand", (-0.04, -0.01, 0.05)),
                "heel": ("ankle", (0, -0.05, -0.045)), "foot_index": ("foot", (0, 0, 0.06))}
    for name in NAMES:
        side = "right" if "right" in name else "left"
        part = name.replace(f"{side}_", "").replace(f"_{side}", "")
        joint, offset = ("head", on_head[part]) if part in on_head else on_limbs.get(part, (part, (0, 0, 0)))
        x, y, z = offset
        yield JOINT[joint if joint == "head" else f"{side}_{joint}"], (x if side == "left" else -x, y, z)


LANDMARK_JOINT, LANDMARK_OFFSET = (torch.tensor(column) for column in zip(*_places()))


def landmarks(body, pose, betas=None):
    """The landmarks of vision.NAMES on a body: pose (..., 24, 3, 3) to (..., 33, 3) metres, differentiable."""
    joints, turned = body.frames(pose, betas)
    return joints[..., LANDMARK_JOINT, :] + (turned[..., LANDMARK_JOINT, :, :] @ LANDMARK_OFFSET.to(pose)[..., None])[..., 0]


def camera(points, person):
    """The scale (..., 1, 1) and shift (..., 1, 2) that bring points (..., 33, 3) of the camera frame nearest to a person's
    landmarks: pixel = scale * (x, y) + shift. What is surely visible counts most."""
    flat, seen = points[..., :2], torch.as_tensor(person.image).to(points)
    weight = _weights(person).to(points)[..., None]
    middle, target = (weight * flat).sum(-2, keepdim=True), (weight * seen).sum(-2, keepdim=True)
    centred = flat - middle
    alike, spread, wanted = ((weight * product).sum((-2, -1), keepdim=True) for product in (
        centred * (seen - target), centred.square(), (seen - target).square()))
    scale = torch.maximum(alike / spread, 0.3 * (wanted / spread).sqrt())  # never upside down, nor a dot
    return scale, target - scale * middle


def residuals(points, person):
    """How far each of a pose's landmarks (..., 33, 3) falls from the one seen, of the person's size: (..., 33)."""
    scale, shift = camera(points, person)
    seen = torch.as_tensor(person.image).to(points)
    size = (seen.amax(-2) - seen.amin(-2)).amax(-1, keepdim=True)  # the longer side of the box about the landmarks, pixels
    return (scale * points[..., :2] + shift - seen).square().sum(-1).clamp(min=1e-12).sqrt() / size


def depths_off(points, person):
    """How far the depth of each of a pose's landmarks (..., 33, 3) is from what BlazePose says, hips on hips, its person scaled to the
    body's size: (..., 33) metres."""
    ours, told = (p - p[..., HIPS, :].mean(-2, keepdim=True) for p in (points, torch.as_tensor(person.world).to(points)))
    alike, spread, wanted = (product.sum((-2, -1), keepdim=True) for product in (ours * told, told.square(), ours.square()))
    spread = spread.clamp(min=1e-6)
    scale = torch.maximum(alike / spread, 0.3 * (wanted / spread).sqrt())  # as in `camera`
    return (ours - scale * told)[..., 2]


def misfit(body, pose, person):
    """One number for `residuals`, visible landmarks first: their root mean square, (..., 24, 3, 3) to (...)."""
    return (residuals(landmarks(body, pose), person).square() * _weights(person).to(pose)).sum(-1).sqrt()


def best_by_joint(body, pose, std, person):
    """Put one pose together of M (..., M, 24, 3, 3), the mean one first, then draws: (..., 24, 3, 3), NaN where there is no mean one.

    The head's joints are independent, so draws may lend each other theirs. From the pelvis outwards, ROUNDS times, each joint takes
    the mean's rotation or goes part of its way, WAY, towards a draw's, whichever landmarks, by weak perspective, and policy like
    best. The root stays. std: (..., 132); person: of many, (..., 1, 33, 2) and so on.
    """
    mean = to_6d(pose[..., :1, :22, :, :]).flatten(-2)  # (..., 1, 132)
    offered = WAY * (to_6d(pose[..., :22, :, :]).flatten(-2).nan_to_num() - mean)  # (..., M, 132); nothing is offered by the first
    offered[pose.isnan().flatten(-3).any(-1)] = 0.0
    moved, std = torch.zeros_like(mean), std[..., None, :].clamp(min=SURE)
    for joint in [*range(1, 22)] * ROUNDS:
        tried = moved.expand_as(offered).clone()
        tried[..., 6 * joint : 6 * joint + 6] = offered[..., 6 * joint : 6 * joint + 6]
        cost = _surprise(residuals(landmarks(body, to_pose(mean + tried)), person), person) + (tried / std).square().sum(-1) / 2
        best = cost.nan_to_num(torch.inf).argmin(-1, keepdim=True)[..., None]
        moved = tried.take_along_dim(best, -2)
    return to_pose((mean + moved)[..., 0, :])


def refine(body, pose, std, person):
    """Move poses (..., 24, 3, 3) to where landmarks, what BlazePose says of their depths, and policy agree best. Returns the same shape.

    The prior is the policy's Gaussian, of std (..., 132), SURE at least, about the pose. The camera has perspective and is some
    AWAY metres off. The root stays: turned to please landmarks in a picture, a body more often turns the wrong way in depth.
    Depths have a say since a policy that learnt from renders reads photographs less well than it thinks: BlazePose learnt from those.
    """
    start, limbs = to_6d(pose[..., :22, :, :]).flatten(-2), torch.ones(132).to(pose)
    limbs[:6] = 0
    moved, away = torch.zeros_like(start), torch.zeros_like(start[..., :1, None])  # (..., 132), (..., 1, 1)
    moved.requires_grad_(), away.requires_grad_()
    optimizer = torch.optim.Adam([moved, away], lr=0.02)
    for _ in range(60):
        optimizer.zero_grad()
        points = landmarks(body, to_pose(start + moved * limbs))
        depth = points[..., 2:] - points[..., 2:].mean(-2, keepdim=True)
        seen = torch.cat([points[..., :2] / (1 + depth / (AWAY * away.exp())), depth], -1)
        loss = _surprise(residuals(seen, person), person).sum() + HEARD * _surprise(depths_off(points, person), person, size=DEEP).sum()
        loss += ((moved / std.clamp(min=SURE)).square().sum() + (away / NEARER).square().sum()) / 2
        loss.backward()
        optimizer.step()
    return to_pose((start + moved * limbs).detach())


def refine_to_words(body, pose, std, sentences, panel, prior, *, known=None, seed=0):
    """Move poses to where reward models and pose prior like them best, near where the policy had them and to what bodies do.

    What a step of HyGRPO teaches on average is looked for here for one sentence, along the gradient. pose (P, n, 24, 3, 3), NaN
    for none, which stays; std (P, 132) of the policy; sentences: P; panel: retrieval.Panel; prior: PosePrior; known: joints
    (M, 24, 3) of poses that bodies take, which the pose then stays near to, or None. Returns (P, n, 24, 3, 3).
    """
    start, text = to_6d(pose[..., :22, :, :]).flatten(-2), panel.embed_text(sentences)[:, None].to(pose)
    moved = torch.zeros_like(start).requires_grad_()  # (P, n, 132)
    optimizer, generator = torch.optim.Adam([moved], lr=0.01), torch.Generator().manual_seed(seed)
    for _ in range(20):
        optimizer.zero_grad()
        shake = SHAKEN * torch.randn(SHAKES, *start.shape, generator=generator).to(pose)
        near = to_pose(start.nan_to_num() + moved + shake)  # (SHAKES, P, n, 24, 3, 3)
        reward = SEMANTIC * (text * panel.embed_pose(near, body.joints(near))).sum(-1) + PLAUSIBLE * plausibility(prior.score(near))
        loss = BELIEF / 2 * (moved / std[:, None]).square().sum() - reward.mean(0).sum()
        if known is not None:
            loss -= NEAR * nearness(body.joints(to_pose(start.nan_to_num() + moved)), known).sum()
        loss.backward()
        optimizer.step()
    return to_pose((start + moved).detach())


def _surprise(off, person, *, size=OFF):
    """Residuals (..., 33) as minus a log-likelihood, (...): of this size with long tails, so that a far one pulls no more than others."""
    return (_weights(person).to(off) * torch.log1p((off / size).square())).sum(-1) * len(NAMES)


def _weights(person):
    weight = torch.as_tensor(person.visible, dtype=torch.float32).clamp(min=0.05)
    return weight / weight.sum(-1, keepdim=True)
