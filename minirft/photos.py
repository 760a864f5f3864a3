"""Datasets with pictures: 3DPW's and Human3.6M's evaluation files, RPE's lists, talk about pictures, one's own lines; and how a picture is
looked at. Poses are as the camera sees them, hands the identity; a picture stays on disk until then."""

import json
import random
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path

import numpy as np
import torch

from .body import canonical_yaw, to_matrix
from .data import ANSWERS, POSE, SHOWN, Sample, to_picture
from .errors import InputError
from .files import read_arrays
from .published import SPLITS, Found, read_json
from .vision import BlazePose, Person, Region, crop_person, open_photo, tokens

# Who wrote a file: its arrays of poses, of which rows have one, and of joints, how many these are, and the unit of scale in pixels.
LAYOUTS = {"4D-Humans": ("body_pose", "has_body_pose", "extra_keypoints_3d", 19, 1), "SPIN": ("pose", "has_smpl", "S", 24, 200)}


@dataclass(frozen=True)
class Photo:
    """A picture on disk. side: of the dataset's square about the person, about `middle`, in pixels; None to show all of it, and look for
    the largest person. person: whether one has to be in it."""

    path: Path
    middle: tuple = ()
    side: float | None = None
    person: bool = True


class Eyes:
    """Opens Photos as a policy that sees by `see` (data.SEE) takes them. encoder: of encoders.py, None for BlazePose's landmarks."""

    def __init__(self, see, encoder=None):
        self.see, self.encoder = see, encoder

    @cached_property
    def blazepose(self):
        return BlazePose()

    def look(self, sample):
        """The sample with a data.Picture in its Photo's place. Raises InputError for a file that cannot be opened."""
        photo = sample.picture
        if photo is None:
            return sample
        image, features = open_photo(photo.path), None
        region = Region.whole(image) if photo.side is None else Region(np.array(photo.middle), photo.side, 0.0)
        # crop_person takes a quarter more, and for an encoder that cuts off columns a third of the width.
        person = boxed = Person(region.to_image([[-0.6, -0.8], [0.6, 0.8]]), None, None, 1.0, region)
        if photo.person and self.see != "pixels":
            if self.encoder is None or photo.side is None:
                people = self.blazepose(image) if photo.side is None else []
                person = people[0] if people else self.blazepose.look(image, region)
            features = self.encoder(image, person) if self.encoder else tokens(person)
        return replace(sample, picture=to_picture(crop_person(image, boxed), features, self.see))


def read_people(disk):
    """A Found for each file of 3DPW or Human3.6M, in 4D-Humans' or SPIN's layout; every row with its picture is a Sample."""
    for path in disk.named(r"(?i)(3dpw|h36m)\w*(?<!_poses)\.npz"):
        part = next((split for split in SPLITS if split in path.stem.lower()), "")
        found = Found("3DPW" if "3dpw" in path.stem.lower() else "Human3.6M", part, path.name)
        with found.noting(path.name):
            columns = _read_rows(path)
            rng = random.Random(path.stem)
            for n, place in enumerate(disk.pictures(columns["name"])):
                row = {key: column[n] for key, column in columns.items()}
                with found.noting(f"row {n}, {row['name']}"):
                    if not row["sound"]:
                        raise InputError("NaN or infinite numbers, or no size")
                    pose = row["pose"] if row.get("posed") else None
                    photo = Photo(_there(place), tuple(row["center"].tolist()), row["side"].item())
                    found.samples.append(Sample(rng.choice(SHOWN), rng.choice(ANSWERS), pose, photo, "image", key=f"{n}, {row['name']}",
                                                joints=row.get("joints")))
        yield found


