"""The bench that counts memory, against the allocator and by hand."""

import json

import pytest
import torch
from torch import nn

from minirft.body import DATA
from minirft.machine import BASES, CUDA, DIAL, NF4_BITS, needs
from minirft.policy import PosePolicy


@pytest.fixture(scope="module")
def memory(script):
    return script("memory")


def test_a_ledger_counts_what_the_graph_keeps_and_forgets_what_nobody_does(memory):
    ledger, mega = memory.Ledger(), 4 * 1000 * 1000
    with ledger:
        x = torch.zeros(1000, 1000, requires_grad=True)
        y = (x * 2).exp()  # keeps what it gives, for its gradient
        z = y.sin()
        del y
        assert ledger.now == 3 * mega
        z.sum().backward()
        del z
    assert ledger.now == 2 * mega and ledger.peak >= 4 * mega  # x and its gradient
    del x
    assert ledger.now == 0


def test_a_ledger_says_what_the_allocator_says(memory):
    """Two steps of training with products, normalisation and AdamW: the same peak to the byte as by torch's profiler."""
    def steps():
        torch.manual_seed(0)
        layers = [layer for _ in range(3) for layer in (nn.Linear(64, 256), nn.GELU(), nn.Linear(256, 64), nn.LayerNorm(64))]
        net, x = nn.Sequential(*layers), torch.randn(100, 64)
        optimizer = torch.optim.AdamW(net.parameters())
        for _ in range(2):
            optimizer.zero_grad()
            net(x).square().mean().backward()
            optimizer.step()

    with torch.profiler.profile(activities=[torch.profiler.ProfilerActivity.CPU], profile_memory=True) as profile:
        steps()
    events = [event for event in profile.profiler.kineto_results.events() if event.name() == "[memory]"]
    now = peak = 0
    for event in sorted(events, key=lambda event: event.start_ns()):
        now += event.nbytes()
        peak = max(peak, now)
    ledger = memory.Ledger()
    with ledger:
        steps()
    assert ledger.peak == peak > 1_000_000


def test_a_step_is_counted_with_its_weights_in_four_bits(memory, tmp_path):
    """The path of the real sizes on a model of their class: weights as reckoned, more answers more memory."""
    memory.write("tiny", tmp_path, "cpu", filled=False)
    found = {}
    for vram in (8, 12):  # of four answers and of eight
        policy = PosePolicy.from_backbone(tmp_path)
        layers = [p for p in policy.parameters() if getattr(p, "quant_state", None)]
        bytes_kept = sum(p.numel() * p.element_size() for p in policy.parameters()) - sum(p.numel() for p in layers)
        reckoned = bytes_kept + sum(p.quant_state.shape.numel() for p in layers) * NF4_BITS / 8
        found[vram] = memory.count(policy, DIAL[vram], ["raise both arms " * 20])
        assert found[vram]["weights"] * 2**30 == pytest.approx(reckoned, rel=0.02)
    assert found[12]["weights"] == found[8]["weights"] < found[8]["step"] < found[12]["step"]
    assert found[8]["weights"] < found[8]["pictures"]


@pytest.mark.parametrize(("size", "name"), [*zip(("smolvlm-2b", "qwen-3b", "llava-7b", "qwen-7b"), BASES)])
def test_the_doctor_says_what_was_counted(size, name):
    counted = json.loads((DATA / "results" / f"memory-{size}.json").read_text())["dial"]["12"]
    assert needs(name) == pytest.approx(max(counted["step"], counted["pictures"]) + CUDA, abs=0.1)
