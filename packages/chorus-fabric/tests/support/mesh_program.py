"""A node of a mesh in a process of its own; what it is to do comes as lines of JSON.

    python mesh_program.py '{"node_id": "a", "peers": {"b": "unix:..."}, "listen": "unix:..."}'

It counts what it receives and echoes requests. To `{}` it answers with its peers, what it counted
and what it was told of peers; `{"broadcast": n}` sends so many TOKEN_SYNC frames of 1 KB;
`{"busy_s": s}` holds up its event loop; `{"flood": n}` sends n frames of 1 MB.
"""

from __future__ import annotations

import asyncio
import json
import sys
import time
from collections import Counter
from typing import Any

from chorus_fabric import TLSConfig
from chorus_fabric.mesh import CHORUSFabric, FrameKind, MeshMessage, PeerStatus


async def main(settings: dict[str, Any]) -> None:
    tls = settings.pop("tls", None)
    fabric = CHORUSFabric(**settings, tls=None if tls is None else TLSConfig(**tls))
    heard: Counter[str] = Counter()
    changes: list[tuple[str, bool, float]] = []

    def count(message: MeshMessage) -> bytes:
        heard[message.sender] += 1
        return message.payload

    def changed(status: PeerStatus) -> None:
        changes.append((status.node_id, status.is_up, time.monotonic()))

    for frame_type in (FrameKind.TOKEN_SYNC, FrameKind.CONFIG, FrameKind.LEASE):
        fabric.on(frame_type, count)
    fabric.on_peer(changed)
    async with fabric:
        tell({})
        reader = asyncio.StreamReader()
        loop = asyncio.get_running_loop()
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        while line := await reader.readline():
            word = json.loads(line)
            for number in range(word.get("broadcast", 0)):
                fabric.broadcast(FrameKind.TOKEN_SYNC, b"%d" % number + bytes(1000))
            for _ in range(word.get("flood", 0)):
                fabric.broadcast(FrameKind.TOKEN_SYNC, bytes(1 << 20))
            time.sleep(word.get("busy_s", 0))  # noqa: ASYNC251  that is the fault
            tell(
                {
                    "up": sorted(name for name, peer in fabric.peers().items() if peer.is_up),
                    "heard": heard,
                    "changes": changes,
                }
            )


def tell(word: object) -> None:
    print(json.dumps(word), flush=True)


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.argv[1])))
