# ---
# jupyter:
#   jupytext:
#     text_representation:
#       extension: .py
#       format_name: percent
#   kernelspec:
#     display_name: Python 3
#     language: python
#     name: python3
# ---
# %% [markdown]
# # 08 · Four bits
#
# **How does a model of seven billion numbers fit on one card?** In bf16 its weights alone take 13 GiB, and training wants gradients and two moments for each. QLoRA (arXiv 2305.14314) needs
# neither: the weights are **frozen** and kept in **four bits**, and beside each matrix a thin one learns. This notebook does
# both by hand on one matrix, then sends a vision-language model through the package's own loader, and ends with what fits
# on which card.
#
# **Runs in about 15 seconds on a laptop's CPU.** It builds on [06_hygrpo](06_hygrpo.ipynb).

# %%
import logging
import os
import sys
import tempfile
import time
from pathlib import Path

import matplotlib.pyplot as plt
import torch
from bitsandbytes import functional as bits
from matplotlib_inline.backend_inline import set_matplotlib_formats
from peft import LoraConfig, get_peft_model
from safetensors.torch import load_file
from torch import nn

from minirft import PosePolicy
from minirft.body import DATA
from minirft.machine import BASES, DIAL, NF4_BITS, needs

# %matplotlib inline
set_matplotlib_formats("jpeg", pil_kwargs={"quality": 85})  # small enough to keep in the notebook
FAST = os.environ.get("MINIRFT_FAST") == "1"  # the tests set it: smaller sizes, same asserts
logging.disable(logging.WARNING)
start, generator = time.perf_counter(), torch.Generator().manual_seed(0)

# %% [markdown]
# ## Sixteen values
#
# Four bits tell sixteen values apart. Which sixteen? Weights of a trained network look normal, so take them dense near zero
# and sparse far out, such that each is used about equally often: NF4's code. Here it is over a part of one of `mini-sft`'s matrices.

# %%
weight = load_file(DATA / "mini-sft" / "model.safetensors")["language_model.model.layers.0.mlp.up_proj.weight"]
weight = weight[:, :128].float().contiguous()  # (432, 128): a row is two whole blocks
CODE = bits.get_4bit_type("nf4", device="cpu")  # (16,) from -1 to 1
blocks = weight.reshape(-1, 64)  # 64 numbers in a row share a scale, the largest of them
scaled = blocks / blocks.abs().amax(1, keepdim=True)
figure, axes = plt.subplots(figsize=(7, 2.6))
axes.hist(scaled.flatten(), bins=80, color="0.75")
for value in CODE.tolist():
    axes.axvline(value, lw=1)
axes.set(xlabel="a weight over the largest of its block; lines: the sixteen values", yticks=[])
plt.show()
assert len(CODE) == 16 and (CODE.diff() > 0).all() and CODE[7] == 0

# %% [markdown]
# To quantise is to take the nearest of the sixteen; to come back, to look it up and multiply by the block's scale.

# %%
def nf4_by_hand(weight):
    blocks = weight.reshape(-1, 64)
    scale = blocks.abs().amax(1, keepdim=True)  # (blocks, 1)
    number = ((blocks / scale)[..., None] - CODE).abs().argmin(-1)  # (blocks, 64), 0 to 15
    return number, scale, (CODE[number] * scale).view_as(weight)


number, scale, back = nf4_by_hand(weight)
theirs = bits.dequantize_4bit(*bits.quantize_4bit(weight, blocksize=64, quant_type="nf4"))
torch.testing.assert_close(back, theirs, atol=1e-6, rtol=1e-5)
print(f"{weight.numel():,} numbers, {len(number.unique())} different codes; off by {(back - weight).norm() / weight.norm():.1%}")

# %% [markdown]
# A product with a vector is off by about as much, not by more: the errors of single weights have nothing to do with each other.
# What the network says with rounded weights is another matter, and one that can be measured only by asking it.

