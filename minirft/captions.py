"""What can be said of a pose, and whether a pose satisfies it.

A *quantity* is one real measure of the joints (an angle, a distance, a signed offset, a height). A *statement* is an interval of one
quantity, or a conjunction of intervals that has an everyday name (a lunge). The words for it are in phrases.py. Kinds and first thresholds
follow the posecode idea (PoseScript, ECCV 2022); the lists, the numbers and the words here are our own.

Axes. "Up", "raised", "lean" and heights mean the world's vertical (+Y): that is what people say of someone bowing or lying. "In front of",
"forward", "to the side" of arms and hands mean the torso's own axes (front, left_side, right_side, crown = from the hips to the shoulders).
For the legs and for the torso's lean they mean the level heading of the hips (ahead, left_aside, right_aside): a bow does not turn the feet.
"""
import re
from typing import NamedTuple

import torch

from minirft.body import JOINT, InputError
from minirft.phrases import Unit, compose, pick, read_table, words_of

KINDS = ("angle", "distance", "relative", "direction", "ground", "whole")
INFINITY = float("inf")

# name: kind of measure, points, axis. `s_` stands for either side, `o_` for the other one. Angles are written in degrees below, kept in radians.
MEASURES = """
s_elbow angle s_shoulder s_elbow s_wrist
s_knee angle s_hip s_knee s_ankle
s_lap angle s_shoulder s_hip s_knee
s_upperarm_up direction s_shoulder s_elbow up
s_upperarm_crown direction s_shoulder s_elbow crown
s_upperarm_front direction s_shoulder s_elbow front
s_upperarm_out direction s_shoulder s_elbow s_side
s_forearm_up direction s_elbow s_wrist up
s_forearm_front direction s_elbow s_wrist front
s_forearm_in direction s_elbow s_wrist o_side
s_arm_up direction s_shoulder s_wrist up
s_arm_crown direction s_shoulder s_wrist crown
s_arm_front direction s_shoulder s_wrist front
s_arm_out direction s_shoulder s_wrist s_side
s_thigh_up direction s_hip s_knee up
s_thigh_ahead direction s_hip s_knee ahead
s_thigh_out direction s_hip s_knee s_aside
s_shin_up direction s_knee s_ankle up
s_leg_up direction s_hip s_ankle up
s_leg_ahead direction s_hip s_ankle ahead
s_leg_out direction s_hip s_ankle s_aside
torso_up direction mid_hip mid_shoulder up
torso_ahead direction mid_hip mid_shoulder ahead
torso_s direction mid_hip mid_shoulder s_aside
belly_up direction spine3 breast up
s_flank_up direction o_shoulder s_shoulder up
s_shoulder_ahead direction o_shoulder s_shoulder ahead
head_front direction neck skull front
head_s direction neck skull s_side
hands distance left_hand right_hand
elbows distance left_elbow right_elbow
ankles distance left_ankle right_ankle
knees distance left_knee right_knee
s_hand_shoulder distance s_hand s_shoulder
s_hand_o_shoulder distance s_hand o_shoulder
s_hand_o_elbow distance s_hand o_elbow
s_hand_o_upperarm distance s_hand o_upperarm
s_hand_waist distance s_hand s_waist
s_hand_thigh distance s_hand s_thigh
s_hand_knee distance s_hand s_knee
s_hand_o_knee distance s_hand o_knee
s_hand_ankle distance s_hand s_ankle
s_hand_foot distance s_hand s_foot
s_hand_o_foot distance s_hand o_foot
s_hand_skull distance s_hand skull
s_hand_mouth distance s_hand mouth
s_hand_temple distance s_hand s_temple
s_hand_nape distance s_hand nape
s_hand_chest distance s_hand chest
s_hand_belly distance s_hand belly
s_hand_back distance s_hand back
s_elbow_knee distance s_elbow s_knee
s_elbow_o_knee distance s_elbow o_knee
s_ankle_o_knee distance s_ankle o_knee
s_ankle_seat distance s_ankle s_hip
s_hand_over_skull offset s_hand skull up
s_hand_over_shoulder offset s_hand s_shoulder up
s_hand_over_hip offset s_hand s_hip up
s_hand_over_knee offset s_hand s_knee up
s_hand_over_o_hand offset s_hand o_hand up
s_hand_front offset s_hand mid_shoulder front
s_hand_waist_front offset s_hand mid_hip front
s_hand_before_o_hand offset s_hand o_hand front
s_hand_out offset s_hand mid_shoulder s_side
s_hand_crown offset s_hand mid_shoulder crown
s_elbow_over_shoulder offset s_elbow s_shoulder up
s_elbow_front offset s_elbow s_shoulder front
s_elbow_out offset s_elbow s_shoulder s_side
s_ankle_over_o_ankle offset s_ankle o_ankle up
s_ankle_ahead_o_ankle offset s_ankle o_ankle ahead
feet_crossed offset left_ankle right_ankle right_aside
s_knee_ahead_o_knee offset s_knee o_knee ahead
s_knee_over_o_knee offset s_knee o_knee up
s_knee_over_hip offset s_knee s_hip up
s_foot_height offset s_foot floor up
s_ankle_height offset s_ankle floor up
s_knee_height offset s_knee floor up
s_hand_height offset s_hand floor up
s_elbow_height offset s_elbow floor up
s_shoulder_height offset s_shoulder floor up
pelvis_height offset pelvis floor up
head_height offset head floor up
head_over_hip offset skull mid_hip up
seat_ahead offset pelvis mid_ankle ahead
"""
POINTS = tuple(JOINT) + tuple("mid_hip mid_shoulder mid_ankle breast chest belly back skull mouth nape floor left_waist right_waist left_temple right_temple "
                              "left_thigh right_thigh left_upperarm right_upperarm".split())
