from __future__ import annotations

import json
import sys
import threading
import traceback
from typing import Any

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from prismresonance.embed import Embedder, OllamaEmbedder, OpenAIEmbedder, VoyageEmbedder
from prismresonance.embed._provider import SystemClock
from prismresonance.errors import (
    EmbedderConfigurationError,
    EmbeddingError,
    EmbeddingTimeoutError,
    InvalidArgumentError,
    InvalidTextError,
    TransientEmbeddingError,
)


def test_embeds_in_order_as_unit_rows(provider: Any, kit: Any) -> None:
    texts = ["red", "green", "blue"]
    embedder = provider.embedder()
    rows = embedder.embed(texts)
    assert rows.dtype == np.float32
    np.testing.assert_allclose(rows, kit.unit_rows_of(texts), atol=1e-6)
    assert isinstance(embedder, Embedder)
    assert embedder.dim == kit.WIDTH
    (request,) = provider.server.requests
    assert request.body["model"] == "test-model"
    assert request.key == ("" if provider.name == "ollama" else kit.KEY)


def test_cuts_into_batches_and_sends_equal_texts_once(provider: Any, kit: Any) -> None:
    texts = [f"text {n % 7}" for n in range(20)]
    rows = provider.embedder(batch_size=3).embed(texts)
    assert [len(request.texts) for request in provider.server.requests] == [3, 3, 1]
    np.testing.assert_allclose(rows, kit.unit_rows_of(texts), atol=1e-6)


@settings(
    max_examples=15, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture]
)
@given(
    texts=st.lists(st.text(st.characters(codec="utf-8"), max_size=5), max_size=12),
    batch_size=st.integers(1, 5),
)
def test_any_texts_in_any_batches_come_back_in_order(
    provider: Any, kit: Any, texts: list[str], batch_size: int
) -> None:
    rows = provider.embedder(batch_size=batch_size, dimensions=kit.WIDTH).embed(texts)
    np.testing.assert_allclose(rows, kit.unit_rows_of(texts), atol=1e-6)


def test_blank_texts_are_zeros_and_are_not_sent(provider: Any) -> None:
    rows = provider.embedder().embed(["", "a", " \n"])
    assert [bool(row.any()) for row in rows] == [False, True, False]
    assert [request.texts for request in provider.server.requests] == [["a"]]


def test_nothing_is_sent_for_no_texts_if_the_width_is_known(provider: Any) -> None:
    assert provider.embedder(dimensions=5).embed([]).shape == (0, 5)
    assert provider.server.requests == []


def test_width_is_asked_for_once_if_unknown(provider: Any, kit: Any) -> None:
    embedder = provider.embedder()
    assert embedder.dim == kit.WIDTH
    assert embedder.embed([]).shape == (0, kit.WIDTH)
    assert len(provider.server.requests) == 1


def test_dimensions_are_asked_for_and_named(provider: Any) -> None:
    embedder = provider.embedder(dimensions=4)
    assert embedder.embed(["a"]).shape == (1, 4)
    body = provider.server.requests[0].body
    assert body["output_dimension" if provider.name == "voyage" else "dimensions"] == 4
    assert embedder.model_id.endswith("@4")


def test_other_texts_than_strings_are_named_by_place_and_type(provider: Any) -> None:
    with pytest.raises(InvalidTextError, match="text 1 is of type bytes") as caught:
        provider.embedder().embed(["a", b"secret"])
    assert "secret" not in str(caught.value)
    assert provider.server.requests == []


def test_waits_as_long_as_asked_and_tries_again(provider: Any, kit: Any) -> None:
    provider.server.script = [kit.Reply(429, {"Retry-After": "7"})]
    rows = provider.embedder().embed(["a"])
    np.testing.assert_allclose(rows, kit.unit_rows_of(["a"]), atol=1e-6)
    assert provider.clock.slept == [7.0]
    assert len(provider.server.requests) == 2


@pytest.mark.parametrize("status", [408, 500, 502, 503, 504])
def test_trouble_that_passes_is_ridden_out(provider: Any, kit: Any, status: int) -> None:
    provider.server.script = [kit.Reply(status), kit.Reply(status), kit.Reply(hang_up=True)]
    assert provider.embedder().embed(["a"]).any()
    assert len(provider.server.requests) == 4
    assert 0.25 <= provider.clock.slept[0] < 0.5 <= provider.clock.slept[1] < 1.0


def test_trouble_that_stays_is_a_transient_error(provider: Any, kit: Any) -> None:
    provider.server.script = [kit.Reply(503)] * 2 + [kit.Reply(503, {"Retry-After": "3"})] * 3
    with pytest.raises(TransientEmbeddingError, match="HTTP status 503") as caught:
        provider.embedder(max_retries=3).embed(["a"])
    assert caught.value.retry_after_s == 3.0
    assert len(provider.server.requests) == 4


def test_does_not_wait_for_what_comes_after_the_time_limit(provider: Any, kit: Any) -> None:
    provider.server.script = [kit.Reply(429, {"Retry-After": "31"})]
    with pytest.raises(TransientEmbeddingError) as caught:
        provider.embedder(timeout_s=30).embed(["a"])
    assert caught.value.retry_after_s == 31.0
    assert provider.clock.slept == []


