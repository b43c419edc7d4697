"""A server of sessions over TCP, and the driver for it that is not broken.

The server lets file coordinators act for its clients: one for each session, which ends
when its client was silent for the time-out. So what a request does is right, and what can
be wrong is only what the driver makes of a link that breaks.
"""

from __future__ import annotations

import contextlib
import logging
import secrets
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import AbstractContextManager
from multiprocessing.connection import Client, Connection, Listener
from pathlib import Path
from typing import Any, ClassVar, cast
from urllib.parse import SplitResult

from conformance.coordination import (
    Characteristics,
    Deadline,
    Lock,
    OperationTimedOut,
    ToozConnectionError,
    ToozError,
    get_coordinator,
)
from conformance.drivers.local import LocalOptions
from conformance.drivers.remote import Lease, RemoteCoordinator, turn

__all__ = ["ServedDriver", "ServedLock", "serving"]

_PAUSE = 0.01
"""Seconds between two tries to get a lock that is held."""

_MOST_AT_ONCE = 64
"""How many clients may connect at the same time; one more would try again a second later."""

_UNANSWERED = (ToozConnectionError, OperationTimedOut)
"""What says that nobody knows whether a request was carried out."""

_log = logging.getLogger(__name__)


class _SessionEnded(Exception):
    """The server knows no such session, or no more."""


# -- the server ---------------------------------------------------------------------------


class _Session:
    """What the server has of one client."""

    def __init__(self, directory: Path, member_id: bytes, lifetime: float) -> None:
        self.coordinator = get_coordinator(f"file://{directory}", member_id)
        self.coordinator.start()
        self.lifetime = lifetime
        self.heard = time.monotonic()
        self._locks: dict[object, Lock] = {}

    def lock(self, name: bytes, owner: str) -> Lock:
        """Return the lock of one of the client's objects."""
        if (name, owner) not in self._locks:
            self._locks[name, owner] = self.coordinator.get_lock(name)
        return self._locks[name, owner]


class _Server:
    """Carries out requests, one at a time: a session's token, what to do, and arguments."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._sessions: dict[str, _Session] = {}
        self._alone = threading.Lock()
        self._connections: list[Connection] = []
        self._threads: list[threading.Thread] = []

    def accept(self, listener: Listener) -> None:
        """Serve whoever connects, until the listener is shut down."""
        while True:
            try:
                connection = listener.accept()
            except OSError:
                return
            self._connections.append(connection)
            self._threads.append(threading.Thread(target=self._serve, args=(connection,)))
            self._threads[-1].start()

    def close(self) -> None:
        """End all connections and sessions."""
        for connection in self._connections:
            with (
                contextlib.suppress(OSError),  # closed already, by the thread that served it
                socket.socket(fileno=socket.dup(connection.fileno())) as end,
            ):
                end.shutdown(socket.SHUT_RDWR)
        for thread in self._threads:
            thread.join()
        for session in self._sessions.values():
            session.coordinator.stop()

    def _serve(self, connection: Connection) -> None:
        with connection:
            while True:
                try:
                    request = connection.recv()
                    connection.send(self._answer(*request))
                except (EOFError, OSError):
                    return

    def _answer(self, token: str, name: str, *arguments: Any) -> tuple[str, object]:
        """Return what became of the request, and the result or the error."""
        with self._alone:
            self._end_silent()
            try:
                return "done", self._do(token, name, *arguments)
            except ToozError as error:
                return "failed", error
            except _SessionEnded:
                return "ended", None

    def _do(self, token: str, name: str, *arguments: Any) -> object:
        if name == "begin":
            self._sessions[token] = _Session(self._directory, *arguments)
            return None
        session = self._sessions.get(token)
        if session is None:
            raise _SessionEnded
        session.heard = time.monotonic()
        if name == "end":
            del self._sessions[token]
            session.coordinator.stop()
            return None
        if name.startswith("lock."):
            lock = session.lock(*arguments)
            asked = name.removeprefix("lock.")
            return lock.acquire(False) if asked == "acquire" else getattr(lock, asked)()
        return getattr(session.coordinator, name)(*arguments)

    def _end_silent(self) -> None:
        for token, session in list(self._sessions.items()):
            if time.monotonic() > session.heard + session.lifetime:
                del self._sessions[token]
                session.coordinator.stop()


@contextlib.contextmanager
def serving(directory: Path) -> Iterator[str]:
    """Run a server that keeps its things in a directory; give its URL."""
    server = _Server(directory)
    with Listener(("127.0.0.1", 0), backlog=_MOST_AT_ONCE) as listener:
        accepting = threading.Thread(target=server.accept, args=(listener,))
        accepting.start()
        host, port = cast("tuple[str, int]", listener.address)
        try:
            yield f"served://{host}:{port}"
        finally:
            listening: Any = listener
            listening._listener._socket.shutdown(socket.SHUT_RDWR)
            accepting.join()
            server.close()


# -- the driver ---------------------------------------------------------------------------


class ServedLock(Lock):
    """A lock that the server keeps for this object, in the coordinator's session."""

    def __init__(self, name: bytes, owner: ServedDriver) -> None:
        super().__init__(name, owner)
        self._coordinator = owner
        self._own = secrets.token_hex(8)
        self._session: str | None = None

    def _ask(self, what: str) -> bool:
        return bool(self._coordinator.ask(f"lock.{what}", self._name, self._own))

    def _acquire(self, deadline: Deadline, shared: bool) -> bool:
        while not self._try():
            if deadline.expired:
                return False
            time.sleep(min(_PAUSE, deadline.remaining))
            self._owner.check_started("waiting")
        self._session = self._coordinator.token
        return True

    def _try(self) -> bool:
        try:
            return self._ask("acquire")
        except _UNANSWERED:
            self._coordinator.give_back(self._name, self._own)
            raise

    def _release(self) -> bool:
        self._session = None
        try:
            return self._ask("release")
        except _UNANSWERED:
            self._coordinator.give_back(self._name, self._own)
            raise

    def _is_held(self) -> bool:
        owner = self._coordinator
        return self._session is not None and self._session == owner.token and owner.lease.valid

    def _is_still_owner(self) -> bool:
        return self._ask("is_still_owner")

    def _drop(self) -> None:
        self._session = None


