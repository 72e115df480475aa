"""Streams that several threads read while they come from one source."""

from __future__ import annotations

import contextvars
import gc
import threading
import weakref
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prism.cache._flights.streams import SharedStream, StreamReader, replay
from prism.cache.errors import PrismCacheError

if TYPE_CHECKING:
    from collections.abc import Iterator

pytestmark = pytest.mark.timeout(30)
DEADLINE_S = 10.0


class SourceError(Exception):
    pass


class Source:
    """Chunks 0, 1, ...; raises at `error_at`. Notices overlapping pulls and its closing."""

    def __init__(self, size: int = 5, *, error_at: int | None = None) -> None:
        self.size = size
        self.error_at = error_at
        self.pulled = 0
        self.closed = 0
        self.busy = threading.Lock()

    def __iter__(self) -> Source:
        return self

    def __next__(self) -> int:
        assert self.busy.acquire(blocking=False), "pulled by two at once"
        try:
            assert not self.closed
            if self.pulled == self.error_at:
                raise SourceError
            if self.pulled == self.size:
                raise StopIteration
            self.pulled += 1
            return self.pulled - 1
        finally:
            self.busy.release()

    def close(self) -> None:
        assert self.busy.acquire(blocking=False), "closed during a pull"
        self.closed += 1
        self.busy.release()


class Fate:
    """How a stream ended, as its callbacks saw it."""

    def __init__(self) -> None:
        self.stored: list[tuple[int, ...]] = []
        self.abandoned: list[BaseException | None] = []
        self.errors: list[Exception] = []

    def stream(self, source: Iterator[int] | Source) -> SharedStream[int]:
        return SharedStream(
            source, self.stored.append, self.abandoned.append, on_error=self.errors.append
        )


def attached(stream: SharedStream[int]) -> StreamReader[int]:
    reader = stream.attach()
    assert reader is not None
    return reader


@given(
    size=st.integers(0, 6),
    error_at=st.none() | st.integers(0, 6),
    steps=st.lists(
        st.tuples(st.integers(0, 3), st.sampled_from(["read", "read", "read", "close", "drop"])),
        max_size=60,
    ),
)
def test_any_interleaving_of_readers(
    size: int, error_at: int | None, steps: list[tuple[int, str]]
) -> None:
    source, fate = Source(size, error_at=error_at), Fate()
    stream = fate.stream(source)
    readers: dict[int, StreamReader[int]] = {0: attached(stream)}
    got: dict[int, list[int]] = {0: []}
    gone: set[int] = set()
    over = False
    for number, step in steps:
        if number in gone:
            continue
        if number not in readers:
            reader = stream.attach()
            if fate.abandoned == [None]:
                assert reader is None
                continue
            assert reader is not None
            readers[number], got[number] = reader, []
            del reader
        if step == "read":
            try:
                got[number].append(next(readers[number]))
            except StopIteration:
                assert got[number] == list(range(size))
                assert fate.stored == [tuple(range(size))]
                over = True
                gone.add(number)
            except SourceError as error:
                assert got[number] == list(range(error_at or 0))
                assert fate.abandoned == [error]  # noqa: PT017 - where it is met is what matters
                over = True
                gone.add(number)
        else:
            if step == "close":
                readers[number].close()
                assert list(readers[number]) == []
            del readers[number]
            gone.add(number)
            if not over and gone.issuperset(got):
                assert fate.abandoned == [None]
                assert source.closed == 1
        assert got[number] == list(range(len(got[number])))
    readers.clear()
    assert len(fate.stored) + len(fate.abandoned) == 1
    assert source.closed == len(fate.abandoned)
    assert fate.errors == []
    assert source.pulled == max(map(len, got.values()))


@pytest.mark.parametrize("error_at", [None, 300])
def test_threads_of_any_pace_read_the_same(error_at: int | None) -> None:
    source, fate = Source(1000, error_at=error_at), Fate()
    stream = fate.stream(source)
    readers = [attached(stream) for _ in range(12)]
    begin = threading.Barrier(12, timeout=DEADLINE_S)

    def read(number: int) -> list[int]:
        chunks = []
        begin.wait()
        with readers[number] as reader:
            try:
                for chunk in reader:
                    chunks.append(chunk)
                    if number % 3 == 1 and chunk == 100:
                        break
            except SourceError:
                chunks.append(-1)
        return chunks

    with ThreadPoolExecutor(12) as pool:
        lists = list(pool.map(read, range(12)))
    whole = list(range(1000)) if error_at is None else [*range(error_at), -1]
    for number, chunks in enumerate(lists):
        assert chunks == (list(range(101)) if number % 3 == 1 else whole)
    assert fate.stored == ([] if error_at else [tuple(range(1000))])
    assert source.closed == (1 if error_at else 0)


def test_a_reader_does_not_wait_for_one_that_stopped_reading() -> None:
    fate = Fate()
    stream = fate.stream(Source())
    slow, fast = attached(stream), attached(stream)
    assert next(slow) == 0
    assert list(fast) == [0, 1, 2, 3, 4]
    assert fate.stored == [(0, 1, 2, 3, 4)]
    assert list(attached(stream)) == list(range(5))
    assert list(slow) == [1, 2, 3, 4]


