"""How much memory does a step of HyGRPO take on models of real dimensions, by each setting of the dial? Counted, without a card.

    python tests/bench/memory.py --size qwen-3b --json FILE   # as much disk as in bf16; some minutes a setting, one core

It is the step itself, on a model of the real class and dimensions loaded in four bits, and every tensor alive is counted, as
torch.cuda.max_memory_allocated does on a card. Products of matrices are left at zero and weights are whatever is there, since
memory does not ask. What is not in it: CUDA's own part (0.3 to 0.5 GiB), gaps between tensors, what kernels take for a moment.
AdamW's moments are added as a card has them, one byte each. `pictures`: while the vision tower looks at a batch of them.
"""

import argparse
import itertools
import tempfile
import weakref
from pathlib import Path

import bitsandbytes  # noqa: F401, for its operators
import numpy as np
import torch
from alignment import made_by
from speed import ANSWER, PROMPT, SIZES, ours, questions, write
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_map_only
from transformers import AutoTokenizer

from minirft import train
from minirft.body import DATA
from minirft.data import Picture
from minirft.files import write_json
from minirft.machine import DIAL
from minirft.policy import PosePolicy

PICTURES = train.RFTConfig().prompts


def _attended(query, *_, **__):
    return query.new_zeros(query.shape), query.new_zeros(query.shape[:-1], dtype=torch.float32)


def _multiplied(inputs, _, shape, *__, note, **___):
    note(inputs.new_empty(shape))  # the matrix as it is for a moment, where the card has no kernel for four bits
    return inputs.new_zeros((*inputs.shape[:-1], shape[0]))


# What takes long and is not asked for, and what it gives: zeros.
UNDONE = {
    torch.ops.aten.mm.default: lambda a, b: a.new_zeros((len(a), b.shape[1])),
    torch.ops.aten.addmm.default: lambda c, a, b, **_: a.new_zeros((len(a), b.shape[1])),
    torch.ops.aten.bmm.default: lambda a, b: a.new_zeros((len(a), a.shape[1], b.shape[2])),
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu.default: _attended,
    torch.ops.aten._scaled_dot_product_flash_attention_for_cpu_backward.default:
        lambda _, query, key, value, *__, **___: tuple(part.new_zeros(part.shape) for part in (query, key, value)),
    torch.ops.bitsandbytes.dequantize_4bit.default: lambda packed, _, __, ___, shape, dtype: packed.new_empty(shape, dtype=dtype),
}


class Ledger(TorchDispatchMode):
    """Inside, the bytes of all tensors alive are counted: `now` and at their `peak`. What was there before is told by `note`."""

    def __init__(self):
        super().__init__()
        self.now = self.peak = 0
        self._known = weakref.WeakValueDictionary()

    def note(self, tensor):
        storage = tensor.untyped_storage()
        if self._known.get(storage._cdata) is not storage:
            self._known[storage._cdata] = storage
            self.now += storage.nbytes()
            self.peak = max(self.peak, self.now)
            weakref.finalize(storage, self._forget, storage.nbytes())

    def _forget(self, size):
        self.now -= size

    def __torch_dispatch__(self, func, types, args=(), kwargs=None):
        kwargs = kwargs or {}
        if func is torch.ops.bitsandbytes.gemm_4bit.default:
            out = _multiplied(*args, note=self.note, **kwargs)
        else:
            out = UNDONE.get(func, func)(*args, **kwargs)
        tree_map_only(torch.Tensor, self.note, out)
        return out


def weights(policy):
    """Everything that a policy keeps: parameters, buffers, and the scales of what is quantised."""
    for module in policy.modules():
        for tensor in itertools.chain(module._parameters.values(), module._buffers.values()):
            state = getattr(tensor, "quant_state", None)
            scales = [state.absmax, state.code, state.offset, state.state2.absmax, state.state2.code] if state else []
            yield from (part.data for part in (tensor, *scales) if part is not None)


def count(policy, dial, asked):
    """GiB: {"weights", "pictures", "step"}, of which the latter two hold the weights too. asked: as many questions as the dial
    takes at once."""
    config = train.RFTConfig(group_size=dial.group_size, micro_batch=dial.micro_batch)
    if dial.checkpointing:
        policy.checkpoint_gradients()
    ledger = Ledger()
    for tensor in weights(policy):
        ledger.note(tensor)
    found = {"weights": ledger.now}
    crop = Picture(pixels=np.zeros((dial.side, dial.side, 3), np.uint8))
    with ledger:
        policy.encode(["Describe the pose."] * PICTURES, pictures=[crop] * PICTURES)
    found["pictures"], ledger.peak = ledger.peak, ledger.now
    with ledger:
        ours(policy, asked, config, 1, posed=True)
    moments = 2 * sum(p.numel() for p in policy.parameters() if p.requires_grad)  # not there yet in the first step
    return {name: size / 2**30 for name, size in (found | {"step": ledger.peak + moments}).items()}


def table(reports):
    """Markdown, a row a model and a setting of the dial: GiB."""
    lines = ["| model | --vram | weights | at work on pictures | a step, at its peak |", "|---" * 5 + "|"]
    for report in reports:
        for vram, found in report["dial"].items():
            cells = [f"{found[name]:.1f}" for name in ("weights", "pictures", "step")]
            lines.append(f"| {report['size']} | {vram} | " + " | ".join(cells) + " |")
    return "\n".join(lines)


def main():
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--size", choices=[*SIZES], default="tiny"), parser.add_argument("--json", type=Path)
    parser.add_argument("--vram", type=int, nargs="+", choices=[*DIAL], default=[*DIAL])
    arguments = parser.parse_args()
    tokenizer, report = AutoTokenizer.from_pretrained(DATA / "tokenizer"), {"size": arguments.size, "dial": {}}
    with tempfile.TemporaryDirectory() as folder:
        write(arguments.size, folder, "cpu", filled=False)
        for vram in arguments.vram:
            dial = DIAL[vram]
            policy = PosePolicy.from_backbone(folder, side=dial.side)
            report["dial"][str(vram)] = count(policy, dial, questions(tokenizer, dial.micro_batch, PROMPT))
            print(vram, report["dial"][str(vram)], flush=True)
            del policy
            if arguments.json:
                write_json(arguments.json, report | {"prompt_tokens": PROMPT, "answer_tokens": ANSWER, "pictures": PICTURES} | made_by())
    print(table([report]))


if __name__ == "__main__":
    main()