def _pass_on(name: str) -> Any:
    """Return a method that has the session's own coordinator do the same."""
    return lambda driver, *arguments: driver.ask(name, *arguments)


class ServedDriver(RemoteCoordinator):
    """A coordinator with one connection, which is made anew after an exchange failed."""

    CHARACTERISTICS: tuple[Characteristics, ...] = (
        Characteristics.DISTRIBUTED_ACROSS_THREADS,
        Characteristics.LINEARIZABLE,
    )
    requires_beating: ClassVar[bool] = True

    def __init__(self, member_id: bytes, url: SplitResult, options: LocalOptions) -> None:
        super().__init__(member_id, url, options)
        self._timeout = options.timeout
        self._exchanging = threading.RLock()
        self._connection: Connection | None = None
        self._doubtful: set[tuple[bytes, str]] = set()
        self.lease = Lease(options.timeout)
        self.token = ""

    # -- exchanges ------------------------------------------------------------------------

    def ask(self, name: str, *arguments: Any) -> Any:
        """Have the server do something in this session; return the result."""
        with self.turns():
            try:
                for doubtful in list(self._doubtful):
                    self.exchange("lock.release", *doubtful)
                    self._doubtful.discard(doubtful)
                return self.exchange(name, *arguments)
            except _SessionEnded as error:
                self.lost()
                raise ToozConnectionError("the session has ended") from error

    def turns(self) -> AbstractContextManager[Any]:
        """Return a context in which no other thread asks, which it has in time."""
        return turn(self._exchanging, self._timeout, "the server")

    def give_back(self, name: bytes, own: str) -> None:
        """Before anything else is asked, release a lock that may be held."""
        self._doubtful.add((name, own))

    def lost(self) -> None:
        """Note that the session has ended, and begin another."""
        self._note_loss([])
        self._begin()

    def exchange(self, name: str, *arguments: Any) -> Any:
        """Send a request and wait for its answer."""
        sent = time.monotonic()
        try:
            if self._connection is None:
                self._connection = self.connect()
            self._connection.send((self.token, name, *arguments))
            if not self._connection.poll(self.patience()):
                raise TimeoutError
            answer = self._connection.recv()
        except (OSError, EOFError) as error:
            self.broke()
            raise self.named(error) from error
        return self.result_of(sent, *answer)

    def result_of(self, sent: float, became: str, result: Any) -> Any:
        """Return what the server answered to what was sent at a time, or raise it."""
        self.lease.renewed(sent)
        if became == "ended":
            raise _SessionEnded
        if became == "failed":
            raise result
        return result

    def connect(self) -> Connection:
        """Return a new connection to the server."""
        return Client((self._url.hostname or "", self._url.port or 0))

    def patience(self) -> float | None:
        """Return the seconds for which an answer is waited for."""
        return self._timeout

    def broke(self) -> None:
        """Give up a connection on which an exchange failed."""
        connection, self._connection = self._connection, None
        if connection is not None:
            connection.close()

    def named(self, error: Exception) -> Exception:
        """Return an error of the API's family."""
        if isinstance(error, TimeoutError):
            return OperationTimedOut("no answer")
        return ToozConnectionError("the connection broke")

    # -- what a driver implements -----------------------------------------------------------

    def _begin(self) -> None:
        self._doubtful.clear()
        self.token = secrets.token_hex(8)
        self.exchange("begin", self._member_id, self._timeout)

    def _start(self) -> None:
        self._losses = None
        self._begin()

    def _stop(self) -> None:
        with self._exchanging:
            try:
                self.exchange("end")
            except (ToozError, _SessionEnded) as error:
                _log.warning("%r: the server ends the session after its time-out", error)
            self.broke()
            self.token = ""

    def _heartbeat(self) -> float:
        self._tell_losses("the session")
        self.ask("heartbeat")
        return self._timeout / 3

    def _make_lock(self, name: bytes) -> Lock:
        return ServedLock(name, self)

    _create_group = _pass_on("_create_group")
    _delete_group = _pass_on("_delete_group")
    _get_groups = _pass_on("_get_groups")
    _join_group = _pass_on("_join_group")
    _leave_group = _pass_on("_leave_group")
    _get_members = _pass_on("_get_members")
    _get_member = _pass_on("_get_member")
    _update_capabilities = _pass_on("_update_capabilities")
    _campaign = _pass_on("_campaign")
    _stand_down = _pass_on("_stand_down")
    _get_leader = _pass_on("_get_leader")