AXES = tuple("up ahead left_aside right_aside front crown left_side right_side".split())


def _unit(vector):
    return vector / (vector.square().sum(-1, keepdim=True) + 1e-10).sqrt()


def _points_and_axes(joints):
    """Joints (..., 24, 3) and the points and axes derived from them: (..., P, 3) in the order of POINTS and (..., A, 3) in that of AXES."""
    at = {name: joints[..., index, :] for name, index in JOINT.items()}
    mid_hip = (at["left_hip"] + at["right_hip"]) / 2
    mid_shoulder = (at["left_shoulder"] + at["right_shoulder"]) / 2
    up = torch.zeros_like(mid_hip)
    up[..., 1] = 1
    hips = _unit(at["left_hip"] - at["right_hip"])
    ahead = _unit(torch.linalg.cross(hips, up))
    aside = torch.linalg.cross(up, ahead)
    crown = _unit(mid_shoulder - mid_hip)
    side = hips + _unit(at["left_shoulder"] - at["right_shoulder"])  # a twisted torso faces half way between hips and shoulders
    front = _unit(torch.linalg.cross(side, crown))
    side = torch.linalg.cross(crown, front)
    nod = _unit(at["head"] - at["neck"])
    face = _unit(front - (front * nod).sum(-1, keepdim=True) * nod)
    skull = at["head"] + 0.08 * nod + 0.02 * face
    middle = (at["pelvis"] + at["spine2"]) / 2
    floor = mid_hip.clone()
    floor[..., 1] = joints[..., 1].amin(-1)
    derived = {"mid_hip": mid_hip, "mid_shoulder": mid_shoulder, "mid_ankle": (at["left_ankle"] + at["right_ankle"]) / 2,
               "chest": (mid_shoulder + at["spine3"]) / 2 + 0.12 * front,
               "breast": at["spine3"] + 0.3 * front, "belly": middle + 0.13 * front, "back": middle - 0.13 * front, "skull": skull, "mouth": at["head"] + 0.11 * face,
               "nape": skull - 0.10 * face, "floor": floor}
    for name, sign in (("left", 1), ("right", -1)):
        derived[f"{name}_waist"] = at["pelvis"] + 0.08 * crown + sign * 0.17 * side
        derived[f"{name}_temple"] = skull + 0.05 * face + sign * 0.10 * side
        derived[f"{name}_thigh"] = (at[f"{name}_hip"] + at[f"{name}_knee"]) / 2
        derived[f"{name}_upperarm"] = (at[f"{name}_shoulder"] + at[f"{name}_elbow"]) / 2
    points = torch.cat([joints, torch.stack([derived[name] for name in POINTS[24:]], -2)], -2)
    return points, torch.stack([up, ahead, aside, -aside, front, crown, side, -side], -2)


def _for_sides(text):
    """A line for left and for right where it has a side (`s_`, `o_`; `b_x` means left and right x), else the line itself."""
    if not re.search(r"\b[so]_|_[so]_|_[so]\b", text):
        return [text]
    sided = [re.sub(r"(?<![a-z])s(?=_)|(?<=_)s\b", own, re.sub(r"(?<![a-z])o(?=_)|(?<=_)o\b", other, text))
             for own, other in (("left", "right"), ("right", "left"))]
    return sided


def _quantities():
    rows = [line.split() for text in MEASURES.strip().splitlines() for line in _for_sides(text)]
    order = ("angle", "direction", "distance", "offset")
    return sorted(rows, key=lambda row: order.index(row[1]))  # families side by side: quantities() is then one operation for each


