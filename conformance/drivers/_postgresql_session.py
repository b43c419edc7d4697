"""A session with PostgreSQL: the connection through which a coordinator holds what it holds.

All locks, memberships and leaderships of a coordinator live with one connection, and end with
it at once: when it is closed, when its process dies, when the server does. Another takes its
place then. Who has to wait for a lock borrows a further connection while waiting, so there are
never more than one for each waiter and one. Groups and leaders stand elsewhere.
"""

from __future__ import annotations

import contextlib
import logging
import math
import threading
from collections.abc import Callable, Iterator, Mapping
from typing import NamedTuple

import psycopg2
from psycopg2 import errorcodes

from conformance.drivers import _postgresql_schema as sql
from conformance.drivers._postgresql_connection import Connection, Row
from conformance.errors import OperationTimedOut, ToozError
from conformance.locking import Deadline

__all__ = ["Attempt", "Session"]

_log = logging.getLogger(__name__)

_CHECK_MILLISECONDS = 1000
"""How often the server looks whether the client of a waiting statement is still there (manual
17, "client_connection_check_interval", from 14 on)."""

_PROBES = 3
"""How many keepalive probes may go unanswered before this side takes the server for gone. The
server waits for twice as many: who is cut off learns of it before another gets in."""

_SETTLE_SECONDS = 1.0
"""How often to try to give back what a call that timed out may have taken."""

_KEPT_WAITERS = 4
"""How many connections of waiters are kept when nobody waits."""

_MISSING = {errorcodes.UNDEFINED_TABLE, errorcodes.INVALID_SCHEMA_NAME}


class Attempt(NamedTuple):
    """What came of a try to take a lock: whether it is held, and what would be.

    ``session`` counts the sessions of a coordinator, ``number`` is the lock's.
    """

    session: int
    number: int
    granted: bool


