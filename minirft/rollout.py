"""What goes into a policy and what comes out of it: questions as tokens, what was sampled, and how likely it was."""

from dataclasses import dataclass, field, replace

import torch

from .body import from_6d


@dataclass
class Tokens:
    """N prompts, each with its G answers in adjacent rows (R = N*G).

    prompt, prompt_mask: (N, L), padded on the left; answer, answer_mask: (R, T), padded on the right. prompt_pixels: (N, ...)
    as the vision tower wants them, or, if that is frozen, prompt_seen: (N, ...), what it made of them; prompt_features:
    (N, M, C), a pose-aware encoder's. Rows of NaN for prompts without; None: of no prompt.
    """

    prompt: torch.Tensor
    prompt_mask: torch.Tensor
    answer: torch.Tensor
    answer_mask: torch.Tensor
    prompt_pixels: torch.Tensor | None = field(default=None, kw_only=True)
    prompt_seen: torch.Tensor | None = field(default=None, kw_only=True)
    prompt_features: torch.Tensor | None = field(default=None, kw_only=True)

    def attention_mask(self):
        """Which tokens see which where a prompt is read once for all its answers, which stand behind it in one row and know nothing
        of each other: (N, L+G*T, L+G*T) bool. Padding is seen by itself alone: by nothing at all it would be NaN."""
        width, long = self.prompt.shape[1], self.answer.shape[1]
        there = torch.cat([self.prompt_mask, self.answer_mask.reshape(len(self.prompt), -1)], 1)  # (N, S)
        place = torch.arange(there.shape[1], device=there.device)
        which = ((place - width).div(long, rounding_mode="floor") + 1).clamp(min=0)  # 0 of the prompt, from 1 on of an answer
        open_to = (which == 0) | (which == which[:, None])
        return open_to & (place <= place[:, None]) & there[:, None] | (place == place[:, None])

    def split(self, prompts):
        """Parts of so many prompts, each with all its answers."""
        group_size = len(self.answer) // len(self.prompt)
        for i in range(0, len(self.prompt), prompts):
            answers, rows = slice(i * group_size, (i + prompts) * group_size), slice(i, i + prompts)
            yield replace(self.prompts(rows), answer=self.answer[answers], answer_mask=self.answer_mask[answers])

    def prompts(self, rows):
        """Some of the prompts, without answers, and without columns that are padding in all of them."""
        fields = {k: None if v is None else v[rows] for k, v in vars(self).items() if k.startswith("prompt")}
        start = int(fields["prompt_mask"].any(0).int().argmax())
        fields |= {k: fields[k][:, start:] for k in ("prompt", "prompt_mask")}
        return Tokens(answer=self.answer[:0, :0], answer_mask=self.answer_mask[:0, :0], **fields)


@dataclass
class Scores:
    """text_logp (R, T), 0 on padding; has_pose (R,) bool; of the A answers that have a pose the Gaussian's mean and
    std (A, D) and the hidden state (A, H) that the head made them from."""

    text_logp: torch.Tensor
    has_pose: torch.Tensor
    mean: torch.Tensor
    std: torch.Tensor
    hidden: torch.Tensor


@dataclass
class Rollout(Tokens):
    """What was sampled: Tokens, their Scores at the time, and K poses for each of the A answers with a <POSE>.

    action: (A, K, D) 6D numbers, the pose as the Gaussian drew it; pose_logp: (A, K); width: (K,) shares of its std that these
    were drawn with; temperature of the text.
    """

    scores: Scores
    action: torch.Tensor
    pose_logp: torch.Tensor
    width: torch.Tensor
    temperature: float

    @property
    def pose(self):
        """The drawn poses as rotations (A, K, 24, 3, 3)."""
        return to_pose(self.action)


def spread(values, rows, empty=0.0):
    """(A, ...) values of the True rows of a mask (R,) to (R, ...), the other rows `empty`."""
    out = values.new_full((len(rows), *values.shape[1:]), empty)
    out[rows] = values
    return out


def to_pose(action):
    """6D numbers of the 22 body joints (..., 132) to a pose (..., 24, 3, 3); the hands' rotations are the identity."""
    body = from_6d(action.unflatten(-1, (-1, 6)))
    hands = torch.eye(3).to(body).expand(*body.shape[:-3], 2, 3, 3)
    return torch.cat([body, hands], dim=-3)
