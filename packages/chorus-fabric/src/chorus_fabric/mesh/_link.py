"""Keys with one peer on one lane, over a way that may lose, repeat and reorder messages.

The node whose name sorts first greets; the other answers. Four kinds of messages travel:

    CHHI    hello, new or of a renewal        first ──▶ second
    CHRE    its answer                        first ◀── second
    CHFR    a sealed frame                    both ways
    CHNO    "I have no keys for what you sent"; not authentic, so it only makes the other greet

    IDLE ── tick: hello ──▶ GREETING ── answer holds ──▶ OPEN            the first
    IDLE ── hello: answer ─▶ OFFERED ── a frame opens under it ──▶ OPEN  the second

A hello is sent again, the same, after 50 ms to 400 ms until its answer comes; the same hello gets
the same answer. Anyone can send a recorded hello again, so an offered session replaces the open one
only when a frame has been opened under it. From then on nothing opens under the one before.

This module knows no clock: `now` is given.
"""

from __future__ import annotations

import struct
from typing import TYPE_CHECKING, Final

from chorus_fabric._handshake import Initiator, Responder, session_named_by
from chorus_fabric._hello import RENEWAL
from chorus_fabric.errors import (
    ChorusError,
    FrameError,
    HandshakeError,
    ReplayedFrameError,
    SessionExpiredError,
)

if TYPE_CHECKING:
    from collections.abc import Callable

    from chorus_fabric._frame import Frame
    from chorus_fabric._handshake import Renewal, Session
    from chorus_fabric._session import SessionPolicy

__all__ = ["Link"]

_HELLO, _REPLY, _FRAME, _NO_KEYS = b"CHHI", b"CHRE", b"CHFR", b"CHNO"
_NO_KEYS_MESSAGE: Final = struct.pack("<4sBBH", _NO_KEYS, 1, 0, 0)
_FIRST_S: Final = 0.05
_MOST_S: Final = 0.4
_RENEW_AGAIN_S: Final = 0.5
_COMPLAIN_S: Final = 0.1
_MOST_OFFERED: Final = 4


