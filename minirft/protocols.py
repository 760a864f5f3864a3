"""The field's evaluation protocols by name, run on a user's own files, and the figures that papers give for them.

Numbers of different joints, bodies, retrieval models or pools do not compare: each row of a table names its own. An answer without a
pose counts evaluate.MISSING_MM, and finds nothing. The pose measured is the mean pose; its body has the mean shape.
"""

import random
import warnings
from dataclasses import dataclass

import numpy as np
import torch
from tqdm import tqdm

from .errors import InputError, in_short
from .evaluate import MISSING_MM, pa_mpjpe_mm
from .photos import Eyes
from .published import DATASETS, FIGURES, Disk, survey
from .retrieval import Retriever, recall

# The 17 joints of Human3.6M's regressor in SPIN's order, of which the first 14 are "14" and row PELVIS the pelvis. And the same joints
# among 4D-Humans' 19 and SPIN's 24 measured ones, which begin alike.
FROM_REGRESSOR = [6, 5, 4, 1, 2, 3, 16, 15, 14, 11, 12, 13, 8, 10, 0, 7, 9]
FROM_MEASURED = [0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 18, 14, 16, 17]
PELVIS = 14
SMPL_VERTICES = 6890
POOL, POOLS = 64, 100  # samples of a random pool, and how many are drawn; how large the papers' are, our sources do not say
KS = (1, 5, 10, 20)


@dataclass(frozen=True)
class Protocol:
    """datasets: those of DATASETS that it is run on; joints: how many are compared, 0 where texts and poses are retrieved."""

    datasets: tuple
    joints: int
    text: str


PROTOCOLS = {
    "3dpw-14": Protocol(("3DPW",), 14, "3DPW test, 13 joints of LSP and Human3.6M's head"),
    "h36m-14": Protocol(("Human3.6M",), 14, "Human3.6M, subjects 9 and 11, 13 joints of LSP and Human3.6M's head"),
    "h36m-17": Protocol(("Human3.6M",), 17, "Human3.6M, subjects 9 and 11, Human3.6M's joints"),
    "rpe-22": Protocol(("RPE",), 22, "RPE's four lists, SMPL's joints without hands"),
    "open-24": Protocol(("3DPW", "Human3.6M", "RPE", "your own"), 24, "truth and answer on one body of mean shape, SMPL's 24 joints"),
    "posescript-full": Protocol(("PoseScript",), 0, "PoseScript's human texts, all of the test split the pool"),
    "posescript-pool": Protocol(("PoseScript",), 0, "PoseScript's human texts of the test split, random pools"),
}


def run(name, root, policy, *, body, seed=0, limit=None, encoder=None):
    """Run one of PROTOCOLS on the files under a folder. limit: samples, drawn by seed; None: all.

    Returns a report whose "rows" are (what was measured with, figures), as `table` prints them. Raises InputError where the protocol is
    none of ours, its files are not there, or the body cannot give its joints.
    """
    if name not in PROTOCOLS:
        raise InputError(f"{name}: no protocol; use one of {', '.join(PROTOCOLS)}")
    protocol = PROTOCOLS[name]
    regressor = _regressor(protocol, Disk(root), body)
    exam, notes = _exam(survey(root, protocol.datasets), protocol, body)
    parts = list(dict.fromkeys(part for part, *_ in exam))
    if not exam:
        raise InputError(f"{root}: nothing there for {name}; get {DATASETS[protocol.datasets[0]]}; {'; '.join(notes)}")
    if len(parts) > 1 and name not in ("rpe-22", "open-24"):
        raise InputError(f"{root}: {name} is run on one set, but there are {', '.join(parts)}; give a folder with one")
    some = f"; {limit} of {len(exam):,} samples" if limit and limit < len(exam) else ""
    exam = [exam[i] for i in sorted(random.Random(seed).sample(range(len(exam)), min(limit or len(exam), len(exam))))]
    of, samples, truth = zip(*exam)
    pose, truth = answer(policy, samples, seed=seed, encoder=encoder), torch.stack(truth)
    missing = pose.isnan().flatten(1).any(1)
    if protocol.joints:
        errors = torch.stack(joint_errors(predict(pose.nan_to_num(), protocol, body, regressor), truth, protocol), 1)  # (P, 2)
        errors, measured = errors.masked_fill(missing[:, None], MISSING_MM), f"{_body(body)}; {protocol.joints}{some}"
        rows = [(measured, errors.mean(0).tolist())]
        for part in sorted(set(of)) if len(parts) > 1 else ():
            rows.append((f"{measured}; {part} alone", errors[torch.tensor([other == part for other in of])].mean(0).tolist()))
    else:
        rows = _retrieved([s.caption for s in samples], pose, truth, missing, body, size=POOL if name.endswith("pool") else None, seed=seed)
    return {"protocol": name, "model": policy.name, "seed": seed, "body": body.name, "samples": len(samples), "notes": notes,
            "without_pose": int(missing.sum()), "missing_mm": MISSING_MM, "rows": rows}


