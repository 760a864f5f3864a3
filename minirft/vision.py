"""A photograph to a person and to tokens: the pose-aware encoder.

Pose-RFT fuses CLIP with a ViT that was trained for pose estimation, since CLIP sees that somebody is there and hardly how
they stand (arXiv 2508.07804). Ours is BlazePose (Apache-2.0, arXiv 2006.10204), frozen, small enough for a CPU: a detector
finds a person, a second network 33 landmarks on a crop. Its two files are taken from a wheel on PyPI, on first use.
Image in, `Person` out, its landmarks as `tokens`; encoders.py has others, whose tokens take their place.
"""

import contextlib
import os
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from PIL import Image, ImageOps
from torch import nn

from .errors import InputError, in_short
from .files import fetch_from_wheel

WHEEL = "mediapipe==0.10.14"
# In the wheel, and the SHA-256 that each must have.
FILES = {
    "pose_detection/pose_detection.tflite": "9ba9dd3d42efaaba86b4ff0122b06f29c4122e756b329d89dca1e297fd8f866c",
    "pose_landmark/pose_landmark_full.tflite": "e9a5c5cb17f736fafd4c2ec1da3b3d331d6edbe8a0d32395855aeb2cdfd64b9f",
}
LANDMARKS, CHANNELS = 33, 6  # a person as tokens
NAMES = ("nose left_eye_inner left_eye left_eye_outer right_eye_inner right_eye right_eye_outer left_ear right_ear mouth_left "
         "mouth_right left_shoulder right_shoulder left_elbow right_elbow left_wrist right_wrist left_pinky right_pinky "
         "left_index right_index left_thumb right_thumb left_hip right_hip left_knee right_knee left_ankle right_ankle "
         "left_heel right_heel left_foot_index right_foot_index").split()
HIPS = [NAMES.index("left_hip"), NAMES.index("right_hip")]
LOUD = 100.0  # see Projector
DETECTOR_SIDE, LANDMARK_SIDE = 224, 256  # pixels
ENOUGH = 0.5  # a score under which nobody is there


def fetch_blazepose():
    """The folder with BlazePose's files; the first time they are taken out of a wheel from PyPI (36 MB) and kept."""
    return fetch_from_wheel(WHEEL, {f"mediapipe/modules/{name}": digest for name, digest in FILES.items()}, "blazepose")


@dataclass
class Region:
    """A turned square in a photograph: its middle (x, y) and side in pixels; angle: radians that "up" leans to the right."""

    middle: np.ndarray
    side: float
    angle: float

    def to_image(self, points):
        """Points (..., 2) of the square, -1 to 1 from left to right and from top to bottom, to pixels of the photograph."""
        return self.middle + np.asarray(points) @ _turn(self.angle).T * self.side / 2

    @classmethod
    def around(cls, middle, above):
        """The square about a person: from the middle of the hips to `above`, a point of the circle that holds the body."""
        x, y = above - middle
        return cls(middle, 2.5 * float(np.hypot(x, y)), float(np.arctan2(x, -y)))

    @classmethod
    def whole(cls, image):
        """The square about all of a PIL image, upright."""
        return cls(np.array(image.size) / 2, float(max(image.size)), 0.0)


@dataclass
class Person:
    """What BlazePose sees of a person. In the camera frame (x right, y down, z away) and for the 33 landmarks of NAMES.

    image: (33, 2) pixels of the photograph; world: (33, 3) metres from the middle of the hips, without perspective;
    visible: (33,) in [0, 1]; presence: in [0, 1], that there is a person; region: the square that was looked at.
    """

    image: np.ndarray
    world: np.ndarray
    visible: np.ndarray
    presence: float
    region: Region


def open_photo(path):
    """A photograph (jpg, png) as a PIL image in RGB, turned as the camera was held. Raises InputError for what is none."""
    try:
        with Image.open(path) as image:
            image = ImageOps.exif_transpose(image)
            if image.mode.startswith(("I", "F")):  # more than 8 bits of grey, which Pillow would cut off at 255
                image = Image.fromarray(_eight_bits(np.asarray(image)))
            return image.convert("RGB")
    except Exception as error:  # Pillow raises a dozen kinds on broken or hostile files
        reason = getattr(error, "strerror", None) or in_short(error, 200)
        raise InputError(f"{path}: cannot be read as a picture ({reason}); give a jpg or png, of a video one frame") from None


