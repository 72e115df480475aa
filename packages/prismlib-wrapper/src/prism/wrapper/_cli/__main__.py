"""`python -m prism.wrapper._cli`: the command without its script."""

import sys

from prism.wrapper._cli.main import main

if __name__ == "__main__":
    sys.exit(main())
