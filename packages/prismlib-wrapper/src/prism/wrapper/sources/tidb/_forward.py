"""Pushes what TiCDC's storage sink writes to a wrapper's endpoint."""

from __future__ import annotations

import http.client
import json
import logging
import ssl
import threading
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

from prism.wrapper.sources.errors import (
    SourceAccessError,
    SourceConfigurationError,
    SourceProtocolError,
)
from prism.wrapper.sources.tidb._storage import StorageFolder

__all__ = ["Forwarder"]

_LOG: Final = logging.getLogger("prism.wrapper")
_PATH: Final = "/v1/push/canal-json"
_TIMEOUT_S: Final = 60.0
_RETRY_S: Final = 1.0
_LONGEST_RETRY_S: Final = 30.0
_LATER: Final = (429, 502, 503, 504)


class Forwarder:
    """Pushes a folder, again and again until `stop`.

    Args:
        folder: What to push.
        url: Of the endpoint: `https://wrapper.example:50061`.
        token: What the endpoint wants to be shown.
        authority: Certificate of the authority that signed the endpoint's; None for the system's.

    Raises:
        SourceConfigurationError: The URL is none, or would send the token in the clear.
    """

    def __init__(
        self, folder: StorageFolder, *, url: str, token: str, authority: Path | None = None
    ) -> None:
        parts = urlsplit(url)
        if parts.scheme not in ("http", "https") or not parts.hostname:
            raise SourceConfigurationError("url: write it as https://wrapper.example:50061")
        if parts.scheme == "http" and parts.hostname not in ("127.0.0.1", "::1", "localhost"):
            raise SourceConfigurationError(
                "url: http would send the token in the clear to another machine; use https"
            )
        self._folder = folder
        self._host, self._port = parts.hostname, parts.port
        self._token = token
        self._tls: ssl.SSLContext | None = None
        if parts.scheme == "https":
            try:
                self._tls = ssl.create_default_context(cafile=authority)
            except OSError as error:
                raise SourceConfigurationError(f"authority: {authority}: {error}") from None
        self._stopping = threading.Event()
        self._connection: http.client.HTTPConnection | None = None
        self.pushed = 0

    def run(self, *, every_s: float) -> None:
        """Push what is new, wait, and look again, until `stop`.

        Raises:
            SourceAccessError: The endpoint does not know the token.
            SourceProtocolError: The endpoint does not understand the folder's messages.
        """
        while not self._stopping.is_set():
            self.push_once()
            self._stopping.wait(every_s)

    def push_once(self) -> None:
        """Push what is new now; waits as long as the endpoint has no room."""
        for body in self._folder.batches():
            if not self._push(body):
                return

    def stop(self) -> None:
        """End `run` soon. Any thread."""
        self._stopping.set()

    def _push(self, body: bytes) -> bool:
        wait_s = _RETRY_S
        while not self._stopping.is_set():
            try:
                status, text, after_s = self._send(body)
            except (OSError, http.client.HTTPException) as error:
                _LOG.warning("tidb-forward: %s:%s: %s; trying again", self._host, self._port, error)
                status, text, after_s = 503, "", wait_s
                wait_s = min(wait_s * 2, _LONGEST_RETRY_S)
            if status == http.HTTPStatus.OK:
                self.pushed += 1
                return True
            if status == http.HTTPStatus.UNAUTHORIZED:
                raise SourceAccessError("the endpoint does not know this token")
            if status not in _LATER:
                raise SourceProtocolError(f"the endpoint answered {status}: {text}")
            self._stopping.wait(after_s)
        return False

    def _send(self, body: bytes) -> tuple[int, str, float]:
        if self._connection is None:
            if self._tls is not None:
                self._connection = http.client.HTTPSConnection(
                    self._host, self._port, timeout=_TIMEOUT_S, context=self._tls
                )
            else:
                self._connection = http.client.HTTPConnection(
                    self._host, self._port, timeout=_TIMEOUT_S
                )
        try:
            self._connection.request(
                "POST", _PATH, body, {"Authorization": f"Bearer {self._token}"}
            )
            answer = self._connection.getresponse()
            content = answer.read(1 << 16)
        except (OSError, http.client.HTTPException):
            self._connection.close()
            self._connection = None
            raise
        after = answer.headers.get("Retry-After", "")
        try:
            text = str(json.loads(content)["error"]) if answer.status >= 400 else ""
        except (ValueError, KeyError, TypeError):
            text = ""
        return answer.status, text, float(after) if after.isdigit() else _RETRY_S

    def close(self) -> None:
        """Close the connection."""
        self.stop()
        if self._connection is not None:
            self._connection.close()
            self._connection = None
