"""One connection to PostgreSQL, whose every exchange is waited for with a time-out.

psycopg2 waits for ever in its ordinary calls; on an asynchronous connection the waiting is
left to its user, who does it here (psycopg 2.9, "Asynchronous support"). Such a connection is
in autocommit mode. What is asked over it stands elsewhere.
"""

from __future__ import annotations

import contextlib
import math
import select
from collections.abc import Iterator, Mapping
from typing import Any

import psycopg2
from psycopg2.extensions import POLL_OK, POLL_READ

from conformance.drivers.remote import abandon_socket
from conformance.errors import OperationTimedOut, ToozConnectionError
from conformance.locking import Deadline

__all__ = ["Connection", "Row"]

Row = tuple[Any, ...]


class Connection:
    """A connection that may be used by one thread at a time.

    A reply that does not come in time does not end it: what is held through it stays held.
    The reply is waited for again, and thrown away, when the connection is next used.

    :param parameters: as libpq takes them (manual 17, "Parameter Key Words")
    :param timeout: seconds, for what errors say
    """

    def __init__(self, parameters: Mapping[str, object], timeout: float) -> None:
        self._timeout = timeout
        self._cursor: Any = None
        with _explained():
            self._raw = psycopg2.connect(**parameters, async_=True)
        self._pending = True

    @property
    def pid(self) -> int:
        """The process of the server that serves this connection."""
        pid: int = self._raw.info.backend_pid
        return pid

    @property
    def pending(self) -> bool:
        """Whether a reply, or that of connecting, is still to come."""
        return self._pending

    @property
    def alive(self) -> bool:
        """Whether neither side has closed it, as far as is known here; does not block."""
        try:
            return not _wait(self._raw.fileno(), select.POLLRDHUP, 0.0)
        except psycopg2.InterfaceError:  # closed on this side
            return False

    def send(self, statement: str, parameters: Mapping[str, object] | None = None) -> None:
        """Send a statement without waiting for its reply; none must be to come."""
        self._cursor = self._raw.cursor()
        self._pending = True  # also where an interrupt comes before execute() returns
        self._cursor.execute(statement, parameters)

    def ready(self, deadline: Deadline) -> bool:
        """Wait for the reply; say whether it came in time.

        :raises psycopg2.Error: the reply is an error, or the connection broke
        """
        try:
            # What came while this process was paused counts, however late it is.
            while (state := self._raw.poll()) != POLL_OK:
                events = select.POLLIN if state == POLL_READ else select.POLLOUT
                if not _wait(self._raw.fileno(), events, deadline.remaining):
                    return False
        except psycopg2.Error:
            self._pending = False
            raise
        self._pending = False
        return True

    def settle(self, deadline: Deadline) -> None:
        """Wait for a reply that nobody waits for any more.

        :raises OperationTimedOut: it did not come either
        """
        if not self._pending:
            return
        try:
            self._require(deadline)
        except psycopg2.Error:
            if not self.alive:
                raise
            # Else it tells of a statement whose caller was told that its fate is unknown.

    def run(
        self,
        statement: str,
        parameters: Mapping[str, object] | None = None,
        *,
        deadline: Deadline,
    ) -> list[Row]:
        """Carry out a statement; return the rows of its last part.

        :raises OperationTimedOut: there is no reply; whether it is carried out is unknown
        """
        self.settle(deadline)
        self.send(statement, parameters)
        self._require(deadline)
        rows: list[Row] = self._cursor.fetchall() if self._cursor.description else []
        return rows

    def finish_connecting(self, deadline: Deadline) -> None:
        """Wait until the connection can be used.

        :raises ToozConnectionError: the server refused, or cannot be reached
        :raises OperationTimedOut: the server did not answer in time
        """
        with _explained():
            self._require(deadline)

    def close(self) -> None:
        """End the connection; does not wait for the server."""
        self._raw.close()

    def disown(self) -> None:
        """In a forked child: leave the connection to the parent alone."""
        with contextlib.suppress(psycopg2.InterfaceError):  # closed
            abandon_socket(self._raw.fileno())

    def _require(self, deadline: Deadline) -> None:
        if not self.ready(deadline):
            raise OperationTimedOut(
                f"PostgreSQL did not answer within {self._timeout} seconds; whether it does "
                "what was asked is unknown"
            )


@contextlib.contextmanager
def _explained() -> Iterator[None]:
    """Say what to do when connecting fails; psycopg2's errors bear no code then."""
    try:
        yield
    except psycopg2.Error as error:
        raise ToozConnectionError(
            "connecting to PostgreSQL failed: check the host, USER:PASS and database of the URL, "
            "its TLS options, and the server's max_connections: " + " ".join(str(error).split())
        ) from error


def _wait(descriptor: int, events: int, seconds: float) -> bool:
    """Wait for events on a descriptor, or for its end; say whether they came in time."""
    poller = select.poll()
    poller.register(descriptor, events)
    return bool(poller.poll(None if math.isinf(seconds) else math.ceil(seconds * 1000)))
