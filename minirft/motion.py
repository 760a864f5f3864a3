"""Motion capture files (BVH, CMU's ASF/AMC) to SMPL poses.

Both formats become the same two things: a skeleton at rest and global rotations per frame. `retarget` carries them over to SMPL:
undo the difference between the two rest poses bone by bone, then go back to local rotations along SMPL's own tree. Lengths and
positions never matter, only directions.
"""

import json
import re
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import roma
import torch
from tqdm import tqdm

from minirft.body import JOINT, JOINT_NAMES, PARENTS, InputError, canonical_yaw, load_body, to_axis_angle

SUFFIXES = (".bvh", ".amc")
AMC_FPS = 120.0  # CMU's capture rate: an AMC file holds none
NEAR_DUPLICATE_MM = 10.0  # mean joint distance; someone standing still sways less than this in an eighth of a second
_LIMBS = "UpLeg hip Leg knee Foot ankle ToeBase foot Shoulder collar Arm shoulder ForeArm elbow Hand wrist"


def _table(middle, sided, left, right):
    """Source joint -> SMPL joint, from "source smpl source smpl ..."; the sided ones for both sides."""
    names = dict(zip(middle.split()[::2], middle.split()[1::2]))
    for source, target in zip(sided.split()[::2], sided.split()[1::2]):
        names |= {left + source: f"left_{target}", right + source: f"right_{target}"}
    return names


TABLES = {
    "Daz": _table("hip pelvis abdomen spine1 chest spine3 neck neck head head",
                  "Thigh hip Shin knee Foot ankle Collar collar Shldr shoulder ForeArm elbow Hand wrist", "l", "r"),
    "CMU": _table("root pelvis lowerback spine1 upperback spine2 thorax spine3 upperneck neck head head",
                  "femur hip tibia knee foot ankle toes foot clavicle collar humerus shoulder radius elbow hand wrist", "l", "r"),
    "MotionBuilder": _table("Hips pelvis LowerBack spine1 Spine spine2 Spine1 spine3 Neck neck Head head", _LIMBS, "Left", "Right"),
    "Mixamo": _table("Hips pelvis Spine spine1 Spine1 spine2 Spine2 spine3 Neck neck Head head", _LIMBS, "Left", "Right"),
}
# Rotations copied without aligning the rest bones, whose directions in the source are no true rest directions: the Daz forearm
# points 17 degrees forward in a pose its data treats as straight; CMU's clavicle starts at the spine and rises 25 degrees.
COPIED = {"Daz": ("left_elbow", "right_elbow"), "CMU": ("left_collar", "right_collar")}
ESSENTIAL = ("pelvis",) + tuple(f"{side}_{joint}" for joint in ("hip", "knee", "ankle", "shoulder", "elbow") for side in ("left", "right"))
# The bone of a joint runs to this one; the pelvis and the head (its gaze matters, not its bone) have none and are copied.
_BONE_END = {"spine1": "spine2", "spine2": "spine3", "spine3": "neck", "neck": "head"} | {
    f"{side}_{a}": f"{side}_{b}" for side in ("left", "right")
    for a, b in (("hip", "knee"), ("knee", "ankle"), ("ankle", "foot"), ("collar", "shoulder"), ("shoulder", "elbow"), ("elbow", "wrist"))}


@dataclass(frozen=True)
class Skeleton:
    """A source's rest pose. offsets, ends: (J, 3) from the parent, and to the tip of a joint without children (else NaN)."""

    names: tuple
    parents: tuple
    offsets: np.ndarray
    ends: np.ndarray


@dataclass(frozen=True)
class Motion:
    """One clip. pose (T, 24, 3, 3) float32 SMPL local rotations; frame (T,) their places in the file, from 0.

    unmapped: SMPL joints left at rest for want of a source; unused: source joints that SMPL has no place for.
    """

    pose: torch.Tensor
    frame: np.ndarray
    fps: float
    clip: str
    subject: str
    unmapped: tuple
    unused: tuple


