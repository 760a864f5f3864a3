"""The field's evaluation protocols by name, run on a user's own files, and the figures that papers give for them.

Numbers of different joints, bodies, retrieval models or pools do not compare: each row of a table names its own. An answer without a
pose counts evaluate.MISSING_MM, and finds nothing. The pose measured is the mean pose; its body has the mean shape.
"""

import random
from dataclasses import dataclass

import numpy as np
import torch
from tqdm import tqdm

from .body import InputError, procrustes
from .evaluate import MISSING_MM
from .photos import Eyes
from .published import DATASETS, Disk, survey
from .retrieval import Retriever, recall

# 17 joints of Human3.6M's regressor in the order of LSP, of which the first 14 are "14" and row PELVIS the pelvis; SPIN's order. And the same
# of 4D-Humans' 19 and SPIN's 24 measured joints, which begin alike.
FROM_REGRESSOR = [6, 5, 4, 1, 2, 3, 16, 15, 14, 11, 12, 13, 8, 10, 0, 7, 9]
FROM_MEASURED = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 18, 14, 16, 17]
PELVIS = 14
POOL, POOLS = 64, 100  # samples of a random pool, and how many are drawn; how large the papers' are, our sources do not say
KS = (1, 5, 10, 20)


@dataclass(frozen=True)
class Protocol:
    """datasets: those of DATASETS that it is run on; joints: how many are compared, 0 where texts and poses are retrieved; text: what it is.

    published: rows of (model, joints or "retriever; pool", figures in the order of our own row)."""

    datasets: tuple
    joints: int
    text: str
    published: tuple = ()


_UNSAID, _FULL, _RANDOM = "not said", "PoseScript's; full test split", "PoseScript's; random, size not said"
_H36M = (("Pose-RFT", _UNSAID, (63.0, 44.5)), ("UniPose", _UNSAID, (69.2, 41.8)), ("ChatPose", _UNSAID, (126.0, 82.4)))
PROTOCOLS = {
    "3dpw-14": Protocol(("3DPW",), 14, "3DPW test, 13 LSP joints and Human3.6M's head", (
        ("HMR2.0", "14", (70.0, 44.5)), ("Pose-RFT", _UNSAID, (85.9, 51.6)), ("UniPose", _UNSAID, (94.7, 59.1)),
        ("ChatPose", _UNSAID, (163.6, 81.9)))),
    "h36m-14": Protocol(("Human3.6M",), 14, "Human3.6M, subjects 9 and 11, 13 LSP joints and Human3.6M's head", _H36M),
    "h36m-17": Protocol(("Human3.6M",), 17, "Human3.6M, subjects 9 and 11, Human3.6M's joints", _H36M),
    "rpe-22": Protocol(("RPE",), 22, "RPE's four lists, SMPL's joints without hands", (
        ("Pose-RFT", _UNSAID, (198.6, 87.0)), ("UniPose", _UNSAID, (213.4, 94.1)), ("ChatPose", _UNSAID, (275.0, 101.8)))),
    "open-24": Protocol(("3DPW", "Human3.6M", "RPE", "your own"), 24, "truth and answer on one body, mean shape, SMPL's 24 joints"),
    "posescript-full": Protocol(("PoseScript",), 0, "PoseScript's human texts, the test split as the pool", (
        ("Pose-RFT", _FULL, (None, 42.2, 53.0, 65.5)), ("ChatPose", _FULL, (None, 17.6, 25.3, 35.8)))),
    "posescript-pool": Protocol(("PoseScript",), 0, f"PoseScript's human texts of the test split, {POOLS} random pools", (
        ("Pose-RFT", _RANDOM, (None, 71.8, 82.6, 88.7)), ("UniPose", _RANDOM, (None, 73.7, 82.4, 89.6)),
        ("ChatPose", _RANDOM, (None, 39.9, 50.6, 58.7)), ("PoseScript's generator", _RANDOM, (None, 73.3, 82.5, 89.4)))),
}


