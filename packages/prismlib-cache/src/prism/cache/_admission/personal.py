"""Questions for a state of the one who asks: what the answer is depends on who that is.

"What is my balance?" and "Where is my parcel?" ask for a fact out of somebody's records. "How do I
check my balance?" and "My card has not arrived, what do I do?" have one answer for all, "my" or not.
"""

from __future__ import annotations

import re
from functools import cache

from prism.cache._admission.reading import read

__all__ = ["is_about_own_state"]

_SIGNS = frozenset("my our i mine order booking ticket case claim invoice shipment tracking reservation "
                   "parcel package confirmation reference transaction flight appointment "
                   "delivery".split())  # fmt: skip

# Records that somebody has one or several of.
_RECORD = r"""(?:balances?|orders?|parcels?|packages?|delivery|deliveries|shipments?|refunds?|payments?
    |transfers?|transactions?|purchases?|bookings?|reservations?|appointments?|meetings?|schedule
    |calendar|agenda|lists?|todos?|to-do|tasks?|reminders?|alarms?|messages?|emails?|inbox|voicemails?
    |mail|notifications?|bills?|statements?|invoices?|points|miles|rewards|savings|checking
    |funds|spending|spendings|expenses|usage|data\ usage|score|scores|grades?|results?|application
    |claim|claims|tickets?|cases?|status|limit|limits|income|salary|paycheck|payslip|pto|leave|holidays
    |vacation|subscriptions?|plan|account|accounts|itinerary|trips?|flights?|homework|birthday|rent
    |mortgage|loan|debt|credit|location|progress|history|prescriptions?|cart|basket|wishlist|playlist
    |portfolio|stocks|shares|deposit|deposits|activity|contacts|password|pin|code|number)"""
# Things that are on their way, or that get lost.
_THING = r"""(?:parcel|parcels|package|packages|order|orders|delivery|shipment|card|cards|refund|money
    |payment|cash|transfer|top-up|deposit|luggage|baggage|bags?|suitcase|driver|ride|cab|taxi|uber|food
    |pizza|meal|lunch|dinner|flight|train|bus|phone|keys?|wallet|glasses|car|bike|dog|cat|technician
    |replacement|items?|stuff|purchase|products?|paycheck|salary|wages|cheque|check|passport|visa
    |permit|licen[cs]e|ticket|tickets|booking|reservation|package|mail|letter|gift|book|books|laptop
    |medication|prescription|results?|tax\ refund|stimulus|prize|reward|groceries|shipping)"""
# Questions of choice and right, which have one answer for all.
_GENERAL = r"""(?:options?|rights?|choices?|alternatives?|chances?|obligations?|duties|next\ steps?|first
    \ steps?|best|responsibilit|problem|mistake|error|fault|goal|purpose)"""
_HAPPENED = r"""(?:shipped|sent|delivered|dispatched|approved|confirmed|cancell?ed|ready|here|arrived
    |arriving|coming|late|delayed|on\ time|on\ its\ way|on\ the\ way|processed|processing|pending
    |completed?|accepted|rejected|declined|received|paid|due|active|activated|blocked|frozen|locked
    |suspended|booked|scheduled|still|lost|stolen|refunded|reserved|overdue
    |successful|done|finished|verified|charged|up\ to\ date|overdrawn)"""
_ASKING = r"(?:what|when|where|which|who|how\ (?:much|many|often|long|high|far))"
_GET = r"(?:show|tell|give|read|list|check|find|pull\ up|look\ up|display|view|see|know|track|get)"

