"""A server of HTTP for tests, which answers what it is told to and keeps what it was asked."""

from __future__ import annotations

import contextlib
import socket
import threading

from conformance.drivers._http import HttpSession

__all__ = ["SECONDS", "Server"]

SECONDS = 0.3
"""The time-out of sessions with it."""


class Server:
    """Answers each request on each connection with the next of some answers; keeps what came.

    An empty answer ends the connection; None is none at all.
    """

    def __init__(self, *answers: bytes | None) -> None:
        self._answers = list(answers)
        self._listening = socket.create_server(("127.0.0.1", 0))
        self.connections: list[socket.socket] = []
        self.requests: list[bytes] = []
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()

    @property
    def port(self) -> int:
        """The port of 127.0.0.1 at which it is."""
        return int(self._listening.getsockname()[1])

    @property
    def session(self) -> HttpSession:
        """A session with this server."""
        return HttpSession("127.0.0.1", self.port, timeout=SECONDS)

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            self.connections.append(connection)
            self._threads.append(threading.Thread(target=self._serve, args=[connection]))
            self._threads[-1].start()

    def _serve(self, connection: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while request := _request(connection):
                self.requests.append(request)
                answer = self._answers.pop(0)
                if answer == b"":
                    connection.close()
                elif answer is not None:
                    connection.sendall(answer)

    def close(self) -> None:
        """End it, and all connections."""
        for one in [self._listening, *self.connections]:
            with contextlib.suppress(OSError):
                one.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        for one in [self._listening, *self.connections]:
            one.close()


def _request(connection: socket.socket) -> bytes:
    """Return a request, head and body; nothing at the end of the connection."""
    found = b""
    while b"\r\n\r\n" not in found:
        if not (more := connection.recv(65536)):
            return b""
        found += more
    head, _, body = found.partition(b"\r\n\r\n")
    lengths = [line for line in head.lower().split(b"\r\n") if line.startswith(b"content-length")]
    wanted = int(lengths[0].split(b":")[1]) if lengths else 0
    while len(body) < wanted:
        body += connection.recv(65536)
    return head + b"\r\n\r\n" + body