_ROWS = _quantities()
QUANTITIES = tuple(row[0] for row in _ROWS)
_QUANTITY = {name: index for index, name in enumerate(QUANTITIES)}
_IS_ANGLE = tuple(row[1] in ("angle", "direction") for row in _ROWS)
_UNIT = torch.tensor([0.5 if is_angle else 0.15 for is_angle in _IS_ANGLE])  # about one category's width: 30 degrees or 15 cm


def _columns(family, *tables):
    chosen = [row[2:] for row in _ROWS if row[1] == family]
    return [torch.tensor([table.index(name) for name in column]) for table, column in zip(tables, zip(*chosen))]


_ANGLE = _columns("angle", POINTS, POINTS, POINTS)
_DIRECTION = _columns("direction", POINTS, POINTS, AXES)
_DISTANCE = _columns("distance", POINTS, POINTS)
_OFFSET = _columns("offset", POINTS, POINTS, AXES)


def _angle_between(one, two):
    # atan2 keeps a finite gradient for straight limbs, where arccos has none.
    sine = (torch.linalg.cross(one, two).square().sum(-1) + 1e-10).sqrt()
    return torch.atan2(sine, (one * two).sum(-1))


def quantities(joints):
    """Every measure the statements speak of: joints (..., 24, 3) in metres to (..., Q), radians and metres, differentiable. Names: QUANTITIES.

    >>> from minirft.body import load_body
    >>> q = quantities(load_body().rest)
    >>> bool(q[QUANTITIES.index("left_elbow")] > 2.6)   # the rest pose's arm is nearly straight: pi would be straight
    True
    """
    if joints.shape[-2:] != (24, 3):
        raise InputError(f"joints have the shape {tuple(joints.shape)}; they must end in (24, 3): pass Body.joints(pose)")
    points, axes = _points_and_axes(joints)
    a, b, c = (points[..., index, :] for index in _ANGLE)
    angle = _angle_between(a - b, c - b)
    start, end, axis = points[..., _DIRECTION[0], :], points[..., _DIRECTION[1], :], axes[..., _DIRECTION[2], :]
    direction = _angle_between(end - start, axis)
    one, two = (points[..., index, :] for index in _DISTANCE)
    distance = ((one - two).square().sum(-1) + 1e-10).sqrt()
    offset = ((points[..., _OFFSET[0], :] - points[..., _OFFSET[1], :]) * axes[..., _OFFSET[2], :]).sum(-1)
    return torch.cat([angle, direction, distance, offset], -1)


