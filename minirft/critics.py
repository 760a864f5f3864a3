"""From a rollout to a loss: what its answers and poses are worth, each against the others of its prompt."""

import math
import runpy
from dataclasses import dataclass, fields
from pathlib import Path

import torch

from . import captions, head, hygrpo, rewards
from .body import procrustes
from .errors import InputError, in_short
from .prior import PosePrior
from .retrieval import REWARDING, Panel, SentenceEncoder
from .rollout import Tokens, spread

MISSING = -1.0  # what an answer to a description gets in place of its poses' mean reward when it holds no pose, if no pose got less
MIN_STD = 0.01  # spread, in units of the total reward, under which candidates count as equally good
LOGGED = {"step", "posed", *(f"{part}_{what}" for part in ("text", "pose") for what in ("gain", "kl", "clipped"))}  # beside rewards
OF_SENTENCES, OF_PICTURES = ("semantic", "verifiable", "plausible", "near"), ("joint", "aligned")  # what our rewards of poses are about


@dataclass
class Critics:
    """What rewards are computed with. encoder: text_similarity's sentence encoder, an object with embed_text and to."""

    body: object
    reward_model: object
    prior: object
    encoder: object
    own: dict  # the user's rewards: name to function(samples, answers, pose, joints)
    known: torch.Tensor = None  # joints (M, 24, 3) of poses that bodies take, for the reward `near`; None where that is not paid

    @classmethod
    def load(cls, body, *, encoder=None, own=None, rewarding=REWARDING):
        """The networks that ship; encoder: a sentence encoder's name in place of the reward models' own text towers; rewarding:
        the kinds of retrieval models whose mean opinion is the semantic reward."""
        model = Panel.load(rewarding)
        return cls(body, model, PosePrior.load(), SentenceEncoder(encoder) if encoder else model, own or {})

    def to(self, device):
        """Its networks, moved to where poses are made. Returns self."""
        for network in (self.reward_model, self.prior, self.encoder):
            network.to(device)
        return self


def read_rewards(texts, weights):
    """NAME=WEIGHT or FILE.py:FUNCTION[=WEIGHT], each as `rft --reward` takes it: weights by name, the user's own functions.

    weights: those of our rewards, which NAME=WEIGHT changes. Raises InputError for a text that is neither.
    """
    weights, own = dict(weights), {}
    for text in texts:
        what, _, number = text.rpartition("=")
        if not what or ":" in number:  # no weight was given; a path may hold a "="
            what, number = text, ""
        path, _, name = what.rpartition(":")
        try:
            weight = float(number or 1)
        except ValueError:
            raise InputError(f"--reward {text}: {number!r} is no weight; give a number, as in {what}=0.5") from None
        if not math.isfinite(weight):
            raise InputError(f"--reward {text}: {number} cannot be weighed with; give a finite number, as in {what}=0.5")
        if path and (name in weights or name in LOGGED or name.startswith("val_")):
            raise InputError(f"--reward {text}: a run logs a {name} already; give the function another name")
        if path:
            own[name] = _load_function(path, name)
        elif what not in weights or not number:
            raise InputError(f"--reward {text}: give one of {', '.join(weights)} with a weight, as in semantic=0.5, or "
                             "FILE.py:FUNCTION")
        weights[name] = weight
    return weights, own


def _load_function(path, name):
    """A function from a file of the user's, which is run for that."""
    if not Path(path).is_file():
        raise InputError(f"{path}: no such Python file; give FILE.py:FUNCTION")
    try:
        function = runpy.run_path(path)[name]
    except (Exception, SystemExit) as error:
        raise InputError(f"{path}: cannot load {name} ({type(error).__name__}: {error})") from None
    if not callable(function):
        raise InputError(f"{path}: {name} is a {type(function).__name__}; give the name of a function")
    return function


