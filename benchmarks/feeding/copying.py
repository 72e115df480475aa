"""A table's rows, whole, beside psql's \\copy."""

from __future__ import annotations

from feeding.rate import Run, timed_program
from feeding.shop import TABLE, Shop

FORMATS = ("binary", "text")


def psql_copy(shop: Shop, *, rows: int, form: str) -> Run:
    """Let psql copy the table to nowhere."""
    return timed_program(
        shop.command("psql", "-X", "-q", "-c", f"\\copy {TABLE} to /dev/null with (format {form})"), rows
    )
