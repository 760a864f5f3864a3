"""PosePolicy: a vision-language model that answers in words and, at the token <POSE>, with a Gaussian over poses.

pi(a, p | q) = pi(a | q) * N(p; mean(q, a), std(q, a)^2): the answer's tokens a come from the language model, the pose p
from the head on the hidden state that the model has when it reads its own <POSE> (Pose-RFT, arXiv 2508.07804). `sample`
draws both, `score` gives their log-probabilities under the present weights; what one samples, the other scores.
"""

import contextlib
import copy
import itertools
from dataclasses import fields
from pathlib import Path

import torch
from torch import nn
from torch.utils.checkpoint import checkpoint
from transformers import (AutoImageProcessor, AutoTokenizer, CLIPVisionConfig, LlamaConfig, LlavaConfig,
                          LlavaForConditionalGeneration)

from . import head as gaussian
from .backbones import Backbone, load_backbone
from .body import DATA
from .checkpoint import Checkpoint, quiet
from .data import POSE
from .decoding import Replayed, Room
from .errors import InputError
from .head import PoseHead
from .machine import DIAL
from .reading import Reader
from .rollout import Rollout, Scores, spread, to_pose
from .vision import CHANNELS, LANDMARKS

# The language model's linear layers; the vision tower has layers of the same names.
LORA_LAYERS = r".*\.{}\..*\.(q_proj|k_proj|v_proj|o_proj|gate_proj|up_proj|down_proj)"
LOGITS_AT_ONCE = 2**25  # numbers, several times over while they are made; a real vocabulary has 150,000 words