def run(name, root, policy, *, body, seed=0, limit=None, encoder=None, progress=True):
    """Run one of PROTOCOLS on the files under a folder: a report, whose "rows" are what `table` prints. limit: samples, drawn by seed; None: all.

    Raises InputError where the protocol is none of ours, its files are not there, or the body cannot give its joints.
    """
    if name not in PROTOCOLS:
        raise InputError(f"{name}: no protocol; use one of {', '.join(PROTOCOLS)}")
    protocol = PROTOCOLS[name]
    regressor = _regressor(protocol, Disk(root), body)
    founds = [f for f in survey(root, protocol.datasets) if "train" not in f.part and (protocol.joints or f.part == "test" and "human" in f.dataset)]
    notes, parts = [line for f in founds for line in f.lines()], {}
    for found in founds:
        parts[found] = [s for s in found.samples if not protocol.joints or truth_of(s, protocol, body) is not None]
        lost = len(found.samples) - len(parts[found])
        notes += [f"{found.remark or found.part}: {lost:,} samples without truth for these joints are left out"] * bool(lost)
    used = [found for found in founds if parts[found]]
    if not used:
        raise InputError(f"{root}: nothing there for {name}; get {DATASETS[protocol.datasets[0]]}; {'; '.join(notes)}")
    if len(used) > 1 and name in ("3dpw-14", "h36m-14", "h36m-17"):
        raise InputError(f"{root}: {name} is run on one file, but there are {', '.join(f.remark for f in used)}; give a folder with one of them")
    samples = [(n, sample) for n, found in enumerate(used) for sample in parts[found]]
    samples = [samples[i] for i in sorted(random.Random(seed).sample(range(len(samples)), min(limit or len(samples), len(samples))))]
    of, samples = torch.tensor([n for n, _ in samples]), [sample for _, sample in samples]
    pose = answer(policy, samples, seed=seed, encoder=encoder, progress=progress)  # (P, 24, 3, 3)
    missing = pose.isnan().flatten(1).any(1)
    report = {"protocol": name, "model": policy.name, "seed": seed, "body": body.name, "samples": len(samples), "notes": notes,
              "without_pose": int(missing.sum()), "missing_mm": MISSING_MM}
    if protocol.joints:
        truth, measured = torch.stack([truth_of(s, protocol, body) for s in samples]), f"{body.name}; {protocol.joints}"
        errors = joint_errors(predict(pose, protocol, body, regressor), truth, protocol)
        errors = torch.stack(errors, 1).masked_fill(missing[:, None], MISSING_MM)  # (P, 2)
        rows = [(measured, errors.mean(0).tolist())]
        rows += [(f"{measured}; {f.dataset} {f.remark or f.part} alone", errors[of == n].mean(0).tolist()) for n, f in enumerate(used)
                 if len(used) > 1 and (of == n).any()]
        return report | {"rows": rows}
    rows = []
    for kind in ("reward_model", "judge"):
        retriever = Retriever.load(kind)
        text, real = retriever.embed_text([s.caption for s in samples]), torch.stack([s.pose for s in samples])
        for who, poses in (("", pose.nan_to_num()), (", real poses", real)):
            made = retriever.embed_pose(poses, body.joints(poses))
            absent = missing if who == "" else torch.zeros_like(missing)
            pool, figures = recalls(text, made, absent, size=POOL if name.endswith("pool") else None, seed=seed)
            rows.append((f"minirft's {kind}{who}; {pool}", figures))
    return report | {"rows": rows}


def answer(policy, samples, *, seed=0, encoder=None, progress=True):
    """The mean pose for each sample, (P, 24, 3, 3), NaN for an answer without one."""
    eyes = Eyes(policy.must_see(), encoder) if any(s.picture for s in samples) else Eyes(None)
    poses = []
    for i in tqdm(range(0, len(samples), 50), desc="evaluate", disable=not progress):
        part = [eyes.look(s) for s in samples[i : i + 50]]
        asked = [s.caption or s.question for s in part]
        poses.append(policy.generate(asked, pictures=[s.picture for s in part], n=1, seed=seed + i)[0][:, 0].cpu())
    return torch.cat(poses)


def truth_of(sample, protocol, body):
    """The joints that a protocol compares with, (17, 3), (22, 3) or (24, 3) metres, or None: measured ones, for 24 the body's own in the true pose."""
    if protocol.joints == 24:
        return None if sample.pose is None else body.joints(sample.pose)
    joints = sample.joints
    if joints is not None:
        joints = joints[FROM_MEASURED] if protocol.joints < 22 else joints[:22]
        compared = joints[: max(protocol.joints, PELVIS + 1)]
        if not compared.isfinite().all() or not compared.std(0).sum() > 0.01:  # some files hold zeros
            joints = None
    return joints


