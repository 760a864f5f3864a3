"""What can be said of a pose, and whether a pose satisfies it.

A *quantity* is one real measure of the joints (an angle, a distance, a signed offset, a height). A *statement* is an
interval of one quantity, or a conjunction of intervals that has an everyday name (a lunge). The quantities are
data/measures.txt; statements and the words for them are data/statements.txt; how words become sentences is phrases.py,
with data/phrases.json. Kinds and first thresholds follow the posecode idea (PoseScript, ECCV 2022); the lists, the
numbers and the words here are our own.

Axes. "Up", "raised", "lean" and heights mean the world's vertical (+Y): that is what people say of someone bowing or
lying. "In front of", "forward", "to the side" of arms and hands mean the torso's own axes (front, left_side,
right_side, crown = from the hips to the shoulders). For the legs and for the torso's lean they mean the level heading
of the hips (ahead, left_aside, right_aside): a bow does not turn the feet.
"""
import re
from typing import NamedTuple

import torch

from .body import DATA, JOINT
from .errors import InputError
from .phrases import Unit, compose, pick, read_statements, words_of

KINDS = ("angle", "distance", "relative", "direction", "ground", "whole")


def _normalised(vector):
    return vector / (vector.square().sum(-1, keepdim=True) + 1e-10).sqrt()


def _points_and_axes(joints):
    """Joints (..., 24, 3) to what the measures speak of, {name: (..., 3)}: points (the joints and others) and axes."""
    at = {name: joints[..., index, :] for name, index in JOINT.items()}
    mid_hip = (at["left_hip"] + at["right_hip"]) / 2
    mid_shoulder = (at["left_shoulder"] + at["right_shoulder"]) / 2
    up = torch.zeros_like(mid_hip)
    up[..., 1] = 1
    hips = _normalised(at["left_hip"] - at["right_hip"])
    ahead = _normalised(torch.linalg.cross(hips, up))
    aside = torch.linalg.cross(up, ahead)
    crown = _normalised(mid_shoulder - mid_hip)
    # A twisted torso faces half way between hips and shoulders.
    across = hips + _normalised(at["left_shoulder"] - at["right_shoulder"])
    front = _normalised(torch.linalg.cross(across, crown))
    side = torch.linalg.cross(crown, front)
    nod = _normalised(at["head"] - at["neck"])
    face = _normalised(front - (front * nod).sum(-1, keepdim=True) * nod)
    skull = at["head"] + 0.08 * nod + 0.02 * face
    middle = (at["pelvis"] + at["spine2"]) / 2
    floor = mid_hip.clone()
    floor[..., 1] = joints[..., 1].amin(-1)
    at |= {
        "mid_hip": mid_hip, "mid_shoulder": mid_shoulder, "mid_ankle": (at["left_ankle"] + at["right_ankle"]) / 2,
        "chest": (mid_shoulder + at["spine3"]) / 2 + 0.12 * front,
        "breast": at["spine3"] + 0.3 * front,  # far out: only the direction to it counts
        "belly": middle + 0.13 * front, "back": middle - 0.13 * front, "floor": floor,
        "skull": skull, "mouth": at["head"] + 0.11 * face, "nape": skull - 0.10 * face,
    }
    for name, sign in (("left", 1), ("right", -1)):
        at[f"{name}_waist"] = at["pelvis"] + 0.08 * crown + sign * 0.17 * side
        at[f"{name}_temple"] = skull + 0.05 * face + sign * 0.10 * side
        at[f"{name}_thigh"] = (at[f"{name}_hip"] + at[f"{name}_knee"]) / 2
        at[f"{name}_upperarm"] = (at[f"{name}_shoulder"] + at[f"{name}_elbow"]) / 2
    axes = {"up": up, "ahead": ahead, "left_aside": aside, "right_aside": -aside,
            "front": front, "crown": crown, "left_side": side, "right_side": -side}
    return at, axes


def _for_sides(text):
    """The text with `s` and `o` made left and right, then right and left; the text alone where it has neither.

    >>> _for_sides("torso_s s_hand_o_knee"), _for_sides("hands")
    (['torso_left left_hand_right_knee', 'torso_right right_hand_left_knee'], ['hands'])
    """
    sides = ({"s": "left", "o": "right"}, {"s": "right", "o": "left"})
    letter = r"(?<![a-z])[so](?=_)|(?<=_)[so]\b"
    return list(dict.fromkeys(re.sub(letter, lambda found: side[found[0]], text) for side in sides))