class Slow(Source):
    """Stops in chunk 1 until told to go on."""

    def __init__(self) -> None:
        super().__init__()
        self.inside = threading.Event()
        self.go = threading.Event()

    def __next__(self) -> int:
        if self.pulled == 1:
            self.inside.set()
            assert self.go.wait(DEADLINE_S)
        return super().__next__()


def test_the_last_reader_leaves_during_a_pull() -> None:
    source, fate = Slow(), Fate()
    stream = fate.stream(source)
    reader = attached(stream)
    with ThreadPoolExecutor(1) as pool:
        reading = pool.submit(list, reader)
        assert source.inside.wait(DEADLINE_S)
        reader.close()
        assert fate.abandoned == [None]
        assert source.closed == 0
        assert stream.attach() is None
        source.go.set()
        assert reading.result(DEADLINE_S) == [0]
    assert source.closed == 1
    assert fate.stored == []


def test_one_of_two_leaves_during_its_pull() -> None:
    source, fate = Slow(), Fate()
    stream = fate.stream(source)
    first, second = attached(stream), attached(stream)
    with ThreadPoolExecutor(2) as pool:
        reading = pool.submit(list, first)
        assert source.inside.wait(DEADLINE_S)
        waiting = pool.submit(list, second)
        first.close()
        source.go.set()
        assert waiting.result(DEADLINE_S) == list(range(5))
        assert reading.result(DEADLINE_S) in ([0], [0, 1])
    assert fate.stored == [tuple(range(5))]


def test_an_interrupt_goes_to_the_puller_and_others_are_told() -> None:
    def interrupted() -> Iterator[int]:
        yield 0
        raise KeyboardInterrupt

    fate = Fate()
    stream = fate.stream(interrupted())
    first, second = attached(stream), attached(stream)
    assert next(first) == 0
    with pytest.raises(KeyboardInterrupt):
        next(first)
    assert next(second) == 0
    with pytest.raises(PrismCacheError, match="interrupted"):
        next(second)
    assert fate.stored == []
    assert len(fate.abandoned) == 1


def test_callbacks_that_fail_do_not_fail_readers() -> None:
    errors: list[Exception] = []

    def failing(_: object) -> None:
        raise SourceError

    for source in (iter(range(3)), Source(error_at=0), Source()):
        stream = SharedStream(source, failing, failing, on_error=errors.append)
        with attached(stream) as reader:
            if isinstance(source, Source) and source.error_at == 0:
                with pytest.raises(SourceError):
                    next(reader)
            elif isinstance(source, Source):
                next(reader)
            else:
                assert list(reader) == [0, 1, 2]
    assert len(errors) == 3


def test_failures_are_logged_by_default(caplog: pytest.LogCaptureFixture) -> None:
    def failing(_: object) -> None:
        raise SourceError

    stream = SharedStream(iter(range(3)), failing, failing)
    assert list(attached(stream)) == [0, 1, 2]
    assert [record.name for record in caplog.records] == ["prism.cache"]


def test_a_source_that_reads_its_own_stream() -> None:
    readers: list[StreamReader[int]] = []

    def source() -> Iterator[int]:
        yield next(readers[1])

    fate = Fate()
    stream = fate.stream(source())
    readers += [attached(stream), attached(stream)]
    with pytest.raises(PrismCacheError, match="itself"):
        next(readers[0])


def test_the_source_runs_where_the_stream_was_made() -> None:
    where = contextvars.ContextVar("where", default="nowhere")

    def source() -> Iterator[str]:
        yield where.get()
        token = where.set("source")
        yield where.get()
        where.reset(token)
        yield where.get()

    def make() -> StreamReader[str] | None:
        where.set("leader")
        return SharedStream(source(), lambda _: None, lambda _: None).attach()

    reader = contextvars.copy_context().run(make)
    assert reader is not None
    with ThreadPoolExecutor(1) as pool:
        assert [next(reader), pool.submit(next, reader).result(), next(reader)] == [
            "leader",
            "source",
            "leader",
        ]


def test_what_is_iterated_and_what_it_came_from_are_closed() -> None:
    class Response:
        closed = False

        def __iter__(self) -> Iterator[int]:
            yield from range(3)

        def close(self) -> None:
            self.closed = True

    response = Response()
    stream = SharedStream(response, lambda _: None, lambda _: None)
    with attached(stream) as reader:
        next(reader)
    assert response.closed


def test_callbacks_are_let_go_after_the_end() -> None:
    class Held:
        def note(self, _: object) -> None: ...

    held = Held()
    ref = weakref.ref(held)
    stream = SharedStream(iter([1]), held.note, held.note)
    reader = attached(stream)
    del held
    assert ref() is not None
    assert list(reader) == [1]
    gc.collect()
    assert ref() is None


def test_replay() -> None:
    chunks = replay((1, 2, 3))
    assert next(chunks) == 1
    chunks.close()
    assert list(chunks) == []
