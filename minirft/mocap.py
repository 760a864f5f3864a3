"""Motion capture files as they are: BVH and CMU's ASF/AMC to a skeleton at rest and local rotations per frame.

Everything wrong with a file is a ValueError that says what and where; motion.py adds which file.
"""

import math
import re
from contextlib import suppress
from dataclasses import dataclass

import numpy as np
import roma
import torch


@dataclass(frozen=True)
class Skeleton:
    """A source's rest pose. offsets (J, 3): from the parent; ends (J, 3): to the tip of a joint without children, else NaN."""

    names: tuple
    parents: tuple
    offsets: np.ndarray
    ends: np.ndarray


def read_text(path):
    """A file's text. Raises ValueError if it is missing, unreadable or empty."""
    try:
        text = path.read_text(encoding="utf-8-sig", errors="replace")
    except FileNotFoundError:
        raise ValueError("no such file") from None
    except OSError as error:
        raise ValueError(f"cannot be read ({error.strerror})") from None
    if not text.strip():
        raise ValueError("the file is empty")
    return text


def _numbers(place, words):
    """Words as finite numbers (C,); the first that is none is an error. place: where in the file they stand."""
    for word in words:
        with suppress(ValueError):
            if math.isfinite(float(word)):
                continue
        raise ValueError(f"{place} has {word!r} where a number belongs")
    return np.array([float(word) for word in words])


def _rotations(degrees, channels, joints):
    """Columns of angles (T, C) to local rotations (T, joints, 3, 3); a joint without any is not turned.

    channels: each column's (joint, axis), "" for a column of lengths. As in roma, X, Y and Z are the axes as the turns
    before have left them, x, y and z the fixed ones.
    """
    local = torch.eye(3, dtype=torch.float64).repeat(len(degrees), joints, 1, 1)
    for joint in range(joints):
        columns = [column for column, (owner, axis) in enumerate(channels) if owner == joint and axis]
        if columns:
            order = "".join(channels[column][1] for column in columns)
            angles = [torch.from_numpy(degrees[:, column].copy()) for column in columns]
            local[:, joint] = roma.euler_to_rotmat(order, angles, degrees=True)
    return local


# ---------------------------------------------------------------- BVH


def read_bvh(path):
    """(Skeleton, local rotations (T, J, 3, 3) float64, frames a second or 0)."""
    text = read_text(path)
    motion = re.search(r"^\s*MOTION\s*$", text, re.M)
    _, found, hierarchy = text[: motion.start() if motion else None].partition("HIERARCHY")
    if not found:
        raise ValueError("no BVH file: it has no HIERARCHY")
    skeleton, channels = _bvh_skeleton(iter(hierarchy.split()))
    if not motion:
        raise ValueError("cut in half: it ends after the hierarchy, before MOTION")
    header = re.match(r"\s*Frames:\s*(\d+)\s+Frame\s+Time:\s*(\S+)[^\n]*\n?", text[motion.end() :], re.I)
    if not header:
        raise ValueError("cut in half, or no BVH: after MOTION must come 'Frames: N' and 'Frame Time: seconds'")
    start = motion.end() + header.end()
    rows = _bvh_rows(text[start:].splitlines(), len(channels), first_line=text[:start].count("\n") + 1)
    frames = int(header[1])
    if len(rows) != frames or not frames:
        cut = "cut in half: " if len(rows) < frames else ""
        raise ValueError(f"{cut}its header says {frames} frames, {len(rows)} lines of numbers follow")
    [seconds] = _numbers("its frame time", [header[2]])
    return skeleton, _rotations(rows, channels, len(skeleton.names)), 1 / seconds if seconds > 0 else 0.0


