"""What is wanted of a table, apart from how the table is now."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

__all__ = ["LEVELS", "TableRule"]

# Fifths of a range. Words, because a text embedder knows them and hardly knows numbers; of a fixed
# range, because running statistics would move the text of rows that did not change.
LEVELS = ("very low", "low", "medium", "high", "very high")


@dataclass(frozen=True, slots=True, kw_only=True)
class TableRule:
    """How rows of a table become texts and columns; see `TableSettings` for the fields."""

    columns: tuple[str, ...] = ()
    text: str = ""
    text_columns: tuple[str, ...] = ()
    numeric: Mapping[str, tuple[float, float]] = field(default_factory=dict)
    embed: bool = True
    text_chars: int = 4000

    def level(self, column: str, number: str) -> str:
        """Name the fifth of the column's range that a number lies in; "" where there is none."""
        bounds = self.numeric.get(column)
        if bounds is None:
            return ""
        try:
            share = (float(number) - bounds[0]) / (bounds[1] - bounds[0])
        except ValueError:
            return ""
        if share != share:  # NaN lies nowhere
            return ""
        return LEVELS[int(min(max(share, 0.0), 0.999) * len(LEVELS))]