def read_motion(path, *, fps=None, names=None, body=None):
    """One .bvh or .amc file to a Motion.

    fps: frames a second, where the file's own (BVH) or 120 (AMC, whose .asf must lie beside it) is wrong.
    names: {source joint: SMPL joint}, on top of the built-in tables (Daz, CMU, MotionBuilder, Mixamo); see read_names.
    body: the Body whose rest pose is the target; None is the open one.
    Frame 0 is left out where it is a T-pose: converters of CMU's data put one there, and no one in the recording took it.
    Raises InputError, in one line that starts with the file, for anything wrong with it.
    """
    path = Path(path)
    if path.suffix.lower() not in SUFFIXES:
        raise InputError(f"{path}: no motion capture format minirft reads; give {' or '.join(SUFFIXES)}")
    if fps is not None and not fps > 0:
        raise InputError(f"fps={fps} must be more than 0 frames a second")
    body = body or load_body()
    try:
        skeleton, local, file_fps = (_read_bvh if path.suffix.lower() == ".bvh" else _read_amc)(path)
        sources, copied = _match(skeleton, names or {})
        first = 1 if len(local) > 1 and _is_t_pose(local[0], sources) else 0
        fps = fps or file_fps
        if not fps:
            raise ValueError("its frame time is not above 0; say how many frames a second it has (fps)")
        pose = retarget(skeleton, local[first:], sources, body=body, copied=copied)
    except ValueError as error:
        raise InputError(f"{path}: {error}") from None
    unmapped = tuple(name for name in JOINT_NAMES[:22] if name not in sources)
    unused = tuple(name for index, name in enumerate(skeleton.names) if index not in sources.values())
    return Motion(pose, np.arange(first, len(local)), float(fps), path.stem, path.resolve().parent.name, unmapped, unused)


def read_names(path):
    """A JSON file of {"source joint": "SMPL joint"} as the dict that `names` takes. Raises InputError."""
    try:
        names = json.loads(_text(Path(path)))
    except json.JSONDecodeError as error:
        raise InputError(f"{path}: not JSON ({error})") from None
    except InputError as error:
        raise InputError(f"{path}: {error}") from None
    if not isinstance(names, dict) or not all(isinstance(value, str) for value in names.values()):
        raise InputError(f'{path}: must be one JSON object such as {{"Hips": "pelvis", "LeftUpLeg": "left_hip"}}')
    return names


def read_folder(path, *, hz=8.0, fps=None, names=None, body=None, near_mm=NEAR_DUPLICATE_MM):
    """Every motion of a folder (searched to any depth), or of one file, as the arrays of a pose file.

    hz: poses kept a second, all of them where a file has fewer. near_mm: a pose nearer than this (mean over joints) to the
    one kept before it in its clip is dropped. Yaw is removed by the hip axis, hands are identity.
    Returns ({pose (M, 72) float32 axis-angle, clip (M,), frame (M,) int, subject (M,)}, failures): one line for each file
    that could not be read, printed to stderr as well. Raises InputError if there is no file, or none can be read.
    """
    if not hz > 0:
        raise InputError(f"hz={hz} must be more than 0 poses a second")
    body = body or load_body()
    rows, failures = {"pose": [], "clip": [], "frame": [], "subject": []}, []
    for file in tqdm(_files(Path(path)), unit="file", disable=None):
        try:
            motion = read_motion(file, fps=fps, names=names, body=body)
        except InputError as error:
            failures.append(str(error))
            tqdm.write(f"left out: {error}", file=sys.stderr)
            continue
        keep = np.unique(np.arange(0, len(motion.pose), max(1.0, motion.fps / hz)).astype(int))
        pose = canonical_yaw(motion.pose[keep])
        distinct = _distinct(body.joints(pose), near_mm)
        rows["pose"].append(to_axis_angle(pose[distinct]).numpy())
        rows["frame"].append(motion.frame[keep][distinct])
        rows["clip"].append(np.full(len(distinct), motion.clip))
        rows["subject"].append(np.full(len(distinct), motion.subject))
    if not rows["pose"]:
        more = f" (and {len(failures) - 1} more files, none readable)" if len(failures) > 1 else ""
        raise InputError(failures[0] + more)
    return {key: np.concatenate(parts) for key, parts in rows.items()}, failures


def _files(path):
    """The motion files at a path, sorted."""
    if not path.is_dir():
        return [path]
    files = sorted(file for file in path.rglob("*") if file.suffix.lower() in SUFFIXES)
    if not files:
        raise InputError(f"{path}: no {' or '.join(SUFFIXES)} file in this folder or below")
    return files


def _distinct(joints, near_mm):
    """Indices of the poses at least near_mm (mean over joints) from the last one kept. joints: (T, 24, 3) metres."""
    joints, kept = joints.numpy(), [0]
    for index in range(1, len(joints)):
        if np.linalg.norm(joints[index] - joints[kept[-1]], axis=-1).mean() * 1000 >= near_mm:
            kept.append(index)
    return kept


