"""The training loops, flat. Stage 1, SFT: imitate answers and poses.

A step is a function of the weights, the optimiser's moments and (seed, step) alone: every batch draws from generators
seeded by those two numbers. So a run that was stopped goes on to bitwise the same weights as one that was not.
"""

import contextlib
import json
import random
import shutil
import signal
import threading
from dataclasses import asdict, dataclass
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import load_file, save_file
from torch import nn
from tqdm import tqdm

from . import captions
from .body import InputError, to_6d
from .data import grow, talk_sample, text_sample
from .head import log_prob
from .policy import to_pose


@dataclass(frozen=True)
class SFTConfig:
    """Every number of a supervised run; saved beside it as sft.json."""

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
    clip_norm: float = 1.0
    # Gradients longer than this are scaled down to it.
    talk_share: float = 0.04
    # Share of questions about something else, answered without a pose.
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


def sft(policy, poses, config, *, body, out, validation=None, resume=False, progress=True):
    """Teach the policy to answer sentences with poses. Writes out/metrics.jsonl and the checkpoint out/last.

    poses, validation: (M, 24, 3, 3) rotations; body: whose joints the sentences speak of. Returns the policy.
    Ctrl-C ends the step, saves and leaves; `resume` goes on from out/last. Raises InputError if out holds another run.
    """
    out = Path(out)
    probe = nn.Linear(policy.head.layers[1].in_features, len(captions.STATEMENTS)).to(policy.device)
    nn.init.zeros_(probe.weight), nn.init.constant_(probe.bias, -4.0)  # few of the statements are made
    learner = nn.ModuleDict({"policy": policy, "probe": probe})
    optimizer = torch.optim.AdamW(learner.parameters(), lr=config.lr, weight_decay=config.weight_decay,
                                  betas=(0.9, 0.98))
    with one_line(f"{out}: the run there cannot be resumed"):
        start = resume_run(learner, optimizer, config, out) if resume else begin_run(config, out)
    weights = captions.weights_for(captions.holds(body.joints(poses)).float().mean(0))
    exam = None if validation is None else exam_samples(validation, body, weights)
    bar = tqdm(range(start, config.steps), initial=start, total=config.steps, disable=not progress, desc="sft")
    with stop_asked() as asked:
        for step in bar:
            policy.train()
            batch = sft_batch(poses, body, weights, config, step)
            for group in optimizer.param_groups:
                group["lr"] = config.lr * schedule(step, config)
            optimizer.zero_grad()
            metrics = {"step": step}
            for part, share in micro_batches(batch, config.micro_batch):
                losses = sft_losses(policy, part, body, probe)
                loss = sum(share[k] * getattr(config, f"{k}_weight") * v for k, v in losses.items())
                loss.backward()
                for k, v in losses.items():
                    metrics[k] = metrics.get(k, 0.0) + share[k] * v.item()
            norm = nn.utils.clip_grad_norm_(learner.parameters(), config.clip_norm)
            if not torch.isfinite(norm):
                raise InputError(f"step {step}: the gradient is not finite; {out / 'last'} holds the last good state, "
                                 f"try a learning rate under {config.lr}")
            optimizer.step()
            done = step + 1
            if exam and (done % config.validate_every == 0 or done == config.steps):
                metrics |= {f"val_{k}": v for k, v in examine(policy, exam, body).items()}
                bar.set_postfix_str(f"satisfied {metrics['val_satisfied']:.3f}, {metrics['val_mpjpe_mm']:.0f} mm")
            with one_line(f"{out}: cannot write the run at step {done}; make room and pass --resume"):
                write_line(out / "metrics.jsonl", metrics)
                if asked or done % config.save_every == 0 or done == config.steps:
                    save_run(learner, optimizer, done, out)
            if asked:
                raise KeyboardInterrupt
    return policy.eval()


