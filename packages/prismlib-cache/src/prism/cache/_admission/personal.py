"""Questions for a state of the one who asks: what the answer is depends on who that is.

"What is my balance?" and "Where is my parcel?" ask for a fact out of somebody's records. "How do I
check my balance?" and "My card has not arrived, what do I do?" have one answer for all, whosever
card it is.
"""

from __future__ import annotations

import re
from functools import cache

from prism.cache._admission.phrases import phrases
from prism.cache._admission.reading import read

__all__ = ["is_about_own_state"]

# Without one of these words nothing below matches.
_SIGNS = frozenset(
    (
        "my our i mine order booking ticket case claim invoice shipment tracking reservation "
        "parcel package confirmation reference transaction flight appointment delivery"
    ).split()
)

# Held against the beginning of a clause, without what is said to be polite.
_STATES = r"""
    # facts about oneself
    what (is|are|was|were|will be) (\w+ )?<mine> (?!(\w+ )?<general>)\w
    how <large> (is|are|was|were) <mine> (?!<general>)\w
    how (is|are|was|were) <mine> (?!<general>)(?!(\w+ ){0,4}<processed>\b)\w
    what (is|are|was|were) the (\w+ ){0,2}<figure> (\w+ ){0,2}(of|on|for|in|from|with) <mine>\b
    (where am i|where are we|where did i|who am i)\b(?! (able|allowed|supposed|to)\b)
    # where things are, and when they come
    where (is|are|was|were) (all )?<mine> (\w+ ){0,3}?<thing>($| (?!<shown>\b))
    (tell me |find out |see )?(where|when) <mine> (\w+ ){0,2}?<thing> <moves>\b
    when (is|are|was|were) <mine> \w
    when <shall> <mine> (\w+ ){0,3}?<thing> (\w+ ){0,2}<come>\b
    when (will|do|can|should|would) (i|we) (\w+ )?<receive> <mine> (\w+ ){0,2}?<shipment>\b
    (what|which) (day|time|date) (is|are|will|does|do) <mine> \w
    <question> .{0,40}?\b<mine> <nearest> (?!steps?\b)\w
    # whether something has happened
    (has|have|had|did) <mine> \w
    (is|are|was|were) <mine> (\w+ ){1,5}?<happened>\b(?! <in_general>\b)
    will <mine> (\w+ ){1,3}?(arrive|be (here|late|delivered|on time|there|delayed))\b
    am i (\w+ )?<enlisted>\b
    # how much one has, and what one has done
    how (much|many) (\w+ ){0,4}?(do|did|have|am|are) (i|we) (\w+ )?<having>\b(?! to\b)
    how (much|many) (\w+ ){0,3}?(is|are|was|were|left) (\w+ ){0,2}?(in|on|from) <mine> \w
    how (long|often|far) (have|did) i\b
    do (i|we) (still |already |currently )?have <some> (\w+ ){0,3}?<kept>\b
    (what|which) .{0,40}?\b(did|do|have) i <doing>\b(?! to)
    when (did|do|am|have) i <moment>\b
    # records that are to be read out
    <what_is> (\w+ )?(on|in) <mine> (\w+ ){0,2}?<record>\b
    <show> (me |us )?(about |for )?<part>(?!<open>\b)(\w+ )?<mine> (\w+ ){0,3}?<record>\b
    <show> (me )?(how (much|many)|where|what|when) (\w+ ){0,4}?i <had>\b
    (track|locate|trace) (my|our|the|this|order|package|parcel|shipment)\b
    (status|state|whereabouts|progress) of <mine>\b
    <mine> (\w+ ){0,2}?<record>( (status|balance|number|history|details|info|list|summary|please))?$
"""
# Records that somebody has one or several of.
_RECORD = """
    balances? orders? parcels? packages? delivery deliveries shipments? refunds? payments?
    transfers? transactions? purchases? bookings? reservations? appointments? meetings? schedule
    calendar agenda lists? todos? to-do tasks? reminders? alarms? messages? emails? inbox
    voicemails? mail notifications? bills? statements? invoices? points miles rewards savings
    checking funds spendings? expenses usage scores? grades? results? application claims? tickets?
    cases? status limits? income salary paycheck payslip pto leave holidays vacation
    subscriptions? plan accounts? itinerary trips? flights? homework birthday rent mortgage loan
    debt credit location progress history prescriptions? cart basket wishlist playlist portfolio
    stocks shares deposits? activity contacts password pin number
"""
# Things that are on their way, or that get lost.
_THING = """
    parcels? packages? orders? delivery shipment cards? refund money payment cash transfer top-up
    deposit luggage baggage bags? suitcase driver ride cab taxi food pizza meal lunch dinner
    flight train bus phone keys? wallet glasses car bike dog cat technician replacement items?
    stuff purchase products? paycheck salary wages cheque check passport visa permit licen[cs]e
    tickets? booking reservation mail letter gift books? laptop medication prescription results?
    prize reward groceries
"""
_SHIPMENT = "parcels? packages? orders? delivery deliveries shipments?"
# Questions of choice and right, which have one answer for all.
_GENERAL = r"""
    options? rights? choices? alternatives? chances? obligations? duties next_steps? first_steps?
    best responsibilit allowed supposed entitled \w+_(?:allowed|supposed)
    problem mistake error fault goal purpose
"""
_LARGE = "much high low big large far old long good bad full"
_OPEN = "why how if whether"
_MOVES = "is are was went comes arrives leaves"
_FIGURE = """
    balance status limit due_date total amount apr rate score deadline expiration expiry minimum eta
    location whereabouts progress due routing pin number outcome result
"""
_SHOWN = "found displayed listed shown stored saved accepted supported"
_SHALL = "will does do should would might can"
_COME = "arrive come be get reach land ship leave depart show go"
_RECEIVE = "get receive have expect"
_QUESTION = "what when where which who how_(?:much|many|often|long|high|far)"
_NEAREST = "next last previous upcoming latest most_recent recent"
_HAPPENED = """
    shipped sent delivered dispatched approved confirmed cancell?ed ready here arrived arriving
    coming late delayed on_time on_its_way on_the_way processed processing pending completed?
    accepted rejected declined received paid due active activated blocked frozen locked suspended
    booked scheduled still lost stolen refunded reserved overdue successful done finished verified
    charged up_to_date overdrawn
"""
_PROCESSED = r"\w+ed sent made kept paid set built done chosen"
_IN_GENERAL = "to by safe everywhere anywhere in at when while if from for automatically separately"
_ENLISTED = """
    registered enrolled subscribed approved overdrawn late behind due booked scheduled checked
    logged connected verified insured blocked banned up_to_date
"""
_HAVING = """
    have owe owed owing spend spent earn earned got left used use make made save saved own due
    pay_for paid withdrawn withdraw burn burned eat eaten
"""
_SOME = r"any enough an? some new more unread \d+"
_KEPT = """
    meetings? appointments? messages? emails? mail events? notifications? reminders? calls?
    voicemails? points miles balance money funds cash credit bills? tasks? homework class classes
    reservations? bookings? alarms? orders? debts? flights? subscription plans? delivery
    deliveries payments? fines? gas fuel vacation days time texts?
"""
_DOING = """
    have order ordered buy bought spend spent say said ask asked pay paid owe book booked watch
    watched listen purchase purchased own receive
"""
_MOMENT = """
    last order buy pay book subscribe sign join start open leave fly have work get_paid arrive
"""
_WHAT_IS = r"what_is anything what_do_i_have is_there_anything is_\w+"
_SHOW = "show tell give read list check find pull_up look_up display view see know track"
_PART = r"""
    (?:all_(?:of_)?)? the_(?:\w+_){1,2}(?:of|on|for|in)_(?:all_)? what_(?:is|are)_(?:on_|in_)?
    what_ where_ when_ how_much_(?:is|i)_
"""
_HAD = "have owe spent spend am ordered bought earned"

