"""OpenAI's embedding models, and servers that speak the same protocol."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Any

from prismresonance.embed._credentials import read_key
from prismresonance.embed._extras import require
from prismresonance.embed._provider import Answer, Clock, ProviderEmbedder
from prismresonance.embed._retry import Failure, FailureKind, seconds_asked_for

if TYPE_CHECKING:
    from collections.abc import Sequence

    import openai

__all__ = ["OpenAIEmbedder"]

_WIDTHS = {
    "text-embedding-3-large": 3072,
    "text-embedding-3-small": 1536,
    "text-embedding-ada-002": 1536,
}

# A request may hold 300,000 tokens. Source: OpenAI API reference, "Create embeddings".
_BATCH_BYTES = 300_000


class OpenAIEmbedder(ProviderEmbedder):
    """Embeds with a model of OpenAI, through its SDK. Needs the extra `openai`, and a key.

    A text above the model's limit (8,192 tokens) is an error of the provider, not cut.

    Args:
        model: The model's name, such as `text-embedding-3-small`.
        api_key: The key; otherwise `OPENAI_API_KEY`.
        base_url: Another server's address; otherwise `OPENAI_BASE_URL`, otherwise OpenAI's.
        dimensions: Width to ask for, which newer models can shorten their vectors to.
        timeout_s: Seconds a request may take, all its attempts and waits together; `embed` sends
            one request after another. A server that goes on sending a few bytes at a time can
            outlast it: the SDK limits the pauses, not the whole.
        max_retries: Attempts after the first, on status 408, 425, 429, 5xx and on broken
            connections. Raising it rides out longer trouble, still within `timeout_s`.
        batch_size: Most texts in a request. Raising it, up to OpenAI's 2,048, saves round trips;
            lowering it loses less when one fails.
        client: A client made elsewhere, such as an `AzureOpenAI`, in place of `api_key` and
            `base_url`. Used with its retries switched off,
            and left open by `close`.
        clock: Another clock than this machine's, for tests.

    Raises:
        EmbedderConfigurationError: The extra is not installed, or there is no key.
        InvalidArgumentError: A setting is out of its range.
    """

    def __init__(
        self,
        model: str,
        *,
        api_key: str | None = None,
        base_url: str | None = None,
        dimensions: int | None = None,
        timeout_s: float = 30.0,
        max_retries: int = 4,
        batch_size: int = 256,
        client: openai.OpenAI | None = None,
        clock: Clock | None = None,
    ) -> None:
        super().__init__(
            f"openai/{model}" + (f"@{dimensions}" if dimensions else ""),
            dim=dimensions if dimensions is not None else _WIDTHS.get(model),
            timeout_s=timeout_s,
            max_retries=max_retries,
            batch_size=batch_size,
            batch_bytes=_BATCH_BYTES,
            clock=clock,
        )
        require("openai", "openai")
        import openai

        self._owns_connections = client is None
        if client is None:
            key = read_key(api_key, variable="OPENAI_API_KEY")
            client = openai.OpenAI(api_key=key, base_url=base_url)
        self._client = client.with_options(max_retries=0)
        self._model = model
        self._options: dict[str, Any] = {} if dimensions is None else {"dimensions": dimensions}

    def _close(self) -> None:
        if self._owns_connections:
            self._client.close()

    def _request(self, texts: Sequence[str], timeout_s: float) -> Answer | Failure:
        import openai

        try:
            response = self._client.embeddings.create(
                input=list(texts), model=self._model, timeout=timeout_s, **self._options
            )
            return Answer(
                [item.embedding for item in response.data], [item.index for item in response.data]
            )
        except openai.APITimeoutError:
            return Failure(FailureKind.TIMEOUT, "no answer")
        except openai.APIConnectionError:
            return Failure(FailureKind.TRANSIENT, "no connection")
        except openai.APIStatusError as error:
            if error.code == "insufficient_quota":
                # Also status 429, but waiting does not fill an account.
                return Failure(FailureKind.REFUSED, "the account's quota is used up")
            return Failure.from_status(
                error.status_code,
                retry_after_s=seconds_asked_for(
                    error.response.headers.get("retry-after"), now=datetime.now(UTC)
                ),
            )
        except (openai.OpenAIError, AttributeError, KeyError, TypeError, ValueError):
            # The SDK reads whatever the server sent without looking at it first.
            return Failure(FailureKind.REFUSED, "the answer is not a list of embeddings")
