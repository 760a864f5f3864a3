"""The prior draws rotations, ranks real above broken, and finds what capture lacks; the rare poses are what they say."""

import importlib.util
from pathlib import Path

import pytest
import roma
import torch

from minirft import captions
from minirft.body import DATA, JOINT, JOINT_NAMES, canonical_yaw, from_6d, to_6d, to_axis_angle, to_matrix
from minirft.errors import InputError
from minirft.files import load_npz
from minirft.prior import PosePrior

# The search is of the build scripts, which are no package.
_SPEC = importlib.util.spec_from_file_location("search", Path(__file__).parents[1] / "data" / "build" / "search.py")
searching = importlib.util.module_from_spec(_SPEC)
_SPEC.loader.exec_module(searching)


@pytest.fixture(scope="module")
def prior():
    return PosePrior.load()


@pytest.fixture(scope="module")
def rare():
    arrays = load_npz(DATA / "rare.npz", {"pose": ("float", "M", 72), "statement": ("str", "M")})
    return to_matrix(torch.from_numpy(arrays["pose"])), arrays["statement"]


def seeded(seed=0):
    return torch.Generator().manual_seed(seed)


def test_samples_are_rotations_without_yaw_and_with_hands_at_rest(prior):
    pose = prior.sample(50, generator=seeded())
    assert pose.shape == (50, 24, 3, 3) and roma.is_rotation_matrix(pose.flatten(0, 1), 1e-4)
    assert torch.allclose(canonical_yaw(pose), pose, atol=1e-5)
    assert torch.equal(pose[:, 22:], torch.eye(3).expand(50, 2, 3, 3))


def test_the_same_generator_gives_the_same_samples_and_another_gives_others(prior):
    first = prior.sample(4, generator=seeded(3))
    assert torch.equal(first, prior.sample(4, generator=seeded(3)))
    assert (first - prior.sample(4, generator=seeded(4))).abs().amax((1, 2, 3)).min() > 0.1


def test_encoding_and_decoding_a_sample_loses_two_centimetres_at_most(prior, body):
    pose = prior.sample(200, generator=seeded())
    missed = (body.joints(pose) - body.joints(prior.decode(prior.encode(pose)))).norm(dim=-1).mean(-1)
    assert missed.mean() < 0.01 and missed.quantile(0.95) < 0.02


def test_decoding_lets_gradients_through_and_keeps_the_root_of_any_body(prior):
    root = roma.random_rotmat(100, generator=seeded())
    pose = canonical_yaw(torch.cat([root[:, None], prior.sample(100, generator=seeded())[:, 1:]], dim=1))
    latent = prior.encode(pose).requires_grad_(True)
    back = prior.decode(latent)
    assert torch.allclose(back[:, 0], pose[:, 0], atol=1e-4)  # standing, lying, upside down
    back.square().sum().backward()
    assert torch.isfinite(latent.grad).all() and latent.grad.abs().sum() > 0


def broken_poses(pose):
    """Poses (M, 24, 3, 3) spoilt in ways that no body can follow."""
    count, generator = len(pose), seeded(1)
    noise = torch.randn(count, 24, 6, generator=generator) * (torch.arange(24) < 22)[:, None]
    order = torch.rand(count, 21, generator=generator).argsort(1) + 1
    bent = pose.clone()
    bent[:, JOINT["right_knee"]] = roma.rotvec_to_rotmat(torch.tensor([-0.9, 0.0, 0.0]))
    twisted = pose.clone()
    twisted[:, JOINT["left_elbow"]] = pose[:, JOINT["left_elbow"]] @ roma.rotvec_to_rotmat(torch.tensor([2.0, 0.0, 0.0]))
    return {"noise .1": from_6d(to_6d(pose) + 0.1 * noise), "noise .3": from_6d(to_6d(pose) + 0.3 * noise),
            "permuted": torch.cat([pose[:, :1], pose[torch.arange(count)[:, None], order], pose[:, 22:]], dim=1),
            "knee bent back": bent, "elbow twisted": twisted}


def check_order(prior, pose):
    real = prior.evidence(pose)
    assert prior.plausible(pose).float().mean() > 0.95
    for name, spoilt in broken_poses(pose).items():
        assert (real[:, None] > prior.evidence(spoilt)).float().mean() > 0.97, name
        assert prior.plausible(spoilt).float().mean() < 0.2, name


def test_broken_poses_score_below_samples(prior):
    check_order(prior, prior.sample(300, generator=seeded()))


def test_broken_poses_score_below_real_ones_of_subjects_never_trained_on(prior, shared):
    from minirft.motion import read_motion

    path = shared / "data" / "cmu" / "bvh" / "06" / "06_01.bvh"
    check_order(prior, canonical_yaw(read_motion(path).pose[::10]))