# A number that names one record: three digits at least, or a sign that says so.
_ONE_RECORD = r"""
    \b<filed> (with )?(the )?(number|no|nr|id|code|ref|reference)? ?(is )?<number>
    \bflight (number |no )?([a-z]{2}|[a-z]\d|\d[a-z]) ?\d{1,4}\b
"""
_FILED = """
    order booking ticket case claim invoice shipment tracking reservation parcel package
    confirmation reference transaction appointment delivery
"""
_NUMBER = r"#_?[\w-]*\d [a-z]{0,4}-?\d{3,} \d[\w-]{3,} [a-z]{1,4}\d[\w-]{2,}"

# What is asked for is the way, not the state.
_HOW_TO = r"""
    \bhow (do|does|can|could|to|would|should)\b(?! i (have|owe|stand)\b)
    \b<way> (do|can|could|to|should|may|must)\b(?! (i|we) <receive> <mine>\b)(?! <mine>\b)
    \bwhat (do|should|can|must|could|does|would|happens|if)\b(?! i (have|owe)\b)
    \b(is there|any) (a |any )?way\b
    \bis it possible\b
    \bif (i|we|you)\b
    \b(options|choices|rights|alternatives)\b
    ^(can|could|may|should|must) (i|we)\b
    ^why\b
    ^what is the (best|easiest|fastest|right|difference)\b
"""
_WAY = "where when how_long how_soon how_often how_late"
_MINE = "my our"
# Who brings a text along asks about the text.
_TEXTS = frozenset(
    (
        "code essay grammar spelling writing resume cv sentence paragraph script text query "
        "function homework answer letter draft"
    ).split()
)
_LEAD = r"(<polite> )*"
_POLITE = """
    please can_you could_you would_you will_you hi hello hey so ok okay and i_want_to
    i_would_like_to i_need_to i_need_you_to just help_me i_wonder i_am_wondering do_you_know
    any_idea quickly then but now i_want_you_to kindly let_me also
"""


