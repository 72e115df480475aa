"""Chunks fall into units: nothing is lost, and what must stay whole stays whole."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from prism.cluster._context.units import Kind, split_units

_LINES = st.sampled_from(
    [
        "# A header", "Title", "=====", "-----", "- an item", "2. another item", "   and its rest",
        "", "| a | b |", "|---|---|", "```", "~~~python", "    code()", "\tTabbed", "{", "]",
        "A sentence. And one more!", "wrapped prose", "Options:",
        "It cost 3.50 dollars, e.g. to Dr. Who.", "これは文です。次の文です。",
    ]
)  # fmt: skip


def _pieces(chunk: str, kind: Kind) -> list[str]:
    return [chunk[unit.start : unit.end] for unit in split_units(chunk) if unit.kind is kind]


@given(st.one_of(st.lists(_LINES, max_size=20).map("\n".join), st.text(max_size=200)))
def test_every_character_belongs_to_one_unit(chunk: str) -> None:
    end = 0
    for number, unit in enumerate(split_units(chunk)):
        assert not chunk[end : unit.start].strip()
        assert unit.start < unit.end
        assert all(header < number for header in unit.headers)
        end = unit.end
    assert not chunk[end:].strip()


@given(st.lists(_LINES, max_size=20).map("\n".join))
def test_headers_stand_over_others(chunk: str) -> None:
    units = split_units(chunk)
    for unit in units:
        assert all(units[header].kind is Kind.HEADER for header in unit.headers)


def test_sentences() -> None:
    chunk = 'Dr. J. Smith paid $3.50 on 4 Jan. 2020. "Why?" he asked. It was late… Yes. The end.'
    assert _pieces(chunk, Kind.SENTENCE) == [
        "Dr. J. Smith paid $3.50 on 4 Jan. 2020.",
        '"Why?" he asked.',
        "It was late… Yes. The end.",
    ]


def test_sentences_without_spaces() -> None:
    chunk = "東京は日本の首都です。人口は多いです。"
    assert "".join(_pieces(chunk, Kind.SENTENCE)) == chunk


@pytest.mark.parametrize(
    ("kind", "block"),
    [
        (Kind.CODE, "```python\nfirst. Second()\n\nthird\n```"),
        (Kind.CODE, "    indented. Code()\n    more"),
        (Kind.TABLE, "| a | b |\n|---|---|\n| 1. Then | 2 |"),
        (Kind.TABLE, "a\tb\tc\n1\t2\t3"),
        (Kind.LIST, "- one. And more\n- two\n  with a second line\n- three"),
        (Kind.LIST, "You need:\n\n1. a key\n2. a lock"),
    ],
)
def test_blocks_stay_whole(kind: Kind, block: str) -> None:
    chunk = f"Something before it is said here.\n\n{block}\n\nSomething after it is said here."
    assert _pieces(chunk, kind) == [block.strip("\n")] or _pieces(chunk, kind) == [block.strip()]
    assert len(split_units(chunk)) == 3


def test_json_stays_whole() -> None:
    chunk = json.dumps({"text": "One. Two. Three.", "list": [1, 2]}, indent=2)
    assert _pieces(chunk, Kind.CODE) == [chunk]


def test_headers_nest() -> None:
    chunk = (
        "# Top\n\nFirst things are said.\n\n## Below\n\nSecond things are said."
        "\n\n# Next\n\nThird things."
    )
    units = split_units(chunk)
    over = {
        chunk[unit.start : unit.end]: [chunk[units[h].start : units[h].end] for h in unit.headers]
        for unit in units
        if unit.kind is Kind.SENTENCE
    }
    assert over == {
        "First things are said.": ["# Top"],
        "Second things are said.": ["# Top", "## Below"],
        "Third things.": ["# Next"],
    }


def test_a_title_is_a_header() -> None:
    chunk = "Opening hours\nWe are open from nine to five on every day of the week but Sunday."
    assert _pieces(chunk, Kind.HEADER) == ["Opening hours"]


def test_wrapped_prose_has_no_title() -> None:
    chunk = (
        "The quick brown fox that lives near the old\nMill jumps over the lazy dog of its owner."
    )
    assert _pieces(chunk, Kind.HEADER) == []
