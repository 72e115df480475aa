"""A readable spelling for regular expressions over clauses: one phrase a line."""

from __future__ import annotations

import re

__all__ = ["phrases"]

_GROUP = re.compile(r"(?<!\\)\((?!\?)")
_LIST = re.compile(r"<(\w+)>")


def phrases(lines: str, **lists: str) -> re.Pattern[str]:
    """Compile lines of which any may match.

    A blank is a blank, `<name>` one of the words of a list (in a list, `_` is a blank), and no
    group captures.

    Args:
        lines: The phrases, one a line; lines that begin with `#` are comments.
        lists: Words or phrases, divided by white space.
    """
    choices = {
        name: f"(?:{'|'.join(words.replace('_', ' ') for words in text.split())})"
        for name, text in lists.items()
    }
    spelled = (line.strip() for line in lines.splitlines())
    return re.compile(
        "|".join(
            _LIST.sub(lambda found: choices[found[1]], _GROUP.sub("(?:", line))
            for line in spelled
            if line and not line.startswith("#")
        )
    )
