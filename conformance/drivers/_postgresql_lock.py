"""The lock on PostgreSQL: two advisory locks for each, one held and one to queue for.

Advisory locks are told apart by 64 bits, so a lock's name has a row with a number of its own:
no two names ever exclude each other. The holder has the number N, exclusively, through its
coordinator's session. Who wants it while it is held queues for -N, the *turn*, over another
connection. Who has the turn waits until N is free, takes it through the coordinator's session,
and passes the turn on. So the lock is held by the session, not by the waiter's connection.

- *First come, first served*: the server queues requests for an advisory lock, and grants none
  that conflicts with one that waits (PostgreSQL's source, src/backend/storage/lmgr/README).
  A try takes the turn too, shared and until its statement's end: it fails while others wait,
  and tries do not make one another fail.
- *Nobody asks again and again*: the server wakes whoever has the turn when the lock is
  released or its holder's connection ends.
- *Breaking* gives the name another number. The old holder finds its number outdated; those
  who wait look for that once a second, and go to the new queue.

Round trips: 1 to acquire a free lock and 1 to release it, which is the least that can be. To be
refused takes 1; a hand-over 2 from the moment at which the waiter is told.
"""

from __future__ import annotations

import math

import psycopg2
from psycopg2 import errors

from conformance.drivers import _postgresql_schema as sql
from conformance.drivers._postgresql_connection import Connection
from conformance.drivers._postgresql_session import Attempt, Session
from conformance.errors import ToozError
from conformance.locking import Deadline, Lock, Owner

__all__ = ["PostgresLock"]

_RECHECK_SECONDS = 0.25
"""How often a waiter looks whether its coordinator was stopped."""

_LOOK_SECONDS = 1.0
"""How often a waiter looks whether the lock was broken, and whether the server still answers;
all else wakes it."""

_LONGEST_WAIT = 2**31 - 1
"""Milliseconds: the largest lock_timeout (manual 17, "lock_timeout")."""


class _Outdated(Exception):
    """The lock was broken, so what is waited for is not the lock any more."""


class PostgresLock(Lock):
    """A lock that its coordinator's session holds.

    :param name: the lock's name
    :param owner: the coordinator that makes it
    :param session: through which it is held
    :param key: that of its row
    """

    def __init__(self, name: bytes, owner: Owner, session: Session, key: bytes) -> None:
        super().__init__(name, owner)
        self._session = session
        self._key = key
        self._hold: Attempt | None = None

    def _acquire(self, deadline: Deadline, shared: bool) -> bool:
        if shared:
            raise NotImplementedError("PostgresDriver does not have shared locks")
        attempt = self._try()
        while not attempt.granted and not deadline.expired:
            try:
                with self._session.waiter(attempt.number) as waiter:
                    attempt = self._queue(waiter, attempt.number, deadline)
            except _Outdated:
                attempt = self._try()
        self._hold = attempt if attempt.granted else None
        return attempt.granted

    def _release(self) -> bool:
        hold, self._hold = self._hold, None
        return hold is not None and self._session.release(self._name, self._key, hold)

    def _is_held(self) -> bool:
        hold = self._hold
        return hold is not None and self._session.holds(hold)

    def _is_still_owner(self) -> bool:
        hold = self._hold
        if hold is None:
            return False
        if self._session.confirm(self._key, hold):
            return True
        with self._guard:  # a thread that releases this hold may take another
            if self._hold is hold:
                self._release()
        return False

    def _break(self) -> bool:
        return bool(self._session.run(sql.BREAK, gate=sql.gate(self._key), key=self._key))

    def _drop(self) -> None:
        self._hold = None

    def _try(self, turn: int | None = None) -> Attempt:
        return self._session.try_lock(self._name, self._key, turn)

    def _queue(self, waiter: Connection, number: int, deadline: Deadline) -> Attempt:
        """Wait for the turn, then for the lock."""
        came = self._wait(waiter, sql.TURN, number, deadline.remaining)
        if not came and not self._ask(waiter, sql.HAS_TURN, number):
            return self._try()
        while True:
            attempt = self._try(turn=number)
            if attempt.granted or attempt.number != number:
                self._pass_on(waiter, attempt, number)
                return attempt
            if deadline.expired and self._ask(waiter, sql.GIVE_UP, number):
                return attempt
            self._wait(waiter, sql.FREE, number, deadline.remaining)

    def _pass_on(self, waiter: Connection, attempt: Attempt, number: int) -> None:
        """Give up the turn; what was taken in it is held even if the connection fails."""
        try:
            self._ask(waiter, sql.TURN_OVER, number)
        except (psycopg2.Error, ToozError):
            self._session.discard(waiter, number)  # and with it the turn
        except BaseException:
            if attempt.granted:
                self._session.release(self._name, self._key, attempt)
            raise

    def _ask(self, waiter: Connection, statement: str, number: int) -> bool:
        parameters = {"gate": sql.gate(self._key), "number": number}
        ((answer,),) = waiter.run(statement, parameters, deadline=Deadline(self._session.timeout))
        return bool(answer)

    def _wait(self, waiter: Connection, statement: str, number: int, seconds: float) -> bool:
        """Wait for an advisory lock; say whether it came in time.

        :raises _Outdated: it is the lock's no more
        """
        # 0 stands for no limit.
        limit = 0 if math.isinf(seconds) else min(math.ceil(seconds * 1000) or 1, _LONGEST_WAIT)
        waiter.send(statement, {"number": number, "limit": limit})
        look = Deadline(_LOOK_SECONDS)
        try:
            while not waiter.ready(Deadline(_RECHECK_SECONDS)):
                self._owner.check_started(f"waiting for lock {self._name!r}")
                if look.expired:
                    if not self._session.is_current(self._key, number):
                        raise _Outdated
                    look = Deadline(_LOOK_SECONDS)
        except errors.LockNotAvailable:
            return False
        return True
