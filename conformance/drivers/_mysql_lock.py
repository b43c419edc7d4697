"""The lock on MySQL: a user-level lock of the server, held by a connection.

What GET_LOCK gives (MySQL 9.7 Reference Manual, "Locking Functions"): a lock of a name of at
most 64 characters, no matter their case, one for the whole server; held by a session until
it releases it or ends; another session waits in the server, which wakes it. So a name is a
digest of the database, the namespace and the lock's name. A session that holds a lock gets it
again if it asks; so what is held on a connection is noted with it, and not asked for.

- A lock that is free is held on the coordinator's main connection, as any number of others.
- A lock that is not free is waited for on a connection of its own, which then holds it.
  Waiting connections hold nothing else, so the server never sees a deadlock among them.
  Released locks go to the session that has waited longest (those in the server's queue are
  served first); a waiter asks anew twice a second, which puts it behind those that wait then.

The server has no way to take one lock from a session: KILL takes all that the session has.
So a lock has a *generation*, 0 until it is first broken, which is part of its name on the
server, and which breaking raises, in a table. Whoever gets the lock of some generation then
looks whether that is still the present one: only then it holds. What a former holder has is
the lock of a generation that nobody asks for any more.

Round trips: 1 to acquire a free lock, 1 to release it, which is the least; each is two
statements in one packet. A refused try takes 1, a hand-over half of one from the moment of
the release. Breaking takes 2. A lock whose break and release meet at the very same moment may
be reported as both released and broken.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import pymysql
from pymysql.constants import ER

from conformance.drivers._mysql_link import Link, error_number
from conformance.drivers._mysql_session import Session
from conformance.errors import NotImplemented as NotImplementedHere
from conformance.locking import Deadline, Lock, Owner

__all__ = ["MySQLLock"]

_GENERATION = "SELECT COALESCE(MAX(generation), 0) FROM coordination_breaks WHERE id = %s"


class Hold(NamedTuple):
    """A lock of the server that this object has: on which connection, and which one."""

    link: Link
    name: str
    generation: int


class MySQLLock(Lock):
    """A lock that a connection holds.

    :param name: the lock's name
    :param owner: the coordinator that makes it
    :param session: its connections
    :param identity: the lock's key in the table of broken ones
    :param named: returns its name on the server for a generation
    """

    def __init__(
        self,
        name: bytes,
        owner: Owner,
        session: Session,
        identity: bytes,
        named: Callable[[int], str],
    ) -> None:
        super().__init__(name, owner)
        self._session = session
        self._identity = identity
        self._named = named
        self._hold: Hold | None = None
        self._generation = 0
        """The present generation, as it was when it was last seen: a guess, no more."""

    def _acquire(self, deadline: Deadline, shared: bool) -> bool:
        if shared:
            raise NotImplementedHere("MySQL has no shared locks: use shared=False")
        if self._try(self._session.main, 0):
            return True
        if deadline.expired:
            return False
        with self._session.spare() as link:
            while not self._try(link, min(deadline.remaining, self._session.waiting)):
                if deadline.expired:
                    return False
                self._owner.check_started(f"waiting for lock {self._name!r}")
            return True

    def _release(self) -> bool:
        hold, self._hold = self._hold, None
        if hold is None:
            return False
        try:
            with hold.link.mutex:
                hold.link.holds.pop(hold.name, None)
                # The generation first: once the lock is released, who breaks it breaks
                # another's hold, and this one was no longer there to be lost.
                (generation,), (released,) = hold.link.ask(
                    f"{_GENERATION}; SELECT RELEASE_LOCK(%s)", self._identity, hold.name
                ).rows
        finally:
            self._session.give_back(hold.link)
        return bool(released == 1 and generation == hold.generation)

    def _is_held(self) -> bool:
        hold = self._hold
        return hold is not None and hold.name in hold.link.holds and not hold.link.lost

    def _is_still_owner(self) -> bool:
        hold = self._hold
        if hold is None:
            return False
        try:
            (used,), (generation,) = hold.link.ask(
                f"SELECT COALESCE(IS_USED_LOCK(%s) = CONNECTION_ID(), 0); {_GENERATION}",
                hold.name,
                self._identity,
            ).rows
        except pymysql.MySQLError:
            if hold.link.lost:
                return False  # a lock ends with its connection, whatever ended that
            raise
        if used and generation == hold.generation:
            return True
        with self._guard:  # a thread that releases this hold may take another
            if self._hold is hold:
                self._release()
        return False

    def _break(self) -> bool:
        main, generation = self._session.main, self._generation
        while True:
            name, known = self._named(generation), generation
            (used,), (generation,) = main.ask(
                f"SELECT IS_USED_LOCK(%s) IS NOT NULL; {_GENERATION}", name, self._identity
            ).rows
            if generation != known:
                continue
            if not used:
                return False
            if self._raise(generation, name):
                return True

    def _raise(self, generation: int, name: str) -> bool:
        """Make the next generation the present one, unless another did or nobody holds."""
        if generation:
            return bool(
                self._session.ask(
                    "UPDATE coordination_breaks SET generation = generation + 1"
                    " WHERE id = %s AND generation = %s AND IS_USED_LOCK(%s) IS NOT NULL",
                    self._identity,
                    generation,
                    name,
                ).count
            )
        try:
            return bool(
                self._session.ask(
                    "INSERT INTO coordination_breaks (id, generation)"
                    " SELECT %s, 1 FROM DUAL WHERE IS_USED_LOCK(%s) IS NOT NULL",
                    self._identity,
                    name,
                ).count
            )
        except pymysql.IntegrityError as error:
            if error_number(error) != ER.DUP_ENTRY:
                raise
            return False

    def _drop(self) -> None:
        self._hold = None

    def _try(self, link: Link, seconds: float) -> bool:
        """Ask for the lock on a connection, waiting at most so long; whether it is held."""
        while True:
            guess = self._generation
            name = self._named(guess)
            with link.mutex:
                if name in link.holds:
                    taken, ((generation,),) = 0, link.ask(_GENERATION, self._identity).rows
                else:
                    (taken,), (generation,) = link.compete(
                        name, seconds, _GENERATION, self._identity
                    ).rows
                if taken and generation == guess:
                    link.holds[name] = self._name
                    self._hold = Hold(link, name, guess)
                    return True
                if taken:
                    link.ask("SELECT RELEASE_LOCK(%s)", name)
            if generation == guess:
                return False
            self._generation = generation
