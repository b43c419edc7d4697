"""An in-memory ZooKeeper server: one order of transactions, sessions, one-shot watches.

A server is found by its name within the process; clients (``conformance.standin.client``)
carry out their requests on it in their own threads, one at a time, under its lock. It
follows the ZooKeeper Programmer's Guide, release 3.8; see "ZooKeeper Sessions", "ZooKeeper
Watches" and "Consistency Guarantees". Sessions have no time-out here: one ends when its
client stops, or when a test expires it.
"""

from __future__ import annotations

import itertools
import os
import threading
import time
from collections.abc import Callable, Sequence
from typing import Protocol

from kazoo.protocol.states import EventType, KeeperState, WatchedEvent

from conformance.standin.tree import Happening, Moment, Operation, Tree

__all__ = ["Client", "Server", "Watcher", "named_server"]

Watcher = Callable[[WatchedEvent], object]
"""What a client leaves behind to be called, once, when something happens to a node."""

_FIRST_SESSION = 0x100000000
"""Where sessions' numbers begin: no small number that a test might mean otherwise."""


class Client(Protocol):
    """What the server needs of a client."""

    def dispatch(self, watcher: Watcher, event: WatchedEvent) -> None:
        """Have a watcher called soon, by a thread of the client's own, in order."""

    def note_expiry(self) -> bool:
        """Learn, under the server's lock, that the session is gone; False when cut off."""

    def recover(self) -> None:
        """Tell the listeners that the session was lost, and begin another."""


class _WatchTable:
    """Watches of one kind: path -> the watchers there, in the order in which they came."""

    def __init__(self) -> None:
        self._by_path: dict[str, dict[tuple[Client, Watcher], None]] = {}

    def add(self, path: str, client: Client, watcher: Watcher) -> None:
        self._by_path.setdefault(path, {})[client, watcher] = None

    def __contains__(self, path: str) -> bool:
        return path in self._by_path

    def take(self, path: str) -> list[tuple[Client, Watcher]]:
        """Remove and return what watches a path: a watch fires once."""
        return list(self._by_path.pop(path, ()))

    def take_all_of(self, client: Client) -> list[Watcher]:
        """Remove and return the watchers that a client left."""
        found = []
        for path, watches in list(self._by_path.items()):
            own = [key for key in watches if key[0] is client]
            for key in own:
                del watches[key]
            if not watches:
                del self._by_path[path]
            found += [watcher for _, watcher in own]
        return found


class Server:
    """One ZooKeeper, in memory.

    :param name: under which :func:`named_server` finds it
    """

    def __init__(self, name: str = "") -> None:
        self.name = name
        self.lock = threading.RLock()
        """Held while a request is carried out, and by whoever looks at :attr:`tree`.
        Watchers and listeners never run under it."""
        self.tree = Tree()
        self._zxid = 0
        self._sessions: dict[int, Client] = {}
        self._numbers = itertools.count(_FIRST_SESSION)
        self._data_watches = _WatchTable()
        self._child_watches = _WatchTable()

    @property
    def sessions(self) -> list[int]:
        """The numbers of the sessions that are alive, in the order of their beginning."""
        with self.lock:
            return list(self._sessions)

    def paths(self) -> list[str]:
        """Return the paths of all nodes but the root, sorted."""
        with self.lock:
            return self.tree.paths()

    def is_watched(self, path: str) -> bool:
        """Whether a watch waits for something to happen to a node, or to its children."""
        with self.lock:
            return path in self._data_watches or path in self._child_watches

    def expire(self, session: int) -> None:
        """End a session as its time-out would: its ephemeral nodes go, at one moment.

        A client that is connected is told at once and begins another session; one that
        is cut off learns of it when it is connected again. Returns when the client's
        listeners have been told.

        :raises ValueError: there is no such session
        """
        with self.lock:
            if session not in self._sessions:
                raise ValueError(f"no session {session:#x}: it has ended already, or never was")
            client = self._sessions[session]
            self.end_session(session)
            knows = client.note_expiry()
        if knows:
            client.recover()

    # The rest is for clients, which call it with the lock held.

    def begin_session(self, client: Client) -> int:
        """Begin a session for a client; return its number."""
        session = next(self._numbers)
        self._sessions[session] = client
        return session

    def is_alive(self, session: int | None) -> bool:
        """Whether a session has neither been closed nor expired."""
        return session in self._sessions

    def end_session(self, session: int) -> None:
        """Close a session: its ephemeral nodes vanish."""
        del self._sessions[session]
        self._zxid += 1
        self._tell(self.tree.end_session(session, self._zxid))

    def write(self, session: int, operation: Operation) -> object:
        """Carry out an operation, or raise the ZookeeperError that it is refused with."""
        result, happenings = self.tree.perform(operation, self._next_moment(session))
        self._tell(happenings)
        return result

    def transact(self, session: int, operations: Sequence[Operation]) -> list[object]:
        """Carry out all operations as one transaction, or none; see :meth:`Tree.transact`."""
        results, happenings = self.tree.transact(operations, self._next_moment(session))
        self._tell(happenings)
        return results

    def watch_data(self, path: str, client: Client, watcher: Watcher) -> None:
        """Call the watcher at the node's next creation, change or deletion."""
        self._data_watches.add(path, client, watcher)

    def watch_children(self, path: str, client: Client, watcher: Watcher) -> None:
        """Call the watcher when a child next comes or goes, or the node itself does."""
        self._child_watches.add(path, client, watcher)

    def forget_watches(self, client: Client) -> list[Watcher]:
        """Remove all that a client watches; return its watchers, children's first."""
        return self._child_watches.take_all_of(client) + self._data_watches.take_all_of(client)

    def _next_moment(self, session: int) -> Moment:
        # Requests that are refused are given a number too, as by the server's own log.
        self._zxid += 1
        return Moment(self._zxid, time.time_ns() // 1_000_000, session)

    def _tell(self, happenings: Sequence[Happening]) -> None:
        for happening in happenings:
            watches = []
            if happening.type != EventType.CHILD:
                watches += self._data_watches.take(happening.path)
            if happening.type in (EventType.CHILD, EventType.DELETED):
                watches += self._child_watches.take(happening.path)
            for client, watcher in watches:
                event = WatchedEvent(happening.type, KeeperState.CONNECTED, happening.path)
                client.dispatch(watcher, event)


_servers: dict[str, Server] = {}
_naming = threading.Lock()


def named_server(name: str = "") -> Server:
    """Return this process's server of a name, which begins to exist when first asked for."""
    with _naming:
        return _servers.setdefault(name, Server(name))


def _begin_anew_in_child() -> None:
    """In a forked child: the servers are the parent's, and their locks may be held."""
    global _naming
    _naming = threading.Lock()
    _servers.clear()


os.register_at_fork(after_in_child=_begin_anew_in_child)
