"""Questions whose right answer is another one tomorrow.

A word for a time is no sign by itself: "I ordered yesterday, how do I cancel?" has the same answer
every day, "What happened yesterday?" has not. So what somebody tells of the past is left alone, and
so is how something is done, unless it is to be done today.
"""

from __future__ import annotations

import re
from functools import cache

from prism.cache._admission.phrases import phrases
from prism.cache._admission.reading import Reading, read

__all__ = ["is_about_now"]

# Without one of these words nothing below matches.
_SIGNS = frozenset(
    (
        "today today's todays tonight tonight's tomorrow tomorrow's yesterday yesterday's now "
        "currently current moment present latest newest recent this next last coming past time "
        "date day weather forecast rain raining snow snowing umbrella temperature hot cold warm "
        "sunny humid windy outside exchange conversion convert price prices rate score scores "
        "won winning traffic news headlines trending until till left still upcoming open closed "
        "happening live stock sunrise sunset roads leading playing going stories"
    ).split()
)

_SOON = r"\b(today|todays|tonight|tomorrow)(?!\w)"
_NOW = r"\b(right now|just now|as of now|at the moment|at this moment|at present)(?!\w)"
_RELATIVE = r"""
    \b(yesterday|last night)\b
    \bthis (<period>|christmas|easter)\b(?! of)
    \b(next|last|this past|this coming|this last) <period>\b
    \b(in|over|during|for|within) the (last|past|next|coming) (few |couple of |\w{1,8} )?<span>\b
"""
_PERIOD = """
    morning afternoon evening week weekend month year quarter season spring summer autumn winter
    monday tuesday wednesday thursday friday saturday sunday
"""
_SPAN = "minutes? hours? days? weeks? months? years?"

