"""Amounts, dates, times and ids of a question, each in one spelling.

"two weeks" is "14 days", "7 pm" is "19:00", "the 3rd of May" is "May 3". What cannot be converted
without doubt stays apart: months and days, "1.2" and "1.20", "3" and "3rd".
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Sequence
from typing import NamedTuple

from prism.cache._language.measures import (
    AMBIGUOUS,
    BEFORE_CLOCK,
    BEFORE_DAY,
    FRACTIONS,
    HALF_OF_DAY,
    HOURS,
    LOOSE_ORDINALS,
    MONTH_NAMES,
    MONTHS,
    NUMBERS,
    ORDINALS,
    PARTS,
    RELATIVE,
    RELATIVE_DAYS,
    SCALES,
    SPANS,
    TENS,
    TIMES,
    UNITS,
    WEEKDAYS,
)

__all__ = ["Quantity", "quantities", "unmatched"]


class Quantity(NamedTuple):
    """One amount, date, time or id.

    Attributes:
        kind: "number", "id", "ordinal", "date", "time", "weekday", "month", "day", or the unit
            that `value` counts.
        value: In one spelling; amounts in the smallest unit of their kind.
        written: As it was written, without unit.
        is_certain: Whether it counts when the other side has nothing like it. "a week" and
            "tomorrow" are often by the way.
    """

    kind: str
    value: str
    written: str
    is_certain: bool = True


_AMOUNT = re.compile(r"v?(\d+(?:[.,]\d+)*)-?([a-z]*)")
_CLOCK = re.compile(r"(\d{1,2})(?:[:.](\d\d))?([ap]m)?")
_ISO_DATE = re.compile(r"(\d{4})-(\d\d?)-(\d\d?)")
_SHORT_DATE = re.compile(r"(\d\d?)([/.-])(\d\d?)\2(\d{4}|\d\d)")
_LONG_TOKEN = 40
_FIRST_WORDS = frozenset(("a", "an", "one")).union(
    NUMBERS, TENS, SCALES, PARTS, TIMES, ORDINALS, HOURS, MONTHS, WEEKDAYS, RELATIVE, RELATIVE_DAYS
)
_MANY_PAIRS = 1_000


def quantities(tokens: Sequence[str]) -> tuple[tuple[Quantity, ...], frozenset[int]]:
    """Find the quantities among lower-case tokens, and the positions they were read from."""
    found: list[Quantity] = []
    used: set[int] = set()
    after = 0
    for place, token in enumerate(tokens):
        if place < after or (token.isalpha() and token not in _FIRST_WORDS):
            continue
        for read in (_clock_phrase, _date, _amount, _day, _identifier):
            read_there, end = read(tokens, place)
            if end > place:
                found.extend(read_there)
                used.update(range(place, end))
                after = end
                break
    return tuple(sorted(found)), frozenset(used)


_Read = tuple[Sequence[Quantity], int]
_NOTHING: tuple[Quantity, ...] = ()


def _at(tokens: Sequence[str], place: int) -> str:
    return tokens[place] if 0 <= place < len(tokens) else ""


def _clock_phrase(tokens: Sequence[str], place: int) -> _Read:
    word, link = tokens[place], _at(tokens, place + 1)
    if word in HOURS:
        return (_time(HOURS[word]),), place + 1
    if word in ("half", "quarter") and link in ("past", "to"):
        o_clock = _at(tokens, place + 2)
        value = int(o_clock) if o_clock.isdecimal() and len(o_clock) < 3 else NUMBERS.get(o_clock)
        if value is not None:
            minutes = 30 if word == "half" else 15
            return (_time(value * 60 + (minutes if link == "past" else -minutes)),), place + 3
    if word in NUMBERS and link in ("am", "pm"):
        return (_time(NUMBERS[word] % 12 * 60 + (12 * 60 if link == "pm" else 0)),), place + 2
    clock = _CLOCK.fullmatch(word) if len(word) < 9 else None
    is_clock = clock is not None and (
        clock[3] or ":" in word or (clock[2] and _at(tokens, place - 1) in BEFORE_CLOCK)
    )
    if clock is None or int(clock[1]) > 24 or int(clock[2] or 0) > 59:
        return _NOTHING, place
    part_of_day = next((w for w in tokens[place + 1 : place + 4] if w in HALF_OF_DAY), "")
    if not is_clock and not (part_of_day and link == "in"):
        return _NOTHING, place
    hour = (
        int(clock[1]) % 12 if clock[3] or (part_of_day and int(clock[1]) <= 12) else int(clock[1])
    )
    if clock[3] == "pm" or (not clock[3] and part_of_day and int(clock[1]) <= 12):
        hour += 12 if clock[3] else HALF_OF_DAY[part_of_day]
    return (_time(hour * 60 + int(clock[2] or 0)),), place + 1


def _time(minutes: int) -> Quantity:
    minutes %= 24 * 60
    written = f"{minutes // 60}:{minutes % 60:02d}"
    return Quantity("time", written, written)


def _date(tokens: Sequence[str], place: int) -> _Read:
    word = tokens[place]
    if iso := _ISO_DATE.fullmatch(word):
        month = MONTH_NAMES[(int(iso[2]) - 1) % 12]
        return _on(month, iso[3], iso[1]), place + 1
    if short := _SHORT_DATE.fullmatch(word):
        year = short[4] if len(short[4]) == 4 else "20" + short[4]
        day = f"{int(short[1])}/{int(short[3])}"
        return (Quantity("date", day, day), Quantity("number", year, year)), place + 1
    day = _day_of_month(word)
    if day:
        after = place + (2 if _at(tokens, place + 1) == "of" else 1)
        month = MONTHS.get(_at(tokens, after), "")
        return (_on(month, day), after + 1) if month else (_NOTHING, place)
    month = MONTHS.get(word, "")
    after = place + (2 if _at(tokens, place + 1) == "the" else 1)
    day = _day_of_month(_at(tokens, after))
    # "May 2 people come?" begins with a modal.
    if month and day and (place or word not in AMBIGUOUS):
        return _on(month, day), after + 1
    return _NOTHING, place


def _day_of_month(word: str) -> str:
    if word in ORDINALS:
        return str(ORDINALS[word])
    day = word[:-2] if word.endswith(("st", "nd", "rd", "th")) else word
    return str(int(day)) if day.isdecimal() and len(day) < 3 and 1 <= int(day) <= 31 else ""


def _on(month: str, day: str, year: str = "") -> tuple[Quantity, ...]:
    date = Quantity("date", f"{month} {int(day)}", f"{month} {int(day)}")
    return (date, Quantity("number", year, year)) if year else (date,)


def _day(tokens: Sequence[str], place: int) -> _Read:
    word, before, after = tokens[place], _at(tokens, place - 1), _at(tokens, place + 1)
    if word in RELATIVE_DAYS:
        return (Quantity("day", RELATIVE_DAYS[word], "", is_certain=False),), place + 1
    if word in RELATIVE and after in SPANS:
        if after == "night":
            return (Quantity("day", RELATIVE[word], "", is_certain=False),), place + 2
        return (Quantity("day", f"{RELATIVE[word]} {after}", "", is_certain=False),), place + 2
    is_meant = word not in AMBIGUOUS or before in BEFORE_DAY or after[:1].isdecimal()
    if word in WEEKDAYS and is_meant:
        return (Quantity("weekday", WEEKDAYS[word], WEEKDAYS[word]),), place + 1
    if word in MONTHS and is_meant and (place or word not in AMBIGUOUS):
        return (Quantity("month", MONTHS[word], MONTHS[word]),), place + 1
    return _NOTHING, place


def _amount(tokens: Sequence[str], place: int) -> _Read:
    word = tokens[place]
    if word in ORDINALS:
        rank = str(ORDINALS[word])
        return (Quantity("ordinal", rank, rank, word not in LOOSE_ORDINALS),), place + 1
    if word in TIMES:
        return (Quantity("id", TIMES[word], word, word != "once"),), place + 1
    if word in ("a", "an", "one"):
        return _one(tokens, place)
    value, written, suffix, end = _number(tokens, place)
    if end == place:
        return _NOTHING, place
    if suffix in ("st", "nd", "rd", "th"):
        return (Quantity("ordinal", written, written),), end
    if suffix == "x":
        return (Quantity("id", written + "x", written),), end
    if suffix:
        return (_with_unit(value, suffix),), end
    if _at(tokens, end) == "times":
        return (Quantity("id", written + "x", written),), end + 1
    end += _at(tokens, end) in ("degree", "degrees")
    unit = _at(tokens, end)
    is_glued_only = len(unit) == 1 and unit not in "cfg"
    if unit in UNITS and not is_glued_only:
        return (_with_unit(value, unit),), end + 1
    return (Quantity("number", written, written),), end


def _one(tokens: Sequence[str], place: int) -> _Read:
    """Read "an hour", "one week", "an hour and a half"; other than that "one" may be anything."""
    unit = _at(tokens, place + 1)
    if unit == "half":
        return _NOTHING, place
    if unit == "quarter" and _at(tokens, place + 2) != "of":
        return _NOTHING, place
    if unit in SCALES:
        scale = str(SCALES[unit])
        return (Quantity("number", scale, scale),), place + 2
    if UNITS.get(unit, ("", 0))[0] not in ("seconds", "months"):
        return _NOTHING, place
    if tuple(tokens[place + 2 : place + 5]) == ("and", "a", "half"):
        return (_with_unit(1.5, unit),), place + 5
    amount = _with_unit(1.0, unit)
    return (amount._replace(is_certain=tokens[place] == "one"),), place + 2


def _number(tokens: Sequence[str], place: int) -> tuple[float, str, str, int]:
    """Read digits or number words: value, spelling, unit glued to it, end."""
    word, end = tokens[place], place + 1
    suffix = ""
    if word in PARTS and word != "third":
        end += _at(tokens, end) in ("a", "an")
        return PARTS[word], str(PARTS[word]), "", end
    if word in FRACTIONS and _at(tokens, end) in UNITS:
        return FRACTIONS[word], f"{FRACTIONS[word]:.9g}", "", end
    if word[:1] in "v0123456789" and len(word) <= _LONG_TOKEN:
        amount = _AMOUNT.fullmatch(word)
        if amount is None or (amount[2] and amount[2] not in _GLUED):
            return 0, "", "", place
        suffix = amount[2]
        written = re.sub(r",(?=\d{3}(?:\D|$))", "", amount[1])
        if written.count(".") > 1 or "," in written:
            return (0, written, "", end) if not suffix else (0, "", "", place)
        value = float(written)
        if suffix in SCALES:
            value, suffix = value * SCALES[suffix], ""
            written = f"{value:.15g}"
    elif word in NUMBERS or word in TENS:
        if word == "one":
            return 0, "", "", place
        whole = NUMBERS.get(word, TENS.get(word, 0))
        if word in TENS and 0 < NUMBERS.get(_at(tokens, end), 0) < 10:
            whole += NUMBERS[tokens[end]]
            end += 1
        value, written = float(whole), str(whole)
    elif word in SCALES and len(word) > 2:
        return float(SCALES[word]), str(SCALES[word]), "", end
    else:
        return 0, "", "", place
    while not suffix and _at(tokens, end) in SCALES:
        value *= SCALES[tokens[end]]
        written = f"{value:.15g}"
        end += 1
    if tuple(tokens[end : end + 3]) == ("and", "a", "half"):
        value += 0.5
        written = f"{value:.15g}"
        end += 3
    return value, written, suffix, end


_GLUED = frozenset(UNITS) | frozenset(SCALES) | frozenset(("st", "nd", "rd", "th", "x"))


def _with_unit(value: float, unit: str) -> Quantity:
    kind, factor = UNITS[unit]
    return Quantity(kind, f"{value * factor:.9g}", f"{value:.9g}")


def _identifier(tokens: Sequence[str], place: int) -> _Read:
    word = tokens[place]
    if not any(sign.isdigit() for sign in word):
        return _NOTHING, place
    is_letters_too = any(sign.isalpha() for sign in word)
    value = re.sub(r"[-_/]", "", word) if is_letters_too else word
    return (Quantity("id", value, value),), place + 1


def unmatched(
    ours: Sequence[Quantity], theirs: Sequence[Quantity]
) -> tuple[list[Quantity], list[Quantity]]:
    """Give what is on one side only.

    An amount without unit is the same amount with any. What is not certain counts only against
    something of its kind. Cost: O(how many), and the product of what is left.
    """
    if ours == theirs:
        return [], []
    have = Counter(other[:2] for other in theirs)
    left = []
    for one in ours:
        if have[one[:2]]:
            have[one[:2]] -= 1
        else:
            left.append(one)
    rest = []
    for other in theirs:
        if have[other[:2]]:
            have[other[:2]] -= 1
            rest.append(other)
    if left and rest and len(left) * len(rest) <= _MANY_PAIRS:
        for one in tuple(left):
            twin = next((other for other in rest if _is_bare(one, other)), None)
            if twin is not None:
                left.remove(one)
                rest.remove(twin)
    kinds = {one.kind for one in left}, {other.kind for other in rest}
    return (
        [one for one in left if one.is_certain or one.kind in kinds[1]],
        [other for other in rest if other.is_certain or other.kind in kinds[0]],
    )


def _is_bare(one: Quantity, other: Quantity) -> bool:
    """Tell whether one is the other without its unit."""
    return one.written == other.written and "number" in (one.kind, other.kind)
