"""The invariant of a session: nothing forged, replayed, out of order or from elsewhere comes in."""

from __future__ import annotations

import itertools
import json

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sessions import SECRET, Pair, frame, same

from chorus_fabric import (
    BytesColumn,
    FabricConfigurationError,
    ForgedFrameError,
    Frame,
    FrameError,
    FrameKind,
    FrameOrderError,
    FrameTooLargeError,
    HandshakeError,
    Initiator,
    InvalidFrameError,
    KeyEpochError,
    MisroutedFrameError,
    ReplayedFrameError,
    Responder,
    Session,
    SessionExpiredError,
    SessionPolicy,
    TextColumn,
    session_named_by,
)
from chorus_fabric._hello import Terms

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
BOTH = pytest.mark.parametrize("secret", [SECRET, None], ids=["sealed", "marked"])


@st.composite
def frames(draw: st.DrawFn) -> Frame:
    rows = draw(st.integers(0, 6))
    some = st.booleans()

    def column(items: st.SearchStrategy[object]) -> list[object]:
        return draw(st.lists(items, min_size=rows, max_size=rows)) if draw(some) else []

    dims = draw(st.sampled_from([0, 1, 5, 64, 100]))
    seed = draw(st.integers(0, 2**32 - 1))
    vectors = np.random.default_rng(seed).standard_normal((rows, dims)).astype(np.float32)
    seqs = column(st.integers(0, 2**64 - 1))
    return Frame(
        kind=draw(st.sampled_from(list(FrameKind))),
        tenant_id="acme",
        sender="db-1",
        stream=draw(st.integers(0, 2**32 - 1)),
        epoch=draw(st.integers(0, 2**64 - 1)),
        seq=draw(st.integers(0, 2**64 - 1)),
        flags=draw(st.integers(0, 255)),
        vectors=vectors,
        ids=TextColumn.from_strings(column(TEXT)),
        texts=TextColumn.from_strings(column(TEXT)),
        metadata=BytesColumn.from_items(column(st.binary(max_size=20))),
        seqs=np.array(seqs, np.uint64),
    )


@given(st.lists(frames(), min_size=1, max_size=3), st.booleans())
def test_what_is_sent_arrives(sent: list[Frame], is_sealed: bool) -> None:
    pair = Pair.shake_hands(secret=SECRET if is_sealed else None)
    for one in sent:
        opened = pair.driver.opener.open(pair.wrapper.sealer.seal(one))
        assert same(opened, one)
        assert (opened.vectors.shape == one.vectors.shape) or not one.rows


@BOTH
def test_frames_that_were_opened_stay_as_they_are(secret: str | None) -> None:
    """The opener uses memory again; what it has given away is not part of that."""
    pair = Pair.shake_hands(secret=secret)
    sent = [frame(rows=rows, dims=dims, seq=rows) for rows, dims in ((9, 64), (3, 0), (30, 8))]
    opened = [pair.driver.opener.open(pair.wrapper.sealer.seal(one)) for one in sent]
    with pytest.raises(FrameError):
        pair.driver.opener.open(bytes(5000))
    assert all(map(same, opened, sent))


@BOTH
def test_a_session_has_four_lanes_and_they_do_not_mix(secret: str | None) -> None:
    pair = Pair.shake_hands(secret=secret)
    from_driver = {"sender": "app-1"}
    sent = {
        "feed": pair.wrapper.sealer.seal(frame()),
        "upstream": pair.driver.sealer.seal(frame(**from_driver)),
        "reply": pair.wrapper.unordered_sealer.seal(frame()),
        "call": pair.driver.unordered_sealer.seal(frame(**from_driver)),
    }
    openers = {
        "feed": pair.driver.opener,
        "upstream": pair.wrapper.opener,
        "reply": pair.driver.unordered_opener,
        "call": pair.wrapper.unordered_opener,
    }
    for one, other in itertools.permutations(sent, 2):
        with pytest.raises((MisroutedFrameError, ForgedFrameError)):
            openers[other].open(sent[one])
    for name, message in sent.items():
        assert openers[name].open(message).rows == 3


@BOTH
def test_an_ordered_lane_takes_each_frame_once_and_in_turn(secret: str | None) -> None:
    pair = Pair.shake_hands(secret=secret)
    first, second, third = (pair.wrapper.sealer.seal(frame(seq=seq)) for seq in (1, 2, 3))
    opener = pair.driver.opener
    with pytest.raises(FrameOrderError):
        opener.open(second)
    opener.open(first)
    with pytest.raises(ReplayedFrameError):
        opener.open(first)
    with pytest.raises(FrameOrderError):
        opener.open(third)
    assert opener.open(second).seq == 2
    assert opener.open(third).seq == 3


