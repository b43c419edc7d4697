"""The lock on Redis: a key that expires, with a queue of those who wait for it.

The key holds its holder's token. Whoever finds it held, and wants to wait, puts its own
token into a sorted set, in the order of coming. Releasing hands the lock to the first in
the queue whose session still listens, and tells that one. Who listens the server knows:
PUBLISH answers how many clients received the message (PUBLISH in the manual of Redis 8.0);
a killed waiter's connection is closed, so it is passed over. The lock is kept for the
chosen one for a moment only, until it claims it.

Should nobody release, the key expires (SET with PX, in the same manual); those who wait
ask again at that moment, and the first in the queue gets it, unless somebody comes at that
very moment. Thus nobody starves, and nobody polls. Both keys are gone when the lock is
free. So whoever may wait tries to set the key first, which takes the server less time than
a script; it is there as long as anybody waits.

Round trips: 1 to acquire a free lock, 1 to release it, 1 to be refused at once, and 1 from
being told to holding. To queue takes 2, a session's first wait 2 more, to listen, and an
acquire whose connection breaks 1 more, to find out whether it has the lock.

What is not promised: a holder that is paused for longer than ``lock_timeout`` loses the
lock, and finds out afterwards; what it does to other systems meanwhile, the lock cannot
prevent.
"""

from __future__ import annotations

import threading
import time

from redis.exceptions import ConnectionError as RedisConnectionError

from conformance import errors
from conformance.drivers._redis_scripts import ASK, BREAK
from conformance.drivers._redis_session import Claim, Session, milliseconds
from conformance.locking import Deadline, Lock, Owner

__all__ = ["RedisLock"]

_RECHECK_SECONDS = 0.25
"""How often a waiter looks whether its coordinator was stopped; all else wakes it."""

_CLOCK_STEP = 0.002
"""Seconds by which a waiter comes after the moment at which a lock lapses."""


class RedisLock(Lock):
    """A lock that is held for as long as its key has our token.

    :param name: the lock's name
    :param owner: the coordinator that makes it
    :param session: through which it is held
    :param keys: that of the holder and that of the queue
    """

    def __init__(
        self, name: bytes, owner: Owner, session: Session, keys: tuple[bytes, bytes]
    ) -> None:
        super().__init__(name, owner)
        self._session = session
        self._keys = keys
        self._claim: Claim | None = None

    def _acquire(self, deadline: Deadline, shared: bool) -> bool:
        if shared:
            raise errors.NotImplemented(
                "locks on Redis are exclusive: RedisDriver lacks SHARED_LOCKS"
            )
        session = self._session
        session.settle()
        claim = session.new_claim(self._name, self._keys)
        try:
            if not self._compete(claim, deadline):
                return False
        except BaseException as error:
            session.abandon(claim, error)
            raise
        session.holds[claim.token] = claim
        self._claim = claim
        return True

    def _compete(self, claim: Claim, deadline: Deadline) -> bool:
        """Ask, and wait, until the lock is ours or the time is up."""
        if not deadline.expired and self._take_free(claim):
            return True
        wakes = self._session.wakes
        with wakes.expecting(claim.token) as woken:
            while True:
                woken.clear()
                last, listening = deadline.expired, wakes.ready
                left = self._ask(claim, wait=listening and not last)
                if left is None and claim.lease.valid:
                    return True
                if left is None:  # the answer came too late to rely on it
                    self._session.give_back(claim)
                    left = 0.0
                if last:
                    return False
                if listening:
                    self._wait(woken, Deadline(min(left, deadline.remaining)))
                else:
                    wakes.start()

    def _take_free(self, claim: Claim) -> bool:
        """Take the lock if its key is not there; False also where that cannot be told."""
        session = self._session
        lasting = milliseconds(session.lock_timeout)
        sent = time.monotonic()
        try:
            taken = session.command("SET", self._keys[0], claim.token, "NX", "PX", lasting)
        except RedisConnectionError:
            return False
        if taken:
            claim.lease.renewed(sent)
        return bool(taken) and claim.lease.valid

    def _ask(self, claim: Claim, wait: bool) -> float | None:
        """Take or claim the lock: None when it is ours, else when to ask again, in seconds.

        Without ``wait`` no place in the queue is left behind.
        """
        session = self._session
        lasting = milliseconds(session.lock_timeout)
        request = claim.token, lasting, int(wait), session.channels, session.grace
        sent = time.monotonic()
        try:
            left = session.run(ASK, self._keys, *request)
        except RedisConnectionError:
            # The answer may be lost, or only a connection that had been idle. To ask again
            # is no second request: the token tells whether the lock is ours already.
            sent = time.monotonic()
            left = session.run(ASK, self._keys, *request)
        if left is None:
            claim.lease.renewed(sent)
            return None
        return float(left) / 1000 + _CLOCK_STEP

    def _wait(self, woken: threading.Event, deadline: Deadline) -> None:
        while not woken.wait(min(deadline.remaining, _RECHECK_SECONDS)):
            self._owner.check_started(f"waiting for lock {self._name!r}")
            if deadline.expired:
                return

    def _release(self) -> bool:
        claim, self._claim = self._claim, None
        if claim is None or not self._let_go(claim):
            return False
        try:
            return self._session.give_back(claim)
        except BaseException as error:
            self._session.abandon(claim, error)
            raise

    def _is_held(self) -> bool:
        claim = self._claim
        return claim is not None and claim.token in self._session.holds and claim.lease.valid

    def _is_still_owner(self) -> bool:
        claim = self._claim
        if claim is None:
            return False
        if self._session.command("GET", self._keys[0]) == claim.token.encode():
            return True
        self._let_go(claim)
        return False

    def _heartbeat(self) -> bool:
        claim = self._claim
        if claim is None:
            return False
        ((kept,), _, _) = self._session.keep([claim])
        if kept:
            return True
        self._let_go(claim)
        return False

    def _break(self) -> bool:
        session = self._session
        return bool(session.run(BREAK, self._keys, session.channels, session.grace))

    def _drop(self) -> None:
        self._claim = None

    def _let_go(self, claim: Claim) -> bool:
        """Count a claim as a hold no more, and no other; say whether it was one."""
        return self._session.holds.pop(claim.token, None) is not None
