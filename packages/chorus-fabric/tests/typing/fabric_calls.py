"""What a type checker tells users: checked by `hatch run lint:types`, never run."""

from __future__ import annotations

from typing import assert_type

import numpy as np
import numpy.typing as npt

from chorus_fabric import (
    BytesColumn,
    Frame,
    FrameKind,
    Identity,
    Initiator,
    Responder,
    Session,
    SessionPolicy,
    TensorCipher,
    TextColumn,
    TLSConfig,
    peer_identity,
    session_named_by,
)

initiator = Initiator(tenant_id="t", sender="app", secret=b"0123456789abcdef")
responder = Responder(tenant_id="t", sender="db", policy=SessionPolicy(rekey_after_s=60.0))
reply, session = responder.answer(initiator.hello(), now=0.0)
assert_type(reply, bytes)
assert_type(session, Session)
assert_type(initiator.finish(reply, now=0.0), Session)
assert_type(session_named_by(b""), bytes | None)

frame = Frame(kind=FrameKind.MARK, tenant_id="t", sender="db", seq=3)
assert_type(frame.vectors, npt.NDArray[np.float32])
assert_type(frame.ids, TextColumn)
assert_type(frame.ids[0], str)
assert_type(frame.ids[1:], TextColumn)
assert_type(frame.metadata[0], bytes)
assert_type(session.sealer.seal(frame), bytes)
assert_type(session.opener.open(memoryview(b"")), Frame)
assert_type(session.unordered_opener.open(b""), Frame)
assert_type(list(BytesColumn.from_items([b""])), list[bytes])
assert_type(TextColumn.from_offsets(b"", [0]), TextColumn)
assert_type(TensorCipher(bytes(32)).rotate(frame.vectors), npt.NDArray[np.float32])
assert_type(TLSConfig.in_folder("x").identity, Identity)
assert_type(peer_identity({"peer_uri": [b""]}), Identity)
