"""The body: kinematics as smplx computes them, rotations there and back, mirror images, and body files from anyone."""

import os
import pickle
import sys
from types import ModuleType

import numpy as np
import pytest
import roma
import smplx
import torch
from scipy.sparse import csc_matrix

from minirft.body import (DATA, JOINT, JOINT_NAMES, MIRROR, PARENTS, _smplx_model, canonical_yaw, flip_pose,
                          from_6d, load_body, to_6d, to_axis_angle, to_matrix)
from minirft.errors import InputError

BODY = load_body()
WIDE = torch.tensor([-1.0, 1.0, 1.0])  # the mirror in the plane x = 0


def random_pose(*shape, seed=0, spread=0.7):
    """Local rotations (*shape, 24, 3, 3) of about `spread` radians about each axis."""
    return to_matrix(spread * torch.randn(*shape, 72, generator=torch.Generator().manual_seed(seed)))


def root_pose(*rotvec):
    """A pose (24, 3, 3), all joints at rest but the root, turned by an axis-angle."""
    pose = torch.eye(3).repeat(24, 1, 1)
    pose[0] = roma.rotvec_to_rotmat(torch.tensor(rotvec))
    return pose


def test_joint_names_parents_and_mirror_images_agree():
    assert len(JOINT_NAMES) == len(PARENTS) == len(set(JOINT_NAMES)) == 24
    assert all(parent < child for child, parent in enumerate(PARENTS))
    assert JOINT["left_wrist"] == 20 and MIRROR[JOINT["left_wrist"]] == JOINT["right_wrist"] and MIRROR[0] == 0


def test_the_open_body_stands_facing_forward_with_its_left_at_plus_x():
    rest = BODY.rest
    assert (rest[JOINT["head"], 1] > rest[JOINT["neck"], 1] > rest[0, 1] > rest[JOINT["left_ankle"], 1]).item()
    assert rest[JOINT["left_hip"], 0] > 0.03 and rest[JOINT["left_wrist"], 0] > 0.3
    assert rest[JOINT["left_foot"], 2] > rest[JOINT["left_ankle"], 2] + 0.05  # toes point to +Z
    assert 1.4 < BODY.vertices(torch.eye(3).expand(24, 3, 3))[:, 1].max() - rest[JOINT["left_foot"], 1] < 1.9


@pytest.mark.parametrize("with_betas", [False, True])
def test_fast_kinematics_equal_smplx(with_betas):
    pose = random_pose(4)
    betas = torch.randn(4, 10, generator=torch.Generator().manual_seed(1)) if with_betas else torch.zeros(4, 10)
    arrays = dict(np.load(DATA / "body.npz"))
    expected = _smplx_model(arrays)(betas=betas, global_orient=pose[:, :1], body_pose=pose[:, 1:], pose2rot=False,
                                    transl=torch.zeros(4, 3))
    joints = BODY.joints(pose, betas if with_betas else None)
    torch.testing.assert_close(joints, expected.joints[:, :24], atol=2e-5, rtol=0)
    torch.testing.assert_close(BODY.vertices(pose, betas if with_betas else None), expected.vertices)


def test_leading_shapes_are_kept_and_few_betas_are_the_first_ones():
    pose = random_pose(2, 3)
    assert BODY.joints(pose).shape == (2, 3, 24, 3)
    assert BODY.vertices(pose).shape == (2, 3, *BODY.vertices(pose[0, 0]).shape)
    few, padded = torch.tensor([1.0, -2.0]), torch.tensor([1.0, -2.0] + [0.0] * 8)
    torch.testing.assert_close(BODY.joints(pose, few), BODY.joints(pose, padded))
    torch.testing.assert_close(BODY.vertices(pose, few), BODY.vertices(pose, padded))
    torch.testing.assert_close(BODY.joints(pose)[1, 2], BODY.joints(pose[1, 2]))