# ---------------------------------------------------------------- from the source's skeleton to SMPL's


def retarget(skeleton, local, sources, *, body, copied=()):
    """The source's local rotations as SMPL's.

    local: (T, J, 3, 3); sources: {SMPL joint: index in the skeleton}; copied: SMPL joints whose rest bones are not aligned.
    With A the smallest rotation from SMPL's rest bone to the source's, global SMPL = global source A: then the posed bones
    point the same way. SMPL joints without a source stay at rest. Returns (T, 24, 3, 3) float32.
    """
    basis, rest = _upright(skeleton, sources)
    source = basis @ global_rotations(skeleton.parents, local) @ basis.T
    align = _alignments(rest, skeleton.ends @ basis.T.numpy(), skeleton.parents, sources, body=body, copied=copied)
    target = torch.eye(3, dtype=local.dtype).repeat(len(local), 24, 1, 1)
    pose = target.clone()
    for j, name in enumerate(JOINT_NAMES):
        above = target[:, PARENTS[j]] if j else pose[:, 0].clone()
        target[:, j] = source[:, sources[name]] @ align[j] if name in sources else above
        pose[:, j] = above.mT @ target[:, j]
    return pose.float()


def global_rotations(parents, local):
    """Local rotations (T, J, 3, 3) composed down the tree; parents before children."""
    total = local.clone()
    for j, parent in enumerate(parents):
        if parent >= 0:
            total[:, j] = total[:, parent] @ local[:, j]
    return total


def _upright(skeleton, sources):
    """The turn (3, 3) of the source's world to ours (Y up, facing +Z), and its rest joints (J, 3) so turned.

    Files with Z up, or facing elsewhere, are common. What cannot be turned is a skeleton whose zero pose does not stand.
    """
    rest = np.zeros((len(skeleton.names), 3))
    for j, parent in enumerate(skeleton.parents):
        rest[j] = skeleton.offsets[j] + (rest[parent] if parent >= 0 else 0)
    hips, shoulders = (rest[[sources[f"left_{joint}"], sources[f"right_{joint}"]]] for joint in ("hip", "shoulder"))
    axes = []
    for direction in (hips[0] - hips[1], shoulders.mean(0) - hips.mean(0)):
        axis = np.round(direction / max(np.linalg.norm(direction), 1e-9))  # 1 from 30 degrees off the axis on, 0 from 60
        axes.append(axis)
    if any(np.abs(axis).sum() != 1 for axis in axes) or abs(axes[0] @ axes[1]) or axes[1][0]:
        raise ValueError("with all rotations at zero its skeleton does not stand upright (Y or Z up), so it gives no rest pose to align with")
    basis = np.stack([*axes, np.cross(*axes)])
    return torch.from_numpy(basis), rest @ basis.T


def _alignments(rest, ends, parents, sources, *, body, copied):
    """For each SMPL joint the smallest rotation (24, 3, 3) from its own rest bone to the source's."""
    target = np.asarray(body.rest, dtype=np.float64)
    align = torch.eye(3, dtype=torch.float64).repeat(24, 1, 1)
    for j, name in enumerate(JOINT_NAMES):
        if name not in sources or name in copied or name in ("pelvis", "head"):
            continue
        end = _BONE_END.get(name)
        while end and end not in sources and end in _BONE_END:  # spine1 to spine3 where nothing moves spine2
            end = _BONE_END[end]
        if end is None:  # toes and hands lie in the rest pose as the bone before them does
            align[j] = align[PARENTS[j]]
            continue
        start = sources[name]
        tips = [rest[child] for child, parent in enumerate(parents) if parent == start] or [rest[start] + ends[start]]
        tip = rest[sources[end]] if end in sources else tips[0]
        align[j] = _smallest_rotation(target[JOINT[end]] - target[j], tip - rest[start])
    return align


