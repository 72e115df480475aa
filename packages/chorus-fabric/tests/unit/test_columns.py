from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from chorus_fabric import BytesColumn, InvalidFrameError, TextColumn

TEXTS = st.lists(st.text(st.characters(exclude_categories=["Cs"])))


@given(TEXTS)
def test_a_text_column_is_the_list_it_was_made_of(texts: list[str]) -> None:
    column = TextColumn.from_strings(texts)
    assert list(column) == texts
    assert [column[place] for place in range(-len(texts), len(texts))] == texts + texts
    assert column == texts
    assert len(column) == len(texts)


@given(st.lists(st.binary()))
def test_a_bytes_column_is_the_list_it_was_made_of(items: list[bytes]) -> None:
    column = BytesColumn.from_items(items)
    assert list(column) == items
    assert column == BytesColumn.from_offsets(b"".join(items), np.cumsum([0, *map(len, items)]))


@given(TEXTS, st.integers(-5, 9), st.integers(-5, 9))
def test_a_slice_is_the_slice_of_the_list(texts: list[str], start: int, stop: int) -> None:
    column = TextColumn.from_strings(texts)
    assert list(column[start:stop]) == texts[start:stop]
    assert list(column[1:][start:stop]) == texts[1:][start:stop]


def test_columns_are_sequences_with_their_errors() -> None:
    column = TextColumn.from_strings(("a", "bc"))
    with pytest.raises(IndexError):
        column[2]
    with pytest.raises(ValueError, match="step 1"):
        column[::2]
    with pytest.raises(TypeError):
        hash(column)
    assert "bc" in column
    assert column != ["a", "x"]
    assert column != 3
    assert repr(column) == "<TextColumn of 2, 3 bytes>"


@pytest.mark.parametrize(
    ("blob", "offsets"),
    [
        (b"abc", [0, 2]),
        (b"abc", [0, 4]),
        (b"abc", [0, 2, 1, 3]),
        (b"abc", [1, 3]),
        (b"abc", []),
        (b"abc", [0.0, 3.0]),
        (b"abc", [0, -1, 3]),
        (b"", [0, 2**32]),
        (b"abc", [0]),
        ("é".encode(), [0, 1, 2]),
        (b"\xff", [0, 1]),
    ],
)
def test_offsets_that_do_not_fit_are_refused(blob: bytes, offsets: list[int]) -> None:
    with pytest.raises(InvalidFrameError):
        TextColumn.from_offsets(blob, offsets)


@pytest.mark.parametrize("texts", [["\ud800"], ["ok", "\udfff"], [b"bytes"], [None], [3]])
def test_what_is_no_text_is_refused(texts: list[str]) -> None:
    with pytest.raises(InvalidFrameError):
        TextColumn.from_strings(texts)


def test_what_is_no_bytes_is_refused() -> None:
    with pytest.raises(InvalidFrameError):
        BytesColumn.from_items(["text"])  # type: ignore[list-item]


def test_a_column_of_a_blob_copies_nothing() -> None:
    blob = bytearray(b"onetwo")
    column = BytesColumn.from_offsets(blob, [0, 3, 6])
    assert column.blob is blob
    assert list(column[1:]) == [b"two"]
