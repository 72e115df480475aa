"""How a session begins and how its keys are renewed."""

from __future__ import annotations

import os

from chorus_fabric._codec import name_hash
from chorus_fabric._hello import (
    OPEN,
    RENEWAL,
    SECRET,
    Hello,
    Terms,
    check_name,
    read_hello,
    read_reply,
    reply_head,
)
from chorus_fabric._keys import EpochKeys, Role, psk_of, renewal_psk
from chorus_fabric._noise import NoiseInitiator, NoiseResponder, RandomBytes
from chorus_fabric._sealing import SessionOpener, SessionSealer
from chorus_fabric._session import DEFAULT_POLICY, SessionPolicy, SessionState
from chorus_fabric.errors import FabricConfigurationError, HandshakeError

__all__ = ["Initiator", "Renewal", "Responder", "Session", "session_named_by"]


class Session:
    """What two nodes share after a handshake: four lanes, and the right to renew their keys.

    Made by `Initiator.finish` and `Responder.answer`. Frames in one stream, such as a feed, go
    through `sealer` and `opener`: what is missing, repeated or out of place there is refused.
    Frames that stand for themselves, such as calls, go through `unordered_sealer` and
    `unordered_opener`. A session belongs to one thread or event loop.

    A refused frame, and a hello that is refused, leave a session as it was.
    """

    __slots__ = ("_answered", "_psk", "_state")

    def __init__(self, state: SessionState, psk: bytes | None) -> None:
        self._state = state
        self._psk = psk
        self._answered: tuple[bytes, bytes] | None = None

    def __repr__(self) -> str:
        state = self._state
        return (
            f"<Session of tenant {state.tenant_id!r}, {state.node!r} with {state.peer!r}, "
            f"{'sealed' if state.is_sealed else 'not sealed'}, key epoch {state.key_epoch}>"
        )

    @property
    def id(self) -> bytes:
        """Names the session, 16 bytes; both sides have the same, and it stays through renewals."""
        return self._state.id

    @property
    def tenant_id(self) -> str:
        """Whose rows it carries."""
        return self._state.tenant_id

    @property
    def node(self) -> str:
        """This side's name."""
        return self._state.node

    @property
    def peer(self) -> str:
        """The other side's name, as it said in the handshake."""
        return self._state.peer

    @property
    def is_sealed(self) -> bool:
        """Whether frames are encrypted."""
        return self._state.is_sealed

    @property
    def is_open(self) -> bool:
        """Whether it has not ended: by `close`, or because it was not renewed."""
        return self._state.is_open

    @property
    def key_epoch(self) -> int:
        """How often the keys were renewed."""
        return self._state.key_epoch

    @property
    def sealer(self) -> SessionSealer:
        """Sends the ordered stream of this side."""
        return self._state.sealers["ordered"]

    @property
    def opener(self) -> SessionOpener:
        """Receives the ordered stream of the other side."""
        return self._state.openers["ordered"]

    @property
    def unordered_sealer(self) -> SessionSealer:
        """Sends frames that stand for themselves."""
        return self._state.sealers["unordered"]

    @property
    def unordered_opener(self) -> SessionOpener:
        """Receives frames that stand for themselves, each once."""
        return self._state.openers["unordered"]

    def needs_rekey(self, now: float) -> bool:
        """Whether the initiator should renew the keys.

        Args:
            now: Seconds of a monotonic clock, the same that the handshake was given.
        """
        return self._state.needs_rekey(now)

    def retire(self, now: float) -> None:
        """Forget old keys whose time is over, and end a session that was not renewed in time.

        Call it each second or so.

        Args:
            now: Seconds of a monotonic clock, the same that the handshake was given.
        """
        self._state.retire(now)

    def close(self) -> None:
        """End the session: everything later raises `SessionExpiredError`."""
        self._state.end("the session was closed")

    def renew(self, *, rng: RandomBytes = os.urandom) -> Renewal:
        """Begin to renew the keys, on the initiator's side.

        Args:
            rng: Gives that many bytes nobody can guess.

        Raises:
            FabricConfigurationError: This side was the responder.
            SessionExpiredError: The session has ended.
        """
        self._state.check_open()
        return Renewal(self._state, self._psk, rng=rng)

    def answer(self, hello: bytes, *, now: float, rng: RandomBytes = os.urandom) -> bytes:
        """Answer a renewal, on the responder's side, and send under the new keys from here on.

        The same hello again gives the same answer, so a lost one can be asked for again. The
        initiator may receive frames under the new keys before this answer; it opens them
        once it has `finish`ed.

        Args:
            hello: What `Renewal.hello` gave; `session_named_by` says to which session it belongs.
            now: Seconds of a monotonic clock, the same that the handshake was given.
            rng: Gives that many bytes nobody can guess.

        Raises:
            HandshakeError: It is not a renewal of this session, or not of its present keys.
            SessionExpiredError: The session has ended.
        """
        state = self._state
        state.check_open()
        hello = bytes(hello)
        if self._answered is not None and self._answered[0] == hello:
            return self._answered[1]
        parsed = read_hello(hello)
        if state.role != "responder" or parsed.mode != RENEWAL or not state.same_id(parsed.session):
            raise HandshakeError("a hello that does not renew this session")
        noise = NoiseResponder(
            prologue=parsed.head, psk=renewal_psk(state.keys, self._psk), random_bytes=rng
        )
        terms = Terms.unpack(noise.read(parsed.noise))
        _check_renewal(terms, state, sender=state.peer)
        reply = reply_head(RENEWAL) + noise.write(_renewal_terms(state, state.node).pack())
        state.install(_keys_of(noise), now)
        self._answered = (hello, reply)
        return reply


