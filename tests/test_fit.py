"""A pose held against a photograph: the camera that took it is found, and a correction goes the right way."""

import numpy as np
import pytest
import roma
import torch

from minirft.body import DATA, JOINT, flip_pose
from minirft.data import load_poses, poses_from
from minirft.evaluate import exam_samples, satisfied_by_kind
from minirft.fit import SURE, best_by_joint, camera, depths_off, landmarks, misfit, refine, refine_to_words, residuals
from minirft.policy import PosePolicy
from minirft.prior import PosePrior
from minirft.retrieval import Panel, Retriever
from minirft.rewards import nearness
from minirft.snapshots import simulate_landmarks
from minirft.vision import HIPS, NAMES, Person

FACING = torch.diag(torch.tensor([1.0, -1.0, -1.0]))  # the root of a body that stands upright and looks into the camera
ARM = [NAMES.index(f"left_{part}") for part in ("elbow", "wrist", "pinky", "index", "thumb")]
HAND, LEGS = ARM[1:], slice(NAMES.index("left_hip"), None)
SHOULDERS = [NAMES.index("left_shoulder"), NAMES.index("right_shoulder")]


@pytest.fixture(scope="module")
def poses(body):
    """Twelve poses (12, 24, 3, 3) as cameras all around see them."""
    return simulate_landmarks(body, load_poses(DATA / "rare.npz").pose[::80][:12], np.random.default_rng(0))[0]


def standing(**turns):
    """A body that looks into the camera, some joints turned by so many radians in the plane of the picture."""
    pose = torch.eye(3).repeat(24, 1, 1)
    pose[0] = FACING
    for name, angle in turns.items():
        pose[JOINT[name]] = roma.rotvec_to_rotmat(torch.tensor([0.0, 0.0, angle]))
    return pose


def together(people):
    """Several Persons as one, for as many poses."""
    return Person(*(np.stack([getattr(p, part) for p in people]) for part in ("image", "world", "visible")), 1.0, None)


def at(points, name):
    return points[..., NAMES.index(name), :]


def test_landmarks_that_are_joints_lie_on_them_and_the_others_where_faces_and_feet_have_them(body, poses):
    points, joints = landmarks(body, poses), body.joints(poses)
    for name in set(NAMES) & set(JOINT):
        torch.testing.assert_close(at(points, name), joints[:, JOINT[name]])
    upright = landmarks(body, torch.eye(3).repeat(24, 1, 1))  # faces +z, y up, +x is its left
    assert at(upright, "nose")[2] > at(upright, "left_eye")[2] > at(upright, "left_ear")[2]
    assert at(upright, "left_eye")[1] > at(upright, "nose")[1] > at(upright, "mouth_left")[1]
    for side, sign in (("left", 1), ("right", -1)):
        heel, toe = at(upright, f"{side}_heel"), at(upright, f"{side}_foot_index")
        assert toe[2] - heel[2] > 0.15 and heel[1] < body.rest[JOINT[f"{side}_ankle"], 1]
        assert sign * at(upright, f"{side}_ear")[0] > sign * at(upright, f"{side}_eye")[0] > 0


def test_a_mirrored_pose_has_mirrored_landmarks(body, poses):
    swap = [NAMES.index(name.replace("left", "*").replace("right", "left").replace("*", "right")) for name in NAMES]
    mirrored = landmarks(body, flip_pose(poses))
    expected = landmarks(body, poses)[:, swap] * torch.tensor([-1.0, 1.0, 1.0])
    assert (mirrored - expected).norm(dim=-1).max() < 0.01  # metres: no body is quite symmetric


@pytest.mark.parametrize(("scale", "shift"), [(100.0, (112.0, 110.0)), (2.5, (4.0, 7.0)), (1300.0, (-250.0, 3000.0))])
def test_the_camera_that_took_the_landmarks_is_found(body, poses, person_of, scale, shift):
    for i, pose in enumerate(poses):
        found, moved = camera(landmarks(body, poses), person_of(body, pose, scale=scale, shift=shift))
        assert found.shape == (12, 1, 1) and moved.shape == (12, 1, 2)
        assert found[i].item() == pytest.approx(scale, rel=1e-4)
        np.testing.assert_allclose(moved[i, 0], shift, atol=1e-3 * scale)  # a millimetre
        assert (found > 0).all()  # for the poses that it did not take, too