@torch.no_grad()
def give_rewards(rollout, answers, samples, critics):
    """Rewards by name: of the answers, each (R,), and of their poses, each (R, K), 0 where none was given or asked for.

    samples: the N questions; answers: R strings. A user's function is called with R samples, R answers, their poses
    (R, K, 24, 3, 3) and joints (R, K, 24, 3), NaN where there is none, and returns (R,) or (R, K).
    Raises InputError for a reward that is not finite or, a user's, of another shape or an exception.
    """
    size = len(answers) // len(samples)
    asked = [s for s in samples for _ in range(size)]  # R, one for each answer
    wants = torch.tensor([s.pose is not None for s in asked]).to(rollout.scores.has_pose)
    posed = rollout.scores.has_pose & wants
    pose = rollout.pose[wants[rollout.scores.has_pose]]  # (A, K, 24, 3, 3)
    joints, rows = critics.body.joints(pose), [asked[i] for i in posed.nonzero()[:, 0].tolist()]
    counted = torch.tensor([s.kind in rewards.REWARDED for s in captions.STATEMENTS]).to(pose)
    text = critics.reward_model.embed_text([s.caption for s in samples]).repeat_interleave(size, 0)[posed, None]
    named = {"semantic": rewards.semantic_alignment(text, critics.reward_model.embed_pose(pose, joints)),
             "verifiable": rewards.verifiable(captions.holds(joints), [s.statements for s in rows], counted=counted),
             "plausible": rewards.plausibility(torch.cat([critics.prior.score(part) for part in pose.split(64)]))}
    if critics.known is not None:
        named["near"] = rewards.nearness(joints, critics.known)
    told = torch.tensor([bool(s.caption) for s in rows], dtype=torch.bool, device=pose.device)
    named["semantic"] = named["semantic"].masked_fill(~told[:, None], 0.0)  # of what no sentence describes there is no likeness
    seen = torch.tensor([s.task == "image" for s in rows], dtype=torch.bool, device=pose.device)
    if seen.any():  # a pose as a camera sees it: no sentence, no upright
        there = joints[seen]
        truth = critics.body.joints(torch.stack([s.pose for s in rows if s.task == "image"]).to(pose))[:, None].expand_as(there)
        named = {name: value.masked_fill(seen[:, None], 0.0) for name, value in named.items()}
        named["joint"] = spread(rewards.joint_location(there, truth), seen)
        named["aligned"] = spread(rewards.joint_location(procrustes(there, truth), truth, rooted=False), seen)
    of_poses = {name: spread(value, posed) for name, value in named.items()}
    wanted = critics.encoder.embed_text([s.answer for s in asked])
    of_answers = {"format": rewards.answer_format(answers, wants_pose=wants.tolist()).to(wanted),
                  "similarity": rewards.text_similarity(critics.encoder.embed_text(answers), wanted)}
    for name, function in critics.own.items():
        try:
            value = function(asked, answers, spread(pose, posed, torch.nan), spread(joints, posed, torch.nan))
            value = torch.as_tensor(value, device=pose.device)
        except (Exception, SystemExit) as error:
            raise InputError(f"reward {name} gave no numbers ({type(error).__name__}: {in_short(error)}); mend the function") from error
        shapes = [(len(answers),), (len(answers), pose.shape[1])]
        if tuple(value.shape) not in shapes:
            raise InputError(f"reward {name} returned shape {tuple(value.shape)}; return {shapes[0]}, one for each answer, "
                             f"or {shapes[1]}, one for each pose")
        if value.dim() == 1:
            of_answers[name] = value.float()
        else:
            of_poses[name] = value.float().masked_fill(~posed[:, None], 0.0)
    for name, value in (of_answers | of_poses).items():
        if not value.isfinite().all():
            raise InputError(f"reward {name} is not finite; it must be a number for every answer, those without a pose (whose joints "
                             "are NaN) too, and for every pose there is")
    return of_answers, of_poses


@dataclass
class Batch(Tokens):
    """A rollout row by row, as the loss wants it: R answers with K poses of D numbers each, filled up with zeros."""

    has_pose: torch.Tensor  # (R,)
    action: torch.Tensor  # (R, K, D)
    width: torch.Tensor  # (R, K), of the std that each was drawn with
    old_text_logp: torch.Tensor  # (R, T)
    old_pose_logp: torch.Tensor  # (R, K)
    reference_text_logp: torch.Tensor  # (R, T)
    reference_mean: torch.Tensor  # (R, D)
    reference_std: torch.Tensor  # (R, D)
    text_advantage: torch.Tensor  # (R,)
    pose_advantage: torch.Tensor  # (R, K)

    def parts(self, prompts, group_size):
        """Split into micro-batches of whole prompts, columns that are padding alone left out."""
        for i in range(0, len(self.prompt), prompts):
            rows = slice(i * group_size, (i + prompts) * group_size)
            there = {k: v for k, v in vars(self).items() if v is not None}
            part = {k: v[i : i + prompts] if k.startswith("prompt") else v[rows] for k, v in there.items()}
            start, end = int(part["prompt_mask"].any(0).int().argmax()), int(part["answer_mask"].sum(1).max())
            part |= {k: part[k][:, start:] for k in ("prompt", "prompt_mask")}
            part |= {k: part[k][:, :end] for k in ("answer", "answer_mask", "old_text_logp", "reference_text_logp")}
            yield Batch(**part)


