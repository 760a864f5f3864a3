"""Make data/rare.npz: poses that motion capture lacks, found by searching the pose prior.

    python data/build/rare.py TRAIN.npz data/rare.npz [--sheet DIR]

For each line of RECIPES, and for each statement that fewer than 60 of TRAIN.npz's poses satisfy (mirror images counted),
up to 25 poses in which the statements hold, which the prior finds plausible, which keep their balance and which bend no
joint and cross no limbs as captured people do not; those with a side also mirrored. Postures that capture has nothing
near to (lying, on the hands) start from angles set by hand below. About three minutes on one core.
Writes pose (M, 72) axis-angle and statement (M,), the names that hold, space between. --sheet draws some of each.
"""

import argparse
import time
from pathlib import Path

import numpy as np
import torch

from minirft import captions
from minirft.body import JOINT, JOINT_NAMES, canonical_yaw, flip_pose, load_body, to_axis_angle, to_matrix
from minirft.data import load_poses
from minirft.files import save_npz
from minirft.prior import PosePrior
from search import choose, near_samples, settle

ENOUGH = 60  # training poses that need no help
STARTED, WANTED = 50, 25  # poses a recipe sets out with, and keeps at most
HAND_MADE = -5.0  # least score of what set out from STARTS: splits and crossed legs are nothing capture has
GROUP = 8  # recipes searched side by side: five times as fast as one by one
ARMS = [JOINT[n] for n in JOINT_NAMES if n.split("_")[-1] in ("collar", "shoulder", "elbow", "wrist", "neck", "head")]
# Turns in degrees, one after the other: joint x y z; both_ is left_ and its mirror image. Left: arm forward is y -90, arm
# down z -70, thigh up x -90; knees bend with +x; root x 90 lies face down. A star: the search may take arms from samples.
STARTS = """
*kneel: both_knee 95 0 0, both_ankle 35 0 0
*heels: both_hip -45 0 0, both_knee 138 0 0, both_ankle 35 0 0
*one_knee: left_knee 95 0 0, left_ankle 30 0 0, right_hip -90 0 0, right_knee 90 0 0
*stretched: both_hip -85 0 0, both_knee 5 0 0
*knees_up: pelvis -15 0 0, both_hip -110 0 0, both_knee 105 0 0
*cross: both_hip 0 50 0, both_hip -85 0 0, both_hip 0 70 0, both_knee 125 0 0
*back: pelvis -90 0 0, both_knee 8 0 0
back_knees: pelvis -90 0 0, both_hip -50 0 0, both_knee 95 0 0, both_shoulder 0 0 -60
front: pelvis 90 0 0, both_shoulder 0 -30 40, head 0 45 0, both_knee 5 0 0, both_ankle 35 0 0
side: pelvis 0 0 -90, both_hip -45 0 0, both_knee 70 0 0, both_shoulder 0 -80 0, both_elbow 0 -70 0
fours: pelvis 88 0 0, both_hip -88 0 0, both_knee 90 0 0, both_ankle 35 0 0, both_shoulder 0 -88 0, head -30 0 0
plank: pelvis 72 0 0, both_shoulder 0 -80 0, both_ankle -30 0 0, head -25 0 0
dog: pelvis 125 0 0, both_hip -88 0 0, both_knee 5 0 0, both_shoulder 0 -60 60, both_ankle -25 0 0
hands: pelvis 178 0 0, both_shoulder 0 -50 75, head -25 0 0, both_knee 5 0 0
fly: pelvis 85 0 0, both_shoulder 0 -60 65, head -40 0 0, both_knee 5 0 0, both_ankle 30 0 0
toes: pelvis 60 0 0, both_hip -70 0 0, spine1 45 0 0, spine3 15 0 0, both_knee 8 0 0, both_shoulder 0 -85 0
side_split: both_hip 0 0 64, both_knee 5 0 0
front_split: left_hip -75 0 0, right_hip 62 0 0, pelvis 5 0 0
"""
# Statements that shall hold together; after @ the start. Standing upright and the like only set the scene.
RECIPES = """
kneeling torso_upright @ kneel
kneeling left_arm_straight_up right_arm_straight_up torso_upright @ kneel
kneeling left_arm_raised right_arm_raised @ kneel
kneeling left_hand_on_thigh right_hand_on_thigh @ kneel
kneeling praying torso_upright @ kneel
kneeling hands_behind_head torso_upright @ kneel
kneeling akimbo torso_upright @ kneel
kneeling left_arm_sideways right_arm_sideways @ kneel
kneeling left_arm_forward right_arm_forward torso_upright @ kneel
kneeling left_waving @ kneel
sitting_on_heels @ heels
sitting_on_heels left_hand_on_thigh right_hand_on_thigh @ heels
left_kneeling torso_upright @ one_knee
left_kneeling right_arm_forward @ one_knee
left_kneeling left_arm_raised @ one_knee
left_kneeling praying torso_upright @ one_knee
sitting_legs_stretched feet_on_ground @ stretched
sitting_legs_stretched left_hand_on_ground right_hand_on_ground feet_on_ground @ stretched
sitting_legs_stretched left_hand_on_foot right_hand_on_foot feet_on_ground @ stretched
sitting_legs_stretched left_arm_raised right_arm_raised feet_on_ground @ stretched
sitting_knees_up feet_on_ground @ knees_up
sitting_knees_up left_hand_on_knee right_hand_on_knee feet_on_ground @ knees_up
sitting_cross_legged torso_upright @ cross
sitting_cross_legged left_hand_on_knee right_hand_on_knee torso_upright @ cross
sitting_cross_legged praying torso_upright @ cross
sitting_cross_legged left_arm_raised right_arm_raised torso_upright @ cross
sitting_on_floor torso_upright feet_on_ground @ stretched
lying_on_back @ back
lying_on_back @ back_knees
lying_on_back left_arm_sideways right_arm_sideways @ back
lying_on_back left_knee_straight right_knee_straight @ back
lying_on_back hands_behind_head @ back
lying_on_back left_arm_past_head right_arm_past_head @ back
lying_on_front @ front
lying_on_left_side @ side
all_fours @ fours
all_fours left_arm_past_head @ fours
plank @ plank
downward_dog feet_on_ground @ dog
handstand @ hands
upside_down @ hands
childs_pose @ fours
flying left_arm_past_head right_arm_past_head lying_on_front @ fly
flying standing_on_left_leg
touching_toes left_knee_straight right_knee_straight @ toes
touching_toes
deep_bow left_hand_on_ankle right_hand_on_ankle @ toes
side_splits torso_upright @ side_split
side_splits left_arm_raised right_arm_raised @ side_split
left_front_splits @ front_split
left_front_splits left_arm_raised right_arm_raised @ front_split
sitting_on_chair left_hand_on_knee right_hand_on_knee
sitting_on_chair arms_folded
sitting_on_chair left_arm_raised right_arm_raised
sitting_on_chair left_thinking
sitting_on_chair left_arm_forward right_arm_forward
sitting_on_chair hands_behind_head
squatting left_arm_forward right_arm_forward torso_upright
squatting hands_on_head
squatting left_arm_raised right_arm_raised
squatting akimbo
half_squat left_arm_forward right_arm_forward
left_kick_forward torso_upright
left_kick_forward left_thigh_level standing_on_right_leg
left_kick_forward boxing_guard
left_kick_side torso_upright
left_kick_side boxing_guard
left_kick_back
left_leg_forward left_arm_sideways right_arm_sideways standing_on_right_leg
left_leg_sideways left_arm_sideways right_arm_sideways standing_on_right_leg
left_knee_raised left_arm_sideways right_arm_sideways
left_tree praying
left_tree left_arm_raised right_arm_raised
left_flamingo left_arm_sideways right_arm_sideways
left_lunge akimbo torso_upright
left_lunge left_arm_raised right_arm_raised
left_lunge left_arm_forward right_arm_forward
left_side_lunge
left_warrior torso_upright
star torso_upright
hands_joined_overhead standing_upright
arms_folded torso_leaning_back
arms_folded standing_upright
hugging_oneself standing_upright
hands_on_head standing_upright
hands_behind_head standing_upright
hands_behind_back standing_upright
akimbo standing_upright
covering_face standing_upright
praying standing_upright
left_salute standing_upright
left_phone standing_upright
left_thinking standing_upright
left_waving standing_upright
left_pointing_up standing_upright
left_pointing_forward standing_upright
left_punch
left_archer
y_pose standing_upright
a_pose standing_upright
t_pose standing_upright
zombie standing_upright
flexing standing_upright
shrug standing_upright
left_hand_on_shoulder standing_upright
left_hand_on_right_shoulder standing_upright
left_hand_on_chest standing_upright
left_hand_on_belly standing_upright
left_hand_on_hip standing_upright
left_elbow_to_right_knee standing_on_left_leg
"""