def _bvh_skeleton(words):
    """(Skeleton, channels): channels has, for each column of the motion, (joint, axis); "" for a position's axis."""
    names, parents, offsets, ends, channels, stack = [], [], [], [], [], []
    try:
        for word in words:
            if word in ("ROOT", "JOINT", "End"):
                name = " ".join(iter(lambda: next(words), "{"))  # 3ds Max writes names with spaces
                if word != "End":
                    names.append(name)
                    parents.append(stack[-1] if stack else -1)
                    offsets.append(np.zeros(3))
                    ends.append(np.full(3, np.nan))
                stack.append(len(names) - 1 if word != "End" else None)
            elif word == "OFFSET":
                offset = _numbers(f"the offset of {names[-1]}", [next(words) for _ in range(3)])
                rest, joint = (ends, stack[-2]) if stack[-1] is None else (offsets, stack[-1])
                rest[joint] = offset
            elif word == "CHANNELS":
                for _ in range(int(next(words))):
                    kind = next(words)
                    if not re.fullmatch("[XYZ](position|rotation)", kind, re.I):
                        known = "BVH knows Xposition and Xrotation, Y and Z likewise"
                        raise ValueError(f"joint {names[-1]} has a channel {kind!r}; {known}")
                    channels.append((stack[-1], kind[0].upper() if kind[1:].lower() == "rotation" else ""))
            elif word == "}":
                stack.pop()
            else:
                raise ValueError(f"in its hierarchy {word!r} stands where JOINT, OFFSET, CHANNELS, End Site or }} belongs")
    except StopIteration:
        raise ValueError(f"cut in half: it ends in the hierarchy, after joint {names[-1] if names else 0}") from None
    except (IndexError, TypeError):
        raise ValueError("its hierarchy's braces do not match") from None
    if None in parents:
        raise ValueError("in its hierarchy a joint hangs on an End Site")
    if stack or not names:
        raise ValueError(f"cut in half: its hierarchy ends with {len(stack)} braces open")
    return Skeleton(tuple(names), tuple(parents), np.array(offsets), np.array(ends)), channels


def _bvh_rows(lines, width, *, first_line):
    """Lines of `width` numbers each as (T, width) float64; blank ones do not count. Errors name the line in the file."""
    rows = [(f"line {number}", line.split()) for number, line in enumerate(lines, first_line) if line.strip()]
    for place, words in rows:
        if len(words) != width:
            cut = "; cut in half?" if place == rows[-1][0] else ""
            raise ValueError(f"{place} has {len(words)} numbers, its hierarchy {width} channels{cut}")
    return np.array([_numbers(place, words) for place, words in rows])


# ---------------------------------------------------------------- ASF/AMC, as CMU publishes them


def read_amc(path):
    """(Skeleton, local rotations (T, J, 3, 3) float64, 120 frames a second)."""
    text = read_text(path)
    asf = _asf_beside(path)
    try:
        skeleton, axes, dofs, unit = _asf_skeleton(read_text(asf))
    except ValueError as error:
        raise ValueError(f"its skeleton {asf.name}: {error}") from None
    values = _amc_values(text, {name: len(dof) for name, dof in dofs.items() if dof})
    said = re.search(r"^\s*:(DEGREES|RADIANS)", text, re.M | re.I)
    scale = unit if not said else 1.0 if said[1].upper() == "DEGREES" else np.rad2deg(1.0)
    channels = [(joint, dof[1:2] if dof[0] == "r" else "") for joint, name in enumerate(dofs) for dof in dofs[name]]
    local = _rotations(values * scale, channels, len(dofs))
    for joint in {joint for joint, axis in channels if axis}:
        local[:, joint] = axes[joint] @ local[:, joint] @ axes[joint].T
    return skeleton, local, 120.0  # CMU's capture rate: an AMC file holds none


def _asf_beside(path):
    """The .asf of an .amc file: the only one in its folder, or the one named like its subject (09_01.amc: 09.asf)."""
    subject = path.stem.rsplit("_", 1)[0]
    found = [file for file in sorted(path.absolute().parent.iterdir()) if file.suffix.lower() == ".asf"]
    named = [file for file in found if file.stem in (path.stem, subject)]
    if len(found) != 1 and len(named) != 1:
        there = f"there are {', '.join(file.name for file in found)}" if found else "there is none"
        raise ValueError(f"needs its skeleton beside it, {subject}.asf or the only .asf in the folder; {there}")
    return (named or found)[0]


