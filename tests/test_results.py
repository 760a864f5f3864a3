"""The figures that README.md and findings.md show are those of the reports that lie in data/results/."""

import json
from pathlib import Path

import pytest
import torch

from minirft.body import DATA
from minirft.data import load_poses

ROOT = Path(__file__).parents[1]
RESULTS = ROOT / "data" / "results"


@pytest.fixture(scope="module")
def bench(script):
    return script("alignment")


@pytest.fixture(scope="module")
def evidence(script):
    return script("evidence")


@pytest.fixture(scope="module")
def poses():
    return load_poses(DATA / "rare.npz").pose[::50]


def test_the_page_of_tables_is_what_the_reports_give(evidence):
    assert (RESULTS / "tables.md").read_text(encoding="utf-8") == evidence.everything(), "run python tests/bench/evidence.py"


@pytest.mark.parametrize(("path", "begin", "end"), [(ROOT / "README.md", "## Results", "## What is where"),
                                                    (RESULTS / "findings.md", "# What", "## A small language model")])
def test_the_tables_shown_are_of_that_page(path, begin, end):
    page, text = (RESULTS / "tables.md").read_text(encoding="utf-8").splitlines(), path.read_text(encoding="utf-8")
    shown = [line for line in text[text.index(begin) : text.index(end)].splitlines() if line.startswith("|")]
    assert len(shown) > 30 and [line for line in shown if line not in page] == []


def test_every_arm_about_pictures_was_asked_the_same(script):
    bench = script("pictures")
    reports = bench.stored(bench.RESULTS, bench.ORDER)
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
        return {"judge": {"mean": {"t2p": {"5": judge}}}, "satisfied_unrewarded": {"mean": unrewarded}, "satisfied_rewarded": {"mean": 0.5},
                "nearest_real_mm": {"mean": near}, "diversity_mm": {"samples": spread}}

    told = bench.gains({"hygrpo": {"0": report(60, 0.8, 60, 100), "1": report(70, 0.9, 50, 90)},
                        "sft+": {"1": report(50, 0.8, 40, 180), "2": report(1, 0.1, 1, 1)}})
    assert "recall, points: +20.0" in told and "rewarded, points: +10.0" in told and "kinds, points: +0.0" in told and "far: 1.25" in told and "left: 0.50" in told


def test_every_short_arm_and_every_peer_was_asked_the_same(evidence, script):
    peers = script("peers")
    every = [*evidence.reports_in(evidence.RESULTS).values(), *peers.stored(peers.RESULTS, peers.PEERS).values()]
    for field in ("prompts", "seed", "draws", "body", "joints"):
        assert len({report[field] for rows in every for report in rows.values()}) == 1
    assert len({round(report["nearest_real_mm"]["real"], 3) for rows in every for report in rows.values()}) == 1


def test_every_report_says_how_it_was_made():
    folders = [path for folder in ("alignment", "evidence", "peers", "pictures") for path in (RESULTS / folder).glob("*.json")]
    for path in [*folders, *RESULTS.glob("speed*.json"), *RESULTS.glob("bounds.json")]:
        assert {"command", "commit", "machine"} <= set(json.loads(path.read_text())), path


def test_an_interval_of_three_is_students(script):
    interval = script("alignment").interval
    stats = pytest.importorskip("scipy.stats")
    values = [60.0, 62.0, 67.0]
    low, high = stats.t.interval(0.95, 2, loc=63.0, scale=stats.sem(values))
    assert interval(values) == f"63.0 ± {(high - low) / 2:.1f}" and interval([1.25], ".2f") == "1.25"


def test_a_cvae_learns_to_read(poses, body, script):
    peers = script("peers")
    taught = peers.teach_cvae(poses, body, seed=0, steps=40, batch=16)
    pose = taught.generate(["raise both arms", "kneel on both knees"], n=3, seed=0)[0]
    again = taught.generate(["raise both arms", "kneel on both knees"], n=3, seed=0)[0]
    assert pose.shape == (2, 3, 24, 3, 3) and torch.equal(pose, again) and not torch.equal(pose[:, 0], pose[:, 1])
    assert (body.joints(pose[:, 0]) - body.joints(poses).mean(0)).norm(dim=-1).mean() < 0.3  # metres: no noise any more


def test_retrieval_shows_training_poses_the_likest_first(poses, body, script):
    shown = script("peers").retrieve(poses, body).generate(["kneel on both knees"], n=4)[0][0]
    assert all((poses == pose).flatten(1).all(1).any() for pose in shown) and len({pose.sum().item() for pose in shown}) == 4