def read_starts():
    """STARTS as poses: {name: ((24, 3, 3), whether arms may come from samples)}."""
    starts = {}
    for line in STARTS.strip().splitlines():
        name, turns = line.split(": ")
        pose = to_matrix(torch.zeros(72))
        for turn in turns.split(", "):
            joint, *degrees = turn.split()
            rotation = to_matrix(torch.tensor([float(d) for d in degrees]).deg2rad())[0]
            mirror = torch.tensor([-1.0, 1.0, 1.0])
            if joint.startswith("both"):
                right = JOINT[joint.replace("both", "right")]
                pose[right] = pose[right] @ (rotation * mirror[:, None] * mirror)
            left = JOINT[joint.replace("both", "left")]
            pose[left] = pose[left] @ rotation
        starts[name.lstrip("*")] = canonical_yaw(pose), name[0] == "*"
    return starts


def starting_poses(prior, start, generator):
    """STARTED poses (M, 24, 3, 3) like a start of read_starts, with arms of samples where they may come from them."""
    pose, free_arms = start
    poses = pose.expand(STARTED, 24, 3, 3).clone()
    if free_arms:
        poses[:, ARMS] = prior.sample(STARTED, generator=generator)[:, ARMS]
    return poses


def written(pose, statements, body):
    """Poses as axis-angle (M, 72) in thousandths of a radian, for a small file; those left out that no longer hold.

    At a statement's edge rounding matters, and so does mirroring, since the body is not quite symmetric.
    """
    vector = (to_axis_angle(pose).double() * 1000).round().div(1000).float()
    return vector[captions.satisfied(statements, body.joints(to_matrix(vector))).all(-1)]


