"""Motion capture files (BVH, CMU's ASF/AMC, AMASS) to SMPL poses.

mocap.py reads both formats as the same two things: a skeleton at rest and local rotations per frame. `retarget` composes
these to global ones, undoes the difference between the two rest poses bone by bone, and goes back to local rotations along
SMPL's own tree. Lengths and positions never matter, only directions. AMASS (amass.py) holds SMPL poses already.
"""

import json
import sys
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import roma
import torch
from tqdm import tqdm

from . import amass
from .body import DATA, JOINT, JOINT_NAMES, PARENTS, canonical_yaw, load_body, to_axis_angle
from .errors import InputError
from .files import walk
from .mocap import read_amc, read_bvh, read_text

SUFFIXES = (".bvh", ".amc")
NEAR_DUPLICATE_MM = 10.0  # mean joint distance; someone standing still sways less than this in an eighth of a second
# The names of known skeletons and the rest bones to take for theirs, by skeleton: the file says why.
SKELETONS = json.loads((DATA / "skeletons.json").read_text(encoding="utf-8"))["skeletons"]
ESSENTIAL = tuple(name for name in JOINT_NAMES
                  if name.split("_")[-1] in ("pelvis", "hip", "knee", "ankle", "shoulder", "elbow"))
# A joint's bone runs to its first child; the pelvis and the head (its gaze matters, not its bone) have none and are copied.
_BONE_END = {JOINT_NAMES[PARENTS[child]]: JOINT_NAMES[child] for child in range(21, 3, -1)}


@dataclass(frozen=True)
class Motion:
    """One clip. pose (T, 24, 3, 3) float32 SMPL local rotations; frame (T,) their places in the file, from 0."""

    pose: torch.Tensor
    frame: np.ndarray
    fps: float
    clip: str
    subject: str


def read_motion(path, *, fps=None, names=None, body=None):
    """One .bvh, .amc or AMASS .npz file to a Motion.

    fps: frames a second, where the file's own (BVH) or 120 (AMC, whose .asf must lie beside it) is wrong.
    names: {source joint: SMPL joint}, on top of data/skeletons.json (Daz, CMU, MotionBuilder, Mixamo); see read_names.
    body: the Body whose rest pose is the target; None is the open one.
    Frame 0 is left out where it is a T-pose: converters of CMU's data put one there that nobody recorded took.
    Raises InputError, in one line that starts with the file, for anything wrong with it.
    """
    path = Path(path)
    if path.suffix.lower() not in (*SUFFIXES, ".npz"):
        raise InputError(f"{path}: no motion capture format minirft reads; give {' or '.join(SUFFIXES)}, or AMASS's .npz")
    if fps is not None and not fps > 0:
        raise InputError(f"{path}: fps={fps} must be more than 0 frames a second")
    if path.suffix.lower() == ".npz":
        rows, file_fps = amass.read_sequence(path)
        if not np.isfinite(rows[:, :66]).all() or not (fps or file_fps):
            raise InputError(f"{path}: holds NaN or infinite angles, or not how many frames a second it has (--fps)")
        subject = "/".join(path.absolute().parts[-3:-1])  # subjects of two subsets may be called alike
        return Motion(amass.to_pose(rows), np.arange(len(rows)), fps or file_fps, path.stem, subject)
    body = body or load_body()
    try:
        skeleton, local, file_fps = (read_bvh if path.suffix.lower() == ".bvh" else read_amc)(path)
        sources, rest_bones = _match(skeleton, names or {})
        first = 1 if len(local) > 1 and _is_t_pose(local[0], sources) else 0
        fps = fps or file_fps
        if not fps:
            raise ValueError("its frame time is not above 0; say how many frames a second it has (fps)")
        pose = retarget(skeleton, local[first:], sources, body=body, rest_bones=rest_bones)
    except ValueError as error:
        raise InputError(f"{path}: {error}") from None
    return Motion(pose, np.arange(first, len(local)), float(fps), path.stem, path.absolute().parent.name)


def read_names(path):
    """A JSON file of {"source joint": "SMPL joint"} as the dict that `names` takes. Raises InputError."""
    try:
        names = json.loads(read_text(Path(path)))
    except (json.JSONDecodeError, RecursionError) as error:
        raise InputError(f"{path}: not JSON ({error})") from None
    except ValueError as error:
        raise InputError(f"{path}: {error}") from None
    if not isinstance(names, dict) or not all(isinstance(value, str) for value in names.values()):
        raise InputError(f'{path}: must be one JSON object such as {{"Hips": "pelvis", "LeftUpLeg": "left_hip"}}')
    return names


