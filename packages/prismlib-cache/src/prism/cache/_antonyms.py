"""Words that turn a request into its opposite. Data of our own, for English."""

from __future__ import annotations

from functools import lru_cache

from prism.cache._words import stem

__all__ = ["are_opposite"]

_PAIRS = """
on/off enable/disable activate/deactivate increase/decrease raise/lower raise/reduce higher/lower
high/low more/less more/fewer most/least maximum/minimum max/min buy/sell buy/rent rent/own
long/short open/close open/closed start/stop start/end start/finish begin/end begin/finish
pause/resume add/remove add/delete create/delete create/remove create/cancel insert/remove
install/uninstall upload/download import/export login/logout signin/signout push/pull before/after
first/last earliest/latest old/new oldest/newest best/worst better/worse good/bad true/false
male/female men/women man/woman boy/girl husband/wife mother/father son/daughter brother/sister
hot/cold warm/cold warm/cool heat/cool left/right up/down in/out inside/outside win/lose love/hate
like/dislike cheap/expensive cheapest/dearest lock/unlock block/unblock subscribe/unsubscribe
follow/unfollow accept/decline accept/reject accept/refuse approve/deny approve/reject
confirm/cancel allow/deny allow/forbid allow/block allow/prevent permit/forbid deposit/withdraw
deposit/withdrawal credit/debit send/receive lend/borrow give/take pay/receive legal/illegal
safe/dangerous safe/risky advantage/disadvantage pro/con benefit/drawback benefit/risk above/below
over/under public/private input/output read/write encrypt/decrypt encode/decode
compress/decompress mute/unmute show/hide visible/hidden big/small bigger/smaller into/out
permitted/forbidden allowed/forbidden large/small larger/smaller fast/slow faster/slower
early/late earlier/later today/tomorrow today/yesterday tomorrow/yesterday morning/evening
day/night north/south east/west summer/winter spring/autumn gain/lose profit/loss single/double
single/married single/joint louder/quieter loud/quiet brighten/dim bright/dim lighter/darker
light/dark positive/negative pass/fail checking/savings roth/traditional physical/virtual
domestic/international top/bottom with/without upgrade/downgrade attach/detach connect/disconnect
link/unlink merge/split expand/collapse promote/demote hire/fire join/leave arrive/depart
arrival/departure enter/exit entrance/exit save/discard save/delete keep/delete keep/remove
archive/restore backup/restore grant/revoke include/exclude opt-in/opt-out eat/avoid use/avoid
buyer/seller customer/merchant sender/recipient employer/employee landlord/tenant adult/child
monthly/yearly monthly/annual weekly/monthly daily/weekly daily/monthly year/month week/month
free/paid full/empty full/partial ascending/descending asc/desc strong/weak soft/hard wet/dry
same/different always/never all/none everyone/nobody success/failure online/offline front/back
vertical/horizontal row/column read/unread sync/async emigrate/immigrate first/second first/third
second/third allow/ban compulsory/optional mandatory/optional required/optional weekday/weekend
indoor/outdoor home/abroad within/after cover/exclude adult/children full/part minor/major
admin/member owner/guest debit/charge won/lost wins/loses rise/fall rose/fell grow/shrink
"""
_AFFIXES = ("un", "in", "im", "il", "ir", "dis", "non", "de", "mis", "anti")


def _table() -> dict[str, frozenset[str]]:
    table: dict[str, set[str]] = {}
    for pair in _PAIRS.split():
        one, other = (stem(word) for word in pair.split("/"))
        table.setdefault(one, set()).add(other)
        table.setdefault(other, set()).add(one)
    return {word: frozenset(others) for word, others in table.items()}


_OPPOSITES = _table()


@lru_cache(maxsize=8192)
def are_opposite(one: str, other: str) -> bool:
    """Tell whether two lower-case words are opposites, in any of their common endings."""
    if stem(other) in _OPPOSITES.get(stem(one), ()):
        return True
    longer, shorter = sorted((one, other), key=len, reverse=True)
    return len(shorter) >= 4 and any(longer == affix + shorter for affix in _AFFIXES)
