"""Streams that several tasks read while they come from one source."""

from __future__ import annotations

import asyncio
import contextvars
import gc
import threading
from typing import TYPE_CHECKING

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prism.cache._flights.single_flight import Lead, Shared, SingleFlight
from prism.cache._flights.stream_sources import ThreadedSource
from prism.cache._flights.streams import (
    AsyncSharedStream,
    AsyncStreamReader,
    SharedStream,
    areplay,
    iterate_in_threads,
)
from prism.cache.errors import PrismCacheError

if TYPE_CHECKING:
    from collections.abc import AsyncIterator, Callable, Iterator

pytestmark = pytest.mark.timeout(30)
DEADLINE_S = 10.0


class SourceError(Exception):
    pass


class Fate:
    """A source, and how its stream ended, as source and callbacks saw it."""

    def __init__(self) -> None:
        self.stored: list[tuple[int, ...]] = []
        self.abandoned: list[BaseException | None] = []
        self.errors: list[Exception] = []
        self.pulled = 0
        self.closed = 0
        self.tasks: set[asyncio.Task[object] | None] = set()
        self.inside = asyncio.Event()
        self.go = asyncio.Event()

    async def source(
        self, size: int = 5, *, error_at: int | None = None, stops_at: int | None = None
    ) -> AsyncIterator[int]:
        try:
            for number in range(size + 1):
                self.tasks.add(asyncio.current_task())
                await asyncio.sleep(0)
                if number == stops_at:
                    self.inside.set()
                    await self.go.wait()
                if number == error_at:
                    raise SourceError
                if number < size:
                    self.pulled += 1
                    yield number
        finally:
            self.tasks.add(asyncio.current_task())
            self.closed += 1

    async def store(self, chunks: tuple[int, ...]) -> None:
        await asyncio.sleep(0)
        self.stored.append(chunks)

    def stream(self, source: AsyncIterator[int]) -> AsyncSharedStream[int]:
        return AsyncSharedStream(
            source, self.store, self.abandoned.append, on_error=self.errors.append
        )


def attached(stream: AsyncSharedStream[int]) -> AsyncStreamReader[int]:
    reader = stream.attach()
    assert reader is not None
    return reader


async def whole(reader: AsyncStreamReader[int]) -> list[int]:
    return [chunk async for chunk in reader]


async def auntil(condition: Callable[[], bool]) -> None:
    async with asyncio.timeout(DEADLINE_S):
        while not condition():
            await asyncio.sleep(0.0005)


Steps = list[tuple[int, str]]


@settings(max_examples=150)
@given(
    size=st.integers(0, 5),
    error_at=st.none() | st.integers(0, 5),
    steps=st.lists(
        st.tuples(
            st.integers(0, 3),
            st.sampled_from(["read", "read", "read", "cancel", "tick", "close", "drop"]),
        ),
        max_size=50,
    ),
)
def test_any_interleaving_of_readers(size: int, error_at: int | None, steps: Steps) -> None:
    asyncio.run(interleave(size, error_at, steps))


async def interleave(size: int, error_at: int | None, steps: Steps) -> None:
    fate = Fate()
    stream = fate.stream(fate.source(size, error_at=error_at))
    readers = {0: attached(stream)}
    got: dict[int, list[int]] = {0: []}
    reading: dict[int, asyncio.Task[int]] = {}
    gone: set[int] = set()

    async def read(reader: AsyncStreamReader[int]) -> int:
        try:
            return await anext(reader)
        except StopAsyncIteration as end:
            raise EndError from end

    for number, step in steps:
        for other in [other for other, task in reading.items() if task.done()]:
            collect(reading.pop(other), got[other], fate, size, error_at, gone=other in gone)
        if step == "tick":
            await asyncio.sleep(0)
            continue
        if number in gone:
            continue
        if number not in readers:
            reader = stream.attach()
            if reader is None:
                assert fate.abandoned == [None]
                continue
            readers[number], got[number] = reader, []
            del reader
        if step == "read" and number not in reading:
            reading[number] = asyncio.create_task(read(readers[number]))
        elif step == "cancel" and number in reading:
            reading[number].cancel()
        elif step == "close":
            gone.add(number)
            await readers[number].aclose()
        elif step == "drop" and number not in reading:
            gone.add(number)
            del readers[number]
    for reader in readers.values():
        await reader.aclose()
    if reading:
        await asyncio.wait(reading.values(), timeout=DEADLINE_S)
    for number, task in reading.items():
        collect(task, got[number], fate, size, error_at, gone=True)
    await auntil(lambda: len(fate.stored) + len(fate.abandoned) == 1)
    await auntil(lambda: len(asyncio.all_tasks()) == 1)
    assert fate.closed == (1 if fate.tasks else 0)
    assert len(fate.tasks) <= 1
    assert fate.errors == []
    assert stream._waiting == []


