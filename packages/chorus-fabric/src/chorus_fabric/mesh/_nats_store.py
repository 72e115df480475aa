"""Small values that all nodes share, with compare-and-swap, and leases made of them.

Behind it is a key-value bucket of JetStream. Names are hashed and values sealed (AES-256-GCM, the
bucket and the name as associated data) with keys from the secret: the servers can lose a value or
bring back an old one, and neither read nor make one. A revision lower than one seen before is
refused for that reason.
"""

from __future__ import annotations

import asyncio
import hmac
import os
from dataclasses import dataclass
from typing import TYPE_CHECKING, Final, TypeVar

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives import hashes
from cryptography.hazmat.primitives.ciphers.aead import AESGCM
from cryptography.hazmat.primitives.kdf.hkdf import HKDFExpand
from nats.errors import Error as NatsError
from nats.js.errors import (
    APIError,
    KeyDeletedError,
    KeyNotFoundError,
    KeyWrongLastSequenceError,
    NoStreamResponseError,
    NotFoundError,
)

from chorus_fabric._keys import psk_of
from chorus_fabric.errors import (
    ConflictError,
    FabricConfigurationError,
    ForgedFrameError,
    ReplayedFrameError,
    ServiceUnavailableError,
)
from chorus_fabric.mesh._pacer import steady_s

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable
    from types import TracebackType
    from typing import Self

    from nats.aio.client import Client
    from nats.js.kv import KeyValue

    from chorus_fabric.mesh._nats import NatsServers

__all__ = ["WRONG_LAST", "NatsLease", "NatsStore", "Stored", "patiently"]

WRONG_LAST: Final = 10071  # JetStream's code: another message came in between
_NONCE_BYTES: Final = 12
_PATIENCE_S: Final = 20.0  # a fresh cluster chooses its leader within 4 to 9
_AGAIN_S: Final = 0.1
_ANSWER_S: Final = 2.0
_LEAST_TTL_S: Final = 1.0
_DRIFT: Final = 0.02  # clocks of a node and of the servers may differ by that share

Result = TypeVar("Result")


async def patiently(
    work: Callable[[], Awaitable[Result]], *, patience_s: float = _PATIENCE_S
) -> Result:
    """Try until JetStream answers: for some seconds after a server died, none leads.

    Args:
        work: What is tried; must be safe to repeat.
        patience_s: How long.

    Raises:
        ServiceUnavailableError: It did not in time.
    """
    deadline = steady_s() + patience_s
    while True:
        try:
            return await work()
        except (KeyNotFoundError, KeyWrongLastSequenceError, NotFoundError):
            raise
        except (NatsError, TimeoutError, OSError) as error:
            if steady_s() > deadline:
                raise ServiceUnavailableError(f"JetStream does not answer: {error!r}") from error
        await asyncio.sleep(_AGAIN_S)


async def _once(write: Callable[[], Awaitable[Result]]) -> Result:
    """Try a write until it has reached a stream, and then not again.

    What was written and not acknowledged would look like somebody else's. What reached none was not
    written: a server has not heard yet of a bucket that another has just made.
    """
    deadline = steady_s() + _ANSWER_S
    while True:
        try:
            return await write()
        except NoStreamResponseError:
            if steady_s() > deadline:
                raise
        await asyncio.sleep(_AGAIN_S)


@dataclass(frozen=True, slots=True, kw_only=True)
class Stored:
    """A value in a store.

    Attributes:
        value: The value.
        revision: Rises with each write of the whole store; what `update` compares.
    """

    value: bytes
    revision: int


