"""The two training loops, flat. Stage 1, SFT: imitate answers and poses. Stage 2, RFT: sample them and follow rewards.

A step is a function of the weights, the optimiser's moments and (seed, step) alone: every batch draws from generators
seeded by those two numbers. So on a CPU a run that was stopped goes on to bitwise the same weights as one that was not.
"""

import copy
import random
import sys
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import torch
from torch import nn
from tqdm import tqdm

from . import captions
from .batches import by_length, fresh_samples, micro_batches
from .body import to_6d
from .critics import average_rewards, give_rewards, rft_loss, weigh
from .data import SEE, image_sample
from .errors import InputError
from .evaluate import exam_samples
from .lesson import Specialist, pose_losses, teach_to_read
from .rollout import to_pose
from .runs import begin_run, descend, end_step, make_optimizer, one_line, resume_run, save_run, stop_asked

KNOWN = 15_000  # poses among which the reward `near` looks for the nearest; of more, so many spread over them


def _check(config, rules, counts):
    """Raise InputError with the values of a config that cannot be. rules: whether each holds; counts: numbers that are 1 at least."""
    for name, value in vars(config).items():
        if isinstance(value, (int, float)):
            low, high = int(name in counts), 1 if name.endswith("_share") else sys.float_info.max
            rules |= {name: rules.get(name, True) and low <= value <= high}
    wrong = [f"{name}={getattr(config, name)!r}" for name, holds in rules.items() if not holds]
    if wrong:
        raise InputError(f"{', '.join(wrong)} cannot be; see the comments of {type(config).__name__}")


@dataclass(frozen=True)
class SFTConfig:
    """Every number of a supervised run; saved beside it as config.json."""

    steps: int = 6000
    # Optimiser steps; over the last fifth of these the share of statements satisfied rose by less than 1 %.
    batch_size: int = 96
    # Samples a step, each a fresh sentence of a fresh pose.
    micro_batch: int = 32
    # Samples a forward pass; sentences are sorted by length first. Changes memory and speed, not the gradient.
    lr: float = 2e-3
    # Peak learning rate of AdamW, reached after `warmup` steps, then down a cosine to zero.
    warmup: int = 100
    # Steps of linear warm-up.
    weight_decay: float = 0.01
    # AdamW's, on everything.
    talk_share: float = 0.04
    # Share of questions about something else, answered without a pose.
    image_share: float = 0.0
    # Share of questions about a person seen: by landmarks as BlazePose might give them, or in pictures of the album.
    album_share: float = 0.5
    # Share of these that are from the album, if there is one.
    lesson_steps: int = 4000
    # Steps of 256 pictures by which a projector that is new to pictures learns to read them, before the language model learns
    # to say what it read; no more than twice `steps`.
    teacher: str = ""
    # A policy, by name or folder, whose mean poses are the aim for our sentences in place of the poses that these were made of: a
    # true pose is one of many that fit, a teacher's their middle. Its std is not taught. It brings little (data/results/findings.md).
    see: str = "features"
    # What of a picture the policy looks at: "features" of the pose-aware encoder, "pixels" by its vision tower, "both".
    text_weight: float = 0.2
    # Weight of the answer's cross-entropy, nats per token.
    rotation_weight: float = 1.0
    # Weight of the mean's absolute error in 6D numbers, averaged over 132. Absolute, not squared: of several plausible
    # poses the median is often one of them, the average seldom.
    joint_weight: float = 1.0
    # Weight of the mean pose's joint error in metres, through forward kinematics.
    probe_weight: float = 0.02
    # Weight of a side task, nats an answer: a linear probe on the hidden state at <POSE> names the statements that the
    # sentence made. Nearly everything in a pose is left open by its sentence; the probe's error is about the words alone.
    std_weight: float = 0.1
    # Weight of the negative log-density per dimension, which teaches std alone: the mean is held fixed in it.
    validate_every: int = 250
    # Steps between looks at the validation poses.
    save_every: int = 250
    # Steps between checkpoints.
    seed: int = 0
    # Of the weights, the batches and everything else random.

    def __post_init__(self):
        _check(self, {"see": self.see in SEE}, ("steps", "batch_size", "micro_batch", "validate_every", "save_every"))


