"""How good are the poses? Measured on any pose file, for the mean pose, for samples, and for the real poses themselves.

Each pose gets one seeded sentence that is true of it; the policy answers with poses; these are held against the sentence
and against the pose. A sentence fits many poses, so distance to the one it came from (MPJPE) can't reach zero and is not
the point: `satisfied` is. A metric without its `real` row means little: read them side by side.
"""

import random
from dataclasses import dataclass
from functools import partial

import torch
from tqdm import tqdm

from . import captions
from .body import JOINT, procrustes, to_6d
from .data import SHOWN, text_sample
from .fit import best_by_joint, misfit, refine
from .prior import PosePrior
from .retrieval import Retriever, recall
from .rewards import REWARDED
from .vision import NAMES

# An answer without a pose satisfies nothing and is this far from the truth: about two unrelated poses' distance.
MISSING_MM = 300.0
DRAWS = 8
# The joints that SMPL and BlazePose both have, by their indices there and there.
BOTH = [f"{side}_{part}" for part in ("hip", "shoulder", "elbow", "wrist", "knee", "ankle") for side in ("left", "right")]
TWELVE, SAME_TWELVE, HIPS = [JOINT[name] for name in BOTH], [NAMES.index(name) for name in BOTH], [0, 1]


def mpjpe_mm(predicted, truth, *, roots=(0,)):
    """Mean joint distance in mm, the middle of the root joints (the pelvis) on their middle: (..., J, 3) metres to (...)."""
    predicted, truth = (joints - joints[..., roots, :].mean(-2, keepdim=True) for joints in (predicted, truth))
    return (predicted - truth).norm(dim=-1).mean(-1) * 1000


hip_mpjpe_mm = partial(mpjpe_mm, roots=HIPS)  # of the TWELVE (..., 12, 3), which have no pelvis


def pa_mpjpe_mm(predicted, truth):
    """Mean joint distance in mm after the best rotation, translation and scale for each pose (Procrustes): (..., J, 3) to (...).

    Of a pose that is missing (NaN) the number means nothing."""
    return (procrustes(predicted.nan_to_num(), truth) - truth).norm(dim=-1).mean(-1) * 1000