# %%
vectors = torch.randn(1000, 128, generator=generator)
off = (vectors @ back.T - vectors @ weight.T).norm(dim=1) / (vectors @ weight.T).norm(dim=1)
figure, axes = plt.subplots(figsize=(7, 2.2))
axes.hist(off, bins=40, color="0.75")
axes.set(xlabel="how far 1,000 products with random vectors are off, of their length", yticks=[])
plt.show()
assert 0.05 < off.mean() < 0.15

# %% [markdown]
# ## The price of the scales
#
# A scale in 32 bits for every 64 numbers is half a bit a number. So scales are quantised too, to 8 bits, 256 together: double
# quantisation.

# %%
once = 4 + 32 / 64
twice = 4 + 8 / 64 + 32 / (64 * 256)
assert abs(twice - NF4_BITS) < 1e-3
print(f"{once:.2f} bits a number, or {twice:.3f}: of seven billion that is {(once - twice) * 7e9 / 8 / 2**30:.2f} GiB less")
figure, axes = plt.subplots(figsize=(7, 1.6))
axes.barh(("bf16", "four bits, scales in 32", "scales in 8 bits"), [b * 7e9 / 8 / 2**30 for b in (16, once, twice)])
axes.set(xlabel="GiB for seven billion numbers")
axes.invert_yaxis()
plt.show()

# %% [markdown]
# ## What learns
#
# Sixteen values have no slope, so the matrix stays as it is. Beside it a detour of rank 16 learns: down to 16 numbers and up
# again, `y = W x + 2 B A x`. `B` begins at zero, so that nothing changes at first. That is LoRA (arXiv 2106.09685), and here is
# peft's, with the same weights.

# %%
class LoraByHand(nn.Module):
    def __init__(self, weight, down, up):
        super().__init__()
        self.number, self.scale, _ = nf4_by_hand(weight)
        self.down, self.up = nn.Parameter(down), nn.Parameter(up)

    def forward(self, x):
        weight = (CODE[self.number] * self.scale).view(len(self.up), -1)  # made anew for each product, and forgotten
        return x @ weight.T + 2 * (x @ self.down.T) @ self.up.T


# %%
plain = nn.Sequential(nn.Linear(128, 432, bias=False))
plain[0].weight.data = back.clone()
peft = get_peft_model(plain, LoraConfig(r=16, lora_alpha=32, target_modules=["0"]))
layer = peft.base_model.model[0]
nn.init.normal_(layer.lora_B["default"].weight, std=0.1)  # else the two would agree whatever A is
mine = LoraByHand(weight, layer.lora_A["default"].weight.detach().clone(), layer.lora_B["default"].weight.detach().clone())
torch.testing.assert_close(mine(vectors), peft(vectors), atol=1e-4, rtol=1e-4)

# %%
for module in (mine, peft):
    module(vectors).square().mean().backward()
torch.testing.assert_close(mine.down.grad, layer.lora_A["default"].weight.grad, atol=1e-5, rtol=1e-3)
learning = mine.down.numel() + mine.up.numel()
print(f"{learning:,} numbers learn beside {weight.numel():,} that do not: {learning / weight.numel():.0%}; of a matrix of 4096 x 4096, "
      f"{16 * 2 * 4096 / 4096**2:.1%}")

# %% [markdown]
# Rank 16 is little, and enough to bend a matrix towards another. Let it learn the difference of two:

# %%
target = weight + 0.3 * weight.std() * torch.randn(432, 4, generator=generator) @ torch.randn(4, 128, generator=generator)
fresh = LoraByHand(weight, torch.randn(16, 128, generator=generator) / 128**0.5, torch.zeros(432, 16))
optimizer, history = torch.optim.Adam(fresh.parameters(), lr=1e-2), []
for step in range(60 if FAST else 300):
    x = torch.randn(128, 128, generator=generator)
    loss = (fresh(x) - x @ target.T).square().mean() / (x @ target.T).square().mean()
    optimizer.zero_grad()
    loss.backward()
    optimizer.step()
    history.append(loss.item())
