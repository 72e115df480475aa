"""What a service announces of itself in a session."""

from __future__ import annotations

from typing import TYPE_CHECKING

from chorus_fabric.v1 import wrapper_pb2 as pb

if TYPE_CHECKING:
    from chorus_fabric._feed import FeedLog
    from chorus_fabric._publisher_config import PublisherConfig

__all__ = ["welcome_of"]


def welcome_of(config: PublisherConfig, log: FeedLog, *, is_sealed: bool) -> bytes:
    """Give the serialised `Welcome` of a service at this moment."""
    return pb.Welcome(
        epoch=log.epoch,
        head=log.head(),
        model_id=config.model_id,
        dim=config.dim,
        wire=config.wire,
        version=config.version,
        sealed=is_sealed,
        tables=[
            pb.Table(
                stream=schema.stream,
                name=schema.full_name,
                columns=[column.name for column in schema.columns],
                key=schema.key,
            )
            for schema in log.schemas()
        ],
    ).SerializeToString()
