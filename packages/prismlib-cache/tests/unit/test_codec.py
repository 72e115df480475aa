from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prism.cache._codec import EncodedAnswer, decode, decode_chunks, encode, encode_chunks

JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False) | st.text(),
    lambda inner: st.lists(inner) | st.dictionaries(st.text(), inner),
    max_leaves=20,
)
TEXT = st.text(st.characters(codec=None, exclude_categories=()))


@given(JSON.filter(lambda value: value is not None) | st.binary() | TEXT)
def test_what_is_stored_comes_back_equal_and_of_the_same_type(answer: object) -> None:
    encoded = encode(answer)
    assert encoded is not None
    again = decode(encoded)
    assert again == answer
    assert type(again) is type(answer)


@given(st.lists(JSON))
def test_a_stream_comes_back_chunk_by_chunk(chunks: list[object]) -> None:
    encoded = encode_chunks(chunks)
    assert encoded is not None
    assert decode_chunks(encoded) == chunks


def test_the_whole_of_a_stream_is_its_text_or_the_list_of_its_objects() -> None:
    text, objects = encode_chunks(["Hel", "lo"]), encode_chunks([{"delta": "Hel"}])
    assert text is not None
    assert objects is not None
    assert decode(text) == "Hello"
    assert decode(objects) == [{"delta": "Hel"}]


def test_an_unknown_encoding_is_told() -> None:
    with pytest.raises(ValueError, match="unknown encoding"):
        decode(EncodedAnswer(b"x", "zstd"))


@pytest.mark.parametrize(
    "answer",
    [None, object(), (1, 2), {1: "a"}, {"a": {2, 3}}, ["a", (1,)], type("S", (str,), {})("x")],
)
def test_what_would_come_back_different_is_refused(answer: object) -> None:
    assert encode(answer) is None


def test_every_reader_gets_a_copy_of_its_own() -> None:
    encoded = encode({"items": [1]})
    assert encoded is not None
    first = decode(encoded)
    assert isinstance(first, dict)
    first["items"].append(2)
    assert decode(encoded) == {"items": [1]}
