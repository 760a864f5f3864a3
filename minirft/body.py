"""The body: SMPL's 24 joints, rotations in and joints or a mesh out.

Without any download this is the open body `data/body.npz`, built from MakeHuman's CC0 base mesh in SMPL's own format
(data/build/body.py). Whoever has the real SMPL_NEUTRAL.pkl or .npz passes its path to `load_body`; nothing else
changes. The two differ a little in where their joints sit, so every result names its body.

Canonical frame: Y up, the body faces +Z, +X is the body's left. Metres and radians.
"""

import contextlib
import io
import pickle
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import roma
import torch

from .errors import InputError, in_short

JOINT_NAMES = (
    "pelvis", "left_hip", "right_hip", "spine1", "left_knee", "right_knee", "spine2", "left_ankle", "right_ankle",
    "spine3", "left_foot", "right_foot", "neck", "left_collar", "right_collar", "head", "left_shoulder",
    "right_shoulder", "left_elbow", "right_elbow", "left_wrist", "right_wrist", "left_hand", "right_hand",
)
JOINT = {name: index for index, name in enumerate(JOINT_NAMES)}
PARENTS = (-1, 0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 9, 9, 12, 13, 14, 16, 17, 18, 19, 20, 21)
# The index of each joint's mirror image.
MIRROR = tuple(JOINT[n.replace("left", "?").replace("right", "left").replace("?", "right")] for n in JOINT_NAMES)
# What a body file holds; a letter stands for one size throughout.
SMPL_ARRAYS = {
    "v_template": ("V", 3), "shapedirs": ("V", 3, "B"), "posedirs": ("V", 3, 207), "J_regressor": (24, "V"),
    "weights": ("V", 24), "kintree_table": (2, 24), "f": ("F", 3),
}
# The repository's data/ in a clone, its copy inside the package in an installed wheel.
DATA = next(p for p in (Path(__file__).parent / "_data", Path(__file__).parent.parent / "data")
            if p.exists() or p.name == "data")


class Body:
    """A body in SMPL's format. Attributes: name, rest (24, 3) joints at zero pose in metres, faces (F, 3) int64, skin_at_rest
    (V, 3) and follows (V,), the joint that moves each vertex the most."""

    def __init__(self, arrays, name):
        """arrays: SMPL_ARRAYS, of these shapes."""
        self.name = name
        self._arrays = arrays
        self._mesh = None
        self.faces = torch.as_tensor(arrays["f"].astype(np.int64))
        regress = arrays["J_regressor"].astype(np.float64)
        self.rest = torch.tensor(regress @ arrays["v_template"], dtype=torch.float32)
        self.skin_at_rest = np.asarray(arrays["v_template"], np.float32)
        self.follows = np.asarray(arrays["weights"]).argmax(1)
        self._rest_by_shape = torch.tensor(np.einsum("jv,vcb->jcb", regress, arrays["shapedirs"][..., :10]),
                                           dtype=torch.float32)  # (24, 3, B)

    def joints(self, pose, betas=None):
        """Where the joints are: forward kinematics over the tree, without a mesh, differentiable.

        pose: (..., 24, 3, 3) local rotations; betas: (..., B <= 10) shape, None for the mean shape.
        Returns (..., 24, 3) metres, the pelvis at its place in the rest pose, as in SMPL without translation.
        """
        return self.frames(pose, betas)[0]

    def frames(self, pose, betas=None):
        """The joints and how each is turned in the world: (..., 24, 3) metres and (..., 24, 3, 3)."""
        rest = self.rest.to(pose)
        if betas is not None:
            by_shape = self._rest_by_shape[..., : betas.shape[-1]].to(pose)
            rest = rest + torch.einsum("jcb,...b->...jc", by_shape, betas.to(pose))
        turned, placed = [pose[..., 0, :, :]], [rest[..., 0, :].expand(*pose.shape[:-3], 3)]
        for j, parent in enumerate(PARENTS[1:], start=1):
            offset = (rest[..., j, :] - rest[..., parent, :])[..., None]
            placed.append(placed[parent] + (turned[parent] @ offset)[..., 0])
            turned.append(turned[parent] @ pose[..., j, :, :])
        return torch.stack(placed, dim=-2), torch.stack(turned, dim=-3)

    def vertices(self, pose, betas=None):
        """The skin: pose (..., 24, 3, 3), betas as for `joints`, to (..., V, 3) metres, by smplx; no gradients."""
        if self._mesh is None:
            self._mesh = _smplx_model(self._arrays)
        flat = pose.reshape(-1, 24, 3, 3).float()
        shape = flat.new_zeros(*pose.shape[:-3], self._rest_by_shape.shape[-1])
        if betas is not None:
            shape[..., : betas.shape[-1]] = betas
        mesh = self._mesh.to(flat.device)
        with torch.no_grad():
            out = mesh(betas=shape.reshape(len(flat), -1), global_orient=flat[:, :1], body_pose=flat[:, 1:],
                       pose2rot=False, transl=flat.new_zeros(len(flat), 3))
        return out.vertices.reshape(*pose.shape[:-3], -1, 3)


