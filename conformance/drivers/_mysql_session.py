"""A coordinator's connections to MySQL: one that stands for it, and a few beside.

The main connection holds a lock of a random name, the *token*. What the coordinator writes
into tables bears the token, and counts for as long as some connection holds that lock. A
server releases a session's locks when the session ends, however it ends (MySQL 9.7 Reference
Manual, "Locking Functions"), so a dead coordinator is known to be dead without any time-out,
and a paused one is not taken for dead.

The main connection also holds the locks that were free when they were asked for, any number.
Whatever the server may keep waiting goes over the other connections, so nobody waits behind it.
"""

from __future__ import annotations

import contextlib
import secrets
import threading
from collections.abc import Callable, Iterator

import pymysql
from pymysql.constants import ER

from conformance.drivers._mysql_link import Address, Answer, Link, error_number
from conformance.drivers.remote import turn
from conformance.errors import ToozConnectionError
from conformance.locking import Deadline

__all__ = ["Session"]

_CLOSED = "the connections to MySQL were closed meanwhile"

_IDLE_LINKS = 4
"""How many connections beside the main one are kept while nobody uses them."""


class Session:
    """The connections of one coordinator, from its start to its stop.

    :param server: where they lead
    :param on_loss: called with the names of the locks that were lost with a connection, and
        whether it was the main one, and so memberships and leaderships were lost too
    """

    def __init__(self, server: Address, on_loss: Callable[[list[bytes], bool], None]) -> None:
        self._token = ""
        self._server = server
        self._on_loss = on_loss
        self._mutex = threading.RLock()
        self._making = threading.Lock()
        self._main: Link | None = None
        self._is_open = False
        self._links: list[Link] = []
        self._idle: list[Link] = []

    @property
    def waiting(self) -> float:
        """Seconds for which one question may keep the server waiting."""
        return self._server.waiting

    def open(self) -> None:
        """Connect, and let the token stand for this coordinator from now on."""
        with self._mutex:
            self._is_open = True
        self._standing()

    def close(self) -> None:
        """Release everything and disconnect; wait for a silent server once at most."""
        with self._mutex:
            self._is_open = False
            links, main = self._links, self._main
            self._links, self._idle, self._main = [], [], None
        politely = not any(link.lost for link in links)
        for link in links:
            holding = link is main or bool(link.holds)
            politely = link.close(politely and holding) and politely

    def disown(self) -> None:
        """In a forked child: see that nothing here touches the parent's connections."""
        for link in self._links:
            link.disown()

    @property
    def main(self) -> Link:
        """The main connection; a new one, with another token, when the old one was lost.

        :raises ToozConnectionError: the session was closed
        """
        return self._standing()[0]

    @property
    def token(self) -> str:
        """The name of the lock that stands for this coordinator; another after a loss."""
        return self._standing()[1]

    def bury(self) -> None:
        """Note what went with the connections that were lost, and forget them."""
        with self._mutex:
            dead = [link for link in self._links if self._is_settled(link) and link.lost]
            self._idle = [link for link in self._idle if link not in dead]
            if dead:
                self._close_idle()
            for link in dead:
                self._links.remove(link)
                lost, was_main = list(link.holds.values()), link is self._main
                if was_main:
                    self._main = None
                if lost or was_main:
                    self._on_loss(lost, was_main)
                link.close(politely=False)

    def beat(self) -> None:
        """See whether the connections on which something is held still are there."""
        main = self.main
        with self._mutex:
            holding = [link for link in self._links if link.holds and link is not main]
        for link in [*holding, main]:
            try:
                link.ask("SELECT 1")
            except pymysql.MySQLError:
                if not link.lost:
                    raise
        self.bury()

    def ask(self, sql: str, *arguments: object) -> Answer:
        """Have one statement carried out, beside the main connection.

        A statement that InnoDB chose to end a deadlock did nothing and is to be sent again
        ("How to Minimize and Handle Deadlocks"); statements that each are a transaction and
        take their rows in one order hardly ever meet one.
        """
        deadline = Deadline(self._server.timeout)
        with self.spare() as link:
            while True:
                try:
                    return link.ask(sql, *arguments)
                except pymysql.MySQLError as error:
                    if error_number(error) != ER.LOCK_DEADLOCK or deadline.expired:
                        raise

    @contextlib.contextmanager
    def spare(self) -> Iterator[Link]:
        """Lend a connection that nobody else uses; it comes back unless a lock is on it."""
        with self._mutex:
            self.bury()
            link = self._idle.pop() if self._idle else None
        link = link or self._connect()
        try:
            yield link
        finally:
            self.give_back(link)

    def give_back(self, link: Link) -> None:
        """Take a connection back that was lent, when nothing is held on it any more."""
        with self._mutex:
            if link is self._main or link.holds or link not in self._links or link in self._idle:
                return
            if len(self._idle) < _IDLE_LINKS and not link.lost:
                self._idle.append(link)
                return
            self._links.remove(link)
            if link.lost:
                self._close_idle()
        link.close(politely=False)

    def _close_idle(self) -> None:
        """Close the connections that nobody uses: they may have broken as another did."""
        idle, self._idle = self._idle, []
        for link in idle:
            self._links.remove(link)
            link.close(politely=False)

    def _standing(self) -> tuple[Link, str]:
        """Return the main connection and its token, both new when the old was lost."""
        if standing := self._present():
            return standing
        with turn(self._making, self._server.timeout, "MySQL"):
            if standing := self._present():
                return standing
            main, token = self._connect(), secrets.token_hex(32)
            try:
                main.ask("SELECT GET_LOCK(%s, 0)", token)
                with self._mutex:
                    if main not in self._links:
                        raise ToozConnectionError(_CLOSED)
                    self._main, self._token = main, token
            except BaseException:
                self._discard(main)
                raise
            return main, token

    def _present(self) -> tuple[Link, str] | None:
        """Return the main connection and its token, if it is there."""
        with self._mutex:
            self.bury()
            return None if self._main is None else (self._main, self._token)

    def _connect(self) -> Link:
        link = Link(self._server)
        with self._mutex:
            if not self._is_open:
                raise ToozConnectionError(_CLOSED)
            self._links.append(link)
        try:
            link.open()
        except BaseException:
            self._discard(link)
            raise
        return link

    def _discard(self, link: Link) -> None:
        with self._mutex:
            if link in self._links:
                self._links.remove(link)
        link.close(politely=False)

    def _is_settled(self, link: Link) -> bool:
        """Whether a link is not just being opened, or lent."""
        return link is self._main or link in self._idle or bool(link.holds)
