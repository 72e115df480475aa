from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from prismresonance.embed._answer import UnusableAnswerError, unit_rows
from prismresonance.embed._batches import batches


@given(
    vectors=hnp.arrays(
        np.float64,
        hnp.array_shapes(min_dims=2, max_dims=2, max_side=6),
        elements=st.floats(-1e308, 1e308, allow_subnormal=False),
    ),
    data=st.data(),
)
def test_rows_have_length_one_and_the_order_of_the_texts(
    vectors: np.ndarray, data: st.DataObject
) -> None:
    count, width = vectors.shape
    order = data.draw(st.permutations(range(count)))
    rows = unit_rows([vectors[i].tolist() for i in order], order, count=count, dim=width)
    assert rows.dtype == np.float32
    for row, vector in zip(rows, vectors, strict=True):
        if vector.any():
            assert np.linalg.norm(row) == pytest.approx(1, abs=1e-5)
            assert np.sign(row[np.argmax(np.abs(vector))]) == np.sign(
                vector[np.argmax(np.abs(vector))]
            )
        else:
            assert not row.any()


@pytest.mark.parametrize(
    ("vectors", "indices", "says"),
    [
        ([[1.0]], [0], "1 vectors for 2 texts"),
        ([[1.0], [1.0], [1.0]], [0, 1, 2], "3 vectors"),
        ([[1.0], [1.0]], [0, 2], "numbered"),
        ([[1.0], [1.0]], [0, 0], "numbered"),
        ([[1.0], [1.0]], [False, True], "numbered"),
        ([[1.0], [1.0]], [0, None], "numbered"),
        ([[1.0], [1.0, 2.0]], [0, 1], "different widths"),
        ([[1.0], [2.0]], [0, 1], "width 1 in place of 2"),
        ([[], []], [0, 1], "lists of numbers"),
        ([1.0, 2.0], [0, 1], "lists of numbers"),
        ([["1", "2"], ["3", "4"]], [0, 1], "lists of numbers"),
        ([[True, False], [True, True]], [0, 1], "lists of numbers"),
        ([[None, 1.0], [1.0, 1.0]], [0, 1], "lists of numbers"),
        ([[{}, {}], [{}, {}]], [0, 1], "lists of numbers"),
        ([[10**400, 1], [1, 1]], [0, 1], "lists of numbers"),
        ([[float("inf"), 1.0], [1.0, 1.0]], [0, 1], "NaN or infinity"),
        ([[1.0, float("nan")], [1.0, 1.0]], [0, 1], "NaN or infinity"),
    ],
)
def test_unusable_answers_are_named(vectors: Any, indices: Any, says: str) -> None:
    with pytest.raises(UnusableAnswerError, match=says):
        unit_rows(vectors, indices, count=2, dim=2)


@given(
    texts=st.lists(st.text(st.characters(codec="utf-8"), max_size=8)),
    max_texts=st.integers(1, 5),
    max_bytes=st.integers(1, 20),
)
def test_batches_keep_order_and_limits(texts: list[str], max_texts: int, max_bytes: int) -> None:
    runs = list(batches(texts, max_texts=max_texts, max_bytes=max_bytes))
    assert [text for run in runs for text in run] == texts
    for run in runs:
        assert 1 <= len(run) <= max_texts
        assert len(run) == 1 or sum(len(text.encode()) for text in run) <= max_bytes