class PosePolicy(Checkpoint, Reader, nn.Module):
    """model: an image-text-to-text transformer of backbones.FAMILIES; tokenizer: its tokenizer with <POSE>; images: its image
    processor, None for the mini policy's; head: a PoseHead; features: the (T, C) that its pose-aware encoder gives of a picture;
    side: pixels of a picture, where the model leaves that open. sees: one of data.SEE, None for who has not learnt to."""

    def __init__(self, model, tokenizer, head, *, name, images=None, features=(LANDMARKS, CHANNELS), side=224):
        super().__init__()
        self.model, self.head, self.tokenizer, self.name = model, head, tokenizer, name
        self.backbone = Backbone(model, tokenizer, images or AutoImageProcessor.from_pretrained(DATA / "tokenizer"), side=side)
        self.pose_id = tokenizer.convert_tokens_to_ids(POSE)
        # Tokens that stand for inputs are no answer: sampling masks them, and so does scoring.
        inputs_only = {tokenizer.pad_token_id, tokenizer.bos_token_id, model.config.image_token_id}
        self.register_buffer("_barred", torch.tensor(sorted(inputs_only - {None, tokenizer.eos_token_id})),
                             persistent=False)
        self.face(features)
        self.base = name  # the checkpoint that the adapters stand on, or
        self.raw = None  # how to load a model of that name which is no policy: settings of from_backbone
        self.reference_head = None
        self.answer_tokens = 24  # after so many an answer is cut off; more where it was taught longer ones
        self.cache_gib = None  # for what is kept while no gradient is made, keys and values above all; None: as much as it takes
        self._checkpointing = False
        self._peft = []  # the PeftModel over self.model, in a list so that its weights are not counted twice

    @classmethod
    def mini(cls, *, seed=0):
        """A fresh LLaVA small enough for a laptop's CPU: 3.6 million parameters with the projector's, random weights."""
        tokenizer = AutoTokenizer.from_pretrained(DATA / "tokenizer")
        ids = {f"{k}_token_id": getattr(tokenizer, f"{k}_token_id") for k in ("bos", "eos", "pad")}
        text = LlamaConfig(vocab_size=len(tokenizer), hidden_size=160, intermediate_size=432, num_hidden_layers=4,
                           num_attention_heads=5, max_position_embeddings=1024, tie_word_embeddings=True, **ids)
        vision = CLIPVisionConfig(hidden_size=64, intermediate_size=256, num_hidden_layers=2, num_attention_heads=2,
                                  image_size=224, patch_size=32, projection_dim=64)
        config = LlavaConfig(vision_config=vision, text_config=text, tie_word_embeddings=True,
                             image_token_index=tokenizer.convert_tokens_to_ids("<image>"))
        with torch.random.fork_rng(devices=[]):  # transformers initialises from the global generator
            torch.manual_seed(seed)
            model, head = LlavaForConditionalGeneration(config), PoseHead(text.hidden_size)
        return cls(model, tokenizer, head, name="mini")

    @classmethod
    def from_backbone(cls, name, *, four_bit=True, side=224, device="cpu", seed=0):
        """A policy that begins: a vision-language model by its hub name or folder, frozen, and a fresh head; train.sft gives it an
        adapter. four_bit: as of backbones.load_backbone; side: pixels of a picture, where the model leaves that open."""
        model, tokenizer, images = load_backbone(name, four_bit=four_bit, device=device)
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            head = PoseHead(model.config.text_config.hidden_size)
        name = str(Path(name).resolve()) if name != "smol" and Path(name).is_dir() else str(name)  # found from other folders too
        policy = cls(model, tokenizer, head, name=name, images=images, side=side)
        policy.raw, policy.cache_gib = {"four_bit": four_bit, "side": side}, DIAL[12].cache_gib
        return policy.to(device)

    def add_lora(self, name, *, rank=16, seed=0):
        """Freeze the policy as it stands, from now on the reference; train a LoRA adapter and the head instead.

        The adapter lies on the language model's linear layers and on the embedding of <POSE>. It starts where the policy
        is: at nothing, or, where the policy has an adapter already (SFT was LoRA too), as a copy of that one.
        Raises InputError if there is an adapter of that name. Returns self.
        """
        from peft import LoraConfig, PeftModel, get_peft_model_state_dict, set_peft_model_state_dict

        from .rows import beside

        before = self.adapters
        if name in before:
            raise InputError(f"the model has an adapter {name!r} already; start from a model without one")
        self.reference_head = copy.deepcopy(self.head).requires_grad_(False)
        self.projector.requires_grad_(False)  # until SFT that may show pictures
        rows = {"embed_tokens": [self.pose_id]}
        if not self.model.config.tie_word_embeddings:
            rows["lm_head"] = [self.pose_id]
        config = LoraConfig(r=rank, lora_alpha=2 * rank, target_modules=LORA_LAYERS.format(self.backbone.family.language),
                            trainable_token_indices=rows)
        with torch.random.fork_rng(devices=[]), quiet():  # peft initialises from the global generator
            torch.manual_seed(seed)
            if before:
                earlier = self._peft[0].peft_config[before[-1]]
                config.r, config.lora_alpha = earlier.r, earlier.lora_alpha
                self._peft[0].add_adapter(name, config)
                state = get_peft_model_state_dict(self._peft[0], adapter_name=before[-1], save_embedding_layers=False)
                set_peft_model_state_dict(self._peft[0], state, adapter_name=name)
                self._peft[0].set_adapter(name)
            else:
                self._peft = [beside(PeftModel(self.model, config, adapter_name=name))]
        return self

    @contextlib.contextmanager
    def reference(self):
        """Inside, the policy is what it was before its last add_lora: same weights, adapters off, the old head."""
        if not self._peft:
            raise InputError("the policy has no reference; call add_lora first")
        *before, last = self.adapters
        head, self.head = self.head, self.reference_head
        try:
            if before:
                self._peft[0].set_adapter(before[-1], inference_mode=True)
                yield
            else:
                with self._peft[0].disable_adapter():
                    yield
        finally:
            self.head = head
            self._peft[0].set_adapter(last)

    def checkpoint_gradients(self):
        """From now on keep one layer's activations at a time, and make the others again for the gradient: slower. Returns self."""
        with quiet():
            self.model.gradient_checkpointing_enable({"use_reentrant": False})
        self._checkpointing = True
        return self

    @property
    def device(self):
        return self.head.layers[-1].weight.device

    @property
    def _number_size(self):
        """Bytes of a number that the language model makes. (peft would copy all of lm_head's table to show its weight.)"""
        return self.backbone.language.norm.weight.element_size()

    def rows_at_once(self, length):
        """How many answers to sample at once, if each is `length` tokens with its prompt; None: all."""
        if self.cache_gib is None:
            return None
        text = self.model.config.text_config
        wide = getattr(text, "head_dim", None) or text.hidden_size // text.num_attention_heads
        kept = 2 * text.num_hidden_layers * text.num_key_value_heads * wide * self._number_size  # a token
        return max(1, int(self.cache_gib * 2**30 / (length * kept + 16 * text.vocab_size)))  # and a few rows of logits

    def prompts_at_once(self, length):
        """How many prompts to read at once where no gradient is made, if each is `length` tokens with all its answers; None: all."""
        if self.cache_gib is None:
            return None
        text = self.model.config.text_config
        token = (8 * text.hidden_size + 4 * text.intermediate_size) * self._number_size  # of one layer at work
        return max(1, int(self.cache_gib * 2**30 / (length * token)))

    def score(self, tokens, *, temperature=1.0):
        """Log-probabilities of the answers' tokens and the Gaussians at their <POSE>, with gradients: Scores. A prompt is read once,
        in one row with its answers."""
        group_size = len(tokens.answer) // len(tokens.prompt)
        some = None if torch.is_grad_enabled() else self.prompts_at_once(tokens.prompt.shape[1] + group_size * tokens.answer.shape[1])
        if some is not None and len(tokens.prompt) > some:
            parts = [self.score(part, temperature=temperature) for part in tokens.split(some)]
            return Scores(*(torch.cat([getattr(part, f.name) for part in parts]) for f in fields(Scores)))
        prompt, seen, places = self._embed(tokens)
        before, after = self._positions(tokens, group_size)
        groups, width = (len(prompt), group_size), prompt.shape[1]
        answer = self.model.get_input_embeddings()(tokens.answer).unflatten(0, groups).flatten(1, 2)  # (N, G*T, H)
        said = after(tokens.answer_mask).unflatten(-2, groups).flatten(-2)
        language, asleep = self.backbone.language, self._checkpointing and torch.is_grad_enabled() and not self.training
        if asleep:
            language.train()  # transformers checkpoints in training alone
        hidden = language(inputs_embeds=torch.cat([prompt, answer], 1), position_ids=torch.cat([before, said], -1), use_cache=False,
                          attention_mask=_additive(tokens.attention_mask(), prompt.dtype)[:, None],
                          **self.backbone.more(seen, places, behind=answer.shape[1])).last_hidden_state
        if asleep:
            language.eval()
        first, rest = hidden[:, width - 1 : width], hidden[:, width:].unflatten(1, (group_size, -1)).flatten(0, 1)
        hidden = torch.cat([first.repeat_interleave(group_size, 0), rest], 1)  # (R, 1+T, H)
        text_logp = self._text_logp(hidden[:, :-1], tokens.answer, temperature)
        text_logp = text_logp.masked_fill(~tokens.answer_mask, 0.0)  # padding is barred: its log-probability is -inf
        first = self._first_pose(tokens.answer)
        at_pose = hidden[:, 1:][first].float()  # (A, H)
        return Scores(text_logp, first.any(1), *self.head(at_pose), at_pose)

    @torch.no_grad()
    def sample(self, questions, *, pictures=None, group_size=1, poses_per_answer=1, widths=(1.0,), temperature=1.0, max_tokens=None,
               micro_batch=None, generator):
        """Draw group_size answers to each question and poses_per_answer poses for each answer that has <POSE>.

        The prompt is encoded once and shared by its answers. temperature 0 takes the likeliest token. Only the first
        <POSE> of an answer counts. widths: shares of the std that its poses are drawn with, in turn. max_tokens: None for
        answer_tokens. micro_batch: questions at once, None for all, or what cache_gib leaves room for; what is drawn does not
        depend on it.
        Returns a Rollout.
        """
        was_training = self.training
        self.eval()
        start, size, share = self.encode(questions, pictures=pictures), micro_batch or len(questions), group_size
        max_tokens = max_tokens or self.answer_tokens
        if rows := self.rows_at_once(start.prompt.shape[1] + max_tokens):
            size, share = max(1, rows // group_size), min(rows, group_size)
        count = len(questions) * group_size
        chance = 1 - torch.rand(count, max_tokens, generator=generator, device=self.device)  # in (0, 1]
        noise = torch.randn(count, poses_per_answer, self.head.dims, generator=generator, device=self.device)
        answer = torch.full((count, max_tokens), self.tokenizer.pad_token_id, device=self.device)
        alive, text_logp = torch.zeros_like(answer, dtype=torch.bool), torch.zeros_like(chance)
        hidden = []
        for i, first in itertools.product(range(0, len(questions), size), range(0, group_size, share)):
            some = min(share, group_size - first)  # of the answers to a question; all, but where one question's are too many
            rows = slice(i * group_size + first, i * group_size + first + some if some < group_size else (i + size) * group_size)
            said, there, logp, at_pose = self._say(start.prompts(slice(i, i + size)), some, temperature, chance[rows])
            length = slice(0, said.shape[1])
            answer[rows, length], alive[rows, length], text_logp[rows, length] = said, there, logp
            hidden.append(at_pose)
        self.train(was_training)
        length = int(alive.sum(1).max())
        answer, alive, text_logp = (part[:, :length] for part in (answer, alive, text_logp))
        has_pose = (answer == self.pose_id).any(1)
        at_pose = torch.cat(hidden)[has_pose].float()
        mean, std = self.head(at_pose)
        width = std.new_tensor([widths[k % len(widths)] for k in range(poses_per_answer)])  # (K,)
        action = mean[:, None] + width[:, None] * std[:, None] * noise[has_pose]  # (A, K, D)
        pose_logp = gaussian.log_prob(action, mean[:, None], width[:, None] * std[:, None])
        return Rollout(**vars(start) | {"answer": answer, "answer_mask": alive}, action=action, pose_logp=pose_logp, width=width,
                       scores=Scores(text_logp, has_pose, mean, std, at_pose), temperature=temperature)

    def _say(self, start, group_size, temperature, chance):
        """group_size answers to each prompt, word by word: tokens (R, T), which of them are there, their log-probabilities, and
        the hidden state (R, H) at <POSE>, zeros where it is not said. chance: (R, at most T) in (0, 1], where in the distribution
        each word is taken."""
        hidden, cache, after = self._read_prompt(start, group_size)
        width, room = start.prompt.shape[1], Room(cache, len(chance.T))
        mask = nn.functional.pad(start.prompt_mask.repeat_interleave(group_size, 0), (0, len(chance.T)))  # (R, L+T)
        places = torch.arange(mask.shape[1], device=self.device)

        def read(token, position, mask, at):
            room.at = at
            seen = _additive(mask, hidden.dtype)[:, None, None]
            return self.backbone.language(input_ids=token[:, None], attention_mask=seen, past_key_values=room, use_cache=True,
                                          position_ids=position).last_hidden_state[:, -1]

        done = torch.zeros(len(hidden), dtype=torch.bool, device=self.device)
        at_pose, posed = torch.zeros_like(hidden), done
        answer, alive, logps = [], [], []
        for i, drawn in enumerate(chance.T, width):
            logp = self._logits(hidden, temperature or 1.0).log_softmax(-1)
            token = _take(logp, drawn) if temperature else logp.argmax(-1)
            token = torch.where(done, self.tokenizer.pad_token_id, token)
            answer.append(token), alive.append(~done)
            logps.append(logp.gather(-1, token[:, None])[:, 0].masked_fill(done, 0.0))
            mask[:, i] = ~done
            now = token, after(torch.stack(alive, 1))[..., -1:], mask, places[i : i + 1]
            if i == width and self.device.type == "cuda":
                read = Replayed(read, *now)
            hidden = read(*now)
            at_pose = torch.where(((token == self.pose_id) & ~posed)[:, None], hidden, at_pose)
            posed = posed | (token == self.pose_id)
            done = done | (token == self.tokenizer.eos_token_id)
            if done.all():
                break
        return *(torch.stack(part, 1) for part in (answer, alive, logps)), at_pose

    def generate(self, questions, *, pictures=None, n=1, width=1.0, seed=0, max_tokens=None):
        """Poses for sentences: the mean pose of the likeliest answer first, then n - 1 draws of answer and pose.

        width: the share of the std that draws take; under 1 they are nearer to the mean, more like bodies and more alike. max_tokens:
        an answer is cut off after so many, None for answer_tokens. Returns (pose (P, n, 24, 3, 3), answers: P lists of n, log_prob
        (P, n) of answer and pose together, by the whole std). An answer without <POSE> has a pose of NaN.
        """
        generator = torch.Generator(self.device).manual_seed(seed)
        likeliest = self.sample(questions, pictures=pictures, temperature=0.0, max_tokens=max_tokens, generator=generator)
        parts = [self._pick(likeliest, likeliest.scores.mean)]
        if n > 1:
            drawn = self.sample(questions, pictures=pictures, group_size=n - 1, widths=(width,), max_tokens=max_tokens,
                                generator=generator)
            parts.append(self._pick(drawn, drawn.action[:, 0]))
        pose, answers, log_prob = zip(*parts)
        texts = [[a for group in rows for a in group] for rows in zip(*answers)]
        return torch.cat(pose, 1), texts, torch.cat(log_prob, 1)

    def gaussian(self, questions, pictures=None):
        """What the head says at the likeliest answer's <POSE>: mean and std (P, 132), NaN for an answer without."""
        generator = torch.Generator(self.device)  # nothing is drawn with it that is looked at
        scores = self.sample(questions, pictures=pictures, temperature=0.0, generator=generator).scores
        return torch.stack([spread(part, scores.has_pose, torch.nan) for part in (scores.mean, scores.std)])

    def _pick(self, rollout, action):
        """A rollout as (pose (N, G, 24, 3, 3), N lists of G answers, log_prob (N, G)), one action (A, 132) of each with a pose."""
        groups, scores, text = (len(rollout.prompt), -1), rollout.scores, self.decode(rollout)
        pose = spread(to_pose(action), scores.has_pose, torch.nan).unflatten(0, groups)
        log_prob = scores.text_logp.sum(1) + spread(gaussian.log_prob(action, scores.mean, scores.std), scores.has_pose)
        size = pose.shape[1]
        return pose, [text[i : i + size] for i in range(0, len(text), size)], log_prob.unflatten(0, groups)

    def decode(self, tokens):
        """The answers as text, <POSE> kept."""
        drop = {self.tokenizer.pad_token_id, self.tokenizer.eos_token_id}
        kept = [[t for t in row if t not in drop] for row in tokens.answer.tolist()]
        return [self.tokenizer.decode(row).strip() for row in kept]

    def _text_logp(self, hidden, answer, temperature):
        """Log-probabilities (R, T) of the answers' tokens from the hidden states before them (R, T, H). Over a real vocabulary
        some rows at once: their logits are made again for the gradient, not kept."""
        def of(hidden, answer):
            return self._logits(hidden, temperature).log_softmax(-1).gather(-1, answer[..., None])[..., 0]

        rows = max(1, LOGITS_AT_ONCE // (answer.shape[1] * self.model.config.text_config.vocab_size))
        if rows >= len(answer):
            return of(hidden, answer)
        parts = zip(hidden.split(rows), answer.split(rows))
        return torch.cat([checkpoint(of, *part, use_reentrant=False) for part in parts])

    def _logits(self, hidden, temperature):
        logits = self.model.lm_head(hidden.contiguous()).float() / temperature
        return logits.index_fill(-1, self._barred, -torch.inf)

    def _first_pose(self, answer):
        """Where each row's first <POSE> is, (R, T) bool."""
        hit = answer == self.pose_id
        return hit & (hit.cumsum(1) == 1)


def _additive(mask, dtype):
    """A mask, True where there is something to see, as what attention adds to its logits."""
    return torch.zeros_like(mask, dtype=dtype).masked_fill(~mask, torch.finfo(dtype).min)


def _take(logp, chance):
    """One token of each row's distribution (R, V): the one in which `chance` (R,) of its probability is reached."""
    reached = logp.exp().cumsum(-1)
    return (reached < chance[:, None] * reached[:, -1:]).sum(-1).clamp(max=logp.shape[-1] - 1)