def test_joints_give_gradients():
    axis_angle = torch.zeros(72, dtype=torch.float64, requires_grad=True)

    def height_of_the_left_wrist(x):
        return BODY.joints(to_matrix(x))[JOINT["left_wrist"], 1]

    assert torch.autograd.gradcheck(height_of_the_left_wrist, axis_angle + 0.3)


def test_rotations_go_there_and_back():
    pose = random_pose(50)
    torch.testing.assert_close(to_matrix(to_axis_angle(pose)), pose, atol=1e-5, rtol=0)
    torch.testing.assert_close(from_6d(to_6d(pose)), pose, atol=1e-5, rtol=0)
    axis_angle = 0.5 * torch.randn(50, 72, generator=torch.Generator().manual_seed(2))  # all angles under pi
    torch.testing.assert_close(to_axis_angle(to_matrix(axis_angle)), axis_angle, atol=1e-4, rtol=0)


def test_a_half_turn_survives_axis_angle():
    pose = root_pose(0.0, torch.pi, 0.0)
    torch.testing.assert_close(to_matrix(to_axis_angle(pose)), pose, atol=1e-5, rtol=0)


def test_6d_is_two_columns_one_after_the_other_and_any_numbers_make_a_rotation():
    pose = random_pose()
    torch.testing.assert_close(to_6d(pose), torch.cat([pose[..., 0], pose[..., 1]], -1))
    made = from_6d(torch.randn(100, 6, generator=torch.Generator().manual_seed(3)))
    torch.testing.assert_close(made @ made.mT, torch.eye(3).expand(100, 3, 3), atol=1e-5, rtol=0)
    torch.testing.assert_close(torch.linalg.det(made), torch.ones(100))


def test_a_flip_mirrors_every_joint_and_twice_is_nothing():
    pose = random_pose(5)
    torch.testing.assert_close(flip_pose(flip_pose(pose)), pose)
    mirrored = BODY.joints(pose)[:, list(MIRROR)] * WIDE
    assert (BODY.joints(flip_pose(pose)) - mirrored).norm(dim=-1).max() < 2e-3  # the body itself is not quite symmetric
    assert (BODY.joints(pose) - mirrored).norm(dim=-1).max() > 0.1


@pytest.mark.parametrize("yaw", [-3.0, -1.5, 0.0, 0.7, 3.14])
def test_canonical_yaw_lays_the_hips_along_x_and_changes_nothing_else(yaw):
    tilted = random_pose(20, spread=0.3)
    turn = roma.rotvec_to_rotmat(torch.tensor([0.0, yaw, 0.0]))
    turned = tilted.clone()
    turned[:, 0] = turn @ tilted[:, 0]
    done = canonical_yaw(turned)
    joints = BODY.joints(done)
    hips = joints[:, JOINT["left_hip"]] - joints[:, JOINT["right_hip"]]
    assert hips[:, 2].abs().max() < 2e-3 and (hips[:, 0] > 0).all()
    assert (done[:, 0, 2, 2] > 0.3).all()  # it faces +Z
    torch.testing.assert_close(done, canonical_yaw(tilted), atol=1e-5, rtol=0)
    torch.testing.assert_close(done[:, 1:], turned[:, 1:])
    torch.testing.assert_close(done[:, 0, 1], turned[:, 0, 1])  # heights stay: only the vertical axis was turned about


def test_lying_on_a_side_the_front_faces_plus_z():
    lying = root_pose(0.0, 0.0, torch.pi / 2)  # hips vertical
    turned = lying.clone()
    turned[0] = roma.rotvec_to_rotmat(torch.tensor([0.0, 2.0, 0.0])) @ lying[0]
    done = canonical_yaw(turned)
    torch.testing.assert_close(done[0, :, 2], torch.tensor([0.0, 0.0, 1.0]), atol=1e-5, rtol=0)
    torch.testing.assert_close(done[0, 1], turned[0, 1])



