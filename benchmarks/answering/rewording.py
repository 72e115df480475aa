"""Say the same facts anew: other templates, synonyms, order, opening and close at every call.

A template is a sentence with alternatives in brackets. Facts are never dropped, and numbers and
names are spelled alike in every wording; all else varies, as it does when a language model is asked
the same thing twice at a temperature above 0.
"""

from __future__ import annotations

import random
import re

from answering.facts import Facts

_ALTERNATIVES = re.compile(r"\[([^\[\]]*)\]")
_FREE = "free"

_OPENINGS = (
    "",
    "[Sure|Of course|Certainly], [here is|this is] [what you need to know|how it works].",
    "[Thanks for asking|Thank you for your question]!",
    "[Here is|This is] how {topic} works.",
    "[I can help|Happy to help] with {topic}.",
    "[About|Regarding|On] {topic}: [it is quite simple|there are a few things to know].",
    "[I understand|I see] that [you are asking|your question is] about {topic}.",
)
_PLACES = (
    "[Open|Go to] {menu} in the app [and choose|and tap|, then choose] {topic}.",
    "[You will find|You can find|Look for] {topic} under {menu} in the app.",
    "In the app, [everything about|the page on] {topic} is [under|in] {menu}.",
)
_TEAMS = (
    "[Our|The] {team} team [looks after|takes care of|handles] [this|it].",
    "[It|This] is [handled|looked after] by [our|the] {team} team.",
    "[For this|For that], {team} is the [right team|team to ask].",
)
_SENTENCES: dict[str, tuple[str, ...]] = {
    "wait": (
        "It [usually|normally|typically] takes {value} [working|business] days.",
        "[Please allow|Allow|Expect] {value} [working|business] days [for it|until it is done].",
        "You [should|will] [hear from us|have it] within {value} [working|business] days.",
    ),
    "fee": (
        "[The fee is|There is a fee of|The charge for it is] {value}.",
        "[It costs|This costs|You pay] {value}.",
        "A [fee|charge] of {value} [applies|is taken].",
    ),
    _FREE: (
        "[It is|This is] free [of charge|].",
        "[It costs|This costs] nothing.",
        "[There is no fee|We charge nothing|You pay nothing] [for it|for this].",
    ),
    "limit": (
        "The [limit|maximum] is {value} [a day|per day].",
        "[Up to|At most] {value} [a day|per day] is possible.",
        "You can [go up to|use up to] {value} [a day|each day].",
    ),
    "menu": (
        "The [page|section] you [need|want] is [called|named] {value}.",
        "[Choose|Tap|Select] {value} [there|on that page].",
        "[There|On that page], {value} is the [button|entry] to [choose|tap].",
    ),
    "hours": (
        "[We are|Somebody is] there from {value}.",
        "[You can reach us|We can be reached] from {value}.",
        "[The lines are|The chat is] open from {value}.",
    ),
    "paper": (
        "[You need|You will need|Have ready] {value} [for it|for this].",
        "[Please bring|Please have] {value} [ready|with you].",
        "{value} is [required|needed|necessary].",
    ),
    "no paper": (
        "[You do not need|You don't need|There is no need for] {value}.",
        "{value} is not [required|needed|necessary].",
        "We do not [ask for|require] {value}.",
    ),
}
_CLOSINGS = (
    "",
    "",
    "[Is there|Can I help with] anything else?",
    "[If anything is unclear|If something is not clear], [just ask|let me know].",
    "[Don't hesitate|Do not hesitate] to [ask again|write to us again].",
    "[I hope that helps|Hope this helps]!",
)


def worded(facts: Facts, rng: random.Random) -> str:
    """Word the facts, in several sentences."""
    sentences = [
        rng.choice(_SENTENCES[_FREE if value == _FREE else kind]).replace("{value}", value)
        for kind, value in facts.values
    ]
    sentences += [rng.choice(_PLACES), rng.choice(_TEAMS)]
    rng.shuffle(sentences)
    sentences = [rng.choice(_OPENINGS), *sentences, rng.choice(_CLOSINGS)]
    text = " ".join(_capitalised(_chosen(sentence, rng)) for sentence in sentences if sentence)
    return text.format(topic=facts.topic, menu=facts.menu, team=facts.team)


def _chosen(template: str, rng: random.Random) -> str:
    text = _ALTERNATIVES.sub(lambda found: rng.choice(found[1].split("|")), template)
    return re.sub(r" +(?=[ .,])", "", text)


def _capitalised(sentence: str) -> str:
    return sentence[:1].upper() + sentence[1:]