def _read_rows(path):
    """The columns of a file, a row a person: name, center (px), side (px), whether its numbers are `sound`; if the file has them pose and
    whether it is `posed`, joints with NaN where their confidence is 0. Raises InputError for a file of another layout or in another unit."""
    known = ["imgname", "center", "scale", *(name for layout in LAYOUTS.values() for name in layout[:3])]
    arrays = read_arrays(path, known)
    writer = next((who for who, names in LAYOUTS.items() if names[0] in arrays or names[2] in arrays), None)
    if writer is None or not {"imgname", "center", "scale"} <= set(arrays):
        raise InputError(f"holds of {', '.join(known)} only {', '.join(arrays) or 'none'}; it is neither 4D-Humans' file nor SPIN's")
    pose_name, has_name, joints_name, count, unit = LAYOUTS[writer]
    rows = len(np.atleast_1d(arrays["imgname"]))
    shapes = {"imgname": [(rows,)], "center": [(rows, 2)], "scale": [(rows,), (rows, 1), (rows, 2)], pose_name: [(rows, 72)],
              has_name: [(rows,)], joints_name: [(rows, count, 4)]}
    for name in [name for name in shapes if name in arrays]:
        shape, kind = arrays[name].shape, arrays[name].dtype
        if shape not in shapes[name] or kind.kind not in ("SU" if name == "imgname" else "fiub"):
            raise InputError(f"{name} has shape {shape} and holds {kind}; {writer}'s has {' or '.join(map(str, shapes[name]))}")
    side = arrays["scale"].reshape(rows, -1).astype(float).max(1) * unit
    usual = np.median(side[np.isfinite(side)])
    if not 20 < usual < 20_000:
        raise InputError(f"scale is some {usual / unit:.4g}; {writer}'s is the side of the box in pixels{f' / {unit}' * (unit > 1)}")
    pose, joints = arrays.get(pose_name), arrays.get(joints_name)
    numbers = [part.reshape(rows, -1).astype(float) for part in (side, arrays["center"], pose, joints) if part is not None]
    sound = np.isfinite(np.concatenate(numbers, 1)).all(1) & (side > 0)
    columns = {"name": [n.decode(errors="replace") if isinstance(n, bytes) else str(n) for n in arrays["imgname"].tolist()],
               "center": arrays["center"], "side": side, "sound": sound}
    if pose is not None:
        columns["pose"] = _hands_still(to_matrix(torch.from_numpy(pose.astype(np.float32))))
        columns["sound"] = sound & columns["pose"].isfinite().flatten(1).all(1).numpy()
        columns["posed"] = np.asarray(arrays.get(has_name, np.ones(rows))) > 0  # the others are zeros that nobody measured
    if joints is not None:
        columns["joints"] = torch.from_numpy(np.where(joints[..., 3:] > 0, joints[..., :3], np.nan).astype(np.float32))
    return columns


def read_rpe(disk):
    """A Found for each of the four lists; joints are its fitted_joint_cam. The picture is shown whole: which person is meant is what the
    words are for."""
    lists = {part: disk.named(rf"(refine_)?vqa_{part}\w*\.json") for part in ("behavior", "outfits", "pose", "shape")}
    for part in [part for part, paths in lists.items() if not paths and any(lists.values())]:
        yield Found("RPE", part, missing={"one of the four lists": [part]})
    for part, path in [(part, path) for part, paths in lists.items() for path in paths]:
        found = Found("RPE", part)
        for row, place, name in _entries(disk, path, found, ("real_image", "image")):
            with found.noting(name):
                (question, answer), *_ = _turns(row)
                truth = row["ground_truth"]
                joints = _numbers(truth["fitted_joint_cam"], 24, 3)
                if POSE not in answer or not 0.3 < (joints.amax(0) - joints.amin(0)).max() < 5:
                    raise InputError(f"no {POSE} in the answer, or joints that are not in metres")
                pose = _pose(truth["smpl_param"]["pose"])
                key = f"{part}/{row['id']}"  # base names of pictures repeat
                found.samples.append(Sample(question, answer, pose, Photo(_there(place)), "image", key=key, joints=joints))
        yield found


def read_vqa(disk):
    """A Found for each of LLaVA-Instruct's lists. Of a longer talk the first exchange: a policy here answers one question."""
    for path in disk.named(r"(?i)llava\w*\.json"):
        found, later = Found("VQA", "train", path.name), 0
        for row, place, name in _entries(disk, path, found, ("image",)):
            with found.noting(name):
                (question, answer), *more = _turns(row)
                photo = Photo(_there(place), person=False) if "image" in row else None
                found.samples.append(Sample(question, answer, None, photo, "talk", key=name))
                later += len(more)
        found.remark += f" ({later:,} later questions of a talk are not used)" * bool(later)
        yield found


