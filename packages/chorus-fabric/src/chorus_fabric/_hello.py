"""The two messages of a handshake as bytes, and what they say.

offset  size  hello
0     4  "CHHI"
4     1  version, 1
5     1  1 without a secret, 2 with one, 3 a renewal
6     2  zero
8    16  the tenant, as in the header of a frame
24    16  the session to renew; zero for a new one
40     -  Noise's first message, with the terms as JSON

reply: "CHRE", version, the hello's fifth byte, 2 zero bytes, Noise's second message
"""

from __future__ import annotations

import json
import struct
from dataclasses import dataclass
from typing import Final

from chorus_fabric.errors import FabricConfigurationError, HandshakeError

__all__ = [
    "OPEN",
    "RENEWAL",
    "SECRET",
    "Hello",
    "Terms",
    "check_name",
    "read_hello",
    "read_reply",
    "reply_head",
]

OPEN: Final = 1
SECRET: Final = 2
RENEWAL: Final = 3

_HELLO = struct.Struct("<4sBBH16s16s")
_REPLY = struct.Struct("<4sBBH")
_HELLO_MAGIC, _REPLY_MAGIC, _VERSION = b"CHHI", b"CHRE", 1
_MOST_BYTES = 4096
_MOST_NAME_BYTES = 256


@dataclass(frozen=True, slots=True)
class Hello:
    """A hello taken apart.

    Attributes:
        head: Its readable bytes, which the exchange is bound to.
        mode: With a secret, without one, or a renewal.
        tenant: The tenant's hash.
        session: The session to renew.
        noise: Noise's first message.
    """

    head: bytes
    mode: int
    tenant: bytes
    session: bytes
    noise: bytes

    @staticmethod
    def head_of(mode: int, tenant: bytes, session: bytes = bytes(16)) -> bytes:
        """Give the readable bytes of a hello."""
        return _HELLO.pack(_HELLO_MAGIC, _VERSION, mode, 0, tenant, session)


@dataclass(frozen=True, slots=True, kw_only=True)
class Terms:
    """What each side says within a handshake.

    Attributes:
        tenant_id: Whose rows the session carries.
        sender: The speaker's name.
        is_sealed: In a hello whether frames shall be encrypted, in a reply whether they are.
        key_epoch: The epoch that the new keys begin.
    """

    tenant_id: str
    sender: str
    is_sealed: bool
    key_epoch: int

    def pack(self) -> bytes:
        """Give them as bytes."""
        return json.dumps(
            {
                "tenant": self.tenant_id,
                "sender": self.sender,
                "sealed": self.is_sealed,
                "epoch": self.key_epoch,
            },
            separators=(",", ":"),
        ).encode()

    @classmethod
    def unpack(cls, payload: bytes) -> Terms:
        """Read them.

        Raises:
            HandshakeError: They are not terms.
        """
        try:
            match json.loads(payload):
                case {
                    "tenant": str(tenant),
                    "sender": str(sender),
                    "sealed": bool(sealed),
                    "epoch": int(epoch),
                } if tenant and sender and not isinstance(epoch, bool):
                    # Lone surrogates pass JSON, and have no bytes.
                    (tenant + sender).encode()
                    return cls(tenant_id=tenant, sender=sender, is_sealed=sealed, key_epoch=epoch)
        except (ValueError, RecursionError):
            pass
        raise HandshakeError("the terms of a handshake cannot be read")


def check_name(what: str, name: str) -> str:
    """Give a tenant's or node's name back if it is one.

    Raises:
        FabricConfigurationError: It is empty, over 256 bytes or not text.
    """
    try:
        size = len(name.encode())
    except (AttributeError, UnicodeEncodeError):
        raise FabricConfigurationError(f"{what} is a text, got {name!r}") from None
    if not 0 < size <= _MOST_NAME_BYTES:
        raise FabricConfigurationError(f"{what} has 1 to {_MOST_NAME_BYTES} bytes, got {size}")
    return name


def read_hello(message: bytes) -> Hello:
    """Take a hello apart.

    Raises:
        HandshakeError: It is none.
    """
    message = bytes(message)
    if not _HELLO.size < len(message) <= _MOST_BYTES:
        raise HandshakeError(f"{len(message)} bytes are no hello")
    magic, version, mode, zero, tenant, session = _HELLO.unpack_from(message)
    if magic != _HELLO_MAGIC or zero or mode not in (OPEN, SECRET, RENEWAL):
        raise HandshakeError("the message does not begin as a hello does")
    if version != _VERSION:
        raise HandshakeError(f"a hello of version {version}, this side knows {_VERSION} alone")
    if (mode == RENEWAL) != any(session):
        raise HandshakeError("a hello names a session if it renews one, and only then")
    return Hello(message[: _HELLO.size], mode, tenant, session, message[_HELLO.size :])


def reply_head(mode: int) -> bytes:
    """Give the readable bytes of a reply."""
    return _REPLY.pack(_REPLY_MAGIC, _VERSION, mode, 0)


def read_reply(message: bytes, mode: int) -> bytes:
    """Give Noise's second message out of a reply.

    Raises:
        HandshakeError: It is none, or not to a hello of this mode.
    """
    message = bytes(message)
    head = reply_head(mode)
    if len(message) > _MOST_BYTES or message[: len(head)] != head:
        raise HandshakeError("the reply does not begin as one to this hello does")
    return message[len(head) :]