_PATTERNS = rf"""
    what\ (?:is|are|was|were|will\ be)\ (?:\w+\ )?(?:my|our)\ (?!(?:\w+\ )?{_GENERAL})\w
  | (?:how\ (?:much|high|low|big|large|far|old|long|good|bad|full|is|are|was))\ (?:is|are|was|were)?\ ?
        (?:my|our)\ (?!{_GENERAL})\w
  | what\ (?:is|are|was|were)\ the\ (?:\w+\ ){{0,2}}(?:balance|status|limit|due\ date|total|amount|apr
        |rate|score|deadline|expiration|expiry|minimum|eta|location|whereabouts|progress|due|routing
        |pin|number|outcome|result)\ (?:\w+\ ){{0,2}}(?:of|on|for|in|from|with)\ (?:my|our)\b
  | where\ (?:is|are|was|were)\ (?:all\ )?(?:my|our)\ (?:\w+\ ){{0,3}}?{_THING}(?:$|\ (?!found|displayed
        |listed|shown|stored|saved|accepted|supported))
  | where\ (?:am\ i|are\ we|did\ i)\b
  | who\ am\ i\b
  | when\ (?:is|are|was|were)\ (?:my|our)\ \w
  | when\ (?:will|does|do|should|would|might|can)\ (?:my|our)\ (?:\w+\ ){{0,3}}?{_THING}\ (?:\w+\ ){{0,2}}
        (?:arrive|come|be|get|reach|land|ship|leave|depart|show)\b
  | when\ (?:will|do|can|should|would)\ (?:i|we)\ (?:\w+\ )?(?:get|receive|have|expect)\ (?:my|our)
        \ (?:\w+\ ){{0,2}}?(?:parcels?|packages?|orders?|deliver(?:y|ies)|shipments?)\b
  | (?:what|which)\ (?:day|time|date)\ (?:is|are|will|does|do)\ (?:my|our)\ \w
  | {_ASKING}\ .{{0,40}}?\b(?:my|our)\ (?:next|last|previous|upcoming|latest|most\ recent|recent)
        \ (?!steps?\b)\w
  | (?:has|have|had|did)\ (?:my|our)\ \w
  | (?:is|are|was|were)\ (?:my|our)\ (?:\w+\ ){{1,5}}?{_HAPPENED}\b(?!\ (?:to|by|safe|everywhere|anywhere|in|at|when|while|if|from|for))
  | will\ (?:my|our)\ (?:\w+\ ){{1,3}}?(?:arrive|be\ (?:here|late|delivered|on\ time|there|delayed))\b
  | how\ (?:much|many)\ (?:\w+\ ){{0,4}}?(?:do|did|have|am|are)\ (?:i|we)\ (?:\w+\ )?(?:have(?!\ to\b)|owe
        |owed|owing|spend|spent|earn|earned|got|left|used|use|make|made|save|saved|own|due|pay\ for
        |paid|withdrawn|withdraw|burn|burned|eat|eaten)(?!\ to\b)
  | how\ (?:much|many)\ (?:\w+\ ){{0,3}}?(?:is|are|was|were|left)\ (?:\w+\ ){{0,2}}?(?:in|on|from)\ (?:my|our)\ (?:\w+\ ){{0,3}}?{_RECORD}\b
  | how\ (?:long|often|far)\ (?:have|did)\ i\b
  | do\ (?:i|we)\ (?:still\ |already\ |currently\ )?have\ (?:any|enough|an?|some|new|more|unread|\d+)\ 
        (?:\w+\ ){{0,3}}?(?:meetings?|appointments?|messages?|emails?|mail|events?|notifications?
        |reminders?|calls?|voicemails?|points|miles|balance|money|funds|cash|credit|bills?|tasks?
        |homework|class|classes|reservations?|bookings?|alarms?|orders?|debts?|flights?|subscription
        |plans?|deliver(?:y|ies)|payments?|fines?|gas|fuel|vacation|days|time|texts?)\b
  | am\ i\ (?:\w+\ )?(?:registered|enrolled|subscribed|approved|overdrawn|late|behind|due|booked
        |scheduled|checked|logged|connected|verified|insured|blocked|banned|up\ to\ date)\b
  | (?:what|which)\ .{{0,40}}?\b(?:did|do|have)\ i\ (?:have|order|ordered|buy|bought|spend|spent|say|said
        |ask|asked|pay|paid|owe|book|booked|watch|watched|listen|purchase|purchased|own|receive)\b
        (?!\ to)
  | when\ (?:did|do|am|have)\ i\ (?:last|order|buy|pay|book|subscribe|sign|join|start|open|leave|fly
        |have|work|get\ paid|arrive)\b
  | (?:what\ is|anything|what\ do\ i\ have|is\ there\ anything|is\ \w+)\ (?:\w+\ )?(?:on|in)\ (?:my|our)\ 
        (?:\w+\ ){{0,2}}?{_RECORD}\b
  | {_GET}\ (?:me\ |us\ )?(?:about\ |for\ )?(?:all\ (?:of\ )?|the\ (?:status|state|balance|details|list
        |progress|amount|total|location|due\ date|limit|history)\ (?:of|on|for|in)\ (?:all\ )?|what\ (?:is|are)
        \ (?:on\ |in\ )?|what\ |where\ |when\ |how\ much\ (?:is|i)\ )?(?:(?!why\b|how\b|if\b|whether\b)\w+\ )?(?:my|our)\ 
        (?:\w+\ ){{0,3}}?{_RECORD}\b(?!\ (?:is|are|was)?\ ?(?:not|gone|missing))
  | {_GET}\ (?:me\ )?(?:how\ (?:much|many)|where|what|when)\ (?:\w+\ ){{0,4}}?i\ (?:have|owe|spent|spend|am
        |ordered|bought|earned)\b
  | (?:track|locate|trace)\ (?:my|our|the|this|order|package|parcel|shipment)\b
  | (?:status|state|whereabouts|progress)\ of\ (?:my|our)\b
  | (?:my|our)\ (?:\w+\ ){{0,2}}?{_RECORD}(?:\ (?:status|balance|number|history|details|info|list|summary
        |please))?$
"""
# A number that names one record. Three digits at least, or a sign that says so.
_RECORD_NUMBER = r"""
    \b(?:order|booking|ticket|case|claim|invoice|shipment|tracking|reservation|parcel|package
        |confirmation|reference|transaction|appointment|delivery)
    \ (?:with\ )?(?:the\ )?(?:number|no|nr|id|code|ref|reference)?\ ?(?:is\ )?
    (?:\#\ ?[\w-]*\d|[a-z]{0,4}-?\d{3,}|\d[\w-]{3,}|[a-z]{1,4}\d[\w-]{2,})
  | \b(?:flight)\ (?:number\ |no\ )?(?:[a-z]{2}|[a-z]\d|\d[a-z])\ ?\d{1,4}\b
"""
_ABOUT_TEXT = frozenset("code essay grammar spelling writing resume cv sentence paragraph script text "
                        "query function homework answer letter draft".split())  # fmt: skip
