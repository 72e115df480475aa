"""Requests whose effect must happen each time they are made.

"Cancel my order" commands, "How do I cancel my order?" asks, and "cancel order" is what people type
into a search field. Only the first is an action: an imperative whose object is somebody's, or that
could not be meant as anything else ("book a table", "transfer 50 euros"). Texts that a model writes
("write an email", "fix my code") are answers like any other.
"""

from __future__ import annotations

from functools import cache

from prism.cache._admission.reading import read

__all__ = ["is_command", "is_wish_to_act"]

# Deals, messages and appointments: with nearly any object they are meant as they are said.
_DEALS = frozenset(
    (
        "book reserve buy purchase order pay transfer wire send email text call phone dial "
        "message remind notify wake schedule reschedule subscribe unsubscribe refund withdraw "
        "deposit tweet enrol enroll cancel postpone freeze unfreeze block unblock play snooze "
        "donate renew hire forward ship dispatch repay reimburse"
    ).split()
)
# Deals about something that is there already: of "a sale" or "an order" one asks in general.
_UNDOING = frozenset(
    (
        "cancel refund block unblock freeze unfreeze postpone reschedule renew forward ship "
        "subscribe unsubscribe withdraw deposit pay transfer repay reimburse dispatch"
    ).split()
)
# Changes: also what one looks up how to do, so only with an object that is somebody's.
_CHANGES = frozenset(
    (
        "delete remove erase change update reset activate deactivate enable disable lock unlock "
        "suspend close upgrade downgrade terminate submit register restore restart reboot "
        "set switch turn add approve revoke archive mark rename upload share print assign sign log "
        "opt resend reactivate redeem extend pause resume stop start return exchange swap put "
        "report"
    ).split()
)
# Beginnings that mean a deal only with one of the nouns below.
_MAKING = frozenset("make place create file raise submit open leave set put log start".split())
_MADE = frozenset(
    (
        "reservation booking appointment payment transfer purchase ticket complaint claim reminder "
        "event meeting order deposit call alarm timer alert withdrawal donation"
    ).split()
)
_TURNING = frozenset(
    "turn switch shut power dim start stop pause resume mute unmute lower raise increase "
    "decrease set skip open close lock unlock".split()
)
_DEVICES = frozenset(
    (
        "light lights lamp lamps tv television radio music song volume heating heater "
        "thermostat ac fan alarm alarms oven speaker speakers vacuum sprinklers kettle blinds "
        "garage door doors timer brightness dishwasher playlist podcast"
    ).split()
)
_KEPT = frozenset(
    "cart basket list lists calendar playlist wishlist queue favorites favourites agenda".split()
)
_SPEAKER, _OWN = frozenset(("me", "us")), frozenset("my our mine ours".split())
_OF_PEOPLE = frozenset("sign log opt switch register add".split())
_FINITE = frozenset("is was are were has have had does did not will would".split())
_INTO, _OWNED = frozenset("to on in into onto".split()), frozenset("the my our".split())
_MINE = frozenset("my our me us mine ours".split())
_POINTED = _MINE | frozenset("it this that these those them him her his their everything".split())
_DETERMINED = _POINTED | frozenset("a an the all some another any every both two three".split())
_TO_CALL = frozenset("call text email message phone dial notify remind tweet forward".split())
_PEOPLE = frozenset(
    (
        "mom mum mother dad father grandma grandpa wife husband boyfriend girlfriend son daughter "
        "brother sister uncle aunt boss everyone everybody 911 112 999 police taxi"
    ).split()
)
# Who names one of these asks how it is done with it.
_TOOLS = frozenset(
    (
        "python java javascript typescript js ts sql mysql postgres postgresql bash shell linux "
        "unix ubuntu windows macos git github css html php ruby rust go golang c c++ c# pandas "
        "numpy excel word powerpoint outlook gmail sheets regex docker kubernetes curl react "
        "angular vue node nodejs django flask api http rest json xml csv php powershell vim "
        "emacs matlab r promise thread function array string loop query script command css "
        "jquery android ios"
    ).split()
)
_OPENERS = frozenset(
    (
        "hi hello hey please kindly ok okay so now just then also and but well yeah sure "
        "thanks quickly simply immediately urgently siri alexa google cortana assistant bot there"
    ).split()
)
_AUXILIARIES = frozenset("can could would will".split())
_BIDDING = (
    ("i", "need", "you", "to"),
    ("i", "want", "you", "to"),
    ("i", "would", "like", "you", "to"),
    ("we", "need", "you", "to"),
    ("you", "need", "to"),
    ("you", "must"),
    ("go", "ahead", "and"),
    ("let", "us"),
    ("help", "me", "to"),
    ("do", "not", "forget", "to"),
    ("do", "not"),
    ("make", "sure", "to"),
)
_WISHING = (
    ("i", "want", "to"),
    ("i", "would", "like", "to"),
    ("i", "need", "to"),
    ("i", "have", "to"),
    ("i", "am", "trying", "to"),
    ("i", "wish", "to"),
    ("we", "want", "to"),
    ("we", "would", "like", "to"),
    ("we", "need", "to"),
    ("can", "i"),
    ("could", "i"),
    ("may", "i"),
    ("help", "me"),
)
# Words behind a verb among which its object is looked for, and the list it is put on.
_NEAR, _FAR = 7, 12