_CHANGING = r"""
    \bcurrent (\w+ ){0,2}?<volatile>\b
    \bcurrently <doing>\b
    (?<!at the )(?<!my )(?<!our )\b(latest|newest|most recent) (?!<deadline>\b)\w
    # the time and the date
    ^(so )?what (is the )?(time|date|day|year)($| (is it|is today|in \w+|now|please))
    \bwhat (time|day|date|year|month) (is it|it is|today is|is today)\b
    \bthe time in \w
    ^how many (\w+ )?(days|weeks|months|hours) <left>(until|till|to) (?!<particular>\b)\w
    ^how long (is it )?(until|till) (the )?next\b
    \b(when|what|what time|where|who|how long) .{0,30}\bnext <event>\b
    \bupcoming (\w+ )?(events?|games?|matches|concerts?|holidays?|elections?|shows?|sales?)\b
    ^(when|what time) .{0,20}\b(sunrise|sunset)
    \b(sunrise|sunset)( time)? (in|on|at)\b
    # the weather
    ^weather\b(?! <trade>\b)
    \b(how|what) (is|will|about) (the )?weather\b(?! <trade>\b)
    \b(me|check|about|see|get) the weather\b(?! <trade>\b)
    \bweather (forecast|report|like|outside|(in|for|at) \w)
    \bforecast (for|in)\b
    \b(is|will) it (be |going to be |going to )?<wet>($| <there>\b)
    \bhow (hot|cold|warm|humid|windy|chilly) (is|will) it\b
    \b(need|take|bring) (an|my) umbrella\b
    \btemperature (outside|(is it )?(in|at) (?!<scale>\b)[a-z]+($| [a-z]+$))
    # prices and rates of markets
    \bwhat (is|are|was) the (\w+ ){0,3}?(exchange|conversion) rates? <from>\b(?! <own>\b)
    ^(exchange|conversion) rate <from>\b(?! <own>\b)
    \b(stock|share) prices? (of|for|is|at)\b
    \bprice of (\w+ )?<traded>\b
    \b(bitcoin|btc|ethereum|eth|gold|oil) price\b
    ^convert [$€£¥]?\d[\d.,]* ?([a-z]+ )?<money>\b
    # games, roads, news
    \b(what|who) (is|was|are) (the )?(\w+ )?score\b
    \bscore (of|in|for) the (\w+ ){0,3}?(game|match)\b
    \bwho (won|is winning|is leading|is playing) (the )?(game|match|race|election$)
    \bhow (is|are) (the )?(traffic|roads|stock market|markets?)\b
    \b(what|how|is|any|there) (\w+ ){0,3}?traffic (on|to|in|like|near|between|jams?)\b
    ^traffic (on|to|in|near|report)\b
    \b(what|any|the|in the|me the|local|world) (is )?(\w+ )?(news|headlines)$
    ^(news|headlines|top stories)$
    \b(news|headlines) (about|on|from|in|of)\b
    \bwhat is (happening|going on|trending) (in|at|on|around|near)\b
    # what is so at the moment
    ^(is|are) (\w+ ){1,5}?still (open|available|alive|in stock|on sale|playing|down)\b
    ^(is|are) (\w+ ){1,5}?(open|closed|available|raining|down|up|live|awake|home) now$
    ^(what|who|where) (is|are)\b(?!.*\b(do|should|can|could|must|to)\b).*\bnow$
"""
_VOLATILE = """
    weather temperature time date day prices? rates? scores? standings stock share traffic news
    events affairs president prime ceo chancellor king queen pope mayor minister governor champions?
    holder value version inflation waiting wait queue status situation location promotions? offers?
    deals? discounts? market forecast headlines top bestseller number population season year month
    week conditions fuel gas petrol mortgage
"""
_DOING = """
    open closed available playing showing trending leading winning happening live ranked number_one
    running serving hiring trading
"""
_LEFT = """(?:(?:left|are_left|are_there|is_it|remain)_)?"""
_PARTICULAR = "the i we my you it an? your our"
_EVENT = """
    bus train tram metro subway ferry flight game match race holiday election eclipse full_moon
    new_moon episode launch meeting show concert delivery world_cup
"""
_TRADE = "app api data widget station balloon proof resistant sealing affect"
_WET = "rain raining snow snowing sunny hot cold warm humid windy chilly freezing cloudy storm"
_THERE = "in at on outside here there or and enough out"
_SCALE = "celsius fahrenheit kelvin degrees"
_DEADLINE = "date time day point i we you"
_FROM = "of for between from in to is"
_OWN = "my getting your withdrawing"
_TRADED = "bitcoin btc ethereum eth gold silver oil crude gas petrol diesel"
_MONEY = "dollars? usd euros? eur pounds? gbp yen jpy rupees? inr chf cad aud"
_MONTHS = frozenset(
    "january february march april may june july august september october november december".split()
)
_YEAR = r"(1\d|20)\d\d"
_GIVEN_TIME = r"\b(if|when) it is (noon|midnight|(\w+ )?\d{0,2}[ap]\.?m\b|\d\d?:\d\d)"
_ASKED_TIME = r"\b(what|the) time (is it|it is|(is it )?in)\b"
_PRESENT = frozenset("current currently latest newest recent upcoming next".split())
# Who a report is about, and what may stand before them: "Last Friday I ...".
_SUBJECTS = frozenset("i we he she they it my our your someone somebody there".split())
_FRAMES = frozenset(
    (
        "today yesterday tonight last this next past the during in on since for over until by "
        "earlier morning afternoon evening night week weekend month year day days weeks months "
        "hours few two monday tuesday wednesday thursday friday saturday sunday ago around "
        "about one or just now recently also then still and but however so as because although "
        "though hi hello hey well"
    ).split()
)
_CONDITIONS = frozenset("when if while since because as after before once although though".split())
_ARTICLES = frozenset("the a an".split())
_ASKING_WORDS = frozenset(
    (
        "what what's which who whose whom where when why how is are am was were do does did has "
        "have had can could will would should may might shall tell show list check find give see "
        "know"
    ).split()
)
# Words of a statement among which its verb is looked for.
_NEAR = 5
_OPENING = frozenset("let please remind book".split())
_OPEN_QUESTION = frozenset("what which who where when why how".split())
_FINITE = frozenset(
    (
        "is are was were has have had would will can cannot could not does did do keeps seems says "
        "shows got went"
    ).split()
)
_WISHES = r"""
    (i|we) (\w+ )?(need|want|would like|wish|wonder|am wondering|am looking|are looking|plan)\b
    (i|we) am trying to (find|figure|see|learn|check|get)\b
"""
_PAST = frozenset(
    (
        "was were had has have did made sent bought paid got went took saw found lost left came "
        "gave told said withdrew withdrawn put spent forgot been knew thought felt heard broke "
        "ran began sold transferred tried"
    ).split()
)
_ASKING = frozenset("what which how who when did show tell list check find give see".split())
_NO_PAST = frozenset("need feed speed need indeed bed red exceed proceed".split())
_HOW_TO = r"""
    \bhow (do|does|can|could|to|would|should|did)\b
    \bwhere (do|can|could|to|should)\b
    \bwhat (do|should|can|must|could|am) (i|we)\b
    \b(is there|any) (a |any )?way\b
    ^(can|could|may|should) (i|we)\b
    \bhow long (does|will|do|would|did|can) \w
    ^(why|how come)\b.*\b(i|my|we|our)\b
"""