def _body(body):
    """What a table calls a body: SMPL whatever its file is called, as papers do."""
    return "SMPL" if len(body.skin_at_rest) == SMPL_VERTICES else body.name


def _exam(founds, protocol, body):
    """What a protocol asks of what was found: [(part, sample, truth)], and lines that say what there is and what is left out."""
    exam, notes = [], []
    for found in founds:
        other = ("train", "val") if found.dataset == "3DPW" and protocol.joints < 24 else ("train",)  # Human3.6M's val is what papers test on
        if found.part in other or not (protocol.joints or found.part == "test" and "human" in found.dataset):
            notes += [f"{found.dataset}, {found.part or 'whole'}: not asked, by this protocol"] * bool(found.samples)
            continue
        if protocol.joints:
            mine, lost = [(s, truth_of(s, protocol, body)) for s in found.samples], "samples without truth for these joints"
        else:  # the first text of each pose
            mine, lost = [(s, s.pose) for s in {s.key: s for s in reversed(found.samples)}.values()][::-1], "further texts of a pose"
        part = f"{found.dataset} {found.remark or found.part}"
        mine = [(part, *row) for row in mine if row[1] is not None]
        notes += [*found.lines(), *[f"    {len(found.samples) - len(mine):,} {lost} are left out"] * (len(mine) < len(found.samples))]
        exam += mine
    return exam, notes


def _retrieved(captions, pose, real, missing, body, *, size, seed):
    """Rows of recall by both of our retrieval models: of the poses (P, 24, 3, 3), and of the real ones."""
    rows = []
    for kind in ("reward_model", "judge"):
        retriever = Retriever.load(kind)
        text = retriever.embed_text(captions)
        for who, poses, absent in (("", pose.nan_to_num(), missing), (", real poses", real, torch.zeros_like(missing))):
            pool, figures = recalls(text, retriever.embed_pose(poses, body.joints(poses)), absent, size=size, seed=seed)
            rows.append((f"minirft's {kind}{who}; {pool}", figures))
    return rows


def answer(policy, samples, *, seed=0, encoder=None):
    """The mean pose for each sample, (P, 24, 3, 3), NaN for an answer without one and for a picture that cannot be opened."""
    eyes = Eyes(policy.must_see(), encoder) if any(s.picture for s in samples) else Eyes(None)
    poses = torch.full((len(samples), 24, 3, 3), torch.nan)
    for i in tqdm(range(0, len(samples), 50), desc="evaluate"):
        part = {}
        for row, sample in enumerate(samples[i : i + 50], i):
            try:
                part[row] = eyes.look(sample)
            except InputError as error:
                warnings.warn(f"counts as an answer without a pose: {error}", stacklevel=2)
        if part:
            asked, shown = zip(*((s.caption or s.question, s.picture) for s in part.values()))
            poses[list(part)] = policy.generate(list(asked), pictures=list(shown), n=1, seed=seed + i)[0][:, 0].cpu()
    return poses


def truth_of(sample, protocol, body):
    """The joints that a protocol compares with, (17, 3), (22, 3) or (24, 3) metres: measured ones, for 24 the body's own in the true
    pose; None where they are not known."""
    if protocol.joints == 24:
        return None if sample.pose is None else body.joints(sample.pose)
    if sample.joints is None:
        return None
    joints = sample.joints[FROM_MEASURED] if protocol.joints < 22 else sample.joints[:22]
    needed = joints[: max(protocol.joints, PELVIS + 1)]
    return joints if needed.isfinite().all() and needed.std(0).sum() > 0.01 else None  # some files hold zeros


