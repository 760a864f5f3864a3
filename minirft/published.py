"""The field's datasets as they are published, on a user's disk: found by their files' names, checked, read as Samples.

Nothing is downloaded or unpickled. What cannot be used is told with its reason, never left out in silence, never replaced. Formats are
those that the authors' own readers take; the real files were never at hand where this was written. posescript.py and photos.py read them.
"""

import json
import os
import re
from collections import defaultdict
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path

import numpy as np

from . import amass
from .body import DATA
from .errors import InputError, in_short
from .files import walk

_PUBLISHED = json.loads((DATA / "published.json").read_text(encoding="utf-8"))
DATASETS = _PUBLISHED["datasets"]  # what of each to get from where
FIGURES = _PUBLISHED["figures"]  # of papers, by protocol: rows as of protocols.run, with models before them
SPLITS = ("train", "val", "test")
NAMED, REASONS = 3, 20  # how many names of what is missing or unreadable are printed, and of how many reasons


@dataclass(eq=False)
class Found:
    """What there is of one part of a dataset. sequences: of AMASS, which has no samples by itself; missing, unreadable: {why: [names]}."""

    dataset: str
    part: str = ""
    remark: str = ""
    samples: list = field(default_factory=list)
    sequences: int = 0
    missing: dict = field(default_factory=lambda: defaultdict(list))
    unreadable: dict = field(default_factory=lambda: defaultdict(list))

    @property
    def whole(self):
        return not self.missing and not self.unreadable

    @contextmanager
    def noting(self, name):
        """What goes wrong inside is noted of `name`: a file that is not there as missing, everything else as unreadable."""
        try:
            yield
        except FileNotFoundError as error:
            self.missing[str(error)].append(str(name))
        except KeyError as error:
            self.unreadable[f"no {error}"].append(str(name))
        except (TypeError, AttributeError, ValueError, OSError, RecursionError) as error:  # InputError and broken JSON are ValueErrors
            self.unreadable[in_short(error)].append(str(name))

    def lines(self):
        """Counts, then reasons with the first names."""
        missing, unreadable = (sum(map(len, kind.values())) for kind in (self.missing, self.unreadable))
        there = f"{self.sequences:,} sequences" if self.sequences else f"{len(self.samples):,} samples"
        name = ", ".join(filter(None, [self.dataset, self.part, self.remark]))
        yield f"{name}: {there} found, {missing:,} missing, {unreadable:,} unreadable"
        notes = [(kind, *note) for kind in ("missing", "unreadable") for note in getattr(self, kind).items()]
        for kind, why, names in notes[:REASONS]:
            yield f"    {kind}, {why}: {len(names):,} ({', '.join(names[:NAMED])}{', ...' * (len(names) > NAMED)})"
        if len(notes) > REASONS:
            yield f"    and {len(notes) - REASONS:,} more reasons"


class Disk:
    """The json, jsonl, npy and npz files of a folder and its folders, to any depth, links followed. Raises InputError for none."""

    def __init__(self, root):
        self.files, self.folders = [], []
        for folder, names in walk(root):
            self.folders.append(folder)
            self.files += [folder / name for name in names if name.lower().endswith((".json", ".jsonl", ".npy", ".npz"))]
        if not self.folders:
            raise InputError(f"{root}: no such folder; give the one that holds the datasets")

    def named(self, pattern, beside=None):
        """The files whose names fit a pattern; beside: in the same folder as this file."""
        return [path for path in self.files if re.fullmatch(pattern, path.name) and (beside is None or path.parent == beside.parent)]

    @cached_property
    def sequences(self):
        """AMASS's: {amass.sequence_key: path}."""
        return {amass.sequence_key(path): path for path in self.files if path.name.endswith((amass.SEQUENCE, amass.REFIT))}

    def pictures(self, names):
        """Paths of pictures named from some folder on, None for what is not there. Some of the names tell which folder it is."""
        parts = [Path(name).parts for name in names]
        for skip in range(max(map(len, parts), default=0)):  # "3DPW/imageFiles/..." where the user has imageFiles
            short = [rest[skip:] for rest in parts]
            if len(set(short)) < len(set(parts)):
                break  # two pictures would be called alike
            some = [rest for rest in short[:: max(1, len(short) // 20)] if rest]
            for folder in self.folders:
                if any(_within(folder, rest) for rest in some):
                    return [_within(folder, rest) for rest in short]
        return [None] * len(names)


def _within(folder, parts):
    """The file of these parts in a folder, None where there is none, or where they lead out of it."""
    path = folder.joinpath(*parts)
    return path if not {"/", ".."} & set(parts) and os.path.isfile(path) else None  # Path's own raises for too long a name


def survey(root, names=tuple(DATASETS)):
    """Everything of the named DATASETS under a folder: a list of Found."""
    from . import photos, posescript  # they need what is above

    readers = {"AMASS": read_amass, "PoseScript": posescript.read_posescript, "PoseFix": posescript.read_posefix,
               "3DPW": photos.read_people, "Human3.6M": photos.read_people, "RPE": photos.read_rpe, "VQA": photos.read_vqa,
               "your own": photos.read_own}
    disk = Disk(root)
    return [found for reader in dict.fromkeys(readers[name] for name in names) for found in reader(disk)
            if found.dataset.startswith(tuple(names))]


def read_amass(disk):
    """Every sequence of AMASS opened: a Found a subset."""
    subsets = {}
    for (name, *_), path in sorted(disk.sequences.items()):
        found = subsets.setdefault(name, Found("AMASS", path.parent.parent.name))
        with found.noting(path.name):
            if not np.isfinite(amass.read_sequence(path)[0][:, :66]).all():
                raise InputError("NaN or infinite angles")
            found.sequences += 1
    return list(subsets.values())


def check(root):
    """Print what there is of each dataset, what is missing, and where to get it. Raises InputError unless all of it is whole."""
    founds = survey(root)
    for found in founds:
        print("\n".join(found.lines()))
    for name, where in DATASETS.items():
        mine = [found for found in founds if found.dataset.startswith(name)]
        if not mine or not all(found.whole for found in mine):
            print(f"{'to mend' if mine else 'not here'}: {name}; get {where}")
    if not founds:
        raise InputError(f"{root}: holds none of {', '.join(DATASETS)}; what to get from where stands above")
    if broken := sum(not found.whole for found in founds):
        raise InputError(f"{root}: {broken} of {len(founds)} parts are not whole, see above; the others can be used")


def read_json(path, kind):
    """What a JSON file holds, a dict or a list. Raises FileNotFoundError, and InputError for anything else."""
    try:
        value = json.loads(path.read_text(encoding="utf-8-sig"))
    except FileNotFoundError:
        raise FileNotFoundError("a file of the release") from None
    except (OSError, ValueError, RecursionError) as error:
        raise InputError(f"{path.name}: cannot be read as JSON ({error})") from None
    if not isinstance(value, kind):
        raise InputError(f"{path.name}: holds a {type(value).__name__}; it must be a {kind.__name__}")
    return value
