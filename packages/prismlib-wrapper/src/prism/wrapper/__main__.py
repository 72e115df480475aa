"""`python -m prism.wrapper` is `prism-wrapper`."""

import sys

from prism.wrapper._cli.main import main

if __name__ == "__main__":
    sys.exit(main())
