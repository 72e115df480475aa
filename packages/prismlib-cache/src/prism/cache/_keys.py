"""What stands for a question in stores and tables."""

from __future__ import annotations

import hashlib

from prism.cache._language.words import normalise
from prism.cache._scope import Scope, encoded

__all__ = ["question_key", "vouched_key"]


def question_key(scope: Scope, question: str) -> bytes:
    """32 bytes that stand for one question in its scope, whatever its case and spacing."""
    return hashlib.sha256(scope.key + encoded(normalise(question))).digest()


def vouched_key(scope: Scope, question: str) -> bytes:
    """32 bytes for what a caller put under a question that an admission rule refuses.

    Another key than the question's own: what was stored there under other rules stays unseen.
    """
    return hashlib.sha256(b"vouched" + scope.key + encoded(normalise(question))).digest()
