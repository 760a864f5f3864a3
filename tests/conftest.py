"""What every test shares: no network, one picture backend, the mocap folder beside the clone if there is one, and people and
photographs that cost nothing."""

import contextlib
import importlib
import io
import os
import signal
import sys
from pathlib import Path

os.environ.update(HF_HUB_OFFLINE="1", MPLBACKEND="Agg", TOKENIZERS_PARALLELISM="false")  # before any library reads them

import numpy as np
import pytest
import torch
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]


@pytest.fixture(scope="session")
def script():
    """A bench of tests/bench/ by its name, as a module that finds the others beside it."""
    def load(name):
        sys.path.insert(0, str(ROOT / "tests" / "bench"))
        try:
            return importlib.import_module(name)
        finally:
            sys.path.pop(0)

    return load


@pytest.fixture(scope="session")
def shared():
    """The folder `shared` beside the clone, with motion capture for tests that compare with it."""
    folder = ROOT.parent / "shared"
    if not folder.is_dir():
        pytest.skip("no folder `shared` with motion capture beside the clone")
    return folder


@pytest.fixture(scope="session")
def body():
    """The open body."""
    from minirft.body import load_body

    return load_body()


@pytest.fixture(scope="session")
def poses():
    """Forty poses (40, 24, 3, 3) that kneel, lie, fold their arms."""
    from minirft.body import DATA
    from minirft.data import load_poses

    return load_poses(DATA / "rare.npz").pose[:40]


@pytest.fixture
def stop_at(monkeypatch):
    """stop_at(step): inside, a training is told to stop as the batch of that step is drawn, by Ctrl-C or another signal."""
    from minirft import train

    @contextlib.contextmanager
    def inside(step, kind=signal.SIGINT):
        def draw(*arguments):
            if arguments[5] == step:
                os.kill(os.getpid(), kind)
            return real(*arguments)

        real = train.fresh_samples
        with monkeypatch.context() as patch:
            patch.setattr(train, "fresh_samples", draw)
            yield

    return inside


@pytest.fixture(scope="session")
def person_of():
    """person_of(body, pose): the Person whose landmarks are just those of a pose (24, 3, 3) of the camera frame."""
    from minirft.fit import landmarks
    from minirft.vision import Person, Region

    def person(body, pose, *, scale=90.0, shift=(112.0, 112.0), visible=None, away=np.inf):
        """pixel = scale * (x, y) + shift, larger what is nearer, as from so many metres away."""
        points = landmarks(body, pose).numpy()
        image = scale * points[:, :2] / (1 + (points[:, 2:] - points[:, 2:].mean()) / away) + np.array(shift, np.float32)
        visible = np.ones(33, np.float32) if visible is None else visible
        return Person(image, points, visible, 1.0, Region(np.array(shift), 2.5 * scale, 0.0))

    return person


@pytest.fixture(scope="session")
def album_of():
    """album_of(body, poses): an Album of bodies of other shapes than the mean one, seen without error, in flat colours."""
    from minirft.fit import landmarks
    from minirft.snapshots import Album, simulate_landmarks
    from minirft.vision import HIPS, Person, Region, tokens

    def flat(index):
        file = io.BytesIO()
        Image.new("RGB", (64, 64), (20 + 10 * index % 200, 90, 120)).save(file, "jpeg")
        return file.getvalue()

    def album(body, poses):
        rng = np.random.default_rng(0)
        pose, _ = simulate_landmarks(body, poses, rng)  # as cameras all around see them
        betas = torch.from_numpy(rng.normal(0, 0.8, (len(poses), 10)).astype(np.float32))
        away, middle = torch.tensor([0.0, 0.0, 5.0]), body.rest[0]
        points, joints = (each - middle + away for each in (landmarks(body, pose, betas), body.joints(pose, betas)))
        seen, pixels = (each[..., :2] / each[..., 2:] * 140 + 32 for each in (points, joints))
        world, visible = points - points[:, HIPS].mean(1, keepdim=True), torch.full((len(poses), 33), 0.9)
        looked_at = Region(np.array([32.0, 32.0]), 64.0, 0.0)
        people = [Person(*(array.numpy() for array in row), 1.0, looked_at) for row in zip(seen, world, visible)]
        hidden, found = torch.zeros(len(poses), 24, dtype=torch.bool), torch.ones(len(poses), dtype=torch.bool)
        return Album([flat(i) for i in range(len(poses))], pose, joints, pixels, hidden,
                     torch.stack([tokens(person) for person in people]), seen, world, visible, found)

    return album


@pytest.fixture(scope="session")
def facing(person_of):
    """A Person who stands upright and looks into the camera, in a picture of 224 pixels."""
    from minirft.body import load_body

    standing = torch.eye(3).repeat(24, 1, 1)
    standing[0] = torch.diag(torch.tensor([1.0, -1.0, -1.0]))
    return person_of(load_body(), standing)


@pytest.fixture
def stub_blazepose(monkeypatch, facing):
    """A BlazePose without networks in the real one's place: in every picture that is not dark it sees the same person, the
    better the brighter."""
    from minirft.vision import Person, Region

    class Stub:
        def __call__(self, image):
            return [self.look(image, Region.whole(image))] if np.asarray(image).mean() > 100 else []

        def look(self, image, region):
            visible = np.full(33, np.asarray(image).mean() / 255, np.float32)
            return Person(facing.image * image.width / 224, facing.world, visible, 1.0, region)

    for module in ("answer", "snapshots"):
        monkeypatch.setattr(f"minirft.{module}.BlazePose", Stub)
    return Stub()


def pytest_collection_modifyitems(items):
    """Skip tests marked `gpu` where there is no CUDA device."""
    if not torch.cuda.is_available():
        for item in items:
            if item.get_closest_marker("gpu"):
                item.add_marker(pytest.mark.skip(reason="no CUDA device"))
