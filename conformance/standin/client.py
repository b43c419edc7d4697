"""A client of the in-memory ZooKeeper, with the methods of ``kazoo.client.KazooClient``.

Names, signatures, results and errors are those of kazoo 2.11, for the part of its API that
a driver uses: starting and stopping, the state and its listeners, requests with
asynchronous results, transactions. Callbacks run as under kazoo: watchers and completions
in the two threads of its own handler, listeners in the connection's thread. A request is
carried out in the thread that makes it, so its result is there at once while the client is
connected; while it is cut off, requests wait in order, as kazoo's do.

:meth:`Client.suspend`, :meth:`Client.resume` and :meth:`Client.lose_reply` are a test's
hold on the connection, as :meth:`~conformance.standin.zookeeper.Server.expire` is on the
session.
"""

from __future__ import annotations

import logging
import threading
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from functools import partial

from kazoo.exceptions import (
    ConnectionClosedError,
    ConnectionLoss,
    NodeExistsError,
    NoNodeError,
    SessionExpiredError,
    ZookeeperError,
)
from kazoo.handlers.threading import AsyncResult, SequentialThreadingHandler
from kazoo.protocol.paths import normpath
from kazoo.protocol.states import (
    Callback,
    EventType,
    KazooState,
    KeeperState,
    WatchedEvent,
    ZnodeStat,
)

from conformance.standin.transaction import Transaction
from conformance.standin.tree import ANY_VERSION, Create, Delete, Operation, SetData
from conformance.standin.zookeeper import Server, Watcher

__all__ = ["Client"]

_log = logging.getLogger(__name__)

_PASSWORD = b"\x00" * 16
"""The sessions' password; nothing is kept from anyone within one process."""

Listener = Callable[[str], object]
Request = Callable[[], object]


