"""The format and the key schedule, spelled out a second time and beside bytes that were kept.

`EXPECTED` was made by this test's own spelling (run it with `python -m pytest -k spelled`: the
failure shows the new bytes), which uses hmac, AES-GCM and struct alone. The exchange before it is
compared with Cacophony's vectors in test_noise.py, K with Gram-Schmidt in test_cipher.py.
"""

from __future__ import annotations

import hashlib
import hmac
import struct

import numpy as np
import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from chorus_fabric import BytesColumn, Frame, FrameKind, TensorCipher, TextColumn
from chorus_fabric._keys import EpochKeys, psk_of
from chorus_fabric._sealing import SessionOpener, SessionSealer

CHAINING_KEY, TRANSCRIPT = b"c" * 32, b"t" * 32
SECOND_CHAINING_KEY = b"d" * 32

EXPECTED = {
    "sealed 0": "20480f495da7f10273d235d57c7e60f432e891f393811ff1aca2cf4ec004a345",
    "sealed 1": "f4415eb722573034967f84f45c70d369662abdd1c21e556e8715a585d961189a",
    "sealed 2": "6e0786e8b4b9e7a6d0cce6e277f3ad43ac379aa8ada5ea303e78c5628cc81c07",
    "marked 0": "898f4c8b83b197a547f19d41e6ab92e1887b336c9283ab6e77cefdd0fa1fc89a",
    "marked 1": "4e087407d6256e95d240274720ff8bec8e5f0faa51f4eec947b97c0be6ab95a7",
    "marked 2": "3b301524569b97a40739b6fcf5eda927b56ed0eba6f0bbb8576af4a8adab9a51",
}
# The first message of the session that is not sealed, whole.
WHOLE = (
    "43484652010200a5e40ad9ba32b66d9afe19ae0432f53c1adeb9232b70e4082e75b87cca1a4be30f00000000"
    "04030201000000000000000018171615141312110a00000000000000020000000100010f0300000003000000"
    "0200000000000000070000000000000000000000000000800000003f000080be010000000300000000000000"
    "03000000020000000200000061c3a974776f7b7d067eca4e0925bd2b0c1269edf55735a42326b5613b740939"
    "24d4937e748f9779"
)


def extract(salt: bytes, key: bytes) -> bytes:
    return hmac.digest(salt, key, "sha256")


def expand(key: bytes, info: bytes, size: int = 32) -> bytes:
    assert size <= 32
    return hmac.digest(key, info + b"\x01", "sha256")[:size]


def the_frame(seq: int) -> Frame:
    return Frame(
        kind=FrameKind.ROWS,
        tenant_id="acme",
        sender="db-1",
        stream=0x01020304,
        epoch=0x1112131415161718,
        seq=seq,
        flags=0xA5,
        # One component: K is +1 or -1 there, so that the bytes are the same on every machine.
        vectors=np.array([[0.5], [-0.25]], np.float32),
        ids=TextColumn.from_strings(["a", "é"]),
        texts=TextColumn.from_strings(["", "two"]),
        metadata=BytesColumn.from_items([b"{}", b""]),
        seqs=np.array([7, 2**63], np.uint64),
    )


