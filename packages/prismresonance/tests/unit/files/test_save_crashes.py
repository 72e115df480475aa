"""A save that ends at each of its steps leaves the index that was there, or the new one."""

from __future__ import annotations

import errno
import random
from collections.abc import Callable

import numpy as np
import pytest
from crash_folder import CrashFolder, KilledError

import prismresonance._files.content as content_module
import prismresonance._table as table_module
from prismresonance import IndexFileError, PrismProjector, WaveIndex

WIDTH = 12
PROJECTOR = PrismProjector(dim=8, tenant_id="t")
QUERY = np.linspace(-1.0, 2.0, WIDTH)

State = dict[object, tuple[float, object]]


@pytest.fixture(autouse=True)
def _small_parts(monkeypatch):
    monkeypatch.setattr(table_module, "_FIRST_CAPACITY", 4)
    monkeypatch.setattr(table_module, "_CHUNK_BYTES", 8 * 4 * (WIDTH + 8))
    monkeypatch.setattr(table_module, "_COPY_BYTES", 4 * 4 * (WIDTH + 8))
    monkeypatch.setattr(table_module, "FULL_SCAN_ELEMENTS", 40 * WIDTH)
    monkeypatch.setattr(content_module, "PART_BYTES", 16 * 3 * WIDTH)


def vectors(count: int, seed: int) -> np.ndarray:
    return np.random.default_rng(seed).standard_normal((count, WIDTH))


def seen(index: WaveIndex) -> State:
    matches = index.query(QUERY, 10_000, exact=True)
    assert len(matches) == len(index)
    return {match.id: (match.score, match.payload) for match in matches}


def first(index: WaveIndex) -> None:
    index.add_many(vectors(50, 0), [{"n": n} for n in range(50)])
    index.add_many(vectors(3, 1), ids=["a", "b", 10**30])


def grow(index: WaveIndex) -> None:
    index.add_many(vectors(9, 2), [{"more": n} for n in range(9)])


def grow_past_all(index: WaveIndex) -> None:
    index.add_many(vectors(90, 3))


def die(index: WaveIndex) -> None:
    index.remove_many(range(3, 20))


def grow_and_die(index: WaveIndex) -> None:
    grow(index)
    die(index)
    index.upsert(QUERY, {"new": True}, id="a")


def die_mostly(index: WaveIndex) -> None:
    index.remove_many(range(2, 49))


def die_wholly(index: WaveIndex) -> None:
    index.remove_many([*range(200), "a", "b", 10**30])


CHANGES = [grow, grow_past_all, die, grow_and_die, die_mostly, die_wholly]


def prepared(patch: pytest.MonkeyPatch, *, again: bool) -> tuple[CrashFolder, WaveIndex, State]:
    """Give a folder with an index in it, by one save or by several."""
    folder = CrashFolder()
    folder.install(patch)
    index = WaveIndex(PROJECTOR, indexed_fields=["n"])
    first(index)
    index.save("anywhere")
    if again:
        grow(index)
        index.remove_many([0, 1])
        index.save("anywhere")
        index = WaveIndex.open("anywhere")
    return folder, index, seen(index)


def opened(folder: CrashFolder, patch: pytest.MonkeyPatch) -> WaveIndex:
    folder.install(patch)
    return WaveIndex.open("anywhere", verify=True)


@pytest.mark.parametrize("again", [False, True], ids=["second save", "third save"])
@pytest.mark.parametrize("change", CHANGES)
def test_a_crash_at_every_step(monkeypatch, change: Callable[[WaveIndex], None], again):
    folder, index, _ = prepared(monkeypatch, again=again)
    change(index)
    after = seen(index)
    before_steps = folder.steps
    index.save("anywhere")
    steps = folder.steps - before_steps
    assert steps > 6
    assert seen(opened(folder, monkeypatch)) == after
    outcomes = set()
    for step in range(1, steps + 1):
        folder, index, before = prepared(monkeypatch, again=again)
        change(index)
        folder.fail(at=step, by=KilledError())
        with pytest.raises(KilledError):
            index.save("anywhere")
        rng = random.Random(f"{change.__name__} {again} {step}")
        for crashed in (folder.copy(), *(folder.after_crash(rng) for _ in range(6))):
            revived = opened(crashed, monkeypatch)
            state = seen(revived)
            assert state in (before, after)
            outcomes.add(state == after)
            # Life goes on: the next save succeeds, and clears away what the crash left.
            revived.add(QUERY, {"afterwards": 1}, id="afterwards")
            revived.save("anywhere")
            last = opened(crashed, monkeypatch)
            assert seen(last) == seen(revived)
            files = last._saver._states[next(iter(last._saver._states))][0].manifest.files
            assert set(crashed.names()) == files | {"manifest"}
    assert outcomes == {True, False}


def test_a_crash_at_every_step_of_the_first_save(monkeypatch):
    def fresh() -> tuple[CrashFolder, WaveIndex]:
        folder = CrashFolder()
        folder.install(monkeypatch)
        index = WaveIndex(PROJECTOR, indexed_fields=["n"])
        first(index)
        return folder, index

    folder, index = fresh()
    after = seen(index)
    index.save("anywhere")
    for step in range(1, folder.steps + 1):
        folder, index = fresh()
        folder.fail(at=step, by=KilledError())
        with pytest.raises(KilledError):
            index.save("anywhere")
        rng = random.Random(step)
        for crashed in (folder.copy(), *(folder.after_crash(rng) for _ in range(6))):
            try:
                assert seen(opened(crashed, monkeypatch)) == after
            except IndexFileError as error:
                assert "holds no saved index" in str(error)  # noqa: PT017  either is right
                crashed.install(monkeypatch)
                _, again = fresh()
                crashed.install(monkeypatch)
                again.save("anywhere")
                assert seen(opened(crashed, monkeypatch)) == after


@pytest.mark.parametrize("late", [False, True], ids=["not done", "done all the same"])
@pytest.mark.parametrize("change", CHANGES)
def test_a_full_disk_at_every_step_and_the_same_index_saves_again(monkeypatch, change, late):
    folder, index, _ = prepared(monkeypatch, again=True)
    change(index)
    before_steps = folder.steps
    index.save("anywhere")
    for step in range(1, folder.steps - before_steps + 1):
        folder, index, before = prepared(monkeypatch, again=True)
        change(index)
        after = seen(index)
        folder.fail(at=step, by=OSError(errno.ENOSPC, "No space left"), late=late)
        with pytest.raises(OSError, match="No space left"):
            index.save("anywhere")
        assert seen(opened(folder, monkeypatch)) in (before, after)
        assert seen(index) == after
        index.save("anywhere")
        assert seen(opened(folder, monkeypatch)) == after
        index.add(QUERY, id="more")
        index.save("anywhere")
        assert seen(opened(folder, monkeypatch)) == seen(index)
