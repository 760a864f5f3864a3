"""The pose head: a Gaussian whose density, divergence and draws are what the formulas say."""

import shutil
import subprocess
import sys
from pathlib import Path

import pytest
import torch

from minirft import head


@pytest.fixture
def two_gaussians():
    generator = torch.Generator().manual_seed(0)
    mean, other = torch.randn(2, 5, 132, generator=generator)
    std, other_std = torch.rand(2, 5, 132, generator=generator) + 0.1
    return mean, std, other, other_std


def test_log_prob_and_kl_agree_with_torch_distributions(two_gaussians):
    mean, std, other, other_std = two_gaussians
    one, two = torch.distributions.Normal(mean, std), torch.distributions.Normal(other, other_std)
    torch.testing.assert_close(head.log_prob(other, mean, std), one.log_prob(other).sum(-1))
    torch.testing.assert_close(head.kl(*two_gaussians), torch.distributions.kl_divergence(one, two).sum(-1))


def test_kl_of_a_gaussian_to_itself_is_exactly_zero(two_gaussians):
    mean, std, *_ = two_gaussians
    assert (head.kl(mean, std, mean, std) == 0).all()


def test_draws_have_the_mean_and_std_asked_for(two_gaussians):
    mean, std, *_ = two_gaussians
    drawn = head.sample(mean, std, 20_000, torch.Generator().manual_seed(1))
    assert drawn.shape == (5, 20_000, 132)
    assert ((drawn.mean(1) - mean).abs() < 5 * std / 20_000**0.5).all()
    torch.testing.assert_close(drawn.std(1), std, rtol=0.05, atol=0)


def test_same_generator_same_draw(two_gaussians):
    mean, std, *_ = two_gaussians
    first, second = (head.sample(mean, std, 3, torch.Generator().manual_seed(7)) for _ in range(2))
    assert torch.equal(first, second)


def test_a_new_head_stands_at_the_identity_with_std_inside_its_bounds():
    torch.manual_seed(0)
    mean, std = head.PoseHead(64)(torch.randn(9, 64) * 10)
    identity = torch.tensor([1.0, 0, 0, 0, 1, 0]).repeat(22)
    assert (mean - identity).abs().max() < 0.2
    assert 0.02 <= std.min() and std.max() <= 0.7


def test_half_precision_hidden_states_give_float32_poses():
    mean, std = head.PoseHead(16)(torch.randn(2, 16, dtype=torch.bfloat16))
    assert mean.dtype == std.dtype == torch.float32


def test_the_file_works_alone_in_an_empty_folder(tmp_path):
    shutil.copy(Path(head.__file__), tmp_path / "head.py")
    code = ("import sys, head, torch; mean, std = head.PoseHead(8)(torch.randn(3, 8)); "
            "action = head.sample(mean, std, 4, torch.Generator().manual_seed(0)); "
            "print(tuple(action.shape), any(m.startswith(('minirft', 'transformers', 'roma')) for m in sys.modules))")
    done = subprocess.run([sys.executable, "-c", code], cwd=tmp_path, capture_output=True, text=True, check=True)
    assert done.stdout.split("\n")[0] == "(3, 4, 132) False"
