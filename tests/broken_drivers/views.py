"""Views of the groups that are old, mixed or never were: what each order forbids."""

from __future__ import annotations

import contextlib
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Mapping

from conformance.coordination import Deadline, Member, MemberAlreadyExist, MemberNotJoined
from conformance.drivers import registry
from conformance.drivers.file import FileDriver
from conformance.drivers.local import LocalLock, _now
from conformance.drivers.medium import Medium
from conformance.drivers.registry import Registry
from conformance.drivers.session import Session

from .broken import THREADS, WINDOW, meant_for

_LINEARIZABLE = "test_every_operation_takes_effect_between_call_and_return"
_SEQUENTIAL = "test_one_order_keeps_each_clients_own"
_CAUSAL = "test_no_client_sees_an_effect_before_its_cause"
_EXPLAINED = "test_groups_are_explained"

_FRESH_SECONDS = 0.01
"""For how long a view is shown again."""

_ROUND_TRIP = 0.005
"""Seconds that it takes to read one member."""

Concerned = Callable[[Registry], Iterable[str]]
Change = Callable[[Registry], Registry]


def _nobody(seen: Registry) -> Iterable[str]:
    return ()


class _KeepingSession(Session):
    """A session that reads the registry once, and shows that view until told to forget."""

    def __init__(self, medium: Medium, timeout: float) -> None:
        self._keeping = threading.RLock()
        self._kept: Registry | None = None
        super().__init__(medium, timeout)

    def read(self, concerned: Concerned = _nobody) -> Registry:
        with self._keeping:
            if self._kept is None:
                self._kept = super().read()
            concerned(self._kept)  # it raises where there is no such group
            return self._kept

    def step(self, change: Change) -> tuple[Registry, Registry]:
        try:
            return super().step(change)
        finally:
            self.forget()

    def forget(self) -> None:
        with self._keeping:
            self._kept = None


class _RefreshingLock(LocalLock):
    """A lock after whose every call the view of the groups is read anew."""

    @contextlib.contextmanager
    def _refreshing(self) -> Iterator[None]:
        try:
            yield
        finally:
            session = self._coordinator._session
            if isinstance(session, _KeepingSession):
                session.forget()

    def _acquire(self, deadline: Deadline, shared: bool) -> bool:
        with self._refreshing():
            return super()._acquire(deadline, shared)

    def release(self) -> bool:
        with self._refreshing():
            return super().release()

    def _is_held(self) -> bool:
        with self._refreshing():
            return super()._is_held()


@meant_for({_LINEARIZABLE: "LINEARIZABLE"}, spares=(_SEQUENTIAL,))
class SeesOthersLate(FileDriver):
    """Shows what others wrote when it next writes itself, as a ZooKeeper follower may.

    One order explains it, but not in real time.
    """

    def _start(self) -> None:
        self._session = _KeepingSession(self._medium(), self._timeout)

    def _make_lock(self, name: bytes) -> LocalLock:
        return _RefreshingLock(name, self)


class _AlternatingSession(Session):
    """A session whose every third view is older than the one before it.

    The newer one takes a while to come, so that others write in between.
    """

    def __init__(self, medium: Medium, timeout: float) -> None:
        self._looking = threading.Lock()
        self._views: list[Registry] = []
        super().__init__(medium, timeout)

    def read(self, concerned: Concerned = _nobody) -> Registry:
        with self._looking:
            if len(self._views) < 2:
                if self._views:
                    time.sleep(WINDOW)
                self._views.append(super().read())
                seen = self._views[-1]
            else:
                seen, self._views = self._views[0], []
        concerned(seen)
        return seen

    def step(self, change: Change) -> tuple[Registry, Registry]:
        try:
            return super().step(change)
        finally:
            with self._looking:
                self._views = []


@meant_for({_SEQUENTIAL: "SEQUENTIAL"})
class GoesBackInTime(FileDriver):
    """Asks one server.

    Then another that is behind, as clients of replicas do that spread their reads; what a
    client wrote itself it sees.
    """

    def _start(self) -> None:
        self._session = _AlternatingSession(self._medium(), self._timeout)


class _CachingSession(Session):
    """A session that shows a view again for a while, whatever was written meanwhile."""

    def __init__(self, medium: Medium, timeout: float) -> None:
        self._view: tuple[float, Registry] | None = None
        super().__init__(medium, timeout)

    def read(self, concerned: Concerned = _nobody) -> Registry:
        now = time.monotonic()
        if self._view is None or now > self._view[0] + _FRESH_SECONDS:
            self._view = now, super().read()
        seen = self._view[1]
        concerned(seen)
        return seen


class _Caches(FileDriver):
    """A driver with views from a cache that its own writes do not pass."""

    def _start(self) -> None:
        self._session = _CachingSession(self._medium(), self._timeout)


@meant_for({_CAUSAL: "CAUSAL"})
class MissesItsOwnWrites(_Caches):
    """Writes to one server and reads from another that is behind.

    As memcached's and Redis' replicas let it.
    """


@meant_for({_EXPLAINED: THREADS})
class ShowsOldViews(_Caches):
    """Keeps the members of a group in a cache, as upstream's watches do between two runs."""


@meant_for({_EXPLAINED: THREADS})
class ShowsWhatWillBeUndone(FileDriver):
    """Stores a member first and takes it back when it was there already.

    What is read in between never was (a dirty read).
    """

    def _join_group(self, group_id: bytes, capabilities: bytes) -> None:
        session = self.session

        def put(before: Registry) -> Registry:
            there = registry.stays(before, group_id)
            others = {m: stay for m, stay in there.items() if m != self._member_id}
            cleared = registry._with_group(before, group_id, others)
            return registry.join(
                cleared, group_id, self._member_id, session.token, capabilities, _now()
            )

        before, _ = session.step(put)
        found = before.groups[group_id].get(self._member_id)
        if found is None:
            return
        time.sleep(WINDOW)

        def undo(now: Registry) -> Registry:
            there = {**registry.stays(now, group_id), self._member_id: found}
            return registry._with_group(now, group_id, there)

        session.step(undo)
        raise MemberAlreadyExist(group_id, self._member_id)


@meant_for({_LINEARIZABLE: "LINEARIZABLE"})
class MixesTwoMoments(FileDriver):
    """Reads the members one after the other, as drivers do that keep a key for each."""

    def _get_members(self, group_id: bytes) -> Mapping[bytes, Member]:
        members = {}
        for member_id in super()._get_members(group_id):
            with contextlib.suppress(MemberNotJoined):
                members[member_id] = super()._get_member(group_id, member_id)
            time.sleep(_ROUND_TRIP)
        return members
