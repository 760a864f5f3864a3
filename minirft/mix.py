"""Learning from the field's datasets: what of them a policy can use, mixed into what is made up."""

import warnings
from collections import defaultdict

from .data import POSE
from .errors import InputError
from .published import DATASETS, survey


def to_learn(root, *, see):
    """Samples to train on under a folder, and lines that say what was taken and what was not: training splits alone, and no pictures
    that a policy which sees by `see` (data.SEE, None: not at all) cannot use. Raises InputError where nothing is left."""
    samples, lines = [], []
    for found in survey(root, [name for name in DATASETS if name not in ("AMASS", "RPE")]):
        kept = [s for s in found.samples if (s.pose is not None or POSE not in s.answer)
                and (s.picture is None or see is not None and (s.picture.person or see != "features"))]
        why = f"; {len(found.samples) - len(kept):,} have no pose, or a picture that this policy does not look at"
        if found.part != "train":
            kept, why = [], "; not a training split"
        lines += [*found.lines(), f"    {len(kept):,} of them to learn from{why * (len(kept) < len(found.samples))}"]
        samples += kept
    if not samples:
        raise InputError(f"{root}: holds nothing to learn from; `minirft data check {root}` says what is there")
    return samples, lines


class Mix:
    """Ready samples beside generated ones. share: of a batch; the tasks that there are ("text", "image", "talk") are drawn equally often,
    so that a large dataset drowns no other. eyes: photos.Eyes."""

    def __init__(self, samples, share, eyes):
        self.share, self.eyes, self.tasks = share, eyes, defaultdict(list)
        for sample in samples:
            self.tasks[sample.task].append(sample)

    def suit(self, policy):
        """Leave out what is longer than a policy reads, with a warning. Returns how many tokens the longest answer with a pose takes.
        Raises InputError where nothing is left."""
        limit = policy.model.config.text_config.max_position_embeddings - 128  # its chat's own words, and room to answer
        limit -= policy.backbone.marks + policy.projector.count
        longest, left_out = 0, 0
        for task, samples in list(self.tasks.items()):
            texts = ([s.question for s in samples], [s.answer for s in samples])
            sizes = ([len(ids) for ids in policy.tokenizer(part).input_ids] for part in texts)
            kept = [(s, said) for s, asked, said in zip(samples, *sizes) if asked + said <= limit]
            longest = max([longest, *(said for s, said in kept if POSE in s.answer)])
            left_out += len(samples) - len(kept)
            self.tasks[task] = [s for s, _ in kept]
            if not kept:
                del self.tasks[task]
        if left_out:
            warnings.warn(f"left out: {left_out:,} samples of more than {limit} tokens, which is what this model reads", stacklevel=2)
        if not self.tasks:
            raise InputError(f"no sample is as short as this model reads, {limit} tokens of question and answer; use another --base")
        return longest + 1  # and the end

    def draw(self, count, rng):
        """On average `share` of `count` samples, pictures opened; one that cannot be is left out, with a warning."""
        taken, drawn = sum(rng.random() < self.share for _ in range(count)), []
        for _ in range(taken):
            sample = rng.choice(self.tasks[rng.choice(sorted(self.tasks))])
            try:
                drawn.append(self.eyes.look(sample))
            except InputError as error:
                warnings.warn(f"left out: {error}", stacklevel=2)
        return drawn