class EndError(Exception):
    """The end of a stream, told from that of the test's own tasks."""


def collect(
    task: asyncio.Task[int],
    chunks: list[int],
    fate: Fate,
    size: int,
    error_at: int | None,
    *,
    gone: bool,
) -> None:
    if task.cancelled():
        return
    error = task.exception()
    if error is None:
        chunks.append(task.result())
    elif isinstance(error, SourceError):
        assert chunks == list(range(error_at or 0))
        assert fate.abandoned == [error]
    else:
        assert isinstance(error, EndError)
        if not gone:
            assert chunks == list(range(size))
            assert fate.stored == [tuple(range(size))]
    assert chunks == list(range(len(chunks)))


async def test_50_readers_read_the_same() -> None:
    fate = Fate()
    stream = fate.stream(fate.source(100))
    assert stream.loop is asyncio.get_running_loop()
    readers = [attached(stream) for _ in range(50)]
    lists = await asyncio.gather(*map(whole, readers))
    assert lists == [list(range(100))] * 50
    assert fate.stored == [tuple(range(100))]
    assert len(fate.tasks) == 1
    assert await whole(attached(stream)) == list(range(100))


async def test_nothing_is_read_ahead() -> None:
    fate = Fate()
    async with attached(fate.stream(fate.source())) as reader:
        assert await anext(reader) == 0
        for _ in range(20):
            await asyncio.sleep(0)
        assert fate.pulled == 1
    assert fate.closed == 1
    assert fate.abandoned == [None]


async def test_a_pull_goes_on_when_its_reader_is_cancelled() -> None:
    fate = Fate()
    stream = fate.stream(fate.source(stops_at=1))
    first, second = attached(stream), attached(stream)
    reading = asyncio.create_task(whole(first))
    await fate.inside.wait()
    reading.cancel()
    await asyncio.wait([reading])
    assert reading.cancelled()
    fate.go.set()
    assert await whole(second) == list(range(5))
    assert [await anext(first) for _ in range(4)] == [1, 2, 3, 4]
    await first.aclose()
    assert fate.stored == [tuple(range(5))]
    assert fate.closed == 1


async def test_the_last_reader_leaves_in_the_middle_of_a_pull() -> None:
    fate = Fate()
    stream = fate.stream(fate.source(stops_at=1))
    reader = attached(stream)

    async def read() -> None:
        async with reader:
            await whole(reader)

    reading = asyncio.create_task(read())
    await fate.inside.wait()
    reading.cancel()
    await asyncio.wait([reading])
    assert reading.cancelled()
    assert fate.closed == 1
    assert fate.abandoned == [None]
    assert stream.attach() is None
    assert len(fate.tasks) == 1


async def test_a_dropped_reader_closes_the_source() -> None:
    fate = Fate()
    stream = fate.stream(fate.source())
    reader = attached(stream)
    async for _ in reader:
        break
    del reader
    gc.collect()
    await auntil(lambda: fate.closed == 1)
    assert fate.abandoned == [None]


async def test_a_stream_that_was_never_read_closes_its_source() -> None:
    class Response:
        closed = False

        def __aiter__(self) -> AsyncIterator[int]:
            raise AssertionError

        async def close(self) -> None:
            self.closed = True

    response = Response()
    stream: AsyncSharedStream[int] = AsyncSharedStream(response, lambda _: None, lambda _: None)
    await attached(stream).aclose()
    assert response.closed


async def test_an_error_reaches_every_reader_where_it_happened() -> None:
    fate = Fate()
    stream = fate.stream(fate.source(error_at=2))
    readers = [attached(stream) for _ in range(3)]

    async def read(reader: AsyncStreamReader[int]) -> list[int]:
        chunks = []
        try:
            async for chunk in reader:
                chunks.append(chunk)  # noqa: PERF401 - what came before the error counts
        except SourceError:
            return chunks
        raise AssertionError

    assert await asyncio.gather(*map(read, readers)) == [[0, 1]] * 3
    assert await read(attached(stream)) == [0, 1]
    assert len(fate.abandoned) == 1
    assert fate.stored == []


async def test_the_end_is_seen_after_the_answer_is_stored() -> None:
    stored = asyncio.Event()

    async def store(_: object) -> None:
        for _ in range(10):
            await asyncio.sleep(0)
        stored.set()

    fate = Fate()
    stream = AsyncSharedStream(fate.source(), store, fate.abandoned.append)

    async def read(reader: AsyncStreamReader[int]) -> None:
        await whole(reader)
        assert stored.is_set()

    await asyncio.gather(*(read(attached(stream)) for _ in range(3)))


