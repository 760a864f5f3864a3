"""The figures that the README shows are those of the reports that lie in data/results/."""

import importlib
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[1]


def script(name):
    """A bench as a module, and the others beside it that it imports."""
    sys.path.insert(0, str(ROOT / "tests" / "bench"))
    try:
        return importlib.import_module(name)
    finally:
        sys.path.pop(0)


@pytest.fixture(scope="module")
def bench():
    return script("alignment")


def test_the_readmes_tables_of_alignment_are_printed_from_the_stored_reports(bench):
    shown = (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    printed = [line for line in bench.table(bench.stored(bench.RESULTS)).splitlines() if line.startswith("|")]
    assert len(printed) > 10 and [line for line in printed if line not in shown] == []


def test_the_readmes_tables_of_pictures_are_printed_from_the_stored_reports():
    bench, shown = script("pictures"), (ROOT / "README.md").read_text(encoding="utf-8").splitlines()
    reports = bench.stored(bench.RESULTS, bench.ORDER)
    for arms in [arms for arms in (bench.ARMS, bench.ABLATION) if set(arms) & set(reports)]:
        printed = [line for line in bench.table(reports, arms).splitlines() if line.startswith("|")]
        assert len(printed) > 10 and [line for line in printed if line not in shown] == []
    assert len({report["pictures"] for arm in ("sft", "rft") for report in reports[arm].values()}) == 1


def test_every_arm_of_a_seed_was_asked_the_same(bench):
    reports = bench.stored(bench.RESULTS)
    assert {"sft", "sft+", "grpo", "hygrpo-k1", "hygrpo"} <= set(reports) and len(reports["hygrpo"]) >= 3
    for field in ("prompts", "seed", "draws", "body", "joints"):
        assert len({report[field] for rows in reports.values() for report in rows.values()}) == 1
    real = {report["nearest_real_mm"]["real"] for rows in reports.values() for report in rows.values()}
    assert max(real) - min(real) < 1e-3  # the same real poses


def test_gains_are_taken_seed_by_seed(bench):
    def report(judge, unrewarded, near, spread):
        return {"judge": {"mean": {"t2p": {"5": judge}}}, "satisfied_unrewarded": {"mean": unrewarded},
                "nearest_real_mm": {"mean": near}, "diversity_mm": {"samples": spread}}

    told = bench.gains({"hygrpo": {"0": report(60, 0.8, 60, 100), "1": report(70, 0.9, 50, 90)},
                        "sft+": {"1": report(50, 0.8, 40, 180), "2": report(1, 0.1, 1, 1)}})
    assert "points: +20.0 (+20.0 to +20.0)" in told and "points: +10.0 (+10.0 to +10.0)" in told
    assert "far: 1.25 (1.25 to 1.25)" in told and "left: 0.50 (0.50 to 0.50)" in told
