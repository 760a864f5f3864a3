"""The dial and the doctor: what is chosen is said, and what to do where it does not fit."""

import re

import pytest
import torch

from minirft import cli, machine
from minirft.machine import BASES, DIAL, needs, report, step_down


def test_each_step_of_the_dial_asks_no_less_of_the_card_than_the_one_below():
    steps = [DIAL[size] for size in sorted(DIAL)]
    for low, high in zip(steps, steps[1:]):
        assert low.side <= high.side and low.group_size <= high.group_size and low.cache_gib <= high.cache_gib
        assert low.checkpointing > high.checkpointing or low.micro_batch <= high.micro_batch
    assert list(DIAL) == sorted(DIAL) and min(setting.group_size for setting in steps) >= 2  # of one answer nothing is learnt
    assert all(setting.side % 28 == 0 and setting.side % 32 in (0, 16) for setting in steps)


def test_a_size_that_the_dial_has_not_is_refused_and_the_way_down_is_named(capsys):
    assert cli.main(["sft", "--base", "smol", "--vram", "10", "--poses", "prior", "--out", "never"]) == 2
    assert re.search("--vram: invalid choice: 10 .*8, 12, 16, 24", capsys.readouterr().err)
    assert "--vram 12" in step_down(16) and str(DIAL[12]) in step_down(16)
    assert "--base" in step_down(8) and "doctor" in step_down(8)


def test_what_runs_out_of_memory_is_told_the_way_down(monkeypatch, capsys):
    def full(*arguments):
        raise torch.OutOfMemoryError("CUDA out of memory. Tried to allocate 2.00 GiB")

    monkeypatch.setattr(cli, "poses_from", full)
    assert cli.main(["sft", "--base", "mini", "--vram", "24", "--poses", "prior", "--out", "never"]) == 2
    assert "out of memory; try --vram 16" in capsys.readouterr().err


def test_four_bits_need_less_and_the_sizes_are_those_of_the_models():
    for name, (quantised, kept, _) in BASES.items():
        assert needs(name) < needs(name, four_bit=False)
        billions = float(re.search(r"(\d+(\.\d+)?)[Bb]", name)[1])
        assert quantised + kept == pytest.approx(billions, rel=0.3)


def test_the_doctor_says_what_is_here_and_what_fits(capsys, monkeypatch):
    assert cli.main(["doctor"]) == 0
    said = capsys.readouterr().out
    assert torch.__version__ in said and all(name in said for name in BASES) and "four bits: yes" in said
    if not torch.cuda.is_available():
        assert "no CUDA card" in said and "fits" not in said
    monkeypatch.setattr(machine.torch.cuda, "is_available", lambda: True)
    card = type("Card", (), {"name": "A card", "total_memory": 8 * 2**30})
    monkeypatch.setattr(machine.torch.cuda, "get_device_properties", lambda index: card)
    monkeypatch.setattr(machine.torch.cuda, "is_bf16_supported", lambda including_emulation: True)
    monkeypatch.setattr(machine, "_four_bits", lambda: "yes")
    lines = list(report())
    assert "A card: 8.0 GiB; bf16: yes" in lines and lines[-1].startswith("use --vram 8")
    fits = {line.split(":")[0]: line.split(": ")[-1] for line in lines if line.split(":")[0] in BASES}
    assert fits["Qwen/Qwen2.5-VL-3B-Instruct"] == "fits" and fits["Qwen/Qwen2.5-VL-7B-Instruct"] == "too large"