def sft(policy, poses, config, *, body, out, album=None, own=None, validation=None, validation_album=None, resume=False, progress=True):
    """Teach the policy to answer sentences with poses. Writes out/metrics.jsonl and the checkpoint out/last.

    poses, validation: (M, 24, 3, 3) rotations; body: whose joints the sentences speak of; album, validation_album: an Album or
    None; own: a mix.Mix of ready samples, or None. Returns the policy.
    Ctrl-C ends the step, saves and leaves; `resume` goes on from out/last. Raises InputError if out holds another run.
    """
    out = Path(out)
    teacher = type(policy).from_pretrained(config.teacher, device=policy.device) if config.teacher else None
    if policy.raw is not None and not policy.adapters:
        policy.add_lora("sft", seed=config.seed)
    newly = config.image_share and config.see != "pixels" and policy.sees in (None, "pixels")
    policy.sees = config.see if config.image_share else policy.sees
    if policy.sees != "features" and config.image_share and album is None:
        raise InputError("a policy learns to see by pixels from photographs; give it some by --album, or --see features")
    policy.projector.requires_grad_(bool(config.image_share or own))  # a mix may hold pictures too
    if own:
        policy.answer_tokens = max(policy.answer_tokens, own.suit(policy))
    probe = nn.Linear(policy.head.layers[1].in_features, len(captions.STATEMENTS)).to(policy.device)
    nn.init.zeros_(probe.weight), nn.init.constant_(probe.bias, -4.0)  # few of the statements are made
    trained = [p for p in [*policy.parameters(), *probe.parameters()] if p.requires_grad]
    optimizer = make_optimizer(trained, policy.device, lr=config.lr, weight_decay=config.weight_decay, betas=(0.9, 0.98))
    beside, specialist = nn.ModuleDict({"probe": probe}), Specialist(policy.projector, seed=config.seed)
    if newly:
        beside["specialist"] = copy.deepcopy(specialist).requires_grad_(False)  # stays as the lesson leaves it
    save = partial(save_run, policy, optimizer, out=out, extra=beside)
    with one_line(f"{out}: the run there cannot be resumed"):
        start = resume_run(policy, optimizer, config, out, poses, extra=beside) if resume else begin_run(config, out, poses)
    weights = captions.weights_among(poses, body)
    exam = None
    if validation is not None:
        pick = torch.randperm(len(validation), generator=torch.Generator().manual_seed(0))[:512]
        exam = exam_samples(validation, pick, body=body, seed=0)
    shown = [image_sample(pose, validation_album.picture(i, policy.sees), random.Random(0))
             for i, pose in enumerate(validation_album.pose)] if validation_album else None
    if newly and not resume:
        teach_to_read(specialist, poses, config, body=body, album=album, progress=progress)
        beside["specialist"].load_state_dict(specialist.state_dict())
    bar = tqdm(range(start, config.steps), initial=start, total=config.steps, disable=not progress, desc="sft")
    looked = ""
    with stop_asked() as asked:
        for step in bar:
            policy.train()
            batch = fresh_samples(poses, body, weights, config.batch_size, config, step, album, policy.sees, own)
            for group in optimizer.param_groups:
                group["lr"] = config.lr * schedule(step, config)
            optimizer.zero_grad()
            metrics = {"step": step}
            for part, share in micro_batches(batch, config.micro_batch):
                losses = sft_losses(policy, part, body, teacher=teacher, **beside)
                loss = sum(share[k] * getattr(config, f"{k}_weight") * v for k, v in losses.items())
                loss.backward()
                for k, v in losses.items():
                    metrics[k] = metrics.get(k, 0.0) + share[k] * v.item()
            descend(optimizer, step=step, out=out, save=save)
            if exam and ((step + 1) % config.validate_every == 0 or step + 1 == config.steps):
                metrics |= {f"val_{k}": v for k, v in examine(policy, exam, body).items()}
                if shown:
                    seen = examine(policy, shown, body)
                    metrics |= {f"val_image_{k}": seen[k] for k in ("text", "rotation", "std", "mpjpe_mm")}
                looked = f", satisfied {metrics['val_satisfied']:.3f}, {metrics['val_mpjpe_mm']:.0f} mm"
            bar.set_postfix_str(f"rotation {metrics.get('rotation', 0.0):.3f}{looked}")
            end_step(metrics, steps=config.steps, every=config.save_every, out=out, save=save, asked=asked)
    return policy.eval()


