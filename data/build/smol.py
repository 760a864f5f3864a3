r"""How SmolLM2 learnt to pose on a laptop's CPU, sentences alone: `smol-sft` from a teacher (SFTConfig.teacher), then by HyGRPO.

    git archive dfca34a data/smol-sft | tar -x -C OLD            # its first 64,000 sentences: see that commit and 2d975bf
    python data/build/smol.py OLD/data/smol-sft train.npz validation.npz RUN      # 77,000 more; goes on if it was stopped
    python data/build/mini_sft.py RUN data/smol-sft              # then in half precision
    python data/build/smol.py data/smol-sft train.npz RUN2       # HyGRPO, 75 steps: some 36 seconds each on two cores

What comes out is an adapter to the model in four bits. It is trained on the numbers that the four bits stand for, written out once
(the same to the last digit, and quicker where memory is not short). In teaching the lower half of the layers stays as it is by now, so that
no gradient goes through them, and batches are of sentences alike in length, so that nothing is padding; HyGRPO trains all layers.
"""

import random
import sys
from pathlib import Path

import torch
from bitsandbytes.functional import dequantize_4bit
from peft.tuners import lora
from torch import nn

from minirft import load_body, train
from minirft.batches import fresh_samples
from minirft.body import DATA
from minirft.critics import Critics
from minirft.data import load_poses
from minirft.policy import PosePolicy

POOL = 64  # batches that are drawn at once, to be cut by length


class Lora(lora.Linear):
    """peft's layer in the precision of what it is given: half of the casts, and one addition less."""

    def forward(self, x):
        name, = self.active_adapters
        out, within = self.base_layer(x), nn.functional.linear(x, self.lora_A[name].weight.to(x))
        outer = self.lora_B[name].weight.to(x).t()
        return torch.addmm(out.flatten(0, -2), within.flatten(0, -2), outer, alpha=self.scaling[name]).view(out.shape)


def load(folder):
    """A policy ready to be trained so."""
    policy = PosePolicy.from_pretrained(folder)
    policy.model.set_attn_implementation("eager")  # of so short rows a CPU makes the gradient faster than by torch's fused kernel
    for layer in policy.model.modules():
        if isinstance(layer, lora.bnb.Linear4bit):
            packed, layer.base_layer = layer.base_layer.weight, nn.Linear(layer.in_features, layer.out_features, bias=False, dtype=torch.bfloat16)
            layer.base_layer.weight = nn.Parameter(dequantize_4bit(packed.data, packed.quant_state).bfloat16(), requires_grad=False)
            layer.__class__ = Lora
    layers = policy.backbone.language.layers
    policy.backbone.language.embed_tokens.requires_grad_(False), layers[: len(layers) // 2].requires_grad_(False)
    return policy


def alike(policy):
    """A function in place of train's fresh_samples, whose batches are of sentences and answers alike in length: POOL of them are
    drawn at once, cut, and given in any order."""
    def length(sample):
        return len(policy.tokenizer.tokenize(sample.answer)), len(policy.tokenizer.tokenize(sample.question))

    kept = {}

    def batch(poses, body, weights, count, config, step, *_):
        number = step // POOL
        if number not in kept:
            drawn = sorted(fresh_samples(poses, body, weights, POOL * count, config, number), key=length)
            cut = [drawn[i : i + count] for i in range(0, len(drawn), count)]
            random.Random(f"{config.seed}/{number}").shuffle(cut)
            kept.clear()
            kept[number] = cut
        return kept[number][step % POOL]

    return batch


def teach(base, poses, validation, run):
    policy = load(base)
    for layer in policy.backbone.language.layers:
        layer.forward = torch.compile(layer.forward, dynamic=True)
    train.fresh_samples = alike(policy)
    config = train.SFTConfig(steps=2400, batch_size=32, lr=1e-3, warmup=100, teacher="mini-rft", save_every=100, seed=2)
    poses = torch.cat([load_poses(poses).pose, load_poses(DATA / "rare.npz").pose])
    train.sft(policy, poses, config, body=load_body(), out=run, validation=load_poses(validation).pose,
              resume=(Path(run) / "last").exists())


def align(base, poses, run):
    config = train.RFTConfig(steps=75, adapter_lr=5e-4, seed=1)
    train.rft(load(base), load_poses(poses).pose, config, critics=Critics.load(load_body()), out=run, resume=(Path(run) / "last").exists())


if __name__ == "__main__":
    (teach if len(sys.argv) == 5 else align)(*sys.argv[1:])