# `name kind: intervals` in degrees and metres; `b_x` means x of both sides. `!` marks a posture (what the whole body does: said first),
# `~` what most poses do (seldom worth saying). A part that only fixes the circumstances (a leg is not "kicking" in a seated body) is a gate.
RULES = """
~s_elbow_straight angle: 148<s_elbow
s_elbow_slightly_bent angle: 118<s_elbow<148
s_elbow_bent angle: s_elbow<110
s_elbow_square angle: 75<s_elbow<105
s_elbow_fully_bent angle: s_elbow<60
~s_knee_straight angle: 143<s_knee
s_knee_slightly_bent angle: 115<s_knee<143
s_knee_bent angle: s_knee<112
s_knee_square angle: 75<s_knee<105
s_knee_fully_bent angle: s_knee<60
hands_together distance: hands<.15
~hands_shoulder_width distance: .3<hands<.5
hands_wide_apart distance: 1.0<hands
feet_together distance: ankles<.2; b_foot_height<.12
~feet_shoulder_width distance: .28<ankles<.48; b_foot_height<.12
feet_wide_apart distance: .65<ankles; b_foot_height<.15
knees_together distance: knees<.17
knees_apart distance: .5<knees
elbows_close distance: elbows<.3
s_hand_on_shoulder distance: s_hand_shoulder<.16
s_hand_on_o_shoulder distance: s_hand_o_shoulder<.16
s_hand_on_o_elbow distance: s_hand_o_elbow<.15
s_hand_on_hip distance: s_hand_waist<.16; s_elbow<135; 15<s_upperarm_crown
s_hand_on_thigh distance: s_hand_thigh<.16; s_lap<130
s_hand_on_knee distance: s_hand_knee<.17
s_hand_on_o_knee distance: s_hand_o_knee<.17
s_hand_on_foot distance: s_hand_foot<.2
s_hand_on_o_foot distance: s_hand_o_foot<.2
s_hand_on_ankle distance: s_hand_ankle<.17
s_hand_on_head distance: s_hand_skull<.22; 0<s_hand_over_skull
s_hand_at_mouth distance: s_hand_mouth<.15
s_hand_at_ear distance: s_hand_temple<.15
s_hand_behind_head distance: s_hand_nape<.18; s_elbow<90
s_hand_on_chest distance: s_hand_chest<.17
s_hand_on_belly distance: s_hand_belly<.15
s_hand_behind_back distance: s_hand_back<.22; s_hand_waist_front<-.06
s_elbow_on_knee distance: s_elbow_knee<.18
s_elbow_to_o_knee distance: s_elbow_o_knee<.22
s_foot_at_o_knee distance: s_ankle_o_knee<.25; .2<s_ankle_over_o_ankle
s_heel_to_seat distance: s_ankle_seat<.35; .2<s_ankle_over_o_ankle
s_arm_raised relative: .1<s_hand_over_shoulder; s_upperarm_up<115
s_hand_above_head relative: .1<s_hand_over_skull
s_hand_at_head_height relative: -.1<s_hand_over_skull<.1
s_hand_at_shoulder_height relative: -.1<s_hand_over_shoulder<.1
s_hand_at_waist_height relative: .03<s_hand_over_hip<.22
s_hand_below_knee relative: s_hand_over_knee<-.05
s_hand_in_front relative: .42<s_hand_front
s_hand_behind relative: s_hand_waist_front<-.12; s_hand_over_shoulder<-.1
s_hand_across relative: s_hand_out<-.08
s_hand_far_out relative: .55<s_hand_out
s_hand_above_o_hand relative: .25<s_hand_over_o_hand
s_hand_before_o_hand relative: .28<s_hand_before_o_hand
s_elbow_raised relative: .0<s_elbow_over_shoulder
s_foot_ahead relative: .28<s_ankle_ahead_o_ankle; pelvis_height>.5
feet_crossed relative: .05<feet_crossed
s_foot_lifted relative: .2<s_ankle_over_o_ankle; pelvis_height>.5
s_knee_ahead relative: .22<s_knee_ahead_o_knee; pelvis_height>.5
s_knee_above_hip relative: .05<s_knee_over_hip
~s_arm_down direction: 150<s_arm_up
s_arm_straight_up direction: s_arm_up<28; 145<s_elbow
s_arm_forward direction: s_arm_front<28; 140<s_elbow
s_arm_sideways direction: s_arm_out<28; 140<s_elbow
s_arm_back direction: 125<s_arm_front; 135<s_elbow
s_arm_past_head direction: s_arm_crown<32; 140<s_elbow; 55<torso_up
s_arm_up_diagonal direction: 28<s_arm_up<65; 140<s_elbow
s_arm_down_diagonal direction: 115<s_arm_up<150; 140<s_elbow; s_arm_out<75
s_upperarm_level direction: 75<s_upperarm_up<105
s_elbow_out direction: s_upperarm_out<35; s_elbow<130
s_elbow_back direction: 130<s_upperarm_front; s_elbow<125
s_forearm_level direction: 78<s_forearm_up<102
s_forearm_up direction: s_forearm_up<25
~s_forearm_down direction: 155<s_forearm_up
s_thigh_level direction: 75<s_thigh_up<105
s_shin_level direction: 75<s_shin_up<105
s_leg_forward direction: s_leg_up<140; s_leg_ahead<55; 140<s_knee; .5<pelvis_height
s_leg_sideways direction: s_leg_up<148; s_leg_out<60; 135<s_knee; .55<pelvis_height
s_leg_back direction: s_leg_up<148; 120<s_leg_ahead; 125<s_knee; .5<pelvis_height
s_knee_raised direction: s_thigh_up<115; s_thigh_ahead<75; .2<s_knee_over_o_knee; .5<pelvis_height
~torso_upright direction: torso_up<12
torso_leaning_forward direction: 45<torso_ahead<72
torso_bent_forward direction: torso_ahead<45; .45<pelvis_height
torso_level direction: 72<torso_up<108
torso_leaning_back direction: 102<torso_ahead; torso_up<70
torso_leaning_s direction: torso_s<76; torso_up<70
torso_twisted_s direction: o_shoulder_ahead<68; torso_up<75
head_bowed direction: head_front<40
head_back direction: 85<head_front
head_tilted_s direction: head_s<76
~feet_on_ground ground: b_foot_height<.1
s_foot_off_ground ground: .15<s_foot_height
s_knee_on_ground ground: s_knee_height<.13
s_hand_on_ground ground: s_hand_height<.12
seat_on_ground ground: pelvis_height<.2
hips_low ground: pelvis_height<.6
head_near_ground ground: head_height<.5
!~standing_upright whole: torso_up<20; 128<b_knee; .7<pelvis_height; b_foot_height<.14; ankles<.55
!standing_on_s_leg whole: .2<o_ankle_over_s_ankle; 155<s_leg_up; .65<pelvis_height
!s_flamingo whole: .2<o_ankle_over_s_ankle; 155<s_leg_up; o_knee<110; torso_up<35
!s_tree whole: o_ankle_s_knee<.3; 155<s_leg_up; o_knee<100; torso_up<30; o_thigh_out<68
!kneeling whole: b_knee_height<.13; b_knee<130; .17<pelvis_height; torso_up<50; b_hand_height>.1
!sitting_on_heels whole: b_knee_height<.14; b_knee<65; .15<pelvis_height<.4; torso_up<50
!s_kneeling whole: s_knee_height<.14; .28<o_knee_height; o_foot_height<.13; .25<pelvis_height; s_knee<130
!squatting whole: b_knee<80; b_foot_height<.14; .12<pelvis_height<.5; b_knee_height>.2; -.24<seat_ahead
!half_squat whole: 80<b_knee<128; b_foot_height<.13; .45<pelvis_height<.8; torso_up<60; -.35<seat_ahead
!sitting_on_chair whole: 65<b_thigh_up<115; 145<b_shin_up; torso_up<40; 65<b_knee<130; seat_ahead<-.2; .25<pelvis_height<.62
!sitting_on_floor whole: pelvis_height<.2; torso_up<50
!sitting_legs_stretched whole: pelvis_height<.2; torso_up<50; 140<b_knee; b_leg_ahead<55
!sitting_cross_legged whole: pelvis_height<.2; torso_up<50; b_knee<90; b_knee_height<.32; .35<knees; ankles<.4
!sitting_knees_up whole: pelvis_height<.22; torso_up<55; b_knee<100; b_knee_height>.32
!lying_on_back whole: belly_up<45; pelvis_height<.3; head_height<.5
!lying_on_front whole: 135<belly_up; pelvis_height<.3; b_knee_height<.25; head_height<.45
!lying_on_s_side whole: o_flank_up<40; pelvis_height<.35; head_height<.5
!all_fours whole: b_knee_height<.14; b_hand_height<.14; 50<torso_up<120; 115<belly_up; .3<pelvis_height
!plank whole: b_hand_height<.14; 140<b_knee; 50<torso_up<110; 115<belly_up; .12<pelvis_height<.6; 140<b_lap
!downward_dog whole: b_hand_height<.15; 130<b_knee; 100<torso_up; .55<pelvis_height
!s_lunge whole: 65<s_knee<128; .5<s_ankle_ahead_o_ankle; s_foot_height<.14; torso_up<50; .3<pelvis_height<.76; 105<o_knee; o_foot_height<.3
!s_side_lunge whole: .65<ankles; s_knee<130; 145<o_knee; -.3<s_ankle_ahead_o_ankle<.3; b_foot_height<.15; .4<pelvis_height
!s_warrior whole: 65<s_knee<140; .6<ankles; 140<o_knee; b_arm_out<35; 135<b_elbow; torso_up<35; b_foot_height<.16
!t_pose whole: 142<b_elbow; b_arm_out<25; torso_up<25; 128<b_knee; b_foot_height<.16; ankles<.8
!a_pose whole: 140<b_elbow; 115<b_arm_up<152; b_arm_out<72; torso_up<25; 128<b_knee; b_foot_height<.14; ankles<.75
~arms_at_sides whole: 155<b_arm_up; 135<b_elbow
y_pose whole: 12<b_arm_up<60; 140<b_elbow; .5<hands
surrender whole: .12<b_hand_over_shoulder; b_elbow<135; b_forearm_up<45; .35<hands
flexing whole: 60<b_upperarm_up<120; b_elbow<95; b_forearm_up<55; b_upperarm_out<45
!star whole: 30<b_arm_up<85; 140<b_elbow; b_arm_out<65; .6<ankles; 130<b_knee; torso_up<30; b_foot_height<.16
akimbo whole: b_hand_waist<.18; b_elbow<135; 15<b_upperarm_crown
arms_folded whole: b_elbow<110; left_hand_right_upperarm<.24; right_hand_left_upperarm<.24; b_hand_front>.05; b_hand_over_shoulder<0
hugging_oneself whole: left_hand_right_shoulder<.2; right_hand_left_shoulder<.2; elbows<.42
hands_on_head whole: b_hand_skull<.23; 0<b_hand_over_skull
hands_behind_head whole: b_hand_nape<.2; b_elbow<90
hands_behind_back whole: b_hand_back<.24; b_hand_waist_front<-.06
s_salute whole: s_hand_temple<.16; s_elbow<85; .12<s_elbow_out; s_upperarm_up<130; o_hand_over_shoulder<-.1
s_phone whole: s_hand_temple<.16; s_elbow<80; 125<s_upperarm_up
s_thinking whole: s_hand_mouth<.16; s_elbow<85; 110<s_upperarm_up; o_hand_over_shoulder<-.1
covering_face whole: b_hand_mouth<.2; b_elbow<90
s_waving whole: .17<s_hand_over_shoulder; 60<s_elbow<140; s_forearm_up<45; .2<s_hand_out; o_hand_over_shoulder<-.15
praying whole: hands<.16; b_hand_chest<.3; b_elbow<110
clapping whole: hands<.2; .2<b_hand_front; b_elbow<140; -.35<b_hand_over_shoulder<.1
boxing_guard whole: b_elbow<100; .1<b_hand_front; -.12<b_hand_over_shoulder<.2; hands<.45; torso_up<45
s_punch whole: 140<s_elbow; s_arm_front<30; -.2<s_hand_over_shoulder<.2; o_elbow<105; 65<s_arm_up<115; torso_up<50
s_pointing_forward whole: 140<s_elbow; s_arm_front<28; 65<s_arm_up<115; 130<o_arm_up; torso_up<40
s_pointing_sideways whole: 140<s_elbow; s_arm_out<28; 65<s_arm_up<115; 140<o_arm_up; torso_up<40
s_pointing_up whole: 140<s_elbow; s_arm_up<30; o_hand_over_shoulder<-.15
zombie whole: b_arm_front<30; 140<b_elbow; hands<.65; 65<b_arm_up<115
!flying whole: b_arm_crown<40; 135<b_elbow; 60<torso_up; 120<belly_up
bowing whole: 20<torso_ahead<62; .55<pelvis_height; 125<b_knee
deep_bow whole: torso_ahead<30; .55<pelvis_height; 125<b_knee
!touching_toes whole: b_hand_foot<.3; 125<b_knee; .5<pelvis_height
hands_on_knees_bent whole: b_hand_knee<.2; torso_ahead<65; .5<pelvis_height
!s_marching whole: s_thigh_up<118; s_knee<120; 135<o_knee; .65<pelvis_height; torso_up<35; s_thigh_ahead<60
!s_kick_forward whole: 138<s_knee; s_leg_up<132; s_leg_ahead<55; 120<o_knee; .55<pelvis_height
!s_kick_side whole: 138<s_knee; s_leg_up<132; s_leg_out<55; 120<o_knee; .55<pelvis_height
!s_kick_back whole: 132<s_knee; s_leg_up<128; 125<s_leg_ahead; 120<o_knee; .55<pelvis_height
!side_splits whole: 1.1<ankles; pelvis_height<.4; 140<b_knee; -.4<left_ankle_ahead_right_ankle<.4; torso_up<60
!s_front_splits whole: .95<s_ankle_ahead_o_ankle; pelvis_height<.35; 140<b_knee
!s_stride whole: .35<s_ankle_ahead_o_ankle<.8; 130<b_knee; torso_up<30; b_foot_height<.2; .65<pelvis_height
!s_running whole: s_knee_ahead_o_knee>.22; o_knee<115; .15<o_ankle_over_s_ankle; b_elbow<130; torso_up<45; .55<pelvis_height
!handstand whole: b_leg_up<50; 120<torso_up; b_hand_height<.15
!upside_down whole: b_leg_up<60; 110<torso_up
carrying whole: 55<b_elbow<125; b_forearm_front<45; .2<b_hand_front; -.45<b_hand_over_shoulder<-.08; .12<hands<.5; 62<b_forearm_up<112
shrug whole: b_elbow<115; .33<b_hand_out; 50<b_forearm_up<115; 140<b_upperarm_up; b_hand_front<.3
s_throwing whole: 0<s_hand_over_skull; s_hand_front<-.03; s_elbow<125; .1<s_hand_over_o_hand
s_archer whole: 140<s_elbow; s_arm_up<115; 70<s_arm_up; o_elbow<80; -.2<o_hand_over_shoulder<.15; 75<o_upperarm_up<120; .45<hands
"""


