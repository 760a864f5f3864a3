"""Photographs that were never taken: the body in random clothes before a random camera, with the truth beside the pixels.

Light, background, shape, colours, camera, crop and whatever stands in the way are drawn anew for each picture, so that a
network learns none of them.
"""

import io
import json
from dataclasses import dataclass, fields
from pathlib import Path

import numpy as np
import roma
import torch
from PIL import Image, ImageFilter
from tqdm import tqdm

from .body import JOINT
from .data import grow, to_picture
from .errors import InputError, in_short
from .files import load_npz, save_npz, write_json
from .fit import landmarks
from .render import camera_axes, rasterise, vertex_normals
from .vision import CHANNELS, HIPS, LANDMARKS, NAMES, BlazePose, Person, Region, tokens

OPENCV = np.diag([1.0, -1.0, -1.0]).astype(np.float32)  # right, up, back to x right, y down, z away
SKIN = np.array([[0.28, 0.17, 0.12], [0.55, 0.36, 0.26], [0.78, 0.57, 0.45], [0.95, 0.79, 0.69]], np.float32)
TOP = [JOINT[name] for name in ("spine1", "spine2", "spine3", "left_collar", "right_collar", "left_shoulder", "right_shoulder")]
SLEEVES = [JOINT["left_elbow"], JOINT["right_elbow"]]
SHORTS = [JOINT[name] for name in ("pelvis", "left_hip", "right_hip")]
LEGS = [JOINT["left_knee"], JOINT["right_knee"]]
SHOES = [JOINT[name] for name in ("left_ankle", "right_ankle", "left_foot", "right_foot")]
SHOULDERS = [NAMES.index("left_shoulder"), NAMES.index("right_shoulder")]
# Head, arms, legs: what BlazePose gets wrong of one part of a limb it gets wrong of the others.
LIMB_OF = [0 if i < 11 else 1 + (i >= 23) * 2 + (i + 1) % 2 for i in range(len(NAMES))]


@dataclass
class Snapshot:
    """One picture. Frame "camera": x right, y down, z away.

    image: (size, size, 3) uint8; pose: (24, 3, 3) with the root as the camera sees it; joints: (24, 3) metres from the
    camera; pixels: (24, 2) where they are in the picture; hidden: (24,) bool, outside of it or behind what stands in the way.
    """

    image: np.ndarray
    pose: torch.Tensor
    joints: torch.Tensor
    pixels: torch.Tensor
    hidden: torch.Tensor


def snapshot(body, pose, rng, *, size=224, obstacles=None):
    """Photograph one pose (24, 3, 3), canonical frame. rng: a numpy Generator, all that is random.

    obstacles: boxes (x, y, width, height) in pixels that hide what is behind them; None draws none, one or two.
    """
    turn = _camera(rng)
    betas = torch.from_numpy(rng.normal(0, 0.8, 10).astype(np.float32))
    world, joints = body.vertices(pose, betas).numpy(), body.joints(pose, betas).numpy()
    middle = (world.min(0) + world.max(0)) / 2
    away = np.array([0, 0, rng.uniform(2.5, 7)], np.float32)
    seen, joints = ((points - middle) @ turn.T + away for points in (world, joints))
    flat = seen[:, :2] / seen[:, 2:]
    low, high = flat.min(0), flat.max(0)
    side = (high - low).max() * rng.uniform(1.0, 1.5)
    corner = (low + high) / 2 - side / 2 + rng.uniform(-0.1, 0.1, 2) * side
    pixels = (joints[:, :2] / joints[:, 2:] - corner) / side * size

    picture = _backdrop(size, rng)
    screen = np.concatenate([(flat - corner) / side * size, -seen[:, 2:]], 1).astype(np.float32)
    faces = body.faces.numpy()
    where, face, weights = rasterise(screen, faces, size)
    normals = vertex_normals(seen, faces)
    colour = np.einsum("pc,pcx->px", weights, (_clothes(body, rng) * _light(normals, rng))[faces[face]])
    picture.reshape(-1, 3)[where] = colour
    if obstacles is None:
        count = rng.choice([0, 0, 0, 1, 2])
        obstacles = np.concatenate([rng.uniform(-0.1, 0.9, (count, 2)), rng.uniform(0.1, 0.35, (count, 2))], 1) * size
    hidden = ((pixels < 0) | (pixels >= size)).any(1)
    for x, y, width, height in obstacles:
        picture[max(0, int(y)) : max(0, int(y + height)), max(0, int(x)) : max(0, int(x + width))] = _colour(rng)
        hidden |= ((pixels >= (x, y)) & (pixels < (x + width, y + height))).all(1)
    picture = picture * rng.uniform(0.75, 1.2) + rng.normal(0, rng.uniform(0, 0.03), picture.shape)
    image = Image.fromarray((picture.clip(0, 1) * 255 + 0.5).astype(np.uint8))
    image = np.asarray(image.filter(ImageFilter.GaussianBlur(rng.uniform(0.3, 1.2))))
    camera_pose = pose.clone()
    camera_pose[0] = torch.from_numpy(turn) @ pose[0]
    truth = (torch.from_numpy(array.astype(np.float32)) for array in (joints, pixels))
    return Snapshot(image, camera_pose, *truth, torch.from_numpy(hidden))