def _smallest_rotation(start, end):
    """The rotation by the smallest angle that turns one direction (3,) into another; none where either has no length."""
    if not min(np.linalg.norm(start), np.linalg.norm(end)) > 1e-9:
        return torch.eye(3, dtype=torch.float64)
    start, end = start / np.linalg.norm(start), end / np.linalg.norm(end)
    axis = np.cross(start, end)
    if np.linalg.norm(axis) < 1e-9:  # parallel, or opposite: then any axis across will do
        axis = np.cross(start, np.eye(3)[np.abs(start).argmin()])
    angle = np.arctan2(np.linalg.norm(np.cross(start, end)), start @ end)
    return roma.rotvec_to_rotmat(torch.from_numpy(axis / np.linalg.norm(axis) * angle))


def _match(skeleton, names):
    """{SMPL joint: index in the skeleton}, and the SMPL joints to copy, by the built-in table that fits best, then by `names`."""
    short = {name.split(":")[-1]: index for index, name in reversed(list(enumerate(skeleton.names)))}  # "mixamorig:Hips" -> "Hips"
    best = max(TABLES, key=lambda table: len(TABLES[table].keys() & short.keys()))
    sources = {target: short[source] for source, target in TABLES[best].items() if source in short}
    for source, target in names.items():
        if target not in JOINT_NAMES[:22]:
            raise ValueError(f"names maps {source!r} to {target!r}, which is none of SMPL's body joints: {', '.join(JOINT_NAMES[:22])}")
        if source not in skeleton.names:
            raise ValueError(f"names mentions {source!r}, but its joints are {', '.join(skeleton.names)}")
        sources[target] = skeleton.names.index(source)
    missing = [name for name in ESSENTIAL if name not in sources]
    if missing:
        raise ValueError(f"no source for {', '.join(missing)}; map them with names, from its joints {', '.join(skeleton.names)}")
    return sources, COPIED.get(best, ())


def _is_t_pose(local, sources):
    """Whether a frame (J, 3, 3) is the T-pose converters put first: the root turned by exactly nothing, the rest by under 20 degrees."""
    angles = roma.rotmat_to_rotvec(local[list(sources.values())]).norm(dim=-1).rad2deg()
    return bool(angles[list(sources).index("pelvis")] == 0 and (angles < 20).all())


# ---------------------------------------------------------------- BVH


def _text(path):
    """A file's text. Raises InputError if it is missing, unreadable or empty."""
    try:
        text = path.read_text(encoding="utf-8-sig", errors="replace")
    except FileNotFoundError:
        raise InputError("no such file") from None
    except OSError as error:
        raise InputError(f"cannot be read ({error.strerror})") from None
    if not text.strip():
        raise InputError("the file is empty")
    return text


def _read_bvh(path):
    """(Skeleton, local rotations (T, J, 3, 3) float64, frames a second or 0)."""
    text = _text(path)
    motion = re.search(r"^\s*MOTION\s*$", text, re.M)
    if "HIERARCHY" not in text[: motion.start() if motion else None]:
        raise ValueError("no BVH file: it has no HIERARCHY")
    skeleton, channels = _bvh_skeleton(text[: motion.start() if motion else None].split("HIERARCHY", 1)[1].split())
    if not motion:
        raise ValueError("cut in half: it ends after the hierarchy, before MOTION")
    header = re.match(r"\s*Frames:\s*(\d+)\s+Frame\s+Time:\s*(\S+)[^\n]*\n?", text[motion.end():], re.I)
    if not header:
        raise ValueError("cut in half, or no BVH: after MOTION must come 'Frames: N' and 'Frame Time: seconds'")
    start = motion.end() + header.end()
    rows = _numbers(text[start:].splitlines(), len(channels), first_line=text[:start].count("\n") + 1)
    frames = int(header[1])
    if len(rows) != frames or not frames:
        cut = "cut in half: " if len(rows) < frames else ""
        raise ValueError(f"{cut}its header says {frames} frames, {len(rows)} lines of numbers follow")
    try:
        seconds = float(header[2])
    except ValueError:
        raise ValueError(f"frame time {header[2]!r} is no number of seconds") from None
    return skeleton, _bvh_rotations(rows, channels, len(skeleton.names)), 1 / seconds if seconds > 0 else 0.0