class NatsStore:
    """Values under names. Belongs to one event loop.

    Args:
        servers: Where they are.
        bucket: Name of the bucket, of letters, digits, `-` and `_`; made if it is not there.
        tenant_id: Whose values they are.
        secret: What all nodes hold.
        ttl_s: Seconds after which a value that was not written again is gone; `None` for never.
        replicas: On how many servers it is kept, 1, 3 or 5.
    """

    def __init__(
        self,
        servers: NatsServers,
        *,
        bucket: str,
        tenant_id: str,
        secret: str | bytes,
        ttl_s: float | None = None,
        replicas: int = 3,
    ) -> None:
        if ttl_s is not None and ttl_s < _LEAST_TTL_S:
            raise FabricConfigurationError(
                f"ttl_s is at least {_LEAST_TTL_S:g}: the servers look for old values once a "
                f"second; got {ttl_s!r}"
            )
        master = psk_of(secret, tenant_id)

        def key(label: str) -> bytes:
            info = f"chorus-fabric 1 store {label} {bucket}".encode()
            return HKDFExpand(hashes.SHA256(), 32, info).derive(master)

        self._servers = servers
        self._bucket = bucket
        self.ttl_s = ttl_s
        self._replicas = replicas
        self._name_key = key("names")
        self._cipher = AESGCM(key("values"))
        self._newest: dict[str, int] = {}
        self._client: Client | None = None
        self._values: KeyValue | None = None

    async def __aenter__(self) -> Self:
        client = self._client = await self._servers.connect(f"store {self._bucket}")
        stream = client.jetstream(timeout=_ANSWER_S)
        try:
            self._values = await patiently(
                lambda: stream.create_key_value(
                    bucket=self._bucket, ttl=self.ttl_s, replicas=self._replicas, history=1
                )
            )
        except BaseException:
            await client.close()
            raise
        return self

    async def __aexit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if self._client is not None:
            await self._client.close()

    async def get(self, name: str) -> Stored | None:
        """Give a value; `None` if there is none.

        Raises:
            ServiceUnavailableError: The servers do not answer.
            ForgedFrameError: The servers hold what no node has written there.
            ReplayedFrameError: They give an older value than they did before.
        """
        key = self._key(name)
        try:
            entry = await patiently(lambda: self._bound.get(key))
        except (KeyNotFoundError, KeyDeletedError):
            return None
        revision = entry.revision or 0
        if revision < self._newest.get(key, 0):
            raise ReplayedFrameError(
                f"revision {revision} of a value, after {self._newest[key]} was seen: the servers "
                "went back"
            )
        sealed = entry.value or b""
        try:
            value = self._cipher.decrypt(sealed[:_NONCE_BYTES], sealed[_NONCE_BYTES:], key.encode())
        except (InvalidTag, ValueError):
            raise ForgedFrameError("a value in the store was made without the secret") from None
        self._newest[key] = revision
        return Stored(value=value, revision=revision)

    async def create(self, name: str, value: bytes) -> int:
        """Write a value where there is none; gives its revision.

        Raises:
            ConflictError: There is one.
            ServiceUnavailableError: The servers do not answer; it may be written or not.
        """
        return await self._write(name, value, lambda key, sealed: self._bound.create(key, sealed))

    async def update(self, name: str, value: bytes, *, revision: int) -> int:
        """Write a value if it is still of that revision; gives the new one.

        Raises:
            ConflictError: It is not.
            ServiceUnavailableError: The servers do not answer; it may be written or not.
        """
        return await self._write(
            name, value, lambda key, sealed: self._bound.update(key, sealed, last=revision)
        )

    async def delete(self, name: str, *, revision: int) -> None:
        """Remove a value if it is still of that revision.

        Raises:
            ConflictError: It is not.
            ServiceUnavailableError: The servers do not answer; it may be done or not.
        """
        try:
            await _once(lambda: self._bound.delete(self._key(name), last=revision))
        except (NatsError, TimeoutError, OSError) as error:
            # A deletion that comes too late has no class of its own in nats-py.
            if isinstance(error, APIError) and error.err_code == WRONG_LAST:
                raise ConflictError(f"{name} is not of revision {revision} any more") from None
            raise ServiceUnavailableError(f"JetStream does not answer: {error!r}") from error

    async def _write(
        self, name: str, value: bytes, write: Callable[[str, bytes], Awaitable[int]]
    ) -> int:
        key = self._key(name)
        nonce = os.urandom(_NONCE_BYTES)
        sealed = nonce + self._cipher.encrypt(nonce, value, key.encode())
        try:
            revision = await _once(lambda: write(key, sealed))
        except (KeyWrongLastSequenceError, KeyNotFoundError):
            # Not found: it expired between the refusal and the look at whether it is a deletion.
            raise ConflictError(f"another was first to write {name}: read it again") from None
        except (NatsError, TimeoutError, OSError) as error:
            raise ServiceUnavailableError(f"JetStream does not answer: {error!r}") from error
        if revision <= self._newest.get(key, 0):
            raise ReplayedFrameError(
                f"revision {revision} after {self._newest[key]} was seen: the servers went back"
            )
        self._newest[key] = revision
        return revision

    def _key(self, name: str) -> str:
        return hmac.digest(self._name_key, name.encode(), "sha256").hex()

    @property
    def _bound(self) -> KeyValue:
        if self._values is None:
            raise FabricConfigurationError("a store is used within `async with`")
        return self._values


