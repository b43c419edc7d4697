"""A started coordinator's presence in a medium: who is alive, and steps that are atomic.

A *session* is an object of the medium whose flock the coordinator holds from start to
stop. While the kernel says that it is held, the session lives: a coordinator whose
process was killed is dead at once, one whose process is paused lives. No clock decides.

The *guard* is the object whose flock makes a step atomic: read the registry, look who
died, publish another. Reading needs no guard, so whoever is paused holds up writers
only, and those for no longer than their time-out.

A session's object lists the locks that it has used. A lock's object goes when no living
session lists it, and an entry is made before the object, so nothing is left behind for
good, whoever is killed when.
"""

from __future__ import annotations

import contextlib
import logging
import secrets
import threading
import time
from collections.abc import Callable, Iterable, Iterator, Set

import msgspec

from conformance.coordination import Deadline, OperationTimedOut, ToozConnectionError
from conformance.drivers import registry as transitions
from conformance.drivers.bell import Bell
from conformance.drivers.medium import EXCLUSIVE, SHARED, Descriptor, Medium
from conformance.drivers.registry import Registry

__all__ = ["Session"]

_log = logging.getLogger(__name__)

_GUARD = "guard"

_READS_WITHOUT_GUARD = 10
"""How often a reading is tried again because the registry changed under it."""


def _nobody(registry: Registry) -> Iterable[str]:
    return ()


