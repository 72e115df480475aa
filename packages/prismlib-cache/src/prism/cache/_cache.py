"""The public face: build a cache, remove from it, read its metrics, close it."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterable
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Self

from prism.cache._admission.defaults import ADMISSION_RULES
from prism.cache._admission.rule import AdmissionRule, check_rules
from prism.cache._metrics import CacheMetrics
from prism.cache._scope import Scope
from prism.cache._scoped import ScopedCache
from prism.cache._settings import CacheSettings
from prism.cache.errors import CacheConfigurationError

if TYPE_CHECKING:
    from prism.cache._judging import Judge
    from prism.cache.store import Store
    from prismresonance.embed import Embedder

__all__ = ["PrismCache"]


class PrismCache(ScopedCache):
    """A semantic LLM cache for one tenant. Make it with `build`.

    Safe for threads and for tasks of any event loop. Usable as a context manager, sync and async.
    """

    @classmethod
    def build(
        cls,
        tenant_id: str,
        llm_model: str,
        *,
        max_error: float = 0.01,
        judge: Judge | None = None,
        learn: bool = True,
        shadow: float = 0.015,
        similarity_threshold: float | None = None,
        strict: bool = False,
        path: str | os.PathLike[str] | None = None,
        store: Store | None = None,
        ttl_s: float | None = None,
        max_bytes: int = 256 * 2**20,
        max_entries: int = 100_000,
        admission: Iterable[AdmissionRule] | None = ADMISSION_RULES,
        wait_timeout_s: float = 60.0,
        embedder: Embedder | None = None,
        clock: Callable[[], float] = time.time,
    ) -> Self:
        """Build a cache; with a `path`, filled with what it held before.

        The first build in a process loads the rest of the package and the default embedding model
        (under half a second); later ones share them.

        Args:
            tenant_id: Whose cache it is.
            llm_model: The model that answers, by its provider's name.
            max_error: See `CacheSettings`, as for all arguments that are not listed here.
            judge: Tells whether two answers say the same, in place of the cache's own comparison:
                `judge(question_a, answer_a, question_b, answer_b)` gives `True`, `False` or `None`
                for "cannot tell", and may be async. It is asked once for each miss that had a
                candidate and each check, beside the caller; where it fails nothing is learned.
            learn: See `CacheSettings`.
            shadow: Likewise.
            similarity_threshold: Likewise.
            strict: Likewise.
            path: Likewise.
            store: Another durable store than a file; excludes `path`. The caller closes it.
            ttl_s: See `CacheSettings`.
            max_bytes: Likewise.
            max_entries: Likewise.
            admission: Rules for what is not cached; `None` or `()` for no rules. To change the
                default, leave rules of `ADMISSION_RULES` out or add some of your own.
            wait_timeout_s: Likewise.
            embedder: What turns questions into vectors; all-MiniLM-L6-v2 int8 if `None`.
            clock: Seconds since the epoch; for tests.

        Raises:
            CacheConfigurationError: An argument makes no sense; the message names it.
            StoreFileError: The file is damaged, not ours, or of a newer version.
            StoreError: The store could not be read.
            EmbedderConfigurationError: The default embedder cannot be loaded.
        """
        settings = CacheSettings(
            tenant_id=tenant_id,
            llm_model=llm_model,
            max_error=max_error,
            learn=learn,
            shadow=shadow,
            similarity_threshold=similarity_threshold,
            strict=strict,
            path=path,
            ttl_s=ttl_s,
            max_bytes=max_bytes,
            max_entries=max_entries,
            admission=check_rules(admission),
            wait_timeout_s=wait_timeout_s,
        )
        if judge is not None and not callable(judge):
            raise CacheConfigurationError(f"judge must be callable, not a {type(judge).__name__}")
        if path is not None and store is not None:
            raise CacheConfigurationError("path and store exclude each other: give one of them")
        # The first cache loads what asking needs: the import of the package stays light.
        from prism.cache._engine import Engine
        from prism.cache.store import SQLiteStore
        from prismresonance.embed import MiniLMEmbedder

        own_store = SQLiteStore(Path(path)) if path is not None else None
        try:
            engine = Engine(
                settings,
                embedder=embedder if embedder is not None else MiniLMEmbedder(),
                store=store if own_store is None else own_store,
                owned_store=own_store,
                judge=judge,
                clock=clock,
            )
        except BaseException:
            if own_store is not None:
                own_store.close()
            raise
        return cls(engine, Scope(tenant_id=tenant_id, model=llm_model))

    def invalidate(
        self, *, query: str | None = None, tag: str | None = None, everything: bool = False
    ) -> int:
        """Remove answers, with their vectors, from memory and store.

        Answers that are being fetched while this runs are not stored either, if they match.

        Args:
            query: The answer to this very text in the cache's own scope; other wordings stay.
            tag: All answers with this label, in every scope of the tenant.
            everything: All answers of the tenant.

        Returns:
            How many were removed.

        Raises:
            CacheConfigurationError: Not exactly one of the three was given.
            StoreError: They are gone from memory and will not come back here; the store could not
                be told, and is told again at the next occasion.
            CacheClosedError: The cache was closed.
        """
        if (query is not None) + (tag is not None) + everything != 1:
            raise CacheConfigurationError("give exactly one of query, tag and everything=True")
        if query is not None:
            return int(self._engine.remove_text(self._scope, query))
        if tag is not None:
            return self._engine.remove(lambda entry: tag in entry.tags)
        return self._engine.remove(lambda _: True)

    def metrics(self) -> CacheMetrics:
        """Freeze the counters.

        Prices what was saved since the last call, at the dates of the hits; the first time that
        takes the tenth of a second in which the price table is loaded.
        """
        return self._engine.metrics()

    def settle(self, timeout_s: float = 10.0) -> bool:
        """Wait until the cache has learned from all that was asked so far.

        Nobody needs to: it is for tests, and for batch jobs that want their next questions decided
        by what the last ones taught. Checks on an event loop are not waited for.

        Returns:
            Whether it has, within the time.
        """
        return self._engine.settle(timeout_s)

    def close(self) -> None:
        """Let go of entries and file. Closing twice does nothing; later questions raise."""
        self._engine.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *error: object) -> None:
        self.close()
