"""A publisher in a process of its own; what it is to do comes as lines of JSON.

    python publisher_program.py '{"port": 0, "tenant_id": "t"}'

It answers each line with one: first the port, then to `{"rows": [...]}`, `{"clear": table}`,
`{"renew": true}` and `{"status": true}` the log's epoch and head, and the subscribers.
"""

from __future__ import annotations

import asyncio
import json
import sys
from typing import Any

from chorus_fabric import (
    Caller,
    CHORUSPublisher,
    DriverEndpoint,
    MemoryLog,
    NotReadyError,
    PublisherConfig,
    RowChange,
    TLSConfig,
    WriteCall,
    WriteResult,
)


class LogWrites:
    """Writes straight into the log, as a database and its feed would do together."""

    def __init__(self, log: MemoryLog) -> None:
        self._log = log

    def write(self, call: WriteCall, caller: Caller) -> WriteResult:
        values = dict(call.values)
        if values.pop("fail", None):
            raise NotReadyError("the database is away")
        vector = values.pop("vector", None) or [1.0] * (self._log.schemas()[0].dim)
        change = RowChange(
            table=call.table or "products",
            row_id=call.row_id,
            vector=vector,
            text=str(values.get("name", "")),
            columns=values,
        )
        seq = self._log.append([change])
        if not call.wait_s:
            return WriteResult(event_id=f"later-{seq}", row_id=call.row_id)
        epoch = self._log.epoch
        return WriteResult(event_id=f"{epoch}-{seq}", row_id=call.row_id, epoch=epoch, seq=seq)


async def main(settings: dict[str, Any]) -> None:
    tls = settings.pop("tls", None)
    drivers = settings.pop("drivers", [])
    log = MemoryLog(
        model_id=settings.get("model_id", ""), max_tombstones=settings.pop("max_tombstones", 10_000)
    )
    config = PublisherConfig(**settings, tls=None if tls is None else TLSConfig(**tls))
    publisher = CHORUSPublisher(config, log=log, writes=LogWrites(log))
    for port in drivers:
        publisher.add_driver(
            DriverEndpoint(host="127.0.0.1", port=port, tenant_id=config.tenant_id)
        )
    async with publisher:
        tell({"port": publisher.port})
        reader = asyncio.StreamReader(limit=1 << 28)
        loop = asyncio.get_running_loop()
        await loop.connect_read_pipe(lambda: asyncio.StreamReaderProtocol(reader), sys.stdin)
        while line := await reader.readline():
            word = json.loads(line)
            for row in word.get("rows", []):
                log.append([RowChange(**row)])
            if "many" in word:
                log.append([RowChange(**row) for row in word["many"]])
            if "clear" in word:
                log.clear(word["clear"])
            if "renew" in word:
                log.renew()
            tell(
                {
                    "epoch": log.epoch,
                    "head": log.head(),
                    "subscribers": [
                        [one.seq, one.queued_bytes, one.sent_bytes, one.acked_seq]
                        for one in publisher.status.subscribers
                    ],
                }
            )


def tell(word: object) -> None:
    print(json.dumps(word), flush=True)


if __name__ == "__main__":
    asyncio.run(main(json.loads(sys.argv[1])))
