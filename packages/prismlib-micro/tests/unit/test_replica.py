"""Replicas as state machines, and their messages as bytes."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule

from prism.cache.store._protocol import Record
from prism.cluster._clock import Stamp
from prism.cluster._flight_table import FlightTable, owner_of
from prism.cluster._replica import BUCKETS, Invalidation, Item, Replica
from prism.cluster._replication import Digest, Listing, Pull, Put, Renewed, Stored, Tell, Told
from prism.cluster._wire import decode, encode
from prism.cluster.errors import MalformedMessageError

KEYS = [bytes([number]) * 32 for number in range(4)]
NAMES = ("a", "b", "c")
MAX_BYTES = 500

nodes = st.sampled_from(range(3))


class Replicas(RuleBasedStateMachine):
    """Three nodes with clocks of their own, which hear of each other in any order."""

    def __init__(self) -> None:
        super().__init__()
        self.nodes = [Replica(name, max_bytes=MAX_BYTES, most_invalidations=3) for name in NAMES]
        self.items: list[Item] = []

    @rule(node=nodes, key=st.sampled_from(KEYS), tag=st.sampled_from("xy"), wall=st.floats(0, 9))
    def write(self, node: int, key: bytes, tag: str, wall: float) -> None:
        item, _ = self.nodes[node].write(key, None, tags=[tag], size=150, wall_s=wall)
        self.items.append(item)

    @rule(node=nodes, index=st.integers(0, 50))
    def hear(self, node: int, index: int) -> None:
        if self.items:
            self.nodes[node].take(self.items[index % len(self.items)])

    @rule(node=nodes, key=st.sampled_from([b"", *KEYS]), wall=st.floats(0, 9))
    def invalidate(self, node: int, key: bytes, wall: float) -> None:
        self.nodes[node].invalidate(key=key, tag="" if key else "x", wall_s=wall)

    @rule(node=nodes, other=nodes)
    def learn(self, node: int, other: int) -> None:
        floors, log = self.nodes[other].since(self.nodes[node].known)
        self.nodes[node].raise_floors(floors, self.nodes[other].forgotten)
        whole, _ = self.nodes[node].learn(log)
        assert whole

    @invariant()
    def room_is_bounded_and_counted(self) -> None:
        for node in self.nodes:
            assert node.size_bytes == sum(item.size for item in node.items.values()) <= MAX_BYTES

    @invariant()
    def nothing_invalid_is_held(self) -> None:
        for node in self.nodes:
            assert not any(node.is_invalid(item) for item in node.items.values())

    def teardown(self) -> None:
        """All that hear of all hold the same."""
        for _ in range(3):
            for node in range(3):
                for other in range(3):
                    self.learn(node, other)
                    for item in list(self.nodes[other].items.values()):
                        self.nodes[node].take(item)
        assert len({node.digest for node in self.nodes}) == 1
        assert len({tuple(sorted(node.items)) for node in self.nodes}) == 1


TestReplicas = Replicas.TestCase
TestReplicas.settings = settings(max_examples=60, stateful_step_count=30)

stamps = st.builds(Stamp, st.integers(0, 2**48), st.integers(0, 999), st.sampled_from(NAMES))
known = st.dictionaries(st.sampled_from(NAMES), stamps)
keys = st.binary(min_size=32, max_size=32)
logs = st.lists(st.builds(Invalidation, stamps, stamps, keys | st.just(b""), st.text(max_size=9)))
records = st.builds(
    Record,
    key=keys,
    scope=st.binary(min_size=16, max_size=16),
    question=st.text(max_size=30),
    embedder=st.text(max_size=9),
    vector=st.binary(max_size=64),
    answer=st.binary(max_size=64),
    encoding=st.just("text"),
    model=st.text(max_size=9),
    created_at=st.floats(0, 2e9),
    expires_at=st.none() | st.floats(0, 2e9),
    tags=st.lists(st.text(max_size=9), max_size=3).map(tuple),
)
items = st.builds(
    lambda record, stamp, seen: Item(
        record.key, stamp, tuple(sorted(seen.items())), record.tags, 9, record
    ),
    records,
    stamps,
    known,
)
messages = st.one_of(
    st.builds(Put, items, st.booleans()),
    st.builds(Stored, keys, stamps),
    st.builds(Renewed, st.integers(0, 2**60), st.integers(0, 2**60), known, logs),
    st.builds(Tell, logs.filter(bool).map(lambda log: log[0])),
    st.builds(Told, st.integers(0, 2**60), st.booleans(), known, logs, stamps),
    st.builds(Digest, st.lists(st.just(7), min_size=BUCKETS, max_size=BUCKETS).map(tuple), stamps),
    st.builds(Listing, st.lists(st.integers(0, 255)), st.lists(st.tuples(keys, stamps))),
    st.builds(Pull, st.lists(keys)),
)


@given(messages)
@settings(max_examples=60)
def test_messages_survive_the_wire(message: object) -> None:
    assert decode(encode(message)) == message  # type: ignore[arg-type]


@given(messages, st.integers(0, 10_000), st.integers(1, 255))
@settings(max_examples=60)
def test_damaged_bytes_are_refused_or_another_message(
    message: object, place: int, flip: int
) -> None:
    raw = bytearray(encode(message))  # type: ignore[arg-type]
    raw[place % len(raw)] ^= flip
    for damaged in (bytes(raw), bytes(raw[: place % len(raw)])):
        try:
            decode(damaged)
        except MalformedMessageError:
            continue


def test_an_owner_is_the_same_everywhere_and_moves_little() -> None:
    questions = [f"question {number}" for number in range(300)]
    before = {one: owner_of(one, NAMES) for one in questions}
    assert before == {one: owner_of(one, reversed(NAMES)) for one in questions}
    after = {one: owner_of(one, ("a", "b")) for one in questions}
    assert all(after[one] == before[one] for one in questions if before[one] != "c")
    assert min(sum(owner == name for owner in before.values()) for name in NAMES) > 60


def test_one_leads_until_it_lands_fails_or_goes() -> None:
    table = FlightTable(longest_s=10.0)
    assert table.ask("q", "q:1", "a", 0.0)
    assert not table.ask("q", "q:1", "b", 1.0)
    assert table.ask("q", "q:2", "b", 1.0)  # after an invalidation it is another flight
    table.gave_up("q", "q:1", "b")
    assert not table.ask("q", "q:1", "b", 1.0)
    table.gave_up("q", "q:1", "a")
    assert table.ask("q", "q:1", "b", 1.0)
    table.lost("b")
    assert len(table) == 0
    assert table.ask("q", "q:1", "a", 2.0)
    assert table.ask("q", "q:1", "b", 12.0)
    table.unstored("q", 13.0)
    assert table.ask("q", "q:1", "a", 14.0)
    assert table.ask("q", "q:1", "b", 14.0)
