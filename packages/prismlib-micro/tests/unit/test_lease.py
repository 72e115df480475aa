"""The lease step by step, and what the simulation leaves out: force, observers, bytes."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prism.cluster._lease import FORCED_JUMP, Lease
from prism.cluster._lease_config import LeaseConfig
from prism.cluster._lease_messages import (
    Ask,
    Became,
    Claim,
    Effect,
    LeaseMessage,
    Opinion,
    Promise,
    Release,
    Role,
    Send,
    Store,
    decode,
    encode,
)
from prism.cluster.errors import ClusterConfigurationError, MalformedMessageError

CONFIG = LeaseConfig()


class Room:
    """Nodes that hear each other at once, unless they are gone."""

    def __init__(self, *names: str, observers: tuple[str, ...] = (), witness: str = "") -> None:
        self.now = 100.0
        self.gone: set[str] = set()
        self.became: list[tuple[str, Became]] = []
        self.nodes = {
            name: Lease(
                name,
                names,
                incarnation=1,
                config=CONFIG,
                now=self.now,
                jitter=lambda: 0.5,
                observers=observers,
                is_witness=name == witness,
            )
            for name in (*names, *observers)
        }

    def do(self, name: str, effects: list[Effect]) -> None:
        for effect in effects:
            if isinstance(effect, Became):
                self.became.append((name, effect))
            elif isinstance(effect, Send) and not {name, effect.to} & self.gone:
                message = decode(encode(effect.message))
                assert message == effect.message
                self.do(effect.to, self.nodes[effect.to].receive(name, message, self.now))

    def run(self, seconds: float) -> None:
        end = self.now + seconds
        while self.now < end:
            self.now += 0.01
            for name, node in self.nodes.items():
                if name not in self.gone:
                    self.do(name, node.tick(self.now))

    def green(self) -> list[str]:
        return [n for n in self.nodes if n not in self.gone and self.nodes[n].is_green(self.now)]


def test_three_agree_on_one_and_the_next_has_a_higher_token() -> None:
    room = Room("a", "b", "c")
    room.run(1.0)
    (first,) = room.green()
    token = room.nodes[first].token(room.now)
    assert {node.green(room.now) for node in room.nodes.values()} == {first}

    room.gone.add(first)
    room.run(1.0)

    (second,) = room.green()
    assert second != first
    assert (room.nodes[second].token(room.now) or 0) > (token or 0)


def test_a_hand_over_takes_no_time() -> None:
    room = Room("a", "b", "c")
    room.run(1.0)
    (first,) = room.green()
    successor = next(name for name in room.nodes if name != first)

    room.do(first, room.nodes[first].hand_over(room.now, to=successor))
    room.run(0.02)

    assert room.green() == [successor]


def test_two_nodes_never_promote_one_of_them_alone() -> None:
    room = Room("a", "b")
    room.run(1.0)
    (first,) = room.green()
    room.gone.add(first)

    room.run(10.0)

    assert room.green() == []


def test_a_witness_decides_between_two_and_is_never_green() -> None:
    room = Room("a", "b", "w", witness="w")
    room.run(1.0)
    (first,) = room.green()
    room.gone.add(first)
    room.run(1.0)
    assert room.green() == [{"a": "b", "b": "a"}[first]]

    room.gone = {"a", "b"}
    room.run(5.0)

    assert room.green() == []


def test_force_promotes_alone_and_ends_when_a_majority_answers() -> None:
    room = Room("a", "b", "c")
    room.run(1.0)
    (first,) = room.green()
    token = room.nodes[first].token(room.now) or 0
    last, *others = [name for name in room.nodes if name != first]
    room.gone |= {first, *others}

    room.do(last, room.nodes[last].force(room.now))
    room.run(5.0)
    assert room.green() == [last]
    assert (room.nodes[last].token(room.now) or 0) > token + FORCED_JUMP - 1

    room.gone.clear()
    room.run(2.0)
    assert room.green() == [last]
    room.gone |= {first, *others}
    room.run(2.0)
    assert room.green() == []  # again bound to a majority


def test_a_green_steps_down_for_one_who_was_forced() -> None:
    room = Room("a", "b", "c")
    room.run(1.0)
    (first,) = room.green()
    other = next(name for name in room.nodes if name != first)

    room.do(other, room.nodes[other].force(room.now))
    room.run(1.0)

    assert room.green() == [other]


def test_observers_know_green_and_do_not_vote() -> None:
    room = Room("a", "b", "c", observers=("o",))
    room.run(1.0)
    (first,) = room.green()
    assert room.nodes["o"].green(room.now) == first
    assert room.nodes["o"].receive("a", Ask(9, 1, 1), room.now) == []

    room.gone |= {"a", "b"}
    room.run(5.0)

    assert room.green() == []


def test_a_node_out_of_step_stands_back() -> None:
    room = Room("a", "b", "c")
    room.nodes["a"].is_ready = room.nodes["b"].is_ready = False
    room.run(1.0)

    assert room.green() == ["c"]
    assert room.nodes["a"].role(room.now) is Role.ORANGE


def test_the_term_is_stored_before_a_promise_leaves() -> None:
    lease = Lease("a", ["a", "b"], incarnation=1, config=CONFIG, now=0.0, jitter=lambda: 0.0)

    effects = lease.receive("b", Claim(5, 1, 9, is_green=False, is_forced=False), 10.0)

    assert isinstance(effects[0], Store)
    assert effects[1] == Send("b", Promise(5, 1, 9, granted=True, seen=5))


whole = st.integers(min_value=0, max_value=2**64 - 1)
messages: st.SearchStrategy[LeaseMessage] = st.one_of(
    st.builds(Ask, whole, whole, whole),
    st.builds(Opinion, whole, whole, whole, st.booleans(), whole),
    st.builds(Claim, whole, whole, whole, st.booleans(), st.booleans()),
    st.builds(Promise, whole, whole, whole, st.booleans(), whole),
    st.builds(Release, whole, whole, st.text(max_size=60)),
)


@given(messages)
def test_messages_survive_the_wire(message: LeaseMessage) -> None:
    assert decode(encode(message)) == message


@given(st.binary(max_size=80))
def test_bytes_that_are_no_message_are_refused_as_such(raw: bytes) -> None:
    try:
        message = decode(raw)
    except MalformedMessageError:
        return
    assert isinstance(message, LeaseMessage)


@pytest.mark.parametrize(
    ("name", "value"), [("lease_s", 0), ("heartbeat_s", 0.5), ("max_drift", -0.1)]
)
def test_a_setting_that_cannot_work_is_named(name: str, value: float) -> None:
    with pytest.raises(ClusterConfigurationError, match=name):
        LeaseConfig(**{name: value})
