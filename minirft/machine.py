"""What this machine has, which model fits on it, and the one dial that makes it fit: gigabytes of video memory.

What bases need is counted on models of their size with no weights of worth (tests/bench/memory.py). On a card one was measured, when
it took one question at a time: tensors of 5.2 GiB for Qwen2.5-VL-3B, where 5.05 were counted.
"""

import platform
import shutil
from dataclasses import dataclass
from importlib.metadata import version

import torch

from .errors import in_short


@dataclass(frozen=True)
class Dial:
    """What a run on a real backbone in four bits does with its card. side: pixels of a picture, where the model leaves that open;
    group_size: answers to a question (G); micro_batch: questions at once, which changes no result; checkpointing: of HyGRPO's
    gradients (SFT's always are), which saves memory and costs a third more time; cache_gib: for keys and values where no gradient
    is made, which says how many answers are sampled at once."""

    side: int
    group_size: int
    micro_batch: int
    checkpointing: bool
    cache_gib: float

    def __str__(self):
        return (f"4-bit weights, pictures of {self.side} pixels, {self.group_size} answers a question, {self.micro_batch} at once, "
                f"gradients {'in checkpoints' if self.checkpointing else 'kept'}")


DIAL = {8: Dial(224, 4, 2, True, 0.5), 12: Dial(224, 8, 4, True, 1.5), 16: Dial(336, 8, 4, True, 2.0),
        24: Dial(448, 8, 2, False, 4.0)}  # by GiB of the card
# Billions of numbers: the language model's layers, which four bits are for, and what stays in bf16 (embeddings, vision tower); and
# GiB that a step of HyGRPO adds at --vram 12, of 512 tokens and 32 in each answer, or a look at 64 pictures, if that is more.
BASES = {"HuggingFaceTB/SmolVLM2-2.2B-Instruct": (1.61, 0.63, 1.44), "Qwen/Qwen2.5-VL-3B-Instruct": (2.77, 0.98, 1.42),
         "llava-hf/llava-1.5-7b-hf": (6.48, 0.58, 2.15), "Qwen/Qwen2.5-VL-7B-Instruct": (6.53, 1.76, 2.21)}
CUDA = 0.5  # GiB that it takes for itself
NF4_BITS = 4.127  # a number, its block's scale quantised too


def step_down(vram):
    """What to try where memory ran out: the dial's next step, in words."""
    lower = [size for size in DIAL if size < vram]
    return f"try --vram {max(lower)} ({DIAL[max(lower)]})" if lower else "try a smaller --base; `minirft doctor` says which fits"


def needs(name, four_bit=True):
    """GiB that a base of BASES needs at --vram 12: its weights, a step and CUDA's own."""
    quantised, kept, step = BASES[name]
    return (quantised * (NF4_BITS if four_bit else 16) + kept * 16) * 1e9 / 8 / 2**30 + step + CUDA


def report():
    """What is here and what fits, line by line."""
    yield f"Python {platform.python_version()} on {platform.system()} {platform.machine()}, torch {torch.__version__}"
    for name in ("transformers", "peft", "bitsandbytes"):
        yield f"{name} {version(name)}"
    free = shutil.disk_usage(".").free / 2**30
    yield f"{free:.0f} GiB of disk are free here"
    memory = 0.0
    if torch.cuda.is_available():
        card = torch.cuda.get_device_properties(0)
        memory = card.total_memory / 2**30
        yield f"{card.name}: {memory:.1f} GiB; bf16: {'yes' if torch.cuda.is_bf16_supported(including_emulation=False) else 'no'}"
    else:
        yield "no CUDA card: mini-sft and mini-rft run on this CPU; the models below want a card"
    yield f"four bits: {_four_bits()}"
    for name in BASES:
        fits = "fits" if needs(name) <= memory else "too large" if memory else "needs a card"
        yield f"{name}: about {needs(name):.1f} GiB in four bits, {needs(name, four_bit=False):.1f} in bf16: {fits}"
    if fitting := [vram for vram in DIAL if vram <= memory + 0.5]:  # an "8 GB" card reports a little less
        yield f"use --vram {max(fitting)}: {DIAL[max(fitting)]}"


def _four_bits():
    """Whether bitsandbytes can quantise here, by a matrix there and back."""
    from bitsandbytes.functional import dequantize_4bit, quantize_4bit

    device = "cuda" if torch.cuda.is_available() else "cpu"
    try:
        weight = torch.randn(64, 64, generator=torch.Generator().manual_seed(0)).to(device)
        back = dequantize_4bit(*quantize_4bit(weight, quant_type="nf4"))
    except Exception as error:  # a library that was built for another card or driver
        return f"no ({in_short(error, 200)})"
    return f"yes, on {device} (a random matrix comes back within {(back - weight).norm() / weight.norm():.0%})"