class Client:
    """A client of one server; not connected before :meth:`start`.

    :param server: whose client this is
    """

    def __init__(self, server: Server) -> None:
        self.server = server
        self.handler = SequentialThreadingHandler()
        self.state = KazooState.LOST
        self.client_state = KeeperState.CLOSED
        self._session: int | None = None
        self._live = threading.Event()
        self._listeners: set[Listener] = set()
        self._waiting: deque[tuple[Request, AsyncResult]] = deque()
        self._losing: str | None = None
        self._connection: ThreadPoolExecutor | None = None

    # -- life, as kazoo's ---------------------------------------------------------------

    @property
    def connected(self) -> bool:
        """Whether there is a connection to the server."""
        return self._live.is_set()

    @property
    def client_id(self) -> tuple[int, bytes] | None:
        """The session's number and password; None without a connection."""
        with self.server.lock:
            session = self._session if self._live.is_set() else None
            return None if session is None else (session, _PASSWORD)

    def start(self, timeout: float = 15) -> None:
        """Connect and begin a session; does nothing when connected already."""
        if not self.start_async().wait(timeout):
            raise self.handler.timeout_exception("Connection time-out")

    def start_async(self) -> threading.Event:
        """Connect; return the event that is set while there is a connection."""
        with self.server.lock:
            if self.client_state != KeeperState.CLOSED:
                return self._live
            self.handler.start()
            self._connection = ThreadPoolExecutor(1, "standin-connection")
            self._begin_session()
        self._in_connection_thread(self._announce, KazooState.CONNECTED)
        return self._live

    def stop(self) -> None:
        """End the session, if the server can be reached, and all threads."""
        with self.server.lock:
            if self.client_state == KeeperState.CLOSED:
                return
            if self.client_state == KeeperState.CONNECTED and self._session is not None:
                self.server.end_session(self._session)
            self._disconnect(KeeperState.CLOSED)
            self._session = None
            self.server.forget_watches(self)
            connection, self._connection = self._connection, None
        if connection is not None:
            connection.submit(self._announce, KazooState.LOST).result()
            connection.shutdown()
        self._fail_waiting(ConnectionLoss)
        self.handler.stop()

    def close(self) -> None:
        """Free what a stopped client still has; there is nothing."""

    def add_listener(self, listener: Listener) -> None:
        """Have a function called with each new KazooState."""
        self._listeners.add(listener)

    def remove_listener(self, listener: Listener) -> None:
        """Undo :meth:`add_listener`."""
        self._listeners.discard(listener)

    # -- requests, as kazoo's -----------------------------------------------------------

    def create_async(
        self,
        path: str,
        value: bytes = b"",
        acl: object = None,
        ephemeral: bool = False,
        sequence: bool = False,
        makepath: bool = False,
        include_data: bool = False,
    ) -> AsyncResult:
        """Create a node; the result is its path, with ``include_data`` also its stat."""
        wanted = Create(normpath("/" + path, trailing=sequence), value, ephemeral, sequence)
        return self._submit("create", partial(self._create, wanted, makepath, include_data))

    def ensure_path_async(self, path: str, acl: object = None) -> AsyncResult:
        """Create a node and all those above it, where they are missing."""
        return self._submit("ensure_path", partial(self._ensure_path, normpath("/" + path)))

    def delete_async(self, path: str, version: int = ANY_VERSION) -> AsyncResult:
        """Delete a node."""
        return self._submit("delete", partial(self._write, Delete(normpath("/" + path), version)))

    def set_async(self, path: str, value: bytes, version: int = ANY_VERSION) -> AsyncResult:
        """Replace a node's data; the result is its new stat."""
        wanted = SetData(normpath("/" + path), value, version)
        return self._submit("set", partial(self._write, wanted))

    def exists_async(self, path: str, watch: Watcher | None = None) -> AsyncResult:
        """Return a node's stat, None without such a node; either is watched."""
        return self._submit("exists", partial(self._exists, normpath("/" + path), watch))

    def get_async(self, path: str, watch: Watcher | None = None) -> AsyncResult:
        """Return a node's data and stat; only a node that is there is watched."""
        return self._submit("get", partial(self._get, normpath("/" + path), watch))

    def get_children_async(
        self, path: str, watch: Watcher | None = None, include_data: bool = False
    ) -> AsyncResult:
        """Return the names of a node's children, with ``include_data`` also its stat."""
        request = partial(self._get_children, normpath("/" + path), watch, include_data)
        return self._submit("get_children", request)

    def sync_async(self, path: str) -> AsyncResult:
        """Catch up with the leader: with one server there is nothing to catch up with."""
        return self._submit("sync", partial(normpath, "/" + path))

    def transaction(self) -> Transaction:
        """Return an empty transaction."""
        return Transaction(self._commit)

    # -- a test's hold on the connection ------------------------------------------------

    def suspend(self) -> None:
        """Cut the connection; the server keeps the session. Return when listeners know."""
        with self.server.lock:
            watchers = self._cut()
        self._in_connection_thread(self._announce_cut, watchers)

    def resume(self) -> None:
        """Mend the connection. Return when listeners know of it.

        Requests that waited are carried out in their order. Where the session has ended
        meanwhile they fail, and another session begins.
        """
        self._in_connection_thread(self._reconnect)

    def lose_reply(self, name: str) -> None:
        """Cut the connection when the next request of a name has been carried out.

        Its caller gets ConnectionLoss instead of the reply. The names are those of the
        methods, without ``_async``; that of a commit is ``transaction``.
        """
        with self.server.lock:
            self._losing = name

    # -- what the server needs ----------------------------------------------------------

    def dispatch(self, watcher: Watcher, event: WatchedEvent) -> None:
        """Have a watcher called by the handler's thread for watches."""
        self.handler.dispatch_callback(Callback("watch", watcher, (event,)))

    def note_expiry(self) -> bool:
        """Learn that the session has ended; False when there is no connection to learn by."""
        if self.client_state != KeeperState.CONNECTED:
            return False
        self._disconnect(KeeperState.EXPIRED_SESSION)
        return True

    def recover(self) -> None:
        """Tell the listeners of a session's end and begin another."""
        self._in_connection_thread(self._replace_session)

    # -- how requests are carried out ---------------------------------------------------

    def _submit(self, name: str, request: Request) -> AsyncResult:
        result = self.handler.async_result()
        with self.server.lock:
            if self.client_state == KeeperState.CLOSED:
                result.set_exception(ConnectionClosedError("Connection has been closed"))
            elif self.client_state == KeeperState.EXPIRED_SESSION:
                result.set_exception(SessionExpiredError())
            elif self.client_state == KeeperState.CONNECTING:
                self._waiting.append((request, result))
            elif self._losing == name:
                self._losing = None
                _answer(request, self.handler.async_result())
                watchers = self._cut()
                if self._connection is not None:
                    self._connection.submit(self._announce_cut, watchers, result)
            else:
                _answer(request, result)
        return result

    def _commit(self, operations: list[Operation]) -> AsyncResult:
        return self._submit("transaction", partial(self._transact, operations))

    def _write(self, operation: Operation) -> object:
        return self.server.write(self._own_session(), operation)

    def _transact(self, operations: list[Operation]) -> object:
        return self.server.transact(self._own_session(), operations)

    def _create(self, wanted: Create, makepath: bool, include_data: bool) -> object:
        try:
            path = self._write(wanted)
        except NoNodeError:
            if not makepath:
                raise
            self._ensure_path(wanted.path.rpartition("/")[0])
            path = self._write(wanted)
        return (path, self.server.tree.stat(str(path))) if include_data else path

    def _ensure_path(self, path: str) -> bool:
        above = ""
        for name in filter(None, path.split("/")):
            above = f"{above}/{name}"
            try:
                self._write(Create(above))
            except NodeExistsError:
                continue
        return True

    def _exists(self, path: str, watch: Watcher | None) -> ZnodeStat | None:
        if watch is not None:
            self.server.watch_data(path, self, watch)
        try:
            return self.server.tree.stat(path)
        except NoNodeError:
            return None

    def _get(self, path: str, watch: Watcher | None) -> object:
        found = self.server.tree.data(path), self.server.tree.stat(path)
        if watch is not None:
            self.server.watch_data(path, self, watch)
        return found

    def _get_children(self, path: str, watch: Watcher | None, include_data: bool) -> object:
        names = self.server.tree.children(path)
        if watch is not None:
            self.server.watch_children(path, self, watch)
        return (names, self.server.tree.stat(path)) if include_data else names

    def _own_session(self) -> int:
        if self._session is None:
            raise SessionExpiredError
        return self._session

    # -- how the state changes: under the lock, then told in the connection's thread -----

    def _begin_session(self) -> None:
        self._session = self.server.begin_session(self)
        self.client_state = KeeperState.CONNECTED
        self._live.set()

    def _disconnect(self, state: str) -> None:
        self.client_state = state
        self._live.clear()

    def _cut(self) -> list[Watcher]:
        """Lose the connection; return the watchers, which are to be told."""
        if self.client_state != KeeperState.CONNECTED:
            return []
        self._disconnect(KeeperState.CONNECTING)
        return self.server.forget_watches(self)

    def _in_connection_thread(self, call: Callable[..., object], *arguments: object) -> None:
        connection = self._connection
        if connection is not None:
            connection.submit(call, *arguments).result()

    def _announce_cut(self, watchers: list[Watcher], *unanswered: AsyncResult) -> None:
        for result in unanswered:
            result.set_exception(ConnectionLoss())
        self._announce(KazooState.SUSPENDED)
        self._wake(watchers)

    def _reconnect(self) -> None:
        with self.server.lock:
            if self.client_state != KeeperState.CONNECTING:
                return
            expired = not self.server.is_alive(self._session)
            if expired:
                self._disconnect(KeeperState.EXPIRED_SESSION)
            else:
                self.client_state = KeeperState.CONNECTED
                self._live.set()
                while self._waiting:
                    _answer(*self._waiting.popleft())
        if expired:
            self._replace_session()
        else:
            self._announce(KazooState.CONNECTED)

    def _replace_session(self) -> None:
        self._announce(KazooState.LOST)
        self._fail_waiting(SessionExpiredError)
        with self.server.lock:
            self._wake(self.server.forget_watches(self))
            if self.client_state != KeeperState.EXPIRED_SESSION:
                return
            self._begin_session()
        self._announce(KazooState.CONNECTED)

    def _fail_waiting(self, error: type[ZookeeperError]) -> None:
        while self._waiting:
            self._waiting.popleft()[1].set_exception(error())

    def _wake(self, watchers: list[Watcher]) -> None:
        """Tell watchers that the connection's state changed: they watch no more."""
        for watcher in watchers:
            self.dispatch(watcher, WatchedEvent(EventType.NONE, self.client_state, None))

    def _announce(self, state: str) -> None:
        if self.state == state:
            return
        self.state = state
        for listener in list(self._listeners):
            try:
                if listener(state) is True:
                    self.remove_listener(listener)
            except Exception:
                _log.exception("a listener failed at state %s", state)


def _answer(request: Request, result: AsyncResult) -> None:
    try:
        value = request()
    except ZookeeperError as error:
        result.set_exception(error)
    else:
        result.set(value)
