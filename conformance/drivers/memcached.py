"""The driver for memcached: groups, leadership and locks on one server, 1.6 or newer.

Memcached is a cache. What it runs out of memory for it evicts, and a restart or
``flush_all`` empties it: locks and leaderships are free then, memberships and groups gone.
Who held them is told by the next heartbeat, but until that, or until a hold would have run
out, two clients may each believe that they hold. Start the server with memory to spare; with
``-M`` it refuses instead of evicting, and a refused write may take what it was to replace.
Against this driver's own failures all of that is guarded; against the cache's nothing is.

Where things are ("protocol.txt" below is the manual that comes with memcached 1.6):

- a *lock* is an item that expires; see ``conformance.drivers._memcached_lock``;
- a *leadership* is one too, whose value is the leader's name, and whose CAS number, chosen
  at random by who was elected, is the term;
- a *group* is a document; see ``conformance.drivers._memcached_groups``. Its members live as
  long as their coordinator's *session*, an item that expires and is made at the first join;
- keys are the namespace, a kind, and the SHA-256 of the name, as keys have at most 250
  characters and neither whitespace nor control characters ("Keys").

*Time.* The server's clock has whole seconds, and what is stored for N seconds lasts between
N - 1 and N of them ("Expiration times": roughly +/- 1s). So time-outs are rounded up to
whole seconds, at least 2; what expires is gone by then, and a hold counts here as held for
1.25 seconds less, so that no holder outlives its item. Heartbeats come three times as often.

*Order.* One server carries out one command on an item at a time, and everything here that
must be one step is one such command; hence LINEARIZABLE, and all that follows from it. That
is claimed of one server that is not restarted: there is no replication.

Round trips, when nobody else competes: acquire 1, release 1, campaign 2, get_leader 1, join,
leave and update 2 (the first join 3), get_members 1, get_groups 2, heartbeat 1 for each of
memberships, leaderships and locks.
"""

from __future__ import annotations

import logging
import math
import ssl
import threading
import time
import uuid
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Annotated, ClassVar
from urllib.parse import SplitResult, quote

import msgspec
from pymemcache.exceptions import (
    MemcacheClientError,
    MemcacheError,
    MemcacheServerError,
    MemcacheUnexpectedCloseError,
)

from conformance.characteristics import Characteristics, Feature
from conformance.coordinator import Member
from conformance.drivers._memcached_groups import Groups, SessionGone, Stay
from conformance.drivers._memcached_link import (
    ABSENT,
    DONE,
    Link,
    add,
    look,
    new_number,
    put,
    remove,
    touch,
)
from conformance.drivers._memcached_lock import Ledger, MemcachedLock, lease
from conformance.drivers.remote import (
    RemoteCoordinator,
    RemoteOptions,
    address,
    digest,
    tls_context,
)
from conformance.errors import (
    OperationTimedOut,
    ToozConnectionError,
    ToozError,
)

__all__ = ["MemcachedDriver", "MemcachedOptions"]

_log = logging.getLogger(__name__)

_PORT = 11211
_LEAST_SECONDS = 2
_LONGEST_NAMESPACE = 80

_Seconds = Annotated[float, msgspec.Meta(gt=0, le=86_400.0)] | None


class MemcachedOptions(RemoteOptions, frozen=True, kw_only=True):
    """Options of ``memcached://``, besides those of every server.

    ``membership_timeout``, ``lock_timeout``, ``leader_timeout``: seconds after which a
    silent coordinator's memberships, locks and leaderships end; ``timeout`` when not given.
    ``max_pool_size``: how many connections there may be; as many as threads when not given.
    ``use_ssl``: secure them, and check the server's certificate against ``ca_cert``, or
    what the system trusts; ``ssl_check_hostname``: whether it must be the host's of the URL;
    ``ssl_cert``, ``ssl_key``, ``ssl_key_password``: this client's own certificate;
    ``ssl_ciphers``: in OpenSSL's format.
    """

    membership_timeout: _Seconds = None
    lock_timeout: _Seconds = None
    leader_timeout: _Seconds = None
    max_pool_size: Annotated[int, msgspec.Meta(ge=1)] | None = None
    use_ssl: bool = False
    ca_cert: str | None = None
    ssl_check_hostname: bool = True
    ssl_cert: str | None = None
    ssl_key: str | None = None
    ssl_key_password: str | None = None
    ssl_ciphers: str | None = None


