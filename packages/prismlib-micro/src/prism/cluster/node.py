"""A node of the cluster: is it GREEN, and with which token?"""

from __future__ import annotations

import concurrent.futures
import logging
import os
import random
import secrets
import threading
from collections import deque
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from queue import SimpleQueue
from typing import TYPE_CHECKING, Self

from chorus_fabric.mesh import FrameKind
from prism.cluster._lease import Lease
from prism.cluster._lease_config import LeaseConfig
from prism.cluster._lease_messages import NO_GRANT, Became, Effect, Role, Send, decode, encode
from prism.cluster._term_file import TermFile
from prism.cluster.errors import (
    ClusterClosedError,
    ClusterConfigurationError,
    MalformedMessageError,
    NotGreenError,
)

if TYPE_CHECKING:
    from chorus_fabric.mesh import CHORUSFabric, MeshMessage

__all__ = ["ClusterNode", "NodeStatus", "RoleChange"]

_log = logging.getLogger("prism.cluster")

_LAST_WORDS_S = 0.5
_FORCE = "the other nodes are gone"


@dataclass(frozen=True, slots=True, kw_only=True)
class RoleChange:
    """This node became something else.

    Attributes:
        role: What it is now.
        token: The fencing token of a GREEN, else `None`.
        at: When, in seconds of the fabric's clock.
    """

    role: Role
    token: int | None
    at: float


@dataclass(frozen=True, slots=True, kw_only=True)
class NodeStatus:
    """A node at one moment.

    Attributes:
        node_id: Its name.
        role: GREEN, BLUE or ORANGE.
        token: The fencing token of a GREEN, else `None`.
        green: Who was last heard to be GREEN; `None` when nobody was, for one lease.
        remaining_s: How long this node stays GREEN if nobody answers any more.
        highest_term: The highest term granted or heard of.
        voters: Who decides.
        reachable: How many of them are up, with this one.
        error: Why this node takes no part in the lease any more; `None` while it does.
    """

    node_id: str
    role: Role
    token: int | None
    green: str | None
    remaining_s: float
    highest_term: int
    voters: tuple[str, ...]
    reachable: int
    error: str | None


