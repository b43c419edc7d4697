"""Time-outs where there must be none: leases, beats, and waiting for the dead."""

from __future__ import annotations

import os
import struct
import time
from typing import ClassVar

from conformance.coordination import Characteristics
from conformance.drivers.file import FileDriver
from conformance.drivers.local import LocalLock
from conformance.drivers.session import Session

from .broken import THREADS, meant_for

_STAMP = struct.Struct("<d")
_STAMP_AT = 64
"""Where in a lock's object a stamp stands: well behind the bell."""

_LOCK_DELAY = 0.02
"""Seconds for which a lock is left alone after a release."""

_BEATS = 3
"""How often a session is to be renewed within its time-out."""


class _StampedLock(LocalLock):
    """A lock whose object bears a moment, in seconds of the monotonic clock."""

    def _stamp(self, moment: float) -> None:
        os.pwrite(self._open()[0].number, _STAMP.pack(moment), _STAMP_AT)

    def _stamped(self) -> float:
        found = os.pread(self._open()[0].number, _STAMP.size, _STAMP_AT)
        return _STAMP.unpack(found)[0] if found else 0.0

    @property
    def _lease(self) -> float:
        """How long a hold lasts, in seconds."""
        return self._coordinator._timeout


@meant_for({"test_lock_is_exclusive": THREADS})
class LeavesItAlone(_StampedLock):
    """Refuses a lock that was just released, as Consul's lock-delay does after a loss."""

    def _try(self, kind: int) -> bool:
        return time.monotonic() > self._stamped() and super()._try(kind)

    def _release(self) -> bool:
        self._stamp(time.monotonic() + _LOCK_DELAY)
        return super()._release()


@meant_for({"test_nobody_starves": "liveness"})
class FavoursTheLast(_StampedLock):
    """Leaves a lock for a while to who had it last, as biased locks and kept leases do."""

    _favoured = False

    def _try(self, kind: int) -> bool:
        left_to_another = time.monotonic() < self._stamped() and not self._favoured
        self._favoured = not left_to_another and super()._try(kind)
        return self._favoured

    def _release(self) -> bool:
        self._stamp(time.monotonic() + _LOCK_DELAY)
        return super()._release()


class _LeasedLock(_StampedLock):
    """A lock that is taken from a holder who was silent for long."""

    def _try(self, kind: int) -> bool:
        if not super()._try(kind) and time.monotonic() > self._stamped():
            self._coordinator.session.break_lock(self._object)
        granted = super()._try(kind)
        if granted:
            self._stamp(time.monotonic() + self._lease)
        return granted

    def _heartbeat(self) -> bool:
        self._stamp(time.monotonic() + self._lease)
        return super()._heartbeat()


@meant_for({"test_a_paused_holder_keeps_its_lock": "NON_TIMEOUT_BASED"})
class Steals(_LeasedLock):
    """Takes a lock from a holder who was silent for long: Redis, memcached, etcd, Consul."""


_OWN_SECONDS = 2.0
"""A time that no option sets."""


@meant_for({"test_a_paused_holder_keeps_its_lock": "NON_TIMEOUT_BASED"})
class StealsInItsOwnTime(_LeasedLock):
    """Takes a lock from a holder who was silent for a time of its own, whatever the options."""

    _lease = _OWN_SECONDS


class _BelievingLock(_LeasedLock):
    """A lock that is held for all that its object knows until somebody asks the server."""

    @property
    def acquired(self) -> bool:
        return self._holds


@meant_for(
    {"test_nobody_believes_in_a_hold_lost_in_a_pause": "truth after loss"},
    level="processes",
    spares=("test_asking_again_changes_nothing",),
)
class BelievesInItsLease(FileDriver):
    """Leaves it to the server to count a lease, and is not told when it ends."""

    CHARACTERISTICS = (Characteristics.DISTRIBUTED_ACROSS_PROCESSES,)

    def _make_lock(self, name: bytes) -> LocalLock:
        return _BelievingLock(name, self)


class _DeadLock(_StampedLock):
    """A lock that a dead holder keeps until its lease ends."""

    def _try(self, kind: int) -> bool:
        if time.monotonic() < self._stamped() or not super()._try(kind):
            return False
        self._stamp(time.monotonic() + self._lease)
        return True

    def _release(self) -> bool:
        self._stamp(0.0)
        return super()._release()


@meant_for({"test_a_dead_holders_lock_is_free_at_once": "NON_TIMEOUT_BASED"}, level="processes")
class WaitsForTheDead(_DeadLock):
    """Frees a dead holder's lock when its lease ends: drivers that hold by a lease alone."""


@meant_for({"test_a_dead_holders_lock_is_free_at_once": "NON_TIMEOUT_BASED"}, level="processes")
class WaitsItsOwnTime(_DeadLock):
    """Frees a dead holder's lock after a time of its own: files that count as stale."""

    _lease = _OWN_SECONDS


@meant_for(
    {
        "test_a_dead_holders_lock_is_free_at_once": "NON_TIMEOUT_BASED",
        "test_a_killed_contender_harms_no_lock": "crashes",
    },
    level="processes",
)
class LeavesAMarker(_StampedLock):
    """Marks a lock as held until it is released, as files made with O_EXCL do.

    The mark of a dead holder stays, as its semaphore would.
    """

    def _try(self, kind: int) -> bool:
        if self._stamped() or not super()._try(kind):
            return False
        self._stamp(time.monotonic())
        return True

    def _release(self) -> bool:
        self._stamp(0.0)
        return super()._release()


class _BeatingSession(Session):
    """A session that lives as long as its object was touched within the time-out."""

    def beat(self) -> None:
        os.utime(self._own.number)

    def _is_alive(self, session: str) -> bool:
        try:
            with self._medium.open(f"session.{session}", create=False) as found:
                silent = time.time() - os.fstat(found.number).st_mtime
        except FileNotFoundError:
            return False
        return silent < self._timeout


@meant_for(
    {
        "test_a_paused_member_stays": "NON_TIMEOUT_BASED",
        "test_a_paused_leader_keeps_leading": "NON_TIMEOUT_BASED",
        "test_a_dead_member_is_gone_at_once": "NON_TIMEOUT_BASED",
        "test_a_dead_leader_is_succeeded_at_once": "NON_TIMEOUT_BASED",
    },
    level="processes",
)
class LivesByBeating(FileDriver):
    """Takes who is silent for dead, by the age of a file, as upstream's file driver does."""

    requires_beating: ClassVar[bool] = True

    def _start(self) -> None:
        self._session = _BeatingSession(self._medium(), self._timeout)

    def _heartbeat(self) -> float:
        session = self.session
        assert isinstance(session, _BeatingSession)
        session.check()
        session.beat()
        return self._timeout / _BEATS
