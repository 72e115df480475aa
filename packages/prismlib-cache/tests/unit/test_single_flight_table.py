"""The rules of single flight, walked at random beside a simple model of them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hypothesis import settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule

from prism.cache._flights.flight_table import AloneReason, FlightTable, Seat, Standing

if TYPE_CHECKING:
    from collections.abc import Iterator

KEYS = "abc"


class Model:
    """One key: who leads, who waits in which order, what is shared live."""

    def __init__(self, leader: Seat[object]) -> None:
        self.leader = leader
        self.queue: list[Seat[object]] = []
        self.live: object = None


class Walk(RuleBasedStateMachine):
    def __init__(self) -> None:
        super().__init__()
        self.table: FlightTable[str, object] = FlightTable()
        self.models: dict[str, Model] = {}
        # Who waits for, or reads the live stream of, which key; and inside of which leads.
        self.edges: dict[Seat[object], tuple[Model, tuple[Seat[object], ...]]] = {}
        self.results = 0

    def leads(self) -> list[Seat[object]]:
        return [model.leader for model in self.models.values()]

    def needs(self, lead: Seat[object]) -> Iterator[Seat[object]]:
        for model, inside in self.edges.values():
            if lead in inside and model in self.models.values():
                yield model.leader

    def reaches(self, lead: Seat[object], goals: tuple[Seat[object], ...]) -> bool:
        return lead in goals or any(self.reaches(other, goals) for other in self.needs(lead))

    @rule(key=st.sampled_from(KEYS), inside=st.sets(st.sampled_from(KEYS)), may_wait=st.booleans())
    def enter(self, key: str, inside: set[str], may_wait: bool) -> None:
        chain = tuple(self.models[name].leader for name in sorted(inside) if name in self.models)
        refusal = None if may_wait else AloneReason.TIMEOUT
        model = self.models.get(key)
        ring = model is not None and self.reaches(model.leader, chain)
        seat = self.table.enter(key, chain, refusal=refusal)
        if model is None:
            assert seat.standing is Standing.LEADING
            self.models[key] = Model(seat)
        elif ring:
            assert seat.standing is Standing.ALONE
            nested = model.leader in chain
            assert seat.reason is (AloneReason.NESTED if nested else AloneReason.RING)
        elif model.live is not None:
            assert seat.standing is Standing.SHARED
            assert seat.result is model.live
            self.edges[seat] = model, chain
        elif may_wait:
            assert seat.standing is Standing.WAITING
            model.queue.append(seat)
            self.edges[seat] = model, chain
        else:
            assert seat.standing is Standing.ALONE
            assert seat.reason is AloneReason.TIMEOUT

    def pick(self, data: st.DataObject, *, live: bool | None = None) -> tuple[str, Model] | None:
        fitting = [
            (key, model)
            for key, model in sorted(self.models.items())
            if live is None or (model.live is not None) is live
        ]
        return data.draw(st.sampled_from(fitting)) if fitting else None

    @rule(data=st.data(), how=st.sampled_from(["succeed", "release", "share_live"]))
    def end_well(self, data: st.DataObject, how: str) -> None:
        picked = self.pick(data, live=False)
        if picked is None:
            return
        key, model = picked
        self.results += 1
        result: object = ("result", self.results)
        if how == "succeed":
            settled = self.table.succeed(model.leader, result)
        elif how == "release":
            settled = self.table.release(model.leader)
        else:
            settled = self.table.share_live(model.leader, result)
        assert settled == model.queue
        for seat in settled:
            if how == "release":
                assert seat.standing is Standing.ALONE
                assert seat.reason is AloneReason.UNSHAREABLE
            else:
                assert seat.standing is Standing.SHARED
                assert seat.result is result
            if how != "share_live":
                del self.edges[seat]
        model.queue = []
        if how == "share_live":
            model.live = result
        else:
            assert model.leader.standing is Standing.ENDED
            self.over(key)

    def over(self, key: str) -> None:
        model = self.models.pop(key)
        self.edges = {seat: edge for seat, edge in self.edges.items() if edge[0] is not model}

    @rule(data=st.data())
    def lead_is_given_up(self, data: st.DataObject) -> None:
        picked = self.pick(data)
        if picked is None:
            return
        key, model = picked
        old = model.leader
        heirs = self.table.leave(old)
        assert old.standing is Standing.ENDED
        if model.queue:
            heir = model.queue.pop(0)
            assert heirs == [heir]
            assert heir.standing is Standing.LEADING
            del self.edges[heir]
            model.leader = heir
        else:
            assert heirs == []
            self.over(key)
        # What ends twice has ended once.
        assert self.table.leave(old) == self.table.succeed(old, None) == []

    @precondition(lambda self: any(model.queue for model in self.models.values()))
    @rule(data=st.data(), cancelled=st.booleans())
    def waiter_goes(self, data: st.DataObject, cancelled: bool) -> None:
        queued = [(model, seat) for _, model in sorted(self.models.items()) for seat in model.queue]
        model, seat = data.draw(st.sampled_from(queued))
        if cancelled:
            assert self.table.leave(seat) == []
            assert seat.standing is Standing.ENDED
        else:
            self.table.time_out(seat)
            assert seat.standing is Standing.ALONE
            assert seat.reason is AloneReason.TIMEOUT
        model.queue.remove(seat)
        del self.edges[seat]

    @rule()
    def fork(self) -> None:
        seats = [seat for model in self.models.values() for seat in (model.leader, *model.queue)]
        self.table.forget()
        assert all(seat.standing is Standing.ENDED for seat in seats)
        self.models, self.edges = {}, {}

    @invariant()
    def table_agrees(self) -> None:
        assert len(self.table) == len(self.models)
        for key, model in self.models.items():
            flight = self.table._flights[key]
            assert flight.leader is model.leader
            assert model.leader.leads
            assert list(flight.waiting) == model.queue
            assert all(seat.standing is Standing.WAITING for seat in model.queue)

    @invariant()
    def no_ring(self) -> None:
        for lead in self.leads():
            assert not any(self.reaches(other, (lead,)) for other in self.needs(lead))

    def teardown(self) -> None:
        while self.models:
            for model in list(self.models.values()):
                self.table.leave(model.leader)
                if model.queue:
                    model.leader = model.queue.pop(0)
            self.models = {key: model for key, model in self.models.items() if model.leader.leads}
        assert len(self.table) == 0


TestWalk = Walk.TestCase
TestWalk.settings = settings(max_examples=150, stateful_step_count=40, deadline=None)


def test_followers_are_promoted_in_the_order_they_came() -> None:
    table: FlightTable[str, int] = FlightTable()
    seats = [table.enter("k") for _ in range(6)]
    order = [seats[0]]
    while heirs := table.leave(order[-1]):
        order += heirs
    assert order == seats
    assert len(table) == 0


def test_an_attached_stream_blocks_until_its_lead_ends_and_is_forgotten_after() -> None:
    table: FlightTable[str, int] = FlightTable()
    reader = table.enter("reader")
    for n in range(20):
        source = table.enter("source")
        table.share_live(source, n)
        assert table.enter("source", (reader,)).result == n
        assert table.enter("reader", (source,)).reason is AloneReason.RING
        table.leave(source)
    assert len(reader.blocked) <= 1


def test_an_heir_blocks_its_own_leads_no_longer() -> None:
    table: FlightTable[str, int] = FlightTable()
    first, outer = table.enter("k"), table.enter("outer")
    heir = table.enter("k", (outer,))
    assert outer.blocked
    assert table.leave(first) == [heir]
    assert not outer.blocked
