"""The gRPC settings that both sides share.

A dead link is noticed by pings after `_PING_MS` without an answer within `_PING_TIMEOUT_MS`; a lost
connection is tried again after 50 ms to 1 s. gRPC's own defaults are two hours and two minutes.
"""

from __future__ import annotations

from typing import Final

from chorus_fabric._codec import MAX_FRAME_BYTES

__all__ = ["CHANNEL_OPTIONS", "SERVER_OPTIONS", "address"]

_PING_MS: Final = 5_000
_PING_TIMEOUT_MS: Final = 5_000
_ENVELOPE_BYTES: Final = 65_536

_SHARED: Final = (
    ("grpc.max_receive_message_length", MAX_FRAME_BYTES + _ENVELOPE_BYTES),
    ("grpc.max_send_message_length", MAX_FRAME_BYTES + _ENVELOPE_BYTES),
    ("grpc.keepalive_time_ms", _PING_MS),
    ("grpc.keepalive_timeout_ms", _PING_TIMEOUT_MS),
    ("grpc.keepalive_permit_without_calls", 1),
    ("grpc.http2.max_pings_without_data", 0),
)

CHANNEL_OPTIONS: Final = (
    *_SHARED,
    ("grpc.initial_reconnect_backoff_ms", 50),
    ("grpc.min_reconnect_backoff_ms", 1_000),
    ("grpc.max_reconnect_backoff_ms", 1_000),
    # Two clients of one process are two clients: no connection is shared behind their backs.
    ("grpc.use_local_subchannel_pool", 1),
    ("grpc.enable_http_proxy", 0),
)

SERVER_OPTIONS: Final = (
    *_SHARED,
    ("grpc.http2.min_ping_interval_without_data_ms", 1_000),
    ("grpc.http2.min_recv_ping_interval_without_data_ms", 1_000),
    ("grpc.http2.max_ping_strikes", 0),
    # A second server on the same port is a mistake, and told so.
    ("grpc.so_reuseport", 0),
)


def address(host: str, port: int) -> str:
    """Write host and port as gRPC reads them."""
    return f"[{host}]:{port}" if ":" in host and not host.startswith("[") else f"{host}:{port}"
