"""The coordinator: what every driver's has in common, and what a driver implements.

A driver is a subclass of :class:`Coordinator` that implements the methods with a leading
underscore; arguments are checked, results made, watches run and foreign errors
translated here. Names and behaviour follow OpenStack tooz 9.1.0; where tooz leaves a
result or an error open, the docstrings here decide. No driver code belongs here.
"""

from __future__ import annotations

import abc
import contextlib
import logging
import math
import os
import threading
import time
import weakref
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent import futures
from contextlib import AbstractContextManager
from dataclasses import dataclass
from datetime import datetime
from functools import partial
from types import TracebackType
from typing import Any, ClassVar, Generic, TypeVar
from urllib.parse import SplitResult

import msgspec

from conformance import errors
from conformance.characteristics import Characteristics, Feature
from conformance.errors import (
    GroupAlreadyExist,
    GroupNotCreated,
    MemberNotJoined,
    OperationTimedOut,
    SerializationError,
    ToozConnectionError,
    ToozError,
)
from conformance.events import (
    Event,
    EventCallback,
    LeaderElected,
    MemberJoinedGroup,
    MemberLeftGroup,
)
from conformance.heart import Heart
from conformance.locking import Deadline, Lock
from conformance.watching import Watches

__all__ = [
    "Capabilities",
    "Coordinator",
    "CoordinatorResult",
    "DriverOptions",
    "Member",
    "check_name",
]

Capabilities = Any
"""None, bool, int, float, str, bytes, and lists and dicts of these."""

T = TypeVar("T")

_log = logging.getLogger(__name__)

_RECHECK_SECONDS = 0.25
"""How often a callback that starts or stops its coordinator looks whether another does."""


