"""Questions whose right answer is another one tomorrow.

A word for a time is no sign by itself: "I ordered yesterday, how do I cancel?" has the same answer
every day, "What happened yesterday?" has not. So what somebody tells of the past is left alone, and
so is how something is done, unless it is to be done today.
"""

from __future__ import annotations

import re
from functools import cache

from prism.cache._admission.reading import read

__all__ = ["is_about_now"]

_DAYS = "monday tuesday wednesday thursday friday saturday sunday"
# Without one of these words nothing below matches.
_SIGNS = frozenset(
    (
        "today today's todays tonight tonight's tomorrow tomorrow's yesterday yesterday's now "
        "currently current moment latest newest recent this next last coming past time date day "
        "weather forecast rain raining snow snowing umbrella temperature hot cold warm sunny "
        "humid windy outside exchange conversion convert price prices rate score scores won winning "
        "traffic news headlines trending until till left still upcoming open closed happening live "
        "stock sunrise sunset"
    ).split()
)

_SOON = r"(?:today|today's|todays|tonight|tonight's|tomorrow|tomorrow's)"
_NOW = r"(?:right\ now|at\ the\ moment|as\ of\ now|just\ now|at\ this\ moment|at\ present)"
_PERIOD = (
    r"(?:morning|afternoon|evening|week|weekend|month|year|quarter|season|summer|winter|spring)"
)
_RELATIVE = rf"""
    (?:yesterday|yesterday's|last\ night)
  | this\ (?:{_PERIOD}|{_DAYS.replace(" ", "|")}|christmas|easter)(?!\ of)
  | (?:next|last|this\ past|this\ coming|this\ last)\ (?:{_PERIOD}|{_DAYS.replace(" ", "|")})(?:'s)?
  | (?:in|over|during|for|within)\ the\ (?:last|past|next|coming)\ (?:few\ |couple\ of\ |\w{{1,8}}\ )?
        (?:minutes?|hours?|days?|weeks?|months?|years?)
"""
_VOLATILE = r"""(?:weather|temperature|time|date|day|price|prices|rate|rates|score|scores
    |standings|stock|share|traffic|news|events|affairs|president|prime|ceo|chancellor|king|queen|pope
    |mayor|minister|governor|champion|champions|holder|value|version|inflation|waiting|wait|queue
    |status|situation|location|promotions?|offers?|deals?|discounts?|market|forecast|headlines|top
    |bestseller|number|population|season|year|month|week|conditions|fuel|gas|petrol|mortgage)"""