def _read_measures(text):
    """data/measures.txt by family, one row for each side where they have one: {family: [[name, point, ...], ...]}."""
    rows = {"angle": [], "direction": [], "distance": [], "offset": []}
    for line in text.splitlines():
        if line and not line.startswith("#"):
            family, measure = line.split(" ", 1)
            rows[family] += [row.replace(":", "").split() for row in _for_sides(measure)]
    return rows


_ROWS = _read_measures((DATA / "measures.txt").read_text(encoding="utf-8"))
QUANTITIES = tuple(row[0] for rows in _ROWS.values() for row in rows)
_QUANTITY = {name: index for index, name in enumerate(QUANTITIES)}
_IS_ANGLE = tuple(family in ("angle", "direction") for family, rows in _ROWS.items() for _ in rows)
_WIDTH = torch.tensor([0.5 if is_angle else 0.15 for is_angle in _IS_ANGLE])  # of about one category: 30 degrees, 15 cm
# Where to find what the measures of a family speak of: an index tensor for each of its points and its axis.
_PLACE = {name: index for table in _points_and_axes(torch.zeros(24, 3)) for index, name in enumerate(table)}
_COLUMNS = {
    family: [torch.tensor([_PLACE[name] for name in column]) for column in list(zip(*rows))[1:]]
    for family, rows in _ROWS.items()
}


def _angle_between(one, two):
    # atan2 keeps a finite gradient for straight limbs, where arccos has none.
    sine = (torch.linalg.cross(one, two).square().sum(-1) + 1e-10).sqrt()
    return torch.atan2(sine, (one * two).sum(-1))


def quantities(joints):
    """Every measure the statements speak of: joints (..., 24, 3) in metres to (..., Q), named by QUANTITIES.

    Radians and metres, differentiable. A family is one operation. Raises InputError for joints of another shape.

    >>> from minirft.body import load_body
    >>> q = quantities(load_body().rest)
    >>> bool(q[QUANTITIES.index("left_elbow")] > 2.6)   # the rest pose's arm is nearly straight: pi would be straight
    True
    """
    shape = tuple(joints.shape)
    if shape[-2:] != (24, 3):
        raise InputError(f"joints have the shape {shape}; they must end in (24, 3): pass Body.joints(pose)")
    points, axes = (torch.stack(list(named.values()), -2) for named in _points_and_axes(joints))  # (..., P, 3)
    before, corner, after = (points[..., index, :] for index in _COLUMNS["angle"])
    angle = _angle_between(before - corner, after - corner)
    *ends, axis = _COLUMNS["direction"]
    start, end = (points[..., index, :] for index in ends)
    direction = _angle_between(end - start, axes[..., axis, :])
    one, two = (points[..., index, :] for index in _COLUMNS["distance"])
    distance = ((one - two).square().sum(-1) + 1e-10).sqrt()
    *ends, axis = _COLUMNS["offset"]
    of, start = (points[..., index, :] for index in ends)
    offset = ((of - start) * axes[..., axis, :]).sum(-1)
    return torch.cat([angle, direction, distance, offset], -1)  # the order of QUANTITIES


class Statement(NamedTuple):
    """One thing that can be said. parts: (quantity index, low, high), rad or m; it holds where all low <= q < high."""
    name: str
    kind: str
    parts: tuple


def _part(text):
    """`75<left_elbow<105`, in degrees or metres, as (quantity index, low, high)."""
    low, name, high = re.fullmatch(r"(?:(-?[\d.]+)<)?([a-z_]+)(?:<(-?[\d.]+))?", text).groups()
    index = _QUANTITY[name]
    unit = torch.pi / 180 if _IS_ANGLE[index] else 1.0
    return index, float(low) * unit if low else -torch.inf, float(high) * unit if high else torch.inf


def _statements(text):
    """Each statement of data/statements.txt with its marks (! posture, ~ common) and its block of phrases."""
    for line, block in read_statements(text):
        for rule in _for_sides(line):
            head, body = rule.split(":")
            name, kind = head.lstrip("!~").split()
            # An interval of `b_knee` is one of the left and one of the right knee.
            sides = ("left_", "right_")
            intervals = [re.sub(r"\bb_", side, part.strip()) for part in body.split(";") for side in sides]
            parts = tuple(map(_part, dict.fromkeys(intervals)))
            yield Statement(name, kind, parts), set(head[:2]) & set("!~"), block


