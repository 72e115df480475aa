"""The payload of a row that has none."""

from __future__ import annotations

from typing import NoReturn, final

__all__ = ["NO_PAYLOAD"]


@final
class _NoPayload(dict[str, object]):
    """The empty mapping of all rows that were added without a payload.

    A `dict`, so that it can be written as JSON as any other payload, but one that cannot change:
    all those rows share it.
    """

    __slots__ = ()

    def _refuse(self, *_: object, **__: object) -> NoReturn:
        raise TypeError("a row without a payload has none to change; add it with one")

    __setitem__ = __delitem__ = __ior__ = _refuse
    clear = pop = popitem = setdefault = update = _refuse

    def __reduce__(self) -> str:
        return "NO_PAYLOAD"


NO_PAYLOAD = _NoPayload()
"""The payload of a row that has none."""
