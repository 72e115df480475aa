"""A session: what two nodes share after a handshake, until they stop renewing it.

    initiator                                   responder
    hello()  ── tenant, own name ──────────▶    answer(hello)
    finish(reply)  ◀── its name, sealed or not ─┘
    ... frames both ways, under keys of epoch 0 ...
    renew().hello() ── epoch 1 ────────────▶    session.answer(hello)      sends under 1 from here
    renewal.finish(reply)  ◀────────────────┘   accepts 0 for another 60 s

Keys are renewed after 120 seconds, 2**32 frames or 64 GiB, whichever is first. Each renewal is a
fresh exchange, so keys taken from a process open neither what was recorded before nor what
is sent after the next one. A session that is not renewed ends 60 seconds after it should have been.

This module knows no clock: `now` is what a monotonic clock of the caller says, in seconds.

Source: WireGuard's timers (J. Donenfeld, *WireGuard: Next Generation Kernel Network Tunnel*, 2017,
section 6).
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from typing import Final

from chorus_fabric._codec import MAX_FRAME_BYTES
from chorus_fabric._keys import Delivery, EpochKeys, Role
from chorus_fabric._sealing import SessionOpener, SessionSealer
from chorus_fabric.errors import FabricConfigurationError, SessionExpiredError

__all__ = ["DEFAULT_POLICY", "SessionPolicy", "SessionState"]

_ORDERED: Final[Delivery] = "ordered"
_UNORDERED: Final[Delivery] = "unordered"


@dataclass(frozen=True, slots=True, kw_only=True)
class SessionPolicy:
    """When keys are renewed, and how long a message may be.

    Attributes:
        rekey_after_s: Seconds until keys should be renewed. Lowering it shortens what stolen keys
            open, at 0.3 ms of work each time.
        overlap_s: Seconds that the keys before are still accepted, and that a session lives on
            without a renewal that is due. Raise it for links that are cut for longer.
        rekey_frames: Frames until keys should be renewed.
        rekey_bytes: Bytes until keys should be renewed.
        max_frame_bytes: The longest message that is made or accepted. Both sides need the same, and
            gRPC must let it through.

    Raises:
        FabricConfigurationError: A number is not positive, or beyond what the seal allows.
    """

    rekey_after_s: float = 120.0
    overlap_s: float = 60.0
    rekey_frames: int = 1 << 32
    rekey_bytes: int = 64 << 30
    max_frame_bytes: int = MAX_FRAME_BYTES

    def __post_init__(self) -> None:
        for name, value, most in (
            ("rekey_after_s", self.rekey_after_s, 86_400),
            ("overlap_s", self.overlap_s, 86_400),
            ("rekey_frames", self.rekey_frames, 1 << 32),
            ("rekey_bytes", self.rekey_bytes, 64 << 30),
            ("max_frame_bytes", self.max_frame_bytes, 256 << 20),
        ):
            if not 0 < value <= most:
                raise FabricConfigurationError(f"{name} is over 0 and at most {most}, got {value}")


DEFAULT_POLICY: Final = SessionPolicy()


class SessionState:
    """The keys of a session in both directions, and when they came. `Session` is its public face.

    Args:
        role: Who this side was in the handshake.
        keys: What came out of it.
        tenant_id: Whose rows it carries.
        node: This side's name.
        peer: The other side's name.
        is_sealed: Whether frames are encrypted.
        policy: When keys are renewed.
        now: The time of the handshake.
    """

    def __init__(
        self, *, role: Role, keys: EpochKeys, tenant_id: str, node: str, peer: str,
        is_sealed: bool, policy: SessionPolicy, now: float,
    ) -> None:  # fmt: skip
        self.role: Role = role
        self.tenant_id = tenant_id
        self.node = node
        self.peer = peer
        self.is_sealed = is_sealed
        self.policy = policy
        self.id = keys.derive("session", 16)
        self.sealers = {kind: self._sealer(kind) for kind in (_ORDERED, _UNORDERED)}
        self.openers = {kind: self._opener(kind) for kind in (_ORDERED, _UNORDERED)}
        self.key_epoch = -1
        self._end = ""
        self.install(keys, now)

    def install(self, keys: EpochKeys, now: float) -> None:
        """Send under these keys from now on, and accept them beside those before."""
        other: Role = "responder" if self.role == "initiator" else "initiator"
        self.keys = keys
        self.key_epoch += 1
        self.installed_at = now
        for kind in (_ORDERED, _UNORDERED):
            self.sealers[kind].install(
                self.key_epoch, keys.lane(self.role, kind, is_sealed=self.is_sealed)
            )
            self.openers[kind].install(
                self.key_epoch, keys.lane(other, kind, is_sealed=self.is_sealed)
            )

    def needs_rekey(self, now: float) -> bool:
        """Whether time, frames or bytes say so."""
        ends = (*self.sealers.values(), *self.openers.values())
        return (
            now - self.installed_at >= self.policy.rekey_after_s
            or sum(end.frames for end in ends) >= self.policy.rekey_frames
            or sum(end.bytes for end in ends) >= self.policy.rekey_bytes
        )

    def retire(self, now: float) -> None:
        """Forget keys whose time is over."""
        age = now - self.installed_at
        if age >= self.policy.overlap_s:
            for opener in self.openers.values():
                opener.retire(self.key_epoch)
        if age >= self.policy.rekey_after_s + self.policy.overlap_s:
            self.end(
                f"the session's keys are {age:.0f} s old and were not renewed: say hello again"
            )

    def end(self, reason: str) -> None:
        """Refuse all further work."""
        self._end = reason
        for one in (*self.sealers.values(), *self.openers.values()):
            one.end(reason)

    @property
    def is_open(self) -> bool:
        """Whether the session has not ended."""
        return not self._end

    def check_open(self) -> None:
        """Raise if the session has ended."""
        if self._end:
            raise SessionExpiredError(self._end)

    def same_id(self, session_id: bytes) -> bool:
        """Whether this is the session that a hello names."""
        return hmac.compare_digest(self.id, session_id)

    def _sealer(self, kind: Delivery) -> SessionSealer:
        return SessionSealer(
            tenant_id=self.tenant_id, sender=self.node, delivery=kind,
            is_sealed=self.is_sealed, max_frame_bytes=self.policy.max_frame_bytes,
        )  # fmt: skip

    def _opener(self, kind: Delivery) -> SessionOpener:
        return SessionOpener(
            tenant_id=self.tenant_id, sender=self.peer, delivery=kind,
            is_sealed=self.is_sealed, max_frame_bytes=self.policy.max_frame_bytes,
        )  # fmt: skip