class Statement(NamedTuple):
    """One thing that can be said. parts: (quantity index, low, high), radians or metres; it holds where every low <= q < high."""
    name: str
    kind: str
    parts: tuple


def _part(text):
    low, name, high = re.fullmatch(r"(?:(-?[\d.]+)<)?([a-z_]+)(?:<(-?[\d.]+))?", text).groups()
    unit = torch.pi / 180 if _IS_ANGLE[_QUANTITY[name]] else 1.0
    return _QUANTITY[name], float(low) * unit if low else -INFINITY, float(high) * unit if high else INFINITY


def _statements():
    for line in RULES.strip().splitlines():
        line = re.sub(r"([a-z_]+)>(-?[\d.]+)", r"\2<\1", line)
        for rule in _for_sides(line):
            head, body = rule.split(":")
            name, kind = head.lstrip("!~").split()
            intervals = [copy for text in body.split(";") for copy in _both_sides(text.strip())]
            yield Statement(name, kind, tuple(_part(text) for text in intervals)), set(head[:2]) & set("!~")


def _both_sides(text):
    return [re.sub(r"\bb_", side, text) for side in ("left_", "right_")] if re.search(r"\bb_", text) else [text]


_ALL = tuple(_statements())
STATEMENTS = tuple(statement for statement, _ in _ALL)
INDEX = {statement.name: index for index, statement in enumerate(STATEMENTS)}
POSTURE = tuple("!" in marks for _, marks in _ALL)
COMMON = tuple("~" in marks for _, marks in _ALL)


