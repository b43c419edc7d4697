"""The connections to memcached, and the few of its commands that the driver is made of.

"protocol.txt" is the manual that comes with memcached 1.6. The *meta* commands in it do in
one step what the older ones cannot: ``ms`` and ``md`` compare an item's CAS number before
they store or delete (flag C), and ``ms`` gives an item the CAS number that its writer chose
(flag E). Every write here chooses a random one. So an item's number names its writer, even
one that never saw the reply; and since the numbers that the server counts itself begin anew
with each of its starts, only chosen ones mean the same thing before and after a restart.

pymemcache's client does the talking; connecting, time-outs and the pool stand here.
Nothing is ever sent twice.
"""

from __future__ import annotations

import contextlib
import logging
import secrets
import select
import socket
import ssl
import threading
from collections.abc import Iterable, Iterator, Sequence
from typing import NamedTuple

from pymemcache.client.base import Client
from pymemcache.exceptions import MemcacheServerError, MemcacheUnexpectedCloseError

from conformance.drivers.remote import abandon_socket
from conformance.errors import OperationTimedOut, ToozConnectionError, ToozError

__all__ = [
    "ABSENT",
    "DONE",
    "Facts",
    "Item",
    "Link",
    "add",
    "look",
    "new_number",
    "number_in",
    "put",
    "remove",
    "touch",
]

_log = logging.getLogger(__name__)

DONE, ABSENT = b"HD", b"EN"
"""Replies: a command did what it says; ``mg`` found no such item. There is also NS: an item
is there already, NF: none is, and EX: it has another CAS number."""

_MOST_COMMANDS = 500
"""How many commands are sent before their replies are read."""

_PIECE = 65_536
"""Bytes to receive at a time."""


# -- commands -------------------------------------------------------------------------


def new_number() -> int:
    """Return a CAS number that nobody ever chose."""
    return 1 + secrets.randbelow(2**63 - 1)


def add(key: str, value: bytes, number: int, seconds: int = 0, flags: int = 0) -> bytes:
    """Store an item where there is none; 0 seconds keep it for good."""
    head = f"ms {key} {len(value)} ME E{number} T{seconds} F{flags}"
    return b"%s\r\n%s" % (head.encode(), value)


def put(key: str, value: bytes, number: int, new: int, seconds: int = 0, flags: int = 0) -> bytes:
    """Replace the item of this number by one of a new number."""
    head = f"ms {key} {len(value)} C{number} E{new} T{seconds} F{flags}"
    return b"%s\r\n%s" % (head.encode(), value)


def remove(key: str, number: int | None = None) -> bytes:
    """Delete an item, or only that of this number."""
    return (f"md {key}" if number is None else f"md {key} C{number}").encode()


def look(key: str) -> bytes:
    """Ask for an item's CAS number and client flags, without its value."""
    return f"mg {key} c f".encode()


def touch(key: str, seconds: int) -> bytes:
    """Let an item expire that many seconds from now."""
    return f"mg {key} T{seconds}".encode()


def number_in(reply: bytes) -> int | None:
    """Return the CAS number in a reply; None when it has none."""
    return next((int(part[1:]) for part in reply.split()[1:] if part.startswith(b"c")), None)


# -- connections ----------------------------------------------------------------------


class Item(NamedTuple):
    """What is stored under a key."""

    value: bytes
    flags: int
    number: int


class Facts(NamedTuple):
    """What a server says of itself: its clock in seconds, and the largest item it takes."""

    time: int
    largest: int


class _AsIs:
    """A pymemcache "serde" that leaves values alone and keeps their client flags."""

    def serialize(self, key: str, value: bytes) -> tuple[bytes, int]:
        return value, 0

    def deserialize(self, key: str, value: bytes, flags: int) -> tuple[bytes, int]:
        return value, flags


