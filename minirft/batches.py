"""What a training step learns from: fresh samples, cut into parts that fit into memory."""

import random

import numpy as np
import torch

from . import captions
from .data import Picture, grow, image_sample, talk_sample, text_sample
from .snapshots import lean, simulate_landmarks


def fresh_samples(poses, body, weights, count, config, step, album=None, see=None, own=None):
    """The samples of one step, pictures and talk among them, the same for the same seed and step.

    album: an Album from which some of the pictures are, or None; see: what the policy sees of them, one of data.SEE; own: a
    mix.Mix, whose share of them is ready, or None.
    """
    generator = torch.Generator().manual_seed(config.seed * 1_000_003 + step)
    rng = random.Random(f"{config.seed}/{step}")
    ready = own.draw(count, rng) if own else []
    count -= len(ready)
    talk = sum(rng.random() < config.talk_share for _ in range(count))
    seen = sum(rng.random() < config.image_share for _ in range(count - talk)) if config.image_share else 0
    drawn = grow(poses, count=count - talk, generator=generator)
    told, shown = drawn[seen:], drawn[:seen]
    true = captions.holds(body.joints(told))
    samples = [text_sample(p, t, rng, body=body, weights=weights) for p, t in zip(told, true)]
    if album:
        kept = [i for i in range(seen) if rng.random() >= config.album_share and see != "pixels" and album.by_landmarks]
        picked, shown = rng.choices(range(len(album)), k=seen - len(kept)), shown[kept]
        if see == "features":
            samples += [image_sample(pose, Picture(features=tokens), rng) for pose, tokens in zip(*album.askew(picked, generator))]
        else:  # pixels would have to lean too
            samples += [image_sample(album.pose[i], album.picture(i, see), rng) for i in picked]
    if len(shown):
        views = lean(*simulate_landmarks(body, shown, np.random.default_rng((config.seed, step))), generator)
        samples += [image_sample(pose, Picture(features=tokens), rng) for pose, tokens in zip(*views)]
    return samples + [talk_sample(rng) for _ in range(talk)] + ready


def by_length(sample):
    """How long a question is, with what it shows."""
    return sample.picture is not None, len(sample.question)


def micro_batches(samples, size):
    """Split samples, sorted by length so that little is padding; each part with its share of every loss's average."""
    samples = sorted(samples, key=by_length)
    poses = max(1, sum(s.pose is not None for s in samples))
    for i in range(0, len(samples), size):
        part = samples[i : i + size]
        share = sum(s.pose is not None for s in part) / poses
        yield part, {"text": len(part) / len(samples), "rotation": share, "joint": share, "std": share, "probe": share}