_TEXT = (DATA / "statements.txt").read_text(encoding="utf-8")
STATEMENTS, _MARKS, _BLOCKS = zip(*_statements(_TEXT))
INDEX = {statement.name: index for index, statement in enumerate(STATEMENTS)}
POSTURE = tuple("!" in marks for marks in _MARKS)  # what the whole body does: said first
COMMON = tuple("~" in marks for marks in _MARKS)  # what most poses do: seldom worth saying


def swap_sides(text):
    """Left for right and right for left, in a statement's name or in a text; a right angle stays one.

    >>> swap_sides("left_hand_on_right_knee"), swap_sides("right arm up, left elbow at a right angle")
    ('right_hand_on_left_knee', 'left arm up, right elbow at a right angle')
    """
    other = {"left": "right", "right": "left"}
    return re.sub(r"(?<![a-z])(left|right)(?![a-z]| angle)", lambda side: other[side[0]], text)


MIRROR = tuple(INDEX.get(swap_sides(statement.name), INDEX[statement.name]) for statement in STATEMENTS)


def _interval_table():
    """The I distinct intervals, and (S, longest) which of them each statement asks for, filled up with its first."""
    intervals = sorted({part for statement in STATEMENTS for part in statement.parts})
    place = {part: index for index, part in enumerate(intervals)}
    rows = [[place[part] for part in statement.parts] for statement in STATEMENTS]
    longest = max(map(len, rows))
    asked = torch.tensor([row + row[:1] * (longest - len(row)) for row in rows])
    return *(torch.tensor(column) for column in zip(*intervals)), asked


_MEASURED, _LOW, _HIGH, _ASKED = _interval_table()


def holds(joints):
    """Which statements are true: joints (..., 24, 3) in metres to (..., S) bool, in the order of STATEMENTS."""
    with torch.no_grad():
        # (I, N), not (N, I): a row gathered below is then one run of memory.
        values = quantities(joints).reshape(-1, len(QUANTITIES)).T.contiguous()[_MEASURED]
        inside = (values >= _LOW.to(values)[:, None]) & (values < _HIGH.to(values)[:, None])
        result = inside[_ASKED[:, 0]]  # (S, N)
        for asked in _ASKED.T[1:]:
            result &= inside[asked]
    return result.T.reshape(*joints.shape[:-2], len(STATEMENTS))


def _indices(statements):
    for asked in statements:
        if not (asked in INDEX if isinstance(asked, str) else 0 <= asked < len(STATEMENTS)):
            rule = f"use a name or an index out of captions.STATEMENTS ({len(STATEMENTS)} of them)"
            raise InputError(f"{asked!r} is no statement; {rule}")
    return [INDEX[asked] if isinstance(asked, str) else int(asked) for asked in statements]


def satisfied(statements, joints):
    """Whether each of the statements (names or indices) holds: joints (..., 24, 3) to (..., len(statements)) bool."""
    return holds(joints)[..., _indices(statements)]


def violation(statements, joints):
    """How far the joints are from satisfying each statement: 0 exactly where it holds, differentiable elsewhere.

    statements: names or indices; joints (..., 24, 3). Returns (..., len(statements)): the sum over a statement's
    intervals of the distance to the interval, in units of about one category's width (0.5 rad, 0.15 m). Meant to be
    minimised when searching for a pose.
    """
    values = quantities(joints)
    sums = []
    for index in _indices(statements):
        measured, low, high = map(list, zip(*STATEMENTS[index].parts))
        value, low, high = values[..., measured], values.new_tensor(low), values.new_tensor(high)
        below = torch.where(value < low, low - value, 0.0)
        above = torch.where(value >= high, value - high + 1e-6, 0.0)  # a bound itself is outside: never 0
        sums.append(((below + above) / _WIDTH.to(values)[measured]).sum(-1))
    return torch.stack(sums, -1)


class Caption(NamedTuple):
    """A text and every statement it asserts (indices into STATEMENTS)."""
    text: str
    statements: tuple


# Measures that usually only fix the circumstances: sharing one of them does not make two statements say the same ("sit
# on a chair" and "lean back" both look at the torso), unless it is what a statement is about, its first interval.
_CIRCUMSTANCES = {"ankles", "left_foot_height", "right_foot_height", "pelvis_height", "torso_up", "belly_up",
                  "left_hand_over_shoulder", "right_hand_over_shoulder"}


