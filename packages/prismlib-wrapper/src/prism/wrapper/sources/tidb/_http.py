"""The push endpoint over HTTP/1.1.

    POST /v1/push/canal-json       messages, one a line
    POST /v1/push/open-protocol    keys and values, each behind its length (`frame_open`)
    GET  /v1/health                200 while pushes are taken

`Authorization: Bearer <token>` is needed; `Prism-Partition` (0) and `Prism-Start-Ts` are optional.

| answer | means | the pusher |
| --- | --- | --- |
| 200 | all of it is on disk | goes on |
| 400 | it is not what its path says | stops; a person must look |
| 401 | the token is another one | stops |
| 413 | the body is too long | sends less at once |
| 429 | no room now; `Retry-After` says when | sends the same again |
| 503 | it cannot be kept now | sends the same again |

Anything but 200 means that nothing was kept. A push that got no answer is sent again: what comes
twice is told once.
"""

from __future__ import annotations

import asyncio
import contextlib
import hmac
import json
import ssl
from concurrent.futures import ThreadPoolExecutor
from http import HTTPStatus
from typing import Final

import h11

from prism.wrapper.sources.tidb._intake import BusyError, Intake, StoppedError
from prism.wrapper.sources.tidb._messages import MessageError

__all__ = ["PushEndpoint", "is_token"]

_PATHS: Final = {
    b"/v1/push/canal-json": "canal-json",
    b"/v1/push/open-protocol": "open-protocol",
}
_HEALTH: Final = b"/v1/health"
_IDLE_S: Final = 75.0
_READ: Final = 1 << 18
_STOP_S: Final = 5.0
_LINGER_S: Final = 1.0
_LINGER_BYTES: Final = 1 << 26
_CONNECTIONS: Final = 256


def is_token(given: str, token: str) -> bool:
    """Compare without telling by the time taken how much is right."""
    return hmac.compare_digest(given.encode("utf-8", "surrogateescape"), token.encode())


class _Refused(Exception):  # noqa: N818  # an answer, not a fault
    def __init__(
        self, status: HTTPStatus, message: str, *headers: tuple[str, str], ends: bool = False
    ) -> None:
        super().__init__(message)
        self.status = status
        self.headers = headers
        self.ends = ends


