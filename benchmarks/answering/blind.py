"""Data that was not in view when rules and constants were chosen: read from a folder, not shipped.

Two published sets are understood, told apart by their columns:

- NLU-Evaluation-Data (X. Liu et al., "Benchmarking Natural Language Understanding Services", 2019,
  CC BY 4.0): requests to an assistant at home, 64 intents with marked values. The annotated file,
  or the parts of the cross-validation. Two requests have one answer if intent and values are
  equal; of open questions, where nothing is marked, only if the words are.
- COVID-Q (J. Wei et al., "What are people asking about COVID-19?", 2020, GPL 3): general questions,
  those that ask the same under one number.

What kind of request an intent is was written down by the intents' names, before any text was shown
to the rules: so the share of refused requests that are general questions is a share of mistakes.
"""

from __future__ import annotations

import csv
import random
import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path

from answering.streams import Request, Stream
from prism.cache import ADMISSION_RULES
from prism.cache._admission.rule import Gate
from prism.cache._scope import Scope

ASSISTANT, COVID = "nlu-evaluation", "covid-q"
ONCE = "once"
GENERAL = "general"
KINDS_OF_INTENTS = {
    "action": (
        "alarm_set alarm_remove audio_volume_mute audio_volume_up audio_volume_down calendar_set "
        "calendar_remove email_addcontact email_sendemail iot_coffee iot_hue_lightchange "
        "iot_hue_lightoff iot_hue_lightup iot_hue_lightdim iot_hue_lighton iot_cleaning "
        "iot_wemo_on iot_wemo_off lists_createoradd lists_remove music_settings music_likeness "
        "play_music play_radio play_audiobook play_podcasts play_game social_post takeaway_order "
        "transport_taxi transport_ticket general_commandstop"
    ),
    "personal": (
        "alarm_query calendar_query email_query email_querycontact lists_query social_query "
        "music_query takeaway_query"
    ),
    "time-bound": (
        "weather_query news_query datetime_query qa_stock qa_currency transport_traffic "
        "transport_query recommendation_events recommendation_movies recommendation_locations"
    ),
    "part of a talk": (
        "general_affirm general_negate general_confirm general_dontcare general_repeat "
        "general_explain general_praise"
    ),
    GENERAL: (
        "qa_definition qa_factoid qa_maths cooking_recipe datetime_convert general_joke "
        "general_quirky"
    ),
}
_KIND = {intent: kind for kind, names in KINDS_OF_INTENTS.items() for intent in names.split()}
_OPEN = frozenset(KINDS_OF_INTENTS[GENERAL].split())
_MARKED = re.compile(r"\[\s*([\w ]+?)\s*:\s*([^\]]+?)\s*\]")


@dataclass(frozen=True, slots=True)
class Known:
    """A request of a blind set.

    Attributes:
        request: The text, and what its answer is known by.
        kind: What kind of request it is.
    """

    request: Request
    kind: str


@dataclass(frozen=True)
class Admitted:
    """What the default rules did with one kind of request.

    Attributes:
        data: Name of the set.
        kind: The kind, by the name of the intent.
        requests: How many.
        refused: How many were held back, by rule.
    """

    data: str
    kind: str
    requests: int
    refused: dict[str, int]


def read(folder: Path) -> dict[str, list[Known]]:
    """Read what is understood of the `.csv` files below a folder; every text counts once.

    Raises:
        FileNotFoundError: There is none.
    """
    sets: dict[str, dict[str, Known]] = {ASSISTANT: {}, COVID: {}}
    for path in sorted(folder.rglob("*.csv")):
        with path.open(newline="", encoding="utf-8", errors="replace") as file:
            header = file.readline()
            file.seek(0)
            if "answer_annotation" in header:
                found = map(_assistant, csv.DictReader(file, delimiter=";"))
                sets[ASSISTANT] |= {one.request.text: one for one in found if one is not None}
            elif "Question ID" in header:
                found = map(_covid, csv.DictReader(file))
                sets[COVID] |= {one.request.text: one for one in found if one is not None}
    read_sets = {name: [rows[text] for text in sorted(rows)] for name, rows in sets.items() if rows}
    if not read_sets:
        raise FileNotFoundError(f"no .csv file of {ASSISTANT} or {COVID} below {folder}")
    return read_sets


def once(name: str, known: list[Known], *, seed: int, length: int) -> Stream:
    """Draw at most `length` requests, every text at most once."""
    requests = [one.request for one in known]
    random.Random(f"{name}/{seed}").shuffle(requests)
    return Stream(name, ONCE, seed, tuple(requests[:length]))


def admitted(name: str, known: list[Known]) -> Iterator[Admitted]:
    """Ask the default rules about every text, in a scope without user, history and tools."""
    gate, scope = Gate(ADMISSION_RULES), Scope(tenant_id="bench", model="none")
    counts: Counter[str] = Counter()
    refused: dict[str, Counter[str]] = {}
    for one in known:
        counts[one.kind] += 1
        rule = gate.holding(one.request.text, scope, failed=_raise)
        if rule is not None:
            refused.setdefault(one.kind, Counter())[rule.name] += 1
    for kind, count in sorted(counts.items()):
        yield Admitted(name, kind, count, dict(refused.get(kind, Counter())))


def _assistant(row: Mapping[str, str | None]) -> Known | None:
    plain = " ".join((row["answer_from_anno"] or "").split())
    text = " ".join((row["answer_from_user"] or plain).split())
    if not text:
        return None
    intent = f"{row['scenario']}_{row['intent']}"
    marked = _MARKED.findall(row["answer_annotation"] or "")
    values = sorted({f"{name}={value.lower()}" for name, value in marked})
    means = plain.lower() if intent in _OPEN else "; ".join(values)
    return Known(Request(text, f"{intent} {means}".strip()), _KIND.get(intent, "other"))


def _covid(row: Mapping[str, str | None]) -> Known | None:
    text = " ".join((row["Question"] or "").split())
    answer = f"{row['Category']} {row['Question ID']}"
    return Known(Request(text, answer), GENERAL) if text else None


def _raise(error: Exception) -> None:
    raise error