class ClusterNode:
    """One node's part in the lease of the cluster, over a fabric.

    At most one node is GREEN, whatever is lost, cut off or paused, as long as clocks keep the
    assumed rate. `is_green` and `fencing_token` look at the clock at each call and wait for
    nobody: ask before each piece of work, and give the token to what you write to.

    Start it before or after its fabric, and close it before: closing hands the lease over. All
    methods may be called from any thread.

    Args:
        fabric: The node's place in the mesh; its `tick_s` adds to the time of a takeover.
        term_path: A file of this node alone; what it holds must outlive restarts. Only a node that
            does not vote needs none.
        voters: The names of the nodes that decide, 3 or 5 of them, the same on every node. `None`
            takes this node and all peers of the fabric.
        is_witness: This node votes and is never GREEN: the third of a cluster of two.
        config: Times of the lease, the same on every node.

    Raises:
        ClusterConfigurationError: An argument is not acceptable; the message names it.
        TermFileError: The file of the term is damaged, or another node's.
    """

    def __init__(
        self,
        *,
        fabric: CHORUSFabric,
        term_path: str | os.PathLike[str] | None,
        voters: Sequence[str] | None = None,
        is_witness: bool = False,
        config: LeaseConfig | None = None,
    ) -> None:
        members = (fabric.node_id, *fabric.peers())
        self._voters = tuple(sorted(members if voters is None else voters))
        unknown = set(self._voters) - set(members)
        if unknown or len(set(self._voters)) != len(self._voters) or not self._voters:
            raise ClusterConfigurationError(
                f"voters are nodes of the mesh ({', '.join(members)}), each once; "
                f"got {', '.join(self._voters) or 'none'}"
            )
        votes = fabric.node_id in self._voters
        if votes and term_path is None:
            raise ClusterConfigurationError(
                "term_path names a file that outlives restarts: a voter that forgets its term "
                "could help to give a fencing token twice"
            )
        if is_witness and not votes:
            raise ClusterConfigurationError(
                f"the witness {fabric.node_id!r} is not among the voters"
            )
        if len(self._voters) == 2:
            _log.warning("two voters cannot replace each other: add a witness as the third")
        self._fabric = fabric
        self._file = None if term_path is None or not votes else TermFile(term_path, fabric.node_id)
        now = fabric.now()
        self._lease = Lease(
            fabric.node_id,
            self._voters,
            incarnation=secrets.randbits(64),
            config=config or LeaseConfig(),
            now=now,
            jitter=random.SystemRandom().random,
            stored=NO_GRANT if self._file is None else self._file.read(),
            observers=[name for name in members if name not in self._voters],
            is_witness=is_witness,
        )
        self._held: tuple[int, float] | None = None
        self._orders: deque[Callable[[float], list[Effect]]] = deque()
        self._callbacks: list[Callable[[RoleChange], None]] = []
        self._changes: SimpleQueue[RoleChange | None] = SimpleQueue()
        self._teller: threading.Thread | None = None
        self._error: str | None = None
        self._is_running = False
        self._is_closed = False

    # -- questions

    @property
    def node_id(self) -> str:
        """This node's name."""
        return self._fabric.node_id

    def is_green(self) -> bool:
        """Tell whether this node holds the lease at this moment."""
        held = self._held
        return held is not None and self._fabric.now() < held[1]

    @property
    def fencing_token(self) -> int:
        """A number higher than that of every GREEN before; give it along with each write.

        Raises:
            NotGreenError: This node is not GREEN.
        """
        held = self._held
        if held is None or self._fabric.now() >= held[1]:
            green = self._lease.green(self._fabric.now())
            raise NotGreenError(
                f"{self.node_id} is not GREEN; {green or 'nobody'} seems to be", green=green
            )
        return held[0]

    @property
    def role(self) -> Role:
        """This node's role at this moment."""
        if self.is_green():
            return Role.GREEN
        return Role.BLUE if self._lease.is_ready else Role.ORANGE

    def status(self) -> NodeStatus:
        """Give what is known of the lease here."""
        now, held = self._fabric.now(), self._held
        is_green = held is not None and now < held[1]
        peers = self._fabric.peers()
        return NodeStatus(
            node_id=self.node_id,
            role=self.role,
            token=held[0] if held is not None and is_green else None,
            green=self.node_id if is_green else self._lease.green(now),
            remaining_s=held[1] - now if held is not None and is_green else 0.0,
            highest_term=self._lease.highest_term,
            voters=self._voters,
            reachable=sum(v == self.node_id or peers[v].is_up for v in self._voters),
            error=self._error,
        )

    # -- orders

    def on_role_change(self, callback: Callable[[RoleChange], None]) -> None:
        """Have a function called at each change of this node's role.

        It runs on a thread of its own, one call after another: it may be slow, and be told late.
        What must not run without the lease asks `is_green` itself.
        """
        self._callbacks.append(callback)

    def set_ready(self, *, is_ready: bool) -> None:
        """Say whether this node is in step with the others: BLUE, or ORANGE, which stands back."""
        self._lease.is_ready = is_ready

    def hand_over(self, *, to: str = "") -> None:
        """Give the lease up, if held, so that another takes it in a round trip.

        Args:
            to: Who need not wait; any of the others if empty.
        """
        self._order(lambda now: self._lease.hand_over(now, to=to))

    def force(self, *, because: str) -> None:
        """Make this node GREEN without a majority. A person decides this, never a program.

        If other nodes are only cut off, there are two GREEN until they meet; the fencing token
        jumps, so what is written to refuses the old one from the first write with the new one.

        Args:
            because: The words "the other nodes are gone".

        Raises:
            ClusterConfigurationError: `because` is something else.
        """
        if because != _FORCE:
            raise ClusterConfigurationError(
                f"force makes a second GREEN if other nodes are only cut off. If you know that "
                f"they are not, say because={_FORCE!r}"
            )
        _log.warning("%s is promoted by hand", self.node_id)
        self._order(self._lease.force)

    # -- life

    def start(self) -> None:
        """Take part. Does not wait for a GREEN.

        Raises:
            ClusterClosedError: It was closed.
        """
        if self._is_closed:
            raise ClusterClosedError("the node is closed: make another")
        if self._is_running:
            return
        self._is_running = True
        self._teller = threading.Thread(target=self._tell, name="prism-roles", daemon=True)
        self._teller.start()
        self._fabric.on(FrameKind.LEASE, self._on_message)
        self._fabric.on_tick(self._on_tick)

    def close(self) -> None:
        """Hand the lease over and take no further part. Safe to repeat."""
        if self._is_closed:
            return
        self._is_closed = True
        if self._is_running:
            gone: concurrent.futures.Future[None] = concurrent.futures.Future()
            if self.is_green():
                self._order(self._lease.hand_over)
                self._order(lambda _now: _tell_gone(gone))
                # The heartbeat thread may be gone already: then the lease runs out by itself.
                concurrent.futures.wait([gone], timeout=_LAST_WORDS_S)
            self._is_running = False
            self._held = None
            self._changes.put(None)

    def __enter__(self) -> Self:
        self.start()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    # -- the heartbeat thread

    def _on_tick(self, now: float) -> None:
        if not self._is_running or self._error is not None:
            return
        while self._orders:
            self._do(self._orders.popleft()(self._fabric.now()))
        self._do(self._lease.tick(now))

    def _on_message(self, message: MeshMessage) -> None:
        if not self._is_running or self._error is not None:
            return
        try:
            said = decode(message.payload)
        except MalformedMessageError as error:
            _log.warning("a lease message of %s is refused: %s", message.sender, error)
            return
        self._do(self._lease.receive(message.sender, said, self._fabric.now()))

    def _do(self, effects: list[Effect]) -> None:
        changes: list[RoleChange] = []
        for effect in effects:
            if isinstance(effect, Send):
                message = encode(effect.message)
                self._fabric.send(
                    effect.to, FrameKind.LEASE, message, token=min(effect.message.term, _U64)
                )
            elif isinstance(effect, Became):
                changes.append(
                    RoleChange(role=effect.role, token=effect.token, at=self._fabric.now())
                )
            elif self._file is not None:
                try:
                    self._file.write(effect.grant)
                except OSError as error:
                    self._fail(f"the term cannot be kept: {error}")
                    return
        self._held = self._lease.held
        for change in changes:
            self._changes.put(change)

    def _fail(self, error: str) -> None:
        """Fall silent: what this voter promised from here on would be forgotten by a restart."""
        _log.error("%s leaves the lease until it is restarted: %s", self.node_id, error)
        self._error, self._held = error, None
        role = Role.BLUE if self._lease.is_ready else Role.ORANGE
        self._changes.put(RoleChange(role=role, token=None, at=self._fabric.now()))

    def _order(self, order: Callable[[float], list[Effect]]) -> None:
        self._orders.append(order)
        self._fabric.transport.urge()

    def _tell(self) -> None:
        while (change := self._changes.get()) is not None:
            _log.info("%s is %s, token %s", self.node_id, change.role.name, change.token)
            for callback in self._callbacks:
                try:
                    callback(change)
                except Exception:  # noqa: BLE001 - a user's function: it must not end the others
                    _log.exception("a callback for role changes failed")


def _tell_gone(gone: concurrent.futures.Future[None]) -> list[Effect]:
    gone.set_result(None)
    return []


_U64 = (1 << 64) - 1
