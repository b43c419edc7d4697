"""A ZooKeeper session as the driver needs it: answers in time, and the truth about holds.

Three things that kazoo leaves to its user stand here. Every answer is waited for with a
time-out. What is held through the session is known to be lost as soon as the session is.
And a contender for a lock whose fate is unknown, because a reply was lost, is removed as
soon as ZooKeeper can be reached. Groups, leaders and the lock itself stand elsewhere.
"""

from __future__ import annotations

import atexit
import logging
import threading
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any

from kazoo.exceptions import (
    ConnectionLoss,
    NoNodeError,
    RolledBackError,
    SessionExpiredError,
)
from kazoo.protocol.states import KazooState

from conformance.errors import ToozConnectionError
from conformance.locking import Deadline

__all__ = ["Session"]

_log = logging.getLogger(__name__)


class Session:
    """A client, and what is held through its session with the server.

    kazoo replaces a session that expired by another on its own; :attr:`number` tells
    them apart.

    :param client: a ``kazoo.client.KazooClient`` or its stand-in, not started
    :param timeout: seconds that one exchange of requests and answers may take
    :param lasts: says whether the session certainly lasts, by this side's clock
    :param tries: how often a request that only reads is sent when its connection breaks
    :param sync: whether reads first catch up with the cluster's leader
    :param on_loss: called with the names of the locks that were lost with the session, in
        the client's connection thread; must not block
    :param on_lapse: called with the names of locks that were given up, although the session
        may last
    """

    def __init__(
        self,
        client: Any,
        *,
        timeout: float,
        on_loss: Callable[[list[bytes]], None],
        on_lapse: Callable[[list[bytes]], None],
        tries: int,
        lasts: Callable[[], bool] = lambda: True,
        sync: bool = False,
    ) -> None:
        self.client = client
        self.timeout = timeout
        self.number = 0
        self._lasts = lasts
        self._tries = tries
        self._sync = sync
        self._on_loss = on_loss
        self._on_lapse = on_lapse
        self._closing = True
        self._stopping: threading.Thread | None = None
        self._mutex = threading.Lock()
        self._holds: dict[str, tuple[bytes, str]] = {}
        self._debts: dict[str, str] = {}
        client.add_listener(self._listen)

    # -- life ---------------------------------------------------------------------------

    def open(self) -> None:
        """Connect; raise ToozConnectionError when that takes longer than the time-out."""
        if self._stopping is not None:
            self._stopping.join(self.timeout)
            if self._stopping.is_alive():
                raise ToozConnectionError(
                    "the connection that was closed before is still waiting for its server: "
                    "try again later"
                )
        self._closing = False
        if not self.client.start_async().wait(self.timeout):
            raise ToozConnectionError(
                f"no ZooKeeper server answered within {self.timeout} seconds: "
                "check the URL's hosts, the TLS options, and that a server runs there; the log "
                "says why each attempt failed"
            )

    def close(self) -> None:
        """End the session, or give up after the time-out; never raises.

        What cannot be told to the server, the server finds out at the session's end.
        """
        self._closing = True
        with self._mutex:
            left, self._holds = [path for _, path in self._holds.values()], {}
        for path in left:
            # Lock objects that nobody has any more; the session's end frees them, but
            # leaves the nodes above theirs. The answers are not waited for.
            self.client.delete_async(path)
            self.client.delete_async(_parent(path))
        self._stopping = threading.Thread(
            target=self._stop_client, name="zookeeper-stop", daemon=True
        )
        self._stopping.start()
        self._stopping.join(self.timeout)
        if self._stopping.is_alive():
            _log.warning(
                "ZooKeeper did not answer the end of the session within %s seconds: the "
                "server ends it after its time-out",
                self.timeout,
            )

    def disown(self) -> None:
        """In a forked child: see that nothing here touches the parent's connection."""
        self.client.remove_listener(self._listen)
        atexit.unregister(self.client.handler.stop)

    @property
    def lasts(self) -> bool:
        """Whether the session certainly lasts, by this side's clock."""
        return self._lasts()

    @property
    def id(self) -> int:
        """The session's number at the server, which the nodes bound to it bear.

        :raises ConnectionLoss: there is no connection, so that it may be gone
        """
        known = self.client.client_id
        if known is None:
            raise ConnectionLoss
        number: int = known[0]
        return number

    # -- requests -----------------------------------------------------------------------

    def answers(self, *results: Any) -> list[Any]:
        """Wait for the answers to requests that were sent together.

        :raises KazooTimeoutError: they did not all come within the time-out
        :raises KazooException: the first error among them
        """
        deadline = Deadline(self.timeout)
        return [result.get(timeout=deadline.remaining) for result in results]

    def read(self, send: Callable[[Any], Iterable[Any]]) -> list[Any]:
        """Send requests that only read, together, and return their answers.

        None stands for a node that is not there. Requests of one session are carried out
        in their order (Programmer's Guide 3.8, "Consistency Guarantees"), so each sees
        what those before it saw, or something later.

        :param send: is given the client and returns the results of its requests
        """
        left = self._tries
        while True:
            left -= 1
            try:
                if self._sync:
                    self.client.sync_async("/")
                return self.seen(*send(self.client))
            except ConnectionLoss:
                if left <= 0:
                    raise

    def seen(self, *results: Any) -> list[Any]:
        """Wait for answers as :meth:`answers` does; None where there was no node."""
        deadline = Deadline(self.timeout)
        return [_if_there(result, deadline) for result in results]

    def commit(self, transaction: Any) -> list[Any]:
        """Carry out a transaction; return its results, or raise the error it failed with."""
        return self.results(transaction.commit_async())

    def results(self, committed: Any) -> list[Any]:
        """Wait for the results of a transaction that was sent; see :meth:`commit`."""
        (results,) = self.answers(committed)
        for result in results:
            if isinstance(result, Exception) and not isinstance(result, RolledBackError):
                raise result
        return list(results)

    def confirm(self, path: str) -> bool:
        """Whether a node is there, by the word of the leader and a majority.

        An empty condition of a transaction goes through the leader as writes do, so the
        answer is not from the past, as a read's can be (Programmer's Guide 3.8,
        "Consistency Guarantees").
        """
        transaction = self.client.transaction()
        transaction.check(path, -1)
        try:
            self.commit(transaction)
        except NoNodeError:
            return False
        return True

    # -- holds --------------------------------------------------------------------------

    def hold(self, contender: str, path: str, lock: bytes, number: int) -> None:
        """Count a contender as a holder, if the session is still that of this number.

        :param path: that of its node, the only one
        :raises SessionExpiredError: that session is over
        """
        with self._mutex:
            if number != self.number or self._closing or not self._lasts():
                raise SessionExpiredError
            self._holds[contender] = (lock, path)

    def let_go(self, contender: str) -> None:
        """Count a contender as a holder no more."""
        with self._mutex:
            self._holds.pop(contender, None)

    def holds(self, contender: str) -> bool:
        """Whether a holder still is one, by what is known here.

        A client that is cut off, or paused, for longer than its session lasts must think
        that others have got in. It then gives the hold up for good, and the node too, should
        the session turn out to have survived.
        """
        if contender not in self._holds:
            return False
        if self._lasts():
            return True
        with self._mutex:
            lapsed = self._give_up(contender)
            parent = self._debts.get(contender)
        if lapsed is not None:
            self._on_lapse([lapsed])
        if parent is not None:
            self._settle(contender, parent)
        return False

    def abandon(self, contender: str, parent: str) -> None:
        """See that no node of a contender stays behind, whatever became of its requests."""
        with self._mutex:
            self._debts[contender] = parent
        self._settle(contender, parent)

    # -- in the client's threads: nothing here may block --------------------------------

    def _listen(self, state: str) -> None:
        if state == KazooState.CONNECTED:
            with self._mutex:
                debts = list(self._debts.items())
            for contender, parent in debts:
                self._settle(contender, parent)
        elif state == KazooState.LOST:
            with self._mutex:
                self.number += 1
                lost = [lock for lock, _ in self._holds.values()]
                for contender in list(self._holds):
                    self._give_up(contender)
            if not self._closing:
                self._on_loss(lost)

    def _give_up(self, contender: str) -> bytes | None:
        """Turn a hold into a debt, with the mutex held; return the lock's name, if it was held."""
        hold = self._holds.pop(contender, None)
        if hold is None:
            return None
        lock, path = hold
        self._debts[contender] = _parent(path)
        return lock

    def _settle(self, contender: str, parent: str) -> None:
        """Look for a contender's nodes; ``sync`` first, for a create may be under way."""
        self.client.sync_async(parent)
        listing = self.client.get_children_async(parent)
        listing.rawlink(partial(self._remove_found, contender, parent))

    def _remove_found(self, contender: str, parent: str, listing: Any) -> None:
        if not _is_settled(listing):
            return  # the next connection tries again
        found = [name for name in listing.value or () if contender in name]
        if not found:
            with self._mutex:
                self._debts.pop(contender, None)
            self.client.delete_async(parent)  # refused while others compete
        for name in found:
            removal = self.client.delete_async(f"{parent}/{name}")
            removal.rawlink(partial(self._look_again, contender, parent))

    def _look_again(self, contender: str, parent: str, removal: Any) -> None:
        if _is_settled(removal):
            self._settle(contender, parent)

    def _stop_client(self) -> None:
        try:
            self.client.stop()
            self.client.close()
        except Exception:
            _log.warning("stopping the ZooKeeper client failed", exc_info=True)


def _parent(path: str) -> str:
    return path.rpartition("/")[0]


def _is_settled(result: Any) -> bool:
    """Whether a request was carried out, or had nothing to be carried out on."""
    return result.exception is None or isinstance(result.exception, NoNodeError)


def _if_there(result: Any, deadline: Deadline) -> Any:
    try:
        return result.get(timeout=deadline.remaining)
    except NoNodeError:
        return None
