"""Saving beside readers, writers and other processes, and in processes that are killed."""

from __future__ import annotations

import random
import signal
import subprocess
import sys
import threading
import time
from pathlib import Path

import numpy as np
import pytest

import prismresonance._index as index_module
from prismresonance import PrismProjector, WaveIndex
from prismresonance._kernels.compiler import Compiler

WIDTH = 24
QUERY = np.linspace(-1.0, 2.0, WIDTH)

# Writes generations of rows: whole ones are in the index or not at all. It says what is durable.
SAVER = """
import sys
import numpy as np
from prismresonance import PrismProjector, WaveIndex

folder, start = sys.argv[1], int(sys.argv[2])
index = WaveIndex.open(folder) if start else WaveIndex(PrismProjector(dim=8, tenant_id="t"))
for number in range(start, start + 10_000):
    random = np.random.default_rng(number)
    count = 1 + number % 37
    index.add_many(random.standard_normal((count, 24)), [{"g": number}] * count)
    if number % 3 == 0 and number:
        index.remove_many([m.id for m in index.query(np.ones(24), 10_000, where={"g": number - 1})])
    index.save(folder)
    print(number, flush=True)
"""


@pytest.fixture(autouse=True)
def _nothing_compiles(monkeypatch):
    """Large indexes here, and a process whose other tests count what numpy does."""
    monkeypatch.setattr(index_module, "COMPILER", Compiler(disabled=True))


def generations(index: WaveIndex) -> dict[int, int]:
    counts: dict[int, int] = {}
    for match in index.query(QUERY, 100_000, exact=True):
        counts[match.payload["g"]] = counts.get(match.payload["g"], 0) + 1
    return counts


def expected(last: int) -> dict[int, int]:
    gone = {number - 1 for number in range(3, last + 1, 3)}
    return {number: 1 + number % 37 for number in range(last + 1) if number not in gone}


@pytest.mark.slow
@pytest.mark.skipif(not hasattr(signal, "SIGKILL"), reason="no SIGKILL here")
def test_a_saver_killed_at_any_moment_loses_nothing_it_said_was_saved(tmp_path):
    folder = tmp_path / "index"
    rng = random.Random(11)
    start = 0
    for _ in range(20):
        saver = subprocess.Popen(
            [sys.executable, "-c", SAVER, str(folder), str(start)],
            stdout=subprocess.PIPE,
            text=True,
        )
        said = [saver.stdout.readline()]
        time.sleep(rng.uniform(0.0, 0.15))  # any moment will do
        saver.send_signal(signal.SIGKILL)
        said += saver.stdout.read().splitlines()
        saver.wait(60)
        saver.stdout.close()
        durable = [int(line) for line in said if line.strip()][-1]
        index = WaveIndex.open(folder, verify=True)
        found = generations(index)
        assert found in (expected(durable), expected(durable + 1))
        start = max(found) + 1
        names = {path.name for path in folder.iterdir()}
        assert len(names) < 40
    index.add(QUERY, {"g": -1})
    index.save(folder)
    left = {path.name for path in folder.iterdir()} - {"manifest", "lock"}
    assert len(left) <= np.log2(len(index)) + 3


def test_a_save_is_a_moment_between_writes(tmp_path):
    """Pairs of rows are written and replaced together; a saved index never holds half a pair."""
    index = WaveIndex(PrismProjector(dim=8, tenant_id="t"), indexed_fields=["version"])
    pairs = [(f"a {n}", f"b {n}") for n in range(30)]
    versions = [np.random.default_rng(n).standard_normal((2, WIDTH)) for n in range(60)]

    def write_all(version: int) -> None:
        for pair in pairs:
            index.upsert_many(versions[version], [{"version": version}] * 2, pair)

    write_all(0)
    failures: list[BaseException] = []
    writing = threading.Event()
    writing.set()

    def guarded(work) -> None:
        try:
            work()
        except BaseException as error:  # noqa: BLE001  handed to the test's own thread
            failures.append(error)

    def write() -> None:
        try:
            for version in range(1, 60):
                write_all(version)
                index.add_many(versions[version], [{"version": -1}] * 2)
                if version % 10 == 0:
                    index.compact()
        finally:
            writing.clear()

    def read() -> None:
        while writing.is_set() and not failures:
            assert {pair for m in index.query(QUERY, 1000) if isinstance(pair := m.id, str)} == {
                name for pair in pairs for name in pair
            }

    def save() -> None:
        last = dict.fromkeys(pairs, 0)
        while writing.is_set() and not failures:
            index.save(tmp_path)
            saved = WaveIndex.open(tmp_path, verify=True)
            extra = 0
            for match in saved.query(QUERY, 1000):
                extra += match.payload["version"] == -1
            assert extra % 2 == 0
            for pair in pairs:
                one, other = (saved.get(name).payload["version"] for name in pair)
                assert one == other >= last[pair]
                last[pair] = one

    threads = [threading.Thread(target=guarded, args=(work,)) for work in (write, read, save)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join(200)
    assert not failures
    index.save(tmp_path)
    assert len(WaveIndex.open(tmp_path)) == len(index) == 60 + 2 * 59


def test_readers_open_while_another_process_saves(tmp_path):
    folder = tmp_path / "index"
    with subprocess.Popen(
        [sys.executable, "-c", SAVER, str(folder), "0"], stdout=subprocess.PIPE, text=True
    ) as saver:
        try:
            last = int(saver.stdout.readline())
            opened: list[tuple[WaveIndex, dict[int, int]]] = []
            for number in range(300):
                index = WaveIndex.open(folder)
                found = generations(index)
                assert found == expected(max(found))
                assert max(found) >= last
                last = max(found)
                if number % 20 == 0:
                    opened.append((index, found))
        finally:
            saver.kill()
    for index, found in opened:
        assert generations(index) == found


def test_an_opened_index_loads_no_numba_and_reads_little(tmp_path):
    folder = Path(tmp_path)
    index = WaveIndex(PrismProjector(tenant_id="t"), indexed_fields=["g"])
    index.add_many(np.random.default_rng(0).standard_normal((2000, 96)), [{"g": 1}] * 2000)
    index.save(folder)
    program = f"""
import sys, tracemalloc
from prismresonance import WaveIndex
WaveIndex.open({str(folder)!r})  # the code that opens is loaded with the first
tracemalloc.start()
index = WaveIndex.open({str(folder)!r})
assert tracemalloc.get_traced_memory()[0] < 2000 * 8 + 60_000, tracemalloc.get_traced_memory()
assert len(index) == 2000
assert not {{"numba", "asyncio"}} & set(sys.modules)
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, timeout=100
    )
    assert (done.returncode, done.stderr) == (0, "")
