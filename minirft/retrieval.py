"""Which pose belongs to which sentence: four text-pose retrieval models, three to be pleased and an independent judge.

What is trained against can't also tell whether training helped: a policy soon finds poses that no body takes and one network
loves. Several are fooled together less easily: RFT's semantic reward is the mean of the reward model's and a second opinion's, and
what chooses or moves single poses (`generate --best-of`, `--refine`) asks a third one too, of another architecture. (Beside these two
in the reward it taught a policy nothing more.) The judge has an architecture of its own (a bag of words and word pairs, where those
read in order, and joint positions), another seed, and has seen other trials of the motion capture; nor was it ever taught to tell one
draw from another (data/build/retrieval.py). It may be looked at; it never enters a loss, a reward or a choice.
"""

import json
from pathlib import Path

import torch
from safetensors import SafetensorError, safe_open
from safetensors.torch import save_file
from torch import nn
from torch.nn.functional import gelu, normalize
from torch.nn.utils.rnn import pack_padded_sequence, pad_packed_sequence, pad_sequence
from transformers import AutoModel, AutoTokenizer
from transformers.utils import cached_file

from .body import DATA, to_6d
from .errors import InputError, in_short

BUCKETS = 8192  # of hashed word pairs
PAIRS = torch.triu_indices(24, 24, offset=1)  # of joints


class RewardModel(nn.Module):
    """Reads the sentence in order with a two-way GRU; sees 6D rotations, where the joints are and how far from one another."""

    def __init__(self, vocabulary):
        super().__init__()
        self.words = nn.Embedding(vocabulary, 96, padding_idx=0)
        self.reader = nn.GRU(96, 96, batch_first=True, bidirectional=True)
        self.text = nn.Sequential(nn.LayerNorm(192), nn.Linear(192, 256), nn.GELU(), nn.Linear(256, 128))
        self.pose = _mlp(132 + 23 * 3 + PAIRS.shape[1], 512, 128)
        self.log_scale = nn.Parameter(torch.tensor(2.7))

    def embed_text(self, tokens):
        """Token ids (R, T), 0 on padding, to unit vectors (R, E)."""
        mask = (tokens != 0)[..., None]
        words = pack_padded_sequence(self.words(tokens), mask.sum((1, 2)).cpu(), batch_first=True, enforce_sorted=False)
        states, _ = pad_packed_sequence(self.reader(words)[0], batch_first=True, total_length=tokens.shape[1])
        peak = states.masked_fill(~mask, -torch.inf).amax(1)
        return normalize(self.text(peak), dim=-1)

    def embed_pose(self, pose, joints):
        """Poses (..., 24, 3, 3) and their joints (..., 24, 3) metres to unit vectors (..., E)."""
        return normalize(self.pose(torch.cat([to_6d(pose[..., :22, :, :]).flatten(-2), _laid_out(joints)], -1)), dim=-1)


class ThirdOpinion(nn.Module):
    """Reads three and then five words at a time; sees where the joints are and how far from one another, and no rotations."""

    def __init__(self, vocabulary):
        super().__init__()
        self.words = nn.Embedding(vocabulary, 128, padding_idx=0)
        self.three, self.five = nn.Conv1d(128, 192, 3, padding=1), nn.Conv1d(192, 192, 5, padding=2)
        self.text = nn.Sequential(nn.LayerNorm(192), nn.Linear(192, 256), nn.GELU(), nn.Linear(256, 128))
        self.pose = _mlp(23 * 3 + PAIRS.shape[1], 512, 128)
        self.log_scale = nn.Parameter(torch.tensor(2.7))

    def embed_text(self, tokens):
        """Token ids (R, T), 0 on padding, to unit vectors (R, E)."""
        mask = (tokens != 0)[:, None]
        read = gelu(self.three(self.words(tokens).mT)) * mask
        read = read + gelu(self.five(read))
        return normalize(self.text(read.masked_fill(~mask, -torch.inf).amax(-1)), dim=-1)

    def embed_pose(self, pose, joints):
        """Joints (..., 24, 3) metres to unit vectors (..., E); the rotations are not looked at."""
        return normalize(self.pose(_laid_out(joints)), dim=-1)


class Judge(nn.Module):
    """Knows the sentence as a bag of words and word pairs; sees the pose as joint positions, the pelvis at zero."""

    def __init__(self, vocabulary):
        super().__init__()
        self.words = nn.EmbeddingBag(vocabulary + BUCKETS, 256, mode="mean", padding_idx=0)
        self.text = nn.Sequential(nn.Linear(256, 256), nn.GELU(), nn.Linear(256, 64))
        self.pose = _mlp(23 * 3, 256, 64)
        self.log_scale = nn.Parameter(torch.tensor(2.7))

    def embed_text(self, tokens):
        """Token ids (R, T), 0 on padding, to unit vectors (R, E)."""
        first, second = tokens[:, :-1], tokens[:, 1:]
        vocabulary = self.words.num_embeddings - BUCKETS
        pairs = vocabulary + (first * 31 + second * 8191) % BUCKETS
        bag = torch.cat([tokens, pairs.masked_fill((first == 0) | (second == 0), 0)], 1)
        return normalize(self.text(self.words(bag)), dim=-1)

    def embed_pose(self, pose, joints):
        """Joints (..., 24, 3) metres to unit vectors (..., E); the rotations are not looked at."""
        return normalize(self.pose((joints[..., 1:, :] - joints[..., :1, :]).flatten(-2)), dim=-1)