@cache
def _states() -> re.Pattern[str]:
    return phrases(
        _STATES,
        mine=_MINE,
        record=_RECORD,
        thing=_THING,
        shipment=_SHIPMENT,
        general=_GENERAL,
        large=_LARGE,
        open=_OPEN,
        moves=_MOVES,
        figure=_FIGURE,
        shown=_SHOWN,
        shall=_SHALL,
        come=_COME,
        receive=_RECEIVE,
        question=_QUESTION,
        nearest=_NEAREST,
        happened=_HAPPENED,
        in_general=_IN_GENERAL,
        processed=_PROCESSED,
        enlisted=_ENLISTED,
        having=_HAVING,
        some=_SOME,
        kept=_KEPT,
        doing=_DOING,
        moment=_MOMENT,
        what_is=_WHAT_IS,
        show=_SHOW,
        part=_PART,
        had=_HAD,
    )


@cache
def _one_record() -> re.Pattern[str]:
    return phrases(_ONE_RECORD, filed=_FILED, number=_NUMBER)


@cache
def _how_to() -> re.Pattern[str]:
    return phrases(_HOW_TO, way=_WAY, receive=_RECEIVE, mine=_MINE)


@cache
def _lead() -> re.Pattern[str]:
    return phrases(_LEAD, polite=_POLITE)


def is_about_own_state(question: str) -> bool:
    """Tell whether the answer depends on who asks."""
    reading = read(question)
    if reading.words.isdisjoint(_SIGNS):
        return False
    is_of_text = not _TEXTS.isdisjoint(reading.words)
    for clause in reading.clauses:
        if _SIGNS.isdisjoint(clause):
            continue
        text = " ".join(clause)
        if _one_record().search(text):
            return True
        lead = _lead().match(text)
        asked = text[lead.end() :] if lead is not None else text
        if is_of_text or _how_to().search(asked):
            continue
        if _states().match(asked):
            return True
    return False