def read_folder(path, *, hz=8.0, fps=None, names=None):
    """Every motion of a folder (searched to any depth), or of one file, as the arrays of a pose file.

    hz: poses kept a second, all of them where a file has fewer. A pose nearer than NEAR_DUPLICATE_MM to the one kept before
    it in its clip is dropped. Yaw is removed by the hip axis, hands are identity. Clips keep their file's name, subjects
    their folder's.
    Returns ({pose (M, 72) float32 axis-angle, clip (M,), frame (M,) int, subject (M,)}, failures): one line for each
    file that could not be read, printed to stderr as well. Raises InputError if there is no file, or none can be read.
    """
    if not hz > 0:
        raise InputError(f"hz={hz} must be more than 0 poses a second")
    path, body = Path(path), load_body()
    parts, failures = [], []
    for file in tqdm(_files(path), unit="file", disable=None):
        try:
            motion = read_motion(file, fps=fps, names=names, body=body)
            if not motion.pose.isfinite().all():
                raise InputError(f"{file}: holds angles or lengths so large that no rotation comes of them; leave those frames out")
        except InputError as error:
            if file == path:
                raise
            failures.append(str(error))
            tqdm.write(f"left out: {error}", file=sys.stderr)
            continue
        keep = np.unique(np.arange(0, len(motion.pose), max(1.0, motion.fps / hz)).astype(int))
        pose = canonical_yaw(motion.pose[keep])
        distinct = _distinct(body.joints(pose))
        parts.append({"pose": to_axis_angle(pose[distinct]).numpy(), "clip": np.full(len(distinct), motion.clip),
                      "frame": motion.frame[keep][distinct], "subject": np.full(len(distinct), motion.subject)})
    if not parts:
        raise InputError(f"{path}: none of its {len(failures)} motion files can be read; the first: {failures[0]}")
    return {key: np.concatenate([part[key] for part in parts]) for key in parts[0]}, failures


def _files(path):
    """The motion files at a path, sorted."""
    if not path.exists():
        raise InputError(f"{path}: no such file or folder")
    if not path.is_dir():
        return [path]
    files = sorted(folder / name for folder, names in walk(path) for name in names
                   if name.lower().endswith((*SUFFIXES, amass.SEQUENCE, amass.REFIT)))
    if not files:
        raise InputError(f"{path}: no {' or '.join(SUFFIXES)} file, nor AMASS's *{amass.SEQUENCE}, in this folder or below")
    return files


def _distinct(joints):
    """Indices of the poses at least NEAR_DUPLICATE_MM from the last one kept. joints: (T, 24, 3) metres."""
    joints, kept = joints.numpy(), [0]
    for index in range(1, len(joints)):
        if np.linalg.norm(joints[index] - joints[kept[-1]], axis=-1).mean() * 1000 >= NEAR_DUPLICATE_MM:
            kept.append(index)
    return kept


# ---------------------------------------------------------------- from the source's skeleton to SMPL's


def retarget(skeleton, local, sources, *, body, rest_bones):
    """The source's local rotations as SMPL's.

    local: (T, J, 3, 3); sources: {SMPL joint: index in the skeleton}; rest_bones: {SMPL joint: (3,)} in place
    of the file's own.
    With A the smallest rotation from SMPL's rest bone to the source's, global SMPL = global source A: then the posed bones
    point the same way. SMPL joints without a source stay at rest. Returns (T, 24, 3, 3) float32.
    """
    basis, rest = _upright(skeleton, sources)
    total = local.clone()
    for j, parent in enumerate(skeleton.parents):  # parents before children
        if parent >= 0:
            total[:, j] = total[:, parent] @ local[:, j]
    source = basis @ total @ basis.T
    bones = _bones(skeleton, rest, sources, basis.numpy(), rest_bones)
    align = _alignments(bones, np.asarray(body.rest, dtype=np.float64))
    target = torch.eye(3, dtype=local.dtype).repeat(len(local), 24, 1, 1)
    pose = target.clone()
    for j, name in enumerate(JOINT_NAMES):
        above = target[:, PARENTS[j]] if j else pose[:, 0].clone()
        target[:, j] = source[:, sources[name]] @ align[j] if name in sources else above
        pose[:, j] = above.mT @ target[:, j]
    return pose.float()