@BOTH
def test_an_unordered_lane_takes_each_frame_once_within_its_window(secret: str | None) -> None:
    pair = Pair.shake_hands(secret=secret)
    sealer, opener = pair.wrapper.unordered_sealer, pair.driver.unordered_opener
    messages = [sealer.seal(frame(rows=1, dims=0, seq=seq)) for seq in range(1100)]
    for place in (7, 3, 1099, 500):
        assert opener.open(messages[place]).seq == place
        with pytest.raises(ReplayedFrameError):
            opener.open(messages[place])
    with pytest.raises(ReplayedFrameError, match="behind"):
        opener.open(messages[75])
    assert opener.open(messages[76]).seq == 76


def test_frames_are_encrypted_with_a_secret_and_readable_without() -> None:
    text = "Gerät 1 für".encode()
    assert text not in Pair.shake_hands().wrapper.sealer.seal(frame())
    assert text in Pair.shake_hands(secret=None).wrapper.sealer.seal(frame())
    unsealed = Pair.shake_hands(driver_seal=False, wrapper_seal=False)
    assert not unsealed.wrapper.is_sealed
    assert text in unsealed.wrapper.sealer.seal(frame())


@pytest.mark.parametrize(("driver", "wrapper"), [(True, False), (False, True), (None, False)])
def test_frames_are_sealed_if_either_side_asks(driver: bool | None, wrapper: bool) -> None:
    pair = Pair.shake_hands(driver_seal=driver, wrapper_seal=wrapper)
    assert pair.driver.is_sealed
    assert pair.wrapper.is_sealed
    assert pair.driver.opener.open(pair.wrapper.sealer.seal(frame())).rows == 3


def test_two_sessions_of_one_secret_share_no_key() -> None:
    one, other = Pair.shake_hands(seed=b"1"), Pair.shake_hands(seed=b"2")
    assert one.driver.id != other.driver.id
    with pytest.raises(ForgedFrameError):
        other.driver.opener.open(one.wrapper.sealer.seal(frame()))


@BOTH
def test_another_tenant_is_refused_by_its_name_and_by_its_keys(secret: str | None) -> None:
    acme = Pair.shake_hands(secret=secret)
    globex = Pair.shake_hands(secret=secret, tenant_id="globex")
    message = globex.wrapper.sealer.seal(frame(tenant_id="globex"))
    with pytest.raises(MisroutedFrameError, match="tenant"):
        acme.driver.opener.open(message)
    renamed = message[:8] + acme.wrapper.sealer.seal(frame())[8:24] + message[24:]
    with pytest.raises(ForgedFrameError):
        acme.driver.opener.open(renamed)


# Renewing keys


@BOTH
def test_a_renewal_goes_on_without_a_gap(secret: str | None) -> None:
    pair = Pair.shake_hands(secret=secret)
    opener, sealer = pair.driver.opener, pair.wrapper.sealer
    before = sealer.seal(frame(seq=1))
    renewal = pair.driver.renew()
    assert session_named_by(renewal.hello()) == pair.wrapper.id
    reply = pair.wrapper.answer(renewal.hello(), now=120.0)
    after = sealer.seal(frame(seq=2))
    assert opener.open(before).seq == 1
    with pytest.raises(KeyEpochError) as caught:
        opener.open(after)
    assert caught.value.is_newer
    renewal.finish(reply, now=120.1)
    assert opener.open(after).seq == 2
    assert (pair.driver.key_epoch, pair.wrapper.key_epoch) == (1, 1)
    assert pair.driver.id == pair.wrapper.id


@BOTH
def test_frames_before_a_change_of_keys_cannot_be_left_out(secret: str | None) -> None:
    pair = Pair.shake_hands(secret=secret)
    opener, sealer = pair.driver.opener, pair.wrapper.sealer
    opener.open(sealer.seal(frame(seq=1)))
    dropped = sealer.seal(frame(seq=2))
    pair.renew(120.0)
    after = sealer.seal(frame(seq=3))
    with pytest.raises(ForgedFrameError, match="missing"):
        opener.open(after)
    opener.open(dropped)
    opener.open(after)