class PushEndpoint:
    """Serves one intake; made and used in one event loop.

    Args:
        intake: Where pushes go.
        token: What pushers must show.
        batch_bytes: The longest body that is taken.
        tls: Its certificate, or None for plain HTTP.
        workers: Where pushes are read and written, so that the loop never waits for a disk.
    """

    def __init__(
        self,
        intake: Intake,
        *,
        token: str,
        batch_bytes: int,
        tls: ssl.SSLContext | None,
        workers: ThreadPoolExecutor,
    ) -> None:
        self._intake = intake
        self._token = token
        self._batch_bytes = batch_bytes
        self._tls = tls
        self._workers = workers
        self._server: asyncio.Server | None = None
        self._is_stopping = False
        self._open: set[asyncio.StreamWriter] = set()
        self._answered: dict[int, int] = {}

    @property
    def answered(self) -> dict[int, int]:
        """How often each status was answered."""
        return dict(self._answered)

    async def start(self, host: str, port: int) -> int:
        """Listen; returns the port.

        Raises:
            OSError: The place is taken or is not of this machine.
        """
        self._server = await asyncio.start_server(
            self._serve, host, port, ssl=self._tls, limit=_READ
        )
        return int(self._server.sockets[0].getsockname()[1])

    async def stop(self) -> None:
        """Listen no more, and end the connections that are open: the last work of its loop."""
        self._is_stopping = True
        loop = asyncio.get_running_loop()
        # Closed at once, a server of Python 3.11 forgets a connection that it is just accepting,
        # which then stays open for ever (CPython gh-109564). First nobody else may come.
        for listener in self._server.sockets if self._server is not None else ():
            loop.remove_reader(listener.fileno())
        deadline = loop.time() + _STOP_S
        while (left := asyncio.all_tasks() - {asyncio.current_task()}) and loop.time() < deadline:
            for writer in tuple(self._open):
                writer.transport.abort()
            await asyncio.wait(left, timeout=0.1)
        if self._server is not None:
            self._server.close()

    async def _serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self._open.add(writer)
        if self._is_stopping:
            writer.transport.abort()
        connection = h11.Connection(h11.SERVER)
        try:
            while await self._exchange(connection, reader, writer):
                pass
            await self._linger(reader, writer)
        except (OSError, TimeoutError, asyncio.IncompleteReadError):
            pass
        finally:
            self._open.discard(writer)
            writer.close()
            with contextlib.suppress(OSError):
                await writer.wait_closed()

    @staticmethod
    async def _linger(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        """Let who still sends read our answer: an end at once would take it away from them."""
        if writer.can_write_eof():
            writer.write_eof()
        left = _LINGER_BYTES
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(_LINGER_S):
                while left > 0 and (received := await reader.read(_READ)):
                    left -= len(received)

    async def _exchange(
        self,
        connection: h11.Connection,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
    ) -> bool:
        """Answer one request; returns whether another may come on this connection."""
        try:
            request = await self._event(connection, reader)
            if not isinstance(request, h11.Request):
                return False
            try:
                taken = await self._answer(connection, reader, writer, request)
            except _Refused as refused:
                await self._send(
                    connection,
                    writer,
                    refused.status,
                    {"error": str(refused)},
                    *refused.headers,
                    ends=refused.ends,
                )
                if refused.ends:
                    return False
            else:
                await self._send(connection, writer, HTTPStatus.OK, taken)
        except h11.RemoteProtocolError as error:
            if connection.our_state in (h11.IDLE, h11.SEND_RESPONSE):
                status = HTTPStatus(error.error_status_hint)
                with contextlib.suppress(h11.LocalProtocolError):
                    await self._send(
                        connection, writer, status, {"error": "not HTTP/1.1"}, ends=True
                    )
            return False
        if connection.our_state is not h11.DONE or connection.their_state is not h11.DONE:
            return False
        connection.start_next_cycle()
        return True

    async def _answer(
        self,
        connection: h11.Connection,
        reader: asyncio.StreamReader,
        writer: asyncio.StreamWriter,
        request: h11.Request,
    ) -> dict[str, object]:
        headers = {bytes(name): bytes(value) for name, value in request.headers}
        self._check(request, headers, len(self._open))
        if connection.they_are_waiting_for_100_continue:
            going_on = h11.InformationalResponse(status_code=100, headers=[])
            writer.write(connection.send(going_on) or b"")
        body = await self._body(connection, reader)
        if bytes(request.target) == _HEALTH:
            return {"taking": True, "mark": str(self._intake.mark)}
        encoding = _PATHS[bytes(request.target)]
        partition = _whole(headers, b"prism-partition") or 0
        start_ts = _whole(headers, b"prism-start-ts")
        loop = asyncio.get_running_loop()
        try:
            count = await loop.run_in_executor(
                self._workers,
                lambda: self._intake.accept(encoding, partition, body, start_ts=start_ts),
            )
        except MessageError as error:
            raise _Refused(HTTPStatus.BAD_REQUEST, str(error)) from None
        except BusyError as error:
            wait = ("Retry-After", str(max(1, round(error.retry_after_s))))
            raise _Refused(HTTPStatus.TOO_MANY_REQUESTS, str(error), wait) from None
        except StoppedError as error:
            wait = ("Retry-After", "5")
            raise _Refused(HTTPStatus.SERVICE_UNAVAILABLE, str(error), wait) from None
        return {"events": count}

    def _check(self, request: h11.Request, headers: dict[bytes, bytes], connections: int) -> None:
        """Refuse what can be refused before its body is read; the connection then ends."""
        given = headers.get(b"authorization", b"").decode("latin-1")
        scheme, _, token = given.partition(" ")
        if scheme.lower() != "bearer" or not is_token(token.strip(), self._token):
            raise _Refused(
                HTTPStatus.UNAUTHORIZED,
                "show the wrapper's token: Authorization: Bearer <token>",
                ("WWW-Authenticate", "Bearer"),
                ends=True,
            )
        target = bytes(request.target)
        if target == _HEALTH and request.method == b"GET":
            return
        if target not in _PATHS:
            paths = ", ".join(path.decode() for path in _PATHS)
            raise _Refused(HTTPStatus.NOT_FOUND, f"push to one of {paths}", ends=True)
        if request.method != b"POST":
            raise _Refused(
                HTTPStatus.METHOD_NOT_ALLOWED, "push with POST", ("Allow", "POST"), ends=True
            )
        length = headers.get(b"content-length", b"0")
        if length.isdigit() and int(length) > self._batch_bytes:
            raise self._too_long()
        if connections > _CONNECTIONS:
            wait = ("Retry-After", "1")
            raise _Refused(HTTPStatus.TOO_MANY_REQUESTS, "too many connections", wait, ends=True)

    async def _body(self, connection: h11.Connection, reader: asyncio.StreamReader) -> bytes:
        parts: list[bytes] = []
        size = 0
        while True:
            event = await self._event(connection, reader)
            if isinstance(event, h11.EndOfMessage):
                return b"".join(parts)
            if not isinstance(event, h11.Data):
                raise h11.RemoteProtocolError("the request ended early")
            size += len(event.data)
            if size > self._batch_bytes:
                raise self._too_long()
            parts.append(bytes(event.data))

    async def _event(
        self, connection: h11.Connection, reader: asyncio.StreamReader
    ) -> h11.Event | type[h11.PAUSED]:
        while True:
            event = connection.next_event()
            if event is not h11.NEED_DATA:
                return event  # type: ignore[return-value]  # what is left is an event or a pause
            received = await asyncio.wait_for(reader.read(_READ), _IDLE_S)
            connection.receive_data(received)

    async def _send(
        self,
        connection: h11.Connection,
        writer: asyncio.StreamWriter,
        status: HTTPStatus,
        content: dict[str, object],
        *headers: tuple[str, str],
        ends: bool = False,
    ) -> None:
        self._answered[status] = self._answered.get(status, 0) + 1
        body = json.dumps(content).encode() + b"\n"
        given = [
            ("Content-Type", "application/json"),
            ("Content-Length", str(len(body))),
            *headers,
            *([("Connection", "close")] if ends else []),
        ]
        response = h11.Response(status_code=int(status), headers=given, reason=status.phrase)
        for event in (response, h11.Data(data=body), h11.EndOfMessage()):
            writer.write(connection.send(event) or b"")
        await writer.drain()

    def _too_long(self) -> _Refused:
        return _Refused(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
            f"a push may have {self._batch_bytes} bytes; send less at once, or raise [push] "
            "batch_bytes",
            ends=True,
        )


def _whole(headers: dict[bytes, bytes], name: bytes) -> int | None:
    text = headers.get(name)
    if text is None:
        return None
    if not text.isdigit() or len(text) > 20:
        raise _Refused(HTTPStatus.BAD_REQUEST, f"{name.decode()} is no number")
    return int(text)
