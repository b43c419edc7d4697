"""How the waiters of one coordinator hear that a lock was handed to them.

One connection listens, for all of them, on a channel of the session's own: it is made
when somebody waits for the first time. A message is the token of the waiter that it is
for. Messages may be lost ("Redis Pub/sub", "Delivery semantics" in the manual of Redis
8.0: "at-most-once"): when the connection breaks, all waiters are woken to ask for
themselves.
"""

from __future__ import annotations

import contextlib
import logging
import os
import socket
import threading
from collections.abc import Iterator
from typing import Any

from redis.exceptions import TimeoutError as RedisTimeout

from conformance.errors import ToozConnectionError

__all__ = ["Wakes"]

_log = logging.getLogger(__name__)


class Wakes:
    """A subscription, and the waiters that it wakes.

    :param client: the server's
    :param channel: where the session's waiters are called
    :param timeout: seconds after which a silent connection counts as broken
    """

    def __init__(self, client: Any, channel: bytes, timeout: float) -> None:
        self._client = client
        self._channel = channel
        self._timeout = timeout
        self._changed = threading.Condition()
        self._waiters: dict[bytes, threading.Event] = {}
        self._thread: threading.Thread | None = None
        self._connection: Any = None
        self._error: Exception | None = None
        self._closing = False
        self.ready = False
        """Whether who is called now will hear of it."""

    def start(self) -> None:
        """Listen, and return once that is so.

        :raises redis.exceptions.RedisError: it could not be had
        """
        with self._changed:
            if self._closing:
                raise ToozConnectionError("no longer connected: the coordinator was stopped")
            if self._thread is None:
                self._error = None
                self._thread = threading.Thread(target=self._run, name="redis-wakes", daemon=True)
                self._thread.start()
            self._changed.wait_for(lambda: self.ready or self._thread is None, self._timeout)
            if not self.ready:
                raise self._error or RedisTimeout("no answer to SUBSCRIBE")

    @contextlib.contextmanager
    def expecting(self, token: str) -> Iterator[threading.Event]:
        """Return a context with an event that is set when this waiter should ask again."""
        event = self._waiters[token.encode()] = threading.Event()
        try:
            yield event
        finally:
            del self._waiters[token.encode()]

    def close(self) -> None:
        """Stop listening."""
        with self._changed:
            self._closing = True
            thread = self._thread
        if thread is None:
            return
        inherited = getattr(self._connection, "_sock", None)
        if inherited is not None:
            # Only shut down here, which ends the wait for messages; the thread closes it.
            with contextlib.suppress(OSError), _again(inherited) as same:
                same.shutdown(socket.SHUT_RDWR)
        thread.join(self._timeout)

    def _run(self) -> None:
        error: Exception | None = None
        try:
            connection: Any = self._client.connection_pool.get_connection()
            self._connection = connection
            try:
                self._listen(connection)
            finally:
                self._connection = None
                connection.disconnect()
                self._client.connection_pool.release(connection)
        except Exception as failure:
            error = failure
            if not self._closing:
                _log.warning("listening for locks ended (%s)", type(failure).__name__)
        finally:
            with self._changed:
                self._error, self._thread, self.ready = error, None, False
                self._changed.notify_all()
            for event in list(self._waiters.values()):
                event.set()

    def _listen(self, connection: Any) -> None:
        connection.send_command("SUBSCRIBE", self._channel, check_health=False)
        asked = False
        while not self._closing:
            if connection.can_read(self._timeout / 2):
                self._hear(*connection.read_response())
                asked = False
            elif asked:
                raise RedisTimeout("no answer to PING")
            else:
                connection.send_command("PING", check_health=False)
                asked = True

    def _hear(self, kind: bytes, _: bytes, message: Any = None) -> None:
        if kind == b"subscribe":
            with self._changed:
                self.ready = True
                self._changed.notify_all()
        elif kind == b"message":
            waiter = self._waiters.get(message)
            if waiter is not None:
                waiter.set()


def _again(inherited: Any) -> socket.socket:
    """Return another object for a socket, whose closing leaves that one open."""
    return socket.socket(fileno=os.dup(inherited.fileno()))
