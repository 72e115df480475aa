"""Which counters are still acceptable: the next one alone, or each of a window once.

Both kinds answer the same two questions. `refusal(counter)` looks and changes nothing, so it can
be asked before the expensive checks; `accept(counter)` is called once all of them have passed.
"""

from __future__ import annotations

from typing import Final, Protocol

from chorus_fabric.errors import FrameError, FrameOrderError, ReplayedFrameError

__all__ = ["WINDOW", "Counters", "ReplayWindow", "StrictOrder"]

WINDOW: Final = 1024


class Counters(Protocol):
    """What both kinds offer."""

    def refusal(self, counter: int) -> FrameError | None:
        """Say why a frame with this counter cannot be accepted; nothing if it can."""
        ...

    def accept(self, counter: int) -> None:
        """Take note that it was."""
        ...


class StrictOrder:
    """For an ordered stream: frame 0, then 1, then 2, with no gap and no second time."""

    __slots__ = ("_next",)

    def __init__(self) -> None:
        self._next = 0

    def refusal(self, counter: int) -> FrameError | None:
        """Refuse everything but the next counter."""
        if counter < self._next:
            return ReplayedFrameError(f"frame {counter} was accepted before")
        if counter > self._next:
            return FrameOrderError(f"frame {counter} came before its turn, {self._next} is next")
        return None

    def accept(self, counter: int) -> None:
        """Move on to the next."""
        self._next = counter + 1


class ReplayWindow:
    """For frames that may overtake each other or get lost: each of the last 1,024 once.

    Source: RFC 6479 and RFC 4303, section 3.4.3. The window is one large integer here; shifting
    its 128 bytes costs less than keeping a ring of words.
    """

    __slots__ = ("_highest", "_seen")

    def __init__(self) -> None:
        self._highest = -1
        self._seen = 0  # bit i: the counter `highest - i` was accepted

    def refusal(self, counter: int) -> FrameError | None:
        """Refuse what was accepted and what is too old to tell."""
        age = self._highest - counter
        if age >= WINDOW:
            return ReplayedFrameError(f"frame {counter} is {age} behind, the window is {WINDOW}")
        if age >= 0 and self._seen >> age & 1:
            return ReplayedFrameError(f"frame {counter} was accepted before")
        return None

    def accept(self, counter: int) -> None:
        """Mark a counter as seen."""
        age = self._highest - counter
        if age < 0:
            # A jump beyond the window leaves nothing to shift, however far it goes.
            kept = self._seen << -age if -age < WINDOW else 0
            self._seen = (kept | 1) & ((1 << WINDOW) - 1)
            self._highest = counter
        else:
            self._seen |= 1 << age
