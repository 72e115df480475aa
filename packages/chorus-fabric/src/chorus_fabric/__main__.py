"""`python -m chorus_fabric` is the command `chorus-fabric`."""

from __future__ import annotations

import sys

from chorus_fabric._cli import main

if __name__ == "__main__":
    sys.exit(main())