def test_no_server_is_a_transient_error(provider: Any, kit: Any) -> None:
    embedder = provider.embedder(max_retries=2)
    provider.server.close()
    with pytest.raises(TransientEmbeddingError, match="no connection"):
        embedder.embed(["a"])
    assert len(provider.clock.slept) == 2


def test_silence_ends_at_the_time_limit(provider: Any, kit: Any) -> None:
    provider.server.script = [kit.Reply(hang=True)]
    with pytest.raises(EmbeddingTimeoutError, match=r"no answer within 0\.2 s"):
        provider.embedder(timeout_s=0.2, clock=SystemClock()).embed(["a"])
    assert len(provider.server.requests) == 1


@pytest.mark.parametrize(
    ("status", "error"),
    [
        (400, EmbeddingError),
        (401, EmbedderConfigurationError),
        (403, EmbedderConfigurationError),
        (404, EmbedderConfigurationError),
        (413, EmbeddingError),
        (422, EmbeddingError),
    ],
)
def test_refusals_are_not_repeated_and_quote_nothing(
    provider: Any, kit: Any, status: int, error: type[Exception]
) -> None:
    provider.server.script = [kit.Reply(status)]
    with pytest.raises(error) as caught:
        provider.embedder().embed(["my private words"])
    assert type(caught.value) is error
    assert len(provider.server.requests) == 1
    shown = "".join(traceback.format_exception(caught.value))
    assert kit.KEY not in shown
    assert "private words" not in str(caught.value)
    assert caught.value.__context__ is None
    assert caught.value.__cause__ is None


def drop_one(vectors: Any, indices: Any) -> Any:
    return vectors[:-1], indices[:-1]


def one_nan(vectors: Any, indices: Any) -> Any:
    return [*vectors[:-1], [float("nan")] * len(vectors[0])], indices


def one_short(vectors: Any, indices: Any) -> Any:
    return [*vectors[:-1], vectors[-1][:-1]], indices


def all_short(vectors: Any, indices: Any) -> Any:
    return [vector[:-1] for vector in vectors], indices


def no_numbers(vectors: Any, indices: Any) -> Any:
    return [["x"] * len(vector) for vector in vectors], indices


def nothing_in_them(vectors: Any, indices: Any) -> Any:
    return [None for _ in vectors], indices


@pytest.mark.parametrize(
    "change", [drop_one, one_nan, one_short, all_short, no_numbers, nothing_in_them]
)
def test_unusable_answers_are_errors(provider: Any, kit: Any, change: Any) -> None:
    provider.server.script = [kit.Reply(change=change)]
    with pytest.raises(EmbeddingError) as caught:
        provider.embedder(dimensions=kit.WIDTH).embed(["a", "b", "c"])
    assert type(caught.value) is EmbeddingError
    assert len(provider.server.requests) == 1


@pytest.mark.parametrize(
    "raw", [b"", b"{", b"<html>hello</html>", b"null", b"[]", b"{}", b'{"data": 7}', b"\xff\xfe"]
)
def test_answers_in_another_format_are_errors(provider: Any, kit: Any, raw: bytes) -> None:
    provider.server.script = [kit.Reply(raw=raw)]
    with pytest.raises(EmbeddingError) as caught:
        provider.embedder().embed(["a"])
    assert caught.value.__context__ is None
    assert len(provider.server.requests) == 1


def test_a_width_that_changes_between_requests_is_an_error(provider: Any, kit: Any) -> None:
    embedder = provider.embedder()
    embedder.embed(["a"])
    provider.server.script = [kit.Reply(change=all_short)]
    with pytest.raises(EmbeddingError, match="width 7 in place of 8"):
        embedder.embed(["b"])


@pytest.mark.parametrize("provider", ["openai", "voyage"], indirect=True)
def test_answers_out_of_order_are_put_in_order(provider: Any, kit: Any) -> None:
    provider.server.script = [kit.Reply(change=lambda v, i: (v[::-1], i[::-1]))]
    texts = ["a", "b", "c"]
    np.testing.assert_allclose(provider.embedder().embed(texts), kit.unit_rows_of(texts), atol=1e-6)


@pytest.mark.parametrize("provider", ["openai", "voyage"], indirect=True)
def test_vectors_with_the_same_number_are_an_error(provider: Any, kit: Any) -> None:
    provider.server.script = [kit.Reply(change=lambda v, i: (v, [0] * len(i)))]
    with pytest.raises(EmbeddingError, match="not numbered"):
        provider.embedder().embed(["a", "b"])


