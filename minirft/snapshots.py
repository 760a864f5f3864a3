"""Photographs that were never taken: the body in random clothes before a random camera, with the truth beside the pixels.

Light, background, shape, colours, camera, crop and whatever stands in the way are drawn anew for each picture, so that a
network learns none of them.
"""

from dataclasses import dataclass

import numpy as np
import torch
from PIL import Image, ImageFilter

from .body import JOINT
from .render import camera_axes, rasterise, vertex_normals
from .vision import NAMES, Person, Region, tokens

OPENCV = np.diag([1.0, -1.0, -1.0]).astype(np.float32)  # right, up, back to x right, y down, z away
SKIN = np.array([[0.28, 0.17, 0.12], [0.55, 0.36, 0.26], [0.78, 0.57, 0.45], [0.95, 0.79, 0.69]], np.float32)
TOP = [JOINT[name] for name in ("spine1", "spine2", "spine3", "left_collar", "right_collar", "left_shoulder", "right_shoulder")]
SLEEVES = [JOINT["left_elbow"], JOINT["right_elbow"]]
SHORTS = [JOINT[name] for name in ("pelvis", "left_hip", "right_hip")]
LEGS = [JOINT["left_knee"], JOINT["right_knee"]]
SHOES = [JOINT[name] for name in ("left_ankle", "right_ankle", "left_foot", "right_foot")]


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
# Head, arms, legs: what BlazePose gets wrong of one part of a limb it gets wrong of the others.
LIMB_OF = [0 if i < 11 else 1 + (i >= 23) * 2 + (i + 1) % 2 for i in range(len(NAMES))]
HIPS = [NAMES.index("left_hip"), NAMES.index("right_hip")]


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
    the body's landmarks, some 35 mm off and more so in depth, a limb's together.
    """
    count, pose = len(pose), pose.clone()
    pose[:, 0] = torch.from_numpy(np.stack([_camera(rng) for _ in range(count)])) @ pose[:, 0]
    joints, turned = body.frames(pose, torch.from_numpy(rng.normal(0, 0.8, (count, 10)).astype(np.float32)))
    world = joints[:, LANDMARK_JOINT] + (turned[:, LANDMARK_JOINT] @ LANDMARK_OFFSET[..., None])[..., 0]  # (M, 33, 3)
    world = (world - world[:, HIPS].mean(1, keepdim=True)).numpy()
    away = rng.uniform(2.5, 7, (count, 1, 1))
    place = world[..., :2] / (world[..., 2:] / away + 1) / rng.uniform(0.9, 1.4, (count, 1, 1))  # about the size of the crop
    noise = 0.02 * rng.normal(size=world.shape) + 0.03 * rng.normal(size=(count, 5, 3))[:, LIMB_OF]
    noise *= rng.uniform(0.3, 1.5, (count, 1, 1)) * (1, 1, 1.8)
    visible = 1 - rng.exponential(0.1, world.shape[:2]).clip(0, 1)
    crop = Region(np.zeros(2), 2.0, 0.0)
    people = [Person(*seen, 1.0, crop) for seen in zip(place + 0.3 * noise[..., :2], world + noise, visible)]
    return pose, torch.stack([tokens(person) for person in people])


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
