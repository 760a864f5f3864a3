"""What every test shares: no network, one picture backend, the mocap folder beside the clone if there is one."""

import os
from pathlib import Path

os.environ.update(HF_HUB_OFFLINE="1", MPLBACKEND="Agg", TOKENIZERS_PARALLELISM="false")  # before any library reads them

import numpy as np
import pytest
import torch

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def shared():
    """The folder `shared` beside the clone, with motion capture for tests that compare with it."""
    folder = ROOT.parent / "shared"
    if not folder.is_dir():
        pytest.skip("no folder `shared` with motion capture beside the clone")
    return folder


@pytest.fixture(scope="session")
def person_of():
    """person_of(body, pose): the Person whose landmarks are just those of a pose (24, 3, 3) of the camera frame."""
    from minirft.fit import landmarks
    from minirft.vision import Person, Region

    def person(body, pose, *, scale=90.0, shift=(112.0, 112.0), visible=None):
        """pixel = scale * (x, y) + shift."""
        points = landmarks(body, pose).numpy()
        image = scale * points[:, :2] + np.array(shift, np.float32)
        visible = np.ones(33, np.float32) if visible is None else visible
        return Person(image, points, visible, 1.0, Region(np.array(shift), 2.5 * scale, 0.0))

    return person


def pytest_collection_modifyitems(items):
    """Skip tests marked `gpu` where there is no CUDA device."""
    if not torch.cuda.is_available():
        for item in items:
            if item.get_closest_marker("gpu"):
                item.add_marker(pytest.mark.skip(reason="no CUDA device"))