def _bvh_skeleton(tokens):
    """(Skeleton, channels): channels has, for each column of the motion, (joint, "Xrotation" ...)."""
    names, parents, offsets, ends, channels, stack = [], [], [], [], [], []
    words = iter(tokens)
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
                offset = _finite([next(words) for _ in range(3)], f"the offset of {names[-1]}")
                if stack[-1] is None:
                    ends[stack[-2]] = offset
                else:
                    offsets[stack[-1]] = offset
            elif word == "CHANNELS":
                for _ in range(int(next(words))):
                    channels.append((stack[-1], next(words)))
                    if not re.fullmatch("[XYZ](position|rotation)", channels[-1][1], re.I):
                        raise ValueError(f"joint {names[-1]} has a channel {channels[-1][1]!r}; BVH knows Xposition and Xrotation, Y and Z likewise")
            elif word == "}":
                stack.pop()
            else:
                raise ValueError(f"in the hierarchy stands {word!r} where JOINT, OFFSET, CHANNELS, End Site or }} belongs")
    except StopIteration:
        raise ValueError(f"cut in half: it ends in the hierarchy, at joint {names[-1] if names else 1}") from None
    except (IndexError, TypeError):
        raise ValueError("its hierarchy's braces do not match") from None
    if stack or not names:
        raise ValueError(f"cut in half: its hierarchy ends with {len(stack)} braces open")
    return Skeleton(tuple(names), tuple(parents), np.array(offsets), np.array(ends)), channels


def _bvh_rotations(rows, channels, joints):
    """Rows of channels (T, C) to local rotations (T, J, 3, 3): each joint's Euler angles in its own order, each about the turned axes."""
    local = torch.eye(3, dtype=torch.float64).repeat(len(rows), joints, 1, 1)
    for joint in range(joints):
        columns = [(column, kind[0].upper()) for column, (owner, kind) in enumerate(channels) if owner == joint and kind.lower().endswith("rotation")]
        if columns:
            order = "".join(axis for _, axis in columns)
            local[:, joint] = _euler(order, rows[:, [column for column, _ in columns]])
    return local


def _euler(order, degrees):
    """Rotations (T, 3, 3) of Euler angles (T, n); upper-case order: about the turned axes, lower-case: about the fixed ones (roma)."""
    return roma.euler_to_rotmat(order, [torch.from_numpy(column) for column in degrees.T.copy()], degrees=True)


def _numbers(lines, width, *, first_line):
    """Lines of `width` numbers each as (T, width) float64; blank lines do not count. Errors name the line in the file."""
    rows = [(number, line.split()) for number, line in enumerate(lines, first_line) if line.strip()]
    for number, words in rows:
        if len(words) != width:
            cut = "; cut in half?" if number == rows[-1][0] else ""
            raise ValueError(f"line {number} has {len(words)} numbers, its hierarchy {width} channels{cut}")
    return _array(rows).reshape(-1, width)


def _array(rows):
    """[(line number, words)] as an array of finite numbers; a word that is none is named with its line."""
    try:
        values = np.array([words for _, words in rows], dtype=np.float64)
    except ValueError:
        values = np.array(np.nan)
    if not np.isfinite(values).all():
        for number, words in rows:
            _finite(words, f"line {number}")
    return values


def _finite(words, place):
    """Words as an array of finite numbers; the first that is none is named in a ValueError."""
    for word in words:
        try:
            if np.isfinite(float(word)):
                continue
        except ValueError:
            pass
        raise ValueError(f"{place} has {word!r} where a number belongs")
    return np.array(words, dtype=np.float64)


# ---------------------------------------------------------------- ASF/AMC, as CMU publishes them


def _read_amc(path):
    """(Skeleton, local rotations (T, J, 3, 3) float64, 120 frames a second)."""
    text = _text(path)
    asf = _asf_beside(path)
    try:
        skeleton, axes, dofs, unit = _asf_skeleton(_text(asf))
    except ValueError as error:
        raise ValueError(f"its skeleton {asf.name}: {error}") from None
    values = _amc_values(text, {name: len(dof) for name, dof in dofs.items() if dof})
    frames = len(values["root"])
    local = torch.eye(3, dtype=torch.float64).repeat(frames, len(skeleton.names), 1, 1)
    scale = 1.0 if re.search(r"^\s*:DEGREES", text, re.M | re.I) else unit
    for joint, name in enumerate(skeleton.names):
        columns = [(column, dof[1]) for column, dof in enumerate(dofs[name]) if dof[0] == "r"]
        if columns:
            turned = _euler("".join(axis for _, axis in columns), values[name][:, [column for column, _ in columns]] * scale)
            local[:, joint] = axes[joint] @ turned @ axes[joint].T
    return skeleton, local, AMC_FPS


