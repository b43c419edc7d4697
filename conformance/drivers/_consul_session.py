"""The session with Consul that holds a coordinator's keys: kept, lost, replaced.

Consul does not end a session before its TTL has passed since it was made or renewed, and
may take up to twice as long ("HTTP API", "Sessions" in the manual of Consul 1.8); as long as
the servers keep their leader, it takes just that. With the behaviour ``delete``, the keys
that a session holds are removed with it ("Internals", "Sessions").

So a session counts here for its TTL from the sending of the last renewal. One that has run
out by that measure is given up for good, even if the server turns out to have it still: it
is destroyed before another is made, so that nothing comes back that was said to be lost.
"""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable
from contextlib import AbstractContextManager, suppress
from datetime import UTC, datetime, timedelta
from email.utils import parsedate_to_datetime

import msgspec

from conformance.drivers._consul_client import Client, Operation, Refused, duration
from conformance.drivers.remote import Lease, turn
from conformance.errors import ToozConnectionError, ToozError

__all__ = ["Session", "Sessions"]

_log = logging.getLogger(__name__)


class Session:
    """One session at the server.

    :param identity: its name at the server
    :param lease: for how long it lasts
    :param server_time: the server's time at ``made``
    :param made: when it was made, in seconds of the monotonic clock
    """

    def __init__(self, identity: str, lease: Lease, server_time: datetime, made: float) -> None:
        self.identity = identity
        self.over = False
        self.locks: dict[str, bytes] = {}
        """The keys of the locks that are held with it, and the locks' names."""
        self._lease = lease
        self._server_time = server_time
        self._made = made

    @property
    def lasts(self) -> bool:
        """Whether it certainly lasts still; neither blocks nor fails."""
        return not self.over and self._lease.valid

    def renewed(self, sent: float) -> None:
        """Note a renewal that was sent at this time of the monotonic clock."""
        self._lease.renewed(sent)

    def now(self) -> datetime:
        """Return the time by the server's clock, which it tells to the second."""
        return self._server_time + timedelta(seconds=time.monotonic() - self._made)

    def taking(self, key: str, value: bytes) -> Operation:
        """Return the operation that takes a key for as long as the session lasts."""
        return Operation("lock", key, value=value, session=self.identity)

    def having(self, key: str) -> Operation:
        """Return the operation that fails unless this session holds a key."""
        return Operation("check-session", key, session=self.identity)