def _camera(rng):
    """A camera's rotation (3, 3) from the world: from anywhere around, a little from below to well from above, hardly tilted."""
    roll = np.radians(rng.normal(0, 5))
    tilt = np.array([[np.cos(roll), -np.sin(roll), 0], [np.sin(roll), np.cos(roll), 0], [0, 0, 1]], np.float32)
    return tilt @ OPENCV @ camera_axes(rng.uniform(-180, 180), rng.uniform(-15, 35))


def simulate_landmarks(body, pose, rng):
    """What BlazePose would say of poses (M, 24, 3, 3), without pictures: quick, and knows nothing of how renders look.

    Returns the poses with the root as random cameras see them (M, 24, 3, 3) and their tokens (M, 33, 6) as of vision.tokens:
    the body's landmarks, some 35 mm off and more so in depth, a limb's together. One limb in eight is hidden: far off, and
    said to be hardly visible.
    """
    count, pose = len(pose), pose.clone()
    pose[:, 0] = torch.from_numpy(np.stack([_camera(rng) for _ in range(count)])) @ pose[:, 0]
    world = landmarks(body, pose, torch.from_numpy(rng.normal(0, 0.8, (count, 10)).astype(np.float32)))  # (M, 33, 3)
    world = (world - world[:, HIPS].mean(1, keepdim=True)).numpy()
    away = rng.uniform(2.5, 7, (count, 1, 1))
    place = world[..., :2] / (world[..., 2:] / away + 1) / rng.uniform(0.9, 1.4, (count, 1, 1))  # about the size of the crop
    hidden = (rng.random((count, 5)) < 0.125)[:, LIMB_OF]
    noise = 0.02 * rng.normal(size=world.shape) + 0.03 * rng.normal(size=(count, 5, 3))[:, LIMB_OF]
    noise *= rng.uniform(0.3, 1.5, (count, 1, 1)) * (1, 1, 1.8) * np.where(hidden, 4, 1)[..., None]
    visible = np.where(hidden, rng.uniform(0, 0.6, hidden.shape), 1 - rng.exponential(0.06, hidden.shape).clip(0, 1))
    up = place[:, SHOULDERS].mean(1) - place[:, HIPS].mean(1)
    crops = [Region(np.zeros(2), 2.0, float(np.arctan2(x, -y))) for x, y in up]  # BlazePose turns its crop with the body
    people = [Person(*seen, 1.0, crop) for *seen, crop in zip(place + 0.3 * noise[..., :2], world + noise, visible, crops)]
    return pose, torch.stack([tokens(person) for person in people])


def lean(pose, tokens, generator):
    """People seen (M, 24, 3, 3), with vision.tokens of them (M, 33, 6), as cameras held some 15 degrees askew would see them.

    What BlazePose says in metres turns with the camera. Places in its crop stay, since it turns the crop with the body.
    """
    angle = torch.randn(len(pose), generator=generator) * 15 / 180 * torch.pi
    turn = roma.rotvec_to_rotmat(angle[:, None] * torch.tensor([0.0, 0.0, 1.0]))  # (M, 3, 3)
    pose, tokens = pose.clone(), tokens.clone()
    pose[:, 0] = turn @ pose[:, 0]
    tokens[..., :3] = tokens[..., :3] @ turn.transpose(1, 2)
    return pose, tokens


def _clothes(body, rng):
    """A colour for each vertex (V, 3): skin, hair, a top with or without sleeves, shorts or trousers, shoes or none."""
    tone = rng.uniform(0, len(SKIN) - 1)
    skin = np.array([np.interp(tone, range(len(SKIN)), SKIN[:, i]) for i in range(3)], np.float32)
    of_joint = np.tile(skin, (24, 1))
    worn = [TOP + SLEEVES * (rng.random() < 0.4), SHORTS + LEGS * (rng.random() < 0.6), SHOES * (rng.random() < 0.8)]
    for joints in worn:
        of_joint[joints] = _colour(rng)
    colours = of_joint[body.follows]
    rest = body.skin_at_rest  # hair: the upper and hinder part of the head
    head = rest[body.follows == JOINT["head"]]
    above = (rest[:, 1] - head[:, 1].min()) / np.ptp(head[:, 1]) - (rest[:, 2] - head[:, 2].min()) / np.ptp(head[:, 2])
    hair = (body.follows == JOINT["head"]) & (above > rng.uniform(0.05, 0.4))
    colours[hair] = skin * rng.uniform(0.1, 0.9) * rng.uniform(0.7, 1.0, 3)
    return colours.astype(np.float32)