def _asf_beside(path):
    """The .asf an .amc file belongs to: the only one in its folder, or the one named like its subject (09_01.amc: 09.asf)."""
    found = [file for file in sorted(path.resolve().parent.iterdir()) if file.suffix.lower() == ".asf"]
    named = [file for file in found if file.stem in (path.stem, path.stem.rsplit("_", 1)[0])]
    if len(found) != 1 and len(named) != 1:
        there = f"there are {', '.join(file.name for file in found)}" if found else "there is none"
        raise ValueError(f"an AMC file needs its skeleton beside it, {path.stem.rsplit('_', 1)[0]}.asf or the only .asf in the folder; {there}")
    return (named or found)[0]


def _asf_skeleton(text):
    """(Skeleton, axes (J, 3, 3), {bone: ("rx", ...)}, degrees in one unit of its angles).

    A bone turns about its own start, so it becomes a joint there; `axes` are the frames its angles are given in.
    """
    parts = re.split(r"^\s*:(\w+)", "\n".join(line.split("#")[0] for line in text.splitlines()), flags=re.M)
    parts = {name.lower(): body for name, body in zip(parts[1::2], parts[2::2])}
    missing = [f":{name}" for name in ("root", "bonedata", "hierarchy") if name not in parts]
    if missing:
        raise ValueError(f"cut in half, or no ASF: it has no {', '.join(missing)}")
    radians = re.search(r"\bangle\s+rad", parts.get("units", ""), re.I)
    unit = np.rad2deg(1.0) if radians else 1.0
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
        parent |= {child: above for child in below if child in bones}
    loose = [name for name in bones if name not in parent or (parent[name] or "root") not in bones]
    if loose:
        raise ValueError(f"cut in half: its hierarchy does not place {', '.join(loose)}")
    return _asf_rest(bones, parent, unit)


def _asf_rest(bones, parent, unit):
    """The rest pose of parsed bones, parents first; see _asf_skeleton."""
    def depth(name):
        return 0 if parent[name] is None else 1 + depth(parent[name])

    names = sorted(bones, key=depth)
    offsets, ends, axes = np.zeros((len(names), 3)), np.zeros((len(names), 3)), []
    for index, name in enumerate(names):
        bone = bones[name]
        ends[index] = _finite(bone["direction"].split(), f"the direction of {name}") * _finite([bone["length"]], f"the length of {name}")
        if parent[name]:
            offsets[index] = ends[names.index(parent[name])]
        *angles, order = bone["axis"].split()
        if len(angles) != 3 or sorted(order.upper()) != list("XYZ"):
            raise ValueError(f"the axis of {name} is {bone['axis']!r}; it must be three angles and their order, such as 0 0 20 XYZ")
        axes.append(_euler(order.lower(), _finite(angles, f"the axis of {name}")[None] * unit)[0])
    parents = tuple(names.index(parent[name]) if parent[name] else -1 for name in names)
    dofs = {name: tuple(bones[name].get("dof", "").lower().split()) for name in names}
    return Skeleton(tuple(names), parents, offsets, ends), torch.stack(axes), dofs, unit


def _amc_values(text, widths):
    """{bone: (T, dof)}. widths: {bone: dof}, what the skeleton says each bone has."""
    lines = [(number, line.split()) for number, line in enumerate(text.splitlines(), 1) if line.strip() and line.lstrip()[0] not in "#:"]
    size = len(widths) + 1
    for start in range(0, len(lines), size):
        block = lines[start : start + size]
        number, frame = block[0]
        if len(frame) != 1 or not frame[0].isdigit():
            raise ValueError(f"line {number} is {' '.join(frame)[:40]!r} where a frame number belongs: its bones are not the skeleton's {len(widths)}")
        for number, (name, *values) in block[1:]:
            if name not in widths:
                raise ValueError(f"line {number}: {name!r} is no bone with degrees of freedom in the skeleton, or frame {frame[0]} is cut in half")
            if len(values) != widths[name]:
                raise ValueError(f"line {number}: {name} has {len(values)} numbers, the skeleton gives it {widths[name]} degrees of freedom")
        if len({words[0] for _, words in block}) != size:
            raise ValueError(f"cut in half: frame {frame[0]} has {len(block) - 1} of the skeleton's {len(widths)} bones")
    if not lines:
        raise ValueError("it holds no frames")
    values = {name: [] for name in widths}
    for number, (name, *words) in lines:
        if name in values:
            values[name].append((number, words))
    return {name: _array(rows) for name, rows in values.items()}

