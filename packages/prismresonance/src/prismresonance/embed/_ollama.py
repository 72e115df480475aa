"""Models that an Ollama server runs."""

from __future__ import annotations

import threading
from datetime import UTC, datetime
from typing import TYPE_CHECKING

from prismresonance.embed._extras import require
from prismresonance.embed._provider import Answer, Clock, ProviderEmbedder
from prismresonance.embed._retry import Failure, FailureKind, seconds_asked_for

if TYPE_CHECKING:
    from collections.abc import Mapping, Sequence

    import httpx

__all__ = ["OllamaEmbedder"]

# Ollama has no limit of its own; this keeps one request short of a minute on a laptop.
_BATCH_BYTES = 100_000


class OllamaEmbedder(ProviderEmbedder):
    """Embeds with a model that an Ollama server runs, through its SDK. Needs the extra `ollama`.

    A text above the model's limit is cut by the server. `dim` is known from the first answer, for
    a name says little about what a server has under it.

    Args:
        model: The model's name, such as `nomic-embed-text`; without a tag, `latest` is meant.
        host: The server's address; otherwise `OLLAMA_HOST`, otherwise `http://127.0.0.1:11434`.
        headers: Further headers to send, such as those a proxy before the server wants. A key in
            `OLLAMA_API_KEY` is sent by the SDK.
        dimensions: Width to ask for, which some models can shorten their vectors to.
        timeout_s: Seconds a request may take, all its attempts and waits together; `embed` sends
            one request after another. The first one also loads the model. A server that goes on
            sending a few bytes at a time can outlast it: the SDK limits the pauses, not the whole.
        max_retries: Attempts after the first, on status 408, 425, 429, 5xx and on broken
            connections. Raising it rides out longer trouble, still within `timeout_s`.
        batch_size: Most texts in a request. Raising it saves round trips; lowering it bounds the
            memory the server needs at once.
        clock: Another clock than this machine's, for tests.

    Raises:
        EmbedderConfigurationError: The extra is not installed.
        InvalidArgumentError: A setting is out of its range.
    """

    def __init__(
        self,
        model: str,
        *,
        host: str | None = None,
        headers: Mapping[str, str] | None = None,
        dimensions: int | None = None,
        timeout_s: float = 60.0,
        max_retries: int = 4,
        batch_size: int = 64,
        clock: Clock | None = None,
    ) -> None:
        tagged = model if ":" in model.rpartition("/")[2] else f"{model}:latest"
        super().__init__(
            f"ollama/{tagged}" + (f"@{dimensions}" if dimensions else ""),
            dim=dimensions,
            timeout_s=timeout_s,
            max_retries=max_retries,
            batch_size=batch_size,
            batch_bytes=_BATCH_BYTES,
            clock=clock,
        )
        require("ollama", "ollama")
        import ollama

        self._model = model
        self._dimensions = dimensions
        self._attempt = _Attempt()
        self._client = ollama.Client(
            host,
            headers=dict(headers or {}),
            event_hooks={"request": [self._before], "response": [self._after]},
        )

    def _close(self) -> None:
        self._client.close()  # type: ignore[no-untyped-call]  # has no annotations

    def _request(self, texts: Sequence[str], timeout_s: float) -> Answer | Failure:
        import httpx
        import ollama

        self._attempt.timeout_s = timeout_s
        self._attempt.retry_after = None
        try:
            response = self._client.embed(
                self._model, list(texts), truncate=True, dimensions=self._dimensions
            )
            return Answer(response.embeddings, range(len(response.embeddings)))
        except httpx.TimeoutException:
            return Failure(FailureKind.TIMEOUT, "no answer")
        except (httpx.TransportError, ConnectionError):
            return Failure(FailureKind.TRANSIENT, "no connection")
        except ollama.ResponseError as error:
            if error.status_code == 404:
                return Failure(
                    FailureKind.FORBIDDEN,
                    f"the server does not have the model; try: ollama pull {self._model}",
                )
            return Failure.from_status(
                error.status_code,
                retry_after_s=seconds_asked_for(self._attempt.retry_after, now=datetime.now(UTC)),
            )
        except (httpx.HTTPError, AttributeError, KeyError, TypeError, ValueError):
            # The SDK's own checks of the answer end here too; they quote what they reject.
            return Failure(FailureKind.REFUSED, "the answer is not a list of embeddings")

    # The SDK sets one time limit for good and drops the headers of a failure. These two hooks of
    # its HTTP client run in the calling thread, around each request.

    def _before(self, request: httpx.Request) -> None:
        limits = dict.fromkeys(("connect", "read", "write", "pool"), self._attempt.timeout_s)
        request.extensions["timeout"] = limits

    def _after(self, response: httpx.Response) -> None:
        self._attempt.retry_after = response.headers.get("retry-after")


class _Attempt(threading.local):
    """What the hooks and the attempt they belong to tell each other, for each thread."""

    timeout_s: float = 0.0
    retry_after: str | None = None
