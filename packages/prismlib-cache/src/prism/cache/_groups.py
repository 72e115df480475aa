"""Which stored entries have one answer, in however many wordings.

An entry begins as a group of its own. When its answer is compared, it joins the groups that it says
the same as: not one member but most of a sample must agree, so that one mistaken likeness does not
fuse two answers for good. Groups are named by the key of the entry that founded them, so they mean
the same in every process and after a restart.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from itertools import islice
from typing import Generic, Protocol, TypeVar

__all__ = ["Groups"]

# Members that are asked. More cost more comparisons; with three wordings drawn at random five see
# most of them.
_SAMPLE = 5


class _Grouped(Protocol):
    key: bytes
    group: bytes


Member = TypeVar("Member", bound=_Grouped)


class Groups(Generic[Member]):
    """The groups of one shelf. Not safe for threads; readers look at an entry's `group` alone."""

    def __init__(self) -> None:
        self._members: dict[bytes, dict[bytes, Member]] = {}

    def add(self, entry: Member) -> None:
        """Take in an entry under the group it names."""
        self._members.setdefault(entry.group, {})[entry.key] = entry

    def discard(self, entry: Member) -> None:
        """Forget an entry; an unknown one too."""
        members = self._members.get(entry.group)
        if members is not None and members.get(entry.key) is entry:
            del members[entry.key]
            if not members:
                del self._members[entry.group]

    def agrees(self, group: Member, says_the_same: Callable[[Member], bool]) -> bool:
        """Tell whether most of a sample of an entry's group say the same as something."""
        members = self._members.get(group.group, {group.key: group}).values()
        sample = [group, *islice((other for other in members if other is not group), _SAMPLE - 1)]
        needed = (len(sample) + 1) // 2
        agreeing = 0
        for left, member in zip(range(len(sample), 0, -1), sample, strict=True):
            if agreeing + left < needed:
                return False
            agreeing += says_the_same(member)
            if agreeing >= needed:
                return True
        return False

    def join(self, entries: Iterable[Member]) -> list[Member]:
        """Make one group of these entries' groups: the largest takes the others in.

        Returns:
            The entries whose group changed.
        """
        named = {entry.group: entry for entry in entries}
        groups = [self._members.get(name, {e.key: e}) for name, e in named.items()]
        largest = max(groups, key=len)
        name = next(iter(largest.values())).group
        moved = []
        for members in groups:
            if members is not largest:
                moved += list(members.values())
        for entry in [*moved, *largest.values()]:
            if entry.group != name:
                self._members.pop(entry.group, None)
                entry.group = name
            self.add(entry)
        return moved
