"""Answers as bytes: what is stored can neither change under its reader nor be changed by it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["EncodedAnswer", "decode", "decode_chunks", "encode", "encode_chunks", "whole_of"]


@dataclass(frozen=True, slots=True)
class EncodedAnswer:
    """An answer at rest.

    Attributes:
        payload: Its bytes.
        encoding: How to read them: `text`, `bytes`, `json`, or `stream` for a list of chunks.
    """

    payload: bytes
    encoding: str

    @property
    def is_stream(self) -> bool:
        """Whether the model gave this answer in chunks."""
        return self.encoding == "stream"


def encode(answer: object) -> EncodedAnswer | None:
    """Encode an answer, or tell that it cannot be stored.

    Strings, bytes and everything that JSON gives back unchanged can be stored: a tuple that would
    come back as a list cannot. `None` is never stored, since it is what failed calls return.
    """
    if isinstance(answer, str) and type(answer) is str:
        return EncodedAnswer(answer.encode("utf-8", "surrogatepass"), "text")
    if type(answer) is bytes:
        return EncodedAnswer(answer, "bytes")
    if answer is None:
        return None
    return _encode_json(answer, "json")


def encode_chunks(chunks: Sequence[object]) -> EncodedAnswer | None:
    """Encode the chunks of a complete stream, or tell that they cannot be stored."""
    return _encode_json(list(chunks), "stream")


def decode(answer: EncodedAnswer) -> object:
    """Make a fresh copy of a stored answer; a stored stream as one value.

    Raises:
        ValueError: It cannot be read: damaged, or written by a newer version.
    """
    match answer.encoding:
        case "text":
            return answer.payload.decode("utf-8", "surrogatepass")
        case "bytes":
            return answer.payload
        case "json":
            return json.loads(answer.payload)
        case "stream":
            return whole_of(decode_chunks(answer))
        case encoding:
            raise ValueError(f"stored in the unknown encoding {encoding!r}")


def whole_of(chunks: list[object]) -> object:
    """Give chunks as one value: the text of strings, else the list itself."""
    if all(isinstance(chunk, str) for chunk in chunks):
        return "".join(map(str, chunks))
    return chunks


def decode_chunks(answer: EncodedAnswer) -> list[object]:
    """Make a fresh copy of a stored stream; any other answer is one chunk."""
    if not answer.is_stream:
        return [decode(answer)]
    chunks = json.loads(answer.payload)
    if not isinstance(chunks, list):
        raise TypeError("a stored stream is not a list")
    return chunks


def _encode_json(value: object, encoding: str) -> EncodedAnswer | None:
    try:
        if not _survives_json(value):
            return None
        text = json.dumps(value, ensure_ascii=False, separators=(",", ":"))
    except (RecursionError, ValueError):
        # Nested too deep, or a number of too many digits.
        return None
    return EncodedAnswer(text.encode("utf-8", "surrogatepass"), encoding)


def _survives_json(value: object) -> bool:
    """Whether `value` holds only what JSON returns with type and content unchanged."""
    match value:
        case None | bool() | int() | float() | str():
            return type(value) in (type(None), bool, int, float, str)
        case list():
            return type(value) is list and all(map(_survives_json, value))
        case dict():
            return type(value) is dict and all(
                type(key) is str and _survives_json(item) for key, item in value.items()
            )
        case _:
            return False
