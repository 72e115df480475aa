"""Families of scopes: what each has learned, how it decides, and how that is saved.

A family is learned about as a whole: scopes that differ in history, context or user alone.
"""

from __future__ import annotations

import json
import time
import zlib
from collections import deque
from collections.abc import Callable, Iterable
from contextlib import AbstractContextManager
from dataclasses import dataclass, field

from prism.cache._calibration.calibrator import Calibrator
from prism.cache._calibration.rule import Rule
from prism.cache._settings import CacheSettings
from prism.cache._store_link import StoreLink

__all__ = ["SEEN", "STATE_NOTE", "Families", "Family"]

STATE_NOTE = b"calibrator:"
"""Begins the name of a note that holds what a family has learned."""

SEEN = 1536
"""Candidates whose evidence may wait for the learner, 400 bytes each: more than the calibrator's
own window of traffic would be forgotten at once."""

# Half a megabyte each at most. Those beyond it are decided by experience.
_FAMILIES = 128
_SAVE_EVERY = 100
_SAVE_AFTER_S = 30.0


@dataclass(slots=True)
class Family:
    """One family of scopes.

    `requests`, `hits` and `unseen` are counted by questions, without a lock: a lost one only makes
    the estimate higher. Questions leave the evidence of their candidates in `seen`; when it
    overflows, the oldest go and `unseen` tells how many.
    """

    calibrator: Calibrator
    seed: int
    requests: int = 0
    counted: int = 0
    unseen: int = 0
    unseen_counted: int = 0
    hits: int = 0
    saved_labels: int = 0
    saved_at_s: float = field(default_factory=time.monotonic)
    seen: deque[tuple[tuple[float, ...], bool]] = field(default_factory=lambda: deque(maxlen=SEEN))

    def leave(self, evidence: tuple[float, ...], *, served: bool) -> None:
        """Leave a candidate's evidence for the learner. Takes no lock, well under a microsecond."""
        if len(self.seen) == SEEN:
            self.unseen += 1
        self.seen.append((evidence, served))

    def take_in(self) -> None:
        """Tell the calibrator what questions left."""
        requests, unseen = self.requests, self.unseen
        self.calibrator.count(requests - self.counted, unseen=unseen - self.unseen_counted)
        self.counted, self.unseen_counted = requests, unseen
        for _ in range(len(self.seen)):
            evidence, served = self.seen.popleft()
            self.calibrator.see(evidence, served=served)


class Families:
    """The families of one cache. Any thread may ask for rules; one at a time may update.

    Args:
        settings: What the user chose.
        link: Where what was learned is saved.
        survive: Wraps a piece of work: counts and logs what fails in it.
    """

    def __init__(
        self,
        settings: CacheSettings,
        *,
        link: StoreLink,
        survive: Callable[[str], AbstractContextManager[None]],
    ) -> None:
        self._settings = settings
        self._link = link
        self._survive = survive
        self._known: dict[bytes, Family] = {}
        self._saved: dict[bytes, bytes] = {}
        self._experience = self._calibrator().rule

    def get(self, name: bytes) -> Family | None:
        """Give a family that was met before."""
        return self._known.get(name)

    def values(self) -> Iterable[Family]:
        """Give all families that were met."""
        return self._known.values()

    def rule_of(self, name: bytes) -> Rule:
        """Give the rule in force. Takes no lock; the first time after a start some milliseconds."""
        known = self._known.get(name) or self._met(name)
        return self._experience if known is None else known.calibrator.rule

    def recall(self, name: bytes, saved: bytes) -> None:
        """Take in what was saved of a family, for when it is met."""
        self._saved[name] = saved

    def update(self, name: bytes, family: Family) -> None:
        """Work out a family's rule anew from what came, and save it now and then."""
        family.take_in()
        calibrator = family.calibrator
        calibrator.update()
        news = calibrator.labels - family.saved_labels
        waited_s = time.monotonic() - family.saved_at_s
        if news >= _SAVE_EVERY and (waited_s >= _SAVE_AFTER_S or news >= 10 * _SAVE_EVERY):
            self._save(name, family)

    def save(self) -> None:
        """Save what was learned since the last time."""
        for name, family in list(self._known.items()):
            if family.calibrator.labels != family.saved_labels:
                self._save(name, family)

    def gauges(self) -> dict[str, float | int | None]:
        """Give what metrics show: estimates are means over families, weighed by requests."""
        rules = [(family.requests, family.calibrator) for family in self._known.values()]
        known = [
            (requests, calibrator.rule)
            for requests, calibrator in rules
            if calibrator.rule.error_bound is not None and requests
        ]
        total = sum(requests for requests, _ in known)
        return {
            "error_estimate": sum(n * (r.error_estimate or 0.0) for n, r in known) / total
            if total
            else None,
            "error_bound": sum(n * (r.error_bound or 0.0) for n, r in known) / total
            if total
            else None,
            "drift_alarms": sum(calibrator.alarms for _, calibrator in rules),
        }

    def _calibrator(self) -> Calibrator:
        return Calibrator(max_error=self._settings.max_error, check_share=self._settings.shadow)

    def _met(self, name: bytes) -> Family | None:
        """Begin to learn about a family, or go on with what was saved."""
        if len(self._known) >= _FAMILIES:
            return None
        calibrator = None
        saved = self._saved.pop(name, None)
        if saved is not None:
            with self._survive("learning"):
                calibrator = Calibrator.restored(
                    json.loads(zlib.decompress(saved)),
                    max_error=self._settings.max_error,
                    check_share=self._settings.shadow,
                )
        if calibrator is None:
            calibrator = self._calibrator()
        return self._known.setdefault(
            name,
            Family(
                calibrator,
                int.from_bytes(name[:8]),
                hits=calibrator.hits,
                saved_labels=calibrator.labels,
            ),
        )

    def _save(self, name: bytes, family: Family) -> None:
        family.saved_labels, family.saved_at_s = family.calibrator.labels, time.monotonic()
        state = json.dumps(family.calibrator.state(), separators=(",", ":")).encode()
        self._link.note({STATE_NOTE + name: zlib.compress(state, 1)})
