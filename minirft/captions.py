"""What can be said of a pose, and whether a pose satisfies it.

A *quantity* is one real measure of the joints (an angle, a distance, a signed offset, a height). A *statement* is an interval of one
quantity, or a conjunction of intervals that has an everyday name (a lunge). Both, and the words
for them, are data/statements.txt; how words become sentences is phrases.py. Kinds and first thresholds follow the posecode idea (PoseScript, ECCV 2022); the lists, the numbers and the words here are our own.

Axes. "Up", "raised", "lean" and heights mean the world's vertical (+Y): that is what people say of someone bowing or lying. "In front of",
"forward", "to the side" of arms and hands mean the torso's own axes (front, left_side, right_side, crown = from the hips to the shoulders).
For the legs and for the torso's lean they mean the level heading of the hips (ahead, left_aside, right_aside): a bow does not turn the feet.
"""
import re
from typing import NamedTuple

import torch

from minirft.body import DATA, JOINT, InputError
from minirft.phrases import Unit, compose, pick, read_statements, words_of

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
    """Each statement of data/statements.txt with its marks and its block of phrases."""
    for line, block in read_statements(_TEXT):
        for rule in _for_sides(line):
            head, body = rule.split(":")
            name, kind = head.lstrip("!~").split()
            intervals = [copy for text in body.split(";") for copy in _both_sides(text.strip())]
            yield Statement(name, kind, tuple(_part(text) for text in intervals)), set(head[:2]) & set("!~"), block


def _both_sides(text):
    return [re.sub(r"\bb_", side, text) for side in ("left_", "right_")] if re.search(r"\bb_", text) else [text]


_TEXT = (DATA / "statements.txt").read_text(encoding="utf-8")
_ALL = tuple(_statements())
STATEMENTS = tuple(statement for statement, _, _ in _ALL)
INDEX = {statement.name: index for index, statement in enumerate(STATEMENTS)}
POSTURE = tuple("!" in marks for _, marks, _ in _ALL)
COMMON = tuple("~" in marks for _, marks, _ in _ALL)


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


def _topic(quantity):
    """What a measure is about: a hand's height is one topic, over whatever it is measured; so is how far in front it is."""
    return re.sub("_waist_front$", "_front", re.sub("_(hand_over_(skull|shoulder|hip|knee)|arm_up)$", "_hand_height", quantity))


# Measures that usually only fix the circumstances: sharing one of them does not make two statements say the same ("sit on a chair" and
# "lean back" both look at the torso), unless it is what a statement is about, its first interval.
_GATES = {_QUANTITY[name] for name in ("ankles", "left_foot_height", "right_foot_height", "pelvis_height", "torso_up", "belly_up",
                                       "left_hand_over_shoulder", "right_hand_over_shoulder")}
_MEASURED = [frozenset(_topic(QUANTITIES[part[0]]) for place, part in enumerate(s.parts) if place == 0 or part[0] not in _GATES)
             for s in STATEMENTS]
_SIDE = [None if MIRROR[i] == i else next(re.finditer(r"left|right", s.name))[0] for i, s in enumerate(STATEMENTS)]
# Two sides are one phrase where each side says something of itself alone: "both knees are bent", but no "both feet in front".
_MERGES = [MIRROR[i] != i and s.kind != "whole" and len(re.findall("left|right", s.name)) == 1
           and not re.search("torso|head_tilted|ahead|foot_lifted|knee_raised|knee_ahead", s.name) for i, s in enumerate(STATEMENTS)]
_UNITS = {(i, both): Unit(block, "both" if both else _SIDE[i]) for i, (_, _, block) in enumerate(_ALL) for both in (False, True)}
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
    row = holds_row.tolist()
    true = [index for index, held in enumerate(row) if held]
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
        both = _MERGES[index] and row[mirror] and not _MEASURED[mirror] & measured and rng.random() < 0.9
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
    return words_of(_TEXT)