async def test_a_reader_that_leaves_while_the_answer_is_stored() -> None:
    fate = Fate()
    storing, go = asyncio.Event(), asyncio.Event()

    async def store(chunks: tuple[int, ...]) -> None:
        storing.set()
        await go.wait()
        fate.stored.append(chunks)

    stream = AsyncSharedStream(fate.source(), store, fate.abandoned.append)
    reader = attached(stream)
    reading = asyncio.create_task(whole(reader))
    await storing.wait()
    reading.cancel()
    await asyncio.wait([reading])
    leaving = asyncio.create_task(reader.aclose())
    await asyncio.sleep(0)
    assert not leaving.done()
    go.set()
    await leaving
    assert fate.stored == [tuple(range(5))]
    assert fate.abandoned == []


async def test_failing_callbacks_do_not_fail_readers() -> None:
    fate = Fate()

    async def failing(_: object) -> None:
        raise SourceError

    def failing_too(_: object) -> None:
        raise SourceError

    stream = AsyncSharedStream(fate.source(), failing, failing_too, on_error=fate.errors.append)
    assert await whole(attached(stream)) == list(range(5))
    stream = AsyncSharedStream(fate.source(), failing, failing_too, on_error=fate.errors.append)
    async with attached(stream) as reader:
        await anext(reader)
    assert len(fate.errors) == 2


async def test_the_source_may_hold_a_timeout_around_a_yield() -> None:
    async def source() -> AsyncIterator[int]:
        async with asyncio.timeout(DEADLINE_S), asyncio.TaskGroup() as group:
            for number in range(3):
                yield await group.create_task(asyncio.sleep(0, number))

    fate = Fate()
    stream = fate.stream(source())
    readers = [attached(stream) for _ in range(3)]
    assert await asyncio.gather(*map(whole, readers)) == [[0, 1, 2]] * 3
    async with attached(fate.stream(source())) as reader:
        await anext(reader)
    assert fate.errors == []


async def test_a_source_that_reads_its_own_stream() -> None:
    readers: list[AsyncStreamReader[int]] = []

    async def source() -> AsyncIterator[int]:
        yield await asyncio.create_task(anext(readers[1]))  # type: ignore[arg-type]

    fate = Fate()
    stream = fate.stream(source())
    readers += [attached(stream), attached(stream)]
    with pytest.raises(PrismCacheError, match="itself"):
        await anext(readers[0])
    for reader in readers:
        await reader.aclose()


async def test_a_source_that_is_cancelled_from_within() -> None:
    async def source() -> AsyncIterator[int]:
        yield 0
        raise asyncio.CancelledError

    fate = Fate()
    reader = attached(fate.stream(source()))
    assert await anext(reader) == 0
    with pytest.raises(PrismCacheError, match="interrupted"):
        await anext(reader)
    assert len(fate.abandoned) == 1


async def test_another_loop_cannot_attach() -> None:
    fate = Fate()
    stream = fate.stream(fate.source())
    reader = attached(stream)

    async def elsewhere() -> object:
        return stream.attach()

    assert await asyncio.to_thread(stream.attach) is None
    assert await asyncio.to_thread(lambda: asyncio.run(elsewhere())) is None
    await reader.aclose()


@pytest.mark.parametrize("reads", [0, 1, 2])
def test_a_loop_that_ends_first_closes_the_source(reads: int) -> None:
    fates: list[Fate] = []
    kept: list[AsyncStreamReader[int]] = []

    async def main() -> None:
        fate = Fate()
        fates.append(fate)
        reader = attached(fate.stream(fate.source(stops_at=1)))
        kept.append(reader)
        if reads:
            await anext(reader)
        if reads == 2:
            kept.append(asyncio.create_task(whole(reader)))  # type: ignore[arg-type]
            await fate.inside.wait()

    asyncio.run(main())
    if reads:
        assert fates[0].closed == 1
    kept.clear()
    gc.collect()
    assert len(fates[0].abandoned) == 1
    assert fates[0].stored == []


async def test_a_reader_dropped_in_another_thread() -> None:
    fate = Fate()
    readers = [attached(fate.stream(fate.source()))]
    await anext(readers[0])
    await asyncio.to_thread(readers.clear)
    await auntil(lambda: fate.closed == 1)
    assert fate.abandoned == [None]