def swap_sides(text):
    """Left for right and right for left, in a statement's name or in a text; a right angle stays one.

    >>> swap_sides("left_hand_on_right_knee"), swap_sides("right arm up, left elbow at a right angle")
    ('right_hand_on_left_knee', 'left arm up, right elbow at a right angle')
    """
    return re.sub(r"(?<![a-z])(left|right)(?![a-z]| angle)", lambda side: "right" if side[0] == "left" else "left", text)


MIRROR = tuple(INDEX.get(swap_sides(statement.name), INDEX[statement.name]) for statement in STATEMENTS)

def _interval_table():
    """The distinct intervals (I rows) and, for each statement, the indices of its own, padded to one length by repeating the first."""
    intervals = sorted({part for statement in STATEMENTS for part in statement.parts})
    place = {part: index for index, part in enumerate(intervals)}
    rows = [[place[part] for part in statement.parts] for statement in STATEMENTS]
    width = max(map(len, rows))
    column, low, high = zip(*intervals)
    return torch.tensor(column), torch.tensor(low), torch.tensor(high), torch.tensor([row + row[:1] * (width - len(row)) for row in rows])


_COLUMN, _LOW, _HIGH, _PARTS = _interval_table()
_LENGTH = torch.tensor([len(statement.parts) for statement in STATEMENTS])


