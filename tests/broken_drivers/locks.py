"""Locks that let two in, refuse or free when they must not, wait wrongly, or lie."""

from __future__ import annotations

import fcntl
import math
import random
import threading
import time

from conformance.coordination import Deadline, Feature, Waiting
from conformance.drivers.local import LocalLock
from conformance.drivers.medium import SHARED

from .broken import THREADS, WINDOW, meant_for

_ONE_IN = 20
"""Of how many calls a rare mistake is made in one."""


# -- letting two in --------------------------------------------------------------------


@meant_for({"test_lock_is_exclusive": THREADS})
class LooksThenTakes(LocalLock):
    """Looks whether the lock is free, then takes it: drivers that GET a key, then SET it."""

    def _try(self, kind: int) -> bool:
        if not super()._try(kind):
            return False
        self._open()[0].unlock()
        time.sleep(WINDOW)
        super()._try(kind)
        return True


@meant_for({"test_every_operation_takes_effect_between_call_and_return": "LINEARIZABLE"})
class HasLocksAlone(LooksThenTakes.driver):
    """Has nothing but such locks, and claims an order for them."""

    FEATURES = frozenset({Feature.LOCKS})


@meant_for({"test_lock_is_exclusive": THREADS})
class SeldomLooks(LocalLock):
    """Lets every twentieth in without looking: drivers whose race window is small."""

    def _take(self, kind: int, deadline: Deadline) -> bool:
        if random.randrange(_ONE_IN) == 0:
            self._open()
            return True
        return super()._take(kind, deadline)


@meant_for({"test_lock_is_exclusive": THREADS})
class LocksForTheProcess(LocalLock):
    """Takes lockf(3) for flock(2), as fasteners does: a process never excludes itself."""

    def _try(self, kind: int) -> bool:
        try:
            fcntl.lockf(self._open()[0].number, kind | fcntl.LOCK_NB)
        except (BlockingIOError, PermissionError):
            return False
        return True

    def _release(self) -> bool:
        fcntl.lockf(self._open()[0].number, fcntl.LOCK_UN)
        return super()._release()


@meant_for({"test_threads_may_share_one_lock_object": THREADS})
class HoldsForTheThread(LocalLock):
    """Knows of a hold only in the thread that acquired, as redis-py's Lock does."""

    _thread: int | None = None

    def _acquire(self, deadline: Deadline, shared: bool) -> bool:
        granted = super()._acquire(deadline, shared)
        if granted:
            self._thread = threading.get_ident()
        return granted

    def _is_held(self) -> bool:
        return super()._is_held() and self._thread == threading.get_ident()


_MIXED = "test_threads_mix_calls_on_one_lock_object"
_TURNS = "test_threads_may_share_one_lock_object"


@meant_for({_MIXED: THREADS}, spares=("test_a_broken_lock_is_known_to_be_lost",))
class GivesALaterHoldAway(LocalLock):
    """Tidies up after a release with which another thread was quicker.

    What is tidied up is a later hold's by then: a connection, a lease or a token that the
    object has one of.
    """

    _number = 0

    def _acquire(self, deadline: Deadline, shared: bool) -> bool:
        granted = super()._acquire(deadline, shared)
        self._number += granted
        return granted

    def release(self) -> bool:
        number = self._number
        time.sleep(WINDOW)
        with self._guard:
            return super().release() and number == self._number


@meant_for({_MIXED: THREADS}, spares=(_TURNS, "test_a_broken_lock_is_known_to_be_lost"))
class DoubtsALaterHold(LocalLock):
    """Takes an answer about a former hold for one about the hold that the object has now."""

    def is_still_owner(self) -> bool:
        owner = super().is_still_owner()
        if not owner:
            time.sleep(WINDOW)
            super().release()
        return owner


@meant_for({_MIXED: THREADS}, spares=(_TURNS, "test_a_broken_lock_is_known_to_be_lost"))
class RevivesAnEndedHold(LocalLock):
    """Renews a hold that ended once it had looked: a key that is SET, where it is compared first.

    It may have been broken or given back.
    """

    def heartbeat(self) -> bool:
        if not super().heartbeat():
            return False
        time.sleep(WINDOW)
        with self._guard:
            return self._is_held() or self._acquire(Deadline.of(False), shared=False)


