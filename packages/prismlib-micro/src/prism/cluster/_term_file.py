"""The one thing a voter must not forget: the last term it granted, and to whom."""

from __future__ import annotations

import json
import os
import zlib
from pathlib import Path

from prism.cluster._lease_messages import NO_GRANT, Grant
from prism.cluster.errors import TermFileError

__all__ = ["TermFile"]

_FORMAT = "prism-term-1"


class TermFile:
    """A small file, replaced as a whole and on disk before `write` returns.

    Args:
        path: Where; its folder must exist. One file for one node.
        node_id: Whose file it is.
    """

    def __init__(self, path: str | os.PathLike[str], node_id: str) -> None:
        self._path = Path(path)
        self._node_id = node_id

    def read(self) -> Grant:
        """Give what was written last; nothing granted, if there is no file yet.

        Raises:
            TermFileError: It is damaged, or another node's.
        """
        try:
            raw = self._path.read_bytes()
        except FileNotFoundError:
            return NO_GRANT
        except OSError as error:
            raise TermFileError(f"cannot be read: {error}", path=str(self._path)) from error
        try:
            body, _, checksum = raw.partition(b"\n")
            kind, node_id, term, holder, incarnation = json.loads(body)
            whole = kind == _FORMAT and int(checksum) == zlib.crc32(body)
            grant = Grant(int(term), str(holder), int(incarnation))
        except (ValueError, TypeError):
            whole = False
        if not whole:
            raise TermFileError(
                "is damaged. Remove it only if the other voters kept theirs: a majority that "
                "forgot its terms may give a fencing token twice",
                path=str(self._path),
            )
        if node_id != self._node_id:
            raise TermFileError(
                f"belongs to node {node_id!r}, not to {self._node_id!r}; give each a file of its "
                "own",
                path=str(self._path),
            )
        return grant

    def write(self, grant: Grant) -> None:
        """Replace the file.

        Raises:
            OSError: It is not on disk.
        """
        body = json.dumps(
            [_FORMAT, self._node_id, grant.term, grant.holder, grant.incarnation]
        ).encode()
        beside = self._path.with_name(self._path.name + ".new")
        with beside.open("wb") as file:
            file.write(body + b"\n%d\n" % zlib.crc32(body))
            file.flush()
            os.fsync(file.fileno())
        beside.replace(self._path)
        folder = os.open(self._path.parent, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)
