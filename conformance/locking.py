"""The contract of a lock, and what every driver's lock shares.

A lock's *holder* is the lock object: not a thread, not a process. Threads may share one
object; while it holds, a further ``acquire()`` on it waits like anybody else's. A hold
of an object ends by any thread's ``release()`` that is called during it, and by none that
found another. While one thread acquires or releases, another may be told already, or
still, that the object does not hold. No driver code belongs here.
"""

from __future__ import annotations

import abc
import contextlib
import math
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from types import TracebackType
from typing import Protocol

from conformance.errors import LockAcquireFailed, ToozError

__all__ = ["Deadline", "Lock", "Waiting"]

Waiting = bool | int | float
"""How long to wait: ``True`` for ever, ``False`` not at all, a number of seconds."""

_RECHECK_SECONDS = 0.25
"""How often a thread that waits for its own lock object looks whether the hold was lost
behind its back; a release by another thread wakes it at once."""


class Deadline:
    """The moment until which an operation may wait, on the monotonic clock."""

    def __init__(self, seconds: float) -> None:
        """Start a deadline that ends ``seconds`` from now; ``math.inf`` never ends."""
        self._end = time.monotonic() + seconds

    @classmethod
    def of(cls, waiting: Waiting) -> Deadline:
        """Return the deadline that a ``blocking`` argument asks for.

        Raises TypeError or ValueError when it is no bool and no number of seconds >= 0.
        """
        if isinstance(waiting, bool):
            return _NEVER if waiting else _AT_ONCE
        if not isinstance(waiting, int | float):
            raise TypeError(
                f"blocking takes True, False or a number of seconds, not {type(waiting).__name__}"
            )
        if math.isnan(waiting) or waiting < 0:
            raise ValueError(f"blocking takes a number of seconds of at least 0, not {waiting!r}")
        return cls(float(waiting))

    @property
    def remaining(self) -> float:
        """Seconds that are left: at least 0, ``math.inf`` without an end."""
        return max(0.0, self._end - time.monotonic())

    @property
    def expired(self) -> bool:
        """Whether no time is left."""
        return time.monotonic() >= self._end


_NEVER, _AT_ONCE = Deadline(math.inf), Deadline(-math.inf)
"""They do not depend on when they are asked for."""


class Owner(Protocol):
    """What a lock needs of the coordinator that made it."""

    def translated(self, operation: str) -> AbstractContextManager[None]:
        """Return a context that turns foreign exceptions into the API's own.

        It may be entered any number of times, also by several threads at once.
        """

    def check_started(self, operation: str) -> None:
        """Raise ToozError when the coordinator is not started, or no longer."""