def smpl_arrays(vertices=40, shapes=12, seed=0):
    """A body file's arrays in small: random numbers of SMPL's shapes over SMPL's tree."""
    rng = np.random.default_rng(seed)
    regressor = rng.random((24, vertices)) * (rng.random((24, vertices)) < 0.2)
    regressor[:, 0] += 0.1
    return {
        "v_template": rng.normal(size=(vertices, 3)), "shapedirs": rng.normal(size=(vertices, 3, shapes)),
        "posedirs": rng.normal(size=(vertices, 3, 207)), "J_regressor": regressor / regressor.sum(1, keepdims=True),
        "weights": rng.dirichlet(np.ones(24), vertices), "f": rng.integers(0, vertices, (9, 3)).astype(np.uint32),
        "kintree_table": np.array([(2**32 - 1,) + PARENTS[1:], range(24)], np.uint32),
    }


class Ch:
    """chumpy.ch.Ch as a pickle sees it: the array is the attribute x."""

    __module__ = "chumpy.ch"

    def __init__(self, x):
        self.x, self.dterms_cache = x, {"nothing": 1}


class OldSparse:
    """scipy.sparse.csc.csc_matrix as Python 2 pickled it."""

    __module__, __qualname__ = "scipy.sparse.csc", "csc_matrix"

    def __init__(self, matrix):
        self.__dict__.update(indices=matrix.indices, indptr=matrix.indptr, data=matrix.data, _shape=matrix.shape,
                             maxprint=50)


@pytest.fixture
def foreign(monkeypatch):
    """Stand-ins under the names of libraries that need not be installed, so that pickles can name them."""
    monkeypatch.setitem(sys.modules, "chumpy", ModuleType("chumpy"))
    for kind in (Ch, OldSparse):
        module = ModuleType(kind.__module__)
        setattr(module, kind.__qualname__, kind)
        monkeypatch.setitem(sys.modules, kind.__module__, module)


def mpi_content(arrays):
    """SMPL's own layout: chumpy arrays, a sparse regressor, and keys that a body does not need."""
    return arrays | {"v_template": Ch(arrays["v_template"]), "shapedirs": Ch(arrays["shapedirs"]),
                     "J_regressor": OldSparse(csc_matrix(arrays["J_regressor"])), "bs_style": "lbs",
                     "J": Ch(np.zeros((24, 3)))}


def assert_is_body_of(body, arrays, tmp_path):
    """Rest joints by their formula; the skin as smplx makes it of a pickle that it reads itself."""
    expected = arrays["J_regressor"] @ arrays["v_template"]
    np.testing.assert_allclose(body.rest, expected, atol=1e-5)
    np.testing.assert_array_equal(body.faces, arrays["f"])
    (tmp_path / "plain.pkl").write_bytes(pickle.dumps(arrays))
    marks = dict.fromkeys(smplx.vertex_ids.vertex_ids["smplh"], 0)
    pose, betas = random_pose(2), torch.randn(2, 10, generator=torch.Generator().manual_seed(1))
    out = smplx.SMPL(tmp_path / "plain.pkl", vertex_ids=marks, batch_size=2)(
        betas=betas, global_orient=pose[:, :1], body_pose=pose[:, 1:], pose2rot=False)
    torch.testing.assert_close(body.vertices(pose, betas), out.vertices)
    torch.testing.assert_close(body.joints(pose, betas), out.joints[:, :24], atol=1e-4, rtol=1e-4)


@pytest.mark.parametrize("protocol", [0, 2, 4, 5])
def test_mpis_pickle_is_read_without_chumpy(foreign, tmp_path, protocol, recwarn):
    arrays = smpl_arrays()
    content = pickle.dumps(mpi_content(arrays), protocol=protocol)
    assert b"chumpy" in content and b"csc_matrix" in content
    if protocol < 3:  # as numpy was called when MPI wrote it
        content = content.replace(b"numpy._core", b"numpy.core")
    path = tmp_path / "SMPL_NEUTRAL.pkl"
    path.write_bytes(content)
    del sys.modules["chumpy.ch"], sys.modules["chumpy"]  # nobody has it when the file is read
    body = load_body(path)
    assert body.name == "SMPL_NEUTRAL" and not [w for w in recwarn if "numpy" in str(w.message).lower()]
    assert_is_body_of(body, arrays, tmp_path)