def test_many_threads_may_share_one(provider: Any, kit: Any) -> None:
    embedder = provider.embedder(batch_size=2)
    results: dict[int, Any] = {}

    def work(number: int) -> None:
        results[number] = embedder.embed([f"{number} {n}" for n in range(4)])

    threads = [threading.Thread(target=work, args=(number,)) for number in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for number in range(8):
        expected = kit.unit_rows_of([f"{number} {n}" for n in range(4)])
        np.testing.assert_allclose(results[number], expected, atol=1e-6)


def test_a_closed_one_says_so(provider: Any) -> None:
    embedder = provider.embedder()
    embedder.close()
    embedder.close()
    with pytest.raises(EmbeddingError, match="closed"):
        embedder.embed(["a"])


def test_repr_names_the_model_and_not_the_key(provider: Any, kit: Any) -> None:
    shown = repr(provider.embedder())
    assert provider.name in shown
    assert "test-model" in shown
    assert kit.KEY not in shown


@pytest.mark.parametrize(
    "setting",
    [
        {"timeout_s": 0},
        {"timeout_s": float("nan")},
        {"timeout_s": float("inf")},
        {"max_retries": -1},
        {"batch_size": 0},
        {"dimensions": 0},
    ],
)
def test_settings_out_of_range_are_named(provider: Any, setting: dict[str, Any]) -> None:
    with pytest.raises(InvalidArgumentError, match=next(iter(setting))):
        provider.embedder(**setting)


@pytest.mark.parametrize(
    ("embedder", "variable"),
    [(OpenAIEmbedder, "OPENAI_API_KEY"), (VoyageEmbedder, "VOYAGE_API_KEY")],
)
def test_a_missing_key_names_variable_and_argument(
    embedder: Any, variable: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv(variable, raising=False)
    with pytest.raises(EmbedderConfigurationError, match=rf"{variable}.*api_key="):
        embedder("m")
    monkeypatch.setenv(variable, " \n")
    with pytest.raises(EmbedderConfigurationError, match="no API key"):
        embedder("m")
    monkeypatch.setenv(variable, "a\nb-secret")
    with pytest.raises(EmbedderConfigurationError, match="characters") as caught:
        embedder("m")
    assert "secret" not in str(caught.value)


@pytest.mark.parametrize(
    ("embedder", "module"),
    [(OpenAIEmbedder, "openai"), (VoyageEmbedder, "voyageai"), (OllamaEmbedder, "ollama")],
)
def test_a_missing_extra_is_named(
    embedder: Any, module: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    extra = module.removesuffix("ai") if module == "voyageai" else module
    with pytest.raises(EmbedderConfigurationError) as caught:
        embedder("m")
    assert f'pip install "prismresonance[{extra}]"' in str(caught.value)


def test_well_known_models_have_a_known_width() -> None:
    assert OpenAIEmbedder("text-embedding-3-small", api_key="k").dim == 1536
    assert OpenAIEmbedder("text-embedding-3-large", api_key="k", dimensions=256).dim == 256
    assert VoyageEmbedder("voyage-3.5", api_key="k").dim == 1024


def test_an_openai_client_made_elsewhere_keeps_its_address_and_loses_its_retries(
    server: Any, kit: Any
) -> None:
    import openai

    with openai.OpenAI(api_key="other", base_url=f"{server.url}/v1", max_retries=9) as client:
        with OpenAIEmbedder("m", client=client) as embedder:
            embedder.embed(["a"])
        assert server.requests[0].key == "other"
        server.script = [kit.Reply(500)]
        with pytest.raises(TransientEmbeddingError):
            OpenAIEmbedder("m", client=client, max_retries=0).embed(["a"])
        assert len(server.requests) == 2
        assert client.max_retries == 9


def test_an_empty_account_is_not_asked_again(server: Any, kit: Any) -> None:
    body = json.dumps({"error": {"message": "m", "code": "insufficient_quota"}}).encode()
    server.script = [kit.Reply(429, raw=body)]
    embedder = OpenAIEmbedder("m", api_key="k", base_url=f"{server.url}/v1")
    with embedder, pytest.raises(EmbeddingError, match="quota") as caught:
        embedder.embed(["a"])
    assert not isinstance(caught.value, TransientEmbeddingError)
    assert len(server.requests) == 1


def test_voyage_input_type_is_sent_and_named(server: Any, kit: Any) -> None:
    embedder = VoyageEmbedder("m", api_key="k", base_url=f"{server.url}/v1", input_type="query")
    embedder.embed(["a"])
    assert server.requests[0].body["input_type"] == "query"
    assert embedder.model_id == "voyage/m+query"


def test_ollama_names_the_tag_and_the_command_for_a_missing_model(server: Any, kit: Any) -> None:
    assert OllamaEmbedder("nomic").model_id == "ollama/nomic:latest"
    assert OllamaEmbedder("hub.example:5000/a/nomic").model_id.endswith("/nomic:latest")
    assert OllamaEmbedder("nomic:v1.5").model_id == "ollama/nomic:v1.5"
    server.script = [kit.Reply(404)]
    embedder = OllamaEmbedder("nomic", host=server.url)
    with embedder, pytest.raises(EmbedderConfigurationError, match="ollama pull nomic"):
        embedder.embed(["a"])


def test_ollama_sends_further_headers(server: Any, kit: Any) -> None:
    headers = {"Authorization": "Bearer x"}
    with OllamaEmbedder("m", host=server.url, headers=headers) as embedder:
        embedder.embed(["a"])
    assert server.requests[0].key == "x"