def _eight_bits(grey):
    """Grey of any kind (H, W) as uint8: of the ranges that pictures come in, the smallest that holds it becomes 0 to 255."""
    if grey.dtype == np.int32:  # as Pillow takes unsigned numbers too
        grey = grey.view(np.uint32)
    shares, grey = grey.dtype.kind == "f", np.nan_to_num(grey.astype(np.float32), posinf=0, neginf=0)
    most = grey.max()
    top = 1 if shares and most < 2 else next((top for top in (255, 4095, 65535, 2**32 - 1) if most <= top), most)
    return (grey / top * 255 + 0.5).clip(0, 255).astype(np.uint8)


def crop_person(image, person, side=224, *, across=1.0):
    """The upright square of a PIL image with all of a person in it and a quarter around, as a PIL image of `side` pixels. across: how
    much more than its height the person's width counts, for who cuts off columns."""
    low, high = person.image.min(0), person.image.max(0)
    region = Region((low + high) / 2, 1.25 * float(((high - low) * [across, 1]).max()), 0.0)
    return _crop(image, region, side)


class BlazePose:
    """Finds people in photographs and their landmarks."""

    def __init__(self):
        from ai_edge_litert.interpreter import Interpreter  # a second to load, needed for photographs alone

        folder = fetch_blazepose()
        self._networks = []
        with _silence():
            for name in FILES:
                network = Interpreter(model_path=str(folder / Path(name).name), num_threads=torch.get_num_threads())
                network.allocate_tensors()
                self._networks.append(network)

    def find(self, image):
        """Regions of the people in a photograph, the largest first. image: a PIL image in RGB."""
        scale = DETECTOR_SIDE / max(image.size)
        if min(image.size) * scale < 1:  # thin as a thread, and nothing is left of it
            return []
        square = ImageOps.pad(image, (DETECTOR_SIDE, DETECTOR_SIDE), Image.Resampling.BILINEAR)
        raw, logits = self._run(0, np.asarray(square, np.float32) / 127.5 - 1)
        score = _sigmoid(logits[:, 0])
        likely = np.flatnonzero(score > ENOUGH)
        points = raw[likely].reshape(-1, 6, 2) / DETECTOR_SIDE  # the box's middle, its size, four points
        points[:, [0, 2, 3, 4, 5]] += ANCHORS[likely, None]
        boxes = np.concatenate([points[:, 0] - points[:, 1] / 2, points[:, 0] + points[:, 1] / 2], 1)
        margin = (DETECTOR_SIDE - np.array(image.size) * scale) / 2
        found = []
        for group in _same_person(boxes, score[likely]):
            weight = score[likely][group]
            at = (points[group] * weight[:, None, None]).sum(0) / weight.sum()
            hips, above = (at[2:4] * DETECTOR_SIDE - margin) / scale
            found.append(Region.around(hips, above))
        return sorted(found, key=lambda region: -region.side)

    def look(self, image, region):
        """The person in a region of a photograph; the region is taken again from what is first seen in it."""
        for _ in range(2):
            crop = _crop(image, region, LANDMARK_SIDE)
            raw, presence, _, _, world = self._run(1, np.asarray(crop, np.float32) / 255)
            raw = raw.reshape(39, 5)
            seen = region.to_image(raw[:, :2] / LANDMARK_SIDE * 2 - 1)  # 33 landmarks and 6 helpers
            person = Person(seen[:LANDMARKS], world.reshape(39, 3)[:LANDMARKS].copy(),
                            _sigmoid(raw[:LANDMARKS, 3]), float(presence.item()), region)
            person.world[:, :2] = person.world[:, :2] @ _turn(region.angle).T
            region = Region.around(seen[33], seen[34])
        return person

    def __call__(self, image):
        """Everybody in a photograph, the largest first: a list of Person, empty where nobody is seen."""
        people = [self.look(image, region) for region in self.find(image)]
        return [person for person in people if person.presence > ENOUGH]

    def _run(self, index, pixels):
        network = self._networks[index]
        network.set_tensor(network.get_input_details()[0]["index"], pixels[None])
        network.invoke()
        return [network.get_tensor(output["index"])[0] for output in network.get_output_details()]


@contextlib.contextmanager
def _silence():
    """The library tells stderr, past Python, how it will compute."""
    kept, nowhere = os.dup(2), os.open(os.devnull, os.O_WRONLY)
    try:
        os.dup2(nowhere, 2)
        yield
    finally:
        os.dup2(kept, 2)
        os.close(kept), os.close(nowhere)