class Session:
    """A coordinator's connections; used by any number of threads.

    :param parameters: of a connection, as libpq takes them
    :param timeout: seconds that one exchange may take
    :param on_loss: called with the names of the locks that were lost with a connection
    """

    def __init__(
        self,
        parameters: Mapping[str, object],
        timeout: float,
        on_loss: Callable[[list[bytes]], None],
    ) -> None:
        self.timeout = timeout
        self.count = 0
        """How many connections were lost so far: tells the sessions apart."""
        seconds = max(1, math.ceil(timeout))
        self._keepalive = {
            "keepalives_idle": seconds,
            "keepalives_interval": max(1, seconds // _PROBES),
            "keepalives_count": _PROBES,
        }
        self._parameters = {
            **parameters,
            **self._keepalive,
            "tcp_user_timeout": 1000 * (seconds + _PROBES * self._keepalive["keepalives_interval"]),
        }
        self._on_loss = on_loss
        self._mutex = threading.Lock()
        self._closed = True
        self._main: Connection | None = None
        self._number = 0
        self._ghost: dict[str, int] | None = None
        self._holds: dict[bytes, set[int]] = {}
        self._debts: list[dict[str, object]] = []
        self._settling: threading.Thread | None = None
        self._ending = threading.Event()
        self._used: set[bytes] = set()
        """The keys of the locks that were asked for."""
        self._pool_mutex = threading.Lock()
        self._idle: list[Connection] = []
        self._open: set[Connection] = set()

    # -- life ---------------------------------------------------------------------------

    def open(self) -> None:
        """Connect."""
        self._ghost, self._closed = None, False
        self._ending.clear()
        with self._turn(self._deadline()):
            pass

    def close(self) -> None:
        """Give everything back and disconnect, within the time-out; never raises."""
        self._closed = True
        self._ending.set()
        mine = self._mutex.acquire(timeout=self.timeout)
        try:
            main = self._main
            if mine and main is not None and main.alive and not main.pending:
                # Ends what lock objects hold that nobody has any more. The server does so
                # too when the connection ends, but a moment after this returned. Rows stay.
                keys = list(self._used)
                known = {"keys": keys, "gates": [sql.gate(key) for key in keys]}
                main.run(sql.FORGET, known, deadline=self._deadline())
        except (psycopg2.Error, ToozError) as error:
            _log.warning("while disconnecting: %s; the server frees what is left", error)
        finally:
            with self._pool_mutex:
                connections, self._open, self._idle = list(self._open), set(), []
            for connection in connections:
                connection.close()
            self._main, self._holds, self._debts, self._used = None, {}, [], set()
            self.count += 1
            settling, self._settling = self._settling, None
            if mine:
                self._mutex.release()
            if settling is not None:
                settling.join(self.timeout)

    def disown(self) -> None:
        """In a forked child: leave the connections to the parent."""
        self._closed = True
        for connection in list(self._open):
            connection.disown()
        self._mutex, self._pool_mutex = threading.Lock(), threading.Lock()
        self._main = self._settling = None

    # -- exchanges ----------------------------------------------------------------------

    def run(self, statement: str, **parameters: object) -> list[Row]:
        """Carry out a statement, once; ``%(session)s`` in it is this session's number.

        :raises OperationTimedOut: there is no reply; whether it is carried out is unknown
        """
        deadline = self._deadline()
        with self._turn(deadline) as main:
            parameters["session"] = self._number
            return main.run(statement, parameters, deadline=deadline)

    def ping(self) -> None:
        """Raise unless the server answers."""
        self.run("SELECT")

    # -- locks --------------------------------------------------------------------------

    def try_lock(self, name: bytes, key: bytes, turn: int | None = None) -> Attempt:
        """Try to take a lock, without waiting.

        :param turn: the lock's number for which a waiter of ours has its turn, if one has
        """
        deadline = self._deadline()
        with self._turn(deadline) as main:
            mine = list(self._holds.get(name, ()))
            self._used.add(key)
            known = {"gate": sql.gate(key), "key": key, "mine": mine}
            with self._owing(known):
                ((number, granted),) = main.run(sql.TRY, {**known, "turn": turn}, deadline=deadline)
            if granted:
                self._holds.setdefault(name, set()).add(number)
            return Attempt(self.count, number, granted)

    def holds(self, hold: Attempt) -> bool:
        """Whether the connection through which a lock was taken is still there."""
        main = self._main
        return hold.session == self.count and main is not None and main.alive

    def release(self, name: bytes, key: bytes, hold: Attempt) -> bool:
        """Give a lock back; False when it was lost or broken.

        Where that could not be asked, it is owed: nobody has the hold any more.
        """
        try:
            return self._release(name, key, hold)
        finally:
            held = self._holds.get(name, set())
            if hold.session == self.count and hold.number in held:
                held.discard(hold.number)
                self._owe({"gate": sql.gate(key), "key": key, "mine": list(held)})

    def _release(self, name: bytes, key: bytes, hold: Attempt) -> bool:
        deadline = self._deadline()
        with self._turn(deadline) as main:
            held = self._holds.get(name, set())
            if hold.session != self.count or hold.number not in held:
                return False
            held.discard(hold.number)
            if not held:
                del self._holds[name]
            known = {"gate": sql.gate(key), "key": key, "mine": list(held)}
            with self._owing(known):
                ((released,),) = main.run(
                    sql.RELEASE, {**known, "number": hold.number}, deadline=deadline
                )
            return bool(released)

    def is_current(self, key: bytes, number: int) -> bool:
        """Whether a lock still has this number."""
        ((current,),) = self.run(sql.IS_CURRENT, key=key, number=number)
        return bool(current)

    def confirm(self, key: bytes, hold: Attempt) -> bool:
        """Ask the server whether a lock is held still.

        The connection that answers is the one that took it, so all that can have happened
        is that it was broken.
        """
        return self.is_current(key, hold.number) and hold.session == self.count

    @contextlib.contextmanager
    def waiter(self, number: int) -> Iterator[Connection]:
        """Lend a connection for waiting; it is closed when the wait ends by an exception.

        :param number: that of the lock
        """
        connection = self._borrow()
        try:
            yield connection
        except BaseException:
            self.discard(connection, number)
            raise
        with self._pool_mutex:
            if connection in self._open and len(self._idle) < _KEPT_WAITERS:
                self._idle.append(connection)
                return
        self._drop(connection)

    def discard(self, connection: Connection, number: int) -> None:
        """Close a connection over which a lock may be waited for still."""
        try:
            if connection.alive and connection.pending:
                self.run(sql.TERMINATE, pid=connection.pid, number=number)
        except (psycopg2.Error, ToozError) as error:
            _log.debug("a wait for a lock ends when the server looks for its client: %s", error)
        finally:
            self._drop(connection)

    # -- connections --------------------------------------------------------------------

    def _deadline(self) -> Deadline:
        return Deadline(self.timeout)

    @contextlib.contextmanager
    def _turn(self, deadline: Deadline) -> Iterator[Connection]:
        """Have the session's connection to oneself, made anew if it was lost."""
        if not self._mutex.acquire(timeout=deadline.remaining):
            raise OperationTimedOut(
                f"PostgreSQL did not answer other threads within {self.timeout} seconds, so "
                "nothing was asked"
            )
        try:
            if self._closed:
                raise ToozError("the coordinator was stopped: start() it again")
            main = self._main
            if main is None or not main.alive:
                main = self._replace(deadline)
            main.settle(deadline)
            while self._debts:
                debt = self._debts[0]  # others may be added meanwhile, behind it
                main.run(sql.UNLOCK, debt, deadline=deadline)
                self._debts.remove(debt)
            yield main
        finally:
            self._mutex.release()

    @contextlib.contextmanager
    def _owing(self, known: dict[str, object]) -> Iterator[None]:
        """Remember to see that a lock is not held after all, when that is not known.

        A statement that fails keeps the advisory locks that it has taken (manual 17,
        "Advisory Locks").
        """
        try:
            yield
        except BaseException:
            self._owe(known)
            raise

    def _owe(self, known: dict[str, object]) -> None:
        with self._pool_mutex:
            self._debts.append(known)
            if self._settling is None:
                self._settling = threading.Thread(
                    target=self._settle, name="postgresql-debts", daemon=True
                )
                self._settling.start()

    def _settle(self) -> None:
        """Give back what is owed, lest it stay for as long as nothing more is asked."""
        while not self._ending.wait(_SETTLE_SECONDS):
            main = self._main
            if main is None or not main.alive:
                continue  # what it held is free; another call connects anew, and forgets it
            try:
                with self._turn(self._deadline()), self._pool_mutex:
                    if not self._debts:
                        self._settling = None
                        return
            except (psycopg2.Error, ToozError) as error:
                _log.debug("a lock is given back later: %s", error)

    def _replace(self, deadline: Deadline) -> Connection:
        """Begin another session in the place of the one that was lost, if there was one."""
        if self._main is not None:
            lost = [name for name, numbers in self._holds.items() for _ in numbers]
            self._ghost = {"pid": self._main.pid, "number": self._number}
            self._drop(self._main)
            self._main, self._holds, self._debts = None, {}, []
            self.count += 1
            self._on_loss(lost)
        main = self._connect(deadline, limit=math.ceil(self.timeout * 1000))
        try:
            ((number, _),) = self._enter(main, deadline)
            if self._ghost is not None:
                # The server may not have noticed yet that the connection was lost.
                main.run(sql.TERMINATE, self._ghost, deadline=deadline)
                self._ghost = None
        except BaseException:
            self._drop(main)
            raise
        self._main, self._number = main, number
        return main

    def _enter(self, main: Connection, deadline: Deadline) -> list[Row]:
        try:
            return main.run(sql.ENTER, deadline=deadline)
        except psycopg2.Error as error:
            if error.pgcode not in _MISSING:
                raise
        main.run(sql.CREATE, deadline=deadline)
        return main.run(sql.ENTER, deadline=deadline)

    def _connect(self, deadline: Deadline, limit: int) -> Connection:
        """Return a new connection.

        :param limit: milliseconds after which the server gives up a statement, 0 for never
        """
        connection = Connection(self._parameters, self.timeout)
        with self._pool_mutex:
            self._open.add(connection)
        try:
            if self._closed:  # meanwhile; close() does not know of this one
                raise ToozError("the coordinator was stopped: start() it again")
            connection.finish_connecting(deadline)
            settings = {
                "check": str(_CHECK_MILLISECONDS),
                "limit": str(limit),
                "idle": str(self._keepalive["keepalives_idle"]),
                "interval": str(self._keepalive["keepalives_interval"]),
                "count": str(2 * _PROBES),
                "path": f"{sql.SCHEMA}, pg_catalog",
            }
            connection.run(sql.SET_UP, settings, deadline=deadline)
        except BaseException:
            self._drop(connection)
            raise
        return connection

    def _borrow(self) -> Connection:
        while True:
            with self._pool_mutex:
                if not self._idle:
                    break
                connection = self._idle.pop()
            if connection.alive:
                return connection
            self._drop(connection)
        return self._connect(self._deadline(), limit=0)

    def _drop(self, connection: Connection) -> None:
        with self._pool_mutex:
            self._open.discard(connection)
        connection.close()