def nearest_mm(joints, real, own=None):
    """Distance in mm (MPJPE) of each pose to the nearest real one.

    joints: (P, J, 3); real: (M, J, 3); own: (P,) row of `real` that is left out for each (-1: none), or None. Returns (P,).
    """
    centred = (real - real[:, :1])[:, 1:]  # the pelvis is at zero in all
    best = []
    size = max(1, 2**20 // len(real))  # at once
    for i in range(0, len(joints), size):
        part = (joints[i : i + size] - joints[i : i + size, :1])[:, 1:]
        gap = (part[:, None] - centred).norm(dim=-1).sum(-1) / joints.shape[1] * 1000
        if own is not None:
            mine = own[i : i + size]
            gap[(mine >= 0).nonzero()[:, 0], mine[mine >= 0]] = torch.inf
        best.append(gap.min(1).values)
    return torch.cat(best)


def diversity_mm(joints):
    """Mean MPJPE over the pairs of one prompt's draws: (P, K, J, 3) to (P,); draws without a pose (NaN) are left out."""
    first, second = torch.triu_indices(joints.shape[1], joints.shape[1], offset=1)
    return mpjpe_mm(joints[:, first], joints[:, second]).nanmean(1)


def evaluate(policy, poses, *, body, seed=0, limit=1000, name=None, progress=True):
    """The report as a dictionary, {metric: {"mean", "samples", "real": value}}: data/results/README.md defines each.

    poses: a PoseSet; `limit` of them, drawn by `seed`, are asked for; the nearest real pose is looked for among all.
    """
    generator = torch.Generator().manual_seed(seed)
    pick = torch.randperm(len(poses), generator=generator)[:limit]
    samples = exam_samples(poses.pose, pick, body=body, seed=seed)
    pose = ask(policy, samples, draws=DRAWS, seed=seed, progress=progress)  # (P, 1 + DRAWS, 24, 3, 3)
    truth = torch.stack([s.pose for s in samples])[:, None]
    tools = Instruments.load(body, poses.pose)
    columns = {"mean": pose[:, :1], "samples": pose[:, 1:], "real": truth}
    columns = {name: measure(poses, samples, tools, own=pick) for name, poses in columns.items()}
    report = {"model": name or policy.name, "seed": seed, "body": body.name, "joints": "open-24", "prompts": len(samples),
              "missing_mm": MISSING_MM, "draws": DRAWS}
    report |= {metric: {k: column[metric] for k, column in columns.items()} for metric in columns["mean"]}
    groups = torch.randint(len(tools.real), (len(pick), DRAWS), generator=generator)
    report["diversity_mm"] = {"samples": _number(diversity_mm(body.joints(pose[:, 1:])).nanmean()),
                              "real": diversity_mm(tools.real[groups]).mean().item()}
    return report


def evaluate_pictures(policy, album, *, body, seed=0, name=None, progress=True):
    """The report on an Album of photographs, {metric: {"mean", "samples", "best_of_8", "best_by_joint", "refined": value}}, as
    data/results/README.md defines it. Raises InputError for a policy that has not learnt to see."""
    see = policy.must_see()
    found = {"mean": [], "samples": [], "best_of_8": [], "best_by_joint": [], "refined": []}
    means, stds = [], []  # of the head
    for start in tqdm(range(0, len(album), 50), desc="evaluate", disable=not progress):
        part = range(start, min(start + 50, len(album)))
        questions = [random.Random(f"{seed}/{i}").choice(SHOWN) for i in part]
        pictures = [album.picture(i, see) for i in part]
        pose = policy.generate(questions, pictures=pictures, n=DRAWS, seed=seed + start)[0].cpu()  # (P, DRAWS, 24, 3, 3)
        mean, std = (part.cpu() for part in policy.gaussian(questions, pictures))  # (P, 132)
        means.append(mean), stds.append(std)
        person = album.person(part, draws=True)
        best = misfit(body, pose, person).nan_to_num(torch.inf).argmin(1)
        moved = best_by_joint(body, pose, std, person), refine(body, pose[:, 0], std, album.person(part))
        parts = pose[:, :1], pose[:, 1:], pose[torch.arange(len(pose)), best][:, None], *(one[:, None] for one in moved)
        for kept, column in zip(found.values(), parts):
            kept.append(column)
    found, mean, std = {column: torch.cat(poses) for column, poses in found.items()}, torch.cat(means), torch.cat(stds)
    report = {"model": name or policy.name, "task": "image", "sees": see, "seed": seed, "body": body.name, "joints": "open-24",
              "pictures": len(album), "found": album.found.float().mean().item(), "missing_mm": MISSING_MM, "draws": DRAWS}
    there = ~std.isnan().any(1)
    report["calibration"] = calibration(mean[there], std[there], album.pose[there])
    report["diversity_mm"] = {"samples": _number(diversity_mm(body.joints(found["samples"])).nanmean())}
    return report | picture_errors(found, album, body)


def picture_errors(found, album, body):
    """How far poses are from the truth of an Album: {column: (M, K, 24, 3, 3)}, NaN for none, to {metric: {column: value}}.

    "twelve" holds the same over the joints that BlazePose names too, with its own landmarks as one more column.
    """
    report = {metric: {} for metric in ("mpjpe_mm", "pa_mpjpe_mm", "misfit", "format_failures")}
    twelve = {"mpjpe_mm": {}, "pa_mpjpe_mm": {}}
    for column, poses in found.items():
        missing, joints = poses.isnan().flatten(2).any(-1), body.joints(poses)
        truth = album.joints[:, None].expand_as(joints)
        report["mpjpe_mm"][column] = _average(mpjpe_mm(joints, truth), missing)
        report["pa_mpjpe_mm"][column] = _average(pa_mpjpe_mm(joints, truth), missing)
        report["format_failures"][column] = missing.float().mean().item()
        report["misfit"][column] = _number(misfit(body, poses, album.person(range(len(album)), draws=True)).nanmean())
        ours, theirs = joints[..., TWELVE, :], truth[..., TWELVE, :]
        twelve["mpjpe_mm"][column] = _average(hip_mpjpe_mm(ours, theirs), missing)
        twelve["pa_mpjpe_mm"][column] = _average(pa_mpjpe_mm(ours, theirs), missing)
    seen, truth = album.world[:, SAME_TWELVE], album.joints[:, TWELVE]
    twelve["mpjpe_mm"]["blazepose"] = hip_mpjpe_mm(seen, truth).mean().item()
    twelve["pa_mpjpe_mm"]["blazepose"] = pa_mpjpe_mm(seen, truth).mean().item()
    return report | {"twelve": twelve}


def calibration(mean, std, truth, bins=10):
    """What spread the head says and what error it makes: {"std": [...], "rms_error": [...]}, a value a bin.

    mean, std: (P, 132) of the head, whose P * 132 numbers are sorted by std into bins of equal size; truth: (P, 24, 3, 3).
    Where the two lists are alike the spread can be believed.
    """
    error = mean - to_6d(truth[:, :22]).flatten(1)
    order = std.flatten().argsort()
    groups = [index for index in order.chunk(bins) if len(index)]
    return {"std": [std.flatten()[g].square().mean().sqrt().item() for g in groups],
            "rms_error": [error.flatten()[g].square().mean().sqrt().item() for g in groups]}


def exam_samples(poses, pick, *, body, seed):
    """A seeded sentence about each of the picked poses (M, 24, 3, 3); statements are weighed as in all of them."""
    rng, weights, picked = random.Random(seed), captions.weights_among(poses, body), poses[pick]
    return [text_sample(pose, true, rng, body=body, weights=weights) for pose, true in zip(picked, captions.holds(body.joints(picked)))]


def ask(policy, samples, *, draws=0, seed=0, progress=False):
    """The mean pose for each question, then `draws` draws of answer and pose: (P, 1 + draws, 24, 3, 3), NaN for none."""
    starts = tqdm(range(0, len(samples), 50), desc="evaluate", disable=not progress)
    return torch.cat([policy.generate([s.question for s in samples[i : i + 50]], n=1 + draws, seed=seed + i)[0].cpu()
                      for i in starts])


@dataclass
class Instruments:
    """What poses are measured with. real: (M, 24, 3) joints among which the nearest is looked for."""

    body: object
    real: torch.Tensor
    prior: object
    retrievers: dict

    @classmethod
    def load(cls, body, poses):
        """The prior, the judge and the reward model that ship, and `poses` (M, 24, 3, 3) as the real ones."""
        return cls(body, body.joints(poses), PosePrior.load(), {k: Retriever.load(k) for k in ("judge", "reward_model")})


@torch.no_grad()
def measure(pose, samples, tools, *, own=None):
    """Metrics of K poses for each of P samples, as data/results/README.md defines them: a dictionary.

    pose: (P, K, 24, 3, 3), NaN where an answer holds none. own: (P,) rows of tools.real that are the samples' own poses,
    which do not count as near, or None.
    """
    missing = pose.isnan().flatten(2).any(-1)  # (P, K)
    joints = tools.body.joints(pose)
    truth = tools.body.joints(torch.stack([s.pose for s in samples]))[:, None].expand_as(joints)
    shares = satisfied_by_kind(joints, missing, samples)
    report = {"satisfied": shares.pop("all"), "satisfied_rewarded": shares.pop("rewarded"),
              "satisfied_unrewarded": shares.pop("unrewarded"), "satisfied_by_kind": shares}
    report["mpjpe_mm"] = _average(mpjpe_mm(joints, truth), missing)
    report["pa_mpjpe_mm"] = _average(pa_mpjpe_mm(joints, truth), missing)
    near = nearest_mm(joints[:, 0], tools.real, own)  # of the samples only the first: it is the slow part
    report["nearest_real_mm"] = _average(near, missing[:, 0]) if len(tools.real) > 1 else None
    report["plausible"] = (tools.prior.plausible(pose.nan_to_num()) & ~missing).float().mean().item()
    report["format_failures"] = missing.float().mean().item()
    said = [s.caption or s.question for s in samples]
    for name, retriever in tools.retrievers.items():
        text, made = retriever.embed_text(said), retriever.embed_pose(pose.nan_to_num(), joints.nan_to_num())
        found = [recall(text, made[:, k], missing=missing[:, k]) for k in range(made.shape[1])]
        report[name] = {way: {k: sum(f[way][k] for f in found) / len(found) for k in found[0][way]} for way in ("t2p", "p2t")}
        report[name]["pool"] = len(samples)
    return report


def verdict(policy, samples, tools):
    """The short report that a run's log and the demo show, of mean poses and, under "draws", of two draws a question: what
    the reward model thinks, what the judge thinks, statements that are paid for and those that are not, plausibility."""
    pose = ask(policy, samples, draws=2)
    reports = []
    for poses in (pose[:, :1], pose[:, 1:]):
        report = measure(poses, samples, tools)
        satisfied = {kind: report[f"satisfied_{kind}"] for kind in ("rewarded", "unrewarded")}
        kept = ("judge", "reward_model", "plausible", "nearest_real_mm", "format_failures")
        reports.append({name: report[name] for name in kept} | {"satisfied": satisfied})
    return reports[0] | {"draws": reports[1]}


def compare(before, after, pool):
    """Two verdicts on so many poses side by side, of mean poses and of draws, a line for each thing measured."""
    rows = {f"judge: mean recall at 5, 10, 20 of {pool}, %": lambda v: sum(v["judge"]["t2p"].values()) / 3,
            "the same by the reward model": lambda v: sum(v["reward_model"]["t2p"].values()) / 3,
            "never rewarded statements true, %": lambda v: 100 * v["satisfied"]["unrewarded"],
            "statements of other kinds true, %": lambda v: 100 * v["satisfied"]["rewarded"],
            "plausible, %": lambda v: 100 * v["plausible"],
            "mm to the nearest pose of the prior": lambda v: v["nearest_real_mm"]}
    lines = [f"\n{'':44}{'mean pose':>12}{'':12}{'one draw':>12}", f"{'':44}" + f"{'before':>12}{'after':>12}" * 2]
    for name, read in rows.items():
        lines.append(f"{name:44}" + "".join(f"{read(v):12.1f}" for v in (before, after, before["draws"], after["draws"])))
    return "\n".join(lines)


def summary(report):
    """A report as a table to look at, a line a metric, a column for what it was measured on; of retrieval the mean recall, percent."""
    columns, lines = list(report["mpjpe_mm"]), []
    for metric, values in report.items():
        found = [values.get(column) for column in columns] if isinstance(values, dict) else []
        found = [sum(v["t2p"].values()) / len(v["t2p"]) if isinstance(v, dict) and "t2p" in v else v for v in found]
        if any(isinstance(v, float) for v in found):
            lines.append(f"{metric:22}" + "".join(f"{v:15.{1 if v >= 2 else 3}f}" if v is not None else f"{'':15}" for v in found))
    return "\n".join([f"{'':22}" + "".join(f"{column:>15}" for column in columns), *lines])


def satisfied_by_kind(joints, missing, samples):
    """Share of the captions' statements that the poses satisfy: over all, over the kinds that a reward pays for and over
    those that none does, and by kind; a missing pose satisfies none, a share of nothing is None.

    joints: (P, K, 24, 3); missing: (P, K) bool; samples: P samples with their statements.
    """
    true = captions.holds(joints.nan_to_num()) & ~missing[..., None]  # (P, K, S)
    hit, asked = {}, {}
    for row, sample in zip(true, samples):
        for index in sample.statements:
            kind = captions.STATEMENTS[index].kind
            for key in ("all", "rewarded" if kind in REWARDED else "unrewarded", kind):
                hit[key] = hit.get(key, 0.0) + row[:, index].float().mean().item()
                asked[key] = asked.get(key, 0) + 1
    return {key: hit[key] / asked[key] if key in asked else None
            for key in ("all", "rewarded", "unrewarded", *sorted({*asked} & {*captions.KINDS}))}


def _average(values, missing):
    """The mean in which a missing pose counts MISSING_MM."""
    return torch.where(missing, MISSING_MM, values).mean().item()


def _number(value):
    """A float, or None where nothing was measured: JSON has no NaN."""
    return None if value.isnan() else value.item()