KINDS = {"reward_model": RewardModel, "second_opinion": RewardModel, "third_opinion": ThirdOpinion, "judge": Judge}
REWARDING = ("reward_model", "second_opinion")  # a policy is paid for pleasing these
CHOOSING = (*REWARDING, "third_opinion")  # and single poses are chosen and moved by these


class Retriever(nn.Module):
    """One of the models with its tokenizer. kind: one of KINDS; about: what its training noted."""

    def __init__(self, kind, *, seed=0):
        super().__init__()
        self.kind, self.about = kind, {}
        self.tokenizer = AutoTokenizer.from_pretrained(DATA / "tokenizer")
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed)
            self.model = KINDS[kind](len(self.tokenizer))

    @classmethod
    def load(cls, kind, path=None):
        """The one that ships with the package, or another file. Raises InputError where it does not fit."""
        path = DATA / f"{kind}.safetensors" if path is None else path
        try:
            with safe_open(path, "pt") as file:
                retriever = cls(kind)
                retriever.model.load_state_dict({k: file.get_tensor(k).float() for k in file.keys()})
                retriever.about = json.loads((file.metadata() or {}).get("about", "{}"))
        except (OSError, SafetensorError, RuntimeError) as error:
            raise InputError(f"{path}: no {kind} ({in_short(error, 200)})") from None
        return retriever.eval().requires_grad_(False)

    def save(self, path):
        """Weights in half precision; what `about` says travels along."""
        state = {k: v.half().contiguous() for k, v in self.model.state_dict().items()}
        save_file(state, path, metadata={"about": json.dumps(self.about)})

    def embed_text(self, sentences):
        """R sentences to unit vectors (R, E). Case does not matter."""
        rows = [self.tokenizer(s.lower(), add_special_tokens=False).input_ids or [1] for s in sentences]
        tokens = pad_sequence([torch.tensor(ids) for ids in rows], batch_first=True)
        return self.model.embed_text(tokens.to(self.model.log_scale.device))

    def embed_pose(self, pose, joints):
        """Poses (..., 24, 3, 3) and their joints (..., 24, 3) to unit vectors (..., E)."""
        return self.model.embed_pose(pose, joints)


class Panel(nn.ModuleList):
    """Several retrieval models as one: unit vectors side by side, so that a cosine is the mean of theirs."""

    @classmethod
    def load(cls, kinds=CHOOSING):
        """Of the models that ship, these."""
        return cls([Retriever.load(kind) for kind in kinds])

    def embed_text(self, sentences):
        """R sentences to unit vectors (R, E)."""
        return torch.cat([member.embed_text(sentences) for member in self], -1) / len(self) ** 0.5

    def embed_pose(self, pose, joints):
        """Poses (..., 24, 3, 3) and their joints (..., 24, 3) to unit vectors (..., E)."""
        return torch.cat([member.embed_pose(pose, joints) for member in self], -1) / len(self) ** 0.5


class SentenceEncoder(nn.Module):
    """A sentence encoder by hub name or folder, for the text similarity: BAAI/bge-m3 (the paper's), MiniLM, any such."""

    def __init__(self, name):
        super().__init__()
        try:
            self.tokenizer, self.model = AutoTokenizer.from_pretrained(name), AutoModel.from_pretrained(name).eval()
            pooling = cached_file(name, "1_Pooling/config.json", _raise_exceptions_for_missing_entries=False)
            self.first = pooling is not None and json.loads(Path(pooling).read_text())["pooling_mode_cls_token"]
        except (OSError, ValueError, KeyError) as error:
            raise InputError(f"{name}: no sentence encoder ({in_short(error, 200)})") from None

    @torch.no_grad()
    def embed_text(self, sentences):
        """R sentences to unit vectors (R, E): the first token's state or the mean of all, as the model was made for."""
        rows = self.tokenizer(sentences, padding=True, truncation=True, return_tensors="pt").to(self.model.device)
        states, mask = self.model(**rows).last_hidden_state, rows["attention_mask"][..., None]
        return normalize(states[:, 0] if self.first else (states * mask).sum(1) / mask.sum(1), dim=-1)


def recall(text, pose, ks=(5, 10, 20), *, missing=None):
    """Recall@K in percent, text to pose and pose to text: row i of (P, E) belongs to row i of (P, E).

    missing: (P,) bool, rows that have no pose: they find nothing and are found by nothing.
    The pool is the P rows themselves, and its size decides the numbers: it is part of what is returned. A candidate as
    good as the right one counts as better, so that a model that says the same of everything finds nothing.
    Returns {"t2p": {"5": ...}, "p2t": {...}, "pool": P}.
    """
    similarity = text @ pose.T
    if missing is not None:
        similarity = similarity.masked_fill(missing[None], -torch.inf)
    report = {"pool": len(text)}
    for name, table in (("t2p", similarity), ("p2t", similarity.T)):
        rank = (table >= table.diagonal()[:, None]).sum(1)  # 1 is first
        if missing is not None:
            rank = rank.masked_fill(missing, max(len(text), *ks) + 1)
        report[name] = {str(k): 100 * (rank <= k).float().mean().item() for k in ks}
    return report


def _laid_out(joints):
    """Where the joints (..., 24, 3) are, seen from the pelvis, and how far from one another: (..., 69 + 276) metres."""
    first, second = PAIRS.to(joints.device)
    apart = ((joints[..., first, :] - joints[..., second, :]).square().sum(-1) + 1e-8).sqrt()
    return torch.cat([(joints[..., 1:, :] - joints[..., :1, :]).flatten(-2), apart], -1)


def _mlp(size, width, out):
    return nn.Sequential(nn.Linear(size, width), nn.GELU(), nn.Linear(width, width), nn.GELU(), nn.Linear(width, out))