def test_the_camera_is_never_upside_down(body, person_of):
    """A body on its head, held against one on its feet: the nearest scale would be negative."""
    on_its_head = standing()
    on_its_head[0] = torch.diag(torch.tensor([-1.0, 1.0, -1.0]))
    scale, shift = camera(landmarks(body, standing()), person_of(body, on_its_head))
    assert scale.item() > 0 and shift.isfinite().all()
    assert misfit(body, standing(), person_of(body, on_its_head)) > 0.1


def test_what_is_surely_visible_counts_most(body, poses, person_of):
    for pose in poses:
        errors, off = [], []
        for sure in (1.0, 0.5, 0.1, 0.0):
            visible = np.ones(33, np.float32)
            visible[ARM] = sure
            person = person_of(body, pose, visible=visible)
            person.image[ARM] += 60  # pixels: an arm that is seen elsewhere
            scale, shift = camera(landmarks(body, pose), person)
            apart = (scale * landmarks(body, pose)[:, :2] + shift).numpy() - person.image
            errors.append(np.linalg.norm(apart[SHOULDERS], axis=-1).mean())
            off.append(misfit(body, pose, person).item())
        assert errors == sorted(errors, reverse=True) and errors[0] > 3 * errors[-1] > 0
        assert off == sorted(off, reverse=True) and off[0] > 2 * off[-1] > 0


def test_the_true_pose_fits_and_a_wrong_one_the_less_the_more_it_is_wrong(body, poses, person_of):
    for pose in poses:
        assert misfit(body, pose, person_of(body, pose)) < 1e-5
        assert residuals(landmarks(body, pose), person_of(body, pose)).max() < 1e-5
    person = person_of(body, standing())
    raised = torch.stack([standing(left_shoulder=angle) for angle in (0.0, 0.15, 0.3, 0.6, 1.2)])
    off = misfit(body, raised, person)
    assert off.shape == (5,) and (off.diff() > 0.003).all()
    gone = residuals(landmarks(body, raised[-1]), person)
    assert gone.argmax().item() in ARM and gone[HAND].min() > 3 * gone[LEGS].max()


def test_the_misfit_is_a_length_over_the_persons_size(body, person_of):
    """One of 33 landmarks, as visible as the others, that is off by a tenth of the person: 0.1 / sqrt(33)."""
    person = person_of(body, standing())
    person.image[NAMES.index("left_wrist"), 0] -= 0.1 * np.ptp(person.image, 0).max()  # inwards: the size stays
    assert misfit(body, standing(), person).item() == pytest.approx(0.1 / 33**0.5, rel=0.1)


def test_neither_resolution_nor_place_nor_the_bodys_size_changes_the_misfit(body, poses, person_of):
    near, far = (torch.stack([misfit(body, poses, person_of(body, pose, scale=scale, shift=shift)) for pose in poses])
                 for scale, shift in ((900.0, (1500.0, -40.0)), (30.0, (20.0, 60.0))))
    off = ~torch.eye(12, dtype=torch.bool)
    assert near[off].min() > 0.01
    torch.testing.assert_close(near[off], far[off], rtol=1e-3, atol=1e-5)


def angle(pose, truth, *names):
    """Mean angle (radians) between some joints' rotations in two poses."""
    index = [JOINT[name] for name in names]
    return roma.rotmat_geodesic_distance(pose[index], truth[index]).mean().item()


def test_refining_goes_to_the_landmarks_and_to_the_truth(body, person_of):
    """Arms and a leg that are off in the plane of the picture, which is what landmarks can tell."""
    truth = standing(left_shoulder=0.9, right_shoulder=-0.2, left_elbow=0.4, right_hip=-0.3)
    start = standing(left_shoulder=0.5, right_shoulder=-0.6, left_elbow=0.0, right_hip=0.0)
    person, kept = person_of(body, truth), start.clone()
    moved = refine(body, start, torch.full((132,), 0.3), person)
    assert torch.equal(start, kept)  # a new pose, not the old one overwritten
    assert misfit(body, moved, person) < 0.25 * misfit(body, start, person)
    wrong = ("left_shoulder", "right_shoulder", "left_elbow", "right_hip")
    assert angle(moved, truth, *wrong) < 0.6 * angle(start, truth, *wrong)
    before, after = (body.joints(pose) for pose in (start, moved))
    error = [(joints - body.joints(truth))[..., :2].norm(dim=-1).mean() for joints in (before, after)]
    assert error[1] < 0.4 * error[0]