def test_an_npz_of_the_same_arrays_is_the_same_body(tmp_path):
    arrays = smpl_arrays()
    np.savez(tmp_path / "mine.npz", **arrays, extra=np.array([None]))  # an object array that nobody asks for
    body = load_body(str(tmp_path / "mine.npz"))
    assert body.name == "mine"
    assert_is_body_of(body, arrays, tmp_path)


def test_the_open_body_says_so():
    assert BODY.name == "open" and BODY.rest.shape == (24, 3) and BODY.faces.dtype == torch.int64


class Payload:
    """Unpickled in earnest, it writes a file."""

    def __init__(self, call, *arguments, state=None):
        self.made = call, arguments, state

    def __reduce__(self):
        return self.made


def hostile(mark):
    write = f"open({str(mark)!r}, 'w').close()"
    nested = np.empty(1, object)
    nested[0] = Payload(os.system, f"touch {mark}")
    arrays = smpl_arrays()
    return {
        "system": Payload(os.system, f"touch {mark}"),
        "eval": Payload(eval, f"__import__('os').system('touch {mark}')"),
        "exec": Payload(exec, write),
        "mkdir": Payload(os.mkdir, str(mark)),
        "value": arrays | {"v_template": Payload(os.system, f"touch {mark}")},
        "unused key": arrays | {"bs_style": Payload(exec, write)},
        "object array": arrays | {"v_template": nested},
        "import": arrays | {"f": Payload(__import__, "os")},
        "own class": Payload(Payload, 1),
    }


@pytest.mark.parametrize("name", hostile("x"))
@pytest.mark.parametrize("suffix", ["pkl", "npz", "pickle"])
def test_a_hostile_pickle_is_refused_and_not_run(tmp_path, name, suffix):
    mark, path = tmp_path / "sprung", tmp_path / f"body.{suffix}"
    path.write_bytes(pickle.dumps(hostile(mark)[name], protocol=2))
    with pytest.raises(InputError, match="asks for .* was not opened") as caught:
        load_body(path)
    assert "\n" not in str(caught.value) and str(path) in str(caught.value)
    assert not mark.exists()


def crashing():
    """Arrays that numpy would take raw bytes, or memory that is nobody's, for the contents of."""
    hidden = Payload(np.dtype, "V8", False, True, state=(3, "|", None, ("a",), {"a": (np.dtype("O"), 0)}, 8, 1, 0))
    (make, arguments, _), elsewhere = np.zeros(0).__reduce__(), Ch(None)
    vars(elsewhere)["__array_interface__"] = {"data": (8, False), "shape": (40, 3), "typestr": "<f8", "version": 3}
    return {"objects over bytes": Payload(np.ndarray, (1,), "O", b"12345678"),
            "a dtype that hides objects": Payload(make, *arguments, state=(1, (1,), hidden, False, b"12345678")),
            "the same in a buffer": Payload(np.zeros(1).__reduce_ex__(5)[0], b"12345678", hidden, (1,), "C"),
            "an address": Ch(elsewhere)}


@pytest.mark.parametrize("name", ["objects over bytes", "a dtype that hides objects", "the same in a buffer", "an address"])
def test_no_array_is_made_over_what_a_pickle_says_is_memory(foreign, tmp_path, name):
    matrix = OldSparse(csc_matrix(np.ones((1, 1))))
    matrix.data = crashing()[name]
    for key, value in (("v_template", matrix.data), ("J_regressor", matrix)):
        (tmp_path / "body.pkl").write_bytes(pickle.dumps(smpl_arrays() | {key: value}))
        with pytest.raises(InputError, match="no SMPL body: (v_template|J_regressor.data) (is no array|holds .*, not numbers)"):
            load_body(tmp_path / "body.pkl")


