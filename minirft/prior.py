"""What bodies do: a pose prior to draw poses from, to judge them with and to search in. An open stand-in for VPoser.

A variational autoencoder squeezes the rotations of the 21 body joints into 29 numbers; three more are the direction of
up as the pelvis sees it, which is all of the root that is left once yaw is gone. A Gaussian mixture over those 32 says
where real poses lie: N(0, I), a VAE's own prior, gives bland or broken ones. Learned from CMU motion capture, mirrored
(data/build/prior.py); only weights are stored, no capture. Idea: VPoser, arXiv 1904.05866; mixture: 1612.04440.
"""

import json
import math

import torch
from safetensors import SafetensorError, safe_open
from torch import nn
from torch.nn.functional import normalize

from minirft import captions
from minirft.body import DATA, JOINT, InputError, canonical_yaw, from_6d, to_6d, to_axis_angle

BODY_JOINTS = slice(1, 22)  # all but the pelvis and the hands, which stay identity
# Where the body's mass sits, by joint and for both sides alike. After de Leva 1996, segments halved between their ends.
MASS = {"pelvis": 0.15, "spine2": 0.14, "spine3": 0.14, "head": 0.07, "shoulder": 0.014, "elbow": 0.021, "wrist": 0.014,
        "hip": 0.08, "knee": 0.086, "ankle": 0.019, "foot": 0.014}
CODE, LATENT = 29, 32  # numbers for the body's joints; and with the three of the up direction
WIDTH = 512
UP_NOISE = 0.05  # spread of the up direction below which the mixture may not go; a unit vector has length 1
# Limbs as segments between two joints, and the pairs of them that should not pass through each other.
LIMBS = tuple((JOINT[a.format(side)], JOINT[b.format(side)]) for a, b in (
    ("{}_hip", "{}_knee"), ("{}_knee", "{}_ankle"), ("{}_ankle", "{}_foot"), ("{}_shoulder", "{}_elbow"),
    ("{}_elbow", "{}_hand")) for side in ("left", "right")) + ((JOINT["pelvis"], JOINT["neck"]), (JOINT["neck"], JOINT["head"]))
PAIRS = tuple((i, k) for i in range(len(LIMBS)) for k in range(i) if not {*LIMBS[i]} & {*LIMBS[k]})
ANY_ROOT = 1e-3  # share of poses allowed to lie any way up: captured people seldom lie or stand on their hands


