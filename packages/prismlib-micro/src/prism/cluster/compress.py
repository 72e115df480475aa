r"""Keep of a context what bears on the question: fewer tokens, the same answer.

    compressor = ContextCompressor(keep=0.4)
    context = compressor.compress(question, retrieved_chunks)
    answer = llm.complete(f"{context.text}\n\n{question}")

Sentences are chosen, not chunks: the sentence that answers is often in a chunk that as a whole is
about something else. How they are scored: `docs/explanation/context.md`. What it costs: reading a
chunk for the first time about 0.3 ms a sentence; chunks that come again are remembered.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from itertools import pairwise
from typing import TYPE_CHECKING

import numpy as np
import numpy.typing as npt

from prism.cluster._context.reading import Shelf, read_chunks
from prism.cluster._context.scoring import Weights, unit_scores
from prism.cluster._context.selection import select_units
from prism.cluster._context.terms import question_terms, token_count
from prism.cluster.errors import ClusterConfigurationError

if TYPE_CHECKING:
    from collections.abc import Callable, Sequence

    from prism.cluster._context.units import Unit
    from prismresonance.embed import Embedder

__all__ = ["CompressedChunk", "CompressedContext", "ContextCompressor", "Span"]

_SHELF_BYTES = 64 << 20


@dataclass(frozen=True, slots=True)
class Span:
    """A stretch of a chunk: `chunk[start:end]`."""

    start: int
    end: int


@dataclass(frozen=True, slots=True, kw_only=True)
class CompressedChunk:
    """What is kept of a chunk.

    Attributes:
        index: Its place among the chunks that were given.
        text: What is kept, in the chunk's order.
        spans: Where that stood, for citations: each is one piece of `text`.
    """

    index: int
    text: str
    spans: tuple[Span, ...]


@dataclass(frozen=True, slots=True, kw_only=True)
class CompressedContext:
    """What is kept of a context.

    Attributes:
        chunks: The chunks of which something is kept, in the order they were given.
        tokens_before: Tokens of all chunks.
        tokens_after: Tokens of what is kept.
        is_whole: Whether everything was kept as it was, since it is short or fits.
    """

    chunks: tuple[CompressedChunk, ...]
    tokens_before: int
    tokens_after: int
    is_whole: bool

    @property
    def text(self) -> str:
        """The kept chunks, a blank line between them."""
        return "\n\n".join(chunk.text for chunk in self.chunks)

    @property
    def tokens_saved(self) -> int:
        """Tokens that need not be sent."""
        return self.tokens_before - self.tokens_after

    @property
    def removed(self) -> float:
        """Share of the tokens that was removed, 0 to 1."""
        return self.tokens_saved / self.tokens_before if self.tokens_before else 0.0


class ContextCompressor:
    """Chooses the sentences of retrieved chunks that bear on a question.

    Headers stay with what stands below them; lists, tables, code and JSON are kept or dropped
    whole; order is kept; what is said twice is kept once. Deterministic: the same question and
    chunks give the same context. Safe to use from several threads at once.

    Args:
        keep: The share of tokens to keep, above 0 and at most 1. Lower saves more and loses more.
        max_tokens: The most tokens to keep, besides `keep`; `None` for no such bound.
        min_tokens: Contexts of fewer tokens are passed on as they are: there is little to save.
        embedder: Turns sentences into vectors. The default is wordllama's static vectors (the extra
            `static`), 0.05 ms a sentence; an embedder that reads sentences as a whole finds more
            and costs more.
        count_tokens: Counts the tokens of a text as the model does. The default counts words and
            marks.
        shelf_bytes: The most memory for chunks that were read before.

    Raises:
        ClusterConfigurationError: An argument is out of range.
    """

    def __init__(
        self,
        *,
        keep: float = 0.4,
        max_tokens: int | None = None,
        min_tokens: int = 400,
        embedder: Embedder | None = None,
        count_tokens: Callable[[str], int] = token_count,
        shelf_bytes: int = _SHELF_BYTES,
    ) -> None:
        if not 0 < keep <= 1:
            raise ClusterConfigurationError(f"keep must be above 0 and at most 1, not {keep!r}")
        if max_tokens is not None and max_tokens < 1:
            raise ClusterConfigurationError(f"max_tokens must be 1 or more, not {max_tokens!r}")
        if min_tokens < 0:
            raise ClusterConfigurationError(f"min_tokens must not be negative, not {min_tokens!r}")
        if shelf_bytes < 0:
            raise ClusterConfigurationError(
                f"shelf_bytes must not be negative, not {shelf_bytes!r}"
            )
        self._keep = keep
        self._max_tokens = max_tokens
        self._min_tokens = min_tokens
        self._count_tokens = count_tokens
        self._embedder = _default_embedder() if embedder is None else embedder
        self._shelf = Shelf(shelf_bytes)
        self._weights = Weights()

    def compress(
        self,
        question: str,
        chunks: Sequence[str],
        *,
        query_vector: npt.ArrayLike | None = None,
        chunk_vectors: npt.ArrayLike | None = None,
    ) -> CompressedContext:
        """Choose what to keep of `chunks`.

        Args:
            question: What is asked.
            chunks: What was retrieved, in the order in which the model should see it.
            query_vector: The question's vector from the caller's own embedder, shape `(dim,)`.
            chunk_vectors: Those of the chunks, shape `(chunks, dim)`. With both, a chunk's cosine
                counts among what speaks for its sentences; with one alone, neither is used.

        Raises:
            ClusterConfigurationError: The vectors' shapes do not fit, or `chunks` is one string.
        """
        if isinstance(chunks, str):
            raise ClusterConfigurationError(
                "chunks is one string, and would be read as a chunk per character: give a list"
            )
        cosines = _chunk_cosines(query_vector, chunk_vectors, len(chunks))
        texts = [chunk for chunk in chunks if chunk and not chunk.isspace()]
        places = [at for at, chunk in enumerate(chunks) if chunk and not chunk.isspace()]
        before = sum(map(self._count_tokens, texts))
        most = before if self._max_tokens is None else self._max_tokens
        budget = min(math.floor(self._keep * before), most)
        if before < self._min_tokens and before <= most:
            budget = before
        if budget >= before:
            return _whole(texts, places, before)
        read = read_chunks(
            texts, shelf=self._shelf, embedder=self._embedder, count_tokens=self._count_tokens
        )
        scores = unit_scores(
            read,
            terms=question_terms(question),
            vector=self._embedder.embed([question])[0],
            chunk_cosines=None if cosines is None else cosines[places],
            weights=self._weights,
        )
        kept = select_units(read, scores, budget=budget)
        compressed = []
        for index, text, chunk, numbers in zip(places, texts, read, kept, strict=True):
            if numbers:
                spans = _joined(text, [chunk.units[number] for number in numbers])
                compressed.append(
                    CompressedChunk(index=index, text=_pieces(text, spans), spans=spans)
                )
        return CompressedContext(
            chunks=tuple(compressed),
            tokens_before=before,
            tokens_after=sum(self._count_tokens(chunk.text) for chunk in compressed),
            is_whole=False,
        )


def _default_embedder() -> Embedder:
    from prismresonance.embed import StaticEmbedder

    return StaticEmbedder()


def _whole(texts: Sequence[str], places: Sequence[int], tokens: int) -> CompressedContext:
    return CompressedContext(
        chunks=tuple(
            CompressedChunk(index=index, text=text, spans=(Span(0, len(text)),))
            for index, text in zip(places, texts, strict=True)
        ),
        tokens_before=tokens,
        tokens_after=tokens,
        is_whole=True,
    )


def _joined(text: str, units: Sequence[Unit]) -> tuple[Span, ...]:
    """Join units with nothing but white space between them, which is kept as it is."""
    spans: list[Span] = []
    for unit in units:
        if spans and not text[spans[-1].end : unit.start].strip():
            spans[-1] = Span(spans[-1].start, unit.end)
        else:
            spans.append(Span(unit.start, unit.end))
    return tuple(spans)


def _pieces(text: str, spans: Sequence[Span]) -> str:
    """Give the spans' text: on one line what was in one paragraph, else on lines of their own."""
    pieces = [text[spans[0].start : spans[0].end]]
    for last, span in pairwise(spans):
        between = text[last.end : span.start]
        pieces += ["\n" if "\n" in between else " ", text[span.start : span.end]]
    return "".join(pieces)


def _chunk_cosines(
    query_vector: npt.ArrayLike | None, chunk_vectors: npt.ArrayLike | None, chunks: int
) -> npt.NDArray[np.float64] | None:
    if query_vector is None or chunk_vectors is None:
        return None
    query = np.asarray(query_vector, dtype=np.float64)
    vectors = np.asarray(chunk_vectors, dtype=np.float64)
    if query.ndim != 1 or vectors.shape != (chunks, len(query)):
        raise ClusterConfigurationError(
            f"chunk_vectors has shape {vectors.shape} and query_vector {query.shape}: "
            f"({chunks}, dim) and (dim,) are needed, for {chunks} chunks"
        )
    lengths = np.linalg.norm(vectors, axis=1) * np.linalg.norm(query)
    cosines: npt.NDArray[np.float64] = np.divide(
        vectors @ query, lengths, out=np.zeros(chunks), where=lengths > 0
    )
    return np.nan_to_num(cosines)
