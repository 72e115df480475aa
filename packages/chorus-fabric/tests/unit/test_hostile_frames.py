"""Thousands of hostile messages, and what a message can make the reader do before it is refused."""

from __future__ import annotations

import struct
import tracemalloc

import pytest
from sessions import SECRET, Pair, frame

from chorus_fabric import FrameError, FrameTooLargeError, MalformedFrameError
from fuzz_frames import WAYS, digest, play

FRAMES, SEED = 20_000, 1


def test_no_hostile_message_is_accepted() -> None:
    """`hatch run fuzz-frames --frames 1000000` does the same for longer."""
    for tally in play(frames=FRAMES, seed=SEED):
        assert tally.is_clean, (tally.accepted + tally.crashed + tally.disturbed)[0]
    assert sum(tally.offered.values()) >= FRAMES
    assert tally.genuine > FRAMES / 20
    assert set(tally.offered) == {way.__name__ for way in WAYS} | {"reordered"}
    # Each reason for a refusal was met: none of the checks stands behind another for ever.
    assert set(tally.refused) == {
        "ForgedFrameError", "FrameOrderError", "FrameTooLargeError", "FrameVersionError",
        "KeyEpochError", "MalformedFrameError", "MisroutedFrameError", "ReplayedFrameError",
    }  # fmt: skip


def test_a_seed_offers_the_same_again() -> None:
    *_, one = play(frames=500, seed=7)
    *_, two = play(frames=500, seed=7)
    *_, other = play(frames=500, seed=8)
    assert digest(one) == digest(two) != digest(other)


@pytest.mark.parametrize("secret", [SECRET, None])
def test_declared_counts_take_no_memory(secret: str | None) -> None:
    pair = Pair.shake_hands(secret=secret)
    message = bytearray(pair.wrapper.sealer.seal(frame()))
    hostile = []
    for offset, code, number in (
        (72, "<I", 0xFFFF_FFFF), (76, "<H", 8192), (80, "<I", 0xFFFF_FFFF), (72, "<I", 100_000),
    ):  # fmt: skip
        changed = message.copy()
        struct.pack_into(code, changed, offset, number)
        hostile.append(bytes(changed))
    tracemalloc.start()
    for one in hostile:
        with pytest.raises(FrameError):
            pair.driver.opener.open(one)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert peak < 64 << 10


def test_a_message_over_the_limit_is_not_even_looked_at() -> None:
    pair = Pair.shake_hands()
    with pytest.raises(FrameTooLargeError, match="17825792"):
        pair.driver.opener.open(bytes(17 << 20))


@pytest.mark.parametrize("kind", [bytes, bytearray, memoryview])
def test_any_buffer_will_do(kind: type) -> None:
    pair = Pair.shake_hands()
    assert pair.driver.opener.open(kind(pair.wrapper.sealer.seal(frame()))).rows == 3
    with pytest.raises(MalformedFrameError):
        pair.driver.opener.open(kind(b""))