@BOTH
def test_old_keys_live_for_another_minute(secret: str | None) -> None:
    pair = Pair.shake_hands(secret=secret)
    ordered = pair.wrapper.sealer.seal(frame())
    calls = [pair.wrapper.unordered_sealer.seal(frame()) for _ in range(2)]
    pair.renew(100.0)
    pair.driver.retire(159.9)
    pair.driver.unordered_opener.open(calls[0])
    pair.driver.retire(160.0)
    for opener, message in (
        (pair.driver.opener, ordered),
        (pair.driver.unordered_opener, calls[1]),
    ):
        with pytest.raises(KeyEpochError, match="gone") as caught:
            opener.open(message)
        assert not caught.value.is_newer


def test_on_an_ordered_lane_old_keys_die_with_the_first_frame_of_the_new() -> None:
    pair = Pair.shake_hands()
    old = pair.wrapper.sealer.seal(frame())
    pair.driver.opener.open(old)
    pair.renew(100.0)
    pair.driver.opener.open(pair.wrapper.sealer.seal(frame()))
    with pytest.raises(KeyEpochError):
        pair.driver.opener.open(old)


def test_keys_are_due_after_time_frames_or_bytes() -> None:
    pair = Pair.shake_hands(policy=SessionPolicy(rekey_frames=3, rekey_bytes=10_000))
    assert not pair.driver.needs_rekey(119.9)
    assert pair.driver.needs_rekey(120.0)
    for _ in range(3):
        assert not pair.driver.needs_rekey(1.0)
        pair.driver.opener.open(pair.wrapper.sealer.seal(frame(rows=1)))
    assert pair.driver.needs_rekey(1.0)
    pair.renew(1.0)
    assert not pair.driver.needs_rekey(1.0)
    pair.driver.opener.open(pair.wrapper.sealer.seal(frame(rows=60)))
    assert pair.driver.needs_rekey(1.0)


def test_a_session_that_is_not_renewed_ends() -> None:
    pair = Pair.shake_hands()
    message = pair.wrapper.sealer.seal(frame())
    pair.driver.retire(179.9)
    pair.wrapper.retire(179.9)
    pair.driver.opener.open(message)
    for session in (pair.driver, pair.wrapper):
        session.retire(180.0)
    with pytest.raises(SessionExpiredError, match="180 s old"):
        pair.wrapper.sealer.seal(frame())
    with pytest.raises(SessionExpiredError):
        pair.driver.opener.open(message)
    with pytest.raises(SessionExpiredError):
        pair.driver.renew()
    with pytest.raises(SessionExpiredError):
        pair.wrapper.answer(b"", now=180.0)


def test_a_closed_session_refuses_all_work() -> None:
    pair = Pair.shake_hands()
    pair.driver.close()
    with pytest.raises(SessionExpiredError, match="closed"):
        pair.driver.unordered_sealer.seal(frame(sender="app-1"))


def test_a_lost_answer_can_be_asked_for_again() -> None:
    pair = Pair.shake_hands()
    renewal = pair.driver.renew()
    first = pair.wrapper.answer(renewal.hello(), now=1.0)
    assert pair.wrapper.answer(renewal.hello(), now=2.0) == first
    assert pair.wrapper.key_epoch == 1
    renewal.finish(first, now=2.0)
    assert pair.driver.opener.open(pair.wrapper.sealer.seal(frame())).rows == 3


@BOTH
def test_a_recorded_renewal_is_refused_once_another_was_made(secret: str | None) -> None:
    pair = Pair.shake_hands(secret=secret)
    renewal = pair.driver.renew()
    recorded = renewal.hello()
    renewal.finish(pair.wrapper.answer(recorded, now=1.0), now=1.0)
    pair.renew(2.0)
    with pytest.raises(HandshakeError):
        pair.wrapper.answer(recorded, now=3.0)
    assert pair.wrapper.key_epoch == 2


@BOTH
def test_only_the_ends_of_a_session_can_renew_it(secret: str | None) -> None:
    pair, other = Pair.shake_hands(secret=secret), Pair.shake_hands(secret=secret, seed=b"2")
    hello = bytearray(other.driver.renew().hello())
    with pytest.raises(HandshakeError, match="does not renew this"):
        pair.wrapper.answer(bytes(hello), now=1.0)
    hello[24:40] = pair.wrapper.id
    with pytest.raises(HandshakeError):
        pair.wrapper.answer(bytes(hello), now=1.0)
    with pytest.raises(HandshakeError):
        pair.driver.answer(pair.driver.renew().hello(), now=1.0)
    with pytest.raises(FabricConfigurationError):
        pair.wrapper.renew()
    assert pair.wrapper.key_epoch == 0


