"""Lives: what a client leaves behind that was killed, forked or stopped."""

from __future__ import annotations

import os
import secrets
import threading
import time
from collections.abc import Callable
from typing import Any

from conformance.coordination import Deadline, ToozConnectionError, ToozError
from conformance.drivers import registry
from conformance.drivers.file import Directory, FileDriver
from conformance.drivers.local import LocalLock
from conformance.drivers.medium import EXCLUSIVE, Descriptor, Medium
from conformance.drivers.registry import Registry
from conformance.drivers.session import Session

from .broken import WINDOW, meant_for
from .served import ServedDriver

_LIVES = "test_starting_and_stopping_leaves_nothing"
_BESIDE = "test_stopping_beside_a_call"
_CUT_OFF = "test_stopping_without_the_server_leaves_nothing"

_WRITING = 0.003
"""Seconds that a slow disc takes to write: much of what a busy client does, so that few kills
hit it nowhere near."""

_LOOK = 0.25
"""Seconds after which who waits looks whether it is to go on."""

_MOMENT = 0.4
"""Seconds after which a busy server notices that a client is gone."""

_LONG = 10.0
"""Seconds after which a step of this host is not under way any more."""


# -- killed ----------------------------------------------------------------------------


class _CredulousSession(Session):
    """A session that takes every other for alive."""

    def _is_alive(self, session: str) -> bool:
        return True


@meant_for(
    {
        "test_a_dead_member_is_gone_at_once": "NON_TIMEOUT_BASED",
        "test_a_killed_member_is_reported_as_left": "watches",
    },
    level="processes",
)
class KeepsTheDead(FileDriver):
    """Keeps a killed member in its groups for ever: a row, or a file, that has no life."""

    def _start(self) -> None:
        self._session = _CredulousSession(self._medium(), self._timeout)


class _SlowSession(Session):
    """A session that notices the death of another a moment later, when all others do."""

    def _is_alive(self, session: str) -> bool:
        if super()._is_alive(session):
            return True
        with self._medium.open(f"noticed.{session}", create=True) as stamp:
            stamp.wait_flock(EXCLUSIVE, Deadline(_LONG))
            if not (first := stamp.read()):
                first = str(time.monotonic()).encode()
                stamp.write(first)
        return time.monotonic() < float(first) + _MOMENT


@meant_for(
    {},
    level="processes",
    spares=(
        "test_a_killed_member_tears_no_group",
        "test_a_killed_candidate_harms_no_election",
        "test_a_killed_member_is_reported_as_left",
    ),
)
class NoticesLate(FileDriver):
    """Frees what a killed client had a moment later, as servers do: slow, not broken."""

    def _start(self) -> None:
        self._session = _SlowSession(self._medium(), self._timeout)


@meant_for({"test_a_killed_waiter_is_not_waited_for": "crashes"}, level="processes")
class QueuesTheDead(LocalLock):
    """Lets waiters in by number, those who died too.

    Tickets, or sequential nodes that are not ephemeral.
    """

    _ticket = ""

    def _take(self, kind: int, deadline: Deadline) -> bool:
        self._ticket = ticket = secrets.token_hex(8)
        self._change_queue(lambda queue: [*queue, ticket])
        try:
            return super()._take(kind, deadline)
        finally:
            self._change_queue(lambda queue: [other for other in queue if other != ticket])

    def _try(self, kind: int) -> bool:
        return self._change_queue(lambda queue: queue)[0] == self._ticket and super()._try(kind)

    def _change_queue(self, change: Callable[[list[str]], list[str]]) -> list[str]:
        session = self._coordinator.session
        with session.open_lock(f"{self._object}.queue") as queue:
            queue.wait_flock(EXCLUSIVE, Deadline(_LONG))
            tickets = change(queue.read().decode().split())
            os.ftruncate(queue.number, 0)
            os.pwrite(queue.number, " ".join(tickets).encode(), 0)
            return tickets


class _OverwrittenDirectory(Directory):
    """A directory whose document is emptied, then written."""

    def publish(self, guard: Descriptor, content: bytes) -> None:
        with self.open("registry", create=True) as file:
            os.ftruncate(file.number, 0)
            time.sleep(_WRITING)
            file.write(content)


class _PatientSession(Session):
    """A session that reads again what it cannot understand."""

    def _read_once(self, concerned: Callable[[Registry], object]) -> Registry | None:
        try:
            return super()._read_once(concerned)  # type: ignore[arg-type]
        except ToozConnectionError:
            return None


@meant_for({"test_a_killed_member_tears_no_group": "crashes"}, level="processes")
class WritesInPlace(FileDriver):
    """Writes over what is stored, so that a kill in between tears it."""

    def _medium(self) -> Medium:
        return _OverwrittenDirectory(self._path)

    def _start(self) -> None:
        self._session = _PatientSession(self._medium(), self._timeout)


# -- forked ----------------------------------------------------------------------------


@meant_for({"test_a_forked_child_does_not_keep_a_dead_parents_lock": "fork"}, level="processes")
class LivesOnInTheChild(LocalLock):
    """Leaves a descriptor of the lock open in a child.

    As every driver does that does not close its own after a fork.
    """

    _copy = -1

    def _acquire(self, deadline: Deadline, shared: bool) -> bool:
        granted = super()._acquire(deadline, shared)
        if granted:
            self._copy = os.dup(self._open()[0].number)
        return granted

    def _release(self) -> bool:
        os.close(self._copy)
        return super()._release()


@meant_for({"test_a_forked_child_does_not_hold": "fork"}, level="processes")
class ReleasedByTheChild(LocalLock):
    """Tidies up in a child, which unlocks the parent's lock: it is the same one."""

    def forget(self) -> None:
        if self._opened is not None:
            self._opened.unlock()
        super().forget()