@torch.no_grad()
def weigh(policy, rollout, of_answers, of_poses, samples, config):
    """Rewards to advantages, and what the reference thinks of the rollout: a Batch."""
    scores, weights = rollout.scores, config.reward_weights
    wants = torch.tensor([s.pose is not None for s in samples]).repeat_interleave(config.group_size).to(scores.has_pose)
    rows, pose_rewards = scores.has_pose, rewards.total(of_poses, weights)
    missing = min([MISSING, *pose_rewards[rows & wants].mean(1).tolist()])  # to say no pose is never better than to say the worst
    pose_rewards = pose_rewards.masked_fill(~wants[:, None], missing)  # all alike: no signal
    text, pose = hygrpo.hybrid_advantages(rewards.total(of_answers, weights), pose_rewards, rows, config.group_size, missing=missing,
                                          scale=config.scale, min_std=MIN_STD, kinds=len(config.widths))
    tokens = {part.name: getattr(rollout, part.name) for part in fields(Tokens)}
    batch = Batch(**tokens, has_pose=rows, action=spread(rollout.action, rows),
                  width=rollout.width.expand(len(rows), -1), old_text_logp=scores.text_logp,
                  old_pose_logp=spread(rollout.pose_logp, rows), reference_text_logp=torch.zeros_like(scores.text_logp),
                  reference_mean=scores.mean.new_zeros(len(rows), scores.mean.shape[1]),
                  reference_std=scores.std.new_ones(len(rows), scores.std.shape[1]),
                  text_advantage=text, pose_advantage=pose if config.algorithm == "hygrpo" else torch.zeros_like(pose))
    with policy.reference():  # part by part, as the loss does: in bf16 another shape gives other numbers, and a KL of no update
        for part in batch.parts(config.micro_batch, config.group_size):
            found = policy.score(part, temperature=rollout.temperature)
            part.reference_text_logp.copy_(found.text_logp)
            part.reference_mean.copy_(spread(found.mean, part.has_pose)), part.reference_std.copy_(spread(found.std, part.has_pose, 1.0))
    return batch


def rft_loss(policy, batch, config, *, prompts, first=False):
    """HyGRPO's loss on whole prompts of a batch that has `prompts` of them, and what to log.

    first: nothing was learnt from the batch yet, so that every ratio is 1. In bf16 a sampler that reads word by word gives other
    log-probabilities than this one pass (of a pose by whole nats), so what this pass says is kept as the old ones from then on.
    """
    scores = policy.score(batch, temperature=config.temperature)
    rows, (mean, std) = batch.has_pose, (scores.mean, scores.std)
    drawn_std = std if config.align_std else std.detach()
    pose_logp = head.log_prob(batch.action[rows], mean[:, None], batch.width[rows][..., None] * drawn_std[:, None])
    if first:
        batch.old_text_logp.copy_(scores.text_logp.detach()), batch.old_pose_logp.copy_(spread(pose_logp.detach(), rows))
    pose_kl = head.kl(mean, std, batch.reference_mean[rows], batch.reference_std[rows])
    return hygrpo.hygrpo_loss(
        scores.text_logp, spread(pose_logp, rows), old_text_logp=batch.old_text_logp, old_pose_logp=batch.old_pose_logp,
        reference_text_logp=batch.reference_text_logp, pose_kl=spread(pose_kl, rows), answer_mask=batch.answer_mask,
        has_pose=rows, text_advantage=batch.text_advantage, pose_advantage=batch.pose_advantage,
        group_size=config.group_size, prompts=prompts, clip_text=config.clip_text, clip_pose=config.clip_pose,
        ratio_dims=1 if config.pose_ratio == "joint" else mean.shape[-1], text_beta=config.text_beta,
        pose_beta=config.pose_beta)


def average_rewards(of_answers, of_poses, batch, samples):
    """Each reward's average over the answers, or over the poses it is about, for the log; none where there are no such poses."""
    asked = [s for s in samples for _ in range(len(batch.has_pose) // len(samples))]
    posed = batch.has_pose & torch.tensor([s.pose is not None for s in asked]).to(batch.has_pose)
    seen = torch.tensor([s.task == "image" for s in asked]).to(posed)
    about = dict.fromkeys(OF_SENTENCES, posed & ~seen) | dict.fromkeys(OF_PICTURES, posed & seen)
    averages = {name: value.mean().item() for name, value in of_answers.items()}
    told = {name: value[about.get(name, posed)] for name, value in of_poses.items()}
    return averages | {name: value.mean().item() for name, value in told.items() if len(value)}
