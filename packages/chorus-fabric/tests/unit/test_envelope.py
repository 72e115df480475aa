"""`google.protobuf.BytesValue` has the same single field, so protobuf itself is the judge."""

from __future__ import annotations

import pytest
from google.protobuf.wrappers_pb2 import BytesValue
from hypothesis import given
from hypothesis import strategies as st
from sessions import Pair, frame, same

from chorus_fabric._envelope import envelope_of, frame_in


@given(st.binary(min_size=1, max_size=40), st.integers(1, 700))
def test_protobuf_reads_and_writes_the_same(part: bytes, times: int) -> None:
    message = part * times
    envelope = envelope_of(message)
    assert envelope == BytesValue(value=message).SerializeToString()
    assert BytesValue.FromString(envelope).value == message
    assert frame_in(envelope) == message


@given(st.binary(max_size=30))
def test_anything_else_is_left_to_protobuf(envelope: bytes) -> None:
    found = frame_in(envelope)
    if found is not None:
        assert BytesValue.FromString(envelope).value == found


@pytest.mark.parametrize(
    "envelope", [b"", b"\x0a", b"\x0a\x05abc", b"\x12\x01a", b"\x0a\x01ab", b"\x0a" + b"\x80" * 9]
)
def test_what_is_cut_off_or_longer_is_no_frame(envelope: bytes) -> None:
    assert frame_in(envelope) is None


def test_a_frame_opens_where_it_lies() -> None:
    """At any address: the numbers in it need not be aligned."""
    pair = Pair.shake_hands(secret=None)
    sent = frame(rows=40)
    for rows in (1, 2, 3):
        pair.driver.opener.open(pair.wrapper.sealer.seal(frame(rows=rows)))
    envelope = envelope_of(pair.wrapper.sealer.seal(sent))
    found = frame_in(b"" + envelope)
    assert found is not None
    opened = pair.driver.opener.open(found)
    assert same(opened, sent)
    assert int(opened.seqs.sum()) == sum(range(40))
