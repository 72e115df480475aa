"""How much each unit of a context bears on a question.

Four kinds of evidence, each scaled to 0..1 within the context:

- the words they share, weighed by how rare they are (BM25);
- the closeness of their vectors, which finds what is said in other words;
- the chunk: a sentence of a chunk that bears on the question counts for more;
- the neighbours: "He died there in 1745" bears on what the sentence before it speaks of.

Source of BM25: S. Robertson, H. Zaragoza, The Probabilistic Relevance Framework: BM25 and Beyond,
2009, with the inverse document frequency that is never negative.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from prism.cluster._context.units import Kind

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from prism.cluster._context.chunk import ReadChunk

    Floats = npt.NDArray[np.float64]

__all__ = ["Weights", "chunk_scores", "unit_scores"]

_K1 = 1.2
_B = 0.6
# Below this, cosines of unrelated texts lie.
_COSINE_FLOOR = 0.1


@dataclass(frozen=True, slots=True, kw_only=True)
class Weights:
    """How much each kind of evidence counts.

    Attributes:
        cosine: Of a unit's vector, beside its words, which count 1.
        chunk: Of the chunk it stands in.
        neighbours: What a unit gains of the better of its two neighbours.
        header: What a unit gains of the headers above it.
    """

    cosine: float = 0.6
    chunk: float = 0.5
    neighbours: float = 0.2
    header: float = 0.3


def unit_scores(
    chunks: Sequence[ReadChunk],
    *,
    terms: Sequence[str],
    vector: npt.NDArray[np.float32],
    chunk_cosines: Floats | None,
    weights: Weights,
) -> list[Floats]:
    """Score the units of each chunk; headers get what they say, and are not chosen by it.

    Args:
        chunks: The context, none of its chunks empty.
        terms: Of the question.
        vector: Of the question, shape `(dim,)`.
        chunk_cosines: Of each chunk with the question, shape `(chunks,)`, as the caller's embedder
            sees them; `None` to go by the units' own.
        weights: How much each kind of evidence counts.
    """
    words = _bm25(chunks, terms)
    # Not `@`: for matrices of this size BLAS would wake its threads, which costs more than the sum.
    cosines = [np.einsum("ij,j->i", chunk.vectors, vector) - _COSINE_FLOOR for chunk in chunks]
    words, cosines = (
        _scaled(words),
        _scaled([np.clip(one, 0, None, dtype=np.float64) for one in cosines]),
    )
    own = [word + weights.cosine * cosine for word, cosine in zip(words, cosines, strict=True)]
    prior = chunk_scores(chunks, terms=terms, unit_scores=own, chunk_cosines=chunk_cosines)
    return [
        _with_surroundings(chunk, scores, weights) + weights.chunk * of_chunk
        for chunk, scores, of_chunk in zip(chunks, own, prior, strict=True)
    ]


def chunk_scores(
    chunks: Sequence[ReadChunk],
    *,
    terms: Sequence[str],
    unit_scores: Sequence[Floats],
    chunk_cosines: Floats | None,
) -> Floats:
    """Score whole chunks, shape `(chunks,)`, the best with 1."""
    counts = np.array([_counts(chunk, terms).sum(axis=0) for chunk in chunks])
    lengths = np.array([chunk.lengths.sum() for chunk in chunks])
    scores = _scaled([_weighed(counts, lengths)])[0]
    scores += _scaled([np.array([one.max(initial=0.0) for one in unit_scores])])[0]
    if chunk_cosines is not None:
        scores += _scaled([np.clip(chunk_cosines, 0, None)])[0]
    return _scaled([scores])[0]


def _bm25(chunks: Sequence[ReadChunk], terms: Sequence[str]) -> list[Floats]:
    counts = np.concatenate([_counts(chunk, terms) for chunk in chunks])
    lengths = np.concatenate([chunk.lengths for chunk in chunks])
    scores = _weighed(counts, lengths)
    ends = np.cumsum([len(chunk.units) for chunk in chunks])[:-1]
    return np.split(scores, ends)


def _counts(chunk: ReadChunk, terms: Sequence[str]) -> Floats:
    found = [[count.get(term, 0) for term in terms] for count in chunk.counts]
    return np.array(found, dtype=np.float64).reshape(len(found), len(terms))


def _weighed(counts: Floats, lengths: Floats) -> Floats:
    """Give BM25 of documents whose terms are counted in `counts`, shape `(documents, terms)`."""
    if not counts.size:
        return np.zeros(len(lengths))
    holding = (counts > 0).sum(axis=0)
    rarity = np.log1p((len(counts) - holding + 0.5) / (holding + 0.5))
    mean = max(float(lengths.mean()), 1.0)
    length = _K1 * (1 - _B + _B * lengths[:, None] / mean)
    found: Floats = (counts * (_K1 + 1) / (counts + length)) @ rarity
    return found


def _with_surroundings(chunk: ReadChunk, scores: Floats, weights: Weights) -> Floats:
    texts = np.array([unit.kind is not Kind.HEADER for unit in chunk.units])
    gained = scores.copy()
    # Neighbours among the units that are not headers.
    bodies = scores[texts]
    if len(bodies) > 1:
        around = np.zeros(len(bodies))
        around[1:] = bodies[:-1]
        around[:-1] = np.maximum(around[:-1], bodies[1:])
        gained[texts] += weights.neighbours * around
    for number, unit in enumerate(chunk.units):
        if unit.headers and texts[number]:
            gained[number] += weights.header * max(scores[header] for header in unit.headers)
    return gained


def _scaled(parts: list[Floats]) -> list[Floats]:
    top = max((float(part.max(initial=0.0)) for part in parts), default=0.0)
    return [part / top if top > 0 else np.zeros(len(part)) for part in parts]