figure, axes = plt.subplots(figsize=(7, 2.4))
axes.semilogy(history)
axes.axhline((off.mean() ** 2).item(), color="0.6", ls=":")
axes.set(xlabel="step", ylabel="error, squared")
plt.show()
assert history[-1] < 0.2 * history[0]

# %% [markdown]
# It ends a little under the dotted line, the error of rounding: of that, a detour of rank 16 mends only a part.
#
# ## A whole model
#
# The package's loader does all of it for a vision-language model by its name. There is no hub here, so the smallest LLaVA there
# is: random weights, the real class.

# %%
def tiny_llava(folder):
    """What a hub would hold: model, tokenizer and image processor."""
    from transformers import AutoTokenizer, CLIPVisionConfig, LlamaConfig, LlavaConfig, LlavaForConditionalGeneration

    tokenizer = AutoTokenizer.from_pretrained(DATA / "tokenizer")
    text = LlamaConfig(vocab_size=len(tokenizer), hidden_size=128, intermediate_size=256, num_hidden_layers=4, num_attention_heads=4)
    eyes = CLIPVisionConfig(hidden_size=32, intermediate_size=64, num_hidden_layers=1, num_attention_heads=2, image_size=28, patch_size=14)
    config = LlavaConfig(vision_config=eyes, text_config=text, image_token_index=tokenizer.convert_tokens_to_ids("<image>"))
    LlavaForConditionalGeneration(config).save_pretrained(folder)
    tokenizer.save_pretrained(folder)
    (Path(folder) / "preprocessor_config.json").write_text((DATA / "tokenizer" / "preprocessor_config.json").read_text())


# %%
with tempfile.TemporaryDirectory() as folder:
    sys.stderr, kept = open(os.devnull, "w"), sys.stderr  # loading bars
    tiny_llava(folder)
    policy = PosePolicy.from_backbone(folder, four_bit=True).add_lora("sft")
    sys.stderr = kept
frozen = {name: p for name, p in policy.model.named_parameters() if not p.requires_grad}
packed = [p for p in frozen.values() if p.dtype == torch.uint8]
assert len(packed) == 4 * 7 and all(p.numel() * 2 % 64 == 0 for p in packed)
learning = sorted({name.split(".")[-4] for name, p in policy.model.named_parameters() if p.requires_grad and "lora" in name})
print(f"{len(packed)} matrices in four bits, two numbers a byte; LoRA beside {', '.join(learning)}")
print(f"{sum(p.numel() for p in policy.parameters() if p.requires_grad):,} numbers learn: LoRA, <POSE>, the head, the projector")

# %% [markdown]
# And it learns: one answer, its gradient, straight through the four bits.

# %%
tokens = policy.encode(["raise both arms"], ["Here it is: <POSE>"])
scores = policy.score(tokens)
(-scores.text_logp.mean() + scores.mean.square().mean()).backward()
touched = [name for name, p in policy.named_parameters() if p.grad is not None and p.grad.abs().max() > 0]
assert touched and all("lora" in n or "trainable_tokens" in n or n.startswith("head.") for n in touched)
print(f"{len(touched)} parameters have a gradient, none of them in four bits")

# %% [markdown]
# What of it is stored how:

# %%
kinds = {"four bits": packed, "not packed, frozen": [p for p in frozen.values() if p.dtype != torch.uint8],
         "learning": [p for p in policy.parameters() if p.requires_grad]}
counts = [sum(p.numel() * (2 if p.dtype == torch.uint8 else 1) for p in several) for several in kinds.values()]
stored = [sum(p.numel() * p.element_size() for p in several) for several in kinds.values()]
figure, axes = plt.subplots(1, 2, figsize=(8, 1.6), sharey=True)
for ax, values, label in zip(axes, (counts, stored), ("million numbers", "MB")):
    ax.barh(list(kinds), [value / 1e6 for value in values])
    ax.set(xlabel=label)
