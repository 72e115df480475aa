"""The rules a cache has unless it is given others."""

from __future__ import annotations

from prism.cache._admission.actions import is_command, is_wish_to_act
from prism.cache._admission.follow_ups import has_open_reference, is_follow_up
from prism.cache._admission.freshness import is_about_now
from prism.cache._admission.personal import is_about_own_state
from prism.cache._admission.reading import LONG_TEXT, is_structured
from prism.cache._admission.rule import AdmissionRule

__all__ = ["ADMISSION_RULES"]


def _is_template(text: str) -> bool:
    return len(text) > LONG_TEXT or is_structured(text)


ADMISSION_RULES: tuple[AdmissionRule, ...] = (
    AdmissionRule(
        name="action",
        reason="it asks for something to be done, and a stored answer would not do it",
        matches=is_command,
    ),
    AdmissionRule(
        name="wish",
        reason="it asks for something to be done, and the model has tools to do it with",
        matches=is_wish_to_act,
        only_with="tools",
    ),
    AdmissionRule(
        name="freshness",
        reason="its answer depends on when it is asked",
        matches=is_about_now,
    ),
    AdmissionRule(
        name="personal",
        reason="its answer depends on who asks, and the scope does not say who that is",
        matches=is_about_own_state,
        unless_with="user",
    ),
    AdmissionRule(
        name="follow-up",
        reason="it goes on with something said before, which is not in the scope",
        matches=is_follow_up,
        unless_with="history",
    ),
    AdmissionRule(
        name="reference",
        reason="it does not say what it is about, and no history in the scope does: only the same "
        "text could hit",
        matches=has_open_reference,
        allows="exact",
        unless_with="history",
    ),
    AdmissionRule(
        name="template",
        reason="it is a document or a filled-in template rather than a question, and what such "
        "texts share hides where they differ: only the same text could hit",
        matches=_is_template,
        allows="exact",
    ),
)
"""What is not cached by default, in the order in which it is asked: actions, wishes where the model
has tools, what changes with time, what depends on the user, what rests on an earlier turn; and what
hits only with the very same text: open references, templates and documents."""
