"""Output is whole or absent; input from anyone is read without trust."""

import errno
import io
import os
import pickle
import stat
import zipfile
from concurrent.futures import ThreadPoolExecutor

import numpy as np
import pytest

from minirft.errors import InputError
from minirft.files import load_npz, save_npz, write_atomic, write_json

POSES = {"pose": ("float", "M", 72), "clip": ("str", "M")}


def pose_file(path, **changes):
    save_npz(path, **{"pose": np.zeros((3, 72)), "clip": np.array(["a", "b", "c"])} | changes)
    return path


def test_a_failed_write_leaves_the_old_file_and_no_litter(tmp_path):
    path = tmp_path / "poses.npz"
    path.write_bytes(b"earlier")
    with pytest.raises(InputError, match="No space left"):
        with write_atomic(path) as temporary:
            temporary.write_bytes(b"half a fi")
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
    assert path.read_bytes() == b"earlier"
    assert [p.name for p in tmp_path.iterdir()] == ["poses.npz"]


def test_any_error_inside_leaves_the_old_file(tmp_path):
    path = tmp_path / "a.json"
    write_json(path, {"x": 1})
    with pytest.raises(KeyError), write_atomic(path) as temporary:
        temporary.write_text("other")
        raise KeyError
    assert path.read_text() == '{\n  "x": 1\n}\n'


def test_a_place_that_cannot_be_written_is_one_clear_line(tmp_path):
    (tmp_path / "file").write_text("")
    with pytest.raises(InputError, match="cannot write .*file/out.json") as caught:
        write_json(tmp_path / "file" / "out.json", {})
    assert "\n" not in str(caught.value)


def test_a_folder_in_the_way_is_an_input_error(tmp_path):
    (tmp_path / "out.npz").mkdir()
    with pytest.raises(InputError, match="out.npz"):
        save_npz(tmp_path / "out.npz", a=np.zeros(1))


def test_a_link_stays_and_what_it_leads_to_is_written(tmp_path):
    (tmp_path / "real").mkdir()
    for name in ("there.json", "fresh.json"):
        (tmp_path / name).symlink_to(f"real/{name}")
    (tmp_path / "real" / "there.json").write_text("earlier")
    for name in ("there.json", "fresh.json"):
        write_json(tmp_path / name, {})
        assert (tmp_path / name).is_symlink() and (tmp_path / "real" / name).read_text() == "{}\n"
    assert len(list(tmp_path.iterdir())) == 3 and len(list((tmp_path / "real").iterdir())) == 2


def test_links_in_a_circle_are_an_input_error_and_stay(tmp_path):
    (tmp_path / "a.json").symlink_to("b.json")
    (tmp_path / "b.json").symlink_to("a.json")
    with pytest.raises(InputError, match="cannot write .*a.json: .*symbolic links"):
        write_json(tmp_path / "a.json", {})
    assert all(path.is_symlink() for path in tmp_path.iterdir())


def test_a_pipe_is_written_to_and_not_replaced(tmp_path):
    pipe = tmp_path / "pipe.npz"
    os.mkfifo(pipe)
    with ThreadPoolExecutor() as pool:
        heard = pool.submit(pipe.read_bytes)
        save_npz(pipe, pose=np.ones((3, 72)))
        assert np.load(io.BytesIO(heard.result(10)))["pose"].sum() == 216
    assert stat.S_ISFIFO(pipe.stat().st_mode) and list(tmp_path.iterdir()) == [pipe]


def test_json_refuses_nan(tmp_path):
    with pytest.raises(ValueError):
        write_json(tmp_path / "a.json", {"x": float("nan")})
    assert not (tmp_path / "a.json").exists()


def test_npz_round_trip_keeps_arrays_and_leaves_out_none(tmp_path):
    arrays = load_npz(pose_file(tmp_path / "a.npz", frame=None, pose=np.full((3, 72), 0.5)), POSES)
    assert set(arrays) == {"pose", "clip"}
    assert arrays["pose"].dtype == np.float32 and (arrays["pose"] == 0.5).all()
    assert arrays["clip"].tolist() == ["a", "b", "c"]


def test_object_arrays_are_not_written(tmp_path):
    with pytest.raises(TypeError, match="Python objects"):
        save_npz(tmp_path / "a.npz", pose=np.array([None, 1]))


@pytest.mark.parametrize(("changes", "message"), [
    ({"pose": np.zeros((3, 71))}, r"\(3, 71\).*\(M=3, 72\)"),
    ({"pose": np.zeros(72)}, r"shape \(72,\)"),
    ({"clip": np.array(["a", "b"])}, r"clip.*\(2,\).*M=3"),
    ({"pose": np.array([["x"] * 72])}, "must hold float"),
    ({"clip": np.arange(3)}, "must hold str"),
    ({"pose": np.full((3, 72), np.nan)}, "NaN"),
    ({"pose": np.full((3, 72), np.inf)}, "infinite"),
    ({"pose": np.full((3, 72), 1e300)}, "infinite"),  # as float32 it is
    ({"clip": None}, "no array 'clip'"),
])
def test_arrays_that_do_not_fit_are_named(tmp_path, changes, message):
    with pytest.raises(InputError, match=message):
        load_npz(pose_file(tmp_path / "a.npz", **changes), POSES)


def test_a_hostile_pickle_is_not_run(tmp_path):
    class Trap:
        def __reduce__(self):
            return (os.mkdir, (str(tmp_path / "sprung"),))

    np.savez(tmp_path / "objects.npz", pose=np.array([Trap()], dtype=object), clip=np.array(["a"]))
    (tmp_path / "bare.npz").write_bytes(pickle.dumps(Trap()))
    for name in ("objects.npz", "bare.npz"):
        with pytest.raises(InputError, match="plain arrays"):
            load_npz(tmp_path / name, POSES)
    assert not (tmp_path / "sprung").exists()


def test_broken_files_are_input_errors(tmp_path):
    whole = pose_file(tmp_path / "whole.npz").read_bytes()
    text = io.BytesIO()
    with zipfile.ZipFile(text, "w") as archive:
        archive.writestr("pose", "not an array")
        archive.writestr("clip", "neither")
    array = io.BytesIO()
    np.save(array, np.zeros((3, 72)))
    broken = {"empty": b"", "half": whole[: len(whole) // 2], "flipped": whole[:60] + b"\xff" * 40 + whole[100:],
              "words": b"hello", "zip_of_text": text.getvalue(), "npy": array.getvalue()}
    for name, content in broken.items():
        (tmp_path / f"{name}.npz").write_bytes(content)
        with pytest.raises(InputError, match=name):
            load_npz(tmp_path / f"{name}.npz", POSES)
    for missing in (tmp_path / "none.npz", tmp_path):
        with pytest.raises(InputError, match="cannot read"):
            load_npz(missing, POSES)