def load_body(path=None):
    """The open body, or another in SMPL's format: MPI's SMPL_NEUTRAL.pkl or an npz of its arrays.

    Nothing a downloaded pickle names is run: only arrays are read from it. Raises InputError for anything else.
    """
    name, path = ("open", DATA / "body.npz") if path is None else (Path(path).stem, Path(path))
    way_out = "pass SMPL_NEUTRAL.pkl or .npz, or leave --body away for the open body"
    if not path.is_file():
        raise InputError(f"{path}: no such body file; {way_out}")
    try:
        with open(path, "rb") as file:
            arrays = _read_npz(file) if file.peek(2)[:2] == b"PK" else _read_pickle(file)
        _check_arrays(arrays)
    except Exception as error:  # a broken zip or pickle raises whatever its broken part happens to
        reason = in_short(error)
        raise InputError(f"{path}: no SMPL body: {reason or type(error).__name__}; {way_out}") from None
    return Body(arrays, name)


def to_matrix(axis_angle):
    """Axis-angle as in AMASS files (..., 72) to rotation matrices (..., 24, 3, 3)."""
    return roma.rotvec_to_rotmat(axis_angle.reshape(*axis_angle.shape[:-1], -1, 3))


def to_axis_angle(pose):
    """Rotation matrices (..., 24, 3, 3) to axis-angle (..., 72)."""
    return roma.rotmat_to_rotvec(pose).flatten(-2)


def to_6d(pose):
    """Rotation matrices (..., 3, 3) to their first two columns, one after the other (..., 6). Source: arXiv 1812.07035.

    >>> to_6d(torch.eye(3))
    tensor([1., 0., 0., 0., 1., 0.])
    """
    return pose[..., :2].transpose(-1, -2).flatten(-2)


def from_6d(columns):
    """Any two columns (..., 6) to the rotation matrices (..., 3, 3) that Gram-Schmidt makes of them."""
    return roma.special_gramschmidt(columns.unflatten(-1, (2, 3)).transpose(-1, -2))


def flip_pose(pose):
    """The mirror image: (..., 24, 3, 3) to the same, left and right exchanged."""
    mirror = pose.new_tensor([-1.0, 1.0, 1.0])
    return pose[..., list(MIRROR), :, :] * mirror[:, None] * mirror


def canonical_yaw(pose):
    """Turn each pose about the vertical until its hip axis lies along X, so that the body faces +Z.

    pose: (..., 24, 3, 3). Where the hip axis itself is nearly vertical (lying on a side) the body's own +Z is used.
    """
    left, front = pose[..., 0, :, 0], pose[..., 0, :, 2]
    by_hips = torch.atan2(left[..., 2], left[..., 0])
    by_front = -torch.atan2(front[..., 0], front[..., 2])
    angle = torch.where(left[..., 1].abs() > 0.9, by_front, by_hips)
    turn = roma.rotvec_to_rotmat(torch.stack([torch.zeros_like(angle), angle, torch.zeros_like(angle)], dim=-1))
    return torch.cat([(turn @ pose[..., 0, :, :])[..., None, :, :], pose[..., 1:, :, :]], dim=-3)


def procrustes(points, truth):
    """Points (..., J, 3) under the rotation, shift and scale that bring them nearest to the truth (..., J, 3)."""
    rotation, shift, scale = roma.rigid_points_registration(points, truth, compute_scaling=True)
    return scale[..., None, None] * (points @ rotation.transpose(-1, -2)) + shift[..., None, :]


def _smplx_model(arrays):
    """smplx's SMPL from arrays in memory: given a path, it would unpickle whatever lies there."""
    import smplx
    from smplx.vertex_ids import vertex_ids

    no_extra_joints = dict.fromkeys(vertex_ids["smplh"], 0)  # face and finger landmarks of SMPL's own mesh
    with contextlib.redirect_stdout(io.StringIO()):  # it prints a warning for 10 shape directions
        return smplx.SMPL("", data_struct=SimpleNamespace(**arrays), vertex_ids=no_extra_joints, create_betas=False,
                          create_global_orient=False, create_body_pose=False, create_transl=False)


def _read_npz(file):
    with np.load(file, allow_pickle=False) as archive:
        return {key: archive[key] for key in SMPL_ARRAYS if key in archive}


def _read_pickle(file):
    """MPI's SMPL pickle as plain arrays, without chumpy and without running anything it names."""
    content = _ArraysOnly(file, encoding="latin1").load()
    if not isinstance(content, dict):
        raise ValueError(f"the pickle holds a {type(content).__name__}, not SMPL's dictionary of arrays")
    return {key: _dense(content[key], key) for key in SMPL_ARRAYS if key in content}


