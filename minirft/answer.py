"""From sentences, or from a photograph, to files: poses.npz, poses.png, meshes."""

import numpy as np
import torch
from tqdm import tqdm

from .body import to_axis_angle
from .data import SHOWN, poses_from, to_picture
from .errors import InputError
from .files import save_npz
from .fit import best_by_joint, camera, landmarks, misfit, refine, refine_to_words
from .prior import PosePrior
from .render import draw_over, photo_sheet, pose_sheet, write_mesh
from .retrieval import Panel
from .vision import BlazePose, crop_person, open_photo, tokens

ON_A_SHEET = 60  # pictures on poses.png
DRAWN_SIDE = 768  # pixels of a photograph that is drawn over


def answer_sentences(policy, sentences, *, body, out, seed, n=1, width=1.0, best_of=None, fit=False):
    """Answer each sentence with n poses, the reward models' favourites of `best_of` if given; write out/poses.npz.

    width: as of policy.generate. fit: then move each to where these models like it best, near what bodies do. Returns poses
    (P, n, 24, 3, 3) and P lists of n answers."""
    draws = best_of or n
    size = max(1, 256 // draws)  # sentences at once
    starts = tqdm(range(0, len(sentences), size), desc="generate", disable=len(sentences) <= size)
    parts = [policy.generate(sentences[i : i + size], n=draws, width=width, seed=seed + i) for i in starts]
    pose, log_prob = (torch.cat([part[i] for part in parts]).cpu() for i in (0, 2))  # (P, draws, 24, 3, 3), (P, draws)
    answers = [said for part in parts for said in part[1]]
    if best_of:
        pose, answers, log_prob = pick(-_likeness(pose, sentences, body), n, pose, answers, log_prob)
    if fit:
        panel, prior, known, size = Panel.load(), PosePrior.load(), body.joints(poses_from("prior", 0)), max(1, 256 // n)
        for i in tqdm(range(0, len(sentences), size), desc="refine", disable=len(sentences) <= size):
            part = sentences[i : i + size]
            std = policy.gaussian(part)[1].cpu().nan_to_num(0.1)
            pose[i : i + size] = refine_to_words(body, pose[i : i + size], std, part, panel, prior, known=known, seed=seed + i)
        log_prob = torch.full_like(log_prob, torch.nan)  # it was the drawn poses'
    save_poses(out / "poses.npz", body, pose, answers, log_prob, sentences, frame="canonical")
    return pose, answers


def answer_photo(policy, path, question, *, body, out, seed, n=1, width=1.0, best_of=None, fit=False, encoder=None):
    """Answer a question about the largest person in a photograph with n poses; write out/poses.npz and out/poses.png.

    Settings as of pose_person. Returns poses (1, n, 24, 3, 3), one list of n answers and how many people were found. Raises
    InputError where nobody is.
    """
    policy.must_see()
    photo = open_photo(path)
    people = BlazePose()(photo)
    if not people:
        raise InputError(f"{path}: nobody was found; give a picture in which one person is seen whole, and not too small")
    question = question or SHOWN[0]
    pose, answers, log_prob = pose_person(policy, photo, people[0], question, body=body, seed=seed, n=n, width=width, best_of=best_of,
                                          fit=fit, encoder=encoder)
    scale, shift = camera(landmarks(body, pose[0]), people[0])  # (n, 1, 1), (n, 1, 2)
    save_poses(out / "poses.npz", body, pose, answers, log_prob, [question], frame="camera", landmarks=people[0].image,
               camera=torch.cat([scale[:, 0], shift[:, 0]], 1)[None].numpy())
    smaller = min(1.0, DRAWN_SIDE / max(photo.size))
    photo = np.asarray(photo.resize([max(1, round(side * smaller)) for side in photo.size]))
    skins = body.vertices(pose[0])
    drawn = [draw_over(photo, skin, body.faces, scale=float(s) * smaller, shift=t[0] * smaller) if skin.isfinite().all() else photo
             for skin, s, t in zip(skins, scale, shift)]
    photo_sheet(photo, drawn, skins, body.faces, question, path=out / "poses.png")
    return pose, answers, len(people)


def pose_person(policy, photo, person, question=SHOWN[0], *, body, seed=0, n=1, width=1.0, best_of=None, fit=False, encoder=None):
    """Poses of a person in a photograph, in the camera's frame (x right, y down, z away).

    photo: a PIL image; person: of BlazePose; width: as of policy.generate. best_of: of so many poses one put together joint by
    joint, then the n - 1 nearest to the landmarks seen. fit: move each to where it agrees with these. encoder: of encoders.py,
    where the policy was taught with one.
    Returns poses (1, n, 24, 3, 3), one list of n answers and their log_prob (1, n), as policy.generate does; NaN of poses that were moved.
    """
    features = encoder(photo, person) if encoder else tokens(person)
    shown = [to_picture(crop_person(photo, person), features, policy.must_see())]
    pose, answers, log_prob = policy.generate([question], pictures=shown, n=best_of or n, width=width, seed=seed)
    pose, log_prob = pose.cpu(), log_prob.cpu()
    if best_of or fit:
        std = policy.gaussian([question], shown)[1].cpu()  # (1, 132), for all of them
    if best_of:
        pose[:, 0], log_prob[:, 0] = best_by_joint(body, pose, std, person), torch.nan
        off = misfit(body, pose, person)  # NaN where there is no pose
        off[:, 0] *= 0  # it comes first
        pose, answers, log_prob = pick(off.nan_to_num(torch.inf), n, pose, answers, log_prob)
    if fit:
        pose = refine(body, pose, std.nan_to_num(0.1)[:, None], person)  # NaN stays NaN
        log_prob = torch.full_like(log_prob, torch.nan)  # it was the drawn pose's
    return pose, answers, log_prob


def sheet_of_sentences(body, pose, sentences, path):
    """Draw poses (P, n, 24, 3, 3) on a sheet, as many as fit; returns how many sentences and how many of each are on it."""
    across = min(pose.shape[1], 8)
    shown = pose[: max(1, ON_A_SHEET // across), :across]
    pose_sheet(body, shown, sentences[: len(shown)], path=path)
    return shown.shape[:2]


def write_meshes(body, pose, out, *, upright=True):
    """Every pose (P, n, 24, 3, 3) as out/pose_PPP_KK.obj, Y up; upright: it is so already, else as the camera sees it."""
    turn = torch.ones(3) if upright else torch.tensor([1.0, -1.0, -1.0])
    for p, k in (~pose.isnan().flatten(2).any(-1)).nonzero().tolist():
        write_mesh(out / f"pose_{p:03d}_{k:02d}.obj", body.vertices(pose[p, k]) * turn, body.faces)


def save_poses(path, body, pose, answers, log_prob, questions, *, frame, **others):
    """Poses (P, n, 24, 3, 3) and what was said with them as npz: NaN for an answer without one. frame: "canonical" or "camera"."""
    there = ~pose.isnan().flatten(2).any(-1)
    axis_angle, joints = to_axis_angle(pose.nan_to_num()), body.joints(pose)
    axis_angle[~there], joints[~there] = torch.nan, torch.nan
    save_npz(path, pose=axis_angle.numpy(), joints=joints.numpy(), answer=np.array(answers), frame=np.array(frame),
             log_prob=log_prob.numpy(), prompt=np.array(questions), **others)


def pick(cost, n, pose, answers, log_prob):
    """Of each question's M poses (P, M, ...) the n of lowest cost (P, M), the best first, with their answers and log_prob."""
    best, row = cost.topk(n, largest=False).indices, torch.arange(len(pose))[:, None]
    return pose[row, best], [[said[k] for k in order] for said, order in zip(answers, best.tolist())], log_prob[row, best]


def _likeness(pose, sentences, body):
    """How well the reward models find each sentence's poses (P, M, 24, 3, 3) to fit it: (P, M), -inf where there is none."""
    model, there = Panel.load(), ~pose.isnan().flatten(2).any(-1)
    made = model.embed_pose(pose.nan_to_num(), body.joints(pose.nan_to_num()))
    likeness = (model.embed_text(sentences)[:, None] * made).sum(-1)
    return likeness.masked_fill(~there, -torch.inf)
