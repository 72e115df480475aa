"""What is kept of a context: within the budget, in order, and what answers the question."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from prism.cluster.compress import CompressedContext, ContextCompressor
from prism.cluster.errors import ClusterConfigurationError

_FILLING = (
    "The museum was opened in 1901 and enlarged twice.",
    "Its garden is known for old roses.",
    "School classes visit it in spring.",
    "A café was added by the east gate.",
    "The roof was mended after the storm of 1987.",
)
_QUESTION = "How much is a ticket for the museum?"
_ANSWER = "Adults pay twelve euros for a ticket."
_COMPRESSORS: dict[tuple[float, int], ContextCompressor] = {}


def _compressor(keep: float = 0.4, min_tokens: int = 0) -> ContextCompressor:
    return _COMPRESSORS.setdefault(
        (keep, min_tokens), ContextCompressor(keep=keep, min_tokens=min_tokens)
    )


def _context(answer: str = _ANSWER) -> list[str]:
    return [" ".join(_FILLING), f"{_FILLING[2]} {answer} {_FILLING[3]}", " ".join(_FILLING[::-1])]


_CHUNKS = st.lists(
    st.one_of(
        st.lists(
            st.sampled_from([*_FILLING, _ANSWER, "# Prices", "- one\n- two", "```\nx\n```"]),
            max_size=6,
        ).map("\n\n".join),
        st.text(max_size=80),
    ),
    max_size=5,
)  # fmt: skip


@given(
    chunks=_CHUNKS,
    question=st.one_of(st.just(_QUESTION), st.text(max_size=30)),
    keep=st.sampled_from([0.05, 0.3, 0.6, 1.0]),
)
def test_what_always_holds(chunks: list[str], question: str, keep: float) -> None:
    context = _compressor(keep).compress(question, chunks)
    said = [chunk for chunk in chunks if chunk.strip()]
    assert bool(context.chunks) is bool(said)
    assert [chunk.index for chunk in context.chunks] == sorted({c.index for c in context.chunks})
    units = 0
    for chunk in context.chunks:
        whole = chunks[chunk.index]
        end = 0
        at = 0
        for span in chunk.spans:
            assert end <= span.start < span.end <= len(whole)
            piece = whole[span.start : span.end]
            at = chunk.text.index(piece, at) + len(piece)
            end = span.end
            units += 1
        assert at == len(chunk.text)
    if context.is_whole:
        assert [chunk.text for chunk in context.chunks] == said
    elif units > 1:
        # One unit, with its headers, may be over the budget alone.
        assert context.tokens_after <= max(keep * context.tokens_before, 40)
    assert context == _compressor(keep).compress(question, chunks)


def test_the_sentence_that_answers_is_kept() -> None:
    context = _compressor(0.25).compress(_QUESTION, _context())
    assert _ANSWER in context.text
    assert context.removed > 0.7
    (place,) = [chunk for chunk in context.chunks if _ANSWER in chunk.text]
    assert place.index == 1


def test_without_the_words_of_the_question() -> None:
    context = _compressor(0.25).compress("What does admission cost?", _context())
    assert _ANSWER in context.text


def test_what_is_said_twice_is_kept_once() -> None:
    chunks = [f"{_ANSWER} {_FILLING[0]}", f"{_ANSWER} {_FILLING[1]}", " ".join(_FILLING)]
    assert _compressor(0.5).compress(_QUESTION, chunks).text.count(_ANSWER) == 1


def test_what_differs_in_a_number_is_kept_twice() -> None:
    sixteen = "Visitors under 16 years pay 4 euros for a ticket to the museum."
    sixty = "Visitors under 60 years pay 9 euros for a ticket to the museum."
    text = (
        _compressor(0.8)
        .compress(_QUESTION, [f"{sixteen} {_FILLING[1]}", f"{sixty} {_FILLING[3]}"])
        .text
    )
    assert sixteen in text
    assert sixty in text


def test_a_header_stays_with_its_text() -> None:
    chunks = [
        "# Garden\n\n" + " ".join(_FILLING[1:3]) + f"\n\n# Prices\n\n{_ANSWER}",
        " ".join(_FILLING),
    ]
    text = _compressor(0.3).compress(_QUESTION, chunks).text
    assert f"# Prices\n\n{_ANSWER}" in text
    assert "# Garden" not in text or _FILLING[1] in text or _FILLING[2] in text


def test_a_table_is_kept_whole() -> None:
    table = "| ticket | euros |\n|---|---|\n| adult | 12 |\n| child | 4 |"
    chunks = [f"{_FILLING[0]}\n\n{table}\n\n{_FILLING[1]}", " ".join(_FILLING)]
    assert table in _compressor(0.5).compress(_QUESTION, chunks).text


def test_a_short_context_is_passed_on() -> None:
    chunks = ["Short.", "", "Also short."]
    context = ContextCompressor().compress(_QUESTION, chunks)
    assert context.is_whole
    assert context.text == "Short.\n\nAlso short."
    assert [chunk.index for chunk in context.chunks] == [0, 2]
    assert context.removed == 0


def test_max_tokens_binds_short_contexts_too() -> None:
    context = ContextCompressor(max_tokens=20).compress(_QUESTION, _context())
    assert not context.is_whole
    assert context.tokens_after <= 20
    assert _ANSWER in context.text


def test_chunk_vectors_count() -> None:
    """Where words and sentences tell nothing, the caller's vectors do."""
    chunks = [_FILLING[1] + " " + _FILLING[2], _FILLING[3] + " " + _FILLING[4]]
    query = np.array([1.0, 0.0])
    first = _compressor(0.4).compress(
        "zzz", chunks, query_vector=query, chunk_vectors=[[1, 0], [0, 1]]
    )
    second = _compressor(0.4).compress(
        "zzz", chunks, query_vector=query, chunk_vectors=[[0, 1], [1, 0]]
    )
    assert [chunk.index for chunk in first.chunks] == [0]
    assert [chunk.index for chunk in second.chunks] == [1]


