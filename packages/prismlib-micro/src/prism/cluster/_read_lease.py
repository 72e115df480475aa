"""Waiting for the right to serve what is held here."""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from chorus_fabric.mesh import CHORUSFabric

__all__ = ["ReadLease"]

_READY_WITHIN_S = 2.0
_BUSY_S = 10.0  # a lease that does not come for so long, though nodes are up


class ReadLease:
    """Tells whether answers may be served. Used from one event loop.

    Args:
        fabric: Knows which nodes are up.
        serves: Whether the lease is live at this moment.
    """

    def __init__(self, fabric: CHORUSFabric, serves: Callable[[], bool]) -> None:
        self._fabric = fabric
        self._serves = serves
        self._started_by = 0.0
        self._looking = asyncio.Lock()

    async def holds(self) -> bool:
        """Tell whether answers may be served.

        While a majority is up, a lease that ran out only waits for an event loop: so do we. A hit
        that is found later than this was good when it was asked for, if the lease was live then.
        """
        loop = asyncio.get_running_loop()
        began = loop.time()
        self._started_by = self._started_by or began + _READY_WITHIN_S
        if self._serves():
            return True
        async with self._looking:  # one looks at the clock, for all who wait
            while not self._serves():
                now = loop.time()
                is_starting = now < self._started_by
                if now > began + _BUSY_S or not (is_starting or self._is_majority_up()):
                    return False
                await asyncio.sleep(0.01)
        return True

    def _is_majority_up(self) -> bool:
        peers = self._fabric.peers()
        return 1 + sum(peer.is_up for peer in peers.values()) > (len(peers) + 1) // 2
