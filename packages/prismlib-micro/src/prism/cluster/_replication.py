"""How replicas stay in step: a machine without clock, network or disk of its own.

- What a node writes goes to all others at once. What is lost on the way is found by comparing
  digests with one other node after another, and sent again, in both directions.
- **Reading takes a lease.** A node renews it with all others several times a second; the answers
  bring the invalidations that it lacks. It serves what it holds only while a majority, itself
  included, has answered a renewal that it sent less than a lease ago.
- **An invalidation is acknowledged** when every node has it; or when a majority has it and a lease
  has gone by. A node that does not have it by then shares a voter with that majority: either it has
  renewed since, and got it with the answer, or its lease has run out.
- A node that starts knows nothing of what it acknowledged before. It renews for nobody, and serves
  nothing, until a majority of nodes that are in step, or all others, told it their invalidations.

Source: Gray and Cheriton, "Leases", SOSP 1989; Demers et al., "Epidemic Algorithms", PODC 1987.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from prism.cluster._clock import Stamp
from prism.cluster._replica import Invalidation, Item, Replica
from prism.cluster._rounds import Rounds

__all__ = [
    "Acknowledged",
    "Digest",
    "Join",
    "Learned",
    "Listing",
    "Member",
    "Outcome",
    "Placed",
    "Pull",
    "Put",
    "Removed",
    "Renew",
    "Renewed",
    "ReplicationMessage",
    "SafeNow",
    "Stored",
    "Tell",
    "ToPeer",
    "Told",
]


class Put(NamedTuple):
    """An item; `wants_answer` asks for `Stored`."""

    item: Item
    wants_answer: bool


class Stored(NamedTuple):
    """The item with this stamp is here, or something later."""

    key: bytes
    stamp: Stamp


class Renew(NamedTuple):
    """Renew my lease on reading; this is what I know."""

    round: int
    run: int
    known: dict[str, Stamp]


class Renewed(NamedTuple):
    """Your lease is renewed, and this is what you did not know."""

    round: int
    run: int
    floors: dict[str, Stamp]
    log: list[Invalidation]


class Tell(NamedTuple):
    """This was invalidated."""

    invalidation: Invalidation


class Learned(NamedTuple):
    """I know that invalidation."""

    stamp: Stamp


class Join(NamedTuple):
    """I know nothing yet: what do you know?"""

    run: int


class Told(NamedTuple):
    """All invalidations that I know; `is_synced` unless I have just started myself."""

    run: int
    is_synced: bool
    floors: dict[str, Stamp]
    log: list[Invalidation]
    forgotten: Stamp


class Digest(NamedTuple):
    """What I hold, in short."""

    buckets: tuple[int, ...]
    forgotten: Stamp


class Listing(NamedTuple):
    """What I hold in buckets that differ: keys and stamps."""

    buckets: list[int]
    held: list[tuple[bytes, Stamp]]


class Pull(NamedTuple):
    """Send me these items."""

    keys: list[bytes]


ReplicationMessage = (
    Put | Stored | Renew | Renewed | Tell | Learned | Join | Told | Digest | Listing | Pull
)


class ToPeer(NamedTuple):
    """Send a message to a node; it may be lost."""

    to: str
    message: ReplicationMessage


class Placed(NamedTuple):
    """An item of another node is held now."""

    item: Item


class Removed(NamedTuple):
    """These keys are not held any more; `by` is the invalidation that removed them."""

    keys: list[bytes]
    by: Invalidation | None


class Acknowledged(NamedTuple):
    """No node serves what this invalidation removed."""

    stamp: Stamp


class SafeNow(NamedTuple):
    """Another node holds the item too."""

    key: bytes
    stamp: Stamp


Outcome = ToPeer | Placed | Removed | Acknowledged | SafeNow


class _Pending:
    __slots__ = ("have", "invalidation", "majority_at", "sent_at")

    def __init__(self, invalidation: Invalidation, now: float, node: str) -> None:
        self.invalidation = invalidation
        self.have = {node}
        self.majority_at: float | None = None
        self.sent_at = now


class Member:
    """One node's part in replication.

    Args:
        node: Its name.
        members: All nodes, itself included.
        run: A number that no other run of this node has.
        replica: What it holds.
        now: Seconds of a clock that never goes back.
        read_lease_s: How long a renewal lets it serve. Longer tolerates longer pauses; an
            invalidation waits so long for a node that does not answer.
        renew_every_s: How often it renews.
        digest_every_s: How often it compares digests with one of the others.
        max_drift: See `LeaseConfig`.

    Methods return what the shell has to do. Not safe for threads.
    """

    def __init__(
        self,
        node: str,
        members: Sequence[str],
        *,
        run: int,
        replica: Replica,
        now: float,
        read_lease_s: float = 1.0,
        renew_every_s: float = 0.2,
        digest_every_s: float = 1.0,
        max_drift: float = 0.01,
    ) -> None:
        self.node = node
        self.replica = replica
        self._others = [name for name in sorted(members) if name != node]
        self._majority = (len(self._others) + 1) // 2 + 1
        self._run = run
        self._lease_s = read_lease_s
        self._renew_every_s = renew_every_s
        self._digest_every_s = digest_every_s
        self._drift = max_drift
        self._rounds = Rounds(len(self._others) + 1)
        self._round = 0
        self._renew_at = now
        self._digest_at = now + digest_every_s
        self._digest_turn = 0
        self._serves_until = now
        self._joined: dict[str, bool] = {}
        self.is_synced = not self._others
        self._pending: dict[Stamp, _Pending] = {}
        self._unsafe: dict[bytes, Stamp] = {}

    def may_serve(self, now: float) -> bool:
        """Tell whether what is held here may be served at this moment."""
        return self.is_synced and (not self._others or now < self._serves_until)

    @property
    def unsafe(self) -> int:
        """How many items of this node no other node has confirmed."""
        return len(self._unsafe)

    @property
    def deadline(self) -> float:
        """When `tick` has something to do at the latest."""
        return min(self._renew_at, self._digest_at)

    # -- from this node

    def put(self, item: Item) -> list[Outcome]:
        """Spread an item that was written here."""
        if self._others:
            self._unsafe[item.key] = item.stamp
        return [ToPeer(peer, Put(item, wants_answer=True)) for peer in self._others]

    def spread(self, invalidation: Invalidation, now: float) -> list[Outcome]:
        """Spread an invalidation that was made here; `Acknowledged` follows in time."""
        self._pending[invalidation.stamp] = _Pending(invalidation, now, self.node)
        outcomes: list[Outcome] = [ToPeer(peer, Tell(invalidation)) for peer in self._others]
        self._settle(now, outcomes)
        return outcomes

    def tick(self, now: float) -> list[Outcome]:
        """Do what is due."""
        outcomes: list[Outcome] = []
        if now >= self._renew_at:
            self._renew_at = now + self._renew_every_s
            if self.is_synced:
                self._renew(now, outcomes)
            else:
                missing = [peer for peer in self._others if not self._joined.get(peer)]
                outcomes += [ToPeer(peer, Join(self._run)) for peer in missing]
        if now >= self._digest_at:
            self._digest_at = now + self._digest_every_s
            self._compare(outcomes)
        for one in self._pending.values():
            if now - one.sent_at >= self._renew_every_s:
                one.sent_at = now
                outcomes += [
                    ToPeer(peer, Tell(one.invalidation))
                    for peer in self._others
                    if peer not in one.have
                ]
        self._settle(now, outcomes)
        return outcomes

    # -- from others

    def receive(self, sender: str, message: ReplicationMessage, now: float) -> list[Outcome]:
        """Take a message of another node."""
        outcomes: list[Outcome] = []
        match message:
            case Put():
                self._on_put(sender, message, outcomes)
            case Stored():
                if self._unsafe.get(message.key) == message.stamp:
                    del self._unsafe[message.key]
                    outcomes.append(SafeNow(message.key, message.stamp))
            case Renew():
                if self.is_synced:
                    floors, log = self.replica.since(message.known)
                    outcomes.append(
                        ToPeer(sender, Renewed(message.round, message.run, floors, log))
                    )
            case Renewed():
                self._on_renewed(sender, message, outcomes)
            case Tell():
                if self.is_synced and self._learn([message.invalidation], outcomes):
                    outcomes.append(ToPeer(sender, Learned(message.invalidation.stamp)))
            case Learned():
                if message.stamp in self._pending:
                    self._pending[message.stamp].have.add(sender)
                    self._settle(now, outcomes)
            case Join():
                floors, log = self.replica.since({})
                told = Told(message.run, self.is_synced, floors, log, self.replica.forgotten)
                outcomes.append(ToPeer(sender, told))
            case Told():
                self._on_told(sender, message, now, outcomes)
            case Digest():
                self._on_digest(sender, message, outcomes)
            case Listing():
                self._on_listing(sender, message, outcomes)
            case Pull():
                held = [self.replica.items.get(key) for key in message.keys]
                outcomes += [ToPeer(sender, Put(item, wants_answer=False)) for item in held if item]
        return outcomes

    def _on_put(self, sender: str, message: Put, outcomes: list[Outcome]) -> None:
        is_new, gone = self.replica.take(message.item)
        if gone:
            outcomes.append(Removed(gone, None))
        if is_new:
            outcomes.append(Placed(message.item))
        if message.wants_answer:
            outcomes.append(ToPeer(sender, Stored(message.item.key, message.item.stamp)))

    def _renew(self, now: float, outcomes: list[Outcome]) -> None:
        self._round += 1
        self._rounds.open(self._round, now)
        self._rounds.promised(self.node, self._round)
        known = self.replica.known
        outcomes += [ToPeer(peer, Renew(self._round, self._run, known)) for peer in self._others]

    def _on_renewed(self, sender: str, message: Renewed, outcomes: list[Outcome]) -> None:
        if message.run != self._run:
            return
        self._raise(message.floors, outcomes)
        if not self._learn(message.log, outcomes):
            return
        sent = self._rounds.promised(sender, message.round)
        if sent is not None:
            self._serves_until = max(self._serves_until, self._served_until(sent))

    def _served_until(self, sent: float) -> float:
        return sent + self._lease_s * (1 - 2 * self._drift)

    def _on_told(self, sender: str, message: Told, now: float, outcomes: list[Outcome]) -> None:
        if message.run != self._run or self.is_synced:
            return
        self._raise(message.floors, outcomes, message.forgotten)
        if not self._learn(message.log, outcomes):
            return
        self._joined[sender] = message.is_synced
        in_step = sum(self._joined.values())
        if in_step >= self._majority or len(self._joined) == len(self._others):
            self.is_synced = True
            self._renew_at = now
            outcomes += [ToPeer(sender, self._own_digest())]

    def _compare(self, outcomes: list[Outcome]) -> None:
        if self._others:
            self._digest_turn = (self._digest_turn + 1) % len(self._others)
            outcomes.append(ToPeer(self._others[self._digest_turn], self._own_digest()))

    def _own_digest(self) -> Digest:
        return Digest(self.replica.digest, self.replica.forgotten)

    def _on_digest(self, sender: str, message: Digest, outcomes: list[Outcome]) -> None:
        self._raise({}, outcomes, message.forgotten)
        if buckets := self.replica.differs(message.buckets):
            held = [(item.key, item.stamp) for item in self.replica.in_buckets(buckets)]
            outcomes.append(ToPeer(sender, Listing(buckets, held)))

    def _on_listing(self, sender: str, message: Listing, outcomes: list[Outcome]) -> None:
        theirs = dict(message.held)
        outcomes += [
            ToPeer(sender, Put(item, wants_answer=False))
            for item in self.replica.in_buckets(message.buckets)
            if item.key not in theirs or theirs[item.key] < item.stamp
        ]
        held = self.replica.items
        wanted = [k for k, stamp in theirs.items() if k not in held or held[k].stamp < stamp]
        if wanted:
            outcomes.append(ToPeer(sender, Pull(wanted)))

    def _learn(self, log: list[Invalidation], outcomes: list[Outcome]) -> bool:
        is_whole = True
        for one in sorted(log):
            was_known = one.stamp <= self.replica.known.get(one.origin, (0, 0, ""))
            whole, gone = self.replica.learn([one])
            is_whole = is_whole and whole
            if whole and not was_known:
                outcomes.append(Removed(gone, one))
        return is_whole

    def _raise(
        self, floors: dict[str, Stamp], outcomes: list[Outcome], forgotten: Stamp | None = None
    ) -> None:
        gone = self.replica.raise_floors(floors, forgotten or self.replica.forgotten)
        if gone:
            outcomes.append(Removed(gone, None))

    def _settle(self, now: float, outcomes: list[Outcome]) -> None:
        """Acknowledge the invalidations whose time has come."""
        for stamp, one in list(self._pending.items()):
            if len(one.have) >= self._majority and one.majority_at is None:
                one.majority_at = now
            if self._is_past(one, now):
                del self._pending[stamp]
                outcomes.append(Acknowledged(stamp))

    def _is_past(self, one: _Pending, now: float) -> bool:
        if len(one.have) == len(self._others) + 1:
            return True
        wait_s = self._lease_s * (1 + 2 * self._drift)
        return one.majority_at is not None and now - one.majority_at >= wait_s
