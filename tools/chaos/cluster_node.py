"""A node as a process of its own: GREEN writes with its token as often as it can.

Reads one JSON object from its command line, and says each role change and each write in a datagram
to the judge. Times are of CLOCK_BOOTTIME, which all processes of a machine share.
"""

from __future__ import annotations

import asyncio
import json
import socket
import sys
import threading
import time
from typing import Any

from chorus_fabric.mesh import CHORUSFabric, FabricConfig
from prism.cluster import ClusterNode, NotGreenError

_WRITE_EVERY_S = 0.002


async def _run(given: dict[str, Any]) -> None:
    fabric = CHORUSFabric(
        node_id=given["node_id"],
        peers=given["peers"],
        listen=given["listen"],
        tenant_id="chaos",
        secret=given["secret"],
        config=FabricConfig(tick_s=0.02),
    )
    node = ClusterNode(fabric=fabric, term_path=given["term_path"])
    node.start()
    async with fabric:
        threading.Thread(target=_write, args=(fabric, node, given), daemon=True).start()
        await asyncio.Event().wait()


def _write(fabric: CHORUSFabric, node: ClusterNode, given: dict[str, Any]) -> None:
    judge = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
    judge.connect(given["judge"])
    told_at = 0.0
    while True:
        before = fabric.now()
        try:
            token = node.fencing_token
        except NotGreenError:
            token = 0
        after = fabric.now()
        if token or after - told_at > 0.05:
            told_at = after
            up = sum(peer.is_up for peer in fabric.peers().values())
            judge.send(
                json.dumps([given["node_id"], given["run"], token, before, after, up]).encode()
            )
        time.sleep(_WRITE_EVERY_S)


if __name__ == "__main__":
    asyncio.run(_run(json.loads(sys.argv[1])))