_ALWAYS = rf"""
    \bcurrent\ (?:\w+\ ){{0,2}}?{_VOLATILE}\b
  | \bcurrently\ (?:open|closed|available|playing|showing|trending|leading|winning|happening|live
        |ranked|number\ one|running|serving|hiring|trading)\b
  | (?<!at\ the\ )(?<!my\ )(?<!our\ )\b(?:latest|newest|most\ recent)\ (?!(?:date|time|day|point|i|we|you|possible)\b)\w
  | ^(?:so\ )?what\ (?:is\ the\ )?(?:time|date|day|year)(?:$|\ (?:is\ it|is\ today|in\ \w+|now|please))
  | \bwhat\ (?:time|day|date|year|month)\ (?:is\ it|it\ is|today\ is|is\ today)\b
  | \bthe\ time\ in\ \w
  | \bcurrent\ time\b
  | (?:^|\b(?:how|what)\ (?:is|will|was|about)\ (?:the\ )?|\b(?:the|today)\ )weather\b(?!\ (?:app|api
        |data|widget|station|balloon|proof|resistant|sealing|affect))
  | \bweather\ (?:forecast|report|like|outside|(?:in|for|at)\ \w)
  | \bforecast\ (?:for|in|today)\b
  | \b(?:is|will|was)\ it\ (?:be\ |going\ to\ be\ |going\ to\ )?(?:rain|raining|snow|snowing|sunny|hot
        |cold|warm|humid|windy|chilly|freezing|cloudy|storm)(?:$|\ (?:in|at|on|outside|here|there|or
        |and|enough|out)\b)
  | \bhow\ (?:hot|cold|warm|humid|windy|chilly)\ (?:is|will)\ it\b
  | \b(?:need|take|bring)\ (?:an|my)\ umbrella\b
  | \btemperature\ (?:outside|(?:is\ it\ )?(?:in|at)\ [a-z]+(?:$|\ [a-z]+$))
  | \bwhat\ (?:is|are|was)\ the\ (?:\w+\ ){{0,3}}?(?:exchange|conversion)\ rates?\ (?:of|for|between
        |from|in|to|is)\b
  | ^(?:exchange|conversion)\ rate\ (?:of|for|between|from)\b
  | \b(?:stock|share)\ prices?\ (?:of|for|is|at)\b
  | \bprice\ of\ (?:\w+\ ){{0,1}}?(?:bitcoin|btc|ethereum|eth|gold|silver|oil|crude|gas|petrol|diesel)\b
  | \b(?:bitcoin|btc|ethereum|eth|gold|oil)\ price\b
  | ^convert\ [$€£¥]?\d[\d.,]*\ ?(?:us\ |[a-z]+\ )?(?:dollars?|usd|euros?|eur|pounds?|gbp|yen|jpy|rupees?
        |inr|chf|cad|aud)\b
  | \b(?:what|who)\ (?:is|was|are)\ (?:the\ )?(?:\w+\ )?score\b
  | \bscore\ (?:of|in|for)\ the\ (?:\w+\ ){{0,3}}?(?:game|match)\b
  | \bwho\ (?:won|is\ winning|is\ leading|is\ playing)\ (?:the\ )?(?:game|match|race|election$)
  | \bhow\ (?:is|are)\ (?:the\ )?(?:traffic|roads|stock\ market|markets?)\b
  | \b(?:what|how|is|any|there)\ (?:\w+\ ){{0,3}}?traffic\ (?:on|to|in|like|near|between|jams?)\b
  | ^traffic\ (?:on|to|in|near|report)\b
  | \b(?:what|any|the|in\ the|me\ the|local|world)\ (?:is\ )?(?:\w+\ )?(?:news|headlines)$
  | ^(?:news|headlines|top\ stories)\b
  | \b(?:news|headlines)\ (?:about|on|from|in|of)\b
  | \bwhat\ is\ (?:happening|going\ on|trending)\ (?:in|at|on|around|near)\b
  | \b(?:when|what|what\ time|where|who|how\ long)\ .{{0,30}}\bnext\ (?:bus|train|tram|metro|subway
        |ferry|flight|game|match|race|holiday|election|eclipse|full\ moon|new\ moon|episode|launch
        |meeting|holiday|full|show|concert|delivery|world\ cup)\b
  | \bhow\ many\ (?:\w+\ )?(?:days|weeks|months|hours)\ (?:left\ |are\ left\ |are\ there\ |is\ it\ |remain\ )?
        (?:until|till|to)\ (?!the\b|i\b|we\b|my\b|you\b|it\b|an?\b)\w
  | \bhow\ long\ (?:is\ it\ )?(?:until|till)\ (?:the\ )?next\b
  | ^(?:is|are)\ (?:\w+\ ){{1,5}}?still\ (?:open|available|alive|in\ stock|on\ sale|playing|down)\b
  | ^(?:is|are)\ (?:\w+\ ){{1,5}}?(?:open|closed|available|raining|down|up|live|awake|home)\ now$
  | ^(?:what|who|where)\ (?:is|are)\b(?!.*\b(?:do|should|can|could|must|to)\b).*\bnow$
  | \bupcoming\ (?:\w+\ )?(?:events?|games?|matches|concerts?|holidays?|elections?|shows?|sales?)\b
  | \b(?:sunrise|sunset)\b(?=.*\b(?:time|in|when)\b)|^(?:when|what\ time)\ .{{0,20}}\b(?:sunrise|sunset)
"""
_MONTHS = frozenset(
    "january february march april may june july august september october november december".split()
)
_TELLERS = frozenset("i we my our someone somebody there he she they a the".split())
_PAST = frozenset(
    (
        "was were had has have did made sent bought paid got went took saw found lost left came gave "
        "told said withdrew withdrawn put spent forgot been knew thought felt heard broke ran began "
        "sold transferred tried"
    ).split()
)
_REPORTING = frozenset("been waiting trying tried had just lost bought made received".split())
_ASKING = frozenset("what which how who when did show tell list check find give see".split())
_NO_PAST = frozenset("need feed speed need indeed bed red exceed proceed".split())
_HOW_TO = re.compile(
    r"\bhow (?:do|does|can|could|to|would|should|did)\b|\bwhere (?:do|can|could|to|should)\b"
    r"|\bwhat (?:do|should|can|must|could|am) (?:i|we)\b|\b(?:is there|any) (?:a |any )?way\b"
    r"|^(?:why|how come)\b.*\b(?:i|my|we|our)\b"
)


@cache
def _soon() -> re.Pattern[str]:
    return re.compile(rf"\b{_SOON}(?!\w)", re.VERBOSE)


@cache
def _now() -> re.Pattern[str]:
    return re.compile(rf"\b{_NOW}(?!\w)", re.VERBOSE)


@cache
def _relative() -> re.Pattern[str]:
    return re.compile(rf"\b(?:{_RELATIVE})\b", re.VERBOSE)


@cache
def _always() -> re.Pattern[str]:
    return re.compile(_ALWAYS, re.VERBOSE)


def is_about_now(question: str) -> bool:
    """Tell whether the answer depends on when it is asked."""
    reading = read(question)
    if reading.words.isdisjoint(_SIGNS):
        return False
    for clause in reading.clauses:
        if _SIGNS.isdisjoint(clause):
            continue
        text = " ".join(clause)
        tells = _tells(clause)
        is_how_to = _HOW_TO.search(text) is not None
        if not tells and (
            _soon().search(text) or (not is_how_to and clause[0] != "i" and _now().search(text))
        ):
            return True
        if is_how_to or tells:
            continue
        if _relative().search(text):
            return True
        if _MONTHS.isdisjoint(clause) and _always().search(text):
            return True
    return False


def _tells(clause: tuple[str, ...]) -> bool:
    """Tell whether somebody reports what happened: "The card I lost this morning"."""
    if clause[0] in _REPORTING or (clause[0] in _TELLERS and any(map(_is_past, clause[1:]))):
        return True
    # "What did I spend last week?" asks for it.
    if clause[0] in _ASKING:
        return False
    return any(
        word in ("i", "we") and any(map(_is_past, clause[place + 1 : place + 4]))
        for place, word in enumerate(clause)
    )


def _is_past(word: str) -> bool:
    return word in _PAST or (word.endswith("ed") and word not in _NO_PAST and len(word) > 4)