@meant_for({"test_a_forked_child_does_not_hold": "fork"}, level="processes")
class BelievedByTheChild(LocalLock):
    """Says ``acquired`` in a child too: drivers that know nothing of forks."""

    def forget(self) -> None:
        """Forget nothing."""

    def _is_held(self) -> bool:
        return self._holds


@meant_for({"test_a_forked_child_does_not_hold": "fork"}, level="processes")
class RaisesInTheChild(LocalLock):
    """Raises in a child, where what it rests on is closed, whatever it is asked."""

    _holder = -1

    def _acquire(self, deadline: Deadline, shared: bool) -> bool:
        self._holder = os.getpid()
        return super()._acquire(deadline, shared)

    @property
    def acquired(self) -> bool:
        """Whether it is held; raises in a child of the holder."""
        if self._holder not in (-1, os.getpid()):
            raise OSError("the descriptor is closed")
        return super().acquired


# -- stopped ---------------------------------------------------------------------------


class _MessySession(Session):
    """A session that removes no lock's object."""

    def _locks_of(self, session: str) -> set[str]:
        return set()


@meant_for({"test_stopping_gives_everything_back": "hygiene"})
class StopsHolding(FileDriver):
    """Keeps its locks when it is stopped: drivers that leave them to a connection's end."""

    def _start(self) -> None:
        self._session = _MessySession(self._medium(), self._timeout)

    def _give_everything_back(self) -> None:
        self._made_locks.clear()
        super()._give_everything_back()


@meant_for({"test_stopping_ends_a_wait": "hygiene"})
class StopsWhenItWaited(LocalLock):
    """Waits on when it is to stop, and has ``stop()`` wait for that."""

    def _take(self, kind: int, deadline: Deadline) -> bool:
        while not self._try(kind):
            if deadline.expired:
                return False
            time.sleep(WINDOW)
        return True


@meant_for({_BESIDE: "hygiene"}, spares=("test_stopping_ends_a_wait",))
class TakesAfterItStopped(LocalLock):
    """Is stopped without a look at the thread that waits, which takes the lock before it looks.

    As ``stop()`` of upstream's drivers, and any that leaves its waiters to find out.
    """

    def _take(self, kind: int, deadline: Deadline) -> bool:
        looked = time.monotonic()
        while not self._try(kind):
            if deadline.expired:
                return False
            if time.monotonic() > looked + _LOOK:
                looked = time.monotonic()
                self._coordinator.check_started("waiting")
            time.sleep(WINDOW)
        return True

    def retire(self) -> None:
        if not self._busy:
            super().retire()


class _StopsAtOnce(FileDriver):
    """A driver whose calls nobody waits for when it stops, nor for its session to be let go."""

    _kept: Session | None = None

    def _wait_for_calls(self) -> None:
        """Do nothing."""

    def _stop(self) -> None:
        self._kept, self._session = self._session, None


@meant_for({_BESIDE: "hygiene"})
class LeadsAfterItStopped(_StopsAtOnce):
    """Is elected by a call that was under way when it was stopped, and leads from then on."""

    def _campaign(self, group_id: bytes) -> object | None:
        session = self.session
        time.sleep(2 * WINDOW)
        _, after = session.step(
            lambda before: registry.campaign(before, group_id, self._member_id, session.token)
        )
        led = after.leaders[group_id]
        return led.term if led.session == session.token else None


@meant_for({_BESIDE: "hygiene"})
class TellsAfterItStopped(FileDriver):
    """Calls all callbacks that are due, also when it was stopped while the first one ran."""

    def _deliver(self) -> list[Any]:
        with self._calls:
            self._callers.remove(threading.get_ident())
            self._calls.notify_all()
        try:
            return self._watches.deliver(lambda: True)
        finally:
            self._callers.append(threading.get_ident())


@meant_for({_LIVES: "hygiene"}, profile="smoke")
class LeaksDescriptors(FileDriver):
    """Opens its directory on start and never closes it: connections that are not returned."""

    def _start(self) -> None:
        super()._start()
        os.open(self._path, os.O_RDONLY | os.O_DIRECTORY)


@meant_for({_LIVES: "hygiene"}, profile="smoke")
class LeaksThreads(FileDriver):
    """Starts a thread that nobody ends: a heart, or a client library's watcher."""

    def _start(self) -> None:
        super()._start()
        threading.Thread(target=threading.Event().wait, name="watcher", daemon=True).start()


@meant_for({_LIVES: "hygiene"}, profile="smoke")
class LeavesFiles(FileDriver):
    """Leaves a file behind with each life: sessions, nodes or keys that nobody removes."""

    def _start(self) -> None:
        super()._start()
        self._medium().open(f"life.{self.session.token}", create=True).close()


@meant_for({_LIVES: "hygiene"}, profile="smoke")
class LeaksConnections(ServedDriver):
    """Makes a connection on start that nobody closes: a pool, or a watcher's own."""

    def _start(self) -> None:
        super()._start()
        _FORGOTTEN.append(self.connect())


@meant_for({_CUT_OFF: "hygiene"}, spares=(_LIVES,), profile="smoke")
class StopsInTheBackground(ServedDriver):
    """Leaves it to a thread to say that it stopped when nobody hears it, and never ends that."""

    def exchange(self, name: str, *arguments: Any) -> Any:
        try:
            return super().exchange(name, *arguments)
        except ToozError:
            if name == "end":
                threading.Thread(target=threading.Event().wait, name="end", daemon=True).start()
            raise


_FORGOTTEN: list[object] = []
"""Keeps what nobody closes from being collected, which would close it."""