def schedule(step, config):
    """The learning rate's factor: linear warm-up, then a cosine to zero."""
    if step < config.warmup:
        return (step + 1) / config.warmup
    along = (step - config.warmup) / max(1, config.steps - config.warmup)
    return 0.5 * (1 + torch.cos(torch.tensor(along * torch.pi)).item())


def sft_losses(policy, samples, body, probe=None, specialist=None, teacher=None):
    """The losses of a batch, each an average over its answers: text, rotation, joint, std and, given a probe, probe.

    text: nats per token; rotation: absolute error of 6D numbers; joint: metres; std: nats per dimension; probe: nats.
    specialist: a lesson.Specialist whose answers to pictures take the place of the truth, but for std; teacher: a policy whose
    answers to our sentences do.
    """
    tokens = policy.encode([s.question for s in samples], [s.answer for s in samples], [s.picture for s in samples])
    scores = policy.score(tokens)
    text = -(scores.text_logp.sum(1) / tokens.answer_mask.sum(1)).mean()
    if not len(scores.mean):
        return {"text": text}
    posed = [s for s in samples if s.pose is not None]
    truth = torch.stack([s.pose for s in posed]).to(scores.mean)
    aim = to_6d(truth[:, :22]).flatten(1)  # (A, 132)
    read = [i for i, s in enumerate(posed) if s.picture is not None]
    if specialist is not None and read:
        aim[read] = specialist(torch.stack([posed[i].picture.features for i in read]).to(aim))[0]
    told = [i for i, s in enumerate(posed) if s.statements]
    if teacher is not None and told:
        asked, answers = zip(*((posed[i].question, posed[i].answer) for i in told))
        with torch.no_grad():
            aim[told] = teacher.score(teacher.encode(asked, answers)).mean
    losses = {"text": text} | pose_losses(scores.mean, scores.std, truth, body, aim)
    if probe is not None:
        logits = probe(scores.hidden[told])  # of the others, as of texts that people wrote, nobody knows what they state
        said = torch.zeros_like(logits)
        for row, i in zip(said, told):
            row[list(posed[i].statements)] = 1.0
        losses["probe"] = nn.functional.binary_cross_entropy_with_logits(logits, said, reduction="sum") / len(posed)
    return losses


@torch.no_grad()
def examine(policy, samples, body):
    """Losses on given samples, their mean poses' error (mm) and the share of the captions' statements they satisfy."""
    policy.eval()
    total, satisfied, asserted = {}, 0, 0
    for part, share in micro_batches(samples, 64):
        for k, v in sft_losses(policy, part, body).items():
            total[k] = total.get(k, 0.0) + share[k] * v.item()
        tokens = policy.encode([s.question for s in part], [s.answer for s in part], [s.picture for s in part])
        true = captions.holds(body.joints(to_pose(policy.score(tokens).mean)))
        for row, sample in zip(true, part):
            satisfied += row[list(sample.statements)].sum().item()
            asserted += len(sample.statements)
    return total | {"satisfied": satisfied / max(1, asserted), "mpjpe_mm": total["joint"] * 1000}