class Session:
    """The session of one started coordinator. Its methods may be called by any thread.

    :param medium: where the coordinators meet
    :param timeout: seconds to wait at most for another's step to end
    :raises OperationTimedOut: another process is in the middle of a step, and paused
    :raises ToozConnectionError: what the medium holds is no registry of this version
    :raises OSError: the medium cannot be used
    """

    def __init__(self, medium: Medium, timeout: float) -> None:
        self.token = secrets.token_hex(16)
        self._medium = medium
        self._timeout = timeout
        self._turn = threading.Lock()
        self._listed: set[str] = set()
        self._guard = self._enter()
        try:
            self._own = self._begin()
        finally:
            self._guard.unlock()

    # -- steps ------------------------------------------------------------------------

    def read(self, concerned: Callable[[Registry], Iterable[str]] = _nobody) -> Registry:
        """Return the registry, without what belongs to the dead, as of one moment.

        :param concerned: says which sessions' deaths matter to the reader; it may raise
        :raises ToozConnectionError: this session is lost
        :raises OperationTimedOut: the registry kept changing, then the guard was held
        """
        for _ in range(_READS_WITHOUT_GUARD):
            registry = self._read_once(concerned)
            if registry is not None:
                return registry
        with self._guarded():
            registry = self._read_once(concerned)
        if registry is None:
            raise self._lost()
        return registry

    def step(self, change: Callable[[Registry], Registry]) -> tuple[Registry, Registry]:
        """Change the registry in one atomic step, and remove the dead from it.

        :param change: returns another registry, or the same for no change; it may raise
        :returns: the registry before, without the dead, and after
        :raises ToozConnectionError: this session is lost
        :raises OperationTimedOut: nothing was changed: another process holds the guard
        """
        with self._guarded():
            before = self._own_registry()
            dead = self._dead(before.sessions)
            if dead:
                self._bury(before.sessions - dead, dead)
                before = transitions.without(before, dead)
                self._publish(before)
            after = change(before)
            if after is not before:
                self._publish(after)
            return before, after

    def check(self) -> None:
        """Raise ToozConnectionError unless the session's name still leads to it."""
        try:
            with self._medium.open(_session(self.token), create=False) as found:
                if self._own.is_same_as(found):
                    return
        except FileNotFoundError as error:
            raise self._lost() from error
        raise self._lost()

    def end(self) -> None:
        """End the session, and remove what only it, or the dead, had use for.

        When that fails, the next coordinator that takes a step here does it.
        """
        try:
            with self._guarded():
                registry = self._own_registry()
                dead = self._dead(registry.sessions) | {self.token}
                self._bury(registry.sessions - dead, dead)
                rest = transitions.without(registry, dead)
                if transitions.is_idle(rest):
                    self._medium.clear()
                else:
                    self._publish(rest)
        except (ToozConnectionError, OperationTimedOut, OSError) as error:
            _log.warning("while stopping: %s; the rest is left to the next coordinator", error)
        finally:
            self._own.unlock()

    # -- locks ------------------------------------------------------------------------

    def open_lock(self, name: str) -> Descriptor:
        """Open a lock's object, which stays while this session lives, unless broken.

        Once listed it needs no guard: no one removes an object that a living session lists.

        :raises ToozConnectionError: this session is lost
        """
        if name not in self._listed:
            with self._guarded():
                self._own.write(f"{name}\n".encode())
                self._listed.add(name)
        if not self._own.is_linked():
            raise self._lost()
        return self._medium.open(name, create=True)

    def owns_lock(self, name: str, opened: Descriptor) -> bool:
        """Whether a lock's name still leads to this object."""
        try:
            with self._medium.open(name, create=False) as found:
                return opened.is_same_as(found)
        except FileNotFoundError:
            return False

    def break_lock(self, name: str) -> bool:
        """Take a lock's name from its object; say whether somebody held the object.

        Holders are left with an object that nobody else finds. To ask first and break
        then would be wrong: who asks by trying keeps a third from getting a free lock. Who
        had held, and let go of the object since, says so by its bell.
        """
        with self._guarded():
            try:
                found = self._medium.open(name, create=False)
            except FileNotFoundError:
                return False
            with found:
                self._medium.remove(name)
                bell = Bell(found)
                held = not found.try_flock(EXCLUSIVE) or bell.left
                bell.ring(for_everybody=True)
                return held

    # -- beginning --------------------------------------------------------------------

    def _enter(self) -> Descriptor:
        """Open the guard and take its flock.

        The last coordinator to stop removes the guard while it holds it; whoever waited
        for that one has an object without a name and opens the name anew.
        """
        deadline = Deadline(self._timeout)
        while True:
            guard = self._medium.open(_GUARD, create=True)
            if not guard.wait_flock(EXCLUSIVE, deadline):
                guard.close()
                raise self._held_up()
            if guard.is_linked():
                return guard
            guard.close()

    def _begin(self) -> Descriptor:
        """Enter the session in the registry, then make it live.

        In this order a kill in between leaves an entry of a dead session, which the next
        step removes, and not an object that no one knows of.
        """
        found = self._load()
        # Numbers must not come back when a registry was removed and is made anew.
        registry = Registry(counter=time.time_ns()) if found is None else found
        dead = self._dead(registry.sessions)
        self._bury(registry.sessions - dead, dead)
        self._publish(transitions.enter(transitions.without(registry, dead), self.token))
        own = self._medium.open(_session(self.token), create=True)
        if not own.try_flock(EXCLUSIVE):
            raise ToozConnectionError(f"another process keeps locking what is in {self._medium}")
        return own

    # -- the guard --------------------------------------------------------------------

    @contextlib.contextmanager
    def _guarded(self) -> Iterator[None]:
        """Hold the guard: threads of this coordinator one by one, then the flock."""
        deadline = Deadline(self._timeout)
        if not self._turn.acquire(timeout=deadline.remaining):
            raise self._held_up()
        try:
            if not self._guard.wait_flock(EXCLUSIVE, deadline):
                raise self._held_up()
            if not self._guard.is_linked() or not self._own.is_linked():
                raise self._lost()
            yield
        finally:
            self._guard.unlock()  # also when interrupted before it was known to be held
            self._turn.release()

    # -- the registry -----------------------------------------------------------------

    def _read_once(self, concerned: Callable[[Registry], Iterable[str]]) -> Registry | None:
        """Return the registry without the dead; None when it changed meanwhile.

        Where no other session is concerned, the moment of opening is the one moment.
        """
        document = self._medium.read(self._guard)
        if document is None:
            return None
        with document.descriptor:
            registry = self._decode(document.content)
            if self.token not in registry.sessions:
                raise self._lost()
            others = set(concerned(registry)) - {self.token}
            dead = self._dead(others)
            if others and not document.is_current():
                return None
        return transitions.without(registry, dead)

    def _load(self) -> Registry | None:
        document = self._medium.read(self._guard)
        if document is None:
            return None
        with document.descriptor:
            return self._decode(document.content)

    def _own_registry(self) -> Registry:
        registry = self._load()
        if registry is None or self.token not in registry.sessions:
            raise self._lost()
        return registry

    def _decode(self, content: bytes) -> Registry:
        try:
            return transitions.decode(content)
        except msgspec.DecodeError as error:
            raise ToozConnectionError(
                f"what is in {self._medium} is no registry of this version ({error}): stop "
                "every coordinator that uses it, and remove it"
            ) from error

    def _publish(self, registry: Registry) -> None:
        self._medium.publish(self._guard, transitions.encode(registry))

    # -- life and death ---------------------------------------------------------------

    def _dead(self, sessions: Set[str]) -> Set[str]:
        """Return which of these sessions were dead at one moment.

        Who is dead stays dead. So when a second look finds alive all that the first
        found alive, between the two the rest were dead and these alive. When all are
        alive, they all were when the first was looked at.
        """
        others = sessions - {self.token}
        alive = {session for session in others if self._is_alive(session)}
        looked_at = others
        while alive != looked_at:
            looked_at = alive
            alive = {session for session in looked_at if self._is_alive(session)}
        return others - alive

    def _is_alive(self, session: str) -> bool:
        """Whether its object's flock is held.

        Asked by trying a shared one, which nobody else who asks takes for life.
        """
        try:
            with self._medium.open(_session(session), create=False) as found:
                return not found.try_flock(SHARED)
        except FileNotFoundError:
            return False

    def _bury(self, living: Set[str], dead: Set[str]) -> None:
        """Remove the objects of dead sessions, and those of locks that only they used.

        The registry still names the sessions, so that a kill in between is made good by
        the next step.
        """
        if not dead:
            return
        used = {name for session in living for name in self._locks_of(session)}
        for session in dead:
            for name in self._locks_of(session) - used:
                self._medium.remove(name)
            self._medium.remove(_session(session))

    def _locks_of(self, session: str) -> set[str]:
        """Return the locks that a session lists.

        An entry that a kill cut short is none: its object was not made yet.
        """
        try:
            with self._medium.open(_session(session), create=False) as found:
                return set(found.read().decode().rpartition("\n")[0].split())
        except FileNotFoundError:
            return set()

    # -- errors -----------------------------------------------------------------------

    def _lost(self) -> ToozConnectionError:
        return ToozConnectionError(
            f"the session of this coordinator in {self._medium} is gone, because what is "
            "stored there was removed: stop() the coordinator and start() it again"
        )

    def _held_up(self) -> OperationTimedOut:
        return OperationTimedOut(
            f"another process has been in the middle of a change in {self._medium} for "
            f"{self._timeout} seconds: it is paused, or this host is overloaded"
        )


def _session(token: str) -> str:
    return f"session.{token}"
