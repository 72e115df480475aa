"""A writer is killed at any moment: what it acknowledged is there, whole, and the file opens."""

from __future__ import annotations

import hashlib
import os
import random
import subprocess
import sys
import time
from pathlib import Path

import pytest

from prism.cache.store import Record, SQLiteStore
from prism.cache.store.conformance import make_record

# Each line is one acknowledged step, so that the parent knows how many there were.
WRITER = """
import sys
from prism.cache.store import SQLiteStore
sys.path.insert(0, sys.argv[1])
from test_sqlite_kill import steps
tenant, start = sys.argv[3].encode(), int(sys.argv[4])
sys.stdout.write("opening\\n")
sys.stdout.flush()
store = SQLiteStore(sys.argv[2], busy_timeout_s=60)
for number, (record, deleted) in enumerate(steps(start)):
    store.put(tenant, record) if record else store.delete(tenant, [deleted])
    sys.stdout.write(f"{number}\\n")
    sys.stdout.flush()
"""


def a_record(number: int) -> Record:
    digest = hashlib.sha256(number.to_bytes(8, "big")).digest()
    return make_record(number, digest * (1 + digest[0]), question=digest.hex())


def steps(start: int):
    """An endless stream of puts; every fifth step deletes what the one four before put."""
    number = start
    while True:
        if number % 5 == 4:
            yield None, a_record(number - 4).key
        else:
            yield a_record(number), b""
        number += 1


def state_after(start: int, count: int) -> set[int]:
    state: set[int] = set()
    for number in range(start, start + count):
        if number % 5 == 4:
            state.discard(number - 4)
        else:
            state.add(number)
    return state


def start_writer(path, tenant: str, start: int) -> subprocess.Popen[bytes]:
    folder = str(Path(__file__).parent)
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, folder, str(path), tenant, str(start)],
        stdout=subprocess.PIPE,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )


def kill_after(writer: subprocess.Popen[bytes], acknowledged: int) -> int:
    """Kill once so many steps are acknowledged; return how many were in the end."""
    assert writer.stdout is not None
    lines = 0
    while lines < 1 + acknowledged:
        assert writer.stdout.readline().endswith(b"\n"), "the writer died by itself"
        lines += 1
    writer.kill()
    lines += writer.stdout.read().count(b"\n")
    writer.stdout.close()
    writer.wait(timeout=60)
    return lines - 1


def test_nothing_acknowledged_is_lost_or_torn(tmp_path):
    rng = random.Random(41)
    path = tmp_path / "answers.db"
    expected: dict[str, set[int]] = {"one": set(), "two": set()}
    start = 0
    for _ in range(11):
        writers = {tenant: start_writer(path, tenant, start) for tenant in expected}
        counts = {name: kill_after(writer, rng.randrange(120)) for name, writer in writers.items()}
        with SQLiteStore(path) as store:
            for tenant, count in counts.items():
                stored = store.changes(tenant.encode(), 0).stored
                found = {int.from_bytes(record.key, "big") for record in stored}
                assert all(
                    record == a_record(int.from_bytes(record.key, "big")) for record in stored
                )
                # The step in flight may have been done and not acknowledged.
                assert found in (
                    expected[tenant] | state_after(start, count),
                    expected[tenant] | state_after(start, count + 1),
                )
                expected[tenant] = found
        # A multiple of five: no later step deletes what an earlier writer put.
        start += 5 * (max(counts.values()) // 5 + 2)


@pytest.mark.parametrize("seed", range(8))
def test_killed_while_creating(tmp_path, seed):
    path = tmp_path / "answers.db"
    writer = start_writer(path, "one", 0)
    assert writer.stdout is not None
    assert writer.stdout.readline() == b"opening\n"
    # Opening takes about two milliseconds.
    rng = random.Random(seed)
    end = time.perf_counter() + rng.uniform(0, 0.003)
    while time.perf_counter() < end:
        pass
    count = kill_after(writer, -1) + 1
    with SQLiteStore(path) as store:
        stored = store.changes(b"one", 0).stored
        found = {int.from_bytes(record.key, "big") for record in stored}
        assert found in (state_after(0, count), state_after(0, count + 1))
        store.put(b"one", a_record(1_000_000))
