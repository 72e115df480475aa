"""Words for numbers, units, days and hours. Data of our own, for English; no code."""

from __future__ import annotations

__all__ = [
    "AMBIGUOUS",
    "BEFORE_CLOCK",
    "BEFORE_DAY",
    "FRACTIONS",
    "HALF_OF_DAY",
    "HOURS",
    "LOOSE_ORDINALS",
    "MONTHS",
    "MONTH_NAMES",
    "NUMBERS",
    "ORDINALS",
    "PARTS",
    "RELATIVE",
    "RELATIVE_DAYS",
    "SCALES",
    "SPANS",
    "TENS",
    "TIMES",
    "UNITS",
    "UNIT_KINDS",
    "WEEKDAYS",
]

_SMALL = (
    "zero one two three four five six seven eight nine ten eleven twelve thirteen fourteen fifteen "
    "sixteen seventeen eighteen nineteen"
).split()
NUMBERS = {word: value for value, word in enumerate(_SMALL)}
TENS = {
    word: 10 * tens
    for tens, word in enumerate("twenty thirty forty fifty sixty seventy eighty ninety".split(), 2)
}
SCALES = {"hundred": 100, "thousand": 1_000, "million": 1_000_000, "billion": 1_000_000_000}
SCALES |= {"dozen": 12, "k": 1_000, "mn": 1_000_000, "bn": 1_000_000_000}
FRACTIONS = {"1/2": 0.5, "1/3": 1 / 3, "1/4": 0.25, "3/4": 0.75}
PARTS = {"half": 0.5, "quarter": 0.25, "third": 1 / 3}
TIMES = {"once": "1x", "twice": "2x", "thrice": "3x"}
ORDINALS = {
    word: value
    for value, word in enumerate(
        (
            "first second third fourth fifth sixth seventh eighth ninth tenth eleventh twelfth "
            "thirteenth fourteenth fifteenth sixteenth seventeenth eighteenth nineteenth twentieth"
        ).split(),
        1,
    )
}
# Often no number at all: "first, do I...", "a second card".
LOOSE_ORDINALS = frozenset(("first", "second"))

# unit, how many of it the words are, words.
UNITS = {
    word: (unit, float(factor))
    for unit, factor, *words in (
        line.split()
        for line in """
            seconds 1 second seconds sec secs
            seconds 60 minute minutes min mins minimum
            seconds 3600 hour hours hr hrs h
            seconds 86400 day days
            seconds 604800 week weeks wk wks
            seconds 1209600 fortnight fortnights
            months 1 month months
            months 12 year years yr yrs
            gram 1 gram grams gramme grammes g
            gram 0.001 mg milligram milligrams
            gram 1000 kg kgs kilo kilos kilogram kilograms
            ounce 1 ounce ounces oz
            pound 1 pound pounds lb lbs gbp quid
            metre 1 metre metres meter meters
            metre 0.01 cm centimetre centimetres centimeter centimeters
            metre 0.001 mm millimetre millimetres millimeter millimeters
            metre 1000 km kms kilometre kilometres kilometer kilometers
            mile 1 mile miles mi
            foot 1 foot feet ft
            inch 1 inch inches
            yard 1 yard yards
            litre 1 litre litres liter liters l ltr
            litre 0.001 ml millilitre millilitres milliliter milliliters
            gallon 1 gallon gallons
            pint 1 pint pints
            cup 1 cup cups
            tablespoon 1 tablespoon tablespoons tbsp
            teaspoon 1 teaspoon teaspoons tsp
            celsius 1 celsius c centigrade
            fahrenheit 1 fahrenheit f
            percent 1 percent
            dollar 1 dollar dollars usd buck bucks
            euro 1 euro euros eur
            yen 1 yen jpy
            franc 1 franc francs chf
            rupee 1 rupee rupees inr
            byte 1 byte bytes b
            byte 1e3 kb kilobyte kilobytes
            byte 1e6 mb megabyte megabytes
            byte 1e9 gb gig gigs gigabyte gigabytes
            byte 1e12 tb terabyte terabytes
            watt 1 watt watts w
            watt 1000 kw kilowatt kilowatts
            acre 1 acre acres
            hectare 1 hectare hectares
        """.strip().splitlines()
    )
    for word in words
}
MONTH_NAMES = (
    "january february march april may june july august september october november december"
).split()
MONTHS = {name: name for name in MONTH_NAMES} | {name[:3]: name for name in MONTH_NAMES}
MONTHS["sept"] = "september"
WEEKDAYS = {
    form: day
    for day in "monday tuesday wednesday thursday friday saturday sunday".split()
    for form in (day, day + "s", day[:3], day[:4])
} | {"thurs": "thursday", "weds": "wednesday"}
# Also verbs, modals and the sun: a calendar word only beside a number or after one of BEFORE_DAY.
AMBIGUOUS = frozenset("may march mar dec sat sun mon wed sund satu".split())
BEFORE_DAY = frozenset("on in of by until till since from this next last every before for".split())
RELATIVE_DAYS = {"today": "0", "tonight": "0", "tomorrow": "1", "overmorrow": "2"}
RELATIVE_DAYS |= {"yesterday": "-1"}
RELATIVE = {"this": "0", "current": "0", "next": "1", "coming": "1", "last": "-1", "past": "-1"}
RELATIVE |= {"previous": "-1", "upcoming": "1"}
SPANS = frozenset("week weekend month year term semester quarter summer winter night".split())
BEFORE_CLOCK = frozenset("at by until till around from before after to".split())
HALF_OF_DAY = {"morning": 0, "afternoon": 12, "evening": 12, "night": 12}
HOURS = {"noon": 12 * 60, "midday": 12 * 60, "midnight": 0}

# Units one of which is asked for instead of another.
UNIT_KINDS = (
    frozenset(("gram", "ounce", "pound")),
    frozenset(("metre", "mile", "foot", "inch", "yard")),
    frozenset(("litre", "gallon", "pint", "cup", "tablespoon", "teaspoon")),
    frozenset(("celsius", "fahrenheit")),
    frozenset(("dollar", "euro", "pound", "yen", "franc", "rupee")),
    frozenset(("acre", "hectare")),
)
