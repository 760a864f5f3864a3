"""Nothing is left on the CPU where a model goes to a card: away_cases.py on the device of away.py, in a process of their own."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from torch.utils import backend_registration


@pytest.mark.slow
def test_what_runs_on_the_cpu_runs_on_another_device():
    if not hasattr(backend_registration, "_setup_privateuseone_for_python_backend"):
        pytest.skip("this PyTorch has no way to write a backend in Python; newer ones have")
    command = [sys.executable, "-m", "pytest", "-q", "-o", "addopts=", "-p", "no:cacheprovider",
               str(Path(__file__).with_name("away_cases.py"))]
    alone = os.environ | {"CUDA_VISIBLE_DEVICES": ""}  # of two accelerators PyTorch would have to choose
    done = subprocess.run(command, capture_output=True, text=True, env=alone)
    assert done.returncode == 0, done.stdout[-5000:] + done.stderr[-1000:]
