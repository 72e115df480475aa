"""A driver in a process of its own, which tells how it stands as lines of JSON until it is killed.

python driver_program.py PORT SNAPSHOT
"""

from __future__ import annotations

import json
import sys
import time

from prism.ffi import DriverConfig, PrismDriverSync


def main(port: int, snapshot: str) -> None:
    config = DriverConfig(
        wrapper_host="127.0.0.1",
        wrapper_port=port,
        snapshot_path=snapshot,
        snapshot_every_s=0.05,
    )
    with PrismDriverSync(config) as driver:
        while True:
            status = driver.status()
            print(json.dumps([status.epoch, status.seq, status.rows]), flush=True)
            time.sleep(0.02)


if __name__ == "__main__":
    main(int(sys.argv[1]), sys.argv[2])
