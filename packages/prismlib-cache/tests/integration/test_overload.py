"""More lessons come than can be learned: the rest is left out at random, and nothing starves."""

from __future__ import annotations

import threading
from collections import Counter
from collections.abc import Callable, Sequence
from typing import Any

import numpy as np
import pytest
from doubles import WordEmbedder
from streams import Traffic, answer

from prism.cache import PrismCache
from prism.cache._calibration.calibrator import Calibrator, is_checked
from prism.cache._counting import Tally
from prism.cache._families import SEEN, Family

Build = Callable[..., PrismCache]


class Gate:
    """A judge that waits until it may go on, and notes whom it judged."""

    def __init__(self) -> None:
        self.opened = threading.Event()
        self.began = threading.Event()
        self.judged: list[int] = []

    def __call__(self, asked: str, fresh: str, stored_question: str, stored: str) -> bool:
        self.began.set()
        assert self.opened.wait(20)
        self.judged.append(int(fresh.removeprefix("answer ")))
        return False


def name(number: int) -> str:
    return "".join(chr(ord("a") + int(digit)) for digit in f"{number:03}") + "ville"


def test_a_slow_judge_hears_of_a_draw_of_what_came_last(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("prism.cache._lessons._WAIT_FOR_JUDGE", 40)
    gate = Gate()
    cache = build(judge=gate, max_error=0.001, shadow=0)
    cache.get_or_call("where is the house", lambda: "answer 0")
    cache.get_or_call("where is the house number", lambda: "answer 1")
    assert gate.began.wait(20)
    lessons = 400
    for number in range(2, lessons):
        said = f"answer {number}"
        cache.get_or_call(f"where is the {name(number)} house", lambda said=said: said)
    gate.opened.set()
    assert cache.settle()
    metrics = cache.metrics()
    assert metrics.labels == len(gate.judged) <= 42
    assert metrics.labels + metrics.labels_dropped >= lessons - 60
    # Not the first ones, as with a full queue, nor the last forty: drawn from the last hundreds.
    assert np.median(gate.judged) > lessons - 80
    assert sum(number < lessons - 40 for number in gate.judged) >= 8
    assert metrics.cache_errors == {}


def test_entries_that_came_too_fast_are_placed_when_there_is_time(
    build: Build, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("prism.cache._worker._WAITING", 3)
    monkeypatch.setattr("prism.cache._reading._table_beside", lambda _: None)
    opened = threading.Event()

    class Slow(WordEmbedder):
        def embed(self, texts: Sequence[str]) -> Any:
            if texts[0].startswith("the answer"):
                assert opened.wait(20)
            return super().embed(texts)

    cache = build(embedder=Slow(), max_error=0.001, shadow=0, strict=True)
    for number in range(30):
        said = f"the answer to all of it is {number % 2} metres"
        cache.get_or_call(f"far place{number} town{number}", lambda said=said: said)
    assert cache.metrics().labels_dropped >= 20
    opened.set()
    entries = list(cache._engine._shelf._entries.values())
    for _ in range(100):
        assert cache.settle()
        if all(entry.meaning is not None for entry in entries):
            break
    assert Counter(Counter(entry.group for entry in entries).values()) == {15: 2}


def share_of_wrong(seed: int, *, learned: float, drops: bool) -> tuple[float, float]:
    """Hits and wrong answers of a stream of which only a share of the misses is learned from."""
    traffic = Traffic(separation=3.0, repeats=0.6, exact=0.2, strangers=0.1)
    rng = np.random.default_rng(seed)
    kinds, evidence = answer(traffic, rng, 12_000)
    family = Family(Calibrator(max_error=0.01, check_share=0.02), seed)
    calibrator = family.calibrator
    hits = wrong = 0
    for kind, row in zip(kinds, evidence.tolist(), strict=True):
        family.requests += 1
        if kind > 1:
            continue
        served = calibrator.rule.score(row) >= calibrator.rule.bar
        family.leave(tuple(row), served=served)
        if served:
            hits += 1
            wrong += kind == 1
            if not is_checked(hits, calibrator.rule.check_share, seed):
                continue
        elif drops and rng.random() > learned:
            continue
        family.take_in()
        calibrator.learn(row, wrong=bool(kind), served=bool(served))
        calibrator.update()
    return hits / len(kinds), wrong / len(kinds)


def test_lessons_left_out_neither_bias_nor_starve() -> None:
    all_learned = [share_of_wrong(seed, learned=1.0, drops=False) for seed in range(4)]
    a_third = [share_of_wrong(seed, learned=0.33, drops=True) for seed in range(4)]
    hits, wrong = np.array(a_third).T
    assert wrong.max() <= 0.012
    assert wrong.mean() <= 0.01
    assert hits.mean() >= 0.75 * np.mean([hit for hit, _ in all_learned])


def test_evidence_that_overflows_is_counted_as_not_seen() -> None:
    family = Family(Calibrator(max_error=0.01, check_share=0.0), seed=1)
    for number in range(SEEN + 700):
        family.requests += 1
        family.leave((float(number), *[0.0] * 10), served=False)
    assert family.unseen == 700
    family.take_in()
    assert family.calibrator.state()["candidates"] == SEEN + 700
    assert family.calibrator.state()["requests"] == SEEN + 700


def test_counting_from_many_threads_loses_nothing() -> None:
    tally, together = Tally[str](), threading.Barrier(8)

    def count(number: int) -> None:
        together.wait()
        for _ in range(5_000):
            tally.add("all")
            tally.add(str(number))

    threads = [threading.Thread(target=count, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    seen = 0
    while any(thread.is_alive() for thread in threads):
        now = tally.counts()["all"]
        assert now >= seen
        seen = now
    for thread in threads:
        thread.join()
    assert tally.counts() == {"all": 40_000} | {str(number): 5_000 for number in range(8)}
    assert tally.take().total() == 80_000
    assert tally.counts().total() == 0


def test_who_counts_does_not_wait_for_who_adds_up() -> None:
    tally = Tally[str]()
    held, done = threading.Event(), threading.Event()

    def hold() -> None:
        with tally.lock:
            held.set()
            assert done.wait(20)

    holder = threading.Thread(target=hold)
    holder.start()
    assert held.wait(20)
    for _ in range(2_000):
        tally.add("hit")
    done.set()
    holder.join()
    assert tally.counts() == {"hit": 2_000}