@given(st.lists(st.sampled_from(["send", "deliver", "ask", "answer", "finish"]), max_size=60))
def test_renewals_at_any_moment_lose_nothing(steps: list[str]) -> None:
    """Messages, renewals and their answers cross each other; the stream arrives whole."""
    pair = Pair.shake_hands()
    sent, wire, opened, early = 0, [], [], []
    renewal = reply = None
    for step in [*steps, "answer", "finish", *["deliver"] * 60]:
        if step == "send":
            wire.append(pair.wrapper.sealer.seal(frame(rows=1, dims=0, seq=sent)))
            sent += 1
        elif step == "ask" and renewal is None:
            renewal = pair.driver.renew()
        elif step == "answer" and renewal is not None:
            reply = pair.wrapper.answer(renewal.hello(), now=1.0)
        elif step == "finish" and reply is not None:
            renewal.finish(reply, now=1.0)
            renewal = reply = None
        elif step == "deliver" and wire:
            try:
                opened.append(pair.driver.opener.open(wire[0]).seq)
                wire.pop(0)
            except KeyEpochError as error:
                early.append(error.is_newer and renewal is not None)
    assert all(early)
    assert opened == list(range(sent))


# Handshakes that do not hold


def hello(**changes: object) -> bytes:
    settings: dict[str, object] = {"tenant_id": "acme", "sender": "app-1", "secret": SECRET}
    return Initiator(**(settings | changes)).hello()  # type: ignore[arg-type]


@pytest.mark.parametrize(
    "message",
    [
        b"",
        b"CHHI",
        bytes(200),
        hello()[:-1],
        hello()[:60],
        hello() + b"x",
        hello(tenant_id="globex"),
        hello(secret="another one, as long as that"),  # noqa: S106
        hello(secret=None),
        b"X" + hello()[1:],
        hello()[:4] + b"\x02" + hello()[5:],
        hello()[:5] + b"\x03" + hello()[6:],
        hello() + bytes(5000),
    ],
    ids=map(str, range(13)),
)
def test_a_hello_that_does_not_hold_is_refused(message: bytes) -> None:
    responder = Responder(tenant_id="acme", sender="db-1", secret=SECRET)
    with pytest.raises(HandshakeError):
        responder.answer(message, now=0.0)


