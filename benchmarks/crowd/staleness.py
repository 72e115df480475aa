"""How old an answer is when the user has it. Pure.

Somebody updates rows all the while. An answer is stale if a newer version of the row had been
committed before the user had the answer; its age is the time since the first such COMMIT returned.
The same rule holds for both ways: an answer of the database is as old as its way back is long.
"""

from __future__ import annotations

import bisect
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import numpy.typing as npt

    from crowd.users import Reads
    from feeding.writer import Written


@dataclass(frozen=True)
class Staleness:
    """Of all reads of one way.

    Attributes:
        share: Share of the answers that were stale.
        p50_ms: Median age of those that were; 0 for none.
        p99_ms: 99th percentile.
        most_ms: The oldest.
    """

    share: float
    p50_ms: float
    p99_ms: float
    most_ms: float


def staleness(reads: Reads, written: Written) -> Staleness:
    """Compare what was read with what had been written by then."""
    ages = ages_ns(
        reads.ids.tolist(), reads.versions.tolist(), reads.ended_ns.tolist(), history(written)
    )
    stale = ages[ages > 0] / 1e6
    if not len(stale):
        return Staleness(0.0, 0.0, 0.0, 0.0)
    return Staleness(
        share=len(stale) / len(ages),
        p50_ms=float(np.median(stale)),
        p99_ms=float(np.percentile(stale, 99)),
        most_ms=float(stale.max()),
    )


def history(written: Written) -> dict[int, list[tuple[int, int]]]:
    """Give each row's versions with the moments of their COMMITs, in order."""
    found: dict[int, list[tuple[int, int]]] = {}
    columns = (written.ids.tolist(), written.versions.tolist(), written.committed_ns.tolist())
    for row, version, moment in zip(*columns, strict=True):
        found.setdefault(row, []).append((version, moment))
    return found


def ages_ns(
    ids: Sequence[int],
    versions: Sequence[int],
    ended_ns: Sequence[int],
    versions_of: Mapping[int, Sequence[tuple[int, int]]],
) -> npt.NDArray[np.int64]:
    """Give each answer's age; 0 where nothing newer had been committed.

    Args:
        ids: The rows read.
        versions: The versions that were read; they rise in each row. One that is below all of a
            row's versions is what the row was before.
        ended_ns: When each answer was there.
        versions_of: Each row's versions and when they were committed, rising.
    """
    ages = np.zeros(len(ids), np.int64)
    for place, (row, version, ended) in enumerate(zip(ids, versions, ended_ns, strict=True)):
        known = versions_of.get(row, ())
        newer = bisect.bisect_right(known, version, key=lambda one: one[0])
        if newer < len(known) and known[newer][1] < ended:
            ages[place] = ended - known[newer][1]
    return ages
