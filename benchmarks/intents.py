"""Labelled questions of two public data sets; see `data/README.md`."""

from __future__ import annotations

import csv
import gzip
import json
import random
from collections.abc import Sequence
from pathlib import Path

DATA = Path(__file__).parent / "data"
SETS = ("banking77", "clinc150")
OUT_OF_SCOPE = "out of scope: "
PARTS = ("train", "val", "test")
OUT_OF_SCOPE_PARTS = ("oos_train", "oos_val", "oos_test")


def stream(name: str, *, seed: int, length: int) -> list[tuple[str, str]]:
    """Give `(question, intent)` in random order, every text once, at most `length` of them."""
    questions = list(dict(_banking() if name == "banking77" else _clinc(PARTS)).items())
    random.Random(seed).shuffle(questions)
    return questions[:length]


def labelled(name: str) -> list[tuple[str, str]]:
    """Give all `(question, intent)`, every text once.

    A question that CLINC150 puts out of scope is an intent of its own: nothing else answers it.
    """
    if name == "banking77":
        return list(dict(_banking()).items())
    strangers = [(text, f"{OUT_OF_SCOPE}{text}") for text, _ in _clinc(OUT_OF_SCOPE_PARTS)]
    return list(dict(_clinc(PARTS) + strangers).items())


def _banking() -> list[tuple[str, str]]:
    pairs = []
    for part in ("train", "test"):
        with gzip.open(DATA / "banking77" / f"{part}.csv.gz", "rt", encoding="utf-8") as file:
            pairs += [(row["text"].strip(), row["category"]) for row in csv.DictReader(file)]
    return pairs


def _clinc(names: Sequence[str]) -> list[tuple[str, str]]:
    with gzip.open(DATA / "clinc150" / "data_full.json.gz", "rt", encoding="utf-8") as file:
        parts = json.load(file)
    return [(text, intent) for part in names for text, intent in parts[part]]
