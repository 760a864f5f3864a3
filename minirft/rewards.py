"""The rewards: what makes an answer or a pose good, each a plain function, higher is better.

Answers get one number, poses one each. This file needs torch alone and is handed whatever else it takes (embeddings,
joints, a table of statements that hold), so that a trainer that is not ours can use it too. The paper's four (Pose-RFT,
arXiv 2508.07804): joint location, semantic alignment, format, text similarity. Ours: verifiable, plausibility and nearness, and
`aligned`, which is joint location after Procrustes alignment.
"""

import re

import torch

# The kinds of statements (captions.KINDS) that `verifiable` counts. The others (distance, direction, whole) are never paid
# for and so tell whether a policy learnt what the words mean or what the reward counts.
REWARDED = ("angle", "relative", "ground")

# A whole answer that holds exactly one pose, in a sentence or bare.
TEMPLATE = re.compile(r"^[^<>]*<POSE>[^<>]*$")


def joint_location(joints, truth, *, eps=0.05, rooted=True):
    """1 / (distance + eps): how near a predicted body is to the true one, the pelvis on the pelvis. For images.

    joints: (..., J, 3), truth: broadcastable to it, metres. The distance is the mean over joints; eps, in metres, bounds
    the reward at 1 / eps and with it what the last millimetres are worth. Returns (...). The paper leaves eps open.
    rooted: False leaves both where they are, for joints that were aligned to the truth before.

    >>> joint_location(torch.zeros(24, 3), torch.zeros(24, 3))
    tensor(20.)
    """
    gap = (joints - joints[..., :1, :]) - (truth - truth[..., :1, :]) if rooted else joints - truth
    return 1 / (gap.norm(dim=-1).mean(-1) + eps)


def semantic_alignment(text_embedding, pose_embedding):
    """Cosine of a sentence and a pose in a retrieval model's common space: (..., E), (..., E) to (...) in [-1, 1].

    A network's opinion: a policy finds poses that no body takes and this network loves. Watch it with another judge.
    """
    return torch.nn.functional.cosine_similarity(text_embedding, pose_embedding, dim=-1)


def text_similarity(answer_embedding, truth_embedding):
    """Cosine of the answer and the wanted answer under a sentence encoder: (R, E), (R, E) to (R,) in [-1, 1]."""
    return torch.nn.functional.cosine_similarity(answer_embedding, truth_embedding, dim=-1)


def answer_format(answers, *, wants_pose):
    """1 where an answer has the form its question asks for, else 0: exactly one <POSE>, or, for plain talk, no "<" at all.

    answers: R strings; wants_pose: R bools. Returns (R,) float.

    >>> answer_format(["It is <POSE>.", "It is <POSE> or <POSE>.", "Hello!"], wants_pose=[True, True, False])
    tensor([1., 0., 1.])
    """
    right = [bool(TEMPLATE.match(a)) if wants else bool(a) and "<" not in a for a, wants in zip(answers, wants_pose)]
    return torch.tensor(right, dtype=torch.float32)


def verifiable(holds, statements, *, counted=None):
    """The share of a sentence's statements that a pose satisfies: no network to be fooled.

    holds: (R, K, S) bool, which of all S statements each pose satisfies. statements: R tuples of the indices that each
    prompt asserts. counted: (S,) bool, the kinds that are rewarded, None for all; the others are kept for measuring.
    Returns (R, K) in [0, 1]; a prompt none of whose statements counts gives 0 to all its poses: a tie, no signal.
    """
    asked = torch.zeros(holds.shape[0], holds.shape[-1], device=holds.device)
    for row, indices in zip(asked, statements):
        row[list(indices)] = 1.0
    if counted is not None:
        asked = asked * counted
    hit = (holds.to(asked.dtype) * asked[:, None]).sum(-1)
    return hit / asked.sum(-1, keepdim=True).clamp(min=1)


def plausibility(score, *, floor=-10.0):
    """A prior's score of a pose, 0 for a usual one and negative for an odd one, scaled to [0, 1]: (...) to (...).

    floor: the score at which nothing more is lost, so that one broken joint cannot drown the other rewards.
    """
    return 1 - score.clamp(min=floor, max=0.0) / floor


def nearness(joints, known):
    """Minus how far a pose is from the nearest of those that bodies are known to take, metres: (..., J, 3), (M, J, 3) to (...).

    The distance is the mean over joints, pelvis on pelvis, to the pose whose root mean square distance is the least. What
    `plausibility` cannot say: each joint of an exaggerated pose is likely, and nobody stands so.

    >>> nearness(torch.tensor([[0., 0, 0], [0, 1, 0]]), torch.tensor([[[5., 0, 0], [5, 1.5, 0]], [[0, 0, 0], [1, 0, 0]]]))
    tensor(-0.2500)
    """
    joints, known = joints - joints[..., :1, :], known - known[:, :1]
    parts = joints.flatten(0, -3).split(1024) if joints.dim() > 2 else [joints[None]]
    with torch.no_grad():
        nearest = torch.cat([torch.cdist(part.flatten(1), known.flatten(1)).argmin(1) for part in parts])
    return -(joints - known[nearest].view_as(joints)).norm(dim=-1).mean(-1)


def total(rewards, weights):
    """The weighted sum of named rewards: {name: tensor}, {name: weight} to a tensor. A name without a weight is an error."""
    missing = sorted(set(rewards) - set(weights))
    if missing:
        raise ValueError(f"rewards {missing} have no weight; give one, 0 to log a reward without using it")
    return sum(weights[name] * value for name, value in rewards.items())