def test_the_score_knows_no_yaw_and_gives_nothing_for_blandness(prior):
    pose = prior.sample(50, generator=seeded())
    turn = roma.rotvec_to_rotmat(torch.tensor([0.0, 1.1, 0.0]))
    turned = torch.cat([(turn @ pose[:, 0])[:, None], pose[:, 1:]], dim=1)
    assert torch.allclose(prior.score(turned), prior.score(pose), atol=1e-3)
    blandest = prior.decode(prior.centre[prior.log_weight.argmax()])
    assert prior.evidence(blandest) > prior.typical[0] and prior.score(blandest) == 0


def test_search_finds_plausible_different_poses_in_which_the_statements_hold(prior, body):
    wanted = ["left_kneeling", "right_arm_forward"]
    pose = searching.search(prior, wanted, 4, body=body, generator=seeded())
    joints = body.joints(pose)
    assert len(pose) == 4 and captions.satisfied(wanted, joints).all() and prior.plausible(pose).all()
    assert (searching.imbalance(joints) < 0.05).all()
    apart = (joints[:, None] - joints).norm(dim=-1).mean(-1) + torch.eye(4)
    assert apart.min() > 0.03


def test_search_for_what_contradicts_itself_finds_nothing(prior, body):
    assert len(searching.search(prior, ["left_knee_straight", "left_knee_fully_bent"], 2, body=body, generator=seeded())) == 0


def test_a_body_falls_over_once_its_mass_is_beside_its_feet(body):
    upright = to_matrix(torch.zeros(72))
    leaning = upright.clone()
    leaning[0] = roma.rotvec_to_rotmat(torch.tensor([0.6, 0.0, 0.0]))
    fall = searching.imbalance(body.joints(torch.stack([upright, leaning])))
    assert fall[0] == 0 and fall[1] > 0.2


def test_limb_distances_agree_with_the_nearest_of_many_points(prior, body):
    joints = body.joints(prior.sample(5, generator=seeded()))
    along = torch.linspace(0, 1, 101)[:, None]
    for index in (0, 7, 20, len(searching.PAIRS) - 1):
        one, two = ([joints[:, None, a] * (1 - along) + joints[:, None, b] * along]
                    for a, b in (searching.LIMBS[i] for i in searching.PAIRS[index]))
        tried = torch.cdist(one[0], two[0]).amin((1, 2))
        assert torch.allclose(searching.limb_distances(joints)[:, index], tried, atol=6e-3)


@pytest.mark.parametrize("content", [b"", b"not safetensors", None])
def test_a_file_that_is_no_prior_is_one_clear_line(tmp_path, content):
    from safetensors.torch import save_file

    path = tmp_path / "prior.safetensors"
    if content is None:
        save_file({"centre": torch.zeros(3, 32), "mean": torch.zeros(5)}, path)
    else:
        path.write_bytes(content)
    with pytest.raises(InputError, match="prior.safetensors") as caught:
        PosePrior.load(path)
    assert "\n" not in str(caught.value)


def test_a_missing_file_and_a_cut_one_are_input_errors(tmp_path):
    with pytest.raises(InputError, match="nowhere"):
        PosePrior.load(tmp_path / "nowhere.safetensors")
    (tmp_path / "cut.safetensors").write_bytes((DATA / "prior.safetensors").read_bytes()[:100_000])
    with pytest.raises(InputError, match="cut"):
        PosePrior.load(tmp_path / "cut.safetensors")


def test_rare_poses_satisfy_the_statements_they_are_filed_under(rare, body):
    pose, labels = rare
    holds = captions.holds(body.joints(pose))
    wrong = {label for label, row in zip(labels, holds) if not all(row[captions.INDEX[name]] for name in label.split())}
    assert not wrong and len(pose) > 2000


def test_rare_poses_are_plausible_and_bend_no_joint_as_real_bodies_do_not(rare, body, prior):
    pose, _ = rare
    score = prior.score(pose)
    assert (score > -1).float().mean() > 0.9 and score.min() > -5.1  # splits and crossed legs are like nothing in capture
    excess = searching.excess(prior, pose, body.joints(pose))
    assert excess[:, :63].max() < 0.11 and excess[:, 63:].max() < 0.02
    vector = to_axis_angle(pose).unflatten(-1, (24, 3))
    for name in ("left_knee", "right_knee"):
        assert vector[:, JOINT[name], 0].min() > -0.15 and vector[:, JOINT[name]].norm(dim=-1).max() < 2.8
    for name, sign in (("left_elbow", -1), ("right_elbow", 1)):
        assert (sign * vector[:, JOINT[name], 1]).min() > -0.5 and vector[:, JOINT[name]].norm(dim=-1).max() < 2.8
    hands = [i for i, name in enumerate(JOINT_NAMES) if name.endswith("hand")]
    assert vector[:, hands].abs().max() == 0 and torch.allclose(canonical_yaw(pose), pose, atol=1e-3)
