"""The least exchange with each server: one request, one answer, that change nothing.

No call to a server can take less than one of these, whatever driver makes it; so they are
the floors of servers. Each is made over one connection that is kept, by the thinnest means
that Python has: a socket where the protocol allows, else the client library's own.
"""

from __future__ import annotations

import contextlib
import socket
import struct
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from http.client import HTTPConnection
from urllib.parse import SplitResult, unquote, urlsplit

__all__ = ["Exchange", "open_exchange"]

Exchange = Callable[[], object]
"""Sends one request, waits for its answer, and raises when that is a wrong one."""

_SECONDS = 10.0
"""How long an answer is waited for."""


def open_exchange(backend: str, url: str) -> AbstractContextManager[Exchange] | None:
    """Return the least exchange with a backend's server, None when there is none.

    :param backend: the backend's name; a variant has that of its backend
    """
    opened = _EXCHANGES.get(backend.partition(":")[0])
    return None if opened is None else opened(urlsplit(url))


def _receive(connection: socket.socket, size: int) -> bytes:
    received = b""
    while len(received) < size:
        piece = connection.recv(size - len(received))
        if not piece:
            raise ConnectionError("the server closed the connection")
        received += piece
    return received


@contextlib.contextmanager
def _connected(url: SplitResult) -> Iterator[socket.socket]:
    with socket.create_connection((url.hostname or "localhost", url.port or 0), _SECONDS) as made:
        made.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        yield made


def _line(
    request: bytes, answer: bytes
) -> Callable[[SplitResult], AbstractContextManager[Exchange]]:
    """Return what opens the exchange of a server that answers a line with a line."""

    @contextlib.contextmanager
    def opened(url: SplitResult) -> Iterator[Exchange]:
        with _connected(url) as connection:

            def exchange() -> None:
                connection.sendall(request)
                if (got := _receive(connection, len(answer))) != answer:
                    raise ConnectionError(f"{request!r} was answered by {got!r}")

            yield exchange

    return opened


@contextlib.contextmanager
def _zookeeper(url: SplitResult) -> Iterator[Exchange]:
    """Ping in a session (ZooKeeper 3.9, zookeeper.jute: ConnectRequest, RequestHeader)."""
    with _connected(url) as connection:

        def call(packet: bytes) -> bytes:
            connection.sendall(struct.pack(">i", len(packet)) + packet)
            (size,) = struct.unpack(">i", _receive(connection, 4))
            return _receive(connection, size)

        call(struct.pack(">iqiqi16s", 0, 0, 30_000, 0, 16, bytes(16)))
        ping = struct.pack(">ii", -2, 11)
        yield lambda: call(ping)
        call(struct.pack(">ii", 1, -11))  # closeSession


@contextlib.contextmanager
def _postgresql(url: SplitResult) -> Iterator[Exchange]:
    import psycopg2

    connection = psycopg2.connect(url.geturl().partition("?")[0], connect_timeout=10)
    connection.autocommit = True
    with contextlib.closing(connection), connection.cursor() as cursor:
        yield lambda: cursor.execute("SELECT")


@contextlib.contextmanager
def _mysql(url: SplitResult) -> Iterator[Exchange]:
    import pymysql

    connection = pymysql.connect(
        host=url.hostname,
        port=url.port or 3306,
        user=unquote(url.username or ""),
        password=unquote(url.password or ""),
        connect_timeout=10,
        read_timeout=10,
    )
    with connection:
        yield lambda: connection.ping(reconnect=False)


def _http(path: str) -> Callable[[SplitResult], AbstractContextManager[Exchange]]:
    """Return what opens the exchange of a server that speaks HTTP."""

    @contextlib.contextmanager
    def opened(url: SplitResult) -> Iterator[Exchange]:
        connection = HTTPConnection(url.hostname or "localhost", url.port, timeout=_SECONDS)
        with contextlib.closing(connection):

            def exchange() -> None:
                connection.request("GET", path)
                answer = connection.getresponse()
                answer.read()
                if answer.status != 200:
                    raise ConnectionError(f"{path} was answered by {answer.status}")

            yield exchange

    return opened


_EXCHANGES: Mapping[str, Callable[[SplitResult], AbstractContextManager[Exchange]]] = {
    "consul": _http("/v1/status/leader"),
    "etcd": _http("/version"),
    "memcached": _line(b"mn\r\n", b"MN\r\n"),
    "mysql": _mysql,
    "postgresql": _postgresql,
    "redis": _line(b"PING\r\n", b"+PONG\r\n"),
    "zookeeper": _zookeeper,
}