class DriverOptions(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """The options that a driver takes, from its URL or as keywords; keywords win.

    A driver declares its own subclass. Values are converted from text to the field's
    type, so ``?timeout=2.5`` and ``timeout=2.5`` are the same. Fields whose names end in
    ``password`` or ``token`` are secrets, which no representation shows.
    """

    def __repr__(self) -> str:
        shown = (n for n in self.__struct_fields__ if not n.endswith(("password", "token")))
        return f"{type(self).__name__}({', '.join(f'{n}={getattr(self, n)!r}' for n in shown)})"


@dataclass(frozen=True)
class Member:
    """A member of a group, as one read of the group found it.

    ``incarnation`` tells two stays of the same member apart: it changes whenever the
    member joins anew, and grows in the order of joining within a group.
    """

    member_id: bytes
    capabilities: bytes
    incarnation: int
    created_at: datetime
    updated_at: datetime


class CoordinatorResult(Generic[T]):
    """The result of a group or member call, which may still be under way."""

    def __init__(self, future: futures.Future[T], operation: str) -> None:
        self._future = future
        self._operation = operation

    def get(self, timeout: float | None = None) -> T:
        """Wait for the result and return it.

        :param timeout: seconds to wait at most; None waits as long as the driver does
        :raises OperationTimedOut: no result yet; the operation is not cancelled, and a
            later ``get()`` may still return its result
        :raises ToozError: the operation failed
        """
        if timeout is not None:
            if isinstance(timeout, bool) or not isinstance(timeout, int | float):
                raise TypeError(f"timeout takes seconds or None, not {type(timeout).__name__}")
            if not timeout >= 0:
                raise ValueError(f"timeout takes at least 0 seconds, not {timeout!r}")
        try:
            return self._future.result(timeout)
        except futures.CancelledError as error:
            raise ToozError(
                f"{self._operation} was given up: the coordinator was stopped"
            ) from error
        except futures.TimeoutError as error:
            raise OperationTimedOut(
                f"{self._operation} has no result after {timeout} seconds"
            ) from error

    def done(self) -> bool:
        """Whether ``get()`` would return, or raise the operation's error, at once."""
        return self._future.done()


class Coordinator(abc.ABC):
    """One member's connection to a backend.

    Made by :func:`get_coordinator`, used between :meth:`start` and :meth:`stop`, by any
    number of threads. Group and member calls of one coordinator take effect in the order
    in which they were made; one that waited all the while that another had no answer in
    time is not asked, and ends as that did. A process that was forked must make its own
    coordinators.

    :param member_id: under which name this coordinator joins groups and leads them
    :param url: the parsed URL, without its query
    :param options: the driver's options, converted and checked
    """

    CHARACTERISTICS: tuple[Characteristics, ...] = ()
    """What the driver claims; see docs/characteristics.md for what tests each claim.

    A coordinator whose URL asks for less than its class can promise has one of its own."""

    FEATURES: ClassVar[frozenset[Feature]] = frozenset(Feature) - {Feature.SHARED_LOCKS}
    """Which parts of the API the driver has."""

    Options: ClassVar[type[DriverOptions]] = DriverOptions
    """The type of the driver's options."""

    requires_beating: ClassVar[bool] = False
    """Whether :meth:`heartbeat` must be called for memberships and locks to last."""

    least_timeout: ClassVar[float] = 0.0
    """The shortest time-out, in seconds, that the driver and its server can keep."""

    def __init__(self, member_id: bytes, url: SplitResult, options: DriverOptions) -> None:
        self._member_id = member_id
        self._url = url
        self._started = False
        self._process = os.getpid()
        self._lifecycle = threading.RLock()
        self._executor: futures.ThreadPoolExecutor | None = None
        self._unanswered = -math.inf  # when the last call began that had no answer in time
        self._joined: set[bytes] = set()
        self._terms: dict[bytes, object] = {}
        self._made_locks: weakref.WeakSet[Lock] = weakref.WeakSet()
        self._calls = threading.Condition()
        self._callers: list[int] = []
        self._watches = Watches()
        self.heart = Heart(self.heartbeat)
        _coordinators.add(self)

    # -- life ---------------------------------------------------------------------

    @property
    def member_id(self) -> bytes:
        """The name under which this coordinator joins groups and leads them."""
        return self._member_id

    @property
    def is_started(self) -> bool:
        """Whether :meth:`start` was called, in this process, and :meth:`stop` was not."""
        return self._started and self._process == os.getpid()

    def start(self, start_heart: bool = False) -> None:
        """Connect to the backend.

        :param start_heart: also call :meth:`heartbeat` from a thread, in time, if the
            driver needs it
        :raises ToozError: already started, or made by a process that forked this one
        :raises ToozConnectionError: the backend cannot be reached
        """
        with self._changing_life("starting the coordinator"):
            self._refuse_fork()
            if self._started:
                raise ToozError("this coordinator is started already: stop() it first")
            with self.translated("starting the coordinator"):
                self._start()
            self._executor = futures.ThreadPoolExecutor(1, "coordinator")
            self._joined, self._terms = set(), {}
            self._watches.forget_elections()
            self._started = True
            if start_heart and self.requires_beating:
                self.heart.start()

    def stop(self) -> None:
        """Leave the groups, stand down, release the locks and disconnect.

        Returns within the driver's time-outs even when the backend is gone; what could
        not be given back is then freed by the backend in its own way.

        Waits for the calls of other threads, callbacks of watches included; no callback is
        called once it has begun.

        :raises ToozError: not started, or called by a callback while another thread stops
            the coordinator
        """
        with self._changing_life("stopping the coordinator"):
            self.check_started("stopping the coordinator")
            self._started = False
            self.heart.stop()
            if self._executor is not None:
                self._executor.shutdown(wait=True, cancel_futures=True)
            self._wait_for_calls()
            try:
                self._give_everything_back()
            finally:
                with self.translated("stopping the coordinator"):
                    self._stop()

    def heartbeat(self) -> float:
        """Show that this coordinator is alive, so that nothing it holds expires.

        :returns: seconds until the next call is due
        :raises ToozError: the backend failed, or the coordinator's session was lost
        """
        with self._running("beating"):
            return self._heartbeat()

    # -- groups -------------------------------------------------------------------

    def create_group(self, group_id: bytes) -> CoordinatorResult[None]:
        """Create a group.

        :raises GroupAlreadyExist: from ``get()``: there is one of this name
        """
        check_name("group_id", group_id)
        return self._submit(f"creating group {group_id!r}", self._create_group, group_id)

    def delete_group(self, group_id: bytes) -> CoordinatorResult[None]:
        """Delete a group without members.

        :raises GroupNotCreated: from ``get()``: there is none of this name
        :raises GroupNotEmpty: from ``get()``: it has members
        """
        check_name("group_id", group_id)
        return self._submit(f"deleting group {group_id!r}", self._delete_group, group_id)

    def get_groups(self) -> CoordinatorResult[list[bytes]]:
        """Return the names of all groups, sorted."""
        return self._submit("listing groups", lambda: sorted(self._get_groups()))

    def join_group(
        self, group_id: bytes, capabilities: Capabilities = None
    ) -> CoordinatorResult[None]:
        """Join a group.

        :param capabilities: what the other members may know of this one
        :raises SerializationError: at once: the capabilities cannot be stored
        :raises GroupNotCreated: from ``get()``: there is no such group
        :raises MemberAlreadyExist: from ``get()``: a member of this name is in it
        """
        check_name("group_id", group_id)
        packed = _pack(capabilities)

        def join() -> None:
            self._join_group(group_id, packed)
            self._joined.add(group_id)

        return self._submit(f"joining group {group_id!r}", join)

    def join_group_create(self, group_id: bytes, capabilities: Capabilities = None) -> None:
        """Join a group, creating it first if need be; return when joined.

        :raises MemberAlreadyExist: a member of this name is in the group
        """
        while True:
            try:
                return self.join_group(group_id, capabilities).get()
            except GroupNotCreated:
                with contextlib.suppress(GroupAlreadyExist):
                    self.create_group(group_id).get()

    def leave_group(self, group_id: bytes) -> CoordinatorResult[None]:
        """Leave a group.

        :raises GroupNotCreated: from ``get()``: there is no such group
        :raises MemberNotJoined: from ``get()``: this member is not in it
        """
        check_name("group_id", group_id)

        def leave() -> None:
            self._joined.discard(group_id)
            self._leave_group(group_id)

        return self._submit(f"leaving group {group_id!r}", leave)

    def get_members(self, group_id: bytes) -> CoordinatorResult[set[bytes]]:
        """Return the names of a group's members.

        :raises GroupNotCreated: from ``get()``: there is no such group
        """
        check_name("group_id", group_id)
        return self._submit(
            f"listing members of {group_id!r}", lambda: set(self._get_members(group_id))
        )

    def get_member_capabilities(
        self, group_id: bytes, member_id: bytes
    ) -> CoordinatorResult[Capabilities]:
        """Return the capabilities of a member.

        :raises GroupNotCreated: from ``get()``: there is no such group
        :raises MemberNotJoined: from ``get()``: no such member is in it
        """
        check_name("group_id", group_id)
        check_name("member_id", member_id)
        return self._submit(
            f"reading member {member_id!r} of {group_id!r}",
            lambda: _unpack(self._get_member(group_id, member_id).capabilities),
        )

    def get_members_with_capabilities(
        self, group_id: bytes
    ) -> CoordinatorResult[dict[bytes, Capabilities]]:
        """Return all members of a group and their capabilities, as of one moment.

        :raises GroupNotCreated: from ``get()``: there is no such group
        """
        check_name("group_id", group_id)

        def read() -> dict[bytes, Capabilities]:
            members = self._get_members(group_id).values()
            return {member.member_id: _unpack(member.capabilities) for member in members}

        return self._submit(f"reading members of {group_id!r}", read)

    def get_member_info(
        self, group_id: bytes, member_id: bytes
    ) -> CoordinatorResult[dict[str, Any]]:
        """Return ``capabilities``, ``created_at`` and ``updated_at`` of a member.

        The times are aware datetimes in UTC, of the backend's clock.

        :raises GroupNotCreated: from ``get()``: there is no such group
        :raises MemberNotJoined: from ``get()``: no such member is in it
        """
        check_name("group_id", group_id)
        check_name("member_id", member_id)

        def read() -> dict[str, Any]:
            member = self._get_member(group_id, member_id)
            return {
                "capabilities": _unpack(member.capabilities),
                "created_at": member.created_at,
                "updated_at": member.updated_at,
            }

        return self._submit(f"reading member {member_id!r} of {group_id!r}", read)

    def update_capabilities(
        self, group_id: bytes, capabilities: Capabilities
    ) -> CoordinatorResult[None]:
        """Replace this member's capabilities in a group.

        :raises SerializationError: at once: the capabilities cannot be stored
        :raises GroupNotCreated: from ``get()``: there is no such group
        :raises MemberNotJoined: from ``get()``: this member is not in it
        """
        check_name("group_id", group_id)
        packed = _pack(capabilities)
        return self._submit(
            f"updating capabilities in {group_id!r}", self._update_capabilities, group_id, packed
        )

    # -- leadership ---------------------------------------------------------------

    def get_leader(self, group_id: bytes) -> CoordinatorResult[bytes | None]:
        """Return the name of the group's leader, None when nobody leads.

        A leadership belongs to a group's name: neither the group's existence nor the
        leader's membership is asked for.
        """
        check_name("group_id", group_id)
        return self._submit(f"asking for the leader of {group_id!r}", self._get_leader, group_id)

    def stand_down_group_leader(self, group_id: bytes) -> bool:
        """Give up the leadership of a group.

        :returns: True when this coordinator led the group, and does so no more
        """
        check_name("group_id", group_id)
        with self._running(f"standing down in {group_id!r}"):
            self._terms.pop(group_id, None)
            return self._stand_down(group_id)

    def run_elect_coordinator(self) -> None:
        """Stand for election in every group that :meth:`watch_elected_as_leader` names.

        Where this coordinator is elected, the callbacks are called, once for each term:
        when a leadership was lost and won again, they are called again.
        """
        operation = "standing for election"
        with self._watches.turn, self._under_way(operation):
            with self.translated(operation):
                self._stand_for_election()
            self._deliver()

    # -- watches ------------------------------------------------------------------

    def watch_join_group(self, group_id: bytes, callback: EventCallback) -> None:
        """Have ``callback(MemberJoinedGroup)`` called for each member that joins from now.

        Callbacks are called by :meth:`run_watchers`. A stay that begins and ends between
        two runs may go unreported; every change that lasts is reported, once to each watch:
        a callback that watches twice is called twice, until one of them is undone.

        :raises GroupNotCreated: there is no such group
        """
        self._watch(MemberJoinedGroup, group_id, callback)

    def unwatch_join_group(self, group_id: bytes, callback: EventCallback) -> None:
        """Undo one :meth:`watch_join_group`.

        :raises WatchCallbackNotFound: the callback does not watch the group
        """
        self._unwatch(MemberJoinedGroup, group_id, callback)

    def watch_leave_group(self, group_id: bytes, callback: EventCallback) -> None:
        """Have ``callback(MemberLeftGroup)`` called for each member that leaves from now.

        A member that left and joined again is reported as left, then as joined.

        :raises GroupNotCreated: there is no such group
        """
        self._watch(MemberLeftGroup, group_id, callback)

    def unwatch_leave_group(self, group_id: bytes, callback: EventCallback) -> None:
        """Undo one :meth:`watch_leave_group`.

        :raises WatchCallbackNotFound: the callback does not watch the group
        """
        self._unwatch(MemberLeftGroup, group_id, callback)

    def watch_elected_as_leader(self, group_id: bytes, callback: EventCallback) -> None:
        """Stand for election in a group from now on; see :meth:`run_elect_coordinator`."""
        check_name("group_id", group_id)
        _check_callback(callback)
        self._watches.watch(LeaderElected, group_id, callback, {})

    def unwatch_elected_as_leader(self, group_id: bytes, callback: EventCallback) -> None:
        """Undo one :meth:`watch_elected_as_leader`; a leadership is kept.

        :raises WatchCallbackNotFound: the callback does not watch the group
        """
        self._unwatch(LeaderElected, group_id, callback)

    def run_watchers(self, timeout: float | None = None) -> list[Any]:
        """Look at the watched groups, stand for election, and call the callbacks due.

        Events are delivered once, leaves before joins, joins in the order of joining. A
        callback that raises keeps no other from being called; afterwards its error is
        raised, or an ExceptionGroup where several raised. Where the coordinator is stopped
        meanwhile, the rest of the joins and leaves is delivered when it is started again.

        :param timeout: seconds after which no further group is looked at
        :returns: what the callbacks returned, in the order of their calls
        """
        deadline = Deadline.of(True if timeout is None else timeout)
        operation = "running watchers"
        with self._watches.turn, self._under_way(operation):
            with self.translated(operation):
                for group_id in self._watches.groups():
                    if timeout is not None and deadline.expired:
                        break
                    self._watches.compare(group_id, self._view(group_id))
                self._stand_for_election()
            return self._deliver()

    # -- locks --------------------------------------------------------------------

    def get_lock(self, name: bytes) -> Lock:
        """Return a new lock object of this name; see :class:`Lock`.

        Every object competes with every other of the same name, also those of this
        coordinator.
        """
        check_name("name", name)
        lock = self._make_lock(name)
        with self._calls:
            self._made_locks.add(lock)
        return lock

    # -- what a driver implements -------------------------------------------------

    @abc.abstractmethod
    def _start(self) -> None:
        """Connect."""

    @abc.abstractmethod
    def _stop(self) -> None:
        """Disconnect; must not wait longer than the driver's time-out."""

    @abc.abstractmethod
    def _heartbeat(self) -> float:
        """Renew what expires; return the seconds until the next beat is due."""

    def _create_group(self, group_id: bytes) -> None:
        raise NotImplementedError(self._lacks(Feature.GROUPS))

    def _delete_group(self, group_id: bytes) -> None:
        raise NotImplementedError(self._lacks(Feature.GROUPS))

    def _get_groups(self) -> Iterable[bytes]:
        raise NotImplementedError(self._lacks(Feature.GROUPS))

    def _join_group(self, group_id: bytes, capabilities: bytes) -> None:
        raise NotImplementedError(self._lacks(Feature.GROUPS))

    def _leave_group(self, group_id: bytes) -> None:
        raise NotImplementedError(self._lacks(Feature.GROUPS))

    def _get_members(self, group_id: bytes) -> Mapping[bytes, Member]:
        """Return the members by name, as of one moment."""
        raise NotImplementedError(self._lacks(Feature.GROUPS))

    def _get_member(self, group_id: bytes, member_id: bytes) -> Member:
        """Return one member; a driver may know a cheaper way than reading them all."""
        try:
            return self._get_members(group_id)[member_id]
        except KeyError:
            raise MemberNotJoined(group_id, member_id) from None

    def _update_capabilities(self, group_id: bytes, capabilities: bytes) -> None:
        raise NotImplementedError(self._lacks(Feature.CAPABILITIES))

    def _get_leader(self, group_id: bytes) -> bytes | None:
        raise NotImplementedError(self._lacks(Feature.LEADERSHIP))

    def _campaign(self, group_id: bytes) -> object | None:
        """Try to lead; return what identifies the term, or None when another leads."""
        raise NotImplementedError(self._lacks(Feature.LEADERSHIP))

    def _stand_down(self, group_id: bytes) -> bool:
        raise NotImplementedError(self._lacks(Feature.LEADERSHIP))

    def _make_lock(self, name: bytes) -> Lock:
        raise NotImplementedError(self._lacks(Feature.LOCKS))

    def _translate(self, error: Exception) -> ToozError | None:
        """Return the API's own error for a client library's, or None for a plain one."""
        return None

    # -- shared machinery ---------------------------------------------------------

    def _lacks(self, feature: Feature) -> str:
        return f"{type(self).__name__} does not have {feature.value}"

    def _refuse_fork(self) -> None:
        if self._process != os.getpid():
            raise ToozError(
                f"this coordinator belongs to process {self._process}, which forked this one: "
                "make another with get_coordinator()"
            )

    def check_started(self, operation: str) -> None:
        """Raise ToozError when ``operation`` needs a started coordinator; for drivers."""
        if not self._started or self._process != os.getpid():
            self._refuse_fork()
            raise ToozError(f"{operation}: the coordinator is not started, call start() first")

    def translated(self, operation: str) -> AbstractContextManager[None]:
        """Turn any exception but the API's own into the API's own; for drivers' code."""
        return _Translated(self._translate, operation)

    @contextlib.contextmanager
    def _running(self, operation: str) -> Iterator[None]:
        """The context in which driver code runs: started, with the API's own errors."""
        with self._under_way(operation), self.translated(operation):
            yield

    @contextlib.contextmanager
    def _under_way(self, operation: str) -> Iterator[None]:
        """The context of a call that needs a started coordinator, and that stop() waits for."""
        caller, callers = threading.get_ident(), self._callers
        with self._calls:
            self.check_started(operation)
            callers.append(caller)
        try:
            yield
        finally:
            with self._calls:
                callers.remove(caller)
                self._calls.notify_all()

    @contextlib.contextmanager
    def _changing_life(self, operation: str) -> Iterator[None]:
        """The context in which the coordinator starts or stops: one thread at a time.

        A callback that another thread's stop() waits for must not wait for that in turn.
        """
        within = threading.get_ident() in self._callers
        while not self._lifecycle.acquire(timeout=_RECHECK_SECONDS if within else -1):
            if not self._started:
                raise ToozError(f"{operation}: another thread is stopping it, and waits for this")
        try:
            yield
        finally:
            self._lifecycle.release()

    def _deliver(self) -> list[Any]:
        """Call the callbacks that are due, until the coordinator is stopped."""
        return self._watches.deliver(lambda: self.is_started)

    def _wait_for_calls(self) -> None:
        """Wait for the calls of other threads, lest one takes something once all is given back.

        This thread may be in one itself: a handler of signals interrupts it anywhere.
        """
        me = threading.get_ident()
        with self._calls:
            self._calls.wait_for(lambda: all(caller == me for caller in self._callers))

    def _submit(
        self, operation: str, call: Callable[..., T], *arguments: object
    ) -> CoordinatorResult[T]:
        asked = time.monotonic()

        def run() -> T:
            if asked <= self._unanswered:
                raise OperationTimedOut(
                    f"{operation}: the call before it had no answer in time, so nothing was asked"
                )
            began = time.monotonic()
            try:
                with self.translated(operation):
                    return call(*arguments)
            except OperationTimedOut:
                self._unanswered = began
                raise

        self.check_started(operation)
        executor = self._executor
        try:
            if executor is None:
                raise RuntimeError("shut down")
            return CoordinatorResult(executor.submit(run), operation)
        except RuntimeError as error:
            raise ToozError(f"{operation}: the coordinator is being stopped") from error

    def _give_everything_back(self) -> None:
        """Release, stand down and leave, until the backend fails to answer.

        What is not given back then is left to the backend, which frees it when it
        notices that this client is gone.
        """
        with self._calls:
            locks = list(self._made_locks)
        steps: list[Callable[[], object]] = [lock.retire for lock in locks]
        steps += [partial(self._stand_down, group_id) for group_id in list(self._terms)]
        steps += [partial(self._leave_group, group_id) for group_id in list(self._joined)]
        for step in steps:
            try:
                with self.translated("stopping the coordinator"):
                    step()
            except (ToozConnectionError, OperationTimedOut) as error:
                _log.warning("while stopping: %s; the rest is left to the backend", error)
                return
            except ToozError as error:
                _log.debug("while stopping: %s", error)

    def _stand_for_election(self) -> None:
        for group_id in self._watches.elections():
            term = self._campaign(group_id)
            if term is None:
                self._terms.pop(group_id, None)
            elif self._terms.get(group_id) != term:
                self._terms[group_id] = term
                self._watches.add(LeaderElected(group_id, self._member_id))

    def _view(self, group_id: bytes) -> dict[bytes, int]:
        """Return which stay each member is at; empty when there is no such group."""
        try:
            return _incarnations(self._get_members(group_id))
        except GroupNotCreated:
            return {}

    def _watch(self, kind: type[Event], group_id: bytes, callback: EventCallback) -> None:
        check_name("group_id", group_id)
        _check_callback(callback)
        with self._running(f"watching group {group_id!r}"):
            view = _incarnations(self._get_members(group_id))
            self._watches.watch(kind, group_id, callback, view)

    def _unwatch(self, kind: type[Event], group_id: bytes, callback: EventCallback) -> None:
        check_name("group_id", group_id)
        self._watches.unwatch(kind, group_id, callback)

    def _forget_parent(self) -> None:
        """In a forked child: drop what is the parent's, without touching its holds."""
        self._executor = None
        self._calls, self._callers = threading.Condition(), []
        for lock in list(self._made_locks):
            lock.forget()


_coordinators: weakref.WeakSet[Coordinator] = weakref.WeakSet()


class _Translated:
    """The context in which exceptions become the API's own.

    It is entered for every call on a lock, and a generator would take it twice as long.
    """

    __slots__ = ("_operation", "_translate")

    def __init__(self, translate: Callable[[Exception], ToozError | None], operation: str) -> None:
        self._translate = translate
        self._operation = operation

    def __enter__(self) -> None:
        pass

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        if error is None or isinstance(error, ToozError) or not isinstance(error, Exception):
            return
        if isinstance(error, NotImplementedError):
            raise errors.NotImplemented(str(error)) from error
        raise self._translate(error) or ToozError(
            f"{self._operation} failed: {type(error).__name__}: {error}"
        ) from error


def _after_fork_in_child() -> None:
    for coordinator in list(_coordinators):
        coordinator._forget_parent()


os.register_at_fork(after_in_child=_after_fork_in_child)


def _incarnations(members: Mapping[bytes, Member]) -> dict[bytes, int]:
    return {member_id: member.incarnation for member_id, member in members.items()}


def check_name(parameter: str, name: bytes) -> None:
    """Raise TypeError or ValueError unless ``name`` is bytes, at least one."""
    if not isinstance(name, bytes):
        raise TypeError(f"{parameter} takes bytes, not {type(name).__name__}: encode it")
    if not name:
        raise ValueError(f"{parameter} must not be empty")


def _check_callback(callback: EventCallback) -> None:
    if not callable(callback):
        raise TypeError(f"callback takes a callable, not {type(callback).__name__}")


def _pack(capabilities: Capabilities) -> bytes:
    """Encode capabilities, refusing what would not come back equal (a set, a tuple …)."""
    try:
        packed = msgspec.msgpack.encode(capabilities)
        exact = _unpack(packed) == capabilities
    except (TypeError, ValueError, OverflowError, RecursionError, NotImplementedError) as error:
        raise SerializationError(f"capabilities cannot be stored: {error}") from error
    if not exact:
        raise SerializationError(
            "capabilities would not come back equal: use None, bool, int, float, str, bytes, "
            "and lists and dicts of these"
        )
    return packed


def _unpack(packed: bytes) -> Capabilities:
    try:
        return msgspec.msgpack.decode(packed)
    except msgspec.DecodeError as error:
        raise SerializationError(f"stored capabilities cannot be read: {error}") from error
