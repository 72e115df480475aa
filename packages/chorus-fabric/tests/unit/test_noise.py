"""The exchange, beside vectors that another implementation made."""

from __future__ import annotations

import pytest
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from chorus_fabric import HandshakeError
from chorus_fabric._noise import NoiseInitiator, NoiseResponder, _hkdf

# Made by Cacophony (Haskell), as published in tests/vectors/cacophony.txt of mcginty/snow.
PROLOGUE = bytes.fromhex("4a6f686e2047616c74")
INITIATOR_KEY = bytes.fromhex("893e28b9dc6ca8d611ab664754b8ceb7bac5117349a4439a6b0569da977c464a")
RESPONDER_KEY = bytes.fromhex("bbdb4cdbd309f1a1f2e1456967fe288cadd6f712d65dc7b7793d5e63da6b375b")
FIRST = bytes.fromhex("4c756477696720766f6e204d69736573")
SECOND = bytes.fromhex("4d757272617920526f746862617264")
THIRD = bytes.fromhex("462e20412e20486179656b")
VECTORS = [
    pytest.param(
        None,
        "ca35def5ae56cec33dc2036731ab14896bc4c75dbb07a61f879f8e3afa4c7944"
        "4c756477696720766f6e204d69736573",
        "95ebc60d2b1fa672c1f46a8aa265ef51bfe38e7ccb39ec5be34069f144808843"
        "934ff73eebb9d930ebf62b8e4db8133ca936872b5551efd7c9989c646d8cf0",
        "6301958d25cd7d1ffe6ad7d0ca2ad284b4e478d9acd9198f7750432d225043d0",
        "8d372b94914e80018211a344b8b1c5a2869492a0db46990c0362f3",
        id="NN",
    ),
    pytest.param(
        "54686973206973206d7920417573747269616e20706572737065637469766521",
        "ca35def5ae56cec33dc2036731ab14896bc4c75dbb07a61f879f8e3afa4c7944"
        "7c37a89fc17813788d30df2d59501d6066f5f8aecc3406bbd9829f2d24a531b1",
        "95ebc60d2b1fa672c1f46a8aa265ef51bfe38e7ccb39ec5be34069f144808843"
        "2f29d79368ef9de4e1ae7a362fb05bf0ad668e026bf5714554497b3a720461",
        "9f3b1f9afd7767767b5b9d1069844a6154fdbdcc36dfb3e31c0fffc5c973d530",
        "7c01e898a6201f36aecee532e29cd0b7f8ffa29d3366ad0dce39a6",
        id="NNpsk0",
    ),
]


@pytest.mark.parametrize(("psk", "first", "second", "transcript", "third"), VECTORS)
def test_vectors(psk: str | None, first: str, second: str, transcript: str, third: str) -> None:
    secret = None if psk is None else bytes.fromhex(psk)
    initiator = NoiseInitiator(prologue=PROLOGUE, psk=secret, random_bytes=lambda _: INITIATOR_KEY)
    responder = NoiseResponder(prologue=PROLOGUE, psk=secret, random_bytes=lambda _: RESPONDER_KEY)
    hello = initiator.write(FIRST)
    assert hello.hex() == first
    assert responder.read(hello) == FIRST
    reply = responder.write(SECOND)
    assert reply.hex() == second
    assert initiator.read(reply) == SECOND
    assert initiator.secrets == responder.secrets
    chaining_key, found = initiator.secrets
    assert found.hex() == transcript
    # The vector's next message shows that the chaining key is right as well: Noise's Split.
    key, _ = _hkdf(chaining_key, b"", 2)
    assert AESGCM(key).encrypt(bytes(12), THIRD, b"").hex() == third


@pytest.mark.parametrize("size", [0, 31])
def test_a_message_that_is_cut_off_is_refused(size: int) -> None:
    with pytest.raises(HandshakeError):
        NoiseResponder(prologue=b"", psk=None, random_bytes=bytes).read(bytes(size))


def test_a_key_of_small_order_is_refused() -> None:
    responder = NoiseResponder(prologue=b"", psk=None, random_bytes=lambda _: RESPONDER_KEY)
    responder.read(bytes(32) + b"payload")
    with pytest.raises(HandshakeError, match="none"):
        responder.write(b"")
