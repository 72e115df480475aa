"""Character sets of columns, by the codecs that read them. Pure.

What the server calls latin1 is Windows-1252, with the five bytes that this leaves out as control
characters. Sets without a codec here are refused: their letters would be guessed.

Source: MySQL manual, "Supported Character Sets and Collations"; "The cp1252/latin1 Character Set".
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Final

from prism.wrapper.sources.errors import SourceProtocolError

__all__ = ["UTF8", "codec_of", "text_reader"]

UTF8: Final = frozenset(("utf8mb4", "utf8mb3", "utf8", "ascii"))
_CODECS: Final = {
    "latin2": "iso8859-2",
    "latin5": "iso8859-9",
    "latin7": "iso8859-13",
    "greek": "iso8859-7",
    "hebrew": "iso8859-8",
    "cp1250": "cp1250",
    "cp1251": "cp1251",
    "cp1256": "cp1256",
    "cp1257": "cp1257",
    "cp850": "cp850",
    "cp852": "cp852",
    "cp866": "cp866",
    "cp932": "cp932",
    "big5": "big5",
    "gbk": "gbk",
    "gb2312": "gb2312",
    "gb18030": "gb18030",
    "euckr": "cp949",
    "ujis": "euc_jp",
    "eucjpms": "euc_jp",
    "sjis": "shift_jis",
    "koi8r": "koi8_r",
    "koi8u": "koi8_u",
    "tis620": "tis_620",
    "macroman": "mac_roman",
    "macce": "mac_latin2",
    "ucs2": "utf_16_be",
    "utf16": "utf_16_be",
    "utf16le": "utf_16_le",
    "utf32": "utf_32_be",
}
_LATIN1: Final = "".join(
    bytes((code,)).decode("cp1252") if code not in (0x81, 0x8D, 0x8F, 0x90, 0x9D) else chr(code)
    for code in range(256)
)


def codec_of(charset: str) -> str | None:
    """Python's name of a character set: `latin1` is a table of our own, None is not known."""
    if charset in UTF8:
        return "utf-8"
    return "latin1" if charset == "latin1" else _CODECS.get(charset)


def text_reader(charset: str) -> Callable[[bytes], str]:
    """What makes texts of a column's bytes.

    Raises:
        SourceProtocolError: The character set has no codec here.
    """
    codec = codec_of(charset)
    if codec is None:
        raise SourceProtocolError(
            f"character set {charset} is not known; convert the column to utf8mb4"
        )
    if codec == "latin1":
        return _latin1
    if codec == "utf-8":
        return lambda raw: raw.decode(errors="backslashreplace")
    return lambda raw: raw.decode(codec, errors="backslashreplace")


def _latin1(raw: bytes) -> str:
    return raw.decode("charmap") if not raw else "".join([_LATIN1[code] for code in raw])