@cache
def _wishes() -> re.Pattern[str]:
    return phrases(_WISHES)


@cache
def _how_to() -> re.Pattern[str]:
    return phrases(_HOW_TO)


@cache
def _soon() -> re.Pattern[str]:
    return phrases(_SOON)


@cache
def _now() -> re.Pattern[str]:
    return phrases(_NOW)


@cache
def _relative() -> re.Pattern[str]:
    return phrases(_RELATIVE, period=_PERIOD, span=_SPAN)


@cache
def _changing() -> re.Pattern[str]:
    return phrases(
        _CHANGING,
        volatile=_VOLATILE,
        doing=_DOING,
        left=_LEFT,
        particular=_PARTICULAR,
        event=_EVENT,
        trade=_TRADE,
        wet=_WET,
        there=_THERE,
        traded=_TRADED,
        scale=_SCALE,
        deadline=_DEADLINE,
        own=_OWN,
        **{"from": _FROM},
        money=_MONEY,
    )


@cache
def _year() -> re.Pattern[str]:
    return re.compile(_YEAR)


@cache
def _given_time() -> re.Pattern[str]:
    return phrases(_GIVEN_TIME)


@cache
def _asked_time() -> re.Pattern[str]:
    return phrases(_ASKED_TIME)


def is_about_now(question: str) -> bool:
    """Tell whether the answer depends on when it is asked."""
    reading = read(question)
    if reading.words.isdisjoint(_SIGNS):
        return False
    for clause in reading.clauses:
        if _SIGNS.isdisjoint(clause):
            continue
        text = " ".join(clause)
        tells = _states(clause) or _tells(clause)
        is_how_to = _how_to().search(text) is not None
        if not tells and (
            _soon().search(text) or (not is_how_to and clause[0] != "i" and _now().search(text))
        ):
            return True
        if is_how_to or tells:
            continue
        if _relative().search(text):
            return True
        if not _is_dated(clause) and _changing().search(_without_given_time(reading, text)):
            return True
    return False


def _is_dated(clause: tuple[str, ...]) -> bool:
    """Tell whether a clause is about a time that it names, or about one that is over.

    What oil cost in 1973, or when its price was raised, has one answer for good.
    """
    is_over = "did" in clause and _PRESENT.isdisjoint(clause)
    is_named = any(word in _MONTHS or _year().fullmatch(word) for word in clause)
    return is_over or is_named


def _without_given_time(reading: Reading, text: str) -> str:
    """Leave out the question for a time if another one is given: that is arithmetic with zones."""
    if any(_given_time().search(" ".join(clause)) for clause in reading.clauses):
        return _asked_time().sub("", text)
    return text


def _states(clause: tuple[str, ...]) -> bool:
    """Tell whether a clause says how things are, and neither asks nor orders anything."""
    if clause[0] in _CONDITIONS and (clause[1:2] or ("",))[0] in _SUBJECTS | _ARTICLES:
        return True
    place = 0
    while place < len(clause) and clause[place] in _FRAMES | _ARTICLES:
        place += 1
    rest = clause[place:]
    if not rest or _is_past(rest[0]):
        # "This morning, ...", "Tried again today".
        return len(clause) > 1 or not rest
    if rest[0] in _SUBJECTS or (rest[1:2] or ("",))[0] in _SUBJECTS:
        begin = 0 if rest[0] in _SUBJECTS else 1
        return _wishes().match(" ".join(rest[begin:])) is None and rest[0] not in _ASKING_WORDS
    if rest[0] in _ASKING_WORDS or rest[0] in _OPENING or not _OPEN_QUESTION.isdisjoint(clause):
        return False
    return any(word in _FINITE or _is_past(word) for word in rest[1:_NEAR])


def _tells(clause: tuple[str, ...]) -> bool:
    """Tell whether a question is about what its writer has done: "the card I lost this morning"."""
    # "What did I spend last week?" asks for it.
    if clause[0] in _ASKING:
        return False
    subjects = ("i", "we") if clause[0] in _ASKING_WORDS else _SUBJECTS
    return any(
        word in subjects and any(map(_is_past, clause[place + 1 : place + 4]))
        for place, word in enumerate(clause)
    )


def _is_past(word: str) -> bool:
    return word in _PAST or (word.endswith("ed") and word not in _NO_PAST and len(word) > 4)
