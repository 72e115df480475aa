"""Keys over a way that loses, repeats, reorders and is lied on."""

from __future__ import annotations

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chorus_fabric import BytesColumn, Frame, FrameKind, SessionPolicy
from chorus_fabric.mesh._link import Link
from chorus_fabric.mesh._parts import Assembler, parts_of

SECRET = "held by every node of the mesh"  # noqa: S105  of the tests alone
KINDS = (
    FrameKind.TOKEN_SYNC, FrameKind.HEALTH, FrameKind.SIGNAL, FrameKind.CONFIG,
    FrameKind.INVALIDATE, FrameKind.LEASE, FrameKind.REQUEST, FrameKind.REPLY, FrameKind.HEARTBEAT,
)  # fmt: skip


def link(node: str, peer: str, *, secret: str | None = SECRET, rekey_s: float = 120.0) -> Link:
    policy = SessionPolicy(rekey_after_s=rekey_s, overlap_s=rekey_s / 2)
    return Link(tenant_id="acme", node_id=node, peer=peer, secret=secret, policy=policy)


def frame(kind: FrameKind, seq: int, sender: str) -> Frame:
    return Frame(
        kind=kind, tenant_id="acme", sender=sender, seq=seq,
        metadata=BytesColumn.from_items([b"%d" % seq]),
    )  # fmt: skip


def pump(one: Link, other: Link, now: float, *, rounds: int = 4) -> list[bytes]:
    """Let control messages go both ways; gives them."""
    carried = []
    for _ in range(rounds):
        for left, right in ((one, other), (other, one)):
            left.tick(now)
            while (message := left.next_control()) is not None:
                carried.append(message)
                assert right.receive(message, now) is None
    return carried


def together() -> tuple[Link, Link, list[bytes]]:
    """Two that have agreed: the second learns it from the first frame."""
    one, other = link("a", "b"), link("b", "a")
    hellos = pump(one, other, 0.0)
    assert one.is_up
    opened = other.receive(one.seal(frame(FrameKind.HEARTBEAT, 0, "a")), 0.0)
    assert opened is not None
    assert other.is_up
    return one, other, hellos


def test_no_hostile_message_is_accepted_or_raises() -> None:
    one, other, hellos = together()
    chance = random.Random(1)
    genuine = [one.seal(frame(kind, 1, "a")) for kind in KINDS]
    foreign_one, foreign = link("a", "b", secret="x" * 20), link("b", "a", secret="x" * 20)
    pump(foreign_one, foreign, 0.0)
    forged = [foreign_one.seal(frame(kind, 1, "a")) for kind in KINDS]
    offered = 0
    for _ in range(4000):
        source = chance.choice([*genuine, *forged, *hellos, bytes(chance.randrange(300))])
        message = bytearray(source)
        way = chance.randrange(4)
        if way == 0 and message:
            message[chance.randrange(len(message))] ^= 1 << chance.randrange(8)
        elif way == 1:
            del message[chance.randrange(len(message) + 1) :]
        elif way == 2:
            message += chance.randbytes(chance.randrange(1, 40))
        elif source in genuine:
            continue  # unchanged: it would be right
        if bytes(message) in genuine:
            continue
        offered += 1
        for receiver in (other, one):
            assert receiver.receive(bytes(message), offered / 1000) is None
    assert offered > 2000
    assert other.refused > 0
    assert other.generation == 1, "a replayed hello took the place of a session"
    # Nothing has changed: each genuine one is accepted, once.
    for message, kind in zip(genuine, KINDS, strict=True):
        opened = other.receive(message, 5.0)
        assert opened is not None
        assert opened.kind is kind
        assert other.receive(message, 5.0) is None


@pytest.mark.parametrize("who", ["first", "second"])
def test_one_that_forgot_everything_is_greeted_again(who: str) -> None:
    one, other, _ = together()
    if who == "first":
        one = link("a", "b")
    else:
        other = link("b", "a")
        assert other.receive(one.seal(frame(FrameKind.HEARTBEAT, 1, "a")), 1.0) is None
    pump(one, other, 1.0)
    assert one.is_up
    assert other.receive(one.seal(frame(FrameKind.HEARTBEAT, 2, "a")), 1.0) is not None
    assert one.receive(other.seal(frame(FrameKind.HEALTH, 1, "b")), 1.0) is not None


def test_a_frame_of_keys_before_is_not_accepted_any_more() -> None:
    one, other, _ = together()
    late = one.seal(frame(FrameKind.TOKEN_SYNC, 1, "a"))
    one.reset(1.0)
    pump(one, other, 1.0)
    # The offer alone changes nothing: anyone can send a recorded hello.
    early = other.receive(late, 1.0)
    assert early is not None
    assert other.receive(one.seal(frame(FrameKind.HEARTBEAT, 2, "a")), 1.0) is not None
    assert other.generation == 2
    assert other.receive(late, 1.0) is None


def test_names_are_held_to() -> None:
    stranger, other = link("c", "z"), link("z", "a")
    stranger.tick(0.0)
    hello = stranger.next_control()
    assert hello is not None
    other.receive(hello, 0.0)
    assert other.refused == 1
    assert not other.has_control


@settings(max_examples=25)
@given(st.integers(0, 2**32), st.floats(0.0, 0.4))
def test_they_agree_and_renew_whatever_is_lost(seed: int, loss: float) -> None:
    chance = random.Random(seed)
    one, other = link("a", "b", rekey_s=4.0), link("b", "a", rekey_s=4.0)
    seen: set[int] = set()
    last_heard = 0.0
    longest = 0.0
    for step in range(400):
        now = step * 0.05
        for sender, receiver, name in ((one, other, "a"), (other, one, "b")):
            sender.tick(now)
            messages = []
            while (control := sender.next_control()) is not None:
                messages.append(control)
            if sender.is_up:
                number = 2 * step + (name == "b")
                messages.append(sender.seal(frame(FrameKind.HEALTH, number, name)))
            chance.shuffle(messages)
            for message in messages:
                copies = 0 if chance.random() < loss else 1 + (chance.random() < 0.2)
                for _ in range(copies):
                    opened = receiver.receive(message, now)
                    if opened is not None:
                        assert opened.seq not in seen, "given out twice"
                        seen.add(opened.seq)
                        if name == "a":
                            longest = max(longest, now - last_heard)
                            last_heard = now
    assert seen
    assert longest < 4.0
    assert one.is_up


@given(st.lists(st.binary(max_size=5000), max_size=8), st.integers(0, 2**32))
def test_parts_give_the_message_or_nothing(messages: list[bytes], seed: int) -> None:
    chance = random.Random(seed)
    assembler = Assembler()
    for number, message in enumerate(messages):
        parts = list(parts_of(message, number, most_bytes=1032))
        assert all(len(part) <= 1032 for part in parts)
        missing = chance.randrange(len(parts)) if chance.random() < 0.3 else None
        got = [
            whole
            for place, part in enumerate(parts)
            if place != missing and (whole := assembler.receive(part)) is not None
        ]
        assert got == ([] if missing is not None else [message])