def test_refining_poses_of_every_kind_lowers_the_misfit_and_makes_rotations(body, poses, person_of):
    start, generator = poses.clone(), torch.Generator().manual_seed(0)
    start[:, :22] = poses[:, :22] @ roma.rotvec_to_rotmat(0.15 * torch.randn(12, 22, 3, generator=generator))
    person = together([person_of(body, pose) for pose in poses])
    moved = refine(body, start, torch.full((132,), 0.2), person)
    assert (misfit(body, moved, person) < 0.5 * misfit(body, start, person)).all()
    assert moved.shape == (12, 24, 3, 3) and not moved.requires_grad
    torch.testing.assert_close(moved @ moved.transpose(-1, -2), torch.eye(3).expand(12, 24, 3, 3), atol=1e-5, rtol=0)
    torch.testing.assert_close(torch.linalg.det(moved), torch.ones(12, 24), atol=1e-5, rtol=0)
    assert torch.equal(moved[:, 22:], torch.eye(3).expand(12, 2, 3, 3))


def test_many_poses_are_refined_as_each_alone_and_a_missing_one_harms_none(body, poses, person_of):
    people = [person_of(body, pose, scale=scale) for pose, scale in zip(poses[:3], (50.0, 90.0, 500.0))]
    start, std = poses[[1, 2, 0]].clone(), torch.tensor([0.1, 0.2, 0.4])[:, None].expand(3, 132)
    start[1] = torch.nan
    moved = refine(body, start, std, together(people))
    for i in (0, 2):
        torch.testing.assert_close(moved[i], refine(body, start[i], std[i], people[i]), rtol=0, atol=1e-3)
    assert moved[1].isnan().any() and misfit(body, moved, together(people))[1].isnan()


def test_refining_takes_from_metric_landmarks_what_the_picture_cannot_tell(body, person_of):
    """A straight arm comes a little towards the camera or goes away from it: in the picture much the same, in metres not. BlazePose's
    person may be of another size, and one landmark far off in depth pulls little."""
    def reaching(angle):
        pose = standing()
        pose[JOINT["left_shoulder"]] = roma.rotvec_to_rotmat(torch.tensor([0.0, angle, 0.0]))
        return pose

    def wrist_mm(pose):  # of the left wrist in depth
        return 1000 * body.joints(pose)[JOINT["left_wrist"], 2].item()

    start = standing()
    for angle in (0.35, -0.35):
        truth = reaching(angle)
        person = person_of(body, truth)
        person.world = 0.8 * person.world
        person.world[NAMES.index("right_ear"), 2] += 0.8
        moved = refine(body, start, torch.full((132,), 0.3), person)
        assert abs(wrist_mm(start) - wrist_mm(truth)) > 120
        assert abs(wrist_mm(moved) - wrist_mm(truth)) < 60
        person.world[:, 2] = 0.8 * landmarks(body, start)[:, 2]  # no depth seen: it hardly goes there
        assert abs(wrist_mm(refine(body, start, torch.full((132,), 0.3), person)) - wrist_mm(truth)) > 80


def test_depths_are_held_against_blazeposes_hips_on_hips_at_its_own_size(body, poses, person_of):
    people = together([person_of(body, pose) for pose in poses])
    people.world = 1.3 * people.world + np.float32([0.1, -0.2, 3.0])  # as far away as it likes
    assert depths_off(landmarks(body, poses), people).abs().max() < 1e-4
    people.world[:, NAMES.index("left_wrist"), 2] += 0.13
    off = depths_off(landmarks(body, poses), people)
    assert (off[:, NAMES.index("left_wrist")] + 0.1).abs().max() < 0.02 and off[:, NAMES.index("nose")].abs().max() < 0.03
    points = landmarks(body, poses) - landmarks(body, poses)[:, HIPS].mean(1, keepdim=True)
    people.world = -points.numpy()  # the other way up: believed little, and not turned round
    torch.testing.assert_close(depths_off(points, people), 1.3 * points[..., 2], atol=1e-4, rtol=0)


