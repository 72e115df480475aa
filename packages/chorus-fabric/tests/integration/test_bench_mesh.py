"""The mesh benchmark runs, and every word that it times has come back."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[4]


def test_a_quick_run_measures_every_way() -> None:
    command = [sys.executable, str(ROOT / "benchmarks" / "run.py"), "mesh", "--quick", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=120)
    document = json.loads(done.stdout)
    assert document["void"]
    ways = {one["way"]: one for one in document["latencies"]}
    assert set(ways) == {"raw TCP", "mesh", "mesh, urgent", "mesh under load"}
    assert all(one["samples"] == 60 and one["p50_ms"] > 0 for one in ways.values())
