"""Words that turn a request into its opposite, or into another of its kind. Data of our own."""

from __future__ import annotations

from functools import lru_cache
from itertools import permutations

from prism.cache._language.stems import stem

__all__ = ["are_opposite"]

# Every word left of a slash is the opposite of every word right of it.
_OPPOSITES = """
on switchon enable activate unmute / off switchoff disable deactivate mute
increase raise higher turnup up boost goup grow gain rise more scaleup / decrease reduce lower
 turndown down lessen godown shrink lose fall less fewer diminish scaledown
high tall / low short
most maximum max / least minimum min
atleast minimum / atmost maximum
buy purchase / sell rent
own / rent
long / short
open unlock / close closed shut lock
begin start commence / end stop finish quit
resume continue / pause stop
add create insert attach append setup / remove delete detach erase drop
create signup register book subscribe join enroll / cancel delete close quit
install setup mount / uninstall remove unmount
upload / download
import / export
login checkin clockin optin signup movein geton getin plugin cashin zoomin dialin / logout checkout
 clockout optout unsubscribe moveout getoff getout unplug cashout zoomout
speedup accelerate / slowdown decelerate
backup / restore
push / pull
before / after
first earliest / last latest
old oldest ancient / new newest young youngest recent
best good better great / worst bad worse poor
true right correct / false wrong incorrect
male man boy gentleman / female woman girl lady
husband father son brother uncle nephew grandfather / wife mother daughter sister aunt niece
 grandmother
mother father parent / son daughter child
hot warm heat / cold cool chill
freeze / thaw defrost melt boil
left / right
in inside indoor / out outside outdoor
win / lose
success succeed / failure fail
pass / fail
hit / miss
love like enjoy / hate dislike
cheap inexpensive affordable / expensive pricey dear costly
subscribe follow / unsubscribe unfollow
accept approve confirm agree grant / decline reject refuse deny disagree cancel revoke
allow permit authorize permitted allowed legal lawful / forbid ban prohibit deny block prevent
 illegal forbidden unlawful
deposit / withdraw withdrawal
credit / debit
send / receive
pay / receive
give / take
lend / borrow
safe harmless / dangerous risky unsafe harmful toxic
advantage pro benefit upside strength merit / disadvantage con drawback downside weakness risk
above over exceed / below under
public / private
input / output
read / write unread
encode encrypt compress zip / decode decrypt decompress unzip
show reveal visible display / hide hidden conceal invisible
big large huge / small little tiny
fast quick rapid / slow
early / late
loud / quiet silent
bright brighten light / dim dark
positive / negative
physical / virtual digital online
domestic national / international foreign abroad
top / bottom
upgrade / downgrade
connect link join pair / disconnect unlink leave
merge combine / split separate
expand extend lengthen / collapse shorten
promote / demote
hire recruit / fire dismiss
arrive arrival / depart departure leave
enter entrance entry / exit leave
save keep / discard delete remove
archive / restore
include including / exclude except
eat use drink wear / avoid
free gratis / paid
full / empty part partial
ascend asc / descend desc
strong / weak
soft / hard firm
wet / dry
raw uncooked / cooked boiled fried
same equal identical / different
always / never sometimes
everyone everybody / nobody someone somebody
online / offline
front / back rear
vertical / horizontal
row / column
compulsory mandatory required obligatory / optional voluntary
weekday / weekend
home / abroad away
cover / exclude
minor / major
member / guest
permanent / temporary
rich / poor lacking lack
deep / shallow
wide broad / narrow
thick / thin
heavy / light
clean / dirty
simple easy / difficult hard complicated
attract / repel
tighten tight / loosen loose
bullish / bearish
healthy / unhealthy sick ill
near close / far
vegan vegetarian / meat
local / remote
manual / automatic
single / double joint married
gross / net
fixed / variable floating
inbound incoming / outbound outgoing
ingoing / outgoing
buyer customer / seller merchant
sender / recipient
landlord lessor / tenant lessee
lender / borrower
employer / employee
adult / child infant baby minor
supply / demand
profit / loss
income / expense
sweet / sour bitter salty
sunrise dawn / sunset dusk
emigrate / immigrate
north / south
past / future
"""
# Of each line any two are different things of one kind.
_RIVALS = """
spring summer autumn winter
morning afternoon evening night
north south east west
breakfast lunch dinner brunch
daily weekly monthly yearly hourly quarterly fortnightly
month year
gold silver bronze platinum
red blue green yellow black white orange purple pink brown
kitchen bedroom bathroom hallway garage basement attic garden porch
infant toddler adult teenager senior pensioner student
windows macos mac linux android ios ubuntu
pdf docx csv json xml excel
chrome firefox safari
bus train ferry plane tram
checking savings
roth traditional
english french german spanish italian portuguese dutch russian chinese japanese korean arabic
bachelor master doctorate
undergraduate postgraduate
employee contractor intern volunteer
"""
_AFFIXES = ("un", "in", "im", "il", "ir", "dis", "non", "de", "mis", "anti")
# Words in which the same letters are no affix.
_NO_AFFIX = frozenset(
    (
        "under until union unit income inform input import impress inside detail design depart "
        "deport deliver demand discover discount display mister mission instill intend"
    ).split()
)
_PREFIXES = (
    ("over", "under"), ("in", "out"), ("in", "ex"), ("im", "ex"), ("en", "dis"), ("in", "de"),
    ("as", "des"), ("pre", "post"), ("up", "down"), ("on", "off"), ("pro", "anti"),
    ("hyper", "hypo"), ("max", "min"), ("inter", "exter"),
)  # fmt: skip
_DEGREES = (("iest", ("y", "ey")), ("ier", ("y", "ey")), ("est", ("",)), ("er", ("",)))
_SUFFIXES = (("ful", "less"), ("er", "ee"), ("or", "ee"))
_BEGINNINGS = tuple({part for pair in _PREFIXES for part in pair})
_ENDINGS = tuple({part + plural for pair in _SUFFIXES for part in pair for plural in ("", "s")})