def test_the_models_tokens_count() -> None:
    context = ContextCompressor(keep=0.4, min_tokens=0, count_tokens=len).compress(
        _QUESTION, _context()
    )
    assert context.tokens_before == sum(map(len, _context()))
    assert context.tokens_after == sum(len(chunk.text) for chunk in context.chunks)


def test_chunks_are_read_once() -> None:
    class Counting:
        model_id = "counting"
        dim = 2
        texts = 0

        def embed(self, texts: Any) -> Any:
            self.texts += len(texts)
            return np.ones((len(texts), 2), np.float32) / np.sqrt(2)

    embedder = Counting()
    compressor = ContextCompressor(min_tokens=0, embedder=embedder)
    compressor.compress(_QUESTION, _context())
    before = embedder.texts
    assert isinstance(compressor.compress("Another question?", _context()), CompressedContext)
    assert embedder.texts == before + 1


@pytest.mark.parametrize(
    ("arguments", "named"),
    [
        ({"keep": 0}, "keep"),
        ({"keep": 1.5}, "keep"),
        ({"max_tokens": 0}, "max_tokens"),
        ({"min_tokens": -1}, "min_tokens"),
        ({"shelf_bytes": -1}, "shelf_bytes"),
    ],
)
def test_settings_out_of_range(arguments: dict[str, Any], named: str) -> None:
    with pytest.raises(ClusterConfigurationError, match=named):
        ContextCompressor(**arguments)


def test_arguments_that_do_not_fit() -> None:
    compressor = _compressor()
    with pytest.raises(ClusterConfigurationError, match="one string"):
        compressor.compress(_QUESTION, "not a list")
    with pytest.raises(ClusterConfigurationError, match="chunk_vectors"):
        compressor.compress(_QUESTION, ["a", "b"], query_vector=[1.0], chunk_vectors=[[1.0]])
