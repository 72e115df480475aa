"""Texts as every embedder takes them."""

from __future__ import annotations

from typing import TYPE_CHECKING

from prismresonance.errors import InvalidTextError

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["is_latin", "well_formed"]

# First sign after the blocks Basic Latin to Latin Extended-B.
_END_OF_LATIN = "\u0250"


def well_formed(texts: Sequence[str]) -> list[str]:
    """Check the type of each text and make each one valid Unicode.

    Lone surrogates, which half an emoji cut off by a JavaScript client leaves behind, cannot be
    encoded as UTF-8; each becomes U+FFFD, as the Unicode standard advises for ill-formed text, so
    that one such row does not fail a whole batch.

    Args:
        texts: The texts to embed.

    Returns:
        The texts in the same order.

    Raises:
        InvalidTextError: `texts` is a single string, or an item is not a string. The message names
            its position and type, never its contents.
    """
    if isinstance(texts, str | bytes):
        # A string is also a sequence of strings: it would be embedded letter by letter.
        raise InvalidTextError(f"texts is a single {type(texts).__name__}; pass a list of strings")
    return [_well_formed(text, position) for position, text in enumerate(texts)]


def _well_formed(text: object, position: int) -> str:
    if not isinstance(text, str):
        raise InvalidTextError(f"text {position} is of type {type(text).__name__}, not str")
    if text.isascii():
        return text
    # UTF-16 joins a pair of surrogates into the character they stand for; UTF-8 would lose both.
    return text.encode("utf-16-le", "surrogatepass").decode("utf-16-le", "replace")


def is_latin(text: str) -> bool:
    """Tell whether at least half of the letters are Latin; so for a text without letters."""
    if text.isascii():
        return True
    letters = [sign for sign in text if sign.isalpha()]
    return 2 * sum(sign < _END_OF_LATIN for sign in letters) >= len(letters)
