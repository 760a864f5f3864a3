"""PoseScript's and PoseFix's texts, and AMASS's poses, which they name by sequence and frame: Y up, without yaw, hands the identity."""

import random
from collections import defaultdict

import numpy as np
import torch

from . import amass, captions
from .body import canonical_yaw, load_body
from .data import ANSWERS, QUESTIONS, Sample
from .errors import InputError
from .published import DATASETS, SPLITS, Found, read_json

LISTING = "ids_2_dataset_sequence_and_frame_index{}.json"  # {id: ["AMASS", sequence, frame]}
# A release's name, how its files' names end, and patterns of its texts.
RELEASES = (("V2", "_100k", {"human": r"posescript_human_\w+\.json", "automatic": r"posescript_auto_\w+\.json"}),
            ("V1", "", {"human": r"human\d+\.json", "automatic": r"automatic_\w+\.json"}))
CHANGES = {"human": r"posefix_(human|paraphrases)_\w+\.json", "automatic": r"posefix_auto_\w+\.json"}


class Frames:
    """Poses by PoseScript's ids. pose: (M, 24, 3, 3), Y up, yaw kept; sequence: {id: name}. places: what a LISTING holds."""

    def __init__(self, disk, places, ids):
        self.sequence, self._row, self._trouble, wanted, rows = {}, {}, {}, defaultdict(list), []
        for i in ids:
            match places.get(i):
                case ["AMASS", str(name), int(frame)] if frame >= 0:
                    self.sequence[i] = name
                    wanted[name].append((i, frame))
                case place:
                    says = "has no such pose" if place is None else "does not say which frame of AMASS it is"
                    self._trouble[i] = InputError(f"the listing {says}")
        for name, frames in wanted.items():
            rows += self._read(disk, name, frames)
        self.pose = amass.to_pose(np.stack(rows)) if rows else torch.zeros(0, 24, 3, 3)

    def _read(self, disk, name, frames):
        """The rows of one sequence that are there and sound; of the others the trouble is noted."""
        where, path = f"AMASS's {name.split('/')[0]}", disk.sequences.get(amass.sequence_key(name))
        poses, why = (), FileNotFoundError(f"{where} lacks the sequence, get {DATASETS['AMASS']}")
        if path is not None:
            why = InputError(f"{where}: the sequence has fewer frames")
            try:
                poses, _ = amass.read_sequence(path)
            except InputError as error:
                why = InputError(f"{where}: {str(error).removeprefix(str(path)).lstrip(': ')}")
        rows = []
        for i, frame in frames:
            row = poses[frame, :66].astype(np.float32) if frame < len(poses) else None
            if row is not None and np.isfinite(row).all():
                self._row[i] = len(self._row)
                rows.append(row)
            else:
                self._trouble[i] = why if row is None else InputError(f"{where}: the frame holds NaN")
        return rows

    def row(self, i):
        """Where in `pose` that of an id is. Raises the error that says why it is not there."""
        if i in self._trouble:
            raise self._trouble[i]
        return self._row[i]


def read_posescript(disk):
    """A Found for each release, kind of text and split. A text is a Sample."""
    for version, suffix, patterns in RELEASES:
        for listing in disk.named(LISTING.format(suffix)):
            found = Found(f"PoseScript {version}")
            with found.noting(listing.name):
                places = read_json(listing, dict)
            if not found.whole:
                yield found
                continue
            said = {kind: _texts(disk, listing, pattern) for kind, pattern in patterns.items()}
            lists = {split: [listing.with_name(f"{split}_ids{suffix}.json")] for split in SPLITS}
            frames = Frames(disk, places, dict.fromkeys(i for texts, _ in said.values() for i in texts))
            pose = frames.pose
            pose[:, :1] = canonical_yaw(pose[:, :1])
            for kind, (texts, trouble) in said.items():
                for found, ids in _by_split(f"PoseScript {version}, {kind} texts", texts, trouble, lists):
                    rng = random.Random(found.part)
                    for i in ids:
                        with found.noting(f"{i} in {frames.sequence[i]}" if i in frames.sequence else i):
                            mine = pose[frames.row(i)]
                            found.samples += [Sample(rng.choice(QUESTIONS).format(text), rng.choice(ANSWERS), mine, caption=text, key=i)
                                              for text in _sentences(texts[i])]
                    yield found


def read_posefix(disk):
    """A Found for each kind of text and split. A policy takes no pose: the first is told in words of our grammar, then the change."""
    for path in disk.named(r"pair_id_2_pose_ids\.json"):
        found = Found("PoseFix")
        with found.noting(path.name):
            pairs = {str(n): pair for n, pair in enumerate(read_json(path, list))}
            places = read_json(next(iter(disk.named(LISTING.format("_100k"))), path.with_name(LISTING.format("_100k"))), dict)
        if not found.whole:
            yield found
            continue
        lists = {split: [path.with_name(f"{split}_{which}_sequence_pair_ids.json") for which in ("in", "out")] for split in SPLITS}
        for kind, pattern in CHANGES.items():
            texts, trouble = _texts(disk, path, pattern)
            pair = {i: [str(p) for p in pairs[i]] for i in texts if isinstance(pairs.get(i), list) and len(pairs[i]) == 2}
            frames = Frames(disk, places, dict.fromkeys(p for both in pair.values() for p in both))
            upright = canonical_yaw(frames.pose)
            true = captions.holds(load_body().joints(upright))
            for found, ids in _by_split(f"PoseFix, {kind} texts", texts, trouble, lists):
                rng = random.Random(found.part)
                for i in ids:
                    with found.noting(i):
                        if i not in pair:
                            raise InputError(f"{path.name} has no such pair")
                        first, second = (frames.row(p) for p in pair[i])
                        pose = upright[second].clone()
                        if len({frames.sequence[p] for p in pair[i]}) == 1:  # its yaw is part of the change
                            pose[0] = upright[first, 0] @ frames.pose[first, 0].T @ frames.pose[second, 0]
                        before = captions.describe(true[first], rng, count=4).text
                        found.samples += [Sample(f"{before} {text}", rng.choice(ANSWERS), pose, key=i)  # a change describes no pose
                                          for text in _sentences(texts[i])]
                yield found


def _texts(disk, listing, pattern):
    """{id: [texts]} of the files beside the listing whose names fit, and a Found of those that cannot be read, or of there being none."""
    texts, trouble, paths = defaultdict(list), Found(""), disk.named(pattern, beside=listing)
    for path in paths:
        with trouble.noting(path.name):
            for i, value in read_json(path, dict).items():
                texts[i] += value if isinstance(value, list) else [value]
    if not paths:
        trouble.missing["a file of the release"].append(pattern.replace("\\", ""))
    return texts, trouble


def _by_split(dataset, texts, trouble, lists):
    """(Found, the ids in it that have texts) for each split, then, if need be, a Found of what belongs to none."""
    rest = dict.fromkeys(texts)
    for split, paths in lists.items():
        found, ids = Found(dataset, split), []
        for path in paths:
            with found.noting(path.name):
                ids += map(str, read_json(path, list))
        mine = [i for i in dict.fromkeys(ids) if i in texts]
        for i in mine:
            rest.pop(i, None)
        yield found, mine
    found = Found(dataset, "in no split", missing=trouble.missing, unreadable=trouble.unreadable)
    if rest:
        found.unreadable["no list of a split has it"] += rest
    if not found.whole:
        yield found, []


def _sentences(texts):
    """The texts, stripped. Raises InputError for one that is none."""
    if not all(isinstance(text, str) and text.strip() for text in texts):
        raise InputError("something else than a text")
    return [text.strip() for text in texts]