@contextlib.contextmanager
def stop_asked():
    """A list that is empty until Ctrl-C or a polite kill: the loop then ends its step, saves and leaves."""
    asked, kinds = [], (signal.SIGINT, signal.SIGTERM)
    if threading.current_thread() is not threading.main_thread():  # only the main thread hears signals
        yield asked
        return
    before = {kind: signal.signal(kind, lambda *_: asked.append(True)) for kind in kinds}
    try:
        yield asked
    finally:
        for kind, handler in before.items():
            signal.signal(kind, handler)


def schedule(step, config):
    """The learning rate's factor: linear warm-up, then a cosine to zero."""
    if step < config.warmup:
        return (step + 1) / config.warmup
    along = (step - config.warmup) / max(1, config.steps - config.warmup)
    return 0.5 * (1 + torch.cos(torch.tensor(along * torch.pi)).item())


def sft_batch(poses, body, weights, config, step):
    """The samples of one step, the same for the same seed and step."""
    generator = torch.Generator().manual_seed(config.seed * 1_000_003 + step)
    rng = random.Random(f"{config.seed}/{step}")
    talk = sum(rng.random() < config.talk_share for _ in range(config.batch_size))
    drawn = grow(poses, count=config.batch_size - talk, generator=generator)
    true = captions.holds(body.joints(drawn))
    posed = [text_sample(p, t, rng, body=body, weights=weights) for p, t in zip(drawn, true)]
    return posed + [talk_sample(rng) for _ in range(talk)]


def micro_batches(samples, size):
    """Split samples, sorted by length so that little is padding; each part with its share of every loss's average."""
    samples = sorted(samples, key=lambda s: len(s.question))
    poses = max(1, sum(s.pose is not None for s in samples))
    for i in range(0, len(samples), size):
        part = samples[i : i + size]
        share = sum(s.pose is not None for s in part) / poses
        yield part, {"text": len(part) / len(samples), "rotation": share, "joint": share, "std": share, "probe": share}


def sft_losses(policy, samples, body, probe=None):
    """The losses of a batch, each an average over its answers: text, rotation, joint, std and, given a probe, probe.

    text: nats per token; rotation: absolute error of 6D numbers; joint: metres; std: nats per dimension; probe: nats.
    """
    tokens = policy.encode([s.question for s in samples], [s.answer for s in samples])
    scores = policy.score(tokens)
    text = -(scores.text_logp.sum(1) / tokens.answer_mask.sum(1)).mean()
    if not len(scores.mean):
        return {"text": text}
    posed = [s for s in samples if s.pose is not None]
    truth = torch.stack([s.pose for s in posed]).to(scores.mean)
    target = to_6d(truth[:, :22]).flatten(1)  # (A, 132)
    predicted = to_pose(scores.mean)
    joint = (body.joints(predicted) - body.joints(truth)).norm(dim=-1).mean()
    std = -log_prob(target, scores.mean.detach(), scores.std).mean() / target.shape[1]
    losses = {"text": text, "rotation": (scores.mean - target).abs().mean(), "joint": joint, "std": std}
    if probe is not None:
        losses["probe"] = said_loss(probe(scores.hidden), [s.statements for s in posed])
    return losses


def said_loss(logits, statements):
    """How well the statements a sentence made are told from the hidden state: logits (A, S) to nats an answer."""
    said = torch.zeros_like(logits)
    for row, made in zip(said, statements):
        row[list(made)] = 1.0
    return nn.functional.binary_cross_entropy_with_logits(logits, said, reduction="sum") / len(logits)


def exam_samples(poses, body, weights, *, count=512, seed=0):
    """A fixed set of sentences about validation poses, the same at every look."""
    pick = torch.randperm(len(poses), generator=torch.Generator().manual_seed(seed))[:count]
    true = captions.holds(body.joints(poses[pick]))
    rng = random.Random(seed)
    return [text_sample(p, t, rng, body=body, weights=weights) for p, t in zip(poses[pick], true)]


