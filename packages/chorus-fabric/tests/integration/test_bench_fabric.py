"""The fabric benchmark runs, and every frame that it counts has arrived."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).parents[4]


def test_a_quick_run_measures_every_way() -> None:
    command = [sys.executable, str(ROOT / "benchmarks" / "run.py"), "fabric", "--quick", "--json"]
    done = subprocess.run(command, capture_output=True, text=True, check=True, timeout=240)
    document = json.loads(done.stdout)
    assert document["void"]
    ways = {pace["way"]: pace for pace in document["paces"]}
    assert set(ways) == {
        "raw TCP", "gRPC insecure", "gRPC mTLS", "gRPC mTLS, threads", "gRPC mTLS, protobuf",
        "gRPC mTLS, marked", "gRPC insecure, sealed", "gRPC mTLS, sealed",
    }  # fmt: skip
    assert all(pace["median_rows_s"] > 0 for pace in ways.values())
    assert len(document["steps"]) == 9
    assert [goal["figure"] for goal in document["goals"]] == [
        "rows over gRPC with mutual TLS", "rotate + watermark + seal",
    ]  # fmt: skip