@pytest.mark.parametrize("protocol", [2, 5])
def test_order_and_bytes_of_an_array_may_be_turned_round(tmp_path, protocol):
    arrays = smpl_arrays()
    turned = arrays | {key: np.asfortranarray(arrays[key]).astype(">f8", order="F") for key in ("v_template", "posedirs")}
    (tmp_path / "SMPL.pkl").write_bytes(pickle.dumps(turned, protocol=protocol))
    assert_is_body_of(load_body(tmp_path / "SMPL.pkl"), arrays, tmp_path)


def test_a_hostile_object_array_in_an_npz_is_refused_and_not_run(tmp_path):
    mark = tmp_path / "sprung"
    nested = np.array([Payload(os.system, f"touch {mark}")], dtype=object)
    np.savez(tmp_path / "body.npz", **smpl_arrays() | {"v_template": nested})
    with pytest.raises(InputError, match="no SMPL body"):
        load_body(tmp_path / "body.npz")
    assert not mark.exists()


NAN = np.full((40, 3), np.nan)
NOT_A_BODY = {
    "no regressor": ({"J_regressor": None}, "no J_regressor"),
    "no faces": ({"f": None}, "no f;"),
    "vertices in the plane": ({"v_template": np.zeros((40, 2))}, r"v_template has shape \(40, 2\)"),
    "weights of another mesh": ({"weights": np.zeros((41, 24))}, r"weights has shape .*V=40"),
    "a hand model's joints": ({"J_regressor": np.zeros((16, 40))}, r"J_regressor has shape \(16, 40\)"),
    "correctives of SMPL-X": ({"posedirs": np.zeros((40, 3, 486))}, "posedirs has shape"),
    "one number for the shape": ({"shapedirs": np.zeros((40, 3))}, "shapedirs has shape"),
    "another tree": ({"kintree_table": np.zeros((2, 24), int)}, "another tree"),
    "NaN": ({"v_template": NAN}, "NaN"),
    "too large for float32": ({"v_template": np.full((40, 3), 1e39)}, "infinite"),
    "text": ({"v_template": np.full((40, 3), "x")}, "not numbers"),
    "a face too far": ({"f": np.array([[0, 1, 40]])}, "outside 0..39"),
    "objects": ({"v_template": np.full((40, 3), None)}, "(not numbers|Object arrays)"),
}


@pytest.mark.parametrize("fault", NOT_A_BODY)
@pytest.mark.parametrize("suffix", ["pkl", "npz"])
def test_arrays_that_are_no_smpl_body_are_told_in_one_line(tmp_path, fault, suffix):
    changes, message = NOT_A_BODY[fault]
    arrays = {key: value for key, value in (smpl_arrays() | changes).items() if value is not None}
    path = tmp_path / f"body.{suffix}"
    if suffix == "pkl":
        path.write_bytes(pickle.dumps(arrays))
    else:
        np.savez(path, **arrays)
    with pytest.raises(InputError, match=message) as caught:
        load_body(path)
    assert "\n" not in str(caught.value) and "leave --body away" in str(caught.value)


def test_broken_body_files_are_told_in_one_line(tmp_path):
    np.savez(tmp_path / "whole.npz", **smpl_arrays())
    whole, pickled = (tmp_path / "whole.npz").read_bytes(), pickle.dumps(smpl_arrays())
    broken = {"empty": b"", "words": b"hello", "half zip": whole[: len(whole) // 2], "half pickle": pickled[:5000],
              "list": pickle.dumps([1, 2]), "array": pickle.dumps(np.zeros(3)), "just PK": b"PK"}
    for name, content in broken.items():
        (tmp_path / name).write_bytes(content)
        with pytest.raises(InputError, match=f"{name}: no SMPL body: .+; pass") as caught:
            load_body(tmp_path / name)
        assert "\n" not in str(caught.value)
    for missing in (tmp_path / "none.pkl", tmp_path):
        with pytest.raises(InputError, match="no such body file"):
            load_body(missing)