def test_what_the_policy_is_sure_of_hardly_moves(body, person_of):
    """An arm is off. Where the policy is unsure of its shoulder alone that turns; where it is sure of all, it gives way a little
    everywhere, since nobody is believed to be surer than SURE."""
    truth, start = standing(left_shoulder=0.8), standing(left_shoulder=0.4)
    person = person_of(body, truth)
    sure = torch.full((22, 6), 1e-3)
    free = sure.clone()
    free[JOINT["left_shoulder"]] = 0.3
    others = [name for name in JOINT if name != "left_shoulder"]
    moved = refine(body, start, free.flatten(), person)
    assert angle(moved, truth, "left_shoulder") < 0.1 and angle(moved, start, *others) < 0.01
    still = refine(body, start, sure.flatten(), person)
    assert angle(still, truth, "left_shoulder") > 0.25 and misfit(body, still, person) > 2 * misfit(body, moved, person)
    torch.testing.assert_close(still, refine(body, start, torch.full((132,), SURE), person))


def test_a_pose_that_is_right_stays_where_it_is(body, poses, person_of):
    """Whether the camera is as near as expected, or nearer, or so far that there is no perspective."""
    for away, tolerance in ((4.0, 0.01), (2.8, 0.03), (np.inf, 0.06)):
        moved = refine(body, poses, torch.full((132,), 0.3), together([person_of(body, pose, away=away) for pose in poses]))
        assert max(angle(*pair, *JOINT) for pair in zip(moved, poses)) < tolerance


def test_the_root_stays_and_a_landmark_that_is_far_off_pulls_no_more_than_others(body, poses, person_of):
    people = [person_of(body, pose, away=4.0) for pose in poses]
    start = poses.clone()
    start[:, 0] = start[:, 0] @ roma.rotvec_to_rotmat(torch.tensor([0.0, 0.3, 0.0]))
    turned = refine(body, start, torch.full((132,), 0.2), together(people))
    torch.testing.assert_close(turned[:, 0], start[:, 0], atol=1e-5, rtol=0)
    for person in people:
        person.image[NAMES.index("left_wrist")] += np.ptp(person.image, 0).max()  # seen a person's height elsewhere
    moved = refine(body, poses, torch.full((132,), 0.2), together(people))
    assert np.median([angle(*pair, *JOINT) for pair in zip(moved, poses)]) < 0.15


def test_of_draws_each_lends_the_joint_that_is_right_and_no_other(body, person_of):
    """One draw turns the left shoulder the right way and the right one the wrong way, another the other way about."""
    mean, truth = standing(), standing(left_shoulder=0.2, right_shoulder=-0.2)
    one, other = standing(left_shoulder=0.6, right_shoulder=0.9), standing(left_shoulder=-0.9, right_shoulder=-0.6)
    one[0] = other[0] = FACING @ roma.rotvec_to_rotmat(torch.tensor([0.0, 0.5, 0.0]))
    person, std = person_of(body, truth), torch.full((132,), 0.3)
    drawn = torch.stack([mean, one, torch.full_like(mean, torch.nan), other])
    found = best_by_joint(body, drawn, std, person)
    assert angle(found, truth, *JOINT) < 0.02 and torch.equal(found[0], mean[0])
    assert misfit(body, found, person) < 0.1 * misfit(body, drawn[[0, 1, 3]], person).min()
    torch.testing.assert_close(best_by_joint(body, drawn[:1], std, person), mean)
    too_sure, sure = (best_by_joint(body, drawn, torch.full((132,), value), person) for value in (1e-4, SURE))
    torch.testing.assert_close(too_sure, sure)
    many = Person(*(np.stack([part, part])[:, None] for part in (person.image, person.world, person.visible)), 1.0, None)
    absent = torch.stack([drawn, drawn.roll(2, 0)])  # of the second the mean pose is missing
    both = best_by_joint(body, absent, std.expand(2, 132), many)
    torch.testing.assert_close(both[0], found)
    assert both[1, :22].isnan().all()


def test_an_answer_without_a_pose_has_no_misfit(body, person_of):
    both = torch.stack([standing(), torch.full((24, 3, 3), torch.nan)])
    off = misfit(body, both, person_of(body, standing()))
    assert off[0] < 1e-5 and off[1].isnan()