class PosePrior(nn.Module):
    """The prior. `measured` holds what the build found out about it: distances to real poses, coverage, AUCs."""

    def __init__(self, components=64):
        super().__init__()
        self.encoder = _mlp(126, 2 * CODE)
        self.decoder = _mlp(CODE, 126)
        self.register_buffer("mean", torch.zeros(126))  # of the joints' 6D rotations
        self.register_buffer("residual", torch.ones(126))  # what the decoder misses of them, root mean square
        self.register_buffer("log_weight", torch.zeros(components))  # the mixture: log shares,
        self.register_buffer("centre", torch.zeros(components, LATENT))
        self.register_buffer("whiten", torch.eye(LATENT).repeat(components, 1, 1))  # inverse Cholesky factors, lower
        self.register_buffer("typical", torch.tensor([0.0, -1.0]))  # median and 1st percentile of real poses' evidence
        self.register_buffer("low", torch.full((21, 3), -math.pi))  # the range of each joint's rotation vector, radians
        self.register_buffer("high", torch.full((21, 3), math.pi))
        self.register_buffer("clearance", torch.zeros(len(PAIRS)))  # the least distance of two limbs' axes, metres
        self.measured = {}

    @classmethod
    def load(cls, path=None):
        """The prior that ships with the package, or another. Raises InputError for a file that is not one."""
        path = DATA / "prior.safetensors" if path is None else path
        try:
            with safe_open(path, "pt") as file:
                tensors = {name: file.get_tensor(name).float() for name in file.keys()}
                measured = json.loads((file.metadata() or {}).get("measured", "{}"))
            prior = cls(components=len(tensors["centre"]))
            prior.load_state_dict(tensors)
        except (OSError, SafetensorError) as error:
            raise InputError(f"{path}: cannot be read as safetensors ({error}); data/build/prior.py makes one") from None
        except (KeyError, RuntimeError, ValueError, TypeError):
            raise InputError(f"{path}: its tensors are not those of a pose prior; data/build/prior.py makes one") from None
        prior.measured = measured
        return prior.eval().requires_grad_(False)

    def posterior(self, pose):
        """Where the encoder puts a pose's joints: mean and log variance, (..., 29) each."""
        code = self.encoder(to_6d(pose[..., BODY_JOINTS, :, :]).flatten(-2) - self.mean)
        return code[..., :CODE], code[..., CODE:].clamp(-10, 4)

    def encode(self, pose):
        """Poses (..., 24, 3, 3) to their latents (..., 32): 29 for the joints, then up as the pelvis sees it."""
        return torch.cat([self.posterior(pose)[0], pose[..., 0, 1, :]], dim=-1)

    def columns(self, code):
        """(..., 29) to the decoder's 6D rotations (..., 126), not yet made orthogonal."""
        return self.decoder(code) + self.mean

    def decode(self, latent):
        """Latents (..., 32) to poses (..., 24, 3, 3): yaw-free, hands identity, differentiable."""
        return assemble(self.columns(latent[..., :CODE]), latent[..., CODE:])

    def sample(self, count, *, generator, temperature=1.0):
        """Draw poses (count, 24, 3, 3) from the mixture; temperature below 1 keeps them nearer to its centres.

        generator: a CPU torch.Generator; the same one gives the same poses.
        """
        which = torch.multinomial(self.log_weight.exp().cpu(), count, replacement=True, generator=generator)
        noise = torch.randn(count, LATENT, generator=generator).to(self.mean)
        which = which.to(self.mean.device)
        away = torch.linalg.solve_triangular(self.whiten[which], noise[..., None], upper=False)[..., 0]
        latent = self.centre[which] + temperature * away
        with torch.no_grad():
            return self.decode(latent)

    def log_density(self, latent):
        """Natural log of the mixture's density at latents (..., 32), a share ANY_ROOT of it with every root alike."""
        up = latent[..., CODE:]
        joint, code = (torch.logsumexp(each, dim=-1) for each in self.each_log(latent))
        # Uniform over directions, as thick a shell as the mixture's own noise.
        anyhow = code - math.log(4 * math.pi * UP_NOISE * math.sqrt(2 * math.pi))
        anyhow = anyhow - ((up.norm(dim=-1) - 1) / UP_NOISE).square() / 2
        return torch.logaddexp(math.log(1 - ANY_ROOT) + joint, math.log(ANY_ROOT) + anyhow)

    def each_log(self, latent):
        """Log share times density of each component at latents (..., 32): (..., C) over all of it, (..., C) over the code."""
        shift = torch.einsum("cij,cj->ci", self.whiten, self.centre)
        away = ((latent @ self.whiten.flatten(0, 1).T).unflatten(-1, shift.shape) - shift).square()  # (..., C, 32)
        # Leaving out a Gaussian's last dimensions only cuts its Cholesky factor, and the factor's inverse alike.
        log_det = self.whiten.diagonal(dim1=-2, dim2=-1).log()
        return tuple(self.log_weight - 0.5 * away[..., :size].sum(-1) + log_det[:, :size].sum(-1)
                     - size / 2 * math.log(2 * math.pi) for size in (LATENT, CODE))

    def evidence(self, pose):
        """log p(latent) + log p(joints | latent) at the encoder's latent, nats up to a constant: (..., 24, 3, 3) to (...,)."""
        latent = self.encode(pose)
        missed = to_6d(pose[..., BODY_JOINTS, :, :]).flatten(-2) - self.columns(latent[..., :CODE])
        return self.log_density(latent) - 0.5 * (missed / self.residual).square().sum(-1)

    def score(self, pose):
        """How plausible poses (..., 24, 3, 3) are: (...,), 0 at most, yaw of no account, differentiable.

        The evidence, scaled: 0 is the median of real validation poses, -1 their 1st percentile; a broken joint costs
        several units. Nothing is earned above 0: the blandest pose has the highest density, and a reward would find it.
        Not seen by it: a body that floats or passes through itself, and a sound body lying where it should stand.
        """
        median, low = self.typical
        return ((self.evidence(pose) - median) / (median - low)).clamp(max=0.0)

    def plausible(self, pose):
        """Whether poses score above the 1st percentile of real ones: (...,) bool."""
        return self.score(pose) >= -1.0

    def excess(self, pose, joints):
        """How far poses and their joints (..., 24, 3) leave what captured bodies do: (..., 63 + P), 0 within it.

        Radians by which each joint's rotation vector leaves its range (knees and elbows bend one way), then metres by
        which pairs of limbs come closer than any two did. Differentiable; for a body of about the open one's size.
        """
        vector = to_axis_angle(pose[..., BODY_JOINTS, :, :])
        turned = (self.low.flatten() - vector).relu() + (vector - self.high.flatten()).relu()
        return torch.cat([turned, (self.clearance - limb_distances(joints)).relu()], dim=-1)


def _mlp(inputs, outputs):
    return nn.Sequential(nn.Linear(inputs, WIDTH), nn.SiLU(), nn.Linear(WIDTH, WIDTH), nn.SiLU(),
                         nn.Linear(WIDTH, outputs))


def assemble(columns, up):
    """6D rotations (..., 126) of the body joints and up as the pelvis sees it (..., 3) to poses (..., 24, 3, 3)."""
    joints = from_6d(columns.unflatten(-1, (21, 6)))
    up = normalize(up, dim=-1)
    zero = torch.zeros_like(up[..., 0])
    front = normalize(torch.stack([zero, -up[..., 2], up[..., 1] + 1e-7], dim=-1), dim=-1)
    root = torch.stack([torch.linalg.cross(up, front), up, front], dim=-2)  # rows: left along X, up along Y
    hands = torch.eye(3).to(columns).expand(*columns.shape[:-1], 2, 3, 3)
    return canonical_yaw(torch.cat([root[..., None, :, :], joints, hands], dim=-3))


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


def search(prior, statements, count, *, body, generator, starts=None, floor=-1.0):
    """Poses in which all the statements hold, though capture may have none: at most `count`, all different.

    statements: names or indices of captions.STATEMENTS. starts: poses (M, 24, 3, 3) to set out from, None for samples
    of the prior. floor: the least score that passes, -1 as for `plausible`.
    Returns (n <= count, 24, 3, 3), the most plausible first; n = 0 where nothing was found.
    """
    if starts is None:
        starts = near_samples(prior, statements, 2 * count, body=body, generator=generator)
    poses, found = settle(prior, starts, [statements] * len(starts), body=body, generator=generator)
    return choose(prior, poses[found], count, body=body, floor=floor)


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
        excess, fall = prior.excess(pose, joints), imbalance(joints)
        turned, close = excess[:, :63], excess[:, 63:]
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
