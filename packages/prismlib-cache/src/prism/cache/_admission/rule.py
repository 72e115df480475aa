"""A rule that holds questions back, and the gate that asks all of them."""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Literal, TypeAlias

from prism.cache.errors import CacheConfigurationError

if TYPE_CHECKING:
    from prism.cache._scope import Scope

__all__ = ["AdmissionRule", "Gate", "ScopePart"]

ScopePart: TypeAlias = Literal["user", "history", "context", "tools", "parameters", "system_prompt"]
_PARTS = ("user", "history", "context", "tools", "parameters", "system_prompt")


@dataclass(frozen=True, slots=True, kw_only=True)
class AdmissionRule:
    """One kind of question that the cache keeps its hands off, and why.

    Attributes:
        name: Short name, used in metrics and explanations.
        reason: Why, in words for the person who reads `explain`.
        matches: Which questions: a regular expression that is searched in the text, whatever its
            case, or a function of the text. A function that raises counts as matching, and in
            `cache_errors`.
        allows: What is left: `nothing`, so that the model is called each time and its answer is
            not stored; or `exact`, so that only the very same text is answered from the cache.
        unless_with: A part of the scope that makes these questions safe: with it the rule is idle.
        only_with: A part of the scope without which these questions are harmless: the rule is idle
            unless the scope has it.

    Raises:
        CacheConfigurationError: An attribute makes no sense; the message names it.
    """

    name: str
    reason: str
    matches: str | Callable[[str], bool]
    allows: Literal["nothing", "exact"] = "nothing"
    unless_with: ScopePart | None = None
    only_with: ScopePart | None = None
    _finds: Callable[[str], object] = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        for name in ("name", "reason"):
            value = getattr(self, name)
            if not isinstance(value, str) or not value.strip():
                raise CacheConfigurationError(f"{name} of an admission rule must be a text")
        if self.allows not in ("nothing", "exact"):
            raise CacheConfigurationError(
                f"allows of rule {self.name!r} must be 'nothing' or 'exact', not {self.allows!r}"
            )
        for name in ("unless_with", "only_with"):
            part = getattr(self, name)
            if part is not None and part not in _PARTS:
                raise CacheConfigurationError(
                    f"{name} of rule {self.name!r} must be one of {', '.join(_PARTS)}, not {part!r}"
                )
        finds = self.matches
        if isinstance(finds, str):
            try:
                finds = re.compile(finds, re.IGNORECASE).search  # type: ignore[assignment]  # truth
            except re.error as error:
                raise CacheConfigurationError(
                    f"matches of rule {self.name!r} is no regular expression: {error}"
                ) from None
        elif not callable(finds):
            raise CacheConfigurationError(
                f"matches of rule {self.name!r} must be a regular expression or a function, not a "
                f"{type(finds).__name__}"
            )
        object.__setattr__(self, "_finds", finds)

    def holds(self, question: str, scope: Scope) -> bool:
        """Tell whether the rule holds this question back in this scope."""
        if self.unless_with is not None and getattr(scope, self.unless_with):
            return False
        if self.only_with is not None and not getattr(scope, self.only_with):
            return False
        return bool(self._finds(question))


class Gate:
    """Asks rules about questions. Safe for threads.

    Args:
        rules: In the order in which they are asked.
    """

    def __init__(self, rules: Iterable[AdmissionRule]) -> None:
        # The first that refuses decides; one that leaves the exact tier only if none refuses.
        self._rules = tuple(sorted(rules, key=lambda rule: rule.allows != "nothing"))

    def holding(
        self, question: str, scope: Scope, *, failed: Callable[[Exception], object]
    ) -> AdmissionRule | None:
        """Give the rule that holds this question back in this scope, if any.

        Args:
            question: What is asked.
            scope: In which scope.
            failed: Told of what a rule raised; the rule counts as holding then.
        """
        for rule in self._rules:
            try:
                if rule.holds(question, scope):
                    return rule
            except Exception as error:  # noqa: BLE001  the users' own functions may raise anything
                failed(error)
                return rule
        return None


def check_rules(rules: object) -> tuple[AdmissionRule, ...]:
    """Make rules a tuple; `None` is no rules.

    Raises:
        CacheConfigurationError: One of them is no rule, or two have one name.
    """
    if rules is None:
        return ()
    given = tuple(rules) if isinstance(rules, Iterable) and not isinstance(rules, str) else (rules,)
    for rule in given:
        if not isinstance(rule, AdmissionRule):
            raise CacheConfigurationError(
                f"admission must be a list of AdmissionRule, or None for no rules; it holds a "
                f"{type(rule).__name__}"
            )
    names = [rule.name for rule in given]
    if twice := {name for name in names if names.count(name) > 1}:
        raise CacheConfigurationError(
            f"two admission rules are named {min(twice)!r}: leave the one to be replaced out"
        )
    return given
