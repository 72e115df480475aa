"""The push endpoint over gRPC: `PushService` of `protos/prism/wrapper/v1/push.proto`."""

from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Final

import grpc

from prism.wrapper.sources.errors import SourceConfigurationError
from prism.wrapper.sources.tidb._http import is_token
from prism.wrapper.sources.tidb._intake import BusyError, Intake, StoppedError
from prism.wrapper.sources.tidb._messages import MessageError
from prism.wrapper.v1 import push_pb2, push_pb2_grpc

__all__ = ["GrpcEndpoint"]

_ENCODINGS: Final = {
    push_pb2.ENCODING_CANAL_JSON: "canal-json",
    push_pb2.ENCODING_OPEN_PROTOCOL: "open-protocol",
}
_FRAMING_BYTES: Final = 65_536
_THREADS: Final = 8


class GrpcEndpoint(push_pb2_grpc.PushServiceServicer):
    """Serves one intake.

    Args:
        intake: Where pushes go.
        token: What pushers must show.
        batch_bytes: The longest body that is taken.
        certificate: PEM file, with `key`; without both it speaks plain text.
        key: PEM file.
    """

    def __init__(
        self,
        intake: Intake,
        *,
        token: str,
        batch_bytes: int,
        certificate: Path | None,
        key: Path | None,
    ) -> None:
        self._intake = intake
        self._token = token
        self._certificate = certificate
        self._key = key
        self._workers = ThreadPoolExecutor(_THREADS, thread_name_prefix="prism-push-grpc")
        self._server = grpc.server(
            self._workers,
            options=(
                ("grpc.max_receive_message_length", batch_bytes + _FRAMING_BYTES),
                ("grpc.so_reuseport", 0),
            ),
        )
        push_pb2_grpc.add_PushServiceServicer_to_server(self, self._server)

    def start(self, host: str, port: int) -> int:
        """Listen; returns the port.

        Raises:
            SourceConfigurationError: The place is taken or is not of this machine.
        """
        place = f"[{host}]:{port}" if ":" in host else f"{host}:{port}"
        try:
            if self._certificate is not None and self._key is not None:
                pair = (self._key.read_bytes(), self._certificate.read_bytes())
                taken = self._server.add_secure_port(place, grpc.ssl_server_credentials([pair]))
            else:
                taken = self._server.add_insecure_port(place)
        except (OSError, RuntimeError) as error:
            raise SourceConfigurationError(
                f"grpc_port: cannot listen at {place}: {error}"
            ) from None
        self._server.start()
        return int(taken)

    def stop(self) -> None:
        """Listen no more, and end the calls that are open."""
        self._server.stop(grace=1.0).wait(5.0)
        self._workers.shutdown(wait=False)

    def Push(  # noqa: N802 - its name in the proto
        self, request: push_pb2.PushRequest, context: grpc.ServicerContext
    ) -> push_pb2.PushReply:
        """Keep some messages."""
        shown = dict(context.invocation_metadata()).get("authorization", "")
        scheme, _, token = str(shown).partition(" ")
        if scheme.lower() != "bearer" or not is_token(token.strip(), self._token):
            context.abort(
                grpc.StatusCode.UNAUTHENTICATED,
                "show the wrapper's token as metadata: authorization: Bearer <token>",
            )
        encoding = _ENCODINGS.get(request.encoding)
        if encoding is None:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, "say how the body is encoded")
        try:
            count = self._intake.accept(
                str(encoding),
                request.partition,
                request.body,
                start_ts=request.start_ts if request.HasField("start_ts") else None,
            )
        except MessageError as error:
            context.abort(grpc.StatusCode.INVALID_ARGUMENT, str(error))
        except BusyError as error:
            context.set_trailing_metadata(
                (("retry-after", str(max(1, round(error.retry_after_s)))),)
            )
            context.abort(grpc.StatusCode.RESOURCE_EXHAUSTED, str(error))
        except StoppedError as error:
            context.abort(grpc.StatusCode.UNAVAILABLE, str(error))
        return push_pb2.PushReply(events=count)
