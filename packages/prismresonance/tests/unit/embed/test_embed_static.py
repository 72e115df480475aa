from __future__ import annotations

import json
import subprocess
import sys
from typing import Any

import numpy as np
import pytest

from prismresonance.embed import Embedder, StaticEmbedder, _static
from prismresonance.embed._model_shelf import ModelShelf
from prismresonance.errors import (
    EmbedderConfigurationError,
    InvalidArgumentError,
    InvalidTextError,
)

TEXTS = [
    "How do I reset my password?",
    "row 18: Anna Lindqvist, Malmö, 0046 40 123 45 67",
    "SELECT name FROM orders WHERE total < 100;",
    "パスワード 🚀 <s> [INST]",
    "a",
    "many words " * 3000,
]


@pytest.fixture(scope="module")
def embedder() -> StaticEmbedder:
    return StaticEmbedder()


def test_agrees_with_the_library_itself(embedder: StaticEmbedder) -> None:
    # In a process of its own, for the library configures logging when it is imported.
    program = """
import json, sys
from pathlib import Path
import wordllama
model = wordllama.WordLlama.load(cache_dir=Path(wordllama.__file__).parent, disable_download=True)
print(json.dumps(model.embed(json.load(sys.stdin), norm=True, batch_size=1).tolist()))
"""
    done = subprocess.run(
        [sys.executable, "-c", program],
        input=json.dumps(TEXTS),
        capture_output=True,
        text=True,
        check=True,
    )
    np.testing.assert_allclose(embedder.embed(TEXTS), json.loads(done.stdout), atol=2e-5)


@pytest.mark.parametrize("dim", [64, 128, 256])
def test_narrow_vectors_are_the_beginning_of_the_wide(dim: Any, embedder: StaticEmbedder) -> None:
    narrow = StaticEmbedder(dim=dim)
    rows = narrow.embed(TEXTS)
    assert isinstance(narrow, Embedder)
    assert (narrow.dim, narrow.model_id) == (dim, f"wordllama-l2-supercat-{dim}")
    assert rows.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(rows, axis=1), 1, atol=1e-5)
    wide = embedder.embed(TEXTS)[:, :dim]
    np.testing.assert_allclose(rows, wide / np.linalg.norm(wide, axis=1, keepdims=True), atol=1e-5)


def test_a_text_has_the_same_vector_in_any_company(embedder: StaticEmbedder) -> None:
    rows = embedder.embed(TEXTS)
    for text, row in zip(TEXTS, rows, strict=True):
        assert np.array_equal(embedder.embed([text])[0], row)


@pytest.mark.parametrize("dim", [64, 256])
def test_texts_read_together_have_the_bits_of_texts_read_alone(dim: Any) -> None:
    embedder = StaticEmbedder(dim=dim)
    # Long ones in between, one of which is more than is read together, and more than one portion.
    texts = [*TEXTS, "", " \n", *(f"{text[:900]} {row}" for row in range(50) for text in TEXTS)]
    rows = embedder.embed(texts)
    assert len(texts) > _static._MOST_TOGETHER
    for text, row in zip(texts, rows, strict=True):
        assert embedder.embed([text])[0].tobytes() == row.tobytes()


def test_blank_texts_are_zeros(embedder: StaticEmbedder) -> None:
    rows = embedder.embed(["", "a", " \n"])
    assert [bool(row.any()) for row in rows] == [False, True, False]
    assert embedder.embed([]).shape == (0, 256)


def test_other_texts_than_strings_are_refused(embedder: StaticEmbedder) -> None:
    with pytest.raises(InvalidTextError, match="text 0 is of type int"):
        embedder.embed([1])  # type: ignore[list-item]  # the mistake under test


@pytest.mark.parametrize("dim", [0, 32, 300])
def test_other_widths_are_refused(dim: Any) -> None:
    with pytest.raises(InvalidArgumentError, match="64, 128 or 256"):
        StaticEmbedder(dim=dim)


def test_embedders_share_one_table_and_do_not_import_the_library(
    embedder: StaticEmbedder, monkeypatch: pytest.MonkeyPatch
) -> None:
    def load(package: str) -> Any:
        raise AssertionError("a table was loaded")

    monkeypatch.setattr(_static._tables, "_load", load)
    StaticEmbedder()
    assert "wordllama" not in sys.modules


@pytest.mark.parametrize("module", ["safetensors", "tokenizers", "wordllama"])
def test_a_missing_extra_is_named(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_static, "_tables", ModelShelf(_static._Table))
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(EmbedderConfigurationError, match=rf"{module}.*prismresonance\[static\]"):
        StaticEmbedder()
