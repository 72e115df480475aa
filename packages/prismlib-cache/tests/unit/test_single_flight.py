"""Single flight among threads, tasks and loops that really run."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import os
import signal
import threading
import time
import weakref
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING

import pytest

from prism.cache._flights.single_flight import Alone, AloneReason, Lead, Shared, SingleFlight

if TYPE_CHECKING:
    from collections.abc import Callable, Iterator

pytestmark = pytest.mark.timeout(30)
DEADLINE_S = 10.0


class Answer:
    pass


Flights = SingleFlight[str, Answer]


class ModelError(Exception):
    pass


def waiters(flights: Flights, key: str = "k") -> int:
    flight = flights._table._flights.get(key)
    return 0 if flight is None else len(flight.waiting)


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, "not within the deadline"
        time.sleep(0.0005)


async def auntil(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + DEADLINE_S
    while not condition():
        assert time.monotonic() < deadline, "not within the deadline"
        await asyncio.sleep(0.0005)


def lead(flights: Flights, key: str = "k") -> Lead[Answer]:
    turn = flights.join(key)
    assert isinstance(turn, Lead)
    return turn


def ask(
    flights: Flights,
    call: Callable[[], Answer],
    key: str = "k",
    timeout_s: float | None = DEADLINE_S,
) -> Answer:
    turn = flights.join(key, timeout_s=timeout_s)
    if isinstance(turn, Shared):
        return turn.result
    if isinstance(turn, Alone):
        return call()
    with turn:
        answer = call()
        turn.succeed(answer)
        return answer


async def aask(
    flights: Flights,
    call: Callable[[], Answer],
    key: str = "k",
    timeout_s: float | None = DEADLINE_S,
) -> Answer:
    turn = await flights.ajoin(key, timeout_s=timeout_s)
    if isinstance(turn, Shared):
        return turn.result
    if isinstance(turn, Alone):
        return call()
    with turn:
        await asyncio.sleep(0)
        answer = call()
        turn.succeed(answer)
        return answer


@pytest.fixture
def flights() -> Iterator[Flights]:
    flights = Flights()
    yield flights
    gc.collect()
    assert len(flights) == 0


@pytest.fixture
def pool() -> Iterator[ThreadPoolExecutor]:
    with ThreadPoolExecutor(80) as pool:
        yield pool


class Calls:
    """A model that counts, and answers once it is told to."""

    def __init__(self, *, failures: int = 0) -> None:
        self.count = 0
        self.go = threading.Event()
        self.failures = failures
        self._lock = threading.Lock()

    def __call__(self) -> Answer:
        with self._lock:
            self.count += 1
            failing = self.count <= self.failures
        assert self.go.wait(DEADLINE_S)
        if failing:
            raise ModelError
        return Answer()

    async def later(self) -> Answer:
        await auntil(self.go.is_set)
        return self()


def test_64_threads_make_one_call(flights: Flights, pool: ThreadPoolExecutor) -> None:
    calls = Calls()
    asking = [pool.submit(ask, flights, calls) for _ in range(64)]
    until(lambda: waiters(flights) == 63)
    assert len(flights) == 1
    calls.go.set()
    assert len({id(one.result(DEADLINE_S)) for one in asking}) == 1
    assert calls.count == 1


async def test_200_tasks_make_one_call(flights: Flights) -> None:
    calls = Calls()
    calls.go.set()
    answers = await asyncio.gather(*(aask(flights, calls) for _ in range(200)))
    assert len(set(answers)) == 1
    assert calls.count == 1


def test_threads_and_tasks_of_three_loops_make_one_call(
    flights: Flights, pool: ThreadPoolExecutor
) -> None:
    calls = Calls()

    async def crowd() -> list[Answer]:
        return await asyncio.gather(*(aask(flights, calls) for _ in range(50)))

    first = pool.submit(ask, flights, calls)
    until(lambda: calls.count == 1)
    loops = [pool.submit(asyncio.run, crowd()) for _ in range(3)]
    threads = [pool.submit(ask, flights, calls) for _ in range(30)]
    until(lambda: waiters(flights) == 180)
    calls.go.set()
    answers = {first.result(DEADLINE_S), *(one.result(DEADLINE_S) for one in threads)}
    for loop in loops:
        answers |= set(loop.result(DEADLINE_S))
    assert len(answers) == 1
    assert calls.count == 1


def test_a_failed_leader_keeps_its_error_and_one_follower_leads(
    flights: Flights, pool: ThreadPoolExecutor
) -> None:
    calls = Calls(failures=1)
    asking = [pool.submit(ask, flights, calls) for _ in range(64)]
    until(lambda: waiters(flights) == 63)
    calls.go.set()
    errors = [one.exception(DEADLINE_S) for one in asking]
    assert [type(error) for error in errors if error] == [ModelError]
    assert len({one.result() for one in asking if not one.exception()}) == 1
    assert calls.count == 2


def test_when_all_64_fail_each_fails_by_itself(flights: Flights, pool: ThreadPoolExecutor) -> None:
    calls = Calls(failures=64)
    calls.go.set()
    asking = [pool.submit(ask, flights, calls) for _ in range(64)]
    assert {type(one.exception(DEADLINE_S)) for one in asking} == {ModelError}
    assert calls.count == 64


async def test_a_cancelled_leader_hands_over_in_order(flights: Flights) -> None:
    led: list[int] = []

    async def asking(number: int) -> None:
        turn = await flights.ajoin("k", timeout_s=DEADLINE_S)
        assert isinstance(turn, Lead)
        with turn:
            led.append(number)
            await asyncio.Event().wait()

    tasks = []
    for number in range(10):
        tasks.append(asyncio.create_task(asking(number)))
        await auntil(lambda: len(led) + waiters(flights) == len(tasks))
    for number, task in enumerate(tasks):
        await auntil(lambda expected=number: led == list(range(expected + 1)))  # type: ignore[misc]
        task.cancel()
        with pytest.raises(asyncio.CancelledError):
            await task
    assert len(flights) == 0


def test_followers_of_a_hanging_leader_call_alone(
    flights: Flights, pool: ThreadPoolExecutor
) -> None:
    hanging = lead(flights)
    followers = [pool.submit(flights.join, "k", timeout_s=0.02) for _ in range(8)]
    turns = [one.result(DEADLINE_S) for one in followers]
    turns.append(asyncio.run(flights.ajoin("k", timeout_s=0.02)))
    assert turns == [Alone(AloneReason.TIMEOUT)] * 9
    assert waiters(flights) == 0
    assert len(flights) == 1
    patient = pool.submit(flights.join, "k", timeout_s=DEADLINE_S)
    until(lambda: waiters(flights) == 1)
    answer = Answer()
    hanging.succeed(answer)
    assert patient.result(DEADLINE_S) == Shared(answer)


async def test_no_patience_is_no_waiting(flights: Flights, pool: ThreadPoolExecutor) -> None:
    hanging = lead(flights)
    refused = Alone(AloneReason.TIMEOUT)
    assert await flights.ajoin("k", timeout_s=0) == refused
    assert pool.submit(flights.join, "k", timeout_s=0).result(DEADLINE_S) == refused
    hanging.abandon()


def test_what_cannot_be_shared_is_called_by_each(
    flights: Flights, pool: ThreadPoolExecutor
) -> None:
    with lead(flights) as leading:
        asking = [pool.submit(flights.join, "k", timeout_s=DEADLINE_S) for _ in range(5)]
        until(lambda: waiters(flights) == 5)
        leading.release()
        turns = [one.result(DEADLINE_S) for one in asking]
    assert turns == [Alone(AloneReason.UNSHAREABLE)] * 5


def test_a_live_result_is_had_by_those_who_wait_and_those_who_come(
    flights: Flights, pool: ThreadPoolExecutor
) -> None:
    stream = Answer()
    with lead(flights) as leading:
        early = [pool.submit(flights.join, "k", timeout_s=DEADLINE_S) for _ in range(5)]
        until(lambda: waiters(flights) == 5)
        leading.share_live(stream)
    assert [one.result(DEADLINE_S) for one in early] == [Shared(stream)] * 5
    assert flights.join("k") == Shared(stream)
    assert asyncio.run(flights.ajoin("k", timeout_s=0)) == Shared(stream)
    leading.close()
    leading.close()
    assert len(flights) == 0
    lead(flights).abandon()


def test_a_live_lead_ends_if_its_block_raises_or_it_is_dropped(flights: Flights) -> None:
    def call() -> None:
        with lead(flights) as leading:
            leading.share_live(Answer())
            raise ModelError

    with pytest.raises(ModelError):
        call()
    assert len(flights) == 0
    leading = lead(flights)
    leading.share_live(Answer())
    del leading
    gc.collect()
    assert len(flights) == 0


def test_a_dropped_lead_is_passed_on(flights: Flights, pool: ThreadPoolExecutor) -> None:
    leading = lead(flights)
    follower = pool.submit(flights.join, "k", timeout_s=DEADLINE_S)
    until(lambda: waiters(flights) == 1)
    del leading
    heir = follower.result(DEADLINE_S)
    assert isinstance(heir, Lead)
    heir.abandon()


def test_the_first_ending_counts(flights: Flights) -> None:
    first = lead(flights)
    first.abandon()
    second = lead(flights)
    first.succeed(Answer())
    first.release()
    first.share_live(Answer())
    first.close()
    assert len(flights) == 1
    second.abandon()


async def test_a_cancelled_follower_leaves_no_trace(flights: Flights) -> None:
    hanging = lead(flights)
    tasks = [asyncio.create_task(flights.ajoin("k")) for _ in range(3)]
    await auntil(lambda: waiters(flights) == 3)
    tasks[1].cancel()
    await asyncio.wait([tasks[1]])
    assert waiters(flights) == 2
    hanging.succeed(Answer())
    assert isinstance(await tasks[0], Shared)
    assert isinstance(await tasks[2], Shared)


async def test_promotion_that_meets_a_cancellation_goes_on_to_the_next(flights: Flights) -> None:
    hanging = lead(flights)
    first = asyncio.create_task(flights.ajoin("k"))
    await auntil(lambda: waiters(flights) == 1)
    second = asyncio.create_task(flights.ajoin("k"))
    await auntil(lambda: waiters(flights) == 2)
    hanging.abandon()
    first.cancel()  # promoted already, not yet awake
    turn = await asyncio.wait_for(second, DEADLINE_S)
    assert isinstance(turn, Lead)
    turn.abandon()
    assert first.cancelled()


async def test_success_that_meets_a_cancellation_leaves_nothing(flights: Flights) -> None:
    hanging = lead(flights)
    task = asyncio.create_task(flights.ajoin("k"))
    await auntil(lambda: waiters(flights) == 1)
    hanging.succeed(Answer())
    task.cancel()
    await asyncio.wait([task])
    assert task.cancelled()
    assert len(flights) == 0


def test_a_thread_follower_whose_timeout_meets_its_promotion(
    flights: Flights, pool: ThreadPoolExecutor
) -> None:
    def race() -> None:
        leading = lead(flights)
        followers = [pool.submit(flights.join, "k", timeout_s=0.0005) for _ in range(2)]
        until(lambda: waiters(flights) > 0 or all(one.done() for one in followers))
        leading.abandon()
        for one in followers:
            turn = one.result(DEADLINE_S)
            if isinstance(turn, Lead):
                turn.abandon()
            else:
                assert turn == Alone(AloneReason.TIMEOUT)

    for _ in range(200):
        race()
        assert len(flights) == 0


def test_a_closed_loop_passes_leadership_on(flights: Flights, pool: ThreadPoolExecutor) -> None:
    leading = lead(flights)
    loop = asyncio.new_event_loop()
    task = loop.create_task(flights.ajoin("k"))
    loop.run_until_complete(asyncio.sleep(0))
    assert waiters(flights) == 1
    thread = pool.submit(flights.join, "k", timeout_s=DEADLINE_S)
    until(lambda: waiters(flights) == 2)
    loop.set_exception_handler(lambda *_: None)  # it will say that a pending task was destroyed
    loop.close()
    leading.abandon()
    heir = thread.result(DEADLINE_S)
    assert isinstance(heir, Lead)
    heir.abandon()
    assert not task.done()


def test_a_loop_closed_after_it_was_rung_passes_leadership_on_when_collected(
    flights: Flights, pool: ThreadPoolExecutor
) -> None:
    leading = lead(flights)
    loop = asyncio.new_event_loop()
    loop.set_exception_handler(lambda *_: None)
    task = loop.create_task(flights.ajoin("k"))
    loop.run_until_complete(asyncio.sleep(0))
    thread = pool.submit(flights.join, "k", timeout_s=DEADLINE_S)
    until(lambda: waiters(flights) == 2)
    leading.abandon()
    loop.close()
    assert not thread.done()
    del task
    gc.collect()
    heir = thread.result(DEADLINE_S)
    assert isinstance(heir, Lead)
    heir.abandon()


async def test_sync_code_on_a_running_loop_never_waits(flights: Flights) -> None:
    release = asyncio.Event()

    async def leading() -> None:
        turn = await flights.ajoin("k")
        assert isinstance(turn, Lead)
        with turn:
            await release.wait()

    task = asyncio.create_task(leading())
    await auntil(lambda: len(flights) == 1)
    assert flights.join("k") == Alone(AloneReason.EVENT_LOOP)
    release.set()
    await task


@pytest.mark.skipif(not hasattr(os, "fork"), reason="no fork here")
@pytest.mark.filterwarnings("ignore:.*fork.*:DeprecationWarning")
def test_after_a_fork_the_child_has_no_flights(flights: Flights, pool: ThreadPoolExecutor) -> None:
    with lead(flights) as leading:
        follower = pool.submit(flights.join, "k", timeout_s=DEADLINE_S)
        until(lambda: waiters(flights) == 1)
        child = os.fork()
        if child == 0:
            status = 1
            with contextlib.suppress(BaseException):
                empty = len(flights) == 0
                leading.succeed(Answer())
                own = flights.join("k", timeout_s=1)
                led = isinstance(own, Lead)
                if isinstance(own, Lead):
                    leading.abandon()
                    led = led and len(flights) == 1
                    own.succeed(Answer())
                status = 0 if empty and led and len(flights) == 0 else 2
            os._exit(status)
        deadline = time.monotonic() + DEADLINE_S
        while (ended := os.waitpid(child, os.WNOHANG)) == (0, 0):
            if time.monotonic() > deadline:
                os.kill(child, signal.SIGKILL)
                os.waitpid(child, 0)
                pytest.fail("the child hangs")
            time.sleep(0.005)
        assert os.waitstatus_to_exitcode(ended[1]) == 0
        leading.succeed(answer := Answer())
        assert follower.result(DEADLINE_S) == Shared(answer)


def test_nothing_is_held_after_the_end(pool: ThreadPoolExecutor) -> None:
    def run() -> list[weakref.ref[object]]:
        flights = Flights()
        kept: list[weakref.ref[object]] = [weakref.ref(flights)]

        async def follow() -> None:
            turn = await asyncio.create_task(flights.ajoin("k", timeout_s=DEADLINE_S))
            assert isinstance(turn, Shared)

        with lead(flights) as leading:
            asking = [pool.submit(flights.join, "k", timeout_s=DEADLINE_S) for _ in range(3)]
            looping = pool.submit(asyncio.run, follow())
            until(lambda: waiters(flights) == 4)
            answer = Answer()
            kept += [weakref.ref(answer), weakref.ref(leading), weakref.ref(leading._seat)]
            kept += [weakref.ref(seat) for seat in flights._table._flights["k"].waiting]
            leading.succeed(answer)
            assert [one.result(DEADLINE_S) for one in asking] == [Shared(answer)] * 3
            looping.result(DEADLINE_S)
        return kept

    kept = run()
    until(lambda: gc.collect() >= 0 and not any(ref() for ref in kept))
