"""How good are the poses? Measured on any pose file, for the mean pose, for samples, and for the real poses themselves.

Each pose gets one seeded sentence that is true of it; the policy answers with poses; these are held against the sentence
and against the pose. A sentence fits many poses, so distance to the one it came from (MPJPE) can't reach zero and is not
the point: `satisfied` is. A metric without its `real` row means little: read them side by side.
"""

import random

import roma
import torch
from tqdm import tqdm

from . import captions
from .data import text_sample

# An answer without a pose satisfies nothing and is this far from the truth: about two unrelated poses' distance.
MISSING_MM = 300.0
DRAWS = 8


def mpjpe_mm(predicted, truth):
    """Mean joint distance in mm with the pelvis (joint 0) on the pelvis: (..., J, 3) metres to (...)."""
    gap = (predicted - predicted[..., :1, :]) - (truth - truth[..., :1, :])
    return gap.norm(dim=-1).mean(-1) * 1000


def pa_mpjpe_mm(predicted, truth):
    """Mean joint distance in mm after the best rotation, translation and scale for each pose (Procrustes)."""
    rotation, shift, scale = roma.rigid_points_registration(predicted, truth, compute_scaling=True)
    aligned = scale[..., None, None] * (predicted @ rotation.transpose(-1, -2)) + shift[..., None, :]
    return (aligned - truth).norm(dim=-1).mean(-1) * 1000


def nearest_mm(joints, real, own=None):
    """Distance in mm (MPJPE) of each pose to the nearest real one.

    joints: (P, J, 3); real: (M, J, 3); own: (P,) row of `real` that is left out for each, or None. Returns (P,).
    """
    centred = (real - real[:, :1])[:, 1:]  # the pelvis is at zero in all
    best = []
    for i in range(0, len(joints), 32):
        part = (joints[i : i + 32] - joints[i : i + 32, :1])[:, 1:]
        gap = (part[:, None] - centred).norm(dim=-1).sum(-1) / joints.shape[1] * 1000
        if own is not None:
            gap[torch.arange(len(part)), own[i : i + 32]] = torch.inf
        best.append(gap.min(1).values)
    return torch.cat(best)


def diversity_mm(joints):
    """Mean MPJPE over the pairs of one prompt's draws: (P, K, J, 3) to (P,); draws without a pose (NaN) are left out."""
    first, second = torch.triu_indices(joints.shape[1], joints.shape[1], offset=1)
    return mpjpe_mm(joints[:, first], joints[:, second]).nanmean(1)


def evaluate(policy, poses, *, body, seed=0, limit=1000, name=None, progress=True):
    """The report as a dictionary: see the README for every key's meaning.

    poses: a PoseSet; `limit` of them, drawn by `seed`, are asked for; the nearest real pose is looked for among all.
    """
    generator = torch.Generator().manual_seed(seed)
    pick = torch.randperm(len(poses), generator=generator)[:limit]
    real = body.joints(poses.pose)
    true = captions.holds(real)
    rng, weights = random.Random(seed), captions.weights_for(true.float().mean(0))
    samples = [text_sample(poses.pose[i], true[i], rng, body=body, weights=weights) for i in pick.tolist()]

    drawn, failed = [], []
    for i in tqdm(range(0, len(samples), 50), desc="evaluate", disable=not progress):
        pose, _, _ = policy.generate([s.question for s in samples[i : i + 50]], n=1 + DRAWS, seed=seed + i)
        drawn.append(body.joints(pose.cpu()))
        failed.append(pose.isnan().flatten(2).any(-1).cpu())
    joints, failed = torch.cat(drawn), torch.cat(failed)  # (P, 9, 24, 3), (P, 9)
    truth = body.joints(torch.stack([s.pose for s in samples]))  # (P, 24, 3)

    report = {"model": name or policy.name, "seed": seed, "body": body.name, "joints": "open-24", "prompts": len(samples),
              "missing_mm": MISSING_MM, "draws": DRAWS}
    columns = {"mean": slice(0, 1), "samples": slice(1, None)}
    for metric in ("satisfied", "mpjpe_mm", "pa_mpjpe_mm", "nearest_real_mm", "diversity_mm", "format_failures"):
        report[metric] = {}
    report["satisfied_by_kind"] = {}
    for column, which in columns.items():
        made, missing = joints[:, which], failed[:, which]
        expected = truth[:, None].expand_as(made)
        score = satisfied_by_kind(made, missing, samples)
        report["satisfied"][column] = score.pop("all")
        report["satisfied_by_kind"][column] = score
        report["mpjpe_mm"][column] = _average(mpjpe_mm(made, expected), missing)
        report["pa_mpjpe_mm"][column] = _average(_where_present(pa_mpjpe_mm, made, expected, missing), missing)
        nearest = _where_present(lambda j, own: nearest_mm(j, real, own), made[:, :1],
                                 pick[:, None], missing[:, :1])  # of the samples, the first: it is the slow part
        report["nearest_real_mm"][column] = _average(nearest, missing[:, :1]) if len(real) > 1 else None
        report["format_failures"][column] = missing.float().mean().item()
    score = satisfied_by_kind(truth[:, None], torch.zeros(len(truth), 1, dtype=torch.bool), samples)
    report["satisfied"]["real"] = score.pop("all")
    report["satisfied_by_kind"]["real"] = score
    report["mpjpe_mm"]["real"] = report["pa_mpjpe_mm"]["real"] = report["format_failures"]["real"] = 0.0
    report["nearest_real_mm"]["real"] = nearest_mm(truth, real, pick).mean().item() if len(real) > 1 else None
    groups = torch.randint(len(real), (len(pick), DRAWS), generator=generator)
    report["diversity_mm"] = {"samples": _number(diversity_mm(joints[:, 1:]).nanmean()),
                              "real": diversity_mm(real[groups]).mean().item()}
    return report


def satisfied_by_kind(joints, missing, samples):
    """Share of the captions' statements that the poses satisfy, over all and by kind; a missing pose satisfies none.

    joints: (P, K, 24, 3); missing: (P, K) bool; samples: P samples with their statements.
    """
    true = captions.holds(joints.nan_to_num()) & ~missing[..., None]  # (P, K, S)
    hit, asked = {}, {}
    for row, sample in zip(true, samples):
        for index in sample.statements:
            for key in ("all", captions.STATEMENTS[index].kind):
                hit[key] = hit.get(key, 0.0) + row[:, index].float().mean().item()
                asked[key] = asked.get(key, 0) + 1
    return {key: hit[key] / asked[key] for key in sorted(asked)}


def _where_present(measure, first, second, missing):
    """measure() of the rows that are there; the others stay 0 and get the stated penalty later."""
    out = torch.zeros(missing.shape)
    if not missing.all():
        out[~missing] = measure(first[~missing], second[~missing])
    return out


def _average(values, missing):
    """The mean in which a missing pose counts MISSING_MM."""
    return torch.where(missing, MISSING_MM, values).mean().item()


def _number(value):
    """A float, or None where nothing was measured: JSON has no NaN."""
    return None if value.isnan() else value.item()
