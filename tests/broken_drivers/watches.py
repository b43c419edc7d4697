"""Events: never reported, reported twice, or of what did not happen."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import ClassVar
from urllib.parse import SplitResult

from conformance.drivers.file import FileDriver
from conformance.drivers.local import LocalOptions
from conformance.events import LeaderElected
from conformance.watching import Watches

from .broken import meant_for

View = Mapping[bytes, int]

_ONCE = "test_every_lasting_change_is_reported_once"


class _Watching(FileDriver):
    """A driver that keeps its watches in another way."""

    watches: ClassVar[type[Watches]]

    def __init__(self, member_id: bytes, url: SplitResult, options: LocalOptions) -> None:
        super().__init__(member_id, url, options)
        self._watches = self.watches()


class _RepeatingWatches(Watches):
    """Watches that make everything due twice."""

    def compare(self, group_id: bytes, now: View) -> None:
        known = len(self._due)
        super().compare(group_id, now)
        self._due.extend(list(self._due)[known:])


@meant_for({_ONCE: "watches"})
class ReportsTwice(_Watching):
    """Reports every event twice: drivers that add a watch again after each that fired."""

    watches = _RepeatingWatches


class _AccumulatingWatches(Watches):
    """Watches for which who was there once is there for ever."""

    def __init__(self) -> None:
        super().__init__()
        self._seen: dict[bytes, dict[bytes, int]] = {}

    def compare(self, group_id: bytes, now: View) -> None:
        seen = self._seen.setdefault(group_id, {})
        seen.update(now)
        super().compare(group_id, dict(seen))


@meant_for({_ONCE: "watches"})
class ForgetsLeaves(_Watching):
    """Reports joins only: drivers that look for what is new and not for what is gone."""

    watches = _AccumulatingWatches


class _DistractedWatches(Watches):
    """Watches that look once to compare and once more to remember."""

    def __init__(self, look: Callable[[bytes], View]) -> None:
        super().__init__()
        self._look = look

    def compare(self, group_id: bytes, now: View) -> None:
        super().compare(group_id, now)
        remembered = self._look(group_id)
        for watch in self._watches:
            if watch.group_id == group_id and watch.kind is not LeaderElected:
                watch.view = remembered


@meant_for({"test_looking_while_members_come_and_go_is_consistent": "watches"})
class LooksTwice(FileDriver):
    """Reads the members again after it compared them, and misses what came in between."""

    def __init__(self, member_id: bytes, url: SplitResult, options: LocalOptions) -> None:
        super().__init__(member_id, url, options)
        self._watches = _DistractedWatches(self._view)


@meant_for({_ONCE: "watches"})
class ReportsTheNeighbours(FileDriver):
    """Reports what happens in every group whose name begins so, as watches on a prefix do."""

    def _view(self, group_id: bytes) -> dict[bytes, int]:
        seen: dict[bytes, int] = {}
        for other in self._get_groups():
            if other.startswith(group_id):
                seen |= super()._view(other)
        return seen


@meant_for({_ONCE: "watches"})
class SleepsThroughRejoining(FileDriver):
    """Compares names only, as upstream's polling does, and misses who left and came back."""

    def _view(self, group_id: bytes) -> dict[bytes, int]:
        return dict.fromkeys(super()._view(group_id), 0)


@meant_for({"test_an_election_is_reported_once_to_the_elected": "watches"})
class ElectedAtEveryLook(FileDriver):
    """Reports an election whenever it finds that it leads, as upstream's drivers do."""

    def _campaign(self, group_id: bytes) -> object | None:
        return None if super()._campaign(group_id) is None else object()
