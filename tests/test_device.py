"""Nothing is left on the CPU where a model goes to a card: away_cases.py on the device of away.py, in a process of their own, and
on a real card where there is one."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
import torch
from test_backbones import checkpoints  # noqa: F401, a fixture
from torch.utils import backend_registration

from minirft.cli import main


def run_cases(**settings):
    command = [sys.executable, "-m", "pytest", "-q", "-o", "addopts=", "-p", "no:cacheprovider",
               str(Path(__file__).with_name("away_cases.py"))]
    done = subprocess.run(command, capture_output=True, text=True, env=os.environ | settings)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-1000:]


@pytest.mark.slow
def test_what_runs_on_the_cpu_runs_on_another_device():
    if not hasattr(backend_registration, "_setup_privateuseone_for_python_backend"):
        pytest.skip("this PyTorch has no way to write a backend in Python; newer ones have")
    run_cases(CUDA_VISIBLE_DEVICES="")  # of two accelerators PyTorch would have to choose


@pytest.mark.gpu
def test_what_runs_on_the_cpu_runs_on_a_card():
    run_cases(MINIRFT_DEVICE="cuda")


@pytest.mark.gpu
def test_a_card_that_is_full_names_the_dials_next_step(checkpoints, tmp_path, capsys):
    torch.cuda.set_per_process_memory_fraction(1e-4)
    try:
        command = ["sft", "--base", str(checkpoints["llava"]), "--vram", "12", "--poses", "prior", "--steps", "1", "--device", "cuda"]
        assert main([*command, "--out", str(tmp_path / "run")]) == 2
    finally:
        torch.cuda.set_per_process_memory_fraction(1.0)
    assert "--vram 8" in capsys.readouterr().err
