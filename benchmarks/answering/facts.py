"""What the answer to an intent says, whatever the words: its facts.

Every intent has four facts of the seven kinds below, drawn by its name. The values come from short
lists that all intents of a data set share, and intents whose names begin with the same word share
their menu and their team: so answers to different intents have most words in common, often some
facts as well, and hardly a number tells an intent by itself. All four facts together do.
"""

from __future__ import annotations

import random
import re
from dataclasses import dataclass

import intents

FACTS_OF_AN_INTENT = 4
_TOPIC_WORDS = 5
_LITTLE_WORDS = frozenset(
    "a an and are be can could do does for from have how i in is it me my of on or please should "
    "tell that the there this to was were what when where which who why will with would you your"
    .split()
)  # fmt: skip

# Each kind of fact with its possible values.
KINDS: dict[str, tuple[str, ...]] = {
    "wait": ("1", "2", "3", "5", "7", "10", "14"),
    "fee": ("free", "$1.50", "$2", "$4.99", "$5", "$12", "$25"),
    "limit": ("$50", "$200", "$500", "$1,000", "$2,500", "$10,000"),
    "menu": ("Overview", "Details", "Services", "Settings", "Documents", "Requests"),
    "hours": ("8 am to 6 pm", "9 am to 5 pm", "7 am to 10 pm", "10 am to 4 pm"),
    "paper": ("a photo ID", "a proof of address", "a signed form", "the order number"),
    "no paper": ("a photo ID", "a proof of address", "a signed form", "the order number"),
}
MENUS = ("Home", "Account", "Cards", "Payments", "Travel", "Profile", "Help")
TEAMS = ("Customer Care", "Operations", "Member Services", "Front Desk", "Support", "Claims")


@dataclass(frozen=True, slots=True)
class Facts:
    """The content of an answer.

    Attributes:
        topic: What it is about, as a model would name it.
        menu: Where in the app the intent belongs; shared by intents that begin alike.
        team: Who is in charge; likewise.
        values: Four kinds of fact with their values.
    """

    topic: str
    menu: str
    team: str
    values: tuple[tuple[str, str], ...]


def facts_of(intent: str) -> Facts:
    """Give the facts of an intent, the same ones in every run."""
    rng = random.Random(f"facts/{intent}")
    topic = _topic(intent)
    family = random.Random(f"family/{topic.partition(' ')[0]}")
    menu, team = family.choice(MENUS), family.choice(TEAMS)
    # Something needed and something not needed are two kinds: one answer may have both.
    kinds = rng.sample(sorted(KINDS), FACTS_OF_AN_INTENT)
    papers = rng.sample(KINDS["paper"], 2)
    drawn = {kind: rng.choice(KINDS[kind]) for kind in kinds}
    drawn |= {kind: papers.pop() for kind in kinds if kind.endswith("paper")}
    return Facts(topic, menu, team, tuple(drawn.items()))


def _topic(intent: str) -> str:
    question = intent.removeprefix(intents.OUT_OF_SCOPE)
    if question == intent:
        return intent.replace("_", " ")
    words = [w for w in re.findall(r"[\w'-]+", question.lower()) if w not in _LITTLE_WORDS]
    return " ".join(words[:_TOPIC_WORDS]) or question
