"""The rules a cache has unless it is given others."""

from __future__ import annotations

from collections.abc import Callable
from functools import cache
from importlib import import_module
from typing import cast

from prism.cache._admission.rule import AdmissionRule

__all__ = ["ADMISSION_RULES", "load_rules"]

_modules: set[str] = set()


def _late(module: str, name: str) -> Callable[[str], bool]:
    """Give a function of a module that is loaded with the first cache, not with the package."""
    _modules.add(f"prism.cache._admission.{module}")

    @cache
    def load() -> Callable[[str], bool]:
        found = getattr(import_module(f"prism.cache._admission.{module}"), name)
        return cast("Callable[[str], bool]", found)

    return lambda question: load()(question)


def load_rules() -> None:
    """Load what the rules need, before there are threads that ask.

    A child that is forked while another thread imports would wait for that import for ever.
    """
    for module in sorted(_modules):
        import_module(module)


ADMISSION_RULES: tuple[AdmissionRule, ...] = (
    AdmissionRule(
        name="action",
        reason="it asks for something to be done, and a stored answer would not do it",
        matches=_late("actions", "is_command"),
    ),
    AdmissionRule(
        name="wish",
        reason="it asks for something to be done, and the model has tools to do it with",
        matches=_late("actions", "is_wish_to_act"),
        only_with="tools",
    ),
    AdmissionRule(
        name="consent",
        reason="it agrees to what was offered, and the model has tools to do that with",
        matches=_late("follow_ups", "is_consent"),
        only_with="tools",
    ),
    AdmissionRule(
        name="freshness",
        reason="its answer depends on when it is asked",
        matches=_late("freshness", "is_about_now"),
    ),
    AdmissionRule(
        name="personal",
        reason="its answer depends on who asks, and the scope does not say who that is",
        matches=_late("personal", "is_about_own_state"),
        unless_with="user",
    ),
    AdmissionRule(
        name="follow-up",
        reason="it goes on with something said before, which is not in the scope",
        matches=_late("follow_ups", "is_follow_up"),
        unless_with="history",
    ),
    AdmissionRule(
        name="reference",
        reason="it does not say what it is about, and no history in the scope does: only the same "
        "text could hit",
        matches=_late("follow_ups", "has_open_reference"),
        allows="exact",
        unless_with="history",
    ),
    AdmissionRule(
        name="template",
        reason="it is a document or a filled-in template rather than a question, and what such "
        "texts share hides where they differ: only the same text could hit",
        matches=_late("reading", "is_template"),
        allows="exact",
    ),
)
"""What is not cached by default, in the order in which it is asked: actions, wishes and consent
where the model has tools, what changes with time, what depends on the user, what rests on an
earlier turn; and what hits only with the very same text: open references, templates and
documents."""
