"""Frames as bytes: a header of 96 bytes, then columns. All numbers are little-endian.

    offset  size  header
         0     4  "CHFR"
         4     1  version, 1
         5     1  kind
         6     1  transport flags: 1 sealed, 2 unordered; the other bits are 0
         7     1  flags of the layer above
         8    16  tenant: first half of SHA-256("chorus-fabric tenant", 0, id)
        24    16  sender: first half of SHA-256("chorus-fabric sender", 0, id)
        40     4  epoch of the keys
        44     4  stream
        48     8  counter: frames sent under these keys before this one
        56     8  epoch of the change log
        64     8  seq
        72     4  rows
        76     2  dims, at most 8192; 0 when there are no vectors
        78     1  element type: 1 float32; 0 when there are no vectors
        79     1  columns that are there: 1 seqs, 2 ids, 4 texts, 8 metadata
        80     4  bytes of all ids
        84     4  bytes of all texts
        88     4  bytes of all metadata
        92     4  zero

    body, each part only if the header says so
        8 * rows            seqs
        4 * rows * dims     vectors, row by row
        4 * rows            where each id ends in the blob of ids
        4 * rows            where each text ends
        4 * rows            where each item of metadata ends
        as in the header    the blobs: ids, texts, metadata

    trailer
        32                  watermark
        16                  tag of the seal, on sealed frames

A sealed frame has body and watermark encrypted. The length of a message follows from its header
alone, so it is compared before anything else is read: no count in a hostile header can make the
reader take memory that the message itself does not have. Offsets of ends rather than lengths let
the reader use them as they lie there.
"""

from __future__ import annotations

import hashlib
import struct
from collections.abc import Callable
from dataclasses import dataclass
from typing import Final

import numpy as np
import numpy.typing as npt

from chorus_fabric._columns import BytesColumn, Ends, TextColumn, fault_of, utf8_fault
from chorus_fabric._frame import Frame, FrameKind
from chorus_fabric.errors import (
    FrameTooLargeError,
    FrameVersionError,
    InvalidFrameError,
    MalformedFrameError,
)

__all__ = [
    "HEADER_BYTES",
    "MAX_DIMS",
    "MAX_FRAME_BYTES",
    "SEALED",
    "TAG_BYTES",
    "UNORDERED",
    "WATERMARK_BYTES",
    "Header",
    "body_parts",
    "decode_body",
    "header_of",
    "name_hash",
    "read_header",
]

MAX_FRAME_BYTES: Final = 16 << 20
MAX_DIMS: Final = 8192
HEADER_BYTES: Final = 96
WATERMARK_BYTES: Final = 32
TAG_BYTES: Final = 16
SEALED: Final = 1
UNORDERED: Final = 2

Vectors = npt.NDArray[np.float32]

_MAGIC = b"CHFR"
_VERSION = 1
_LAYOUT = struct.Struct("<4sBBBB16s16sIIQQQIHBBIIII")
assert _LAYOUT.size == HEADER_BYTES  # noqa: S101  a slip here would change the format
_FLOAT32 = 1
_SEQS, _IDS, _TEXTS, _METADATA = 1, 2, 4, 8
_KINDS = frozenset(int(kind) for kind in FrameKind)
_U32, _U64 = 1 << 32, 1 << 64


@dataclass(frozen=True, slots=True, kw_only=True)
class Header:
    """The numbers of a header, in its order; `columns` tells which columns are there."""

    kind: int
    transport: int
    flags: int
    tenant: bytes
    sender: bytes
    key_epoch: int
    stream: int
    counter: int
    epoch: int
    seq: int
    rows: int
    dims: int
    columns: int
    ids_bytes: int
    texts_bytes: int
    metadata_bytes: int

    @property
    def is_sealed(self) -> bool:
        """Whether body and watermark are encrypted."""
        return bool(self.transport & SEALED)

    @property
    def body_bytes(self) -> int:
        """How long the body is."""
        a_row = 4 * self.dims + (8 if self.columns & _SEQS else 0)
        a_row += 4 * (self.columns & (_IDS | _TEXTS | _METADATA)).bit_count()
        return self.rows * a_row + self.ids_bytes + self.texts_bytes + self.metadata_bytes

    @property
    def message_bytes(self) -> int:
        """How long the whole message is."""
        tag = TAG_BYTES if self.is_sealed else 0
        return HEADER_BYTES + self.body_bytes + WATERMARK_BYTES + tag

    def pack(self) -> bytes:
        """Give the header's bytes."""
        return _LAYOUT.pack(
            _MAGIC, _VERSION, self.kind, self.transport, self.flags, self.tenant, self.sender,
            self.key_epoch, self.stream, self.counter, self.epoch, self.seq, self.rows, self.dims,
            _FLOAT32 if self.dims else 0, self.columns, self.ids_bytes, self.texts_bytes,
            self.metadata_bytes, 0,
        )  # fmt: skip