_HOW_TO = re.compile(
    r"\bhow (?:do|does|can|could|to|would|should)\b(?! i (?:have|owe|stand)\b)"
    r"|\b(?:where|when|how long|how soon|how often|how late) (?:do|can|could|to|should|may|must)\b"
    r"(?! (?:i|we) (?:get|receive|expect|have) (?:my|our)\b)(?! (?:my|our)\b)"
    r"|\bwhat (?:do|should|can|must|could|does|would|happens|if)\b(?! i (?:have|owe)\b)"
    r"|\b(?:is there|any) (?:a |any )?way\b|\bis it possible\b|^(?:can|could|may|should|must) (?:i|we)\b"
    r"|^why\b|^what is the (?:best|easiest|fastest|right|difference)\b"
)
_LEADS = (
    "please", "can you", "could you", "would you", "will you", "hi", "hello", "hey", "so", "ok",
    "okay", "and", "i want to", "i would like to", "i need to", "i need you to", "just", "help me",
    "i wonder", "i am wondering", "do you know", "any idea", "quickly", "then", "but", "now",
    "i want you to", "kindly", "let me", "also",
)  # fmt: skip


@cache
def _state() -> re.Pattern[str]:
    return re.compile(_PATTERNS, re.VERBOSE)


@cache
def _record_number() -> re.Pattern[str]:
    return re.compile(_RECORD_NUMBER, re.VERBOSE)


@cache
def _lead() -> re.Pattern[str]:
    return re.compile(rf"(?:(?:{'|'.join(_LEADS)}) )*")


def is_about_own_state(question: str) -> bool:
    """Tell whether the answer depends on who asks."""
    reading = read(question)
    if reading.words.isdisjoint(_SIGNS):
        return False
    is_of_text = not _ABOUT_TEXT.isdisjoint(reading.words)
    for clause in reading.clauses:
        if _SIGNS.isdisjoint(clause):
            continue
        text = " ".join(clause)
        if _record_number().search(text):
            return True
        lead = _lead().match(text)
        asked = text[lead.end() :] if lead is not None else text
        if is_of_text or _HOW_TO.search(asked):
            continue
        if _state().match(asked):
            return True
    return False