@cache
def _verbs() -> frozenset[str]:
    return _DEALS | _CHANGES | _MAKING | _TURNING


def is_command(question: str) -> bool:
    """Tell whether a text orders something done. Cost: about 1 us when no such verb is in it."""
    reading = read(question)
    if reading.words.isdisjoint(_verbs()):
        return False
    return any(_commands(clause, reading.words) for clause in reading.clauses)


def is_wish_to_act(question: str) -> bool:
    """Tell whether a text says that its writer wants something done: "I want to cancel my order".

    Where the model has no tools that is how people ask how to do it themselves.
    """
    reading = read(question)
    if reading.words.isdisjoint(_verbs()):
        return False
    for clause in reading.clauses:
        rest = _without_openers(clause)
        for wish in _WISHING:
            if rest[: len(wish)] == wish and _acts(rest[len(wish) :], reading.words):
                return True
    return False


def _without_openers(clause: tuple[str, ...]) -> tuple[str, ...]:
    place = 0
    while place < len(clause) and clause[place] in _OPENERS:
        place += 1
    return clause[place:]


def _commands(clause: tuple[str, ...], words: frozenset[str]) -> bool:
    rest = _without_openers(clause)
    for bidding in _BIDDING:
        if rest[: len(bidding)] == bidding:
            rest = _without_openers(rest[len(bidding) :])
            break
    if len(rest) > 2 and rest[0] in _AUXILIARIES and rest[1] == "you":
        asked = _without_openers(rest[2:])
        # "Can you transfer money abroad?" asks whether one can.
        is_mine = rest[0] != "will" and not _MINE.isdisjoint(asked[1:_NEAR])
        is_asked_of_you = "please" in words or is_mine
        return is_asked_of_you and _acts(asked, words)
    if _acts(rest, words):
        return True
    if "please" in clause[1:]:
        return _acts(clause[clause.index("please", 1) + 1 :], words)
    return False


def _acts(words: tuple[str, ...], all_words: frozenset[str]) -> bool:
    """Tell whether words that begin with a verb name an effect."""
    if len(words) < 2:
        return False
    verb, target, near = words[0], words[1], words[1:_NEAR]
    is_somebodys = not _MINE.isdisjoint(near)
    # "Refund to my card was declined" begins with a noun.
    is_report = not _FINITE.isdisjoint(words) or target.endswith("ing")
    if verb in _DEALS:
        if (is_somebodys and not is_report) or target in _POINTED:
            return True
        if verb in _TO_CALL and target in _PEOPLE:
            return True
        is_general = target in ("a", "an") and verb in _UNDOING
        if (target in _DETERMINED and not is_general) or _is_amount(target):
            return _TOOLS.isdisjoint(all_words)
    if verb in _CHANGES and not (target in _SPEAKER and verb not in _OF_PEOPLE):
        is_own = not _OWN.isdisjoint(near) and not is_report
        if is_own or target in _POINTED:
            return True
    if verb in _MAKING and not _MADE.isdisjoint(words[2:6]) and target in _DETERMINED:
        return _TOOLS.isdisjoint(all_words)
    if verb in _TURNING and not _DEVICES.isdisjoint(near):
        return _TOOLS.isdisjoint(all_words)
    if verb in ("add", "put"):
        place = frozenset(words[2:_FAR])
        return bool(place & _KEPT and place & _INTO and place & _OWNED)
    return False


def _is_amount(word: str) -> bool:
    return word[0].isdigit() or word[0] in "$€£¥"
