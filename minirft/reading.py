"""From sentences and pictures to what the language model reads: tokens, what is seen in the places that stand for it, positions."""

import torch
from torch.nn.utils.rnn import pad_sequence

from .backbones import count_positions
from .data import Picture
from .errors import InputError
from .rollout import Tokens, spread
from .vision import Projector, stack_pictures


class Reader:
    """What a PosePolicy knows of reading."""

    def face(self, features):
        """Make ready for an encoder that gives a picture's features of this shape (T, C): forget what was learnt of another."""
        if tuple(features) != getattr(getattr(self, "projector", None), "shape", None):
            with torch.random.fork_rng(devices=[]):  # the same start for every policy that has not learnt to see
                torch.manual_seed(0)
                self.projector = Projector(self.model.config.text_config.hidden_size, shape=features).to(self.device)
            self.sees = None
        return self

    def must_see(self):
        """What of a picture the policy looks at, one of data.SEE. Raises InputError where it has not learnt to look at any."""
        if self.sees is None:
            raise InputError(f"{self.name}: has not learnt to see pictures; use mini-sft or mini-rft, or teach it by "
                             "minirft sft --image-share")
        return self.sees

    @torch.no_grad()
    def encode(self, questions, answers=None, pictures=None):
        """Sentences to Tokens on the policy's device; without answers, `answer` has no columns.

        pictures: None, or for each question a Picture or None; what is seen stands before the question, the vision tower's
        patches first, then the pose-aware encoder's tokens.
        """
        shown = [p or Picture() for p in pictures or [None] * len(questions)]
        prompts = [self.backbone.prompt(q, pictured=p.pixels is not None, others=self.projector.count * (p.features is not None))
                   for q, p in zip(questions, shown)]
        begin = self.tokenizer("").input_ids  # what a text begins with: LLaVA-1.5's chat leaves <s> to the tokenizer, others write theirs
        ids = self.tokenizer(prompts, add_special_tokens=False).input_ids
        ids = [row if row[: len(begin)] == begin else begin + row for row in ids]
        limit = self.model.config.text_config.max_position_embeddings - 64  # that many for the answer
        longest = max(map(len, ids))
        if longest > limit:
            raise InputError(f"a sentence is too long: {longest} tokens, the model reads {limit}; say it shorter")
        end = self.tokenizer.eos_token_id
        said = [row + [end] for row in self.tokenizer(answers, add_special_tokens=False).input_ids] if answers else []
        tokens = Tokens(*self._pad(ids, "left"), *self._pad(said or [[]] * len(ids), "right"))
        if any(p.pixels is not None or p.features is not None for p in shown):
            pixels, features = stack_pictures(shown, self.backbone.pixels, self.projector.shape)
            tokens.prompt_features = features.to(self.device)
            if pixels is not None:
                pixels = pixels.to(self.device)
                if self.backbone.frozen:  # what it makes of a picture stays the same: looked at once
                    there = _given(pixels)
                    tokens.prompt_seen = spread(self.backbone.look(pixels[there]), there, torch.nan)
                else:
                    tokens.prompt_pixels = pixels
        return tokens

    def _places(self, tokens):
        """Where in the prompts (N, L) the picture's tokens stand, and where the pose-aware encoder's: two masks."""
        shown, masks = tokens.prompt_seen if tokens.prompt_pixels is None else tokens.prompt_pixels, []
        for given, token, count in ((shown, self.model.config.image_token_id, self.backbone.marks),
                                    (tokens.prompt_features, self.pose_id, self.projector.count)):
            there = torch.zeros(len(tokens.prompt), dtype=torch.bool, device=self.device) if given is None else _given(given)
            places = tokens.prompt == token
            masks.append(places & (places.cumsum(1) <= count * there[:, None]))  # what a user typed stands behind them
        return masks

    def _embed(self, tokens):
        """The prompts' embeddings (N, L, H), what is seen in the places that stand for it; the pictures, of backbone.look, or
        None, and their places (N, L)."""
        embedded, seen = self.model.get_input_embeddings()(tokens.prompt), None
        pictured, pointed = self._places(tokens)
        if pictured.any():
            looked, pixels = tokens.prompt_seen, tokens.prompt_pixels
            seen = self.backbone.look(pixels[_given(pixels)]) if looked is None else looked[_given(looked)]
            embedded = embedded.masked_scatter(pictured[..., None], seen[:, 0].to(embedded))
        if pointed.any():
            read = self.projector(tokens.prompt_features[_given(tokens.prompt_features)])
            embedded = embedded.masked_scatter(pointed[..., None], read.to(embedded))
        return embedded, seen, pictured

    def _positions(self, tokens, group_size):
        """Positions of the prompts' tokens, (N, L) or (3, N, L), and a function from a mask (R, T) to those of what follows."""
        before = self.backbone.positions(tokens.prompt, tokens.prompt_mask, self._places(tokens)[0])
        last = before.masked_fill(~tokens.prompt_mask, 0).amax(-1, keepdim=True)  # (N, 1) or (3, N, 1)
        last = (last.amax(0) if last.dim() == 3 else last).repeat_interleave(group_size, 0)

        def after(mask):
            found = last + 1 + count_positions(mask)
            return found.expand(3, *found.shape) if before.dim() == 3 else found

        return before, after

    def _read_prompt(self, tokens, group_size):
        """For group_size answers to each prompt: its last hidden state (R, H), its keys and values, and `after` of _positions."""
        embedded, seen, places = self._embed(tokens)
        before, after = self._positions(tokens, group_size)
        out = self.backbone.language(inputs_embeds=embedded, attention_mask=tokens.prompt_mask, position_ids=before,
                                     use_cache=True, **self.backbone.more(seen, places))
        out.past_key_values.batch_repeat_interleave(group_size)
        return out.last_hidden_state[:, -1].repeat_interleave(group_size, 0), out.past_key_values, after

    def _pad(self, rows, side):
        """N lists of token ids, padded on one side, "left" or "right": ids and mask, each (N, width)."""
        rows = [torch.tensor(row, dtype=torch.long) for row in rows]
        ids = pad_sequence(rows, batch_first=True, padding_value=self.tokenizer.pad_token_id, padding_side=side)
        mask = pad_sequence([torch.ones_like(row, dtype=torch.bool) for row in rows], batch_first=True, padding_side=side)
        return ids.to(self.device), mask.to(self.device)


def _given(values):
    """Which rows of (N, ...) are there: those without NaN, (N,) bool."""
    return ~values.flatten(1).isnan().any(1)