def predict(pose, protocol, body, regressor):
    """The joints of poses (P, 24, 3, 3) that a protocol compares, in the order of its truth."""
    if protocol.joints >= 22:
        return body.joints(pose)[:, : protocol.joints]
    joints = [regressor @ body.vertices(part.nan_to_num()) for part in pose.split(100)]
    return torch.cat(joints)[:, FROM_REGRESSOR]


def joint_errors(predicted, truth, protocol):
    """MPJPE, pelvis on pelvis, and PA-MPJPE in mm: (P, J, 3) twice to (P,) twice; NaN where nothing was predicted."""
    pelvis, compared = (PELVIS if protocol.joints < 22 else 0), slice(0, protocol.joints)
    gap = (predicted - predicted[:, [pelvis]]) - (truth - truth[:, [pelvis]])
    predicted, truth = predicted[:, compared].nan_to_num(), truth[:, compared]
    turned = procrustes(predicted, truth) - truth
    return [1000 * each.norm(dim=-1).mean(-1) for each in (gap[:, compared], turned)]


def recalls(text, made, missing, *, size=None, seed=0):
    """What the pool is, and Recall@K in percent, K of KS, text to pose and then pose to text: of all rows, or on average over POOLS
    seeded pools of `size` rows. text, made: (P, E); missing: (P,)."""
    count = len(text)
    if size is None or size >= count:
        found, pool = [recall(text, made, KS, missing=missing)], f"all {count}"
    else:
        rng = random.Random(seed)
        picks = [rng.sample(range(count), size) for _ in range(POOLS)]
        found, pool = [recall(text[p], made[p], KS, missing=missing[p]) for p in picks], f"{size} of {count}, {POOLS} times, seed {seed}"
    return pool, [float(np.mean([f[way][str(k)] for f in found])) for way in ("t2p", "p2t") for k in KS]


def table(report):
    """A report beside what papers say, in their layout: each row says what its figures were measured with."""
    protocol, model = PROTOCOLS[report["protocol"]], report["model"]
    head = ["MPJPE", "PA-MPJPE"] if protocol.joints else [f"{way} R@{k}" for way in ("T2P", "P2T") for k in KS] + ["T2P mean of 5, 10, 20"]
    rows = [(model, *row) for row in report["rows"]]
    rows += [(who, f"SMPL; {what}" if protocol.joints else what, figures) for who, what, figures in protocol.published]
    lines = [f"{report['protocol']}: {protocol.text}; {report['samples']:,} samples, {report['without_pose']:,} answers without a pose, which "
             + (f"count {report['missing_mm']:.0f} mm; mm, pelvis on pelvis" if protocol.joints else "find nothing; percent"),
             f"| model | {'body; joints' if protocol.joints else 'retriever; pool'} | {' | '.join(head)} |", "|---" * (len(head) + 2) + "|"]
    for who, what, figures in rows:
        cells = [*figures] + [None] * (2 * len(KS) - len(figures)) * (not protocol.joints)
        if not protocol.joints:
            cells.append(sum(figures[1:4]) / 3)
        lines.append(f"| {who} | {what} | {' | '.join('' if c is None else f'{c:.1f}' for c in cells)} |")
    return "\n".join(lines + [f"Rows compare where their second column is the same; {model}'s is the first. Published: arXiv 2508.07804's."
                              if protocol.published else "No paper gives figures for this body."])


def _regressor(protocol, disk, body):
    """Human3.6M's regressor of joints (17, 6890) for the protocols that need it. Raises InputError where body or file cannot give the joints."""
    if protocol.joints in (0, 24):
        return None
    if len(body.skin_at_rest) != 6890:
        raise InputError(f"{protocol.joints} joints that were measured on SMPL cannot be had of the {body.name} body; pass SMPL_NEUTRAL.pkl by --body, "
                         "or use open-24, which no other figures compare with")
    if protocol.joints == 22:
        return None
    paths = disk.named(r"J_regressor_h36m\.npy")
    if not paths:
        raise InputError("J_regressor_h36m.npy is not there; get it from SPIN's data (https://github.com/nkolot/SPIN), or use open-24")
    try:
        array = np.load(paths[0], allow_pickle=False)
    except (OSError, ValueError) as error:
        raise InputError(f"{paths[0]}: cannot be read as an array ({error})") from None
    if array.shape != (17, 6890) or array.dtype.kind != "f" or not np.isfinite(array).all():
        raise InputError(f"{paths[0]}: has shape {array.shape}; Human3.6M's regressor is (17, 6890) numbers")
    return torch.from_numpy(array.astype(np.float32))
