"""Answers as bytes: what is stored can neither change under its reader nor be changed by it."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass

__all__ = ["EncodedAnswer", "decode", "decode_chunks", "encode", "encode_chunks"]


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
    if answer is None or not _survives_json(answer):
        return None
    return EncodedAnswer(_to_json(answer), "json")


def encode_chunks(chunks: Sequence[object]) -> EncodedAnswer | None:
    """Encode the chunks of a complete stream, or tell that they cannot be stored."""
    return EncodedAnswer(_to_json(list(chunks)), "stream") if _survives_json(list(chunks)) else None


def decode(answer: EncodedAnswer) -> object:
    """Make a fresh copy of a stored answer; a stored stream of strings gives their whole text.

    Raises:
        ValueError: A stream of other things than strings has no whole.
    """
    match answer.encoding:
        case "text":
            return answer.payload.decode("utf-8", "surrogatepass")
        case "bytes":
            return answer.payload
        case "json":
            return json.loads(answer.payload)
        case _:
            chunks = decode_chunks(answer)
            if not all(isinstance(chunk, str) for chunk in chunks):
                raise ValueError("stored as a stream of objects, which has no whole")
            return "".join(map(str, chunks))


def decode_chunks(answer: EncodedAnswer) -> list[object]:
    """Make a fresh copy of a stored stream; any other answer is one chunk."""
    if not answer.is_stream:
        return [decode(answer)]
    chunks = json.loads(answer.payload)
    if not isinstance(chunks, list):
        raise TypeError("a stored stream is not a list")
    return chunks


def _to_json(value: object) -> bytes:
    return json.dumps(value, ensure_ascii=False, separators=(",", ":")).encode(
        "utf-8", "surrogatepass"
    )


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
