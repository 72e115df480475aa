"""Voyage AI's embedding models."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import TYPE_CHECKING, Literal

from prismresonance.embed._credentials import read_key
from prismresonance.embed._extras import require
from prismresonance.embed._provider import Answer, Clock, ProviderEmbedder
from prismresonance.embed._retry import Failure, FailureKind, seconds_asked_for

if TYPE_CHECKING:
    from collections.abc import Sequence

__all__ = ["VoyageEmbedder"]

_WIDTHS = {
    "voyage-3-large": 1024,
    "voyage-3.5": 1024,
    "voyage-3.5-lite": 1024,
    "voyage-code-3": 1024,
    "voyage-finance-2": 1024,
    "voyage-law-2": 1024,
}

# The smallest limit of tokens in a request among its models. Source: Voyage AI, "Text Embeddings".
_BATCH_BYTES = 120_000


class VoyageEmbedder(ProviderEmbedder):
    """Embeds with a model of Voyage AI, through its SDK. Needs the extra `voyage`, and a key.

    A text above the model's limit is cut by the provider.

    There is no way to pass in a client: one of voyageai holds a key, an address and a time limit
    and nothing else, and hides the numbers that tell which vector belongs to which text.

    Args:
        model: The model's name, such as `voyage-3.5`.
        api_key: The key; otherwise `VOYAGE_API_KEY`.
        base_url: Another server's address, up to and including the version.
        dimensions: Width to ask for, which newer models can shorten their vectors to.
        input_type: What the texts are: questions, or what is searched. The provider puts different
            instructions before them, so it is part of `model_id`. `None` compares equals.
        timeout_s: Seconds a request may take, all its attempts and waits together; `embed` sends
            one request after another. A server that goes on sending a few bytes at a time can
            outlast it: the SDK limits the pauses, not the whole.
        max_retries: Attempts after the first, on status 408, 425, 429, 5xx and on broken
            connections. Raising it rides out longer trouble, still within `timeout_s`.
        batch_size: Most texts in a request. Raising it, up to Voyage's 1,000, saves round trips;
            lowering it loses less when one fails.
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
        input_type: Literal["query", "document"] | None = None,
        timeout_s: float = 30.0,
        max_retries: int = 4,
        batch_size: int = 256,
        clock: Clock | None = None,
    ) -> None:
        super().__init__(
            f"voyage/{model}"
            + (f"@{dimensions}" if dimensions else "")
            + (f"+{input_type}" if input_type else ""),
            dim=dimensions if dimensions is not None else _WIDTHS.get(model),
            timeout_s=timeout_s,
            max_retries=max_retries,
            batch_size=batch_size,
            batch_bytes=_BATCH_BYTES,
            clock=clock,
        )
        require("voyage", "voyageai")
        self._key = read_key(api_key, variable="VOYAGE_API_KEY")
        self._base_url = base_url
        self._model = model
        self._dimensions = dimensions
        self._input_type = input_type

    def _close(self) -> None:
        # The SDK keeps its connections itself, a set for each thread, and lets nobody close them.
        pass

    def _request(self, texts: Sequence[str], timeout_s: float) -> Answer | Failure:
        from voyageai import error as errors
        from voyageai.api_resources import Embedding

        try:
            # Below `voyageai.Client`, which retries without heeding Retry-After.
            response = Embedding.create(  # type: ignore[no-untyped-call]  # has no annotations
                api_key=self._key,
                base_url=self._base_url,
                request_timeout=timeout_s,
                input=list(texts),
                model=self._model,
                input_type=self._input_type,
                truncation=True,
                output_dimension=self._dimensions,
            )
            return Answer(
                [item["embedding"] for item in response.data],
                [item["index"] for item in response.data],
            )
        except errors.Timeout:
            return Failure(FailureKind.TIMEOUT, "no answer")
        except errors.APIConnectionError:
            return Failure(FailureKind.TRANSIENT, "no connection")
        except errors.VoyageError as error:
            if error.http_status is not None and error.http_status >= 300:
                return Failure.from_status(
                    error.http_status,
                    retry_after_s=seconds_asked_for(
                        error.headers.get("retry-after"), now=datetime.now(UTC)
                    ),
                )
        except (AttributeError, KeyError, TypeError, ValueError):
            # The SDK reads whatever the server sent without looking at it first.
            pass
        return Failure(FailureKind.REFUSED, "the answer is not a list of embeddings")
