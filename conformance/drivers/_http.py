"""HTTP with one server: connections that are kept, each for one exchange at a time.

A session here is what etcd3gw and python-consul need of one of requests, on ``http.client``:
an exchange takes about a fifth of the processor time so, and with a server nearby that is
much of what a call costs (``docs/costs.md``).
"""

from __future__ import annotations

import contextlib
import http.client
import json as json_format
import select
import ssl
from collections import deque
from collections.abc import Iterator
from typing import Any, NamedTuple

from conformance.drivers.remote import abandon_socket

__all__ = ["HttpSession", "Reply", "Stream"]


class Reply(NamedTuple):
    """What a server answered, by the names of requests."""

    status_code: int
    reason: str
    headers: http.client.HTTPMessage
    content: bytes

    @property
    def text(self) -> str:
        """The body as text."""
        return self.content.decode(errors="replace")

    def json(self) -> Any:
        """Return what the body says in JSON.

        :raises ValueError: it is no JSON
        """
        return json_format.loads(self.content)


class Stream:
    """An answer that goes on, line by line."""

    def __init__(self, response: http.client.HTTPResponse) -> None:
        self.status_code = response.status
        self._response = response

    def fileno(self) -> int:
        """Return the descriptor of the socket, for who waits until there is something."""
        return self._response.fileno()

    def readline(self) -> bytes:
        """Return the next line; nothing at the end of the answer."""
        with _only_os_errors():
            return self._response.readline()

    def rest(self) -> str:
        """Return all that is still to come, as text."""
        with _only_os_errors():
            return self._response.read().decode(errors="replace")


class HttpSession:
    """The way to one server by HTTP/1.1, for any number of threads.

    Nothing is sent twice, redirections are not followed, and nothing is taken from the
    environment. All errors are of the family of OSError: TimeoutError where no answer came
    in time, ssl.SSLError where TLS failed, and ConnectionError where what came was no HTTP.

    :param host: a name or an address
    :param port: the server's
    :param timeout: seconds for which the server is waited for, each time that one must
    :param tls: how connections are secured, if they are
    """

    def __init__(
        self, host: str, port: int, *, timeout: float, tls: ssl.SSLContext | None = None
    ) -> None:
        self.headers: dict[str, str] = {}
        """What goes with each request. Not to be changed while there are any, but replaced."""
        self._host = host
        self._port = port
        self._timeout = timeout
        self._tls = tls
        self._idle: deque[http.client.HTTPConnection] = deque()
        self._open: set[http.client.HTTPConnection] = set()
        self._closings = 0

    @property
    def idle(self) -> int:
        """How many connections are kept that nobody is using."""
        return len(self._idle)

    def get(self, url: str, *, timeout: float | None = None) -> Reply:
        """Ask for what is at a URL of the server."""
        return self.request("GET", url, timeout=timeout)

    def post(self, url: str, *, json: Any = None, timeout: float | None = None) -> Reply:
        """Send JSON to a URL of the server."""
        return self.request("POST", url, _encoded(json), timeout=timeout)

    def request(
        self, method: str, url: str, body: bytes | None = None, *, timeout: float | None = None
    ) -> Reply:
        """Send a request and return what is answered, whatever its status.

        :param url: of this server: only its path and query count
        :param timeout: seconds for which the answer is waited for, if not as ever
        """
        closings, connection = self._closings, self._take()
        try:
            with _only_os_errors():
                response = self._send(connection, method, url, body, timeout)
                reply = Reply(response.status, response.reason, response.headers, response.read())
        except BaseException:
            # Those that nobody uses may have broken as it did.
            self._drop(connection)
            self.close()
            raise
        if response.will_close:
            self._drop(connection)
        else:
            self._idle.append(connection)
            if self._closings != closings:
                self.close()
        return reply

    @contextlib.contextmanager
    def streaming(self, url: str, *, json: Any) -> Iterator[Stream]:
        """Send JSON, for an answer that goes on, on a connection of its own.

        The connection is closed at the end of the context.
        """
        connection = self._make()
        try:
            with _only_os_errors():
                response = self._send(connection, "POST", url, _encoded(json))
            with response:
                yield Stream(response)
        finally:
            self._drop(connection)

    def close(self) -> None:
        """Close the connections: those that exchanges are using, at their end."""
        self._closings += 1
        while True:
            try:
                connection = self._idle.pop()
            except IndexError:
                return
            self._drop(connection)

    def disown(self) -> None:
        """In a forked child: let go of the parent's connections without a word."""
        for connection in self._open:
            if connection.sock is not None:
                abandon_socket(connection.sock.fileno())
                connection.close()
        self._open, self._idle = set(), deque()

    # -- connections --------------------------------------------------------------------

    def _take(self) -> http.client.HTTPConnection:
        """Return a connection that nobody uses, and that the server has not ended."""
        while True:
            try:
                connection = self._idle.pop()
            except IndexError:
                return self._make()
            if not _readable(connection):
                return connection
            self._drop(connection)

    def _make(self) -> http.client.HTTPConnection:
        if self._tls is None:
            made = http.client.HTTPConnection(self._host, self._port, timeout=self._timeout)
        else:
            made = http.client.HTTPSConnection(
                self._host, self._port, timeout=self._timeout, context=self._tls
            )
        self._open.add(made)
        return made

    def _drop(self, connection: http.client.HTTPConnection) -> None:
        self._open.discard(connection)
        connection.close()

    def _send(
        self,
        connection: http.client.HTTPConnection,
        method: str,
        url: str,
        body: bytes | None,
        timeout: float | None = None,
    ) -> http.client.HTTPResponse:
        if connection.sock is None:
            connection.connect()
        connection.sock.settimeout(self._timeout if timeout is None else timeout)
        _, _, _, target = url.split("/", 3)
        connection.request(method, f"/{target}", body, self.headers)
        return connection.getresponse()


def _encoded(json: Any) -> bytes:
    return json_format.dumps(json).encode()


def _readable(connection: http.client.HTTPConnection) -> bool:
    """Whether something came that was not asked for, such as the connection's end."""
    poll = select.poll()
    poll.register(connection.sock, select.POLLIN)
    return bool(poll.poll(0))


@contextlib.contextmanager
def _only_os_errors() -> Iterator[None]:
    try:
        yield
    except http.client.HTTPException as error:
        if isinstance(error, OSError):
            raise
        raise ConnectionError(f"what was answered is no HTTP: {error!r}") from error
