"""The pieces of a chunk that are kept or dropped whole.

Prose goes by sentences. What loses its sense when it is cut stays whole: a fenced or indented
block of code, a table, a list with the line that introduces it, a JSON document. A header is kept
when something below it is, and never for itself.
"""

from __future__ import annotations

import json
import re
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from enum import Enum

from prism.cluster._context.sentences import sentence_spans

__all__ = ["Kind", "Unit", "split_units"]

_FENCE = re.compile(r" {0,3}(`{3,}|~{3,})")
_INDENTED = re.compile(r"(?: {4,}|\t)\S")
_HASHES = re.compile(r" {0,3}(#{1,6})\s+\S")
_UNDERLINE = re.compile(r" {0,3}(=+|-{2,})\s*$")
_ITEM = re.compile(r"\s*(?:[-*+•‣◦–]|\(?(?:\d{1,3}|[a-zA-Z])[.)])\s+\S")
_TITLE_CHARACTERS = 90
_TITLE_LEVEL = 0
_ENDS = (".", "!", "?", ";", ",", "…", "。", "！", "？", ":")


class Kind(Enum):
    """What a unit is."""

    SENTENCE = "sentence"
    HEADER = "header"
    LIST = "list"
    TABLE = "table"
    CODE = "code"


@dataclass(frozen=True, slots=True)
class Unit:
    """A piece of a chunk.

    Attributes:
        start: Offset of its first character in the chunk.
        end: Offset after its last.
        kind: What it is.
        headers: The numbers of the headers that it stands under, the outermost first.
    """

    start: int
    end: int
    kind: Kind
    headers: tuple[int, ...] = ()


@dataclass(frozen=True, slots=True)
class _Line:
    start: int
    end: int
    text: str

    @property
    def is_blank(self) -> bool:
        return not self.text or self.text.isspace()


def split_units(chunk: str) -> tuple[Unit, ...]:
    """Divide a chunk into units, in the order in which they stand.

    Every character that is not white space belongs to one unit.
    """
    if _is_json(chunk):
        start = len(chunk) - len(chunk.lstrip())
        return (Unit(start, len(chunk.rstrip()), Kind.CODE),)
    units: list[Unit] = []
    open_headers: list[tuple[int, int]] = []  # level and number
    for start, end, kind, level in _blocks(chunk):
        if kind is Kind.HEADER:
            while open_headers and open_headers[-1][0] >= level:
                open_headers.pop()
            units.append(Unit(start, end, kind, tuple(number for _, number in open_headers)))
            open_headers.append((level, len(units) - 1))
            continue
        under = tuple(number for _, number in open_headers)
        if kind is Kind.SENTENCE:
            units += [Unit(*span, kind, under) for span in sentence_spans(chunk, start, end)]
        else:
            units.append(Unit(start, end, kind, under))
    return tuple(units)


def _is_json(chunk: str) -> bool:
    if not chunk.lstrip().startswith(("{", "[")):
        return False
    try:
        json.loads(chunk)
    except (ValueError, RecursionError):
        return False
    return True


def _blocks(chunk: str) -> Iterator[tuple[int, int, Kind, int]]:
    """Give blocks as start, end, kind and, for headers, level."""
    lines = _lines(chunk)
    at = 0
    while at < len(lines):
        line = lines[at]
        if line.is_blank:
            at += 1
            continue
        stop, kind, level = _block_at(lines, at)
        last = stop - 1
        while lines[last].is_blank:
            last -= 1
        yield line.start, lines[last].end, kind, level
        at = stop


def _block_at(lines: list[_Line], at: int) -> tuple[int, Kind, int]:
    line = lines[at]
    if fence := _FENCE.match(line.text):
        return _past_fence(lines, at, fence.group(1)), Kind.CODE, 0
    if _is_row(line) and at + 1 < len(lines) and _is_row(lines[at + 1]):
        return _past(lines, at, _is_row), Kind.TABLE, 0
    if hashes := _HASHES.match(line.text):
        return at + 1, Kind.HEADER, len(hashes.group(1))
    if at + 1 < len(lines) and (under := _UNDERLINE.match(lines[at + 1].text)):
        return at + 2, Kind.HEADER, 1 if under.group(1)[0] == "=" else 2
    if _INDENTED.match(line.text) and (at == 0 or lines[at - 1].is_blank):
        return _past(lines, at, lambda one: bool(_INDENTED.match(one.text))), Kind.CODE, 0
    introduces = line.text.rstrip().endswith(":")
    items = at + 1 if introduces else at
    while introduces and items < len(lines) and lines[items].is_blank:
        items += 1
    if items < len(lines) and _ITEM.match(lines[items].text):
        stop = _past_list(lines, items)
        # One dash can be a dialogue or a stray mark; a list has two items, or somebody says so.
        if introduces or sum(bool(_ITEM.match(one.text)) for one in lines[items:stop]) > 1:
            return stop, Kind.LIST, 0
    if _is_title(lines, at):
        return at + 1, Kind.HEADER, _TITLE_LEVEL
    return _past_prose(lines, at), Kind.SENTENCE, 0


def _past(lines: list[_Line], at: int, belongs: Callable[[_Line], bool]) -> int:
    while at < len(lines) and belongs(lines[at]):
        at += 1
    return at


def _past_fence(lines: list[_Line], at: int, fence: str) -> int:
    for after in range(at + 1, len(lines)):
        if lines[after].text.strip().startswith(fence):
            return after + 1
    return len(lines)


def _past_list(lines: list[_Line], at: int) -> int:
    """Give where a list ends: at a line that is no item and not indented under one."""
    while at < len(lines):
        line = lines[at]
        if line.is_blank:
            following = at + 1
            if following >= len(lines) or not _ITEM.match(lines[following].text):
                return at
        elif not _ITEM.match(line.text) and not line.text[0].isspace():
            return at
        at += 1
    return at


def _past_prose(lines: list[_Line], at: int) -> int:
    start = at
    while at < len(lines) and not lines[at].is_blank:
        text = lines[at].text
        if at > start and (
            _FENCE.match(text) or _HASHES.match(text) or _ITEM.match(text) or _is_row(lines[at])
        ):
            return at
        # The line that introduces a list goes with the list.
        if at > start and text.rstrip().endswith(":") and _list_follows(lines, at + 1):
            return at
        at += 1
    return at


def _list_follows(lines: list[_Line], at: int) -> bool:
    while at < len(lines) and lines[at].is_blank:
        at += 1
    return at < len(lines) and bool(_ITEM.match(lines[at].text))


def _is_row(line: _Line) -> bool:
    text = line.text.strip()
    return text.count("|") > 1 or text.count("\t") > 1


def _is_title(lines: list[_Line], at: int) -> bool:
    """Whether a line stands over a text: the chunk's first, short, without an end mark."""
    text = lines[at].text.strip()
    if (
        any(not line.is_blank for line in lines[:at])
        or len(text) > _TITLE_CHARACTERS
        or text.endswith(_ENDS)
        or all(line.is_blank for line in lines[at + 1 :])
    ):
        return False
    below = lines[at + 1].text.strip()
    # Lines of wrapped prose are about equally long.
    return not below or (not below[0].islower() and len(below) > 1.5 * len(text))


def _lines(chunk: str) -> list[_Line]:
    lines = []
    start = 0
    for text in chunk.splitlines(keepends=True):
        bare = text.rstrip("\r\n\v\f\x1c\x1d\x1e\x85\u2028\u2029")
        lines.append(_Line(start, start + len(bare.rstrip()), bare))
        start += len(text)
    return lines
