"""AMASS in SMPL+H as it is published: sequences of axis-angles, Z up, to SMPL's 24 joints, Y up.

SMPL+H's first 22 joints are SMPL's; its other 30 are of fingers. SMPL's two hands, 22 and 23, have no source there and are the identity.
"""

from pathlib import PurePosixPath

import numpy as np
import roma
import torch

from .errors import InputError
from .files import read_arrays

COLUMNS = 156  # axis-angles of 52 joints
Y_UP = torch.tensor([[1.0, 0, 0], [0, 0, 1], [0, -1, 0]])  # a quarter turn about X; the body then faces +Z
# What folders were called in the first release, and are now.
ALIASES = {"biomotionlab_ntroje": "bmlrub", "mpi_hdm05": "hdm05", "mpi_limits": "poseprior", "mpi_mosh": "mosh",
           "ssm_synced": "ssm", "dfaust_67": "dfaust", "eyes_japan_dataset": "eyesjapandataset",
           "transitions_mocap": "transitions", "tcd_handmocap": "tcdhands"}
SEQUENCE, REFIT = "_poses.npz", "_stageii.npz"


def sequence_key(path):
    """What names a sequence under old and new folder names: the last three parts of its path.

    >>> sequence_key("BioMotionLab_NTroje/rub001/0000_treadmill_norm_poses.npz")
    ('bmlrub', 'rub001', '0000_treadmill_norm_poses.npz')
    """
    subset, subject, name = ("", "", "", *PurePosixPath(path).parts)[-3:]
    return ALIASES.get(subset.lower(), subset.lower()), subject, name


def read_sequence(path):
    """The axis-angles (T, 156) of a sequence, Z up, NaN where the file has it, and its frames a second or None.

    Raises InputError for SMPL-X's refits and whatever else is no sequence of SMPL+H.
    """
    arrays = read_arrays(path, ["poses", "mocap_framerate", "surface_model_type"])
    if str(path).endswith(REFIT) or "surface_model_type" in arrays:
        raise InputError(f"{path}: is SMPL-X, another fit of another body: not the poses that texts were written of; get \"SMPL+H G\"")
    poses, rate = arrays.get("poses"), np.ravel(arrays.get("mocap_framerate", []))
    if poses is None or poses.dtype.kind != "f" or poses.ndim != 2 or poses.shape[1] != COLUMNS or not len(poses):
        has = "no array 'poses'" if poses is None else f"poses of shape {poses.shape}, {poses.dtype}"
        raise InputError(f"{path}: has {has}; a sequence of AMASS in SMPL+H has (T, {COLUMNS}) numbers")
    usable = rate.dtype.kind in "fiu" and len(rate) == 1 and 0 < rate[0] < 1e4
    return poses, float(rate[0]) if usable else None


def to_pose(axis_angle):
    """Rows of a sequence (M, 66 or more) as rotations (M, 24, 3, 3), Y up, yaw kept."""
    pose = torch.eye(3).repeat(len(axis_angle), 24, 1, 1)
    for start in range(0, len(pose), 8192):  # roma needs many times the memory
        part = torch.from_numpy(np.asarray(axis_angle[start : start + 8192, :66], np.float32))
        pose[start : start + 8192, :22] = roma.rotvec_to_rotmat(part.reshape(-1, 22, 3))
    pose[:, 0] = Y_UP @ pose[:, 0]
    return pose
