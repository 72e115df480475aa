"""The lease: which node is GREEN. A machine without clock, network or disk of its own.

A majority of voters promises one node, for one lease, to promise nobody else. There is no log and
no replicated state: only who holds the lease.

States and moves
- A node asks (`Ask`) when its own promise to another has run out. Asking binds nobody, so nodes
  that ask at once do not block each other.
- With a majority of favourable opinions it claims (`Claim`) the highest term it heard of plus one.
  With a majority of promises it is GREEN; it claims the same term again at each heartbeat.
- A claimant that a majority refuses, or does not answer, gives the term up (`Release`).
- A GREEN whose lease ran out gives its term up, and asks anew under a higher one.

What always holds
- At most one GREEN. A voter promises another holder only when its promise has run out by its own
  clock, counted from the receipt of the claim. GREEN counts from the moment it *sent* the claim,
  and less by twice the drift of clocks. Two majorities share a voter.
- Tokens rise. A voter grants another holder only a term above the last it granted, which is on its
  disk before the promise is sent.
- A restarted voter does not know until when its last promise binds: it promises nobody else for
  one lease. It still promises its recorded holder, which it promised last.
- A holder is a run of a process (`incarnation`): a node that starts again is another holder.

Whether this node is GREEN is computed from the time at each question. A process that was paused
finds that its lease ran out, before any timer of it has fired.

Sources: Trencseni et al., "PaxosLease", arXiv 1209.4187; Ongaro, "Consensus: Bridging Theory and
Practice", 2014, 6.4.1 (leases) and 9.6 (pre-vote); Dadgar et al., "Lifeguard", arXiv 1707.00788 (a
node that was late itself does not accuse others).
"""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence

from prism.cluster._lease_config import LeaseConfig
from prism.cluster._lease_messages import (
    NO_GRANT,
    Ask,
    Became,
    Claim,
    Effect,
    Grant,
    LeaseMessage,
    Opinion,
    Promise,
    Release,
    Role,
    Send,
    Store,
)
from prism.cluster._rounds import Canvass, Rounds

__all__ = ["FORCED_JUMP", "Lease"]

FORCED_JUMP = 1 << 32
"""By how much a promotion by hand raises the term: above all that a lost majority may have used."""