class Lock(abc.ABC):
    """A lock of one name, made by :meth:`Coordinator.get_lock`.

    A driver implements the methods with a leading underscore. ``_acquire`` and
    ``_release`` are called by one thread at a time; exceptions of any kind may leave
    them and are translated by the coordinator.

    :param name: the lock's name, any bytes but none
    :param owner: the coordinator that makes it
    """

    def __init__(self, name: bytes, owner: Owner) -> None:
        self._name = name
        self._owner = owner
        self._guard = threading.RLock()
        self._changed = threading.Condition(self._guard)
        self._busy = False
        self._acquirer = 0
        self._retired_within = False
        self._waiting = 0
        self._acquiring = f"acquiring lock {name!r}"
        self._translated_acquiring = owner.translated(self._acquiring)
        self._translated_releasing = owner.translated(f"releasing lock {name!r}")

    @property
    def name(self) -> bytes:
        """The name under which every coordinator finds this lock."""
        return self._name

    @property
    def acquired(self) -> bool:
        """Whether this object holds the lock, as far as can be known without asking.

        False as soon as a loss has been noticed. :meth:`is_still_owner` asks the server.
        """
        return self._is_held()

    def acquire(self, blocking: Waiting = True, shared: bool = False) -> bool:
        """Try to become a holder.

        :param blocking: ``True`` waits until the lock is free, ``False`` does not wait,
            a number waits at most that many seconds
        :param shared: ask for a shared hold, which excludes exclusive holds only
        :returns: True when this object holds the lock now; False when it was not to be
            had in time. An object that holds already does not get a second hold.
        :raises NotImplemented: ``shared`` on a driver without shared locks
        :raises ToozError: the server failed; the object then holds nothing that the
            driver knows of
        """
        deadline = Deadline.of(blocking)
        if not isinstance(shared, bool):
            raise TypeError(f"shared takes True or False, not {type(shared).__name__}")
        with self._translated_acquiring:
            if not self._begin(deadline):
                return False
            try:
                # After this, stop() waits until the acquire ends, and then releases.
                self._owner.check_started(self._acquiring)
                taken = self._acquire(deadline, shared)
                if taken and self._retired_within:
                    with self._guard:
                        self._release()
                    raise ToozError(f"{self._acquiring}: the coordinator was stopped meanwhile")
                return taken
            finally:
                self._end()

    def release(self) -> bool:
        """Give the lock back.

        :returns: True when this object held the lock and it is free of this hold now;
            False when it did not hold it: never acquired, already released, lost, or
            broken. Another object's hold is never touched.
        :raises ToozError: the server failed; whether the lock was released is unknown
        """
        with self._translated_releasing, self._guard:
            try:
                return self._is_held() and self._release()
            finally:
                self._tell()

    def is_still_owner(self) -> bool:
        """Ask the server whether this object still holds the lock."""
        with self._owner.translated(f"asking for the owner of lock {self._name!r}"):
            return self._is_held() and self._is_still_owner()

    def heartbeat(self) -> bool:
        """Show that the holder is alive, on drivers whose holds expire.

        :returns: True when the lock is held and stays so; False when it is not held
        """
        with self._owner.translated(f"keeping lock {self._name!r}"):
            return self._is_held() and self._heartbeat()

    def break_(self) -> bool:
        """Take the lock away from whoever holds it, exclusive or shared.

        The holders' :meth:`is_still_owner` turns False and their :meth:`release` returns
        False.

        :returns: True when somebody held it, else False; somebody who was just acquiring or
            releasing it may count as a holder
        :raises NotImplemented: the driver cannot break locks
        """
        operation = f"breaking lock {self._name!r}"
        self._owner.check_started(operation)
        with self._owner.translated(operation):
            return self._break()

    def __call__(
        self, blocking: Waiting = True, shared: bool = False
    ) -> AbstractContextManager[Lock]:
        """Return a context manager that acquires with these arguments, then releases."""
        return self._holding(blocking, shared)

    def __enter__(self) -> Lock:
        """Acquire, waiting for ever.

        :raises LockAcquireFailed: the lock was not acquired
        """
        return self._enter(True, False)

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        """Release."""
        self.release()

    def __repr__(self) -> str:
        return f"<{type(self).__name__} {self._name!r}{' (held)' if self.acquired else ''}>"

    @contextlib.contextmanager
    def _holding(self, blocking: Waiting, shared: bool) -> Iterator[Lock]:
        self._enter(blocking, shared)
        try:
            yield self
        finally:
            self.release()

    def _enter(self, blocking: Waiting, shared: bool) -> Lock:
        if not self.acquire(blocking, shared):
            raise LockAcquireFailed(
                f"lock {self._name!r} was not to be had within blocking={blocking!r}"
            )
        return self

    def _begin(self, deadline: Deadline) -> bool:
        """Wait until no thread holds or acquires this object, then acquire; say if that came."""
        with self._guard:
            while self._busy or self._is_held():
                self._owner.check_started(f"waiting for lock {self._name!r}")
                if deadline.expired:
                    return False
                self._wait_for_change(min(deadline.remaining, _RECHECK_SECONDS))
            self._busy, self._acquirer = True, threading.get_ident()
            self._retired_within = False
        return True

    def _end(self) -> None:
        """Acquire no longer, with or without success."""
        with self._guard:
            self._busy = False
            self._tell()

    def _wait_for_change(self, seconds: float | None) -> None:
        """Wait for a thread that tells of a change."""
        self._waiting += 1
        try:
            self._changed.wait(seconds)
        finally:
            self._waiting -= 1

    def _tell(self) -> None:
        """Wake those who wait for a change."""
        if self._waiting:
            self._changed.notify_all()

    @abc.abstractmethod
    def _acquire(self, deadline: Deadline, shared: bool) -> bool:
        """Become a holder before the deadline, trying at least once.

        Not called while this object holds. While it waits, it calls
        ``self._owner.check_started(...)`` at least every second and gives up its place
        when that raises.
        """

    @abc.abstractmethod
    def _release(self) -> bool:
        """Give up the hold, if any; say whether there was one."""

    @abc.abstractmethod
    def _is_held(self) -> bool:
        """Whether this object holds, by local knowledge; must not fail nor block."""

    @abc.abstractmethod
    def _is_still_owner(self) -> bool:
        """Whether this object holds, by the server's word."""

    def _heartbeat(self) -> bool:
        """Renew the hold; drivers whose holds do not expire only look."""
        return self._is_still_owner()

    def _break(self) -> bool:
        """Remove all holds; say whether there was one."""
        raise NotImplementedError(f"{type(self).__name__} cannot break locks")

    def retire(self) -> None:
        """Release for good: the coordinator is being stopped.

        Waits for an ``acquire()`` under way, which ends because the coordinator is no
        longer started; but not for one of this thread, which a handler of signals has
        interrupted, and which gives back itself what it gets.
        """
        with self._translated_releasing, self._guard:
            while self._busy and self._acquirer != threading.get_ident():
                self._wait_for_change(None)
            self._retired_within = self._busy
            try:
                if self._is_held():
                    self._release()
            finally:
                self._tell()

    def forget(self) -> None:
        """In a forked child: drop the inherited hold, without releasing the parent's."""
        self._guard = threading.RLock()
        self._changed = threading.Condition(self._guard)
        self._busy = False
        self._waiting = 0
        self._drop()

    @abc.abstractmethod
    def _drop(self) -> None:
        """Close and forget an inherited hold so that only the parent's remains."""
