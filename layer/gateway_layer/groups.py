"""Who of this process's connections is in which group, without I/O.

The owner of the connections carries out what the methods return. Redis holds only which processes
have members of a group (`{g:GROUP}`), each process its own members: a group send is one entry a
process, whatever the number of members. Membership belongs to the connection, not to the
application instance that joined it.
"""

import re
from collections.abc import Collection, Iterable
from typing import Final, Generic, TypeVar

Member = TypeVar("Member")

_GROUP = re.compile(r"[A-Za-z0-9_.-]{1,99}")

LINGER_S: Final = 5.0
"""A group whose last member left stays registered so long: members often come and go."""

ASSERT_EVERY_S: Final = 1200.0
"""Registrations expire after an hour; so often they are written again."""


def check_group(group: object) -> str:
    """Return a group's name.

    Raises:
        TypeError: Not 1 to 99 ASCII letters, digits, '-', '_' or '.'.
    """
    if group.__class__ is not str or not _GROUP.fullmatch(group):
        raise TypeError(f"group name {group!r:.120}: 1 to 99 ASCII letters, digits, '-', '_', '.'")
    return str(group)


class Memberships(Generic[Member]):
    """The groups of one process's connections."""

    def __init__(self) -> None:
        """Begin without members."""
        self._members: dict[str, dict[Member, None]] = {}
        self._groups: dict[Member, set[str]] = {}

    def add(self, group: str, member: Member) -> bool:
        """Let a connection join; joining twice is joining once.

        Returns:
            Whether it is the first here: the process must be registered for the group before
            the joining is confirmed.
        """
        members = self._members.get(group)
        first = members is None
        if members is None:
            members = self._members[group] = {}
        members[member] = None
        self._groups.setdefault(member, set()).add(group)
        return first

    def discard(self, group: str, member: Member) -> bool:
        """Let a connection leave; leaving twice, or what it never joined, is nothing.

        Returns:
            Whether it was the last here: the registration may go after LINGER_S.
        """
        members = self._members.get(group)
        if members is None or member not in members:
            return False
        del members[member]
        groups = self._groups[member]
        groups.discard(group)
        if not groups:
            del self._groups[member]
        if not members:
            del self._members[group]
            return True
        return False

    def leave_all(self, member: Member) -> list[str]:
        """A connection is over; return the groups that have nobody here any more."""
        return [group for group in self.of(member) if self.discard(group, member)]

    def members(self, group: str) -> Collection[Member]:
        """Return the connections in a group; not to be changed while it is iterated."""
        return self._members.get(group, {}).keys()

    def of(self, member: Member) -> list[str]:
        """Return the groups of one connection, sorted."""
        return sorted(self._groups.get(member, ()))

    def names(self) -> Iterable[str]:
        """Return the groups that have members here."""
        return list(self._members)