def name_hash(what: str, name: str) -> bytes:
    """Give the 16 bytes that stand for a tenant or sender in a header.

    Args:
        what: `tenant` or `sender`.
        name: Its id.
    """
    return hashlib.sha256(f"chorus-fabric {what}\x00{name}".encode()).digest()[:16]


def header_of(
    frame: Frame, *, tenant: bytes, sender: bytes, transport: int, key_epoch: int, counter: int
) -> Header:
    """Make the header of a frame that is to be sent.

    Raises:
        InvalidFrameError: The frame's parts contradict each other, or a number is out of range.
    """
    rows = _checked_rows(frame)
    for name, number, limit in (
        ("stream", frame.stream, _U32),
        ("epoch", frame.epoch, _U64),
        ("seq", frame.seq, _U64),
        ("flags", frame.flags, 256),
    ):
        if not 0 <= number < limit:
            raise InvalidFrameError(f"{name} is 0 to {limit - 1}, got {number}")
    columns = 0
    for bit, column in (
        (_SEQS, frame.seqs), (_IDS, frame.ids), (_TEXTS, frame.texts), (_METADATA, frame.metadata),
    ):  # fmt: skip
        columns |= bit if len(column) else 0
    return Header(
        kind=int(frame.kind),
        transport=transport,
        flags=frame.flags,
        tenant=tenant,
        sender=sender,
        key_epoch=key_epoch,
        stream=frame.stream,
        counter=counter,
        epoch=frame.epoch,
        seq=frame.seq,
        rows=rows,
        dims=frame.dims if rows else 0,
        columns=columns,
        ids_bytes=len(frame.ids.blob),
        texts_bytes=len(frame.texts.blob),
        metadata_bytes=len(frame.metadata.blob),
    )


def _checked_rows(frame: Frame) -> int:
    vectors, seqs = frame.vectors, frame.seqs
    if vectors.ndim != 2 or vectors.dtype != np.float32:
        raise InvalidFrameError(
            f"vectors are float32 of shape (rows, dims), got {vectors.dtype} {vectors.shape}"
        )
    if seqs.ndim != 1 or seqs.dtype != np.uint64:
        raise InvalidFrameError(f"seqs are uint64 of shape (rows,), got {seqs.dtype} {seqs.shape}")
    rows = frame.rows
    if frame.dims > MAX_DIMS:
        raise InvalidFrameError(f"vectors are at most {MAX_DIMS} wide, got {frame.dims}")
    for name, count in (
        ("vectors", vectors.shape[0] if frame.dims else 0),
        ("ids", len(frame.ids)),
        ("texts", len(frame.texts)),
        ("metadata", len(frame.metadata)),
        ("seqs", len(seqs)),
    ):
        if count not in (0, rows):
            raise InvalidFrameError(f"{name} has {count} rows, other columns have {rows}")
    if frame.dims and vectors.shape[0] != rows:
        raise InvalidFrameError(f"vectors has no rows, other columns have {rows}")
    return rows


def body_parts(frame: Frame, vectors: Vectors) -> list[bytes | bytearray | memoryview]:
    """Give the parts of a body in their order, without copying them.

    Args:
        frame: Already checked by `header_of`.
        vectors: What stands for its vectors on the wire.
    """
    parts: list[bytes | bytearray | memoryview] = []
    if len(frame.seqs):
        parts.append(_memory(frame.seqs.astype("<u8", copy=False)))
    if vectors.size:
        parts.append(_memory(vectors.astype("<f4", copy=False)))
    columns = [column for column in (frame.ids, frame.texts, frame.metadata) if len(column)]
    parts += [_memory(column.ends.astype("<u4", copy=False)) for column in columns]
    parts += [column.blob for column in columns]
    return parts


def _memory(array: npt.NDArray[np.generic]) -> memoryview:
    return np.ascontiguousarray(array).reshape(-1).view(np.uint8).data