def read_own(disk):
    """A Found for each file of one's own lines, as DATASETS says: a pose with a picture is as the camera sees it, another one Y up."""
    for path in disk.named(r".*\.jsonl"):
        found = Found("your own", next((split for split in SPLITS[1:] if split in path.stem), "train"), path.name)
        text = ""
        with found.noting(path.name):
            if not path.is_file():
                raise InputError("no file, but a pipe or a link that leads nowhere")
            text = path.read_text(encoding="utf-8-sig", errors="replace")
        for n, line in enumerate(text.rstrip("\n").split("\n"), 1):  # splitlines cuts at signs that a sentence may hold
            if not line.strip():
                continue
            with found.noting(f"line {n}"):
                row = json.loads(line)
                question, box, photo = row["question"], (), None
                pose = _pose(row["pose"]) if "pose" in row else None
                answer = row["answer"] if pose is None else row.get("answer", ANSWERS[n % len(ANSWERS)])
                if not question.strip() or not answer.strip() or answer.count(POSE) != (pose is not None):
                    raise InputError(f"question and answer are sentences; with a pose the answer says {POSE} once, without one never")
                if any("\ud800" <= c <= "\udfff" for c in question + answer):
                    raise InputError("question or answer holds half a letter (\\ud800 to \\udfff), which is no text")
                if "box" in row and "image" not in row:
                    raise InputError("a box without an image")
                if "box" in row:
                    x, y, width, height = _numbers(row["box"], 4).tolist()
                    if min(width, height) <= 0:
                        raise InputError("a box without an area; give x, y, width, height in pixels")
                    box = (x + width / 2, y + height / 2), max(width, height)
                if "image" in row:
                    place = path.parent / row["image"]
                    photo = Photo(_there(place if place.is_file() else None), *(box or ((), None)), pose is not None)
                elif pose is not None:
                    pose = canonical_yaw(pose)
                task = "talk" if pose is None else "image" if photo else "text"
                caption = question if task == "text" else ""
                found.samples.append(Sample(question, answer, pose, photo, task, caption, key=f"{path.name}, line {n}"))
        yield found


def _entries(disk, path, found, image_names):
    """(entry, its picture's path or None, its id) of a JSON list of objects; what is wrong with the list is noted."""
    entries = []
    with found.noting(path.name):
        entries = read_json(path, list)
        for n, entry in enumerate(entries):
            with found.noting(f"entry {n}"):
                if not isinstance(entry, dict):
                    raise InputError("not an object")
    entries = [entry for entry in entries if isinstance(entry, dict)]
    shown = [next((str(entry[name]) for name in image_names if name in entry), "") for entry in entries]
    places = dict(zip(filter(None, shown), disk.pictures([name for name in shown if name])))
    return [(entry, places.get(name), str(entry.get("id", n))) for n, (entry, name) in enumerate(zip(entries, shown))]


def _there(place):
    if place is None:
        raise FileNotFoundError("pictures")
    return place


def _turns(entry):
    """A conversation as LLaVA writes it: [(question, answer), ...]. Raises InputError where there is none."""
    said = [(turn["from"], turn["value"].replace("<image>", "").strip()) for turn in entry["conversations"]]
    pairs = [(question, answer) for (one, question), (other, answer) in zip(said[::2], said[1::2])
             if (one, other) == ("human", "gpt") and question and answer]
    if not pairs or len(pairs) * 2 != len(said):
        raise InputError("not a human's questions with gpt's answers, in turns")
    return pairs


def _numbers(values, *shape):
    """Nested lists as a float tensor of this shape. Raises InputError for another shape, NaN and what is no number."""
    try:
        array = np.array(values, dtype=np.float32)
    except (TypeError, ValueError):
        array = np.array(np.nan)
    if array.shape != shape or not np.isfinite(array).all():
        raise InputError(f"not {' x '.join(map(str, shape))} finite numbers where these belong")
    return torch.from_numpy(array)


def _pose(values):
    """72 numbers of a file as a pose (24, 3, 3), hands still. Raises InputError for what is none."""
    pose = _hands_still(to_matrix(_numbers(values, 72)))
    if not pose.isfinite().all():
        raise InputError("72 numbers that are too large to be angles in radians")
    return pose


def _hands_still(pose):
    """The pose (..., 24, 3, 3) with hands 22 and 23 as a policy gives them, which has no numbers for these."""
    pose[..., 22:, :, :] = torch.eye(3)
    return pose