plt.show()
assert stored[0] == counts[0] / 2

# %% [markdown]
# ## What breaks
#
# One number far out, and all 63 that share its scale are rounded to nothing.

# %%
spoilt = weight.clone()
spoilt[0, 0] = 100 * weight.abs().max()
_, _, rounded = nf4_by_hand(spoilt)
row = slice(1, 64)
print(f"block with the outlier: {(rounded[0, row] == 0).float().mean():.0%} of the others became zero; "
      f"without: {(back[0, row] == 0).float().mean():.0%}")
assert (rounded[0, row] == 0).all() and torch.equal(rounded[1:], back[1:])
figure, axes = plt.subplots(1, 2, figsize=(8, 2), sharey=True)
for ax, kept, title in zip(axes, (back, rounded), ("as it was", "beside one large number")):
    ax.plot(weight[0, row], color="0.7")
    ax.step(range(63), kept[0, row], where="mid")
    ax.set(title=title, xlabel="numbers of one block; grey: exact")
plt.show()

# %% [markdown]
# Smaller blocks confine the harm and cost more scales. Large models do have such numbers, in activations more than in weights,
# which is why only weights are put into four bits, and why embeddings, the last layer and the vision tower are left alone.
#
# ## What fits on which card
#
# The weights, a step of HyGRPO at `--vram 12`, and half a GiB for CUDA. Counted on models of these sizes with nothing learnt
# (`tests/bench/memory.py`), not measured. One was, on an H100, when it took one question at a time: 5.2 GiB of tensors for
# Qwen2.5-VL-3B, where 5.05 had been counted.

# %%
figure, axes = plt.subplots(figsize=(7.5, 2.6))
for k, four_bit in enumerate((True, False)):
    places = [y + 0.4 * k - 0.2 for y in range(len(BASES))]
    gib = [needs(name, four_bit) for name in BASES]
    axes.bar_label(axes.barh(places, gib, height=0.36, label="four bits" if four_bit else "bf16"), fmt="%.1f", fontsize=8)
for size in DIAL:
    axes.axvline(size, color="0.6", ls=":", lw=1)
axes.set_yticks(range(len(BASES)), [name.split("/")[1] for name in BASES])
axes.set(xlabel="GiB; dotted: the steps of --vram")
axes.invert_yaxis(), axes.legend()
plt.show()
assert needs("Qwen/Qwen2.5-VL-3B-Instruct") < 8 < needs("Qwen/Qwen2.5-VL-3B-Instruct", four_bit=False)

# %% [markdown]
# ## Exercise
#
# With blocks of 16, 64, 256 and 1,024 numbers, how far is the matrix off, and how many bits is a number, if scales take 8 bits?

# %%
def trade(size):
    return float("nan"), float("nan")  # mend it: error, bits


print({size: trade(size) for size in (16, 64, 256, 1024)})

# %% [markdown]
# <details><summary>Answer</summary>
#
# ```python
# def trade(size):
#     blocks = weight.flatten()[: weight.numel() // size * size].view(-1, size)
#     scale = blocks.abs().amax(1, keepdim=True)
#     back = CODE[((blocks / scale)[..., None] - CODE).abs().argmin(-1)] * scale
#     return ((back - blocks).norm() / blocks.norm()).item(), 4 + 8 / size
# ```
#
# The error grows slowly with the block, the bits fall fast at first and then hardly: 64 is where one more halving buys little.
#
# </details>
#
# With a card: `minirft doctor`, then `minirft sft --base Qwen/Qwen2.5-VL-3B-Instruct --vram 12 --device cuda --poses prior --out RUN`.
# Next: [09_better](09_better.ipynb), did it get better?

# %%
print(f"Python {sys.version.split()[0]}, torch {torch.__version__}")
print(f"{time.perf_counter() - start:.0f} seconds")