def spelled_out(
    *, seq: int, counter: int, key_epoch: int, master: bytes, before: bytes, is_sealed: bool
) -> tuple[bytes, bytes]:
    """Make a message from the description alone; give it and its watermark."""

    def key(purpose: str, size: int = 32) -> bytes:
        return expand(master, f"chorus-fabric 1 responder ordered {purpose}".encode(), size)

    tenant = hashlib.sha256(b"chorus-fabric tenant\x00acme").digest()[:16]
    sender = hashlib.sha256(b"chorus-fabric sender\x00db-1").digest()[:16]
    header = b"CHFR" + bytes([1, 2, 1 if is_sealed else 0, 0xA5]) + tenant + sender
    header += struct.pack("<II", key_epoch, 0x01020304)
    header += struct.pack("<QQQ", counter, 0x1112131415161718, seq)
    header += struct.pack("<IHBB", 2, 1, 1, 1 | 2 | 4 | 8)
    header += struct.pack("<IIII", 3, 3, 2, 0)
    sign = float(TensorCipher(key("rotation")).matrix(1)[0, 0])
    body = struct.pack("<QQ", 7, 2**63)
    body += struct.pack("<ff", 0.5 * sign, -0.25 * sign)
    body += struct.pack("<II", 1, 3) + struct.pack("<II", 0, 3) + struct.pack("<II", 2, 2)
    body += "aé".encode() + b"two" + b"{}"
    watermark = hmac.digest(key("watermark"), header + body + before, "sha256")
    if not is_sealed:
        return header + body + watermark, watermark
    nonce = key("nonce", 4) + struct.pack(">Q", counter)
    return header + AESGCM(key("seal")).encrypt(nonce, body + watermark, header), watermark


@pytest.mark.parametrize("is_sealed", [True, False], ids=["sealed", "marked"])
def test_messages_are_as_spelled_out(is_sealed: bool) -> None:
    kind = "sealed" if is_sealed else "marked"
    masters = [extract(TRANSCRIPT, CHAINING_KEY), extract(TRANSCRIPT, SECOND_CHAINING_KEY)]
    before = expand(masters[0], b"chorus-fabric 1 responder ordered root")
    expected = []
    # Two frames, then one under new keys: its chain goes on from the second.
    for seq, counter, key_epoch in ((10, 0, 0), (11, 1, 0), (12, 0, 1)):
        message, before = spelled_out(
            seq=seq, counter=counter, key_epoch=key_epoch, master=masters[key_epoch],
            before=before, is_sealed=is_sealed,
        )  # fmt: skip
        expected.append(message)
    told = {
        f"{kind} {place}": hashlib.sha256(message).hexdigest()
        for place, message in enumerate(expected)
    }
    assert told == {name: kept for name, kept in EXPECTED.items() if name.startswith(kind)}
    if not is_sealed:
        assert expected[0].hex() == WHOLE

    lane = {
        "tenant_id": "acme", "sender": "db-1", "delivery": "ordered", "is_sealed": is_sealed,
        "max_frame_bytes": 1 << 20,
    }  # fmt: skip
    sealer, opener = SessionSealer(**lane), SessionOpener(**lane)  # type: ignore[arg-type]
    schedule = [
        EpochKeys(chaining_key=key, transcript_hash=TRANSCRIPT).lane(
            "responder", "ordered", is_sealed=is_sealed
        )
        for key in (CHAINING_KEY, SECOND_CHAINING_KEY)
    ]
    opener.install(0, schedule[0])
    opener.install(1, schedule[1])
    sealer.install(0, schedule[0])
    for place, message in enumerate(expected):
        if place == 2:
            sealer.install(1, schedule[1])
        assert sealer.seal(the_frame(10 + place)) == message
        opened = opener.open(message)
        assert opened.seq == 10 + place
        assert list(opened.ids) == ["a", "é"]


def test_the_secret_goes_through_hkdf_with_the_tenant() -> None:
    """RFC 5869 with no salt, which is one of zeros."""
    secret = b"held by all nodes of a tenant"
    expected = expand(extract(bytes(32), secret), b"chorus-fabric 1 psk acme")
    assert psk_of(secret, "acme") == expected
    assert psk_of(secret.decode(), "acme") == expected
    assert psk_of(secret, "globex") != expected


def test_this_spelling_of_hkdf_gives_the_answers_of_rfc_5869() -> None:
    """Appendix A.1 of the RFC, its first 32 bytes."""
    salt, info = bytes(range(13)), bytes(range(0xF0, 0xFA))
    found = expand(extract(salt, b"\x0b" * 22), info)
    assert found.hex() == "3cb25f25faacd57a90434f64d0362f2a2d2d0a90cf1a5a4c5db02d56ecc4c5bf"