def _check_arrays(arrays):
    """Raise ValueError unless all arrays are there, of SMPL's shapes, finite, over SMPL's own tree of joints."""
    sizes = {}
    for key, pattern in SMPL_ARRAYS.items():
        if key not in arrays:
            raise ValueError(f"it has no {key}; SMPL has {', '.join(SMPL_ARRAYS)}")
        array = arrays[key]
        if array.dtype.kind not in "fiu":
            raise ValueError(f"{key} holds {array.dtype}, not numbers")
        sizes = {want: size for want, size in zip(pattern, array.shape) if isinstance(want, str)} | sizes
        if array.shape != tuple(sizes.get(want, want) for want in pattern):
            known = f" with V={sizes['V']}" if "V" in sizes else ""
            raise ValueError(f"{key} has shape {array.shape}, SMPL's has ({', '.join(map(str, pattern))}){known}")
        if not (np.abs(array) < 1e30).all():  # false for NaN too; 1e30 fits into float32
            raise ValueError(f"{key} holds NaN or infinite values")
    if not 0 <= arrays["f"].min() <= arrays["f"].max() < sizes["V"]:
        raise ValueError(f"f names vertices outside 0..{sizes['V'] - 1}")
    if tuple(arrays["kintree_table"][0, 1:]) != PARENTS[1:]:  # the root's parent is -1, or 2**32 - 1 in MPI's files
        raise ValueError("kintree_table is another tree of joints than SMPL's")


class _Inert:
    """Stands in for an object: holds what was pickled and makes nothing of it, since numpy believes whoever says where his numbers lie."""

    def __init__(self, *arguments, state=None):
        self.arguments, self.state = arguments, state

    def __setstate__(self, state):
        self.state = state


class _Array(_Inert):
    """Of numpy. state: (..., shape, a _Dtype, whether it is in Fortran's order, bytes)."""


class _Dtype(_Inert):
    """Of numpy. arguments: (its name, ...); state: (version, byte order, ...)."""


class _Chumpy(_Inert):
    """Of chumpy, a Ch. state: its attributes, of which x is the array."""


class _Sparse(_Inert):
    """Of scipy, a csc_matrix. state: its attributes."""


class _ArraysOnly(pickle.Unpickler):
    """Unpickles arrays of numbers. Every name maps to a stand-in that does nothing; `_dense` makes arrays of these."""

    allowed = {
        ("numpy.core.multiarray", "_reconstruct"): _Array,
        ("numpy.core.numeric", "_frombuffer"): lambda data, dtype, shape, order: _Array(state=(shape, dtype, order == "F", data)),
        ("numpy", "ndarray"): _Array,
        ("numpy", "dtype"): _Dtype,
        ("chumpy.ch", "Ch"): _Chumpy,
        ("scipy.sparse.csc", "csc_matrix"): _Sparse,
        ("scipy.sparse._csc", "csc_matrix"): _Sparse,
        # MPI wrote SMPL_NEUTRAL.pkl with Python 2 in pickle protocol 0, which makes objects by these two
        ("copy_reg", "_reconstructor"): lambda kind, base, state: object.__new__(kind),
        ("__builtin__", "object"): object,
        ("_codecs", "encode"): lambda text, encoding: text.encode("latin1"),
    }

    def find_class(self, module, name):
        module = module.replace("numpy._core", "numpy.core")
        if (module, name) not in self.allowed:
            raise ValueError(f"its pickle asks for {module}.{name}, but a body file holds numpy, scipy.sparse and "
                             "chumpy arrays and nothing else, so it was not opened")
        return self.allowed[module, name]


def _dense(value, name):
    """A pickled array, chumpy array or sparse matrix as a numpy array. Raises ValueError for one of anything but numbers."""
    if isinstance(value, _Chumpy):
        value = value.state["x"]
    if isinstance(value, _Sparse):
        state = value.state
        full = np.zeros(state["_shape"] if "_shape" in state else state["shape"])
        indices, indptr, data = (_dense(state[part], f"{name}.{part}") for part in ("indices", "indptr", "data"))
        full[indices, np.repeat(np.arange(full.shape[1]), np.diff(indptr))] = data
        return full
    if not isinstance(value, _Array) or value.state is None:
        raise ValueError(f"{name} is no array")
    *_, shape, dtype, fortran, data = value.state
    kind = np.dtype(str(dtype.arguments[0])).newbyteorder(dtype.state[1])
    if kind.kind not in "fiub":
        raise ValueError(f"{name} holds {kind}, not numbers")
    data = data.encode("latin1") if isinstance(data, str) else data  # Python 2's bytes
    return np.frombuffer(data, kind).reshape(shape, order="F" if fortran else "C").astype(kind.newbyteorder("="))
