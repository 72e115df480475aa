"""What was answered is still there: after a restart, a kill, in another process."""

from __future__ import annotations

import contextlib
import json
import random
import signal
import subprocess
import sys
import textwrap
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

import pytest

from prism.cache import MemoryStore, PrismCache, StoreFileError

if TYPE_CHECKING:
    from doubles import Clock, Model

Build = Callable[..., PrismCache]
SUPPORT = Path(__file__).parent.parent / "support"

# What a process of the tests does: it answers numbered questions and prints each acknowledged one.
WRITER = textwrap.dedent(
    """
    import json, sys
    sys.path.insert(0, sys.argv[1])
    from doubles import WordEmbedder
    from prism.cache import PrismCache

    path, name, count = sys.argv[2], sys.argv[3], int(sys.argv[4])
    cache = PrismCache.build("tests", "gpt-4o", path=path, embedder=WordEmbedder())
    print("ready", flush=True)
    for n in range(count):
        question = f"question {name}{n} about topic{n}"
        answer = cache.get_or_call(question, lambda: {"name": name, "n": n, "text": "x" * 500})
        print(json.dumps([question, answer]), flush=True)
    sys.stdin.readline()
    cache.lookup("a question that makes the cache look at what the others stored")
    print(json.dumps([e.question for e in cache._engine._shelf._entries.values()]), flush=True)
    cache.close()
    """
)


def start_writer(path: Path, name: str, count: int) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-c", WRITER, str(SUPPORT), str(path), name, str(count)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    )


def test_a_restart_is_warm(build: Build, model: Model, tmp_path: Path) -> None:
    path = tmp_path / "answers.db"
    with build(path=path) as cache:
        first = cache.get_or_call("how do i reset my password", lambda: model.answer("reset"))
        cache.put("which plans are there", {"plans": ["Basic", "Pro"]}, tags=["plans"])
        list(cache.get_or_call("tell me a story", lambda: iter(["Once ", "upon"])))
    cache = build(path=path)
    assert cache.get_or_call("how do i reset my password please", lambda: "called") == first
    assert cache.lookup("which plans are there").answer == {"plans": ["Basic", "Pro"]}
    assert list(cache.get_or_call("tell me a story", lambda: iter(["called"]))) == ["Once ", "upon"]
    assert cache.invalidate(tag="plans") == 1
    assert model.calls == 1


def test_time_goes_on_while_the_process_is_down(build: Build, clock: Clock, tmp_path: Path) -> None:
    with build(path=tmp_path / "answers.db") as cache:
        cache.put("what is up", "much", ttl_s=60)
        cache.put("who is there", "me")
    clock.now += 61
    cache = build(path=tmp_path / "answers.db")
    assert not cache.lookup("what is up").hit
    assert cache.metrics().entries == 1


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(5))
def test_a_killed_process_loses_no_acknowledged_answer(
    build: Build, tmp_path: Path, seed: int
) -> None:
    path, acknowledged = tmp_path / "answers.db", {}
    kill_after = random.Random(seed).randrange(1, 120)
    with start_writer(path, "killed", 100_000) as writer:
        assert writer.stdout is not None
        assert writer.stdout.readline() == "ready\n"
        while len(acknowledged) < kill_after:
            question, answer = json.loads(writer.stdout.readline())
            acknowledged[question] = answer
        writer.send_signal(signal.SIGKILL)
        for line in writer.stdout:
            if line.endswith("\n"):
                question, answer = json.loads(line)
                acknowledged[question] = answer
    cache = build(path=path)
    for question, answer in acknowledged.items():
        assert cache.lookup(question).answer == answer
    assert cache.metrics().entries <= len(acknowledged) + 1


@pytest.mark.slow
def test_four_processes_share_one_file(build: Build, tmp_path: Path) -> None:
    path, count = tmp_path / "answers.db", 50
    expected = set()
    with contextlib.ExitStack() as running:
        writers = [running.enter_context(start_writer(path, name, count)) for name in "abcd"]
        for writer in writers:
            assert writer.stdout is not None
            assert writer.stdout.readline() == "ready\n"
            for _ in range(count):
                expected.add(json.loads(writer.stdout.readline())[0])
        assert len(expected) == 4 * count
        for writer in writers:
            out, _ = writer.communicate("\n", timeout=60)
            assert set(json.loads(out)) == expected
    assert [writer.returncode for writer in writers] == [0, 0, 0, 0]
    assert build(path=path).metrics().entries == 4 * count


def test_what_one_cache_removes_no_other_serves(build: Build, tmp_path: Path) -> None:
    one, other = build(path=tmp_path / "answers.db"), build(path=tmp_path / "answers.db")
    one.put("what is up", "much", tags=["news"])
    assert other.lookup("what is up").answer == "much"
    assert other.invalidate(tag="news") == 1
    assert not one.lookup("what is up").hit
    assert not one.lookup("what is up please").hit
    other.put("what is up", "little")
    assert one.lookup("what is up").answer == "little"


def test_tenants_share_a_file_and_nothing_else(build: Build, tmp_path: Path) -> None:
    ours, theirs = (build(t, path=tmp_path / "answers.db") for t in ("ours", "theirs"))
    ours.put("what is up", "much")
    assert not theirs.lookup("what is up").hit
    assert theirs.invalidate(everything=True) == 0
    assert build("ours", path=tmp_path / "answers.db").lookup("what is up").hit


def test_a_store_object_can_be_shared(build: Build) -> None:
    store = MemoryStore()
    one, other = build(store=store), build(store=store)
    one.put("what is up", "much")
    assert other.lookup("what is up").answer == "much"
    one.close()
    other.put("who is there", "me")
    assert build(store=store).metrics().entries == 2


def test_answers_of_another_embedder_are_found_by_their_text_only(
    build: Build, tmp_path: Path
) -> None:
    from doubles import WordEmbedder

    class Other(WordEmbedder):
        model_id = "other"

    with build(path=tmp_path / "answers.db") as cache:
        cache.put("what is up", "much")
    cache = build(path=tmp_path / "answers.db", embedder=Other())
    assert cache.lookup("What is up?").answer == "much"
    assert not cache.lookup("what is up please").hit


@pytest.mark.parametrize("content", [b"not a database", b"SQLite format 3\0" + b"\xff" * 4000])
def test_a_file_of_others_is_refused_and_left_alone(
    build: Build, tmp_path: Path, content: bytes
) -> None:
    path = tmp_path / "answers.db"
    path.write_bytes(content)
    with pytest.raises(StoreFileError, match=r"answers\.db"):
        build(path=path)
    assert path.read_bytes() == content
    assert [p.name for p in tmp_path.iterdir()] == ["answers.db"]
