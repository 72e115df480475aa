"""One file, many processes."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time

import pytest

from prism.cache.errors import StoreBusyError
from prism.cache.store import SQLiteStore
from prism.cache.store.conformance import Follower, make_record

TENANT = b"tenant"
PROCESSES, PUTS = 4, 60

WRITER_AND_READER = """
import sys
from prism.cache.store import SQLiteStore
from prism.cache.store.conformance import Follower, make_record
path, me, processes, puts = sys.argv[1], *map(int, sys.argv[2:])
sys.stdin.readline()
store = SQLiteStore(path, busy_timeout_s=60)
follower = Follower(b"tenant")
last = 0
for number in range(me * puts, (me + 1) * puts):
    position = store.put(b"tenant", make_record(number))
    assert position > last, (position, last)
    last = position
    print(position)
    if store.has_changed(follower.position):
        follower.follow(store)
    assert follower.position >= position
    assert make_record(number).key in follower.records
while len(follower.records) < processes * puts:
    if store.has_changed(follower.position):
        follower.follow(store)
assert follower.records == {make_record(n).key: make_record(n) for n in range(processes * puts)}
store.close()
"""

FORK = """
import os, threading
from prism.cache.store import SQLiteStore
from prism.cache.store.conformance import make_record
import sys

def wait_for(child):
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0

store = SQLiteStore(sys.argv[1], busy_timeout_s=60)
position = store.put(b"tenant", make_record(0))
stop = threading.Event()

def look():
    while not stop.is_set():
        store.has_changed(position)
        store.changes(b"tenant", position)

looking = threading.Thread(target=look)
looking.start()
children = []
for me in range(1, 5):
    child = os.fork()
    if not child:
        status = 1
        try:
            for number in range(me * 20, me * 20 + 20):
                store.put(b"tenant", make_record(number))
            assert len(store.changes(b"tenant", position).stored) >= 20
            store.close()
            status = 0
        finally:
            os._exit(status)
    children.append(child)
    store.put(b"tenant", make_record(me))
for child in children:
    wait_for(child)
stop.set()
looking.join()
assert len(store.changes(b"tenant", 0).stored) == 1 + 4 + 4 * 20
store.close()
"""

FORK_WITHOUT_PYTHON = """
import ctypes, os, sys
from prism.cache.errors import StoreError
from prism.cache.store import SQLiteStore
from prism.cache.store.conformance import make_record
store = SQLiteStore(sys.argv[1])
child = ctypes.PyDLL(None).fork()
if not child:
    try:
        store.put(b"tenant", make_record(1))
    except StoreError as error:
        os._exit(0 if "after the fork" in str(error) else 2)
    os._exit(1)
assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
store.put(b"tenant", make_record(2))
store.close()
"""


def start(program: str, *arguments: object) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", program, *map(str, arguments)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(sys.path)},
    )


def finish(process: subprocess.Popen[str]) -> str:
    out, err = process.communicate("go\n", timeout=120)
    assert process.returncode == 0, err
    return out


def test_four_processes_see_everything(tmp_path):
    path = tmp_path / "answers.db"
    processes = [start(WRITER_AND_READER, path, me, PROCESSES, PUTS) for me in range(PROCESSES)]
    # All at once, so that they also race to create the file.
    for process in processes:
        process.stdin.write("go\n")
        process.stdin.flush()
    positions = [int(line) for process in processes for line in finish(process).split()]
    assert len(set(positions)) == PROCESSES * PUTS
    with SQLiteStore(path) as store:
        assert len(store.changes(TENANT, 0).stored) == PROCESSES * PUTS


@pytest.mark.skipif(not hasattr(os, "fork"), reason="this system has no fork")
@pytest.mark.parametrize("program", [FORK, FORK_WITHOUT_PYTHON])
def test_fork(tmp_path, program):
    finish(start(program, tmp_path / "answers.db"))


def test_another_process_holds_the_file(tmp_path):
    path = tmp_path / "answers.db"
    holder = """
import sqlite3, sys
connection = sqlite3.connect(sys.argv[1], isolation_level=None)
connection.execute("BEGIN IMMEDIATE")
print("held", flush=True)
sys.stdin.readline()
"""
    with SQLiteStore(path, busy_timeout_s=0.05) as store:
        position = store.put(TENANT, make_record(1))
        process = start(holder, path)
        assert process.stdout.readline() == "held\n"
        with pytest.raises(StoreBusyError, match="another process"):
            store.put(TENANT, make_record(2))
        with pytest.raises(StoreBusyError):
            SQLiteStore(path, busy_timeout_s=0.05)
        # Readers do not wait for a writer.
        assert not store.has_changed(position)
        assert store.changes(TENANT, 0).stored == (make_record(1),)
        finish(process)
        store.put(TENANT, make_record(2))


def test_readers_of_this_process_do_not_wait_for_its_writer(tmp_path):
    """Held by its own lock, as by a write that takes long."""
    with SQLiteStore(tmp_path / "answers.db", busy_timeout_s=0.05) as store:
        position = store.put(TENANT, make_record(1))
        with store._writer.lock:
            assert not store.has_changed(position)
            assert store.changes(TENANT, 0).stored == (make_record(1),)
            with pytest.raises(StoreBusyError, match="another thread"):
                store.put(TENANT, make_record(2))


def test_two_stores_of_one_process(tmp_path):
    """Opening and closing one must not cost the other its locks."""
    path = tmp_path / "answers.db"
    one = SQLiteStore(path)
    one.put(TENANT, make_record(1))
    SQLiteStore(path).close()
    # Would fold the log in and remove it, were the locks of `one` lost.
    finish(
        start(
            "import sys; from prism.cache.store import SQLiteStore as S; S(sys.argv[1]).close()",
            path,
        )
    )
    assert (tmp_path / "answers.db-wal").exists()
    one.put(TENANT, make_record(2))
    one.close()
    with SQLiteStore(path) as store:
        assert len(store.changes(TENANT, 0).stored) == 2


def test_follower_in_another_thread_sees_all_in_the_end(tmp_path):
    path = tmp_path / "answers.db"
    with SQLiteStore(path) as writing, SQLiteStore(path) as reading:
        thread = threading.Thread(
            target=lambda: [writing.put(TENANT, make_record(number)) for number in range(300)]
        )
        thread.start()
        follower = Follower(TENANT)
        deadline = time.monotonic() + 60
        while len(follower.records) < 300:
            assert time.monotonic() < deadline
            if reading.has_changed(follower.position):
                follower.follow(reading)
        thread.join()