def _upright(skeleton, sources):
    """The turn (3, 3) of the source's world to ours (Y up, facing +Z), and its rest joints (J, 3) so turned.

    Files with Z up, or facing elsewhere, are common; a skeleton whose zero pose does not stand cannot be turned.
    """
    rest = np.zeros((len(skeleton.names), 3))
    for j, parent in enumerate(skeleton.parents):
        rest[j] = skeleton.offsets[j] + (rest[parent] if parent >= 0 else 0)
    hips, shoulders = (rest[[sources[f"left_{joint}"], sources[f"right_{joint}"]]] for joint in ("hip", "shoulder"))
    directions = hips[0] - hips[1], shoulders.mean(0) - hips.mean(0)  # left, up
    axes = [np.round(d / max(np.linalg.norm(d), 1e-9)) for d in directions]  # one axis, where within 30 degrees of it
    if any(np.abs(axis).sum() != 1 for axis in axes) or abs(axes[0] @ axes[1]) or axes[1][0]:
        raise ValueError("with all rotations at zero its skeleton does not stand upright, Y or Z up: no rest pose to align")
    basis = np.stack([*axes, np.cross(*axes)])
    return torch.from_numpy(basis), rest @ basis.T


def _bones(skeleton, rest, sources, basis, replaced):
    """{SMPL joint: (the SMPL joint its bone ends at, the source's rest bone (3,))}, for all that have both."""
    bones = {}
    for name, start in sources.items():
        end = _BONE_END.get(name)
        while end in _BONE_END and end not in sources:  # spine1 to spine3 where nothing moves spine2
            end = _BONE_END[end]
        if end:
            below = [*rest[np.equal(skeleton.parents, start)], rest[start] + basis @ skeleton.ends[start]]
            tip = rest[sources[end]] if end in sources else below[0]
            bones[name] = end, np.array(replaced.get(name, tip - rest[start]))
    return bones


def _alignments(bones, rest):
    """For each SMPL joint the smallest rotation (24, 3, 3) from SMPL's rest bone to the source's; rest: (24, 3).

    Down a limb it starts from the alignment of the bone before, so that a foot at the end of a splayed leg is splayed
    with it and not twisted; toes and hands, which have no bone, lie as the bone before them does.
    """
    align = torch.eye(3, dtype=torch.float64).repeat(24, 1, 1)
    for j, name in enumerate(JOINT_NAMES):
        if name.split("_")[-1] in ("knee", "ankle", "foot", "elbow", "wrist"):
            align[j] = align[PARENTS[j]]
        if name in bones:
            end, bone = bones[name]
            align[j] = _smallest_rotation(align[j].numpy() @ (rest[JOINT[end]] - rest[j]), bone) @ align[j]
    return align


def _smallest_rotation(start, end):
    """The smallest rotation that turns one direction (3,) into another; identity where the other is zero or unknown."""
    if not np.linalg.norm(end) > 1e-9:
        return torch.eye(3, dtype=torch.float64)
    start, end = start / np.linalg.norm(start), end / np.linalg.norm(end)
    axis = np.cross(start, end)
    if np.linalg.norm(axis) < 1e-9:  # parallel, or opposite: then any axis across will do
        axis = np.cross(start, np.eye(3)[np.abs(start).argmin()])
    angle = np.arctan2(np.linalg.norm(np.cross(start, end)), start @ end)
    return roma.rotvec_to_rotmat(torch.from_numpy(axis / np.linalg.norm(axis) * angle))


def _match(skeleton, names):
    """{SMPL joint: index in the skeleton} by the known skeleton that fits best, then by `names`; and its rest bones."""
    plain = [name.split(":")[-1] for name in skeleton.names]  # "mixamorig:Hips" is "Hips"
    short = {name: plain.index(name) for name in plain}
    best = max(SKELETONS.values(), key=lambda known: len(known["names"].keys() & short.keys()))
    sources = {target: short[source] for source, target in best["names"].items() if source in short}
    sources = {target: index for target, index in sources.items() if names.get(skeleton.names[index], target) == target}  # told otherwise
    for source, target in names.items():
        if target not in JOINT_NAMES[:22]:
            raise ValueError(f"names maps {source!r} to {target!r}, which is none of {', '.join(JOINT_NAMES[:22])}")
        if source not in skeleton.names:
            raise ValueError(f"names mentions {source!r}, but its joints are {', '.join(skeleton.names)}")
        sources[target] = skeleton.names.index(source)
    missing = [name for name in ESSENTIAL if name not in sources]
    if missing:
        have = ", ".join(skeleton.names)
        raise ValueError(f"no source for {', '.join(missing)}; map them with names, from its joints {have}")
    fits = {target for target, index in sources.items() if best["names"].get(plain[index]) == target}
    return sources, {target: bone for target, bone in best.get("rest_bones", {}).items() if target in fits}


def _is_t_pose(local, sources):
    """Whether a frame (J, 3, 3) is the T-pose of converters: the root turned by exactly 0, the rest by under 20 degrees."""
    angles = roma.rotmat_to_rotvec(local[list(sources.values())]).norm(dim=-1).rad2deg()
    return bool(angles[list(sources).index("pelvis")] == 0 and (angles < 20).all())