@dataclass(frozen=True)
class RFTConfig:
    """Every number of a run of reinforcement fine-tuning; saved beside it as config.json."""

    steps: int = 150
    # Batches of fresh answers.
    prompts: int = 64
    # Questions a step (N), each a fresh sentence of a fresh pose.
    group_size: int = 2
    # Answers to each question (G); 2 at least, or there is nothing to compare. The mini policy knows few ways to answer.
    poses_per_answer: int = 64
    # Poses drawn for each answer (K). They cost little once the answer is there; the paper draws 1.
    widths: tuple = (1.0, 0.3)
    # Shares of the policy's std that these are drawn with, in turn; a pose is compared with those of its own width alone. Wide
    # ones teach what to draw; narrow ones teach the mean pose with less noise and leave more of the variety. (1.0,) is the paper's.
    align_std: bool = True
    # Whether rewards teach the std too, as in the paper. False: the KL holds it where SFT left it, and it can be believed as before;
    # draws are as noisy too (generate --width).
    algorithm: str = "hygrpo"
    # "hygrpo", or "grpo": the same F for the words, nothing for the poses. The baseline.
    reward_weights: dict = field(default_factory=lambda: {"semantic": 4.0, "verifiable": 0.0, "plausible": 0.5, "near": 0.0,
                                                          "joint": 0.5, "aligned": 0.25, "format": 0.5, "similarity": 0.1})
    # By name; one's own rewards too. 0: logged, not used, as `verifiable`, whose gains are bought with what it does not count.
    # `near`: minus the distance, metres, to the nearest pose that is asked about; it takes time, so at 0 it is not even logged.
    scale: str = "none"
    # "group" divides advantages by their group's spread, as the paper does; "none" leaves them in units of reward, so that
    # a prompt whose poses are all nearly right pulls less than one whose poses fail.
    temperature: float = 1.0
    # Of the words, in sampling and in scoring alike.
    max_tokens: int = 0
    # An answer is cut off after so many; 0: after as many as the model was taught to say, 24 for our sentences.
    talk_share: float = 0.05
    # Share of questions about something else, to be answered without a pose.
    image_share: float = 0.0
    # Share of questions about a person seen, rewarded by how near the joints come.
    album_share: float = 0.5
    # Share of these that are from the album, if there is one.
    lr: float = 1e-3
    # Peak learning rate of AdamW on the head, reached after `warmup` steps, then a cosine to zero.
    adapter_lr: float = 1e-3
    # The same on the adapter.
    warmup: int = 10
    # Steps of linear warm-up.
    inner_steps: int = 1
    # Optimiser steps on each batch of answers (mu). With 1 every ratio is 1 and the clips never act.
    clip_text: float = 0.2
    # How far a token's probability ratio may leave 1.
    clip_pose: float = 0.2
    # The same for the pose's density ratio: about 0.2 for "joint", about 0.005 for "mean".
    pose_ratio: str = "joint"
    # "joint": of the whole pose's density; "mean": its geometric mean over the 132 dimensions, whose gradient is 132 times smaller
    # too, so that pose_beta wants to be.
    text_beta: float = 0.02
    # Weight of the words' KL to the reference, nats per token.
    pose_beta: float = 1.2e-2
    # Weight of the pose's KL to the reference, nats per pose: small, since 132 dimensions add up.
    micro_batch: int = 32
    # Prompts a forward pass. Changes memory and speed, not the gradient.
    look_every: int = 25
    # Steps between looks at the validation poses, pictures of fixed sentences, and checkpoints.
    seed: int = 0
    # Of the batches, the answers, the poses and the adapter.

    def __post_init__(self):
        _check(self, {"group_size": self.group_size >= 2, "algorithm": self.algorithm in ("hygrpo", "grpo"),
                      "scale": self.scale in ("none", "group"), "pose_ratio": self.pose_ratio in ("joint", "mean"),
                      "temperature": self.temperature > 0, "widths": self.widths and all(0 < width <= 10 for width in self.widths)},
               ("steps", "prompts", "poses_per_answer", "inner_steps", "micro_batch", "look_every"))


