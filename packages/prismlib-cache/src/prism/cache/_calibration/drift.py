"""Notice that candidates are wrong more often than they were.

For each label the odds that were predicted are held against what came. For each of several feared
factors f the evidence that odds are f times as high is multiplied up, and never falls below 1,

    e_f <- max(e_f, 1) * likelihood(f times the odds) / likelihood(1.25 times the odds)

and the alarm is raised when their mean reaches a height. While odds stay at most 1.25 times the
predicted, the mean number of labels until a false alarm is at least that height, whatever the
traffic looks like.
Source: J. Shin, A. Ramdas, A. Rinaldo, "E-detectors", arXiv 2203.03532.
"""

from __future__ import annotations

import math

__all__ = ["Alarm"]

_ACCEPTED = 1.25
_FEARED = (2.0, 4.0, 12.0)
# Raising it tenfold finds drift about a third later.
_HEIGHT = 3_000.0


class Alarm:
    """Watches labels as they come.

    Attributes:
        run: Labels since the evidence last began to rise: what is to be kept after an alarm.
    """

    def __init__(self) -> None:
        self.run = 0
        self._logs = [0.0] * len(_FEARED)

    def hear(self, *, wrong: bool, predicted: float) -> bool:
        """Take in a label with the rate of wrong that was predicted; tell whether to be alarmed."""
        rate = min(max(predicted, 1e-4), 1 - 1e-4)
        odds = rate / (1 - rate)
        accepted = _likelihood(_ACCEPTED * odds, wrong=wrong)
        if max(self._logs) <= 0.0:
            self.run = 0
        self.run += 1
        self._logs = [
            max(log, 0.0) + _likelihood(factor * odds, wrong=wrong) - accepted
            for log, factor in zip(self._logs, _FEARED, strict=True)
        ]
        evidence = sum(math.exp(min(log, 50.0)) for log in self._logs) / len(self._logs)
        return evidence >= _HEIGHT


def _likelihood(odds: float, *, wrong: bool) -> float:
    """Of one label, as its logarithm."""
    return (math.log(odds) if wrong else 0.0) - math.log1p(odds)