def predict(pose, protocol, body, regressor):
    """The joints of poses (P, 24, 3, 3) that a protocol compares, in the order of its truth."""
    if protocol.joints >= 22:
        return body.joints(pose)[:, : protocol.joints]
    joints = [regressor @ body.vertices(part) for part in pose.split(100)]
    return torch.cat(joints)[:, FROM_REGRESSOR]


def joint_errors(predicted, truth, protocol):
    """MPJPE, pelvis on pelvis, and PA-MPJPE in mm: (P, J, 3) twice to (P,) twice."""
    pelvis, count = (PELVIS if protocol.joints < 22 else 0), protocol.joints
    gap = (predicted - predicted[:, [pelvis]]) - (truth - truth[:, [pelvis]])
    return 1000 * gap[:, :count].norm(dim=-1).mean(-1), pa_mpjpe_mm(predicted[:, :count], truth[:, :count])


def recalls(text, made, missing, *, size=None, seed=0):
    """What the pool is, and Recall@K in percent, K of KS, text to pose and then pose to text: of all rows, or on average over POOLS
    seeded pools of `size` rows. text, made: (P, E); missing: (P,)."""
    count = len(text)
    if size is None or size >= count:
        pool, picks = f"{count} poses", [slice(None)]
    else:
        rng, pool = random.Random(seed), f"{size} of {count} poses, {POOLS} times, seed {seed}"
        picks = [rng.sample(range(count), size) for _ in range(POOLS)]
    found = [recall(text[p], made[p], KS, missing=missing[p]) for p in picks]
    return pool, [float(np.mean([f[way][str(k)] for f in found])) for way in ("t2p", "p2t") for k in KS]


def table(report):
    """A report beside what papers say, in their layout: each row says what its figures were measured with."""
    protocol, published, model = PROTOCOLS[report["protocol"]], FIGURES.get(report["protocol"], []), report["model"]
    head = ["MPJPE", "PA-MPJPE"] if protocol.joints else [f"{way} R@{k}" for way in ("T2P", "P2T") for k in KS] + ["T2P mean of 5, 10, 20"]
    rows = [*((model, *row) for row in report["rows"]), *published]
    lines = [f"{report['protocol']}: {protocol.text}; {report['samples']:,} samples, {report['without_pose']:,} answers without a pose, "
             + (f"which count {report['missing_mm']:.0f} mm; mm, pelvis on pelvis" if protocol.joints else "which find nothing; percent"),
             f"| model | {'body; joints' if protocol.joints else 'retriever; pool'} | {' | '.join(head)} |", "|---" * (len(head) + 2) + "|"]
    for who, what, figures in rows:
        cells = [*figures]
        if not protocol.joints:  # papers have text to pose alone
            cells += [None] * (2 * len(KS) - len(figures)) + [sum(figures[1:4]) / 3]
        lines.append(f"| {who} | {what} | {' | '.join('' if c is None else f'{c:.1f}' for c in cells)} |")
    return "\n".join([*lines, "Rows compare where their second column is the same. Other models' figures: as arXiv 2508.07804 gives them."
                      if published else "No paper gives figures for this."])


def _regressor(protocol, disk, body):
    """Human3.6M's regressor of joints (17, 6890), None for who needs none. Raises InputError where body or file cannot give the joints."""
    if protocol.joints in (0, 24):
        return None
    if len(body.skin_at_rest) != SMPL_VERTICES:
        raise InputError(f"{protocol.joints} joints that were measured on SMPL cannot be had of the {body.name} body; pass "
                         "SMPL_NEUTRAL.pkl by --body, or use open-24, which no paper's figures compare with")
    if protocol.joints == 22:
        return None
    paths = disk.named(r"J_regressor_h36m\.npy")
    if not paths:
        raise InputError("J_regressor_h36m.npy is not there; get it from SPIN's data (https://github.com/nkolot/SPIN), or use open-24")
    try:
        array = np.asarray(np.load(paths[0], allow_pickle=False))  # of an npz in disguise not even that can be made
    except Exception as error:  # numpy raises a dozen kinds on broken files
        raise InputError(f"{paths[0]}: cannot be read as an array ({in_short(error)})") from None
    if array.shape != (17, 6890) or array.dtype.kind != "f" or not np.isfinite(array).all():
        raise InputError(f"{paths[0]}: has shape {array.shape}; Human3.6M's regressor is (17, 6890) numbers")
    return torch.from_numpy(array.astype(np.float32))