def rft(policy, poses, config, *, critics, out, album=None, own=None, look=None, resume=False, progress=True):
    """Align the policy by reward with HyGRPO. Writes out/metrics.jsonl and the checkpoint out/last.

    policy: a PosePolicy without an adapter `rft`; as it stands it is the reference. poses: (M, 24, 3, 3), of which the
    questions speak; album: an Album of pictures to ask about, or None; own: a mix.Mix, or None. look: look(policy, step)
    every `look_every` steps; the metrics it returns are logged.
    Ctrl-C ends the step, saves and leaves; `resume` goes on from out/last. Returns the policy.
    """
    out = Path(out)
    if config.image_share and policy.must_see() != "features" and album is None:
        raise InputError("the policy looks at pixels, which photographs alone have; give it some by --album")
    policy.add_lora("rft", seed=config.seed).eval()
    critics.to(policy.device)
    longest = own.suit(policy) if own else 0
    policy.answer_tokens = config.max_tokens or max(policy.answer_tokens, longest)
    parts = [(policy.head, config.lr), (policy.model, config.adapter_lr)]
    groups = [{"params": [p for p in part.parameters() if p.requires_grad], "peak": lr} for part, lr in parts]
    optimizer = make_optimizer(groups, policy.device, lr=config.lr, weight_decay=0.0, betas=(0.9, 0.95))
    save = partial(save_run, policy, optimizer, out=out)
    with one_line(f"{out}: the run there cannot be resumed"):
        start = resume_run(policy, optimizer, config, out, poses) if resume else begin_run(config, out, poses)
    weights = captions.weights_among(poses, critics.body)
    some = torch.linspace(0, len(poses) - 1, min(len(poses), KNOWN)).long()
    critics.known = critics.body.joints(poses[some]).to(policy.device) if config.reward_weights.get("near") else None
    bar = tqdm(range(start, config.steps), initial=start, total=config.steps, disable=not progress, desc=config.algorithm)
    with stop_asked() as asked:
        for step in bar:
            for group in optimizer.param_groups:
                group["lr"] = group["peak"] * schedule(step, config)
            samples = fresh_samples(poses, critics.body, weights, config.prompts, config, step, album, policy.sees, own)
            samples.sort(key=by_length)  # so that little of a micro-batch is padding
            generator = torch.Generator(policy.device).manual_seed(config.seed * 1_000_003 + step)
            rollout = policy.sample([s.question for s in samples], pictures=[s.picture for s in samples], generator=generator,
                                    group_size=config.group_size, poses_per_answer=config.poses_per_answer,
                                    temperature=config.temperature, widths=config.widths, micro_batch=config.micro_batch)
            given = give_rewards(rollout, policy.decode(rollout), samples, critics)
            batch = weigh(policy, rollout, *given, samples, config)
            metrics = {"step": step, "posed": batch.has_pose.float().mean().item()} | average_rewards(*given, batch, samples)
            for inner in range(config.inner_steps):
                optimizer.zero_grad()
                for part in batch.parts(config.micro_batch, config.group_size):
                    loss, logged = rft_loss(policy, part, config, prompts=len(samples), first=inner == 0)
                    loss.backward()
                    for k, v in logged.items():
                        metrics[k] = metrics.get(k, 0.0) + v / config.inner_steps
                descend(optimizer, step=step, out=out, save=save)
            if look and ((step + 1) % config.look_every == 0 or step + 1 == config.steps):
                save(step + 1)  # a look may take more memory than a step
                metrics |= look(policy, step + 1)
            bar.set_postfix_str(", ".join(f"{k} {metrics[k]:.2f}" for k in ("semantic", "plausible", "joint") if k in metrics))
            end_step(metrics, steps=config.steps, every=config.look_every, out=out, save=save, asked=asked)
    return policy
