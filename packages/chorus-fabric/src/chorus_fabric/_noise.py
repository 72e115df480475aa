"""The exchange of keys: Noise NN, and NNpsk0 where both sides hold a secret.

    psk0  -> psk, e      the secret goes in, then a fresh X25519 key; what follows is encrypted
          <- e, ee       a fresh key of the other side, and what the two make together

Without a secret the first message is readable, and whoever sits between can take part: that is
for channels which are authentic already. With one, each side knows that the other holds it, and
recorded traffic stays closed even if the secret is lost later.

Source: T. Perrin, *The Noise Protocol Framework*, revision 34; RFC 7748; RFC 5869.
"""

from __future__ import annotations

import hashlib
import hmac
from collections.abc import Callable
from typing import Final

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.asymmetric.x25519 import X25519PrivateKey, X25519PublicKey
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from chorus_fabric.errors import HandshakeError

__all__ = ["NoiseInitiator", "NoiseResponder", "RandomBytes"]

RandomBytes = Callable[[int], bytes]

_KEY: Final = 32
_PLAIN, _PSK = b"Noise_NN_25519_AESGCM_SHA256", b"Noise_NNpsk0_25519_AESGCM_SHA256"
_REFUSED = (
    "the handshake does not hold: another secret, another tenant, or it was changed on its way"
)


class _Transcript:
    """Noise's symmetric state: chaining key, transcript hash and the key for payloads."""

    def __init__(self, *, prologue: bytes, psk: bytes | None) -> None:
        self._has_psk = psk is not None
        self.hash = (_PLAIN if psk is None else _PSK).ljust(32, b"\x00")
        self.chaining_key = self.hash
        self._key = b""
        self._nonce = 0
        self.mix_hash(prologue)
        if psk is not None:
            self.chaining_key, mixed, key = _hkdf(self.chaining_key, psk, 3)
            self.mix_hash(mixed)
            self._start(key)

    def mix_hash(self, content: bytes) -> None:
        self.hash = hashlib.sha256(self.hash + content).digest()

    def mix_key(self, secret: bytes) -> None:
        self.chaining_key, key = _hkdf(self.chaining_key, secret, 2)
        self._start(key)

    def mix_public(self, public: bytes) -> None:
        self.mix_hash(public)
        if self._has_psk:
            self.mix_key(public)

    def encrypt(self, payload: bytes) -> bytes:
        if self._key:
            nonce = self._next_nonce()
            payload = AESGCM(self._key).encrypt(nonce, payload, self.hash)
        self.mix_hash(payload)
        return payload

    def decrypt(self, received: bytes) -> bytes:
        payload = received
        if self._key:
            try:
                payload = AESGCM(self._key).decrypt(self._next_nonce(), received, self.hash)
            except InvalidTag:
                raise HandshakeError(_REFUSED) from None
        self.mix_hash(received)
        return payload

    def _start(self, key: bytes) -> None:
        self._key, self._nonce = key, 0

    def _next_nonce(self) -> bytes:
        nonce = self._nonce.to_bytes(12, "big")
        self._nonce += 1
        return nonce


class NoiseInitiator:
    """The side that speaks first.

    Args:
        prologue: What both sides know already and must agree on.
        psk: 32 bytes that both hold, or `None`.
        random_bytes: Gives that many bytes nobody can guess.
    """

    def __init__(self, *, prologue: bytes, psk: bytes | None, random_bytes: RandomBytes) -> None:
        self._transcript = _Transcript(prologue=prologue, psk=psk)
        self._ephemeral = _private(random_bytes)

    def write(self, payload: bytes) -> bytes:
        """Give the first message."""
        public = self._ephemeral.public_key().public_bytes_raw()
        self._transcript.mix_public(public)
        return public + self._transcript.encrypt(payload)

    def read(self, message: bytes) -> bytes:
        """Give the payload of the answer.

        Raises:
            HandshakeError: The answer does not hold.
        """
        public, rest = _split(message)
        self._transcript.mix_public(public)
        self._transcript.mix_key(_shared(self._ephemeral, public))
        return self._transcript.decrypt(rest)

    @property
    def secrets(self) -> tuple[bytes, bytes]:
        """Chaining key and transcript hash, once the answer was read."""
        return self._transcript.chaining_key, self._transcript.hash


class NoiseResponder:
    """The side that answers; takes the same arguments."""

    def __init__(self, *, prologue: bytes, psk: bytes | None, random_bytes: RandomBytes) -> None:
        self._transcript = _Transcript(prologue=prologue, psk=psk)
        self._random_bytes = random_bytes
        self._peer = b""

    def read(self, message: bytes) -> bytes:
        """Give the payload of the first message.

        Raises:
            HandshakeError: The message does not hold.
        """
        self._peer, rest = _split(message)
        self._transcript.mix_public(self._peer)
        return self._transcript.decrypt(rest)

    def write(self, payload: bytes) -> bytes:
        """Give the answer."""
        ephemeral = _private(self._random_bytes)
        public = ephemeral.public_key().public_bytes_raw()
        self._transcript.mix_public(public)
        self._transcript.mix_key(_shared(ephemeral, self._peer))
        return public + self._transcript.encrypt(payload)

    @property
    def secrets(self) -> tuple[bytes, bytes]:
        """Chaining key and transcript hash, once the answer was written."""
        return self._transcript.chaining_key, self._transcript.hash


def _private(random_bytes: RandomBytes) -> X25519PrivateKey:
    return X25519PrivateKey.from_private_bytes(random_bytes(_KEY))


def _shared(own: X25519PrivateKey, public: bytes) -> bytes:
    try:
        return own.exchange(X25519PublicKey.from_public_bytes(public))
    except ValueError:
        # A point of small order: the result would be known to all.
        raise HandshakeError("the peer's key is none") from None


def _split(message: bytes) -> tuple[bytes, bytes]:
    if len(message) < _KEY:
        raise HandshakeError(f"a handshake of {len(message)} bytes is cut off")
    return message[:_KEY], message[_KEY:]


def _hkdf(salt: bytes, secret: bytes, count: int) -> tuple[bytes, ...]:
    extracted = hmac.digest(salt, secret, "sha256")
    outputs: list[bytes] = []
    for number in range(1, count + 1):
        before = outputs[-1] if outputs else b""
        outputs.append(hmac.digest(extracted, before + bytes([number]), "sha256"))
    return tuple(outputs)
