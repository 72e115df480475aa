"""A value that must not be shown."""

from __future__ import annotations

__all__ = ["Secret"]


class Secret:
    """Holds a DSN or a password; `repr` and `str` show `***`. Immutable by convention."""

    __slots__ = ("_value",)

    def __init__(self, value: str) -> None:
        self._value = value

    def reveal(self) -> str:
        """Give the value, to be handed to the one library that needs it."""
        return self._value

    def __repr__(self) -> str:
        return "***"

    __str__ = __repr__

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and other._value == self._value

    def __hash__(self) -> int:
        return hash(self._value)
