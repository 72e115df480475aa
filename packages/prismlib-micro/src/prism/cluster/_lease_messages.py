"""What nodes say to each other about the lease, and what the machine asks of its shell."""

from __future__ import annotations

import enum
import struct
from typing import NamedTuple

from prism.cluster.errors import MalformedMessageError

__all__ = [
    "NO_GRANT",
    "Ask",
    "Became",
    "Claim",
    "Effect",
    "Grant",
    "LeaseMessage",
    "Opinion",
    "Promise",
    "Release",
    "Role",
    "Send",
    "Store",
    "decode",
    "encode",
]


class Role(enum.Enum):
    """What a node is to the others."""

    GREEN = "green"
    """Holds the lease."""
    BLUE = "blue"
    """Stands by, and takes the lease when GREEN falls silent."""
    ORANGE = "orange"
    """Is not in step with the others yet: stands back for a BLUE."""


class Ask(NamedTuple):
    """Would you promise me this term? Binds nobody (the pre-vote)."""

    term: int
    round: int
    incarnation: int


class Opinion(NamedTuple):
    """The answer to `Ask`; `seen` is the highest term the voter has granted or heard of."""

    term: int
    round: int
    incarnation: int
    would: bool
    seen: int


class Claim(NamedTuple):
    """Promise me this term, or promise it again: a vote and a renewal alike."""

    term: int
    round: int
    incarnation: int
    is_green: bool
    is_forced: bool


class Promise(NamedTuple):
    """The answer to `Claim`: if granted, the voter promises no other for one lease from receipt."""

    term: int
    round: int
    incarnation: int
    granted: bool
    seen: int


class Release(NamedTuple):
    """I gave this term up: promises to me no longer bind. `successor` need not wait."""

    term: int
    incarnation: int
    successor: str


LeaseMessage = Ask | Opinion | Claim | Promise | Release


class Grant(NamedTuple):
    """The last promise a voter made: which term, to which run of which node."""

    term: int
    holder: str
    incarnation: int


NO_GRANT = Grant(0, "", 0)


class Send(NamedTuple):
    """Send a message to a node; it may be lost."""

    to: str
    message: LeaseMessage


class Store(NamedTuple):
    """Have this on disk before anything that follows in the list is sent."""

    grant: Grant


class Became(NamedTuple):
    """The role changed; `token` is the fencing token of a GREEN."""

    role: Role
    token: int | None


Effect = Send | Store | Became

_VERSION = 1
_LAYOUT = struct.Struct(">BBQQQQB")  # version, kind, term, round, incarnation, seen, flags
_KINDS = {Ask: 1, Opinion: 2, Claim: 3, Promise: 4, Release: 5}
_LARGEST = _LAYOUT.size + 1024


def encode(message: LeaseMessage) -> bytes:
    """Write a message."""
    round_ = seen = flags = 0
    tail = b""
    match message:
        case Ask():
            round_ = message.round
        case Opinion():
            round_, seen, flags = message.round, message.seen, int(message.would)
        case Claim():
            round_, flags = message.round, message.is_green | message.is_forced << 1
        case Promise():
            round_, seen, flags = message.round, message.seen, int(message.granted)
        case Release():
            tail = message.successor.encode()
    head = _LAYOUT.pack(
        _VERSION, _KINDS[type(message)], message.term, round_, message.incarnation, seen, flags
    )
    return head + tail


def decode(raw: bytes) -> LeaseMessage:
    """Read a message.

    Raises:
        MalformedMessageError: The bytes are none of this version.
    """
    if not _LAYOUT.size <= len(raw) <= _LARGEST:
        raise MalformedMessageError(f"a lease message of {len(raw)} bytes")
    version, kind, term, round_, incarnation, seen, flags = _LAYOUT.unpack_from(raw)
    tail = raw[_LAYOUT.size :]
    if version != _VERSION:
        raise MalformedMessageError(f"lease messages of version {version}, not {_VERSION}")
    if kind != _KINDS[Release] and tail:
        raise MalformedMessageError(f"{len(tail)} bytes after a lease message of kind {kind}")
    match kind:
        case 1:
            return Ask(term, round_, incarnation)
        case 2:
            return Opinion(term, round_, incarnation, bool(flags & 1), seen)
        case 3:
            return Claim(term, round_, incarnation, bool(flags & 1), bool(flags & 2))
        case 4:
            return Promise(term, round_, incarnation, bool(flags & 1), seen)
        case 5:
            try:
                return Release(term, incarnation, tail.decode())
            except UnicodeDecodeError:
                raise MalformedMessageError("a successor's name that is not UTF-8") from None
    raise MalformedMessageError(f"a lease message of kind {kind}")