def _colour(rng):
    """A colour (3,) in [0, 1]: any grey, and more or less of a hue over it, as things about a house have."""
    return (rng.uniform(0.03, 0.97) + rng.uniform(0, 0.35) * rng.uniform(-1, 1, 3)).clip(0, 1)


def _light(normals, rng):
    """How much light of each colour the normals (V, 3) get: from one side, and a little from everywhere."""
    towards = rng.normal(0, 1, 3) + [0, -0.7, -0.7]  # more often from above and from the camera
    key = (normals @ (towards / np.linalg.norm(towards)) * 0.5 + 0.5).clip(0, 1)[:, None] ** rng.uniform(1, 2.5)
    everywhere = rng.uniform(0.15, 0.5)
    return (everywhere + (1.1 - everywhere) * key * rng.uniform(0.85, 1.0, 3)).astype(np.float32)


def _backdrop(size, rng):
    """Something to stand before (size, size, 3) in [0, 1]: blurred blotches, coarse or fine, and a few edges."""
    cells = rng.integers(2, 24)
    blotches = _colour(rng) + rng.normal(0, rng.uniform(0.02, 0.2), (cells, cells, 1)) + rng.normal(0, 0.04, (cells, cells, 3))
    coarse = Image.fromarray((blotches.clip(0, 1) * 255).astype(np.uint8))
    picture = np.asarray(coarse.resize((size, size), Image.Resampling.BICUBIC), np.float32) / 255
    for _ in range(rng.integers(0, 6)):  # furniture, windows, the edge of a floor
        x, y = (rng.uniform(-0.3, 0.9, 2) * size).astype(int).clip(0)
        width, height = (rng.uniform(0.1, 1.2, 2) * size).astype(int)
        box = picture[y : y + height, x : x + width]
        box += rng.uniform(0.2, 0.9) * (_colour(rng) - box)
    return picture


@dataclass(frozen=True)
class Album:
    """M snapshots and what BlazePose makes of them. Fields as of Snapshot, stacked, and:

    jpeg: M pictures as bytes; tokens: (M, 33, 6), vision.tokens, or another encoder's (M, T, C); seen: (M, 33, 2), world:
    (M, 33, 3) and visible: (M, 33), a Person's; found: (M,) bool, the others were looked for in the whole picture.
    """

    jpeg: list
    pose: torch.Tensor
    joints: torch.Tensor
    pixels: torch.Tensor
    hidden: torch.Tensor
    tokens: torch.Tensor
    seen: torch.Tensor
    world: torch.Tensor
    visible: torch.Tensor
    found: torch.Tensor

    def __len__(self):
        return len(self.pose)

    @property
    def by_landmarks(self):
        """Whether the tokens are BlazePose's, which simulate_landmarks can make too."""
        return self.tokens.shape[1:] == (LANDMARKS, CHANNELS)

    def image(self, index):
        """One as a PIL image."""
        return Image.open(io.BytesIO(self.jpeg[index])).convert("RGB")

    def person(self, index, *, draws=False):
        """What BlazePose saw in one picture, or in several, for fit.py; draws: for several poses of each."""
        seen = (part[index].numpy() for part in (self.seen, self.world, self.visible))
        return Person(*(part[:, None] if draws else part for part in seen), 1.0, None)

    def askew(self, index, generator):
        """Poses (M, 24, 3, 3) and tokens (M, T, C) of several to learn from: by leaning cameras, if the tokens are landmarks."""
        return lean(self.pose[index], self.tokens[index], generator) if self.by_landmarks else (self.pose[index], self.tokens[index])

    def picture(self, index, see):
        """One as a policy that sees by `see` (data.SEE) takes it."""
        return to_picture(None if see == "features" else self.image(index), self.tokens[index], see)


TENSORS = [part.name for part in fields(Album) if part.name != "jpeg"]