def _asf_skeleton(text):
    """(Skeleton, J axes (3, 3), {bone: ("rx", ...)}, degrees in one unit of its angles).

    A bone turns about its own start, so it becomes a joint there; `axes` are the frames its angles are given in.
    """
    parts = re.split(r"^\s*:(\w+)", "\n".join(line.split("#")[0] for line in text.splitlines()), flags=re.M)
    parts = {name.lower(): body for name, body in zip(parts[1::2], parts[2::2])}
    missing = [f":{name}" for name in ("root", "bonedata", "hierarchy") if name not in parts]
    if missing:
        raise ValueError(f"cut in half, or no ASF: it has no {', '.join(missing)}")
    unit = np.rad2deg(1.0) if re.search(r"\bangle\s+rad", parts.get("units", ""), re.I) else 1.0
    root = dict(re.findall(r"^\s*(\w+)[ \t]+(.+?)\s*$", parts["root"], re.M))
    turn = root.get("orientation", "0 0 0") + " " + root.get("axis", "XYZ")
    bones = {"root": {"direction": "0 0 0", "length": "0", "axis": turn, "dof": root.get("order", "TX TY TZ RX RY RZ")}}
    for block in re.findall(r"\bbegin\b(.*?)\bend\b", parts["bonedata"], re.S):
        bone = dict(re.findall(r"^\s*(\w+)[ \t]+(.+?)\s*$", block, re.M))
        absent = [key for key in ("name", "direction", "length", "axis") if key not in bone]
        if absent:
            raise ValueError(f"bone {bone.get('name', '?')} has no {', '.join(absent)}")
        bones[bone["name"]] = bone
    parent = {"root": None}
    for line in parts["hierarchy"].splitlines():
        above, *below = line.split() or [""]
        parent = {child: above for child in below if child in bones} | parent
    names = ["root"]  # from it outwards, so parents come first
    for name in names:
        names += [child for child, above in parent.items() if above == name]
    loose = [name for name in bones if name not in names]
    if loose:
        raise ValueError(f"cut in half: its hierarchy does not place {', '.join(loose)}")
    return _asf_rest({name: bones[name] for name in names}, [parent[name] for name in names], unit)


def _asf_rest(bones, above, unit):
    """The rest pose of parsed bones, parents first, with the name above each; see _asf_skeleton."""
    names = list(bones)
    parents = tuple(names.index(name) if name else -1 for name in above)
    ends, axes = [], []
    for name, bone in bones.items():
        direction = _numbers(f"the direction of {name}", bone["direction"].split())
        if len(direction) != 3:
            raise ValueError(f"the direction of {name} has {len(direction)} numbers, it must have 3")
        ends.append(direction * _numbers(f"the length of {name}", [bone["length"]]))
        *angles, order = bone["axis"].split()
        if len(angles) != 3 or sorted(order.upper()) != list("XYZ"):
            raise ValueError(f"the axis of {name} is {bone['axis']!r}; it must be like 0 0 20 XYZ: angles and their order")
        turn = _numbers(f"the axis of {name}", angles) * unit
        axes.append(_rotations(turn[None], [(0, axis) for axis in order.lower()], 1)[0, 0])
    dofs = {name: tuple(bone.get("dof", "").lower().split()) for name, bone in bones.items()}
    offsets = [ends[parent] if parent >= 0 else np.zeros(3) for parent in parents]
    return Skeleton(tuple(names), parents, np.array(offsets), np.array(ends)), axes, dofs, unit


def _amc_values(text, widths):
    """The numbers of all frames (T, C), bone after bone. widths: {bone: how many of them the skeleton says it has}."""
    lines = [(number, line.split()) for number, line in enumerate(text.splitlines(), 1)
             if line.strip() and line.lstrip()[0] not in "#:"]
    rows = {name: [] for name in widths}
    for start in range(0, len(lines), len(widths) + 1):
        (number, frame), *block = lines[start : start + len(widths) + 1]
        if len(frame) != 1 or not frame[0].isdigit():
            raise ValueError(f"line {number} is {' '.join(frame)[:40]!r}, not the next frame's number: are its bones the skeleton's?")
        for number, (name, *values) in block:
            if name not in widths:
                raise ValueError(f"line {number}: the skeleton has no moving bone {name!r}, or frame {frame[0]} is cut in half")
            if len(values) != widths[name]:
                rule = f"the skeleton gives it {widths[name]} degrees of freedom"
                raise ValueError(f"line {number}: {name} has {len(values)} numbers, {rule}")
            rows[name].append(_numbers(f"line {number}", values))
        if len({words[0] for _, words in block}) != len(widths):
            raise ValueError(f"cut in half: frame {frame[0]} has {len(block)} of the skeleton's {len(widths)} bones")
    if not lines:
        raise ValueError("it holds no frames")
    return np.hstack(list(rows.values()))