class _Greeting:
    """A hello, and what reads the answer to it."""

    __slots__ = ("_hello", "_noise")

    def __init__(self, head: bytes, terms: Terms, *, psk: bytes | None, rng: RandomBytes) -> None:
        self._noise = NoiseInitiator(prologue=head, psk=psk, random_bytes=rng)
        self._hello = head + self._noise.write(terms.pack())

    def hello(self) -> bytes:
        """Give the message to send; the same each time."""
        return self._hello

    def _terms_of(self, reply: bytes, mode: int) -> Terms:
        return Terms.unpack(self._noise.read(read_reply(reply, mode)))


class Renewal(_Greeting):
    """The initiator's side of a rekey; made by `Session.renew`."""

    __slots__ = ("_state",)

    def __init__(self, state: SessionState, psk: bytes | None, *, rng: RandomBytes) -> None:
        if state.role != "initiator":
            raise FabricConfigurationError("the side that began a session renews its keys")
        self._state = state
        super().__init__(
            Hello.head_of(RENEWAL, name_hash("tenant", state.tenant_id), state.id),
            _renewal_terms(state, state.node),
            psk=renewal_psk(state.keys, psk),
            rng=rng,
        )

    def finish(self, reply: bytes, *, now: float) -> None:
        """Take the new keys into use.

        Args:
            reply: What `Session.answer` gave.
            now: Seconds of a monotonic clock, the same that the handshake was given.

        Raises:
            HandshakeError: The answer does not hold; the session keeps the keys it has.
            SessionExpiredError: The session has ended.
        """
        self._state.check_open()
        terms = self._terms_of(reply, RENEWAL)
        _check_renewal(terms, self._state, sender=self._state.peer)
        self._state.install(_keys_of(self._noise), now)


class Initiator(_Greeting):
    """The side that speaks first, such as a driver.

    Args:
        tenant_id: Whose rows the session shall carry.
        sender: This side's name.
        secret: What all nodes of the tenant hold, 16 bytes or more that nobody can guess; `None`
            leaves authenticity and privacy to the channel: mutual TLS or loopback.
        seal: Whether frames are encrypted. `None` does so if there is a secret. A channel with
            mutual TLS does the same once more; `False` saves that work if the other side agrees.
        policy: When keys are renewed.
        rng: Gives that many bytes nobody can guess.

    Raises:
        FabricConfigurationError: A name or secret is not acceptable, or `seal` without a secret.
    """

    def __init__(
        self,
        *,
        tenant_id: str,
        sender: str,
        secret: bytes | str | None = None,
        seal: bool | None = None,
        policy: SessionPolicy = DEFAULT_POLICY,
        rng: RandomBytes = os.urandom,
    ) -> None:
        self._side = _Side(
            tenant_id=tenant_id, sender=sender, secret=secret, seal=seal, policy=policy
        )
        side = self._side
        super().__init__(
            Hello.head_of(side.mode, name_hash("tenant", tenant_id)),
            side.terms(is_sealed=side.wants_seal),
            psk=side.psk,
            rng=rng,
        )

    def finish(self, reply: bytes, *, now: float) -> Session:
        """Give the session. An initiator finishes once.

        Args:
            reply: What `Responder.answer` gave.
            now: Seconds of a monotonic clock.

        Raises:
            HandshakeError: The answer does not hold, or offers less than was asked for.
        """
        side = self._side
        terms = self._terms_of(reply, side.mode)
        side.check(terms)
        if side.wants_seal and not terms.is_sealed:
            raise HandshakeError("the other side would not encrypt frames, as this one asks")
        if terms.is_sealed and side.psk is None:
            raise HandshakeError("the other side encrypts frames, which takes a secret on both")
        return side.session("initiator", self._noise, terms, now)


