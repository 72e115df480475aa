"""The index benchmark runs where no peer is installed, and says whom it left out."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

BENCHMARKS = Path(__file__).parents[4] / "benchmarks"


@pytest.mark.slow
def test_a_quick_run_measures_and_explains(tmp_path):
    done = subprocess.run(
        [
            sys.executable,
            BENCHMARKS / "run.py",
            *("index", "--quick", "--json", "--output", tmp_path),
        ],
        capture_output=True,
        text=True,
        timeout=200,
    )
    assert done.returncode == 0, (done.stdout, done.stderr)
    document = json.loads(done.stdout)
    assert json.loads((tmp_path / "index.json").read_text()) == document

    (contest,) = document["contests"]
    assert sum(contest["composition"].values()) == contest["rows"] == 2_000
    for query in ("threshold", "top"):
        ours = next(
            row
            for row in contest[query]
            if (row["contestant"], row["space"]) == ("WaveIndex", "full")
        )
        assert ours["recall_full"] > 0.99
        assert 0 < ours["timing"]["min_us"] <= ours["timing"]["median_us"]
    for package, name in (("faiss-cpu", "faiss flat"), ("usearch", "usearch f16")):
        taken_part = any(row["contestant"] == name for row in contest["top"])
        assert taken_part == (document["packages"][package] is not None)
        assert taken_part != (f"{name}, full" in contest["absent"])
    assert {ratio["rows"] for ratio in document["ratios"]} == {2_000}
    assert all(speed["best_gb_s"] > 0 for speed in document["bandwidth"])