class NatsLease:
    """A right that one node at a time has, until it expires. Belongs to one event loop.

    The holder counts from when it sent its renewal, the servers from when they wrote it, so the
    holder stops first as long as their clocks run alike within 2 %. `token` rises from holder to
    holder: give it to whatever the lease protects, which refuses lower ones. It is not a lock: a
    holder that is stopped between `is_held` and what it does then may do that too late.

    Args:
        store: A store with `ttl_s`, which is how long the lease lasts without a renewal. Renew
            about six times as often.
        name: The lease's name.
        node_id: Who would hold it.
    """

    def __init__(self, store: NatsStore, name: str, *, node_id: str) -> None:
        if store.ttl_s is None:
            raise FabricConfigurationError("a lease ends by itself: give its store a ttl_s")
        self._ttl_s = store.ttl_s * (1.0 - _DRIFT)
        self._store = store
        self._name = name
        self._node_id = node_id
        self._revision = 0
        self._until = 0.0
        self.token = 0

    @property
    def is_held(self) -> bool:
        """Whether this node has it, by its clock now."""
        return steady_s() < self._until

    @property
    def remaining_s(self) -> float:
        """For how long this node has it without a renewal."""
        return max(0.0, self._until - steady_s())

    async def holder(self) -> str | None:
        """Give who has it as the servers know; `None` for nobody."""
        found = await self._store.get(self._name)
        return None if found is None else found.value.decode()

    async def acquire(self) -> bool:
        """Take it if nobody has it; gives whether this node has it now.

        Raises:
            ServiceUnavailableError: The servers do not answer.
        """
        if self.is_held:
            return True
        sent = steady_s()
        try:
            self._revision = await self._store.create(self._name, self._node_id.encode())
        except ConflictError:
            return False
        self.token = self._revision
        self._until = sent + self._ttl_s
        return self.is_held

    async def renew(self) -> bool:
        """Keep it for longer; gives whether this node has it still.

        Where the servers do not answer it is held until it expires: try again.
        """
        if not self.is_held:
            return False
        sent = steady_s()
        try:
            self._revision = await self._store.update(
                self._name, self._node_id.encode(), revision=self._revision
            )
        except ConflictError:
            # Either somebody has it, or an own renewal was written without an answer.
            found = await self._store.get(self._name)
            if found is None or found.value != self._node_id.encode():
                self._until = 0.0
                return False
            self._revision = found.revision
            return self.is_held
        except ServiceUnavailableError:
            return self.is_held
        self._until = sent + self._ttl_s
        return self.is_held

    async def release(self) -> None:
        """Give it up, so that another need not wait. Safe to repeat."""
        if self.is_held:
            self._until = 0.0
            try:
                await self._store.delete(self._name, revision=self._revision)
            except (ConflictError, ServiceUnavailableError):
                return  # it expires
