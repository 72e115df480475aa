"""From COMMIT to a row that can be read in the app, under a steady load.

The clock of each row begins when COMMIT returns to the writer and ends when the driver calls back
in the app, which it does after reads see the row. Both processes read one clock.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from collections.abc import Sequence

    import numpy.typing as npt

    from feeding.app import App
    from feeding.shop import Shop

from feeding.writer import Writer

_TIMEOUT_S = 60.0
_QUANTILES = (0.0, 0.01, 0.05, *np.linspace(0.1, 0.9, 9), 0.95, 0.99, 0.999, 1.0)


@dataclass(frozen=True)
class Latency:
    """Milliseconds from COMMIT to visible.

    Attributes:
        embeds: Whether the rows got vectors on their way.
        rate: Rows a second that were planned, each in a transaction of its own.
        rows: How many.
        p50_ms: Median.
        p99_ms: 99th percentile.
        most_ms: The longest.
        planned_p50_ms: Median from the moment the row should have been written.
        planned_p99_ms: 99th percentile of that: also counts what the writer's own delays hide.
        written_rate: Rows a second that were written.
        quantiles: Pairs of quantile and milliseconds, for drawing.
    """

    embeds: bool
    rate: float
    rows: int
    p50_ms: float
    p99_ms: float
    most_ms: float
    planned_p50_ms: float
    planned_p99_ms: float
    written_rate: float
    quantiles: tuple[tuple[float, float], ...]


def latency(
    shop: Shop,
    app: App,
    *,
    embeds: bool,
    rate: float,
    seconds: float,
    seed: int,
    texts: Sequence[str],
    first: int,
) -> Latency:
    """Write for some seconds, and see when each row comes to the app.

    Args:
        shop: The database.
        app: Has the replica.
        embeds: Whether its wrapper makes vectors.
        rate: Rows a second.
        seconds: How long.
        seed: Draws what is drawn.
        texts: Descriptions of the new rows.
        first: Their first id.
    """
    before = app.ask("rows")
    app.ask("watch")
    with Writer(
        shop.dsn, rate=rate, seconds=seconds, seed=seed, texts=texts, first=first
    ) as writer:
        writer.start()
        written = writer.finish()
    app.ask("reach", before + len(written.ids), _TIMEOUT_S)
    visible = _visible(app, written.ids)
    waited = (visible - written.committed_ns) / 1e6
    planned = (visible - written.planned_ns) / 1e6
    span_s = (written.committed_ns[-1] - written.planned_ns[0]) / 1e9
    return Latency(
        embeds=embeds,
        rate=rate,
        rows=len(waited),
        p50_ms=float(np.median(waited)),
        p99_ms=float(np.percentile(waited, 99)),
        most_ms=float(waited.max()),
        planned_p50_ms=float(np.median(planned)),
        planned_p99_ms=float(np.percentile(planned, 99)),
        written_rate=len(waited) / span_s,
        quantiles=tuple((float(q), float(np.quantile(waited, q))) for q in _QUANTILES),
    )


def _visible(app: App, ids: npt.NDArray[np.int64]) -> npt.NDArray[np.int64]:
    """Give the moment when each row could be read; each was written once."""
    seen, moments = app.ask("watched")
    first = {int(row): int(moment) for row, moment in zip(seen[::-1], moments[::-1], strict=True)}
    missing = [row for row in ids.tolist() if row not in first]
    if missing:
        raise RuntimeError(f"{len(missing):,} rows were written and no notice came of them")
    return np.asarray([first[row] for row in ids.tolist()], np.int64)