def scarce(train, body):
    """Names of statements that fewer than ENOUGH poses of (M, 24, 3, 3) or their mirror images satisfy."""
    count = captions.holds(body.joints(torch.cat([train, flip_pose(train)]))).sum(0)
    return [s.name for s, n in zip(captions.STATEMENTS, count.tolist()) if n < ENOUGH]


def recipes(scarce_names):
    """(statements, start or None) of every search: RECIPES, and each scarce statement that none of them is for."""
    lines = [line.split(" @ ") for line in RECIPES.strip().splitlines()]
    made = [(line[0].split(), line[1] if len(line) > 1 else None) for line in lines]
    named = {name for names, _ in made for name in names}
    named |= {captions.swap_sides(name) for name in named}
    made += [([name], None) for name in scarce_names if name not in named and not name.startswith("right")]
    return made


def searched(prior, body, lines, generator):
    """For each (statements, start or None): the statements, how many set out and got there, and the poses kept."""
    starts = read_starts()
    for first in range(0, len(lines), GROUP):
        group = lines[first : first + GROUP]
        begin = [starting_poses(prior, starts[start], generator) if start
                 else near_samples(prior, statements, STARTED, body=body, generator=generator) for statements, start in group]
        wanted = [statements for statements, _ in group for _ in range(STARTED)]
        poses, reached = settle(prior, torch.cat(begin), wanted, body=body, generator=generator)
        for (statements, start), made, there in zip(group, poses.split(STARTED), reached.split(STARTED)):
            floor = HAND_MADE if start else -1.0
            yield statements, int(there.sum()), choose(prior, made[there], WANTED, body=body, floor=floor)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("train")
    parser.add_argument("out")
    parser.add_argument("--sheet", type=Path)
    args = parser.parse_args()
    began, prior, body = time.time(), PosePrior.load(), load_body()
    names = scarce(load_poses(args.train).pose, body)
    found, labels, shown = [], [], []
    for statements, reached, kept in searched(prior, body, recipes(names), torch.Generator().manual_seed(0)):
        label = " ".join(statements)
        print(f"{label:75} reached {reached:3} kept {len(kept):3}  {time.time() - began:5.0f} s", flush=True)
        shown += [(label, pose) for pose in kept[torch.linspace(0, len(kept) - 1, min(3, len(kept))).long()]]
        for name in dict.fromkeys((label, captions.swap_sides(label))):
            found.append(written(kept if name == label else flip_pose(kept), name.split(), body))
            labels += [name] * len(found[-1])
    vector = torch.cat(found)
    save_npz(args.out, pose=vector.numpy(), statement=np.array(labels))
    count = captions.holds(body.joints(to_matrix(vector))).sum(0)[[captions.INDEX[n] for n in names]]
    print(f"{len(vector)} poses; still scarce:", *(f"{n} {c}" for n, c in zip(names, count.tolist()) if c < 40))
    if args.sheet:
        draw(body, shown, args.sheet)


def draw(body, shown, folder):
    """Contact sheets of (label, pose) pairs, to look at: no number tells an odd pose as well."""
    from minirft.render import pose_sheet

    for page, first in enumerate(range(0, len(shown), 84)):
        labels, poses = zip(*shown[first : first + 84])
        pose_sheet(body, torch.stack(poses), list(labels), path=folder / f"rare{page}.png", columns=6)


if __name__ == "__main__":
    torch.set_num_threads(1)
    main()