class MemcachedDriver(RemoteCoordinator):
    """A coordinator on memcached: ``memcached://[HOST[:11211]]``.

    See the module for what is kept where, what each call costs, and what a cache cannot
    promise.
    """

    CHARACTERISTICS = (
        Characteristics.DISTRIBUTED_ACROSS_THREADS,
        Characteristics.DISTRIBUTED_ACROSS_PROCESSES,
        Characteristics.DISTRIBUTED_ACROSS_HOSTS,
        Characteristics.LINEARIZABLE,
        Characteristics.SEQUENTIAL,
        Characteristics.CAUSAL,
        Characteristics.SERIALIZABLE,
    )
    FEATURES: ClassVar[frozenset[Feature]] = frozenset(Feature) - {Feature.SHARED_LOCKS}
    Options: ClassVar[type[MemcachedOptions]] = MemcachedOptions
    requires_beating: ClassVar[bool] = True
    least_timeout: ClassVar[float] = float(_LEAST_SECONDS)

    def __init__(self, member_id: bytes, url: SplitResult, options: MemcachedOptions) -> None:
        if url.username is not None or url.password is not None or url.path.strip("/"):
            raise ValueError("memcached:// takes HOST[:PORT] and options, no user and no path")
        self._timeout = options.timeout
        self._membership_seconds = _whole(options.membership_timeout, options)
        self._lock_seconds = _whole(options.lock_timeout, options)
        self._leader_seconds = _whole(options.leader_timeout, options)
        self._prefix = _prefix(options.namespace)
        server = address(url, _PORT)
        self._link = Link(server, options.timeout, options.max_pool_size, _tls(options))
        self._ledger = Ledger(self._link, options.timeout)
        self._groups = Groups(self._link, self._prefix, options.timeout)
        self._clock = 0.0
        self._reset()
        super().__init__(member_id, url, options)

    def _reset(self) -> None:
        self._session: str | None = None
        self._memberships: dict[bytes, int] = {}
        """The groups joined, and the marks of their creations."""
        self._leaderships: dict[bytes, int] = {}
        """The groups led, and the terms."""
        self._electing = threading.Lock()

    # -- life ---------------------------------------------------------------------------

    def _start(self) -> None:
        self._losses = None
        self._reset()
        self._ledger.clear()
        self._link.open()
        try:
            facts = self._link.facts()
        except BaseException:
            self._link.close()
            raise
        self._groups.largest = facts.largest
        self._clock = facts.time - time.monotonic()

    def _stop(self) -> None:
        session, self._session = self._session, None
        try:
            # A server that has just failed to answer would only be waited for once more.
            if not self._link.broken:
                self._ledger.settle()
                if session is not None:
                    self._link.ask(remove(self._groups.session_key(session)))
        except (OSError, MemcacheError, ToozError) as error:
            _log.warning("while stopping: %s; what is left expires on the server", error)
        finally:
            self._link.close()

    def _forget_parent(self) -> None:
        super()._forget_parent()
        self._link.disown()
        self._ledger.clear()
        self._reset()

    def _now(self) -> datetime:
        """Return the server's time: what it said at the start, and what has passed since."""
        return datetime.fromtimestamp(self._clock + time.monotonic(), UTC)

    def _heartbeat(self) -> float:
        self._renew_session()
        self._renew_leaderships()
        self._renew_locks()
        self._ledger.settle()
        self._tell_losses("something that was kept on memcached")
        shortest = min(self._membership_seconds, self._lock_seconds, self._leader_seconds)
        return lease(shortest).seconds / 3

    def _translate(self, error: Exception) -> ToozError | None:
        kind = type(error).__name__
        match error:
            case TimeoutError():
                return OperationTimedOut(
                    f"memcached did not answer within {self._timeout} seconds; whether it did "
                    "what was asked is unknown"
                )
            case MemcacheUnexpectedCloseError() | OSError():
                return ToozConnectionError(
                    f"the connection to memcached failed ({kind}: {error}): check the URL, the "
                    "TLS options, and that a server runs there; whether it did what was asked is "
                    "unknown"
                )
            case MemcacheServerError():
                return ToozError(f"memcached could not do what was asked: {error}")
            case MemcacheClientError():
                return ToozError(
                    f"memcached did not understand what was asked ({error}): use 1.6 or newer"
                )
        return None

    # -- groups -------------------------------------------------------------------------

    def _create_group(self, group_id: bytes) -> None:
        self._groups.create(group_id, self._now())

    def _delete_group(self, group_id: bytes) -> None:
        self._groups.delete(group_id)

    def _get_groups(self) -> Iterable[bytes]:
        return self._groups.names()

    def _join_group(self, group_id: bytes, capabilities: bytes) -> None:
        while True:
            session = self._session or self._begin_session()
            try:
                mark = self._groups.join(
                    group_id,
                    self._member_id,
                    session,
                    capabilities,
                    self._now(),
                    unknown=group_id not in self._memberships,
                )
            except SessionGone:
                self._lose_session(session)
                continue
            with self._noting:
                if self._session == session:
                    self._memberships[group_id] = mark
                    return
            # The session was found lost meanwhile, and the stay went with it.

    def _leave_group(self, group_id: bytes) -> None:
        self._memberships.pop(group_id, None)
        self._groups.leave(group_id, self._member_id, self._session)

    def _get_members(self, group_id: bytes) -> Mapping[bytes, Member]:
        stays = self._groups.members(group_id)
        return {member_id: _member(member_id, stay) for member_id, stay in stays.items()}

    def _get_member(self, group_id: bytes, member_id: bytes) -> Member:
        return _member(member_id, self._groups.member(group_id, member_id))

    def _update_capabilities(self, group_id: bytes, capabilities: bytes) -> None:
        self._groups.update(group_id, self._member_id, self._session, capabilities, self._now())

    def _begin_session(self) -> str:
        session = uuid.uuid4().hex
        key = self._groups.session_key(session)
        self._link.ask(add(key, b"", new_number(), self._membership_seconds))
        self._session = session
        return session

    def _lose_session(self, session: str) -> None:
        """Note that a session expired, and every membership with it."""
        with self._noting:
            if self._session != session:
                return
            self._session = None
            lost, self._memberships = self._memberships, {}
        self._note_losses(joined=lost)

    def _renew_session(self) -> None:
        """Renew the session, and see that the groups that were joined are there still.

        As long as a document bears the mark that it had when it was joined, the stay is in
        it, for only this coordinator removes it while the session lasts. To be looked at
        also keeps a document from being evicted ("LRU" in "protocol.txt").
        """
        session, joined = self._session, list(self._memberships.items())
        if session is None:
            return
        renewed, *found = self._link.ask(
            touch(self._groups.session_key(session), self._membership_seconds),
            *(look(self._groups.key(group_id)) for group_id, _ in joined),
        )
        if renewed == ABSENT:
            self._lose_session(session)
            return
        for (group_id, mark), reply in zip(joined, found, strict=True):
            if b" f%d" % mark not in reply and self._memberships.get(group_id) == mark:
                del self._memberships[group_id]
                self._note_losses(joined=[group_id])

    # -- leadership ---------------------------------------------------------------------

    def _campaign(self, group_id: bytes) -> object | None:
        if len(self._member_id) > self._groups.largest // 2:
            raise ToozError(
                f"a member's name of {len(self._member_id)} bytes cannot be kept on memcached"
            )
        with self._electing:  # threads that share this coordinator must agree on its terms
            return self._stand(group_id)

    def _stand(self, group_id: bytes) -> int | None:
        self._ledger.settle()
        key = self._leader_key(group_id)
        leading = self._link.read([key]).get(key)
        if leading is not None:
            return leading.number if leading.number == self._leaderships.get(group_id) else None
        term = new_number()
        try:
            (reply,) = self._link.ask(add(key, self._member_id, term, self._leader_seconds))
        except BaseException as error:
            self._ledger.owe(key, term, self._leader_seconds)
            self._ledger.settle_soon(error)
            raise
        if reply != DONE:
            return None
        self._leaderships[group_id] = term
        return term

    def _stand_down(self, group_id: bytes) -> bool:
        key = self._leader_key(group_id)
        with self._electing:
            term = self._leaderships.pop(group_id, None)
            if term is None:
                return False
            try:
                (reply,) = self._link.ask(remove(key, term))
            except BaseException as error:
                self._ledger.owe(key, term, self._leader_seconds)
                self._ledger.settle_soon(error)
                raise
            return reply == DONE

    def _get_leader(self, group_id: bytes) -> bytes | None:
        key = self._leader_key(group_id)
        leading = self._link.read([key]).get(key)
        return None if leading is None else leading.value

    def _renew_leaderships(self) -> None:
        led = list(self._leaderships.items())
        replies = self._link.ask(
            *(
                put(self._leader_key(group_id), self._member_id, term, term, self._leader_seconds)
                for group_id, term in led
            )
        )
        for (group_id, term), reply in zip(led, replies, strict=True):
            if reply != DONE and self._leaderships.get(group_id) == term:
                del self._leaderships[group_id]
                self._note_losses(led=[group_id])

    def _leader_key(self, group_id: bytes) -> str:
        return f"{self._prefix}:leader:{digest(group_id)}"

    # -- locks --------------------------------------------------------------------------

    def _make_lock(self, name: bytes) -> MemcachedLock:
        key = f"{self._prefix}:lock:{digest(name)}"
        return MemcachedLock(name, self, self._link, self._ledger, key, self._lock_seconds)

    def _renew_locks(self) -> None:
        held = [(lock, lock.hold, lock.renewal()) for lock in list(self._ledger.holding)]
        renewals = [(lock, hold, c) for lock, hold, c in held if hold is not None and c is not None]
        sent = time.monotonic()
        replies = self._link.ask(*(command for _, _, command in renewals))
        for (lock, hold, _), reply in zip(renewals, replies, strict=True):
            if lock.renewed(hold, reply, sent):
                self._note_losses([lock.name])
        lapsed, self._ledger.lapsed = self._ledger.lapsed, []
        self._note_losses(lapsed)


def _whole(seconds: float | None, options: MemcachedOptions) -> int:
    """Return a time-out that the server can keep."""
    return max(_LEAST_SECONDS, math.ceil(options.timeout if seconds is None else seconds))


def _prefix(namespace: str) -> str:
    """Return what the keys of a namespace begin with; no two have the same."""
    quoted = quote(namespace, safe="")
    return quoted if len(quoted) <= _LONGEST_NAMESPACE else f"#{digest(namespace.encode())}"


def _tls(options: MemcachedOptions) -> ssl.SSLContext | None:
    """Return how to secure connections; None when they are not to be.

    :raises ValueError: a file or the ciphers cannot be used
    """
    if not options.use_ssl:
        return None
    context = tls_context(
        options.ca_cert, options.ssl_cert, options.ssl_key, options.ssl_key_password
    )
    context.check_hostname = options.ssl_check_hostname
    if options.ssl_ciphers is not None:
        try:
            context.set_ciphers(options.ssl_ciphers)
        except ssl.SSLError as error:
            raise ValueError(f"ssl_ciphers cannot be used: {error}") from None
    return context


def _member(member_id: bytes, stay: Stay) -> Member:
    return Member(member_id, stay.capabilities, stay.incarnation, stay.created_at, stay.updated_at)