class Link:
    """The keys of one lane with one peer. Not for several threads at once.

    Args:
        tenant_id: Whose mesh it is.
        node_id: This node.
        peer: The other.
        secret: What all nodes hold, if they do.
        policy: When keys are renewed.

    Attributes:
        generation: Rises with each session that is taken into use.
        refused: Messages that did not hold.
    """

    def __init__(
        self,
        *,
        tenant_id: str,
        node_id: str,
        peer: str,
        secret: str | bytes | None,
        policy: SessionPolicy,
    ) -> None:
        self._peer = peer
        self._greets = node_id < peer

        def initiator() -> Initiator:
            return Initiator(tenant_id=tenant_id, sender=node_id, secret=secret, policy=policy)

        self._initiator: Callable[[], Initiator] = initiator
        self._responder = Responder(
            tenant_id=tenant_id, sender=node_id, secret=secret, policy=policy
        )
        self._session: Session | None = None
        self._offered: list[tuple[bytes, bytes, Session]] = []  # hello, answer, session
        self._greeting: Initiator | None = None
        self._renewal: Renewal | None = None
        self._attempts = 0
        self._next_s = 0.0
        self._complain_after = 0.0
        self._control: list[bytes] = []
        self.generation = 0
        self.refused = 0

    @property
    def is_up(self) -> bool:
        """Whether frames can be sealed."""
        return self._session is not None and self._session.is_open

    @property
    def has_control(self) -> bool:
        """Whether `next_control` has something."""
        return bool(self._control)

    def next_control(self) -> bytes | None:
        """Give a message that must be sent, if there is one."""
        return self._control.pop(0) if self._control else None

    def reset(self, now: float) -> None:
        """Forget all keys: the connection is another, or broke."""
        if self._session is not None:
            self._session.close()
        for _, _, session in self._offered:
            session.close()
        self._session = self._greeting = self._renewal = None
        self._offered.clear()
        self._control.clear()
        self._greet_from(now)

    def tick(self, now: float) -> None:
        """Greet, renew keys and forget old ones, if it is time."""
        session = self._session
        if session is not None:
            session.retire(now)
            if not session.is_open:
                self.reset(now)
        if not self._greets or now < self._next_s:
            return
        if self._session is None or self._greeting is not None:
            self._greet(now)
        elif self._session.needs_rekey(now):
            if self._renewal is None:
                self._renewal = self._session.renew()
            self._control.append(self._renewal.hello())
            self._next_s = now + _RENEW_AGAIN_S

    def seal(self, frame: Frame) -> bytes:
        """Give the message for a frame.

        Raises:
            SessionExpiredError: There are no keys.
            InvalidFrameError: The frame cannot be sent as it is.
        """
        if self._session is None:
            raise SessionExpiredError(f"no keys with {self._peer!r} yet")
        return self._session.unordered_sealer.seal(frame)

    def receive(self, message: bytes | memoryview, now: float) -> Frame | None:
        """Take a message; gives the frame, if it was one and holds.

        Nothing is raised: whoever can send bytes here must not be able to do more than be counted.
        """
        magic = bytes(message[:4])
        try:
            if magic == _FRAME:
                return self._open(message, now)
            if magic == _HELLO and not self._greets:
                self._answer(bytes(message), now)
            elif magic == _REPLY and self._greets:
                self._finish(bytes(message), now)
            elif magic == _NO_KEYS and self._greets:
                if self._greeting is None and self._session is not None:
                    self._greeting = self._initiator()
                    self._greet_from(now)
            else:
                self.refused += 1
        except ChorusError:
            self.refused += 1
        return None

    def _greet_from(self, now: float) -> None:
        self._attempts = 0
        self._next_s = now

    def _greet(self, now: float) -> None:
        if self._greeting is None:
            self._greeting = self._initiator()
        # One hello on its way is enough, however long nothing was taken.
        self._control[:] = [self._greeting.hello()]
        self._next_s = now + min(_MOST_S, _FIRST_S * 2.0**self._attempts)
        self._attempts = min(self._attempts + 1, 8)

    def _answer(self, hello: bytes, now: float) -> None:
        named = session_named_by(hello)
        if named is not None:
            for session in (self._session, *(one for _, _, one in self._offered)):
                if session is not None and session.id == named:
                    self._control.append(session.answer(hello, now=now))
                    return
            raise HandshakeError("a renewal of a session that is not here")
        for known, answer, _ in self._offered:
            if known == hello:
                self._control.append(answer)
                return
        answer, session = self._responder.answer(hello, now=now)
        if session.peer != self._peer:
            raise HandshakeError(f"a hello of {session.peer!r} on the way of {self._peer!r}")
        self._offered = [*self._offered[-(_MOST_OFFERED - 1) :], (hello, answer, session)]
        self._control.append(answer)

    def _finish(self, reply: bytes, now: float) -> None:
        is_renewal = len(reply) > 5 and reply[5] == RENEWAL
        if is_renewal:
            if self._renewal is not None:
                renewal, self._renewal = self._renewal, None
                renewal.finish(reply, now=now)
                self._greet_from(now)
            return
        if self._greeting is None:
            return
        greeting, self._greeting = self._greeting, None  # one that failed has used up its keys
        session = greeting.finish(reply, now=now)
        if session.peer != self._peer:
            raise HandshakeError(f"{session.peer!r} answered on the way of {self._peer!r}")
        self._greet_from(now)
        self._take(session)

    def _open(self, message: bytes | memoryview, now: float) -> Frame | None:
        fault: ChorusError | None = None
        if self._session is not None:
            try:
                return self._session.unordered_opener.open(message)
            except (FrameError, SessionExpiredError) as error:
                fault = error
        for _, _, offered in reversed(self._offered):
            try:
                frame = offered.unordered_opener.open(message)
            except (FrameError, SessionExpiredError):
                continue
            self._take(offered)
            return frame
        self.refused += 1
        # What came twice is no sign of other keys, on a network that repeats.
        if not isinstance(fault, ReplayedFrameError):
            self._complain(now)
        return None

    def _complain(self, now: float) -> None:
        """Tell the other side that it should greet, which only the first of the two does."""
        if (
            not self._greets
            and now >= self._complain_after
            and _NO_KEYS_MESSAGE not in self._control
        ):
            self._complain_after = now + _COMPLAIN_S
            self._control.append(_NO_KEYS_MESSAGE)

    def _take(self, session: Session) -> None:
        if self._session is not None:
            self._session.close()
        self._session = session
        self._offered.clear()
        self._renewal = None
        self.generation += 1