class Link:
    """Connections to one server, used by any number of threads, each for one exchange.

    :param server: host and port
    :param timeout: seconds for which connecting, and then each reply, is waited for
    :param most: how many connections there may be at a time, None for as many as threads
    :param tls: how to secure them
    """

    def __init__(
        self,
        server: tuple[str, int],
        timeout: float,
        most: int | None = None,
        tls: ssl.SSLContext | None = None,
    ) -> None:
        self._server = server
        self._timeout = timeout
        self._most = most
        self._tls = tls
        self.broken = False
        """Whether the last exchange failed."""
        self._reset()

    def _reset(self) -> None:
        self._mutex = threading.Lock()
        self._places = None if self._most is None else threading.Semaphore(self._most)
        self._idle: list[Client] = []
        self._used: set[Client] = set()
        self._open = False

    def open(self) -> None:
        """Allow exchanges; each connects when it needs to."""
        self._open, self.broken = True, False

    def close(self) -> None:
        """Close every connection, those in use as soon as their exchange ends."""
        with self._mutex:
            self._open = False
        self._close_idle()

    def disown(self) -> None:
        """In a forked child: let go of the parent's connections, without a word."""
        for client in [*self._idle, *self._used]:
            if client.sock is not None and client.sock.fileno() >= 0:
                abandon_socket(client.sock.fileno())
            client.close()
        self._reset()

    def read(self, keys: Iterable[str]) -> dict[str, Item]:
        """Return the items that are there, looked up one after the other in this order."""
        with self._connection() as client:
            found = client.gets_many(list(keys))
        return {key: Item(value, flags, int(cas)) for key, ((value, flags), cas) in found.items()}

    def ask(self, *commands: bytes) -> list[bytes]:
        """Send commands together; return the line that each is answered with.

        They are carried out in their order, but not as one.

        :raises MemcacheServerError: the server could not carry out one of them
        """
        replies: list[bytes] = []
        for first in range(0, len(commands), _MOST_COMMANDS):
            with self._connection() as client:
                replies += _exchange(client.sock, commands[first : first + _MOST_COMMANDS])
        return replies

    def facts(self) -> Facts:
        """Ask the server about itself.

        :raises ToozError: it lacks what this driver rests on
        """
        probe = new_number()
        with self._connection() as client:
            general, settings = client.stats(), client.stats("settings")
            # Stored as expired already; the reply tells whether the number was taken.
            (reply,) = _exchange(client.sock, [b"ms probe-%d 0 E%d T-1 c\r\n" % (probe, probe)])
        if number_in(reply) != probe:
            raise ToozError(
                f"memcached {general[b'version']!r} does not let its clients choose CAS numbers: "
                "use a newer 1.6, and start it without -C"
            )
        return Facts(int(general[b"time"]), int(settings[b"item_size_max"]))

    @contextlib.contextmanager
    def _connection(self) -> Iterator[Client]:
        """Lend a connection for one exchange; one that fails is closed."""
        if self._places is not None and not self._places.acquire(timeout=self._timeout):
            raise OperationTimedOut(
                f"none of {self._most} connections was free within {self._timeout} seconds: "
                "raise max_pool_size"
            )
        try:
            client = self._take()
            try:
                yield client
            except BaseException:
                self.broken = True
                client.close()
                self._close_idle()  # which may have broken as it did
                raise
            else:
                self.broken = False
            finally:
                self._give_back(client)
        finally:
            if self._places is not None:
                self._places.release()

    def _take(self) -> Client:
        while True:
            with self._mutex:
                if not self._open:
                    raise ToozConnectionError("the connection to memcached was closed by stop()")
                client = self._idle.pop() if self._idle else None
                if client is not None:
                    self._used.add(client)
            if client is None:
                break
            if not _has_news(client.sock):
                return client
            # Nothing was asked, so this is the end of the connection.
            client.close()
            self._give_back(client)
        try:
            client = self._connect()
        except BaseException:
            self.broken = True
            raise
        with self._mutex:
            self._used.add(client)
        return client

    def _close_idle(self) -> None:
        with self._mutex:
            idle, self._idle = self._idle, []
        for client in idle:
            client.close()

    def _give_back(self, client: Client) -> None:
        with self._mutex:
            self._used.discard(client)
            if client.sock is not None and self._open:
                self._idle.append(client)
                return
        client.close()

    def _connect(self) -> Client:
        """Return a client that is connected; it would not try a host's other addresses."""
        connected = socket.create_connection(self._server, self._timeout)
        try:
            connected.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
            if self._tls is not None:
                connected = self._tls.wrap_socket(connected, server_hostname=self._server[0])
        except BaseException:
            connected.close()
            raise
        # Without default_noreply=False no reply to a write would be read.
        client = Client(self._server, serde=_AsIs(), timeout=self._timeout, default_noreply=False)
        client.sock = connected
        return client


def _exchange(connected: socket.socket, commands: Sequence[bytes]) -> list[bytes]:
    """Send meta commands that are answered with one line each; return the lines.

    pymemcache 4.0 has no meta commands, and its ``raw_command`` loses what came before the
    last piece of a reply that arrives in several.
    """
    connected.sendall(b"".join(b"%s\r\n" % command for command in commands))
    received, missing = b"", len(commands)
    while missing:
        piece = connected.recv(_PIECE)
        if not piece:
            raise MemcacheUnexpectedCloseError
        received += piece
        missing = len(commands) - received.count(b"\r\n")
    lines = received.split(b"\r\n")
    for line in lines:
        # ERROR, CLIENT_ERROR … or SERVER_ERROR …: more of them may follow, unasked for.
        if b"ERROR" in line[:13]:
            raise MemcacheServerError(line.decode(errors="replace"))
    return lines[:-1]


def _has_news(connected: socket.socket) -> bool:
    """Whether there is something to read, or the connection has ended."""
    poll = select.poll()
    poll.register(connected, select.POLLIN)
    return bool(poll.poll(0))