def test_landmarks_of_a_network_are_taken_as_they_come(body, poses, person_of):
    """BlazePose gives float64 places and float32 visibilities; a photograph has thousands of pixels."""
    exact = person_of(body, poses[0], scale=1000.0, shift=(2000.0, 1500.0))
    person = Person(exact.image.astype(np.float64), exact.world, exact.visible, 1.0, exact.region)
    assert misfit(body, poses, person).dtype == torch.float32
    torch.testing.assert_close(misfit(body, poses, person), misfit(body, poses, exact))


@pytest.fixture(scope="module")
def asked(body):
    """Forty questions about sampled poses, what mini-sft answers, (40, 2, 24, 3, 3), one of them no pose, and its std."""
    poses = PosePrior.load().sample(40, generator=torch.Generator().manual_seed(0))
    samples, policy = exam_samples(poses, torch.arange(40), body=body, seed=0), PosePolicy.from_pretrained("mini-sft")
    pose, std = policy.generate([s.question for s in samples], n=2)[0], policy.gaussian([s.question for s in samples])[1]
    pose[3, 1] = torch.nan
    return samples, pose, std


def test_words_move_poses_to_what_they_say_as_statements_and_the_judge_see_it_too(body, asked):
    samples, pose, std = asked
    said, panel, prior, judge = [s.caption for s in samples], Panel.load(), PosePrior.load(), Retriever.load("judge")
    moved = refine_to_words(body, pose, std, said, panel, prior)
    gone = moved.isnan().flatten(2).any(-1)
    assert gone[3, 1] and gone.sum() == 1
    torch.testing.assert_close((moved @ moved.mT)[:, 0], torch.eye(3).expand(40, 24, 3, 3), atol=1e-4, rtol=0)

    def seen(poses):
        joints, missing = body.joints(poses), torch.zeros(40, 1, dtype=torch.bool)
        liked = [(model.embed_text(said) * model.embed_pose(poses[:, 0], joints[:, 0])).sum(-1).mean() for model in (panel, judge)]
        return *liked, satisfied_by_kind(joints, missing, samples)["unrewarded"], prior.plausible(poses).float().mean()

    before, after = seen(pose[:, :1]), seen(moved[:, :1])
    assert after[0] > before[0] + 0.05 and after[1] > before[1]
    assert after[2] > before[2] + 0.03 and after[3] >= before[3] - 0.05


def test_a_policy_that_is_sure_is_left_nearly_where_it_was(body, asked):
    samples, pose, std = asked
    settings = [s.caption for s in samples], Panel.load(), PosePrior.load()
    far, near = (refine_to_words(body, pose[:, :1], std * scale, *settings) - pose[:, :1] for scale in (1.0, 0.02))
    assert near.abs().mean() < 0.3 * far.abs().mean()


def test_a_pose_goes_the_same_way_whatever_stands_beside_it(body, asked):
    """But for the shakes, which are drawn for all: the same pose twice differs by them alone."""
    samples, pose, std = asked
    both = pose[:8, :1].expand(-1, 2, -1, -1, -1)
    moved = refine_to_words(body, both, std[:8], [s.caption for s in samples[:8]], Panel.load(), PosePrior.load())
    assert (moved[:, 0] - moved[:, 1]).abs().mean() < 0.5 * (moved - both).abs().mean()


def test_words_move_poses_less_far_from_what_bodies_do_where_that_is_known_and_as_much_holds(body, asked):
    samples, pose, std = asked
    settings = [s.caption for s in samples], Panel.load(), PosePrior.load()
    known, start, absent = body.joints(poses_from("prior", 1)), pose[:, :1], torch.zeros(40, 1, dtype=torch.bool)
    free, held = (refine_to_words(body, start, std, *settings, known=those) for those in (None, known))
    at_first, far, near = (-nearness(body.joints(poses), known).mean() for poses in (start, free, held))
    assert far > 1.2 * at_first and near < 0.5 * (far + at_first)
    before, without, after = (satisfied_by_kind(body.joints(poses), absent, samples)["unrewarded"] for poses in (start, free, held))
    assert after > before + 0.03 and after > without - 0.03