def photograph(body, poses, blazepose, rng, *, encoder=None, progress=False, **settings):
    """Take a snapshot of each of the poses (M, 24, 3, 3), have BlazePose look at it, and keep both: an Album.

    encoder: whose tokens are kept, as of encoders.py, None for vision.tokens; settings: of snapshot."""
    rows = []
    for pose in tqdm(poses, desc="photographs", disable=not progress):
        shot = snapshot(body, pose, rng, **settings)
        file = io.BytesIO()
        Image.fromarray(shot.image).save(file, "jpeg", quality=90)
        image = Image.open(file).convert("RGB")
        people = blazepose(image)
        person = people[0] if people else blazepose.look(image, Region.whole(image))
        row = {"jpeg": file.getvalue(), "pose": shot.pose, "joints": shot.joints, "pixels": shot.pixels, "hidden": shot.hidden,
               "tokens": encoder(image, person) if encoder else tokens(person), "found": torch.tensor(bool(people))}
        row |= {name: torch.from_numpy(array.astype(np.float32)) for name, array in
                (("seen", person.image), ("world", person.world), ("visible", person.visible))}
        rows.append(row)
    return Album([row["jpeg"] for row in rows], *(torch.stack([row[name] for row in rows]) for name in TENSORS))


def exam_album(body, poses, *, count, seed=0, encoder=None, progress=True):
    """Photographs of `count` of the poses (M, 24, 3, 3), picked by seed: an Album."""
    pick = torch.randperm(len(poses), generator=torch.Generator().manual_seed(seed))[:count]
    return photograph(body, poses[pick], BlazePose(), np.random.default_rng(seed), encoder=encoder, progress=progress)


def make_album(body, poses, folder, *, count, seed=0, encoder=None, progress=True, part=250):
    """Photographs of at least `count` bodies, put together from poses (M, 24, 3, 3), in whole files of `part` in a folder.

    A file depends on seed and number alone, and those that are there are left alone: what was stopped goes on. Raises
    InputError for a folder that was begun with another seed or another number of poses.
    """
    blazepose, folder = BlazePose(), Path(folder)
    about = {"seed": seed, "part": part, "poses": len(poses), "encoder": getattr(encoder, "name", None)}
    begun = folder / "about.json"
    try:
        before = json.loads(begun.read_text()) if begun.exists() else about
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{begun}: does not say what the album was begun with ({in_short(error)}); use another folder") from None
    if before != about:
        raise InputError(f"{folder}: was begun with {before}, not {about}; use another folder")
    write_json(begun, about)
    for index in tqdm(range(-(-count // part)), desc="album", disable=not progress):
        path = folder / f"{index:04d}.npz"
        if path.exists():
            continue
        generator = torch.Generator().manual_seed(seed * 1_000_003 + index)
        drawn = grow(poses, count=part, generator=generator)
        album = photograph(body, drawn, blazepose, np.random.default_rng((seed, index)), encoder=encoder)
        arrays = {name: getattr(album, name).numpy() for name in TENSORS}
        ends = np.cumsum([len(data) for data in album.jpeg])
        save_npz(path, **arrays, jpeg=np.frombuffer(b"".join(album.jpeg), np.uint8), ends=ends)


def load_album(folder):
    """The Album in a folder that make_album wrote. Raises InputError for a folder without one, or a broken file."""
    paths = sorted(Path(folder).glob("[0-9]*.npz"))
    if not paths:
        raise InputError(f"{folder}: holds no album; `minirft album --poses FILE --out {folder}` makes one")
    shapes = {"pose": (24, 3, 3), "joints": (24, 3), "pixels": (24, 2), "hidden": (24,), "tokens": ("T", "C"),
              "seen": (LANDMARKS, 2), "world": (LANDMARKS, 3), "visible": (LANDMARKS,), "found": ()}
    required = {name: ("bool" if name in ("hidden", "found") else "float", "M", *shape) for name, shape in shapes.items()}
    parts = [load_npz(path, required=required | {"jpeg": ("int", "B"), "ends": ("int", "M")}) for path in paths]
    for path, part in zip(paths, parts):
        if part["tokens"].shape[1:] != parts[0]["tokens"].shape[1:]:
            raise InputError(f"{path}: its tokens are another encoder's than those of {paths[0].name}; make one album for each")
        if not len(part["ends"]):
            raise InputError(f"{path}: holds no pictures; delete it, and `minirft album` makes it again")
        if part["jpeg"].dtype != np.uint8 or (np.diff(part["ends"], prepend=0) <= 0).any() or part["ends"][-1] != len(part["jpeg"]):
            raise InputError(f"{path}: 'ends' and 'jpeg' do not fit together; delete it, and `minirft album` makes it again")
    jpeg = [part["jpeg"][start:end].tobytes() for part in parts for start, end in zip([0, *part["ends"][:-1]], part["ends"])]
    return Album(jpeg, *(torch.from_numpy(np.concatenate([part[name] for part in parts])) for name in TENSORS))