def read_header(message: memoryview, *, max_bytes: int) -> Header:
    """Read a header, and compare the message's length with what it declares.

    Raises:
        MalformedFrameError: It is not a frame, or has another length than it declares.
        FrameTooLargeError: It is, or says that it is, over `max_bytes`.
        FrameVersionError: It has another version.
    """
    if len(message) > max_bytes:
        raise FrameTooLargeError(f"a message of {len(message)} bytes, over the {max_bytes} allowed")
    if len(message) < HEADER_BYTES:
        raise MalformedFrameError(f"{len(message)} bytes are no frame; it begins with a header")
    (
        magic, version, kind, transport, flags, tenant, sender, key_epoch, stream, counter, epoch,
        seq, rows, dims, dtype, columns, ids_bytes, texts_bytes, metadata_bytes, zero,
    ) = _LAYOUT.unpack_from(message)  # fmt: skip
    if magic != _MAGIC:
        raise MalformedFrameError("the message does not begin as a frame does")
    if version != _VERSION:
        raise FrameVersionError(f"a frame of version {version}, this side knows {_VERSION} alone")
    header = Header(
        kind=kind,
        transport=transport,
        flags=flags,
        tenant=tenant,
        sender=sender,
        key_epoch=key_epoch,
        stream=stream,
        counter=counter,
        epoch=epoch,
        seq=seq,
        rows=rows,
        dims=dims,
        columns=columns,
        ids_bytes=ids_bytes,
        texts_bytes=texts_bytes,
        metadata_bytes=metadata_bytes,
    )
    fault = _header_fault(header, dtype, zero)
    if fault:
        raise MalformedFrameError(fault)
    if header.message_bytes > max_bytes:
        raise FrameTooLargeError(
            f"a frame declares {header.message_bytes} bytes, over the {max_bytes} allowed"
        )
    if header.message_bytes != len(message):
        raise MalformedFrameError(
            f"a frame declares {header.message_bytes} bytes and has {len(message)}"
        )
    return header


def _header_fault(header: Header, dtype: int, zero: int) -> str:
    if header.kind not in _KINDS:
        return f"a frame of the unknown kind {header.kind}"
    if header.transport & ~(SEALED | UNORDERED):
        return f"a frame with the unknown transport flags {header.transport:#04x}"
    if header.dims > MAX_DIMS or dtype != (_FLOAT32 if header.dims else 0) or zero:
        return f"a frame with {header.dims} dims of element type {dtype}"
    if header.columns & ~(_SEQS | _IDS | _TEXTS | _METADATA):
        return f"a frame with the unknown columns {header.columns:#04x}"
    if bool(header.rows) != bool(header.columns or header.dims):
        return f"a frame of {header.rows} rows with the columns {header.columns:#04x}"
    for bit, size in (
        (_IDS, header.ids_bytes), (_TEXTS, header.texts_bytes), (_METADATA, header.metadata_bytes),
    ):  # fmt: skip
        if size and not header.columns & bit:
            return "a frame with bytes of a column that is not there"
    return ""


def decode_body(
    header: Header,
    body: memoryview,
    *,
    tenant_id: str,
    sender: str,
    restore: Callable[[Vectors], Vectors],
    is_borrowed: bool,
) -> Frame:
    """Read the columns of a body whose seal and watermark hold; they lie in its memory.

    Args:
        header: Its header, whose lengths were compared with the message's.
        body: What lies between header and watermark.
        tenant_id: The tenant that the header's hash stands for.
        sender: The sender, likewise.
        restore: Turns vectors as they were sent into what they were before, in other memory.
        is_borrowed: Whether the body's memory will be used for something else: columns are copied.

    Raises:
        MalformedFrameError: Ends, texts or numbers are not what they should be.
    """
    rows, columns = header.rows, header.columns
    after_seqs = 8 * rows if columns & _SEQS else 0
    after_vectors = after_seqs + 4 * rows * header.dims
    head, tail = body[:after_seqs], body[after_vectors:]
    if is_borrowed:
        head, tail = memoryview(bytes(head)), memoryview(bytes(tail))
    place = 0

    def take(size: int) -> memoryview:
        nonlocal place
        part = tail[place : place + size]
        place += size
        return part

    seqs = np.frombuffer(head, "<u8")
    vectors: Vectors = np.frombuffer(body[after_seqs:after_vectors], "<f4")
    vectors = vectors.reshape(rows, header.dims)
    present = [bit for bit in (_IDS, _TEXTS, _METADATA) if columns & bit]
    ends: dict[int, Ends] = {bit: np.frombuffer(take(4 * rows), "<u4") for bit in present}
    sizes = {_IDS: header.ids_bytes, _TEXTS: header.texts_bytes, _METADATA: header.metadata_bytes}
    blobs = {bit: take(sizes[bit]) for bit in present}
    for bit in present:
        fault = fault_of(blobs[bit], ends[bit])
        if not fault and bit != _METADATA:
            fault = utf8_fault(blobs[bit], ends[bit])
        if fault:
            raise MalformedFrameError(f"a frame's column: {fault}")
    none = np.empty(0, np.uint32)
    if vectors.size:
        vectors = restore(vectors)
        if not np.isfinite(vectors).all():
            raise MalformedFrameError("a vector holds a number that is infinite or none")
    return Frame(
        kind=FrameKind(header.kind),
        tenant_id=tenant_id,
        sender=sender,
        stream=header.stream,
        epoch=header.epoch,
        seq=header.seq,
        flags=header.flags,
        vectors=vectors,
        ids=TextColumn(blobs.get(_IDS, b""), ends.get(_IDS, none)),
        texts=TextColumn(blobs.get(_TEXTS, b""), ends.get(_TEXTS, none)),
        metadata=BytesColumn(blobs.get(_METADATA, b""), ends.get(_METADATA, none)),
        seqs=seqs,
    )
