"""Labelled questions of two public data sets; see `data/README.md`."""

from __future__ import annotations

import csv
import gzip
import json
import random
from pathlib import Path

DATA = Path(__file__).parent / "data"
SETS = ("banking77", "clinc150")


def stream(name: str, *, seed: int, length: int) -> list[tuple[str, str]]:
    """Give `(question, intent)` in random order, every text once, at most `length` of them."""
    questions = list(dict(_banking() if name == "banking77" else _clinc()).items())
    random.Random(seed).shuffle(questions)
    return questions[:length]


def _banking() -> list[tuple[str, str]]:
    pairs = []
    for part in ("train", "test"):
        with gzip.open(DATA / "banking77" / f"{part}.csv.gz", "rt", encoding="utf-8") as file:
            pairs += [(row["text"].strip(), row["category"]) for row in csv.DictReader(file)]
    return pairs


def _clinc() -> list[tuple[str, str]]:
    with gzip.open(DATA / "clinc150" / "data_full.json.gz", "rt", encoding="utf-8") as file:
        parts = json.load(file)
    return [(text, intent) for part in ("train", "val", "test") for text, intent in parts[part]]
