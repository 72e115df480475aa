"""One column of many rows as the binary log has it: texts are made when asked for. Pure."""

from __future__ import annotations

from typing import TYPE_CHECKING, overload

import numpy as np

from prism.wrapper.sources._batch import TextValues
from prism.wrapper.sources.errors import SourceProtocolError
from prism.wrapper.sources.mysql._numbers import number_text
from prism.wrapper.sources.mysql._values import Form, Layout

if TYPE_CHECKING:
    import numpy.typing as npt

__all__ = ["BinaryValues"]


class BinaryValues(TextValues):
    """Values that are not yet texts. Immutable.

    Reading one raises `SourceProtocolError` if its bytes are not a value of its type.

    Attributes:
        layout: How to read them.
    """

    __slots__ = ("layout",)

    def __init__(
        self,
        blob: bytes,
        starts: npt.NDArray[np.int64],
        ends: npt.NDArray[np.int64],
        nulls: npt.NDArray[np.bool_],
        layout: Layout,
    ) -> None:
        super().__init__(blob, starts, ends, nulls, escaped=False)
        self.layout = layout

    @overload
    def __getitem__(self, index: int) -> str | None: ...
    @overload
    def __getitem__(self, index: slice) -> BinaryValues: ...
    def __getitem__(self, index: int | slice) -> str | BinaryValues | None:
        if isinstance(index, slice):
            return BinaryValues(
                self.blob, self.starts[index], self.ends[index], self.nulls[index], self.layout
            )
        if self.nulls[index]:
            return None
        return self.layout.read(self.blob[self.starts[index] : self.ends[index]])

    def to_list(self) -> list[str | None]:
        """Make all texts, numbers by whole columns."""
        form = self.layout.form
        if form == Form.UTF8:
            return super().to_list()
        if form == Form.PLAIN or len(self.starts) < 8:
            read, blob = self.layout.read, self.blob
            return [
                None if start < 0 else read(blob[start:end])
                for start, end in zip(self.starts.tolist(), self.ends.tolist(), strict=True)
            ]
        there = np.flatnonzero(~self.nulls)
        size = self.layout.size
        codes = np.frombuffer(self.blob, np.uint8)
        wide = np.zeros((len(there), 8), np.uint8)
        # At the high end, so that one shift to the right brings the sign along.
        wide[:, 8 - size :] = codes[self.starts[there][:, None] + np.arange(size)]
        made: list[str]
        if form == Form.DOUBLE:
            numbers = wide.view("<f8")[:, 0]
            if not np.isfinite(numbers).all():
                raise SourceProtocolError("a floating-point number of the binary log is damaged")
            # Most have no exponent, and need no second look.
            made = [
                text if text[-2:] != ".0" and "e" not in text else number_text(float(text))
                for text in map(repr, numbers.tolist())
            ]
        else:
            whole = wide.view("<i8" if form == Form.SIGNED else "<u8")[:, 0]
            made = [
                str(number) for number in (whole >> np.array(64 - 8 * size, whole.dtype)).tolist()
            ]
        if len(made) == len(self.starts):
            return list(made)
        texts: list[str | None] = [None] * len(self.starts)
        for row, text in zip(there.tolist(), made, strict=True):
            texts[row] = text
        return texts
