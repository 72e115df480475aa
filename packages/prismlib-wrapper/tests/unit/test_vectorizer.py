"""Vectors of texts: each distinct text once, faults told, providers waited for."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import numpy.typing as npt
import pytest

from prism.wrapper import RowVectorizer, VectorizeError, WrapperConfigurationError
from prismresonance import PrismProjector
from prismresonance.embed import StaticEmbedder
from prismresonance.errors import (
    EmbedderConfigurationError,
    EmbeddingError,
    TransientEmbeddingError,
)


class Embedder:
    """Takes most texts; fails as told."""

    model_id, dim = "double", 8

    def __init__(self) -> None:
        self.calls: list[list[str]] = []
        self.failures: list[Exception] = []
        self.refuses_all = False

    def embed(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        self.calls.append(list(texts))
        if self.failures:
            raise self.failures.pop(0)
        if self.refuses_all or any("bad" in text for text in texts):
            raise EmbeddingError("refused: its text stands here")
        rows = np.ones((len(texts), self.dim), np.float32)
        for place, text in enumerate(texts):
            rows[place, 0] = np.inf if text == "wild" else len(text)
        return rows


def test_each_distinct_text_once_in_batches() -> None:
    embedder = Embedder()
    texts = [f"text {n % 5}" for n in range(40)]
    made = RowVectorizer(embedder, batch_size=2).vectorize(texts)
    assert made.rows.shape == (40, 8)
    assert made.rows.dtype == np.dtype("<f4")
    assert [len(call) for call in embedder.calls] == [2, 2, 1]
    assert made.faults == {}


def test_a_refused_text_stops_nobody_else() -> None:
    texts = ["a", "bad one", "ccc", "wild", "bad one", "eeeee"]
    made = RowVectorizer(Embedder(), batch_size=4).vectorize(texts)
    assert sorted(made.faults) == [1, 3, 4]
    assert not any("its text" in why for why in made.faults.values())
    assert made.rows[:, 0].tolist() == [1, 0, 3, 0, 0, 5]


def test_a_provider_that_is_away_is_waited_for() -> None:
    embedder, waits = Embedder(), []
    embedder.failures = [
        TransientEmbeddingError("503", retry_after_s=7),
        TransientEmbeddingError("503"),
    ]
    vectorizer = RowVectorizer(embedder, pause=lambda s: waits.append(s) or True)
    assert vectorizer.vectorize(["a"]).faults == {}
    assert waits[0] == 7
    assert len(waits) == 2
    assert vectorizer.last_error is None


def test_an_embedder_that_refuses_everything_blames_no_row() -> None:
    embedder = Embedder()
    embedder.refuses_all = True

    def pause(_: float) -> bool:
        embedder.refuses_all = False
        return True

    made = RowVectorizer(embedder, pause=pause).vectorize(["a"])
    assert made.faults == {}
    embedder.refuses_all = True
    with pytest.raises(VectorizeError, match="stopped"):
        RowVectorizer(embedder, pause=lambda _: False).vectorize(["a"])


def test_an_embedder_that_cannot_work_is_an_error() -> None:
    embedder = Embedder()
    embedder.failures = [EmbedderConfigurationError("no key")]
    with pytest.raises(VectorizeError, match="no key"):
        RowVectorizer(embedder).vectorize(["a"])


def test_vectors_travel_in_the_tenants_space() -> None:
    projector = PrismProjector(tenant_id="t")
    embedder = StaticEmbedder()
    vectorizer = RowVectorizer(embedder, projector=projector)
    assert vectorizer.dim == 64
    made = vectorizer.vectorize(["a warm lamp", "", "a tent"])
    assert not made.rows[1].any()
    expected = projector.project(embedder.embed(["a warm lamp"]))
    assert np.allclose(made.rows[0], expected[0], atol=1e-6)


def test_no_texts() -> None:
    assert RowVectorizer(Embedder()).vectorize([]).rows.shape == (0, 8)


def test_settings_are_checked() -> None:
    with pytest.raises(WrapperConfigurationError, match="batch_size"):
        RowVectorizer(Embedder(), batch_size=0)