def _anchors():
    """Where each of the detector's 2,254 guesses starts from, (2254, 2) in [0, 1]: the middles of three grids' cells."""
    grids = []
    for stride, each in ((8, 2), (16, 2), (32, 6)):
        across = (np.arange(DETECTOR_SIDE // stride) + 0.5) * stride / DETECTOR_SIDE
        y, x = np.meshgrid(across, across, indexing="ij")
        grids.append(np.stack([x, y], -1).reshape(-1, 2).repeat(each, 0))
    return np.concatenate(grids).astype(np.float32)


ANCHORS = _anchors()


def _same_person(boxes, score):
    """Guesses (P, 4) about the same person together, the surest person first: a list of index arrays."""
    left, groups = score.argsort()[::-1], []
    while len(left):
        low = np.maximum(boxes[left, :2], boxes[left[0], :2])
        high = np.minimum(boxes[left, 2:], boxes[left[0], 2:])
        shared = (high - low).clip(0).prod(1)
        area = (boxes[left, 2:] - boxes[left, :2]).clip(0).prod(1)
        same = shared > 0.3 * (area + area[0] - shared)  # of the two boxes together
        same[0] = True
        groups.append(left[same])
        left = left[~same]
    return groups


def _crop(image, region, side):
    """The region of a PIL image as (side, side) pixels; black where it leaves the photograph."""
    corners = region.to_image([[-1, -1], [-1, 1], [1, 1], [1, -1]])  # PIL's order
    shrink = max(1, int(region.side / side))
    small = image.reduce(shrink)  # so that no pixel is passed over
    return small.transform((side, side), Image.Transform.QUAD, tuple((corners / shrink).ravel()), Image.Resampling.BILINEAR)


def _sigmoid(values):
    return 1 / (1 + np.exp(-values.clip(-50, 50)))


def _turn(angle):
    """The rotation (2, 2) of picture points, y down, that takes "up" `angle` radians to the right."""
    return np.array([[np.cos(angle), -np.sin(angle)], [np.sin(angle), np.cos(angle)]])


class Projector(nn.Module):
    """An encoder's T tokens of C numbers (..., T, C) to `count` of the language model's width (..., count, H).

    Each of these is made of all of those: where a limb is says little without where the others are. They come in loud: a
    language model's first layer makes its own tokens some hundred times as large, and what stays small is lost among them.
    shape: (T, C), BlazePose's by default.
    """

    count = 8

    def __init__(self, width, *, shape=(LANDMARKS, CHANNELS)):
        super().__init__()
        self.shape = places, channels = tuple(shape)
        self.narrow = nn.Linear(channels, 16)
        sizes = [places * 16, 512, 512, 512]
        self.reader = nn.Sequential(*(layer for pair in zip(sizes, sizes[1:]) for layer in (nn.Linear(*pair), nn.GELU())))
        self.speaker = nn.Linear(512, self.count * width)

    def read(self, features):
        """What is understood of a picture, (..., T, C) to (..., 512), before it is put into tokens."""
        return self.reader(self.narrow(features).flatten(-2))

    def forward(self, features):
        return LOUD * self.speaker(self.read(features)).unflatten(-1, (self.count, -1))


def tokens(person):
    """A person as 33 tokens of 6 numbers, (33, 6): world x, y, z over the torso's length, visibility, place in the crop."""
    hips, shoulders = (person.world[[NAMES.index(f"{side}_{joint}") for side in ("left", "right")]].mean(0)
                       for joint in ("hip", "shoulder"))
    world = (person.world - hips) * 0.5 / max(np.linalg.norm(shoulders - hips), 0.05)
    place = (person.image - person.region.middle) @ _turn(person.region.angle) * 2 / person.region.side
    return torch.from_numpy(np.concatenate([world, person.visible[:, None], place], 1).astype(np.float32))


def stack_pictures(pictures, prepare, shape):
    """N Pictures as a policy's tensors, rows of NaN for what they lack: pixels (N, ...) as `prepare` makes them of (S, S, 3)
    uint8 crops, None if there are none, and features (N, *shape)."""
    features, pixels = torch.full((len(pictures), *shape), torch.nan), None
    shown = [i for i, picture in enumerate(pictures) if picture.pixels is not None]
    if shown:
        made = prepare([pictures[i].pixels for i in shown])
        pixels = torch.full((len(pictures), *made.shape[1:]), torch.nan)
        pixels[shown] = made
    for i, picture in enumerate(pictures):
        if picture.features is not None:
            if picture.features.shape != shape:
                raise InputError(f"a picture's features are {tuple(picture.features.shape)}, this policy was taught with {shape}; "
                                 "use the encoder that it was taught with")
            features[i] = picture.features
    return pixels, features