async def test_leader_and_followers_of_a_flight_read_one_stream() -> None:
    flights: SingleFlight[str, AsyncSharedStream[int]] = SingleFlight()
    fate = Fate()

    async def ask() -> list[int]:
        turn = await flights.ajoin("k", timeout_s=DEADLINE_S)
        if isinstance(turn, Shared):
            return await whole(attached(turn.result))
        assert isinstance(turn, Lead)
        with turn:
            await asyncio.sleep(0)

            async def store(chunks: tuple[int, ...]) -> None:
                await fate.store(chunks)
                turn.close()

            stream = AsyncSharedStream(fate.source(), store, lambda _: turn.close())
            reader = attached(stream)
            turn.share_live(stream)
        return await whole(reader)

    lists = await asyncio.gather(*(ask() for _ in range(20)))
    assert lists == [list(range(5))] * 20
    assert fate.stored == [tuple(range(5))]
    assert len(flights) == 0


async def test_a_live_flight_ends_though_storing_fails_before_it_is_closed() -> None:
    flights: SingleFlight[str, AsyncSharedStream[int]] = SingleFlight()
    fate = Fate()

    def lead() -> AsyncStreamReader[int]:
        turn = flights.join("k")
        assert isinstance(turn, Lead)

        async def store(_: object) -> None:
            assert turn
            raise SourceError

        stream = AsyncSharedStream(
            fate.source(), store, lambda _: turn.close(), on_error=lambda _: None
        )
        with turn:
            turn.share_live(stream)
            return attached(stream)

    reader = lead()
    assert len(flights) == 1
    assert await whole(reader) == list(range(5))
    gc.collect()
    assert len(flights) == 0


class Blocking:
    """A sync source whose chunk 1 waits until told; notices its closing."""

    def __init__(self, *, size: int = 4, waits: bool = False) -> None:
        self.numbers = iter(range(size))
        self.waits = waits
        self.inside = threading.Event()
        self.go = threading.Event()
        self.closed = threading.Event()
        self.threads: set[int] = set()

    def __iter__(self) -> Iterator[int]:
        return self

    def __next__(self) -> int:
        self.threads.add(threading.get_ident())
        number = next(self.numbers)
        if self.waits and number == 1:
            self.inside.set()
            assert self.go.wait(DEADLINE_S)
        assert not self.closed.is_set()
        return number

    def close(self) -> None:
        self.threads.add(threading.get_ident())
        self.closed.set()


async def test_a_blocking_source_is_read_off_the_loop() -> None:
    source, fate = Blocking(), Fate()
    stream = fate.stream(iterate_in_threads(source))
    readers = [attached(stream) for _ in range(3)]
    assert await asyncio.gather(*map(whole, readers)) == [[0, 1, 2, 3]] * 3
    assert threading.get_ident() not in source.threads
    assert fate.stored == [(0, 1, 2, 3)]


async def test_a_blocking_source_keeps_its_context() -> None:
    where = contextvars.ContextVar("where", default="nowhere")

    def source() -> Iterator[str]:
        token = where.set("source")
        yield where.get()
        where.reset(token)
        yield where.get()

    where.set("maker")
    assert [chunk async for chunk in ThreadedSource(source())] == ["source", "maker"]


async def test_a_blocking_source_is_closed_by_the_thread_that_is_in_it() -> None:
    source, fate = Blocking(waits=True), Fate()
    stream = fate.stream(iterate_in_threads(source))
    reader = attached(stream)
    reading = asyncio.create_task(whole(reader))
    assert await asyncio.to_thread(source.inside.wait, DEADLINE_S)
    reading.cancel()
    await asyncio.wait([reading])
    await asyncio.wait_for(reader.aclose(), DEADLINE_S)
    assert not source.closed.is_set()
    source.go.set()
    assert await asyncio.to_thread(source.closed.wait, DEADLINE_S)
    assert fate.abandoned == [None]


async def test_a_blocking_source_is_closed_between_chunks() -> None:
    source, fate = Blocking(), Fate()
    async with attached(fate.stream(iterate_in_threads(source))) as reader:
        assert await anext(reader) == 0
    assert source.closed.is_set()
    assert threading.get_ident() not in source.threads


async def test_an_async_caller_reads_a_stream_of_threads() -> None:
    stored: list[tuple[int, ...]] = []
    stream = SharedStream(iter(range(5)), stored.append, lambda _: None)
    first, second = stream.attach(), stream.attach()
    assert first is not None
    assert second is not None
    chunks = [chunk async for chunk in iterate_in_threads(first)]
    assert chunks == list(second) == list(range(5))
    assert stored == [tuple(range(5))]


async def test_errors_of_a_blocking_source() -> None:
    def failing() -> Iterator[int]:
        yield 0
        raise SourceError

    source = iterate_in_threads(failing())
    assert await anext(source) == 0
    with pytest.raises(SourceError):
        await anext(source)
    with pytest.raises(StopAsyncIteration):
        await anext(source)
    await source.aclose()


async def test_replay() -> None:
    assert [chunk async for chunk in areplay((1, 2, 3))] == [1, 2, 3]
