"""wordllama's static vectors: one table look-up a token, no model to run.

Source: D. L. Miller, WordLlama, 2024 (MIT): token vectors taken from a language model and trained
so that their mean describes the text, and so that their first 64 or 128 numbers do so on their own.
The wheel's own loader configures logging and may download; it is not used.
"""

from __future__ import annotations

from itertools import accumulate, chain
from typing import TYPE_CHECKING, Literal, get_args

import numpy as np
import numpy.typing as npt

from prismresonance.embed._extras import require
from prismresonance.embed._model_file import packaged_file, verified_bytes
from prismresonance.embed._model_shelf import ModelShelf
from prismresonance.embed._texts import is_latin, well_formed
from prismresonance.errors import InvalidArgumentError

if TYPE_CHECKING:
    from collections.abc import Iterator, Sequence

__all__ = ["StaticEmbedder"]

_PACKAGE = "wordllama"
_WEIGHTS = ("weights", "l2_supercat_256.safetensors")
_WEIGHTS_SHA256 = "64b47a2dc493cb8e85944076601189739852d7b64e0e1eedcb1937a251cd9fd5"
_TOKENIZER = ("tokenizers", "l2_supercat_tokenizer_config.json")
_TOKENIZER_SHA256 = "93248f2a9ec36c7b35f700a033d5f36228aae48db61aee31007fa49062cdeb68"

# Bounds the vectors copied for one text to 2 MB, however long it is.
_TOKENS_AT_ONCE = 4096
# Texts from which on reading them together is quicker, and those that are read together at most.
_FEWEST_TOGETHER, _MOST_TOGETHER = 8, 128

StaticDim = Literal[64, 128, 256]


class StaticEmbedder:
    """Embeds with wordllama's table of token vectors. Needs the extra `static`; no network, no key.

    The mean of the vectors of a text's tokens, scaled to length 1: fast, and blind to the order of
    words. All of a text counts, however long. Blank texts give zeros.

    All embedders of a process share one table of 16 MB (32,000 tokens x 256 float16, as published;
    widening it would save 4 us a text and cost 33 MB). Safe to use from several threads at once.

    Eight texts or more are read together: each token's vector is widened once for all of them, and
    the tokenizer may use several cores unless the environment has `TOKENIZERS_PARALLELISM=false`.

    Args:
        dim: Width of the vectors. 64 and 128 keep the first numbers of the 256: smaller and less
            exact.

    Raises:
        EmbedderConfigurationError: The extra `static` is not installed.
        ModelFileError: An installed model file is not the expected one.
        InvalidArgumentError: `dim` is not 64, 128 or 256.
    """

    def __init__(self, *, dim: StaticDim = 256) -> None:
        if dim not in get_args(StaticDim):
            raise InvalidArgumentError(f"dim must be 64, 128 or 256, not {dim!r}")
        self._dim: int = dim
        _tables.get(_PACKAGE)

    @property
    def model_id(self) -> str:
        """`wordllama-l2-supercat-256`, or with 128 or 64."""
        return f"wordllama-l2-supercat-{self._dim}"

    @property
    def dim(self) -> int:
        """Width of the vectors: 64, 128 or 256."""
        return self._dim

    def embed(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        """Embed each text.

        Cost: O(characters), about 25 us for a question, two thirds of it for one among many; half a
        second and 100 MB, for as long as it runs, for a megabyte.

        Args:
            texts: Any number of texts, also none.

        Returns:
            Shape `(len(texts), dim)`, rows in the order of the texts and of length 1, or zeros.

        Raises:
            InvalidTextError: An item is not a string.
        """
        checked = well_formed(texts)
        table = _tables.get(_PACKAGE)
        if len(checked) >= _FEWEST_TOGETHER:
            return table.embed_many(checked, self._dim)
        # Not `zeros`: for those numpy lets other threads have the interpreter, and to get it back
        # may take a hundred times as long as embedding a question.
        rows = np.empty((len(checked), self._dim), np.float32)
        for row, text in zip(rows, checked, strict=True):
            row.fill(0.0)
            if text and not text.isspace():
                table.embed_into(row, text)
        return rows

    def reads(self, text: str) -> bool:
        """Tell whether most letters of `text` are Latin: the model hardly knows others."""
        return is_latin(text)

    def __repr__(self) -> str:
        return f"StaticEmbedder(dim={self._dim})"


class _Table:
    """The token vectors and the tokenizer they belong to."""

    def __init__(self, package: str) -> None:
        require("static", "safetensors", "tokenizers", package)
        from safetensors.numpy import load
        from tokenizers import Tokenizer

        weights = verified_bytes(packaged_file(package, *_WEIGHTS), sha256=_WEIGHTS_SHA256)
        settings = verified_bytes(packaged_file(package, *_TOKENIZER), sha256=_TOKENIZER_SHA256)
        self._vectors: npt.NDArray[np.float16] = load(weights)["embedding.weight"]
        self._tokenizer = Tokenizer.from_str(settings.decode())
        self._tokenizer.no_padding()
        self._tokenizer.no_truncation()

    def embed_into(self, row: npt.NDArray[np.float32], text: str) -> None:
        """Write the vector of `text` into `row`, shape `(dim,)`, which is zero before."""
        tokens = self._tokenizer.encode(text, add_special_tokens=False).ids
        for start in range(0, len(tokens), _TOKENS_AT_ONCE):
            some = self._vectors.take(tokens[start : start + _TOKENS_AT_ONCE], axis=0)
            row += some[:, : row.size].sum(axis=0, dtype=np.float32)
        _scale(row)

    def embed_many(self, texts: Sequence[str], dim: int) -> npt.NDArray[np.float32]:
        """Give what `embed_into` writes for each text, bit by bit; shape `(texts, dim)`."""
        rows = np.zeros((len(texts), dim), np.float32)
        for start in range(0, len(texts), _MOST_TOGETHER):
            some = texts[start : start + _MOST_TOGETHER]
            encoded = self._tokenizer.encode_batch_fast(some, add_special_tokens=False)
            tokens = [
                [] if text.isspace() else one.ids for text, one in zip(some, encoded, strict=True)
            ]
            for first, last in _portions(tokens):
                place = start + first
                if last - first == 1:
                    if tokens[first]:
                        self.embed_into(rows[place], texts[place])
                else:
                    self._add_up(rows[place : start + last], tokens[first:last])
        return rows

    def _add_up(self, rows: npt.NDArray[np.float32], tokens: Sequence[Sequence[int]]) -> None:
        count = sum(map(len, tokens))
        joined = np.fromiter(chain.from_iterable(tokens), np.int64, count)
        distinct, places = np.unique(joined, return_inverse=True)
        vectors = self._vectors[distinct, : rows.shape[1]].astype(np.float32)
        ends = accumulate(map(len, tokens))
        start = 0
        for row, end in zip(rows, ends, strict=True):
            if end > start:
                row += vectors.take(places[start:end], axis=0).sum(axis=0)
                _scale(row)
            start = end


def _scale(row: npt.NDArray[np.float32]) -> None:
    length = np.sqrt(row.dot(row))
    if length > 0:
        row /= length


def _portions(tokens: Sequence[Sequence[int]]) -> Iterator[tuple[int, int]]:
    """Divide texts, in order, so that each portion has a bounded number of tokens, or one text."""
    first = count = 0
    for place, some in enumerate(tokens):
        if place > first and count + len(some) > _TOKENS_AT_ONCE:
            yield first, place
            first, count = place, 0
        count += len(some)
    yield first, len(tokens)


_tables: ModelShelf[str, _Table] = ModelShelf(_Table)