@given(st.integers(0, 2000), st.booleans())
def test_a_changed_handshake_is_refused(bit: int, is_reply: bool) -> None:
    initiator = Initiator(tenant_id="acme", sender="app-1", secret=SECRET)
    responder = Responder(tenant_id="acme", sender="db-1", secret=SECRET)

    def flip(message: bytes) -> bytes:
        changed = bytearray(message)
        changed[bit // 8 % len(message)] ^= 1 << bit % 8
        return bytes(changed)

    if is_reply:
        reply, _ = responder.answer(initiator.hello(), now=0.0)
        with pytest.raises(HandshakeError):
            initiator.finish(flip(reply), now=0.0)
    else:
        with pytest.raises(HandshakeError):
            responder.answer(flip(initiator.hello()), now=0.0)


def test_without_a_secret_a_stranger_in_between_can_change_names_and_nothing_stays_hidden() -> None:
    """What the threat model says of sessions without a secret and without TLS."""
    responder = Responder(tenant_id="acme", sender="db-1")
    reply, session = responder.answer(hello(secret=None, sender="anyone"), now=0.0)
    assert session.peer == "anyone"
    assert b"db-1" not in reply  # after the exchange even names are encrypted


@pytest.mark.parametrize(
    "settings",
    [
        {"secret": "short"},
        {"secret": b""},
        {"tenant_id": ""},
        {"tenant_id": "x" * 257},
        {"sender": "\ud800"},
        {"sender": None},
        {"secret": None, "seal": True},
    ],
)
def test_settings_that_cannot_be_are_refused(settings: dict[str, object]) -> None:
    for side in (Initiator, Responder):
        with pytest.raises(FabricConfigurationError) as caught:
            side(**({"tenant_id": "acme", "sender": "x", "secret": SECRET} | settings))  # type: ignore[arg-type]
        assert "short" not in str(caught.value).split()


@pytest.mark.parametrize(
    "settings", [{"rekey_after_s": 0}, {"rekey_frames": 2**33}, {"max_frame_bytes": -1}]
)
def test_policies_that_cannot_be_are_refused(settings: dict[str, float]) -> None:
    with pytest.raises(FabricConfigurationError, match=next(iter(settings))):
        SessionPolicy(**settings)  # type: ignore[arg-type]


# Frames that cannot be sent


@pytest.mark.parametrize(
    "changes",
    [
        {"vectors": np.full((3, 4), np.nan, np.float32)},
        {"vectors": np.full((3, 4), np.inf, np.float32)},
        {"vectors": np.zeros((2, 4), np.float32)},
        {"vectors": np.zeros((3, 4))},
        {"vectors": np.zeros(3, np.float32)},
        {"vectors": np.zeros((3, 9000), np.float32)},
        {"seqs": np.zeros(3, np.int64)},
        {"seqs": np.zeros(4, np.uint64)},
        {"ids": TextColumn.from_strings(["one"])},
        {"stream": 2**32},
        {"epoch": -1},
        {"seq": 2**64},
        {"flags": 256},
        {"tenant_id": "globex"},
        {"sender": "app-1"},
    ],
)
def test_a_frame_that_cannot_be_sent_is_refused_and_moves_nothing(
    changes: dict[str, object],
) -> None:
    pair = Pair.shake_hands()
    with pytest.raises(InvalidFrameError):
        pair.wrapper.sealer.seal(frame(**changes))
    assert pair.driver.opener.open(pair.wrapper.sealer.seal(frame())).rows == 3


def test_a_frame_over_the_limit_is_refused_on_both_sides() -> None:
    small, large = SessionPolicy(max_frame_bytes=1000), SessionPolicy()
    with pytest.raises(InvalidFrameError, match="in several"):
        Pair.shake_hands(policy=small).wrapper.sealer.seal(frame(rows=9))
    sender, receiver = Pair.shake_hands(policy=large), Pair.shake_hands(policy=small)
    with pytest.raises(FrameTooLargeError):
        receiver.driver.opener.open(sender.wrapper.sealer.seal(frame(rows=9)))


def test_nothing_secret_is_shown() -> None:
    pair = Pair.shake_hands()
    shown = repr(pair.driver)
    assert isinstance(pair.driver, Session)
    assert shown == "<Session of tenant 'acme', 'app-1' with 'db-1', sealed, key epoch 0>"
    assert repr(frame()) == "<Frame ROWS of 3 rows, 64 dims, stream 2, epoch 5, seq 7>"


@given(st.binary(max_size=200), st.sampled_from([0, 1, 2, 3, 9]), st.booleans())
def test_any_bytes_are_a_refused_hello(rest: bytes, mode: int, has_head: bool) -> None:
    message = hello()[:5] + bytes([mode]) + hello()[6:40] + rest if has_head else rest
    responder = Responder(tenant_id="acme", sender="db-1", secret=SECRET)
    with pytest.raises(HandshakeError):
        responder.answer(message, now=0.0)
    with pytest.raises(HandshakeError):
        Initiator(tenant_id="acme", sender="x", secret=SECRET).finish(message, now=0.0)


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.text(), lambda item: st.lists(item), max_leaves=3
)


@given(st.dictionaries(st.sampled_from(["tenant", "sender", "sealed", "epoch"]), JSON))
def test_terms_of_one_who_holds_the_secret_are_checked_too(content: dict[str, object]) -> None:
    payload = json.dumps(content).encode()
    try:
        terms = Terms.unpack(payload)
    except HandshakeError:
        return
    assert terms == Terms(
        tenant_id=str(content["tenant"]),
        sender=str(content["sender"]),
        is_sealed=content["sealed"] is True,
        key_epoch=int(str(content["epoch"])),
    )


@pytest.mark.parametrize(
    "payload", [b"", b"[]", b"{", b"\xff", b"[" * 3000, b'{"tenant":"\\ud800","sender":"x"}']
)
def test_terms_that_cannot_be_read_are_refused(payload: bytes) -> None:
    with pytest.raises(HandshakeError):
        Terms.unpack(payload)


def test_a_name_with_a_lone_surrogate_is_refused() -> None:
    payload = b'{"tenant":"a","sender":"\\ud800","sealed":true,"epoch":0}'
    with pytest.raises(HandshakeError):
        Terms.unpack(payload)