def _topics(statement):
    """What a statement is about, as measures; two that share one are not said together.

    A hand's height is one topic, over whatever it is measured; so is how far in front it is.
    """
    first, *others = (QUANTITIES[part[0]] for part in statement.parts)
    topics = [first, *(name for name in others if name not in _CIRCUMSTANCES)]
    topics = [re.sub("_(hand_over_(skull|shoulder|hip|knee)|arm_up)$", "_hand_height", name) for name in topics]
    return frozenset(re.sub("_waist_front$", "_front", name) for name in topics)


def _merges(index):
    """Whether two sides can be one phrase: each says something of itself alone ("both knees bent", no "both ahead")."""
    name, kind, _ = STATEMENTS[index]
    if MIRROR[index] == index or kind == "whole" or len(re.findall("left|right", name)) != 1:
        return False
    return not re.search("torso|head_tilted|ahead|foot_lifted|knee_raised|knee_ahead", name)


_TOPICS = [_topics(statement) for statement in STATEMENTS]
_MERGES = [_merges(index) for index in range(len(STATEMENTS))]
_SIDES = [re.search("left|right", s.name)[0] if MIRROR[i] != i else None for i, s in enumerate(STATEMENTS)]
_IS_NAME = [statement.kind == "whole" and not common for statement, common in zip(STATEMENTS, COMMON)]
_COUNTS = (1, 1, 1, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 4, 4, 5, 6, 7, 8)

_KIND_WEIGHTS = [3.0 if statement.kind == "whole" else 1.0 for statement in STATEMENTS]
_DEFAULT_WEIGHTS = [weight * (0.15 if common else 1.0) for weight, common in zip(_KIND_WEIGHTS, COMMON)]


def _rarity_weight(share):
    """Up to 10 for what fewer than 6 % of the poses do; 0.15 for what more than 40 % do."""
    if share < 0.06:
        return min(10.0, 0.06 / max(share, 1e-3))
    return 0.15 if share > 0.4 else 1.0


def weights_for(frequency):
    """How readily `describe` should say each statement: rare ones first, trivial ones seldom.

    frequency: (S,), the share of poses each statement holds for. Returns S weights, a list.
    """
    return [weight * _rarity_weight(float(share)) for weight, share in zip(_KIND_WEIGHTS, frequency)]


def weights_among(poses, body):
    """The weights for sentences about poses (M, 24, 3, 3), by how many of them each statement holds for."""
    held = sum(holds(body.joints(part)).sum(0) for part in poses.split(8192))  # a million at once would take gigabytes
    return weights_for(held / len(poses))


def describe(holds_row, rng, *, count=None, weights=None):
    """One true sentence about a pose.

    holds_row: (S,) bool, a row of holds(). rng: random.Random; same row and state, same text. count: how many things to
    say, 1 to 8 (None: drawn, half of them one or two). weights: how readily each statement is said, from `weights_for`.
    What speaks of the same measure as something already said is left out; what holds of both sides is mostly said of
    both at once. Raises InputError where no statement holds.
    """
    row = holds_row.tolist()
    true = [index for index, held in enumerate(row) if held]
    if not true:
        raise InputError("no statement holds of this pose, so there is nothing to say; is it a body in metres, Y up?")
    weights = weights or _DEFAULT_WEIGHTS
    count = count or pick(rng, _COUNTS)
    # Short captions are mostly names: "squat", "hands on hips" are what people type.
    name_boost = 3.0 if count < 3 else 1.0

    def priority(index):
        # Weighted draw without replacement (Efraimidis and Spirakis, 2006): the largest u^(1/w) first.
        return rng.random() ** (1 / (weights[index] * (name_boost if _IS_NAME[index] else 1.0)))

    chosen, asserted, topics = [], [], set()
    for index in sorted(true, key=priority, reverse=True):
        if len(chosen) == count:
            break
        if _TOPICS[index] & topics:
            continue
        mirror = MIRROR[index]
        both = _MERGES[index] and row[mirror] and not _TOPICS[mirror] & topics and rng.random() < 0.9
        chosen.append((index, both))
        for said in (index, mirror) if both else (index,):
            asserted.append(said)
            topics |= _TOPICS[said]
    chosen.sort(key=lambda choice: not POSTURE[choice[0]])
    units = [Unit(_BLOCKS[index], "both" if both else _SIDES[index]) for index, both in chosen]
    return Caption(compose(units, rng), tuple(sorted(asserted)))


def vocabulary():
    """Every lower-case word the grammar can say: a sentence of other words was never met in training."""
    return words_of(_BLOCKS)
