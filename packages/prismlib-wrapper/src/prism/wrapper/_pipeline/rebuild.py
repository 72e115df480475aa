"""Rows of the log to a new epoch, with other texts or another model, while the old one is served.

The database is not asked: the columns are in the log. Changes that come meanwhile are composed for
both epochs, and a row is only taken over as it is under the number it was read at, so a row that
changes in between is not overwritten with what it was.
"""

from __future__ import annotations

import logging
from collections.abc import Callable

from prism.wrapper._changelog import ChangeLog, RowState
from prism.wrapper._changelog.entries import RowKey
from prism.wrapper._recipe import Recipe, table_schema
from prism.wrapper._rows import RowPlan
from prism.wrapper._rows.plan import digest
from prism.wrapper._rows.tokens import slices
from prism.wrapper.sources import UNCHANGED

__all__ = ["Rebuild"]

_log = logging.getLogger("prism.wrapper.feed")

_ROWS_AT_ONCE = 256


class Rebuild:
    """Fills the epoch that `ChangeLog.begin_rebuild` began; runs in a thread of its own.

    Args:
        log: The log.
        recipe: How the new epoch's rows are made.
        persist: Does what writes to the log, again while there is no room.
        is_stopping: Asked between batches.
    """

    def __init__(
        self,
        log: ChangeLog,
        recipe: Recipe,
        *,
        persist: Callable[[Callable[[], int | None]], int | None],
        is_stopping: Callable[[], bool],
    ) -> None:
        self._log = log
        self._recipe = recipe
        self._persist = persist
        self._is_stopping = is_stopping
        # Rows after this are composed for both epochs already.
        self._upto = log.head()
        self.is_done = False
        self.rows = 0

    def run(self) -> None:
        """Take over all rows, then set `is_done`."""
        schemas = {schema.stream: table_schema(schema) for schema in self._log.schemas()}
        plans = {stream: self._recipe.plan(schema) for stream, schema in schemas.items()}
        _log.info("rows are made anew with %s", self._recipe.vectorizer.model_id)
        while not self._is_stopping():
            rows = self._log.rows_to_copy(count=_ROWS_AT_ONCE)
            if not rows or rows[0].seq > self._upto:
                self.is_done = True
                return
            # A table that came after this began is written to both epochs from its first row on.
            known = [row for row in rows if row.stream in plans]
            made = [
                (_remade(plans[row.stream], row.stream, row.row_id, row.columns), row.seq)
                for row in known
            ]
            faults = self._fill([state for state, _ in made if plans[state.stream].rule.embed])
            self._take_over(made, faults, cursor=rows[-1].seq)
            self.rows += len(made)

    def _fill(self, states: list[RowState]) -> dict[RowKey, str]:
        vectors = self._recipe.vectorizer.vectorize([state.text for state in states])
        for place, state in enumerate(states):
            state.vector = vectors.rows[place].tobytes()
        return {
            (states[place].stream, states[place].row_id): why
            for place, why in vectors.faults.items()
        }

    def _take_over(
        self, made: list[tuple[RowState, int]], faults: dict[RowKey, str], *, cursor: int
    ) -> None:
        self._persist(lambda: self._log.copy(made, faults=faults, cursor=cursor))


def _remade(plan: RowPlan, stream: int, row_id: str, columns: bytes) -> RowState:
    text = plan.text((UNCHANGED,) * len(plan.schema.columns), slices(columns))
    return RowState(stream, row_id, text, columns, digest(text))
