"""Run every Python block of the given Markdown files, as a reader who installed the wheels would.

    python tools/snippets.py README.md packages/*/README.md

Run it with an interpreter in which the packages are installed and the working tree is not: it fails
if one of ours is imported from the tree. The blocks of one file share their names, as on the page.
"""

from __future__ import annotations

import argparse
import os
import sys
import tempfile
from pathlib import Path

from sybil import Sybil
from sybil.parsers.markdown import PythonCodeBlockParser

ROOT = Path(__file__).resolve().parent.parent
OURS = ("prismresonance", "prism", "chorus_fabric")


def main() -> int:
    """Run the command line."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("files", nargs="+", type=Path, help="Markdown files")
    files = [file.resolve() for file in parser.parse_args().files]
    sybil = Sybil(parsers=[PythonCodeBlockParser()])
    with tempfile.TemporaryDirectory() as scratch:
        os.chdir(scratch)
        for file in files:
            document = sybil.parse(file)
            document.namespace["__name__"] = "snippets"
            examples = list(document)
            for example in examples:
                example.evaluate()
            print(f"{file.relative_to(ROOT)}: {len(examples)} blocks ran")
        os.chdir(ROOT)
    stray = [
        f"{name} came from {module.__file__}"
        for name, module in sorted(sys.modules.items())
        if name.split(".")[0] in OURS
        and module.__file__
        and Path(module.__file__).is_relative_to(ROOT / "packages")
    ]
    print("\n".join(stray), file=sys.stderr)
    return 1 if stray else 0


if __name__ == "__main__":
    sys.exit(main())
