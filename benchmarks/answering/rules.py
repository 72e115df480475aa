"""The rules of others on the same vectors and the same stream: what is not answered is stored.

- A dict of exact texts.
- Cosine .80 to the nearest stored question: a usual choice, with no product's name on it.
- GPTCache 0.1.44, `init_similar_cache` as it comes: of a distance of at most 4 it takes .8, so the
  squared distance of unit vectors is at most .8, and that is a cosine of .60.
- RedisVL `SemanticCache` as it comes: a cosine distance of at most .1, so a cosine of .90.

Each serves the nearest stored question that passes. These are the rules, not the products: the
products bring embedders of their own, and a store.
"""

from __future__ import annotations

import time
from collections.abc import Iterator

import numpy as np
import numpy.typing as npt

from answering.asking import Track
from answering.streams import Stream
from answering.tally import Tally
from prismresonance.embed import Embedder

EXACT = "dict of exact texts"
COSINES = {
    "cosine .80": 0.80,
    "GPTCache's rule (cosine .60)": 0.60,
    "RedisVL's rule (cosine .90)": 0.90,
}
RULES = (EXACT, *COSINES)

_BLOCK = 128
# Of float32 arithmetic: what is at the threshold passes.
_ROUNDING = 1e-6


def apply_rules(stream: Stream, embedder: Embedder, *, track: Track) -> list[Tally]:
    """Apply all rules to a stream."""
    began = time.perf_counter()
    texts = list(dict.fromkeys(request.text for request in stream.requests))
    place_of = {text: place for place, text in enumerate(texts)}
    intent_of = {request.text: request.intent for request in stream.requests}
    stored = {name: np.zeros(len(texts), bool) for name in COSINES}
    seen: set[str] = set()
    tallies = {name: Tally.of(stream, name) for name in RULES}
    cosines = _cosines(embedder.embed(texts))
    length = len(stream.requests)
    rows: dict[int, npt.NDArray[np.float32]] = {}
    for request in track(stream.requests):
        place = place_of[request.text]
        tallies[EXACT].count(hit=request.text in seen, wrong=False, length=length)
        is_new = request.text not in seen
        seen.add(request.text)
        if is_new:
            # Texts are asked for the first time in the order in which the rows come.
            rows[place] = next(cosines)
        for name, least in COSINES.items():
            own = stored[name]
            if own[place]:
                tallies[name].count(hit=True, wrong=False, length=length)
                continue
            row = np.where(own, rows[place], np.float32(-2))
            nearest = int(row.argmax())
            hit = bool(row[nearest] >= least - _ROUNDING)
            wrong = hit and intent_of[texts[nearest]] != request.intent
            own[place] = not hit
            tallies[name].count(hit=hit, wrong=wrong, length=length)
    for tally in tallies.values():
        tally.calls = tally.requests - tally.hits
        tally.seconds = (time.perf_counter() - began) / len(tallies)
    return list(tallies.values())


def _cosines(vectors: npt.NDArray[np.float32]) -> Iterator[npt.NDArray[np.float32]]:
    """Give every vector's cosines to all, a block at a time."""
    for start in range(0, len(vectors), _BLOCK):
        yield from vectors[start : start + _BLOCK] @ vectors.T