@meant_for({"test_shared_holds_exclude_exclusive_ones": THREADS})
class SharesWithWriters(LocalLock):
    """Grants shared holds without looking: drivers that only count their readers."""

    def _take(self, kind: int, deadline: Deadline) -> bool:
        if kind == SHARED:
            self._open()
            return True
        return super()._take(kind, deadline)


# -- refusing, and waiting -------------------------------------------------------------


@meant_for({"test_lock_is_exclusive": THREADS})
class SeldomRefuses(LocalLock):
    """Refuses every twentieth try whatever it finds.

    Drivers that lose a reply, or give up when two try at once.
    """

    def _take(self, kind: int, deadline: Deadline) -> bool:
        if deadline.expired and random.randrange(_ONE_IN) == 0:
            return False
        return super()._take(kind, deadline)


@meant_for({"test_a_held_lock_is_refused_in_time": THREADS})
class WaitsForEver(LocalLock):
    """Takes any time for no limit: drivers that hand ``blocking`` on as a truth value."""

    def _take(self, kind: int, deadline: Deadline) -> bool:
        return super()._take(kind, deadline if deadline.expired else Deadline(math.inf))


@meant_for({"test_a_held_lock_is_refused_in_time": THREADS})
class DoesNotWait(LocalLock):
    """Refuses a held lock at once though told to wait: drivers of servers that only try."""

    def _take(self, kind: int, deadline: Deadline) -> bool:
        return super()._take(kind, deadline if deadline.remaining == math.inf else Deadline(0.0))


# -- asking again, and releasing -------------------------------------------------------


@meant_for({"test_asking_again_changes_nothing": THREADS})
class LosesItByAskingAgain(LocalLock):
    """Drops the hold of who asks again in vain: drivers that clean up after any refusal."""

    def acquire(self, blocking: Waiting = True, shared: bool = False) -> bool:
        held = self._is_held()
        granted = super().acquire(blocking, shared)
        if held and not granted:
            super().release()
        return granted


@meant_for({"test_asking_again_changes_nothing": THREADS})
class GrantsTwice(LocalLock):
    """Grants the holder a second hold, as GET_LOCK of MySQL and advisory locks do."""

    def acquire(self, blocking: Waiting = True, shared: bool = False) -> bool:
        return self._is_held() or super().acquire(blocking, shared)


@meant_for({"test_asking_again_changes_nothing": THREADS})
class ForgetsToRelease(LocalLock):
    """Says that it released and did not: drivers that ignore the server's answer."""

    def _release(self) -> bool:
        self._holds = False
        self._coordinator.holding.discard(self)
        return True


@meant_for({"test_asking_again_changes_nothing": THREADS})
class BelievesAfterRelease(LocalLock):
    """Still says ``acquired`` after a release: drivers that keep the answer of an acquire."""

    _ever = False

    def _acquire(self, deadline: Deadline, shared: bool) -> bool:
        self._ever = super()._acquire(deadline, shared)
        return self._ever

    @property
    def acquired(self) -> bool:
        return self._ever


@meant_for({"test_only_the_holder_releases": THREADS})
class ObeysStrangers(LocalLock):
    """Frees the lock for whoever asks: semaphores, and keys deleted without comparing."""

    def release(self) -> bool:
        return super().release() or self._break()


@meant_for({"test_only_the_holder_releases": THREADS})
class AlwaysReleased(LocalLock):
    """Says True to every release: drivers that report that the call went through."""

    def release(self) -> bool:
        super().release()
        return True


@meant_for({"test_a_broken_lock_is_known_to_be_lost": "truth after loss"})
class BelievesAfterLoss(LocalLock):
    """Still says ``acquired`` when the loss is known, as kazoo's ``is_acquired`` does."""

    @property
    def acquired(self) -> bool:
        return self._holds