def _table() -> dict[str, frozenset[str]]:
    table: dict[str, set[str]] = {}
    for line in _OPPOSITES.replace("\n ", " ").strip().splitlines():
        ours, theirs = (side.split() for side in line.split("/"))
        for one in ours:
            for other in theirs:
                table.setdefault(stem(one), set()).add(stem(other))
                table.setdefault(stem(other), set()).add(stem(one))
    for line in _RIVALS.strip().splitlines():
        for one, other in permutations(line.split(), 2):
            table.setdefault(stem(one), set()).add(stem(other))
    return {word: frozenset(others - {word}) for word, others in table.items()}


_TABLE = _table()


@lru_cache(maxsize=32768)
def are_opposite(one: str, other: str) -> bool:
    """Tell whether two lower-case words are opposites, in any of their common endings."""
    theirs = _forms(other)
    if any(not theirs.isdisjoint(_TABLE.get(form, ())) for form in _forms(one)):
        return True
    longer, shorter = sorted((one, other), key=len, reverse=True)
    if len(shorter) >= 3 and longer not in _NO_AFFIX:
        affixes = _AFFIXES if len(shorter) >= 4 else _AFFIXES[:1]
        if any(longer.startswith(a) and stem(longer[len(a) :]) == stem(shorter) for a in affixes):
            return True
    # Nearly all words are done with after two looks.
    if one.startswith(_BEGINNINGS) and other.startswith(_BEGINNINGS):
        for a, b in _PREFIXES:
            if _swapped(one, other, a, b) or _swapped(other, one, a, b):
                return True
    if one.endswith(_ENDINGS) and other.endswith(_ENDINGS):
        return any(_ended(one, other, a, b) or _ended(other, one, a, b) for a, b in _SUFFIXES)
    return False


@lru_cache(maxsize=32768)
def _forms(word: str) -> set[str]:
    """The stem, and the stem of the word that "cheaper" or "biggest" compares."""
    forms = {stem(word)}
    for ending, instead in _DEGREES:
        if word.endswith(ending) and len(word) - len(ending) >= 3:
            forms.update(stem(word[: -len(ending)] + sign) for sign in instead)
            break
    return forms


def _swapped(one: str, other: str, a: str, b: str) -> bool:
    return (
        one.startswith(a) and other.startswith(b) and len(one) - len(a) >= (3 if len(a) > 3 else 4)
        and stem(one[len(a) :]) == stem(other[len(b) :])
    )  # fmt: skip


def _ended(one: str, other: str, a: str, b: str) -> bool:
    one, other = one.removesuffix("s" * (a != "less")), other.removesuffix("s" * (b != "less"))
    return (
        one.endswith(a) and other.endswith(b) and len(one) - len(a) >= 3
        and one[: -len(a)] == other[: -len(b)]
    )  # fmt: skip