def holds(joints):
    """Which statements are true: joints (..., 24, 3) in metres to (..., S) bool, in the order of STATEMENTS."""
    with torch.no_grad():
        values = quantities(joints).reshape(-1, len(QUANTITIES)).T.contiguous()[_COLUMN]  # (I, N): a row gathered below is then one run of memory
        inside = (values >= _LOW.to(values)[:, None]) & (values < _HIGH.to(values)[:, None])
        result = inside[_PARTS[:, 0]]  # (S, N)
        for part in range(1, _PARTS.shape[1]):
            longer = _LENGTH > part
            result[longer] &= inside[_PARTS[longer, part]]
    return result.T.reshape(*joints.shape[:-2], len(STATEMENTS))


def _indices(statements):
    unknown = [s for s in statements if not (s in INDEX if isinstance(s, str) else 0 <= s < len(STATEMENTS))]
    if unknown:
        raise InputError(f"{unknown[0]!r} is no statement; use a name or an index out of captions.STATEMENTS ({len(STATEMENTS)} of them)")
    return [INDEX[s] if isinstance(s, str) else int(s) for s in statements]


def satisfied(statements, joints):
    """Whether each of the statements (names or indices) holds: joints (..., 24, 3) to (..., len(statements)) bool."""
    return holds(joints)[..., _indices(statements)]


def violation(statements, joints):
    """How far the joints are from satisfying each statement: 0 exactly where it holds, differentiable elsewhere.

    statements: names or indices; joints (..., 24, 3). Returns (..., len(statements)): the sum over a statement's intervals of the distance
    to the interval, in units of about one category's width (0.5 rad, 0.15 m). Meant to be minimised when searching for a pose.
    """
    values = quantities(joints)
    sums = []
    for index in _indices(statements):
        column, low, high = zip(*STATEMENTS[index].parts)
        value, low, high = values[..., list(column)], values.new_tensor(low), values.new_tensor(high)
        below = torch.where(value < low, low - value, 0.0)
        above = torch.where(value >= high, value - high + 1e-6, 0.0)  # the upper bound itself is outside: it must not count 0
        sums.append(((below + above) / _UNIT.to(values)[list(column)]).sum(-1))
    return torch.stack(sums, -1)


