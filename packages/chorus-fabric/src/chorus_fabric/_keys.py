"""The key schedule: which keys follow from one exchange, and what each is for.

    master   = HKDF-Extract(salt = transcript hash, key = Noise's chaining key)
    a key    = HKDF-Expand(master, "chorus-fabric 1 <who sends> <delivery> <purpose>")

Who sends is `initiator` or `responder`, delivery `ordered` or `unordered`, purpose `rotation`,
`watermark`, `root`, `seal` or `nonce`; two more, `session` and `rekey`, are of the exchange as a
whole. So no key serves two ends: a frame that is carried to another place fits nowhere there.

Source: RFC 5869.
"""

from __future__ import annotations

import hmac
from dataclasses import dataclass
from typing import Final, Literal

from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.kdf.hkdf import HKDF, HKDFExpand

from chorus_fabric._cipher import TensorCipher
from chorus_fabric._seal import Seal
from chorus_fabric._watermark import Watermarker
from chorus_fabric.errors import FabricConfigurationError

__all__ = ["Delivery", "EpochKeys", "LaneKeys", "Role", "psk_of", "renewal_psk"]

Role = Literal["initiator", "responder"]
Delivery = Literal["ordered", "unordered"]

_LABEL = "chorus-fabric 1 "
_LEAST_SECRET: Final = 16


@dataclass(frozen=True, slots=True)
class LaneKeys:
    """What one direction of one kind of delivery works with, for one epoch of keys.

    Attributes:
        cipher: Rotates its vectors.
        watermarker: Marks its frames.
        seal: Encrypts them; `None` in a session without a secret.
        root: The watermark before its first frame.
    """

    cipher: TensorCipher
    watermarker: Watermarker
    seal: Seal | None
    root: bytes


class EpochKeys:
    """All keys of one exchange."""

    __slots__ = ("_master",)

    def __init__(self, *, chaining_key: bytes, transcript_hash: bytes) -> None:
        self._master = hmac.digest(transcript_hash, chaining_key, "sha256")

    def derive(self, label: str, size: int = 32) -> bytes:
        """Give the key under a label."""
        return HKDFExpand(hashes.SHA256(), size, (_LABEL + label).encode()).derive(self._master)

    def lane(self, sender: Role, delivery: Delivery, *, is_sealed: bool) -> LaneKeys:
        """Give what one direction of one kind of delivery works with."""
        lane = f"{sender} {delivery} "
        return LaneKeys(
            cipher=TensorCipher(self.derive(lane + "rotation")),
            watermarker=Watermarker(self.derive(lane + "watermark")),
            seal=Seal(self.derive(lane + "seal"), self.derive(lane + "nonce", 4))
            if is_sealed
            else None,
            root=self.derive(lane + "root"),
        )


def psk_of(secret: bytes | str, tenant_id: str) -> bytes:
    """Give the handshake's key for a tenant's secret.

    Raises:
        FabricConfigurationError: It is too short: whoever records a hello can try guesses.
    """
    content = secret.encode() if isinstance(secret, str) else bytes(secret)
    if len(content) < _LEAST_SECRET:
        raise FabricConfigurationError(
            f"the secret has {len(content)} bytes, take {_LEAST_SECRET} or more that nobody can "
            "guess: `chorus-fabric secret FILE` makes one"
        )
    info = f"{_LABEL}psk {tenant_id}".encode()
    return HKDF(hashes.SHA256(), 32, None, info).derive(content)


def renewal_psk(keys: EpochKeys, psk: bytes | None) -> bytes:
    """Give the handshake's key for a rekey: what both hold from before, and the secret again.

    Only the two ends of a session can renew it, and one who took the keys out of a process still
    lacks the secret.
    """
    info = f"{_LABEL}renewal".encode()
    return HKDF(hashes.SHA256(), 32, psk, info).derive(keys.derive("rekey"))
