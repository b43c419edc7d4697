"""What watches report: joins, leaves and elections. Plain data, no driver code."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

__all__ = ["Event", "EventCallback", "LeaderElected", "MemberJoinedGroup", "MemberLeftGroup"]


@dataclass(frozen=True)
class Event:
    """Something happened to ``member_id`` in ``group_id``."""

    group_id: bytes
    member_id: bytes


@dataclass(frozen=True)
class MemberJoinedGroup(Event):
    """A member joined the group."""


@dataclass(frozen=True)
class MemberLeftGroup(Event):
    """A member left the group, was removed from it, or died."""


@dataclass(frozen=True)
class LeaderElected(Event):
    """This coordinator was elected leader of the group; once for each term."""


EventCallback = Callable[[Any], object]
