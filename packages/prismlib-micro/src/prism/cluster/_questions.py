"""What tells questions apart across nodes: a digest of all that the answer rests on."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Sequence

__all__ = ["digest_of", "question_of", "tag_of"]

_TAG = "prism.question:"


def digest_of(tenant: str, llm_model: str, chunks: Sequence[str], query: str) -> str:
    """Name a question: the same on all nodes, and for the same words in other case or spacing."""
    words = " ".join(query.casefold().split())
    parts = json.dumps([tenant, llm_model, chunks, words])
    return hashlib.sha256(parts.encode("utf-8", "surrogatepass")).hexdigest()


def tag_of(question: str) -> str:
    """Give the tag under which the answer to a question is kept."""
    return _TAG + question


def question_of(tag: str) -> str | None:
    """Give the question of such a tag; `None` for tags of callers."""
    return tag[len(_TAG) :] if tag.startswith(_TAG) else None
