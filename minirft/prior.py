"""What bodies do: a pose prior to draw poses from and to judge them with. An open stand-in for VPoser.

A variational autoencoder squeezes the rotations of the 21 body joints into 29 numbers; three more are the direction of
up as the pelvis sees it, which is all of the root that is left once yaw is gone. A Gaussian mixture over those 32 says
where real poses lie: N(0, I), a VAE's own prior, gives bland or broken ones. Learned from CMU motion capture, mirrored
(data/build/prior.py); only weights are stored, no capture. Idea: VPoser, arXiv 1904.05866; mixture: 1612.04440.
"""

import math

import torch
from safetensors import SafetensorError
from safetensors.torch import load_file
from torch import nn
from torch.nn.functional import normalize

from .body import DATA, canonical_yaw, from_6d, to_6d
from .errors import InputError

BODY_JOINTS = slice(1, 22)  # all but the pelvis and the hands, which stay identity
CODE, LATENT = 29, 32  # numbers for the body's joints; and with the three of the up direction
WIDTH = 512
UP_NOISE = 0.05  # spread of the up direction below which the mixture may not go; a unit vector has length 1
LIMB_PAIRS = 59  # of which the build measured how near they come; data/build/search.py names them
ANY_ROOT = 1e-3  # share of poses allowed to lie any way up: captured people seldom lie or stand on their hands


class PosePrior(nn.Module):
    """The prior. Its file's metadata tell what the build found out about it: distances to real poses, coverage, AUCs."""

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
        self.register_buffer("clearance", torch.zeros(LIMB_PAIRS))  # the least distance of two limbs' axes, metres

    @classmethod
    def load(cls, path=None):
        """The prior that ships with the package, or another. Raises InputError for a file that is not one."""
        path = DATA / "prior.safetensors" if path is None else path
        try:
            tensors = {name: tensor.float() for name, tensor in load_file(path).items()}
            prior = cls(components=len(tensors["centre"]))
            prior.load_state_dict(tensors)
        except (OSError, SafetensorError) as error:
            raise InputError(f"{path}: cannot be read as safetensors ({error}); data/build/prior.py makes one") from None
        except (KeyError, RuntimeError, ValueError, TypeError):
            raise InputError(f"{path}: its tensors are not those of a pose prior; data/build/prior.py makes one") from None
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

    def sample(self, count, *, generator):
        """Draw poses (count, 24, 3, 3) from the mixture. generator: a CPU torch.Generator; the same one gives the same poses."""
        which = torch.multinomial(self.log_weight.exp().cpu(), count, replacement=True, generator=generator)
        noise = torch.randn(count, LATENT, generator=generator).to(self.mean)
        which = which.to(self.mean.device)
        away = torch.linalg.solve_triangular(self.whiten[which], noise[..., None], upper=False)[..., 0]
        with torch.no_grad():
            return self.decode(self.centre[which] + away)

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