@torch.no_grad()
def examine(policy, samples, body):
    """Losses on given samples, their mean poses' error (mm) and the share of the captions' statements they satisfy."""
    policy.eval()
    total, satisfied, asserted = {}, 0, 0
    for part, share in micro_batches(samples, 64):
        for k, v in sft_losses(policy, part, body).items():
            total[k] = total.get(k, 0.0) + share[k] * v.item()
        tokens = policy.encode([s.question for s in part], [s.answer for s in part])
        true = captions.holds(body.joints(to_pose(policy.score(tokens).mean)))
        for row, sample in zip(true, part):
            satisfied += row[list(sample.statements)].sum().item()
            asserted += len(sample.statements)
    return total | {"satisfied": satisfied / max(1, asserted), "mpjpe_mm": total["joint"] * 1000}


def begin_run(config, out):
    """Make the run's folder and note its config; an older run there is refused, not overwritten."""
    if (out / "metrics.jsonl").exists():
        raise InputError(f"{out}: holds a run already; pass --resume to go on with it, or another --out")
    try:
        out.mkdir(parents=True, exist_ok=True)
        (out / "sft.json").write_text(json.dumps(asdict(config), indent=1))
    except OSError as error:
        raise InputError(f"{out}: cannot write there ({error.strerror or error})") from None
    return 0


def save_run(learner, optimizer, step, out):
    """Checkpoint and optimiser into out/last, put in place by one rename so that it is whole at any moment."""
    fresh, last, old = out / ".next", out / "last", out / ".old"
    shutil.rmtree(fresh, ignore_errors=True)
    learner["policy"].save_pretrained(fresh)
    moments = {f"{i}.{k}": v for i, s in optimizer.state_dict()["state"].items() for k, v in s.items()}
    save_file(learner["probe"].state_dict(), fresh / "probe.safetensors")
    save_file(moments, fresh / "optimizer.safetensors", metadata={"step": str(step)})
    shutil.rmtree(old, ignore_errors=True)
    if last.exists():
        last.rename(old)
    fresh.rename(last)
    shutil.rmtree(old, ignore_errors=True)


def resume_run(learner, optimizer, config, out):
    """Load weights and moments of out/last into policy and optimizer; returns the step to go on with."""
    if not (out / "last").exists() and (out / ".old").exists():
        (out / ".old").rename(out / "last")  # killed between save_run's two renames
    if not (out / "last" / "optimizer.safetensors").exists():
        raise InputError(f"{out}: no checkpoint to resume; leave --resume away to begin")
    before = json.loads((out / "sft.json").read_text())
    changed = [f"{k} {before.get(k)} -> {v}" for k, v in asdict(config).items() if before.get(k) != v]
    if changed:
        raise InputError(f"{out}: a resumed run keeps its config, but {', '.join(changed)}; use another --out")
    policy = learner["policy"]
    policy.load_state_dict(type(policy).from_pretrained(out / "last").state_dict())
    learner["probe"].load_state_dict(load_file(out / "last" / "probe.safetensors"))
    with safe_open(out / "last" / "optimizer.safetensors", "pt") as file:
        step = int(file.metadata()["step"])
        moments = {}
        for key in file.keys():
            index, name = key.split(".")
            moments.setdefault(int(index), {})[name] = file.get_tensor(key)
    state = optimizer.state_dict()
    optimizer.load_state_dict({"state": moments, "param_groups": state["param_groups"]})
    lines = (out / "metrics.jsonl").read_text().splitlines()
    kept = [line for line in lines if json.loads(line)["step"] < step]
    (out / "metrics.jsonl").write_text("".join(line + "\n" for line in kept))
    return step


@contextlib.contextmanager
def one_line(what):
    """Turn whatever a full disk or a damaged file makes the libraries raise into an InputError."""
    try:
        yield
    except InputError:
        raise
    except (OSError, ValueError, KeyError, RuntimeError, SafetensorError) as error:
        raise InputError(f"{what} ({' '.join(str(error).split())[:300]})") from None


def write_line(path, metrics):
    """Append one JSON object as a line."""
    with open(path, "a") as file:
        file.write(json.dumps(metrics) + "\n")
