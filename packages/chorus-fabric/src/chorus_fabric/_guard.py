"""What goes wrong in a call, as a status for the caller and a line in the log."""

from __future__ import annotations

import logging
from typing import TYPE_CHECKING, TypeVar

import grpc

from chorus_fabric._statuses import status_of
from chorus_fabric.errors import ChorusError, SubscriberTooSlowError

if TYPE_CHECKING:
    from collections.abc import Awaitable, Callable

    from google.protobuf.message import Message

    Context = grpc.aio.ServicerContext[Message, Message]

__all__ = ["guarded"]

_log = logging.getLogger("chorus_fabric.service")

Result = TypeVar("Result")


async def guarded(context: Context, answer: Callable[[], Awaitable[Result]]) -> Result:
    """Answer, and turn what goes wrong into a status."""
    try:
        return await answer()
    except SubscriberTooSlowError as error:
        code, details = grpc.StatusCode.RESOURCE_EXHAUSTED, str(error)
    except ChorusError as error:
        code, details = status_of(error)
        _log.info("refused a call from %s: %s", context.peer(), details)
    except Exception:  # noqa: BLE001  a handler may raise anything
        # The message may hold a row's values: it stays here.
        _log.exception("a call from %s failed", context.peer())
        code, details = grpc.StatusCode.INTERNAL, "internal error: see the service's log"
    await context.abort(code, details)
    raise AssertionError("abort raises")
