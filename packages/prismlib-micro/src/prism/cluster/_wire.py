"""Messages of replication as bytes: a JSON head, then the large values as they are."""

from __future__ import annotations

import dataclasses
import json
import struct
from typing import Any

from prism.cache.store._protocol import Record
from prism.cluster._clock import Stamp
from prism.cluster._replica import BUCKETS, Invalidation, Item
from prism.cluster._replication import (
    Digest,
    Join,
    Learned,
    Listing,
    Pull,
    Put,
    Renew,
    Renewed,
    ReplicationMessage,
    Stored,
    Tell,
    Told,
)
from prism.cluster.errors import MalformedMessageError

__all__ = ["decode", "encode"]

_VERSION = 1
_LENGTH = struct.Struct(">I")
_DIGEST = struct.Struct(f">{BUCKETS}Q")
_KEY_BYTES = 32
_DAMAGE = (LookupError, OverflowError, RecursionError, TypeError, ValueError, struct.error)
_FIELDS = tuple(
    field.name
    for field in dataclasses.fields(Record)
    if field.name not in ("key", "scope", "vector", "answer", "tags")
)


def encode(message: ReplicationMessage) -> bytes:
    """Write a message."""
    kind = type(message).__name__
    head: list[Any]
    blobs: list[bytes] = []
    match message:
        case Put():
            item, record = message.item, message.item.body
            head = [
                message.wants_answer,
                item.stamp,
                item.seen,
                item.tags,
                item.size,
                [getattr(record, name) for name in _FIELDS],
            ]
            blobs = [item.key, record.scope, record.vector, record.answer]
        case Stored():
            head, blobs = [message.stamp], [message.key]
        case Renew():
            head = [message.round, message.run, message.known]
        case Renewed():
            head = [message.round, message.run, message.floors, _log(message.log)]
        case Tell():
            head = _log([message.invalidation])
        case Learned():
            head = [message.stamp]
        case Join():
            head = [message.run]
        case Told():
            head = [
                message.run,
                message.is_synced,
                message.floors,
                _log(message.log),
                message.forgotten,
            ]
        case Digest():
            head, blobs = [message.forgotten], [_DIGEST.pack(*message.buckets)]
        case Listing():
            head = [message.buckets, [stamp for _, stamp in message.held]]
            blobs = [b"".join(key for key, _ in message.held)]
        case Pull():
            head, blobs = [], [b"".join(message.keys)]
    text = json.dumps([_VERSION, kind, head], separators=(",", ":")).encode()
    return b"".join(part for blob in (text, *blobs) for part in (_LENGTH.pack(len(blob)), blob))


def decode(raw: bytes) -> ReplicationMessage:
    """Read a message.

    Raises:
        MalformedMessageError: The bytes are none of this version.
    """
    try:
        return _decode(raw)
    except (
        LookupError,
        OverflowError,
        RecursionError,
        TypeError,
        ValueError,
        struct.error,
    ) as error:
        raise MalformedMessageError(f"no replication message: {type(error).__name__}") from None


def _decode(raw: bytes) -> ReplicationMessage:
    parts, at = [], 0
    while at < len(raw):
        (length,) = _LENGTH.unpack_from(raw, at)
        at += _LENGTH.size
        if at + length > len(raw):
            raise ValueError("cut short")
        parts.append(raw[at : at + length])
        at += length
    version, kind, head = json.loads(parts[0])
    if version != _VERSION:
        raise ValueError("another version")
    match kind:
        case "Put":
            return _put(head, parts)
        case "Stored":
            return Stored(_key(parts[1]), _stamp(head[0]))
        case "Renew":
            return Renew(int(head[0]), int(head[1]), _stamps(head[2]))
        case "Renewed":
            return Renewed(int(head[0]), int(head[1]), _stamps(head[2]), _read_log(head[3]))
        case "Tell":
            return Tell(_read_log(head)[0])
        case "Learned":
            return Learned(_stamp(head[0]))
        case "Join":
            return Join(int(head[0]))
        case "Told":
            run, is_synced, floors, log, forgotten = head
            return Told(
                int(run), bool(is_synced), _stamps(floors), _read_log(log), _stamp(forgotten)
            )
        case "Digest":
            return Digest(_DIGEST.unpack(parts[1]), _stamp(head[0]))
        case "Listing":
            keys = _keys(parts[1])
            return Listing(
                [int(bucket) for bucket in head[0]],
                [(key, _stamp(s)) for key, s in zip(keys, head[1], strict=True)],
            )
        case "Pull":
            return Pull(_keys(parts[1]))
    raise ValueError("another kind")


def _put(head: list[Any], parts: list[bytes]) -> Put:
    wants_answer, stamp, seen, tags, size, fields = head
    _, key, scope, vector, answer = parts
    names = tuple(str(tag) for tag in tags)
    record = Record(
        key=_key(key),
        scope=scope,
        vector=vector,
        answer=answer,
        tags=names,
        **dict(zip(_FIELDS, fields, strict=True)),
    )
    known = tuple((str(origin), _stamp(value)) for origin, value in seen)
    return Put(Item(record.key, _stamp(stamp), known, names, int(size), record), bool(wants_answer))


def _log(log: list[Invalidation]) -> list[Any]:
    return [[one.stamp, one.previous, one.key.hex(), one.tag] for one in log]


def _read_log(log: list[Any]) -> list[Invalidation]:
    return [
        Invalidation(_stamp(stamp), _stamp(previous), bytes.fromhex(key), str(tag))
        for stamp, previous, key, tag in log
    ]


def _stamp(value: list[Any]) -> Stamp:
    millis, ticks, node = value
    return Stamp(int(millis), int(ticks), str(node))


def _stamps(value: dict[str, Any]) -> dict[str, Stamp]:
    return {str(origin): _stamp(stamp) for origin, stamp in value.items()}


def _key(raw: bytes) -> bytes:
    if len(raw) != _KEY_BYTES:
        raise ValueError("a key of another length")
    return raw


def _keys(raw: bytes) -> list[bytes]:
    return [_key(raw[at : at + _KEY_BYTES]) for at in range(0, len(raw), _KEY_BYTES)]