class Responder:
    """The side that answers, such as a wrapper. Takes the same arguments as `Initiator`.

    It keeps nothing of a hello, so one responder serves all peers of its tenant.
    """

    def __init__(
        self,
        *,
        tenant_id: str,
        sender: str,
        secret: bytes | str | None = None,
        seal: bool | None = None,
        policy: SessionPolicy = DEFAULT_POLICY,
        rng: RandomBytes = os.urandom,
    ) -> None:
        self._side = _Side(
            tenant_id=tenant_id, sender=sender, secret=secret, seal=seal, policy=policy
        )
        self._rng = rng

    def answer(self, hello: bytes, *, now: float) -> tuple[bytes, Session]:
        """Answer a first hello.

        A recorded hello can be sent again by anyone. Whoever does so gets an answer and cannot use
        it: hold a session of little worth until its first frame has been opened.

        Args:
            hello: What `Initiator.hello` gave.
            now: Seconds of a monotonic clock.

        Returns:
            The reply to send, and the session.

        Raises:
            HandshakeError: Another tenant or secret, a secret on one side alone, or no hello.
        """
        side = self._side
        parsed = read_hello(hello)
        if parsed.mode == RENEWAL:
            raise HandshakeError("a renewal of a session that is not here: say hello as new")
        if parsed.mode != side.mode:
            raise HandshakeError(
                "one side has a secret and the other has none: give both the same, or neither"
            )
        if parsed.tenant != name_hash("tenant", side.tenant_id):
            raise HandshakeError("a hello for another tenant")
        noise = NoiseResponder(prologue=parsed.head, psk=side.psk, random_bytes=self._rng)
        terms = Terms.unpack(noise.read(parsed.noise))
        side.check(terms)
        if terms.is_sealed and side.psk is None:
            raise HandshakeError("the other side wants frames encrypted, which takes a secret")
        is_sealed = terms.is_sealed or side.wants_seal
        reply = reply_head(side.mode) + noise.write(side.terms(is_sealed=is_sealed).pack())
        agreed = Terms(
            tenant_id=terms.tenant_id, sender=terms.sender, is_sealed=is_sealed, key_epoch=0
        )
        return reply, side.session("responder", noise, agreed, now)


class _Side:
    """What both sides check and know before a handshake."""

    def __init__(
        self, *, tenant_id: str, sender: str, secret: bytes | str | None, seal: bool | None,
        policy: SessionPolicy,
    ) -> None:  # fmt: skip
        self.tenant_id = check_name("tenant_id", tenant_id)
        self.sender = check_name("sender", sender)
        self.psk = None if secret is None else psk_of(secret, tenant_id)
        if seal and secret is None:
            raise FabricConfigurationError("to seal frames takes a secret, which both sides hold")
        self.wants_seal = seal if seal is not None else secret is not None
        self.mode = OPEN if secret is None else SECRET
        self._policy = policy

    def terms(self, *, is_sealed: bool) -> Terms:
        return Terms(tenant_id=self.tenant_id, sender=self.sender, is_sealed=is_sealed, key_epoch=0)

    def check(self, terms: Terms) -> None:
        if terms.tenant_id != self.tenant_id or terms.key_epoch != 0:
            raise HandshakeError("the other side speaks for another tenant")

    def session(
        self, role: Role, noise: NoiseInitiator | NoiseResponder, terms: Terms, now: float
    ) -> Session:
        state = SessionState(
            role=role,
            keys=_keys_of(noise),
            tenant_id=self.tenant_id,
            node=self.sender,
            peer=terms.sender,
            is_sealed=terms.is_sealed,
            policy=self._policy,
            now=now,
        )
        return Session(state, self.psk)


def session_named_by(hello: bytes) -> bytes | None:
    """Give the id of the session that a hello renews; `None` if it begins a new one.

    Raises:
        HandshakeError: It is no hello.
    """
    parsed = read_hello(hello)
    return parsed.session if parsed.mode == RENEWAL else None


def _keys_of(noise: NoiseInitiator | NoiseResponder) -> EpochKeys:
    chaining_key, transcript_hash = noise.secrets
    return EpochKeys(chaining_key=chaining_key, transcript_hash=transcript_hash)


def _renewal_terms(state: SessionState, sender: str) -> Terms:
    return Terms(
        tenant_id=state.tenant_id,
        sender=sender,
        is_sealed=state.is_sealed,
        key_epoch=state.key_epoch + 1,
    )


def _check_renewal(terms: Terms, state: SessionState, *, sender: str) -> None:
    if terms != _renewal_terms(state, sender):
        raise HandshakeError("a renewal on other terms than the session's")