class Sessions:
    """The session of a coordinator, another one each time that it was lost.

    :param client: through which it is made
    :param ttl: its TTL, in seconds
    :param timeout: seconds after which an exchange is given up
    :param on_loss: called with the names of the locks that were lost with a session
    """

    def __init__(
        self, client: Client, ttl: float, timeout: float, on_loss: Callable[[list[bytes]], None]
    ) -> None:
        self.client = client
        self._ttl = ttl
        self._timeout = timeout
        self._on_loss = on_loss
        self._mutex = threading.RLock()
        self._making = threading.Lock()
        self._settling = threading.RLock()
        self._closed = False
        self._session: Session | None = None
        self._debts: dict[str, tuple[Session, float]] = {}
        """Keys that must not stay, by which session they are held if they are there, and
        when the exchange failed that leaves this open."""

    def open(self) -> None:
        """Make a session, after ``close()`` too."""
        with self._mutex:
            self._closed, self._session, self._debts = False, None, {}
        self.current()

    def current(self) -> Session:
        """Return a session that lasts, made anew if need be."""
        session = self._session
        if session is not None and session.lasts:
            return session
        with turn(self._making, self._timeout, "Consul"):
            if self._closed:
                raise ToozConnectionError("the coordinator was stopped")
            session = self._session
            if session is not None and session.lasts:
                return session
            if session is not None:
                self.end(session)
                self._destroy(session)
            self._session = session = self._make()
            return session

    def end(self, session: Session) -> None:
        """Count a session as lost, for good, with all that is held with it."""
        with self._mutex:
            if not session.over:
                session.over = True
                locks, session.locks = sorted(session.locks.values()), {}
                self._on_loss(locks)

    def hold(self, session: Session, key: str, lock: bytes) -> None:
        """Count a key of a session as a lock that is held.

        :raises ToozConnectionError: the session is over
        """
        with self._mutex:
            if not session.lasts:
                raise ToozConnectionError("the session with Consul was lost; acquire anew")
            session.locks[key] = lock

    def renew(self, session: Session) -> bool:
        """Renew a session, unless it is over; say whether it lasts."""
        if session.lasts:
            sent = time.monotonic()
            path = f"/v1/session/renew/{session.identity}"
            response = self.client.put(path, accepted=(200, 404))
            with self._mutex:
                # One that ran out meanwhile may have been said to be lost.
                if response.status_code == 200 and session.lasts:
                    session.renewed(sent)
                    return True
        self.end(session)
        return False

    def beat(self) -> None:
        """Renew the session, or make another, and remove what must not stay."""
        session = self.current()
        if not self.renew(session):
            self.current()
        self.pay("")

    def close(self) -> None:
        """Destroy the session, so that nothing is held, unless the server is gone."""
        with self._mutex:
            self._closed = True
            session = self._session
        try:
            if session is not None and self.client.answering:
                self._destroy(session)
        except (OSError, ToozError) as error:
            _log.warning("the session with Consul is left to its time-out: %s", error)
        finally:
            self.client.close()
            if session is not None:
                session.over = True

    # -- debts --------------------------------------------------------------------------

    def owe(self, session: Session, key: str) -> None:
        """See that a key of a session goes, for it is not known whether it is there.

        That is at once if the server answers, else with the next heartbeat, or when the
        key would be in the way.
        """
        with self._mutex:
            self._debts[key] = session, time.monotonic()
        if self.client.answering:
            with suppress(OSError, ToozError):  # it stays owed
                self.pay(key)

    def pay(self, prefix: str) -> None:
        """Remove the keys with a prefix that must not stay."""
        for key, (session, since) in list(self._debts.items()):
            if not key.startswith(prefix):
                continue
            with self.settling():
                if key not in self._debts:
                    continue
                began = time.monotonic()
                with suppress(Refused):  # it is not there, or another's
                    self.client.change(session.having(key), Operation("delete", key))
                # A request that was given up may come late: until then the key may appear.
                if session.over or began - since > self._timeout:
                    self.forgive(key)

    def settling(self) -> AbstractContextManager[None]:
        """Return the context in which keys are taken or found that may be owed.

        No other thread removes them there, so that one that is forgiven stays.
        """
        return turn(self._settling, self._timeout, "Consul")

    def forgive(self, key: str) -> None:
        """Let a key stay, for what is there now is known."""
        with self._mutex:
            self._debts.pop(key, None)

    # -- exchanges ----------------------------------------------------------------------

    def _make(self) -> Session:
        """Make a session.

        It hangs on its TTL alone: on no health check, so that it does not end while its
        lease says that it lasts. There is no lock-delay: the time for which a key of a
        lost session cannot be taken, meant for what a client does that does not know of its
        loss yet. A lease by the client's own clock serves the same end.
        """
        asked = {
            "TTL": duration(self._ttl),
            "Behavior": "delete",
            "LockDelay": "0s",
            "NodeChecks": [],
        }
        sent = time.monotonic()
        try:
            response = self.client.put("/v1/session/create", msgspec.json.encode(asked))
        except ToozError as error:
            if "Session TTL" in str(error):
                raise ToozError(
                    f"Consul refuses a session with a ttl of {self._ttl:g} seconds: raise ttl "
                    "(or timeout, of which it is the half), or lower session_ttl_min of the "
                    "servers, 10 s by default"
                ) from error
            raise
        made, lease = time.monotonic(), Lease(self._ttl)
        lease.renewed(sent)
        told = response.headers.get("Date")
        server_time = parsedate_to_datetime(told) if told else datetime.now(UTC)
        identity: str = msgspec.json.decode(response.content)["ID"]
        return Session(identity, lease, server_time, made)

    def _destroy(self, session: Session) -> None:
        """Destroy a session; the server does nothing when it is gone."""
        self.client.put(f"/v1/session/destroy/{session.identity}")