class Lease:
    """One node's part in the lease.

    Args:
        node_id: This node's name. One that is not among the voters only observes.
        voters: The names of all voters; the same on every node. A majority of them decides.
        incarnation: A number that no other run of this node has, such as 64 random bits.
        config: Its times.
        stored: The last `Store` of this node's disk.
        now: Seconds of a clock that never goes back and goes on while the machine sleeps.
        jitter: Gives numbers in [0, 1), so that nodes do not ask at the same moment.
        observers: Nodes that are told of claims and do not vote.
        is_witness: Votes, and never asks for itself.

    Methods return what the shell has to do, in this order. Not safe for threads.
    """

    def __init__(
        self,
        node_id: str,
        voters: Sequence[str],
        *,
        incarnation: int,
        config: LeaseConfig,
        now: float,
        jitter: Callable[[], float],
        stored: Grant = NO_GRANT,
        observers: Sequence[str] = (),
        is_witness: bool = False,
    ) -> None:
        self.node_id = node_id
        self.is_ready = True
        self._others = tuple(voter for voter in voters if voter != node_id)
        self._observers = tuple(name for name in observers if name != node_id)
        self._votes = node_id in voters
        self._stands = self._votes and not is_witness
        self._majority = len(voters) // 2 + 1
        self._incarnation = incarnation
        self._config = config
        self._jitter = jitter
        # The voter
        self._grant = stored
        self._bound_until = now + self._silence_s()
        self._seen = stored.term
        self._green = ""
        self._green_until = now
        # The claimant
        self._term: int | None = None
        self._lease_end = now
        self._is_forced = False
        self._rounds = Rounds(len(voters))
        self._canvass: Canvass | None = None
        self._next_round = 0
        self._next_send = now
        self._ask_at: float | None = None
        self._told: tuple[Role, int | None] = (Role.BLUE, None)

    # -- questions

    def is_green(self, now: float) -> bool:
        """Tell whether this node holds the lease at this moment."""
        return self._term is not None and now < self._lease_end

    def token(self, now: float) -> int | None:
        """Give the fencing token of a GREEN."""
        return self._term if self.is_green(now) else None

    @property
    def held(self) -> tuple[int, float] | None:
        """Give the token and until when this node is GREEN; `None` if it claims nothing."""
        return None if self._term is None else (self._term, self._lease_end)

    def role(self, now: float) -> Role:
        """Give this node's role at this moment."""
        if self.is_green(now):
            return Role.GREEN
        return Role.BLUE if self.is_ready else Role.ORANGE

    def green(self, now: float) -> str | None:
        """Name the node that seems to be GREEN: what was last heard, no promise."""
        if self.is_green(now):
            return self.node_id
        return self._green if self._green and now < self._green_until else None

    def remaining_s(self, now: float) -> float:
        """Give how long this node is still GREEN without another answer of a voter."""
        return max(0.0, self._lease_end - now) if self._term is not None else 0.0

    @property
    def highest_term(self) -> int:
        """The highest term granted or heard of."""
        return self._seen

    @property
    def deadline(self) -> float:
        """When `tick` has something to do at the latest."""
        if self._term is not None:
            return self._next_send
        if self._canvass is not None:
            return self._canvass.until
        if not self._stands:
            return math.inf
        return self._bound_until if self._ask_at is None else self._ask_at

    # -- events

    def tick(self, now: float) -> list[Effect]:
        """Do what is due."""
        effects: list[Effect] = []
        if self._term is not None:
            self._lead(now, effects)
        elif self._stands:
            self._stand(now, effects)
        self._note_role(now, effects)
        return effects

    def receive(self, sender: str, message: LeaseMessage, now: float) -> list[Effect]:
        """Take a message of another node."""
        effects: list[Effect] = []
        match message:
            case Claim():
                self._on_claim(sender, message, now, effects)
            case Promise():
                self._on_promise(sender, message, now, effects)
            case Ask():
                self._on_ask(sender, message, now, effects)
            case Opinion():
                self._on_opinion(sender, message, now, effects)
            case Release():
                self._on_release(sender, message, now)
        self._note_role(now, effects)
        return effects

    def hand_over(self, now: float, *, to: str = "") -> list[Effect]:
        """Give the lease up at once; `to` names who need not wait. Stands back for a lease."""
        effects: list[Effect] = []
        if self._term is not None:
            self._give_up(now, effects, successor=to)
        self._ask_at = now + self._config.lease_s
        self._note_role(now, effects)
        return effects

    def force(self, now: float) -> list[Effect]:
        """Become GREEN without a majority. Only for a human who knows that the others are gone.

        The term jumps by `FORCED_JUMP`. This node stays GREEN alone until a majority of voters
        answers it, and is bound by their answers from then on.
        """
        effects: list[Effect] = []
        self._canvass = None
        self._is_forced = True
        self._claim(self._seen + FORCED_JUMP, now, effects)
        self._note_role(now, effects)
        return effects

    # -- the claimant

    def _lead(self, now: float, effects: list[Effect]) -> None:
        if now >= self._lease_end and self._rounds.has_held:
            self._give_up(now, effects)
        elif self._is_unanswered(now):
            self._give_up(now, effects)  # let the others try
        elif now >= self._next_send:
            self._send_claims(now, effects)

    def _stand(self, now: float, effects: list[Effect]) -> None:
        if self._is_bound_to_another(now):
            self._ask_at = self._canvass = None
            return
        if now - self.deadline > self._config.heartbeat_s:
            # We were late ourselves: what we missed may still be on its way.
            self._ask_at, self._canvass = now + self._config.heartbeat_s, None
        elif self._ask_at is None:
            self._ask_at = self._bound_until + self._patience_s()
        if self._canvass is not None and now >= self._canvass.until:
            self._canvass, self._ask_at = None, now + self._pause_s()
        if self._canvass is None and now >= self._ask_at:
            self._next_round += 1
            term = self._next_term()
            until = now + self._config.heartbeat_s
            self._canvass = Canvass(self._next_round, term, until, self._majority)
            ask = Ask(term, self._next_round, self._incarnation)
            effects.extend(Send(voter, ask) for voter in self._others)
            if self._canvass.add(self.node_id):
                self._claim(term, now, effects)

    def _on_opinion(self, sender: str, message: Opinion, now: float, effects: list[Effect]) -> None:
        self._seen = max(self._seen, message.seen)
        canvass = self._canvass
        if (
            canvass is None
            or message.incarnation != self._incarnation
            or message.round != canvass.round
            or not message.would
            or now >= canvass.until
            or self._is_bound_to_another(now)
        ):
            return
        if canvass.add(sender):
            self._claim(self._next_term(), now, effects)

    def _claim(self, term: int, now: float, effects: list[Effect]) -> None:
        self._canvass = self._ask_at = None
        self._term, self._lease_end = term, now
        self._rounds.begin(now)
        self._send_claims(now, effects)

    def _send_claims(self, now: float, effects: list[Effect]) -> None:
        term = self._term
        assert term is not None  # noqa: S101 - callers hold a term
        if not self._may_grant(self.node_id, self._incarnation, term, now) and not self._is_forced:
            self._give_up(now, effects)
            return
        self._record(Grant(term, self.node_id, self._incarnation), now, effects)
        self._next_round += 1
        self._next_send = now + self._config.heartbeat_s
        self._rounds.open(self._next_round, now)
        is_green = self.is_green(now)
        claim = Claim(term, self._next_round, self._incarnation, is_green, self._is_forced)
        effects.extend(Send(voter, claim) for voter in self._others)
        effects.extend(Send(name, claim) for name in self._observers)
        self._count(self.node_id, self._next_round, now)

    def _on_promise(self, sender: str, message: Promise, now: float, effects: list[Effect]) -> None:
        self._seen = max(self._seen, message.seen)
        if message.incarnation != self._incarnation:
            return
        if message.term != self._term:
            if message.granted:  # to a claim that was long under way: the voter need not wait
                effects.append(Send(sender, Release(message.term, self._incarnation, "")))
            return
        if message.granted:
            was_green = self.is_green(now)
            self._count(sender, message.round, now)
            if not was_green and self.is_green(now):
                self._next_send = now  # tell the others at once
        elif self._rounds.refuse(sender) and not self._rounds.has_held and not self._is_forced:
            self._give_up(now, effects)

    def _is_unanswered(self, now: float) -> bool:
        waited_s = now - self._rounds.opened
        return (
            not self._rounds.has_held
            and not self._is_forced
            and waited_s >= self._config.lease_s / 3
        )

    def _count(self, voter: str, round_: int, now: float) -> None:
        sent = self._rounds.promised(voter, round_)
        if sent is None and self._is_forced:
            sent = self._rounds.sent(round_)  # alone, by order of a human
        elif sent is not None:
            self._is_forced = False
        if sent is not None:
            self._lease_end = max(self._lease_end, self._lease_until(sent, now))

    def _lease_until(self, sent: float, now: float) -> float:  # noqa: ARG002 - a mutant counts from now
        """Until when we are GREEN, after a majority promised what was claimed at `sent`."""
        return sent + self._config.lease_s * (1 - 2 * self._config.max_drift)

    def _give_up(self, now: float, effects: list[Effect], *, successor: str = "") -> None:
        """Let the voters go; this term is never counted again."""
        assert self._term is not None  # noqa: S101 - callers hold a term
        release = Release(self._term, self._incarnation, successor)
        effects.extend(Send(name, release) for name in (*self._others, *self._observers))
        if self._is_held_by(self.node_id, self._incarnation) and self._grant.term == self._term:
            self._bound_until = now
        self._term, self._lease_end, self._is_forced = None, now, False
        self._ask_at = now + self._pause_s()

    # -- the voter

    def _on_ask(self, sender: str, message: Ask, now: float, effects: list[Effect]) -> None:
        if not self._votes:
            return
        would = self._may_grant(sender, message.incarnation, message.term, now)
        opinion = Opinion(message.term, message.round, message.incarnation, would, self._seen)
        effects.append(Send(sender, opinion))
        if would and self._canvass is not None and self._stands_back_for(sender):
            self._canvass, self._ask_at = None, now + self._config.heartbeat_s + self._patience_s()

    def _on_claim(self, sender: str, message: Claim, now: float, effects: list[Effect]) -> None:
        if message.is_green:
            self._green, self._green_until = sender, now + self._config.lease_s
        self._seen = max(self._seen, message.term)
        if not self._votes:
            return
        if message.is_forced and self._term is not None and message.term > self._term:
            self._give_up(now, effects)  # a human decided
        granted = self._may_grant(sender, message.incarnation, message.term, now)
        if granted:
            self._record(Grant(message.term, sender, message.incarnation), now, effects)
        effects.append(
            Send(
                sender,
                Promise(message.term, message.round, message.incarnation, granted, self._seen),
            )
        )

    def _on_release(self, sender: str, message: Release, now: float) -> None:
        if sender == self._green:
            self._green = ""
        if self._grant != (message.term, sender, message.incarnation):
            return
        self._bound_until = min(self._bound_until, now)
        if self._stands and self._term is None:
            rank = 0.0 if message.successor == self.node_id else 1.0
            self._ask_at = now + rank * self._patience_s()
            if message.successor not in ("", self.node_id):
                self._ask_at += self._config.heartbeat_s

    def _stands_back_for(self, asker: str) -> bool:
        """Tell which of two that ask at once goes first: both would be told to claim."""
        return asker < self.node_id

    def _may_grant(self, holder: str, incarnation: int, term: int, now: float) -> bool:
        if self._is_held_by(holder, incarnation):
            return term >= self._grant.term
        return term > self._grant.term and now >= self._bound_until

    def _record(self, grant: Grant, now: float, effects: list[Effect]) -> None:
        if grant != self._grant:
            self._grant = grant
            effects.append(Store(grant))
        self._seen = max(self._seen, grant.term)
        self._bound_until = now + self._config.lease_s
        if grant.holder != self.node_id:
            self._ask_at = self._canvass = None

    def _next_term(self) -> int:
        """Give a term above all that a majority told us of."""
        return self._seen + 1

    def _is_held_by(self, holder: str, incarnation: int) -> bool:
        return self._grant.holder == holder and self._grant.incarnation == incarnation

    def _is_bound_to_another(self, now: float) -> bool:
        return now < self._bound_until and not self._is_held_by(self.node_id, self._incarnation)

    # -- times

    def _silence_s(self) -> float:
        """How long a voter that starts promises nobody but its recorded holder."""
        return self._config.lease_s * (1 + 2 * self._config.max_drift)

    def _patience_s(self) -> float:
        stand_back = 0.0 if self.is_ready else 1.5 * self._config.heartbeat_s
        return stand_back + self._jitter() * self._config.heartbeat_s / 2

    def _pause_s(self) -> float:
        return self._patience_s() + self._config.heartbeat_s / 4

    def _note_role(self, now: float, effects: list[Effect]) -> None:
        told = self.role(now), self.token(now)
        if told != self._told:
            self._told = told
            effects.append(Became(*told))
