"""The pose head: from the hidden state at <POSE> to a Gaussian over rotations.

A description leaves much of a pose open: "left arm up" says nothing of the legs. So the head answers with a mean and,
for every number of the pose, a standard deviation: small where the words decide, wide where they don't. The policy's
action is a draw from that Gaussian, and its log-density is what HyGRPO needs (Pose-RFT, arXiv 2508.07804).

This file needs torch alone and stops at 6D numbers: copy it.
"""

import math

import torch
from torch import nn


class PoseHead(nn.Module):
    """Hidden state (..., hidden_size) to mean and std (..., dims) of a diagonal Gaussian over 6D rotations.

    dims: 132 = 22 body joints x 6, two columns of each rotation matrix (arXiv 1812.07035).
    min_std, max_std: the range std is squeezed into, in units of a rotation matrix's entries; bounded so that no
        density explodes where a dimension is always the same (0.02 is about 1 degree).
    Starts at the identity pose for every input, so that training starts from a standing body and not from noise.
    """

    def __init__(self, hidden_size, *, dims=132, width=512, min_std=0.02, max_std=0.7):
        super().__init__()
        self.dims, self.min_std, self.max_std = dims, min_std, max_std
        self.layers = nn.Sequential(nn.LayerNorm(hidden_size), nn.Linear(hidden_size, width), nn.GELU(),
                                    nn.Linear(width, 2 * dims))
        last = self.layers[-1]
        nn.init.normal_(last.weight, std=1e-3)
        with torch.no_grad():
            last.bias[:dims] = torch.tensor([1.0, 0, 0, 0, 1, 0]).repeat(dims // 6)
            last.bias[dims:] = 0

    def forward(self, hidden):
        """Returns mean, std, each (..., dims) in float32 whatever the backbone's precision."""
        weight_type = self.layers[-1].weight.dtype
        mean, spread = self.layers(hidden.to(weight_type)).float().chunk(2, dim=-1)
        low, high = math.log(self.min_std), math.log(self.max_std)
        return mean, torch.exp(low + (high - low) * torch.sigmoid(spread))


def sample(mean, std, count, generator):
    """Draw poses: mean, std (..., D) to (..., count, D). The generator makes the draw repeatable."""
    noise = torch.randn(*mean.shape[:-1], count, mean.shape[-1], generator=generator, device=mean.device)
    return mean[..., None, :] + std[..., None, :] * noise


def log_prob(action, mean, std):
    """Log-density of action under N(mean, std^2), summed over the last dimension. All (..., D); returns (...).

    >>> round(log_prob(torch.zeros(2), torch.zeros(2), torch.ones(2)).item(), 4)
    -1.8379
    """
    scaled = (action - mean) / std
    return (-0.5 * scaled**2 - std.log() - 0.5 * math.log(2 * math.pi)).sum(-1)


def kl(mean, std, reference_mean, reference_std):
    """KL(N(mean, std) || N(reference)) in closed form, summed over the last dimension: exactly 0 where they agree."""
    ratio = (std / reference_std) ** 2
    shift = ((mean - reference_mean) / reference_std) ** 2
    return 0.5 * (ratio + shift - 1 - ratio.log()).sum(-1)