class Caption(NamedTuple):
    """A text and every statement it asserts (indices into STATEMENTS)."""
    text: str
    statements: tuple


def _entails(one, other):
    """Whether one statement's intervals lie inside the other's, so that saying both says one thing twice."""
    own = {}
    for quantity, low, high in one.parts:
        before = own.get(quantity, (-INFINITY, INFINITY))
        own[quantity] = max(low, before[0]), min(high, before[1])
    return all(q in own and own[q][0] >= low and own[q][1] <= high for q, low, high in other.parts)


_TABLE = read_table()
_MEASURED = [frozenset(part[0] for part in statement.parts) for statement in STATEMENTS]
_BLOCK = {name: _TABLE[line.lstrip("!~").split()[0]] for line in RULES.strip().splitlines()
          for name in (rule.lstrip("!~").split()[0] for rule in _for_sides(line))}
_SIDE = [None if MIRROR[i] == i else next(re.finditer(r"left|right", s.name))[0] for i, s in enumerate(STATEMENTS)]
# Two sides are one phrase where each side says something of itself alone: "both knees are bent", but no "both feet in front".
_MERGES = [MIRROR[i] != i and s.kind != "whole" and len(re.findall("left|right", s.name)) == 1
           and not re.search("torso|head_tilted|ahead|foot_lifted|knee_raised|knee_ahead", s.name) for i, s in enumerate(STATEMENTS)]
_UNITS = {(i, both): Unit(_BLOCK[s.name], "both" if both else _SIDE[i]) for i, s in enumerate(STATEMENTS) for both in (False, True)}
_IS_NAME = [s.kind == "whole" and not COMMON[i] for i, s in enumerate(STATEMENTS)]
_COUNTS = (1, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 4, 4, 5, 6, 7, 8)


def _weights(frequency):
    if frequency is None:
        return [(0.15 if COMMON[i] else 1.0) * (3.0 if s.kind == "whole" else 1.0) for i, s in enumerate(STATEMENTS)]
    return [(3.0 if s.kind == "whole" else 1.0) * (0.15 if f > 0.4 else min(10.0, 0.06 / max(f, 1e-3)) if f < 0.06 else 1.0)
            for s, f in zip(STATEMENTS, (float(f) for f in frequency))]


_DEFAULT_WEIGHTS = _weights(None)


def describe(holds_row, rng, *, count=None, weights=None):
    """One true sentence about a pose.

    holds_row: (S,) bool, a row of holds(). rng: random.Random; same row and state, same text. count: how many things to say, 1 to 8
    (None: drawn, half of them one or two). weights: how readily each statement is said, from `weights_for`. What is entailed by
    something already said, or speaks of the same measure, is left out; what holds of both sides is mostly said of both at once.
    Raises InputError where no statement holds.
    """
    true = [index for index, held in enumerate(holds_row.tolist()) if held]
    if not true:
        raise InputError("no statement holds of this pose, so there is nothing to say; is it a body in metres, Y up?")
    weights = weights or _DEFAULT_WEIGHTS
    count = count or pick(rng, _COUNTS)
    # Weighted draw without replacement (Efraimidis and Spirakis, 2006): the largest u^(1/w) first.
    # Short captions are mostly names: "squat", "hands on hips" are what people type.
    boost = 3.0 if count < 3 else 1.0
    order = sorted(true, key=lambda index: -(rng.random() ** (1 / (weights[index] * (boost if _IS_NAME[index] else 1.0)))))
    chosen, said, measured = [], set(), set()
    for index in order:
        if len(chosen) == count:
            break
        if index in said or _MEASURED[index] & measured:
            continue
        mirror = MIRROR[index]
        both = _MERGES[index] and bool(holds_row[mirror]) and not _MEASURED[mirror] & measured and rng.random() < 0.9
        chosen.append((index, both))
        for one in (index, mirror) if both else (index,):
            said.add(one)
            measured |= _MEASURED[one]
    chosen.sort(key=lambda item: not POSTURE[item[0]])
    statements = tuple(sorted({i for index, both in chosen for i in ((index, MIRROR[index]) if both else (index,))}))
    return Caption(compose([_UNITS[item] for item in chosen], rng), statements)


def weights_for(frequency):
    """How readily `describe` should say each statement, given the share (S,) of poses it holds for: rare ones first, trivial ones seldom."""
    return _weights(frequency)


def vocabulary():
    """Every lower-case word the grammar can say: a sentence of other words was never met in training."""
    return words_of()
