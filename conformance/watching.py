"""Who watches what, what they know, and which events are due. No driver code."""

from __future__ import annotations

import threading
from collections import deque
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any

from conformance.errors import WatchCallbackNotFound
from conformance.events import (
    Event,
    EventCallback,
    LeaderElected,
    MemberJoinedGroup,
    MemberLeftGroup,
)

__all__ = ["Watches"]

View = Mapping[bytes, int]
"""The members of a group as one reading found them: name -> incarnation."""


@dataclass
class _Watch:
    kind: type[Event]
    group_id: bytes
    callback: EventCallback
    view: View

    def missed(self, now: View) -> list[tuple[int, Event]]:
        """Return what this watch has not reported yet, each with its incarnation."""
        if self.kind is MemberJoinedGroup:
            return _gone(now, self.view, MemberJoinedGroup, self.group_id)
        return _gone(self.view, now, MemberLeftGroup, self.group_id)


class Watches:
    """The watches of one coordinator; all methods may be called from any thread."""

    def __init__(self) -> None:
        self.turn = threading.RLock()
        """Held while events are found and delivered, so that they keep their order."""
        self._lock = threading.Lock()
        self._watches: list[_Watch] = []
        self._due: deque[tuple[EventCallback, Event]] = deque()

    def watch(
        self, kind: type[Event], group_id: bytes, callback: EventCallback, view: View
    ) -> None:
        """Report events of this kind that happen after ``view`` was read."""
        with self._lock:
            self._watches.append(_Watch(kind, group_id, callback, view))

    def unwatch(self, kind: type[Event], group_id: bytes, callback: EventCallback) -> None:
        """Remove one watch; raise WatchCallbackNotFound when there is none."""
        with self._lock:
            for watch in self._watches:
                if (watch.kind, watch.group_id, watch.callback) == (kind, group_id, callback):
                    self._watches.remove(watch)
                    return
        raise WatchCallbackNotFound(group_id, callback)

    def groups(self) -> list[bytes]:
        """Return the groups whose members are watched, sorted."""
        return self._named(MemberJoinedGroup, MemberLeftGroup)

    def elections(self) -> list[bytes]:
        """Return the groups in which the coordinator stands for election, sorted."""
        return self._named(LeaderElected)

    def compare(self, group_id: bytes, now: View) -> None:
        """Make due what changed in a group: leaves, then joins, in the order of joining."""
        with self._lock:
            found: list[tuple[bool, int, EventCallback, Event]] = []
            for watch in self._watches:
                if watch.group_id == group_id and watch.kind is not LeaderElected:
                    joining = watch.kind is MemberJoinedGroup
                    found += [(joining, n, watch.callback, e) for n, e in watch.missed(now)]
                    watch.view = now
            found.sort(key=lambda item: item[:2])
            self._due.extend((callback, event) for _, _, callback, event in found)

    def add(self, elected: LeaderElected) -> None:
        """Make an election due."""
        with self._lock:
            self._due.extend(
                (watch.callback, elected)
                for watch in self._watches
                if watch.kind is LeaderElected and watch.group_id == elected.group_id
            )

    def forget_elections(self) -> None:
        """Have no election due any more: its term has ended."""
        with self._lock:
            self._due = deque(
                (callback, event)
                for callback, event in self._due
                if not isinstance(event, LeaderElected)
            )

    def deliver(self, going_on: Callable[[], bool]) -> list[Any]:
        """Call the callbacks that are due, each once; return what they returned.

        An error of one keeps no other from being called; it is raised afterwards, or an
        ExceptionGroup of all of them.

        :param going_on: says before each whether to call it; the rest stays due
        """
        results: list[Any] = []
        errors: list[Exception] = []
        while True:
            with self._lock:
                if not self._due or not going_on():
                    break
                callback, event = self._due.popleft()
            try:
                results.append(callback(event))
            except Exception as error:
                errors.append(error)
        if len(errors) == 1:
            raise errors[0]
        if errors:
            raise ExceptionGroup("several callbacks of watches failed", errors)
        return results

    def _named(self, *kinds: type[Event]) -> list[bytes]:
        with self._lock:
            return sorted({watch.group_id for watch in self._watches if watch.kind in kinds})


def _gone(before: View, after: View, kind: type[Event], group_id: bytes) -> list[tuple[int, Event]]:
    """Return an event for each stay in ``before`` that is not in ``after``."""
    return [
        (incarnation, kind(group_id, member_id))
        for member_id, incarnation in before.items()
        if after.get(member_id) != incarnation
    ]
