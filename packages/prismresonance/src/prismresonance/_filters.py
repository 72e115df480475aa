"""Conditions on payload fields: what `where=` accepts and how a row meets it."""

from __future__ import annotations

from collections.abc import Hashable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Protocol, TypeAlias

from prismresonance.errors import InvalidArgumentError

if TYPE_CHECKING:
    from prismresonance._records import Payload

__all__ = ["MISSING", "Between", "Condition", "OneOf", "Ordered", "meets", "parse_where"]


class _Missing:
    """The value of a field that a payload does not have; equal to nothing a user can name."""

    __slots__ = ()


MISSING = _Missing()


class Ordered(Protocol):
    """Anything that can be compared with its like: numbers, texts, dates, tuples of these."""

    def __le__(self, other: Any, /) -> bool: ...


@dataclass(frozen=True, slots=True)
class Between:
    """Match values from `low` to `high`, both included.

    A value that cannot be compared with the bounds (a text with a number, say) does not match.

    Args:
        low: The least value; `None` leaves it open.
        high: The greatest value; `None` leaves it open.

    Raises:
        InvalidArgumentError: Both are open, or `low` is above `high`, or they cannot be compared.
    """

    low: Ordered | None = None
    high: Ordered | None = None

    def __post_init__(self) -> None:
        if self.low is None and self.high is None:
            raise InvalidArgumentError("Between needs at least one bound")
        if self.low is not None and self.high is not None:
            try:
                in_order = bool(self.low <= self.high)
            except TypeError as error:
                raise InvalidArgumentError(f"Between: bounds do not compare: {error}") from error
            if not in_order:
                raise InvalidArgumentError("Between: low is above high")

    def holds(self, value: Any) -> bool:
        """Say whether a value lies between the bounds."""
        if value is MISSING or value is None:
            return False
        try:
            return bool(
                (self.low is None or self.low <= value)
                and (self.high is None or value <= self.high)
            )
        except TypeError:
            return False


@dataclass(frozen=True, slots=True)
class OneOf:
    """Match values equal to one of some."""

    values: frozenset[Hashable]

    def holds(self, value: object) -> bool:
        """Say whether a value is one of them; an unhashable one is not."""
        try:
            return value in self.values
        except TypeError:
            return False


Condition: TypeAlias = OneOf | Between


def parse_where(where: Mapping[str, object] | None) -> tuple[tuple[str, Condition], ...]:
    """Read a `where=` mapping.

    Args:
        where: Field to value, to a list, set or frozenset of values, or to a `Between`.

    Returns:
        The conditions, all of which must hold; none for `None` and for an empty mapping.

    Raises:
        InvalidArgumentError: It is no such mapping, or a value cannot be hashed.
    """
    if where is None:
        return ()
    if not isinstance(where, Mapping):
        raise InvalidArgumentError(f"where maps fields to values, got {type(where).__name__}")
    conditions: list[tuple[str, Condition]] = []
    for field, wanted in where.items():
        if not isinstance(field, str):
            raise InvalidArgumentError(f"where: a field is named by a text, got {field!r}")
        if isinstance(wanted, Between):
            conditions.append((field, wanted))
            continue
        values = wanted if isinstance(wanted, list | set | frozenset) else (wanted,)
        try:
            conditions.append((field, OneOf(frozenset(values))))
        except TypeError as error:
            raise InvalidArgumentError(
                f"where[{field!r}]: a value must be hashable ({error})"
            ) from error
    return tuple(conditions)


def meets(payload: Payload, conditions: tuple[tuple[str, Condition], ...]) -> bool:
    """Say whether a payload meets all conditions."""
    return all(condition.holds(payload.get(field, MISSING)) for field, condition in conditions)
