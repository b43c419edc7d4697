"""The driver for Redis, and for Valkey, which speaks the same: groups and leadership.

Keys begin with the namespace, percent-encoded, and the kind; names follow as they are:

- ``NS:lock:NAME`` holds the token of who holds the lock, and expires; ``NS:queue:NAME`` is
  the sorted set of those who wait for it. See ``conformance.drivers._redis_lock``.
- ``NS:groups`` is the set of all groups' names.
- ``NS:members:GROUP`` is a hash with two fields for each member: the session that joined,
  with the stay's number and times, and the capabilities. ``NS:living:GROUP`` is a sorted
  set of the moments at which memberships expire, by the server's clock. Every script that
  looks at a group first removes whose moment has passed, so the dead are never seen.
- ``NS:leader:GROUP`` holds the leader's session, term and name, and expires.
- ``NS:numbers`` is the last number given to a stay or a term.

Each call is one script or command, and so one round trip and one atomic step ("Scripting
with Lua" in the manual of Redis 8.0). Keys expire by the server's clock (EXPIRE, "Expires
and persistence"), so a step of that clock ends holds early or late.

What is promised: one server carries out one request after the other, and reads there see
every write before; hence LINEARIZABLE and what follows from it. What is not: a client that
is paused for longer than its time-outs loses what it holds, and a dead one's is free only
then, hence no NON_TIMEOUT_BASED. A server that crashes may forget its last writes, minutes
of them by default ("Redis persistence"); and with Sentinel a replica that takes over may
not have received writes that were acknowledged ("High availability with Redis Sentinel",
"Fundamental things to know about Sentinel before deploying"), so that a lock may be held
twice: then nothing about order is claimed. Redis Cluster is not supported.
"""

from __future__ import annotations

import logging
import ssl
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from functools import partial
from typing import Any, ClassVar
from urllib.parse import SplitResult, quote

from redis.exceptions import (
    AuthenticationError,
    AuthorizationError,
    BusyLoadingError,
    NoPermissionError,
    OutOfMemoryError,
    ReadOnlyError,
    RedisError,
)
from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import TimeoutError as RedisTimeout
from redis.sentinel import MasterNotFoundError

from conformance.characteristics import Characteristics
from conformance.coordinator import Member
from conformance.drivers._redis_client import RedisOptions, make_clients
from conformance.drivers._redis_lock import RedisLock
from conformance.drivers._redis_scripts import (
    CAMPAIGN,
    DELETE,
    JOIN,
    LEAVE,
    MEMBER,
    MEMBERS,
    STAND_DOWN,
    UPDATE,
    Script,
)
from conformance.drivers._redis_session import Session, microseconds, milliseconds
from conformance.drivers.remote import RemoteCoordinator
from conformance.errors import (
    GroupAlreadyExist,
    GroupNotCreated,
    GroupNotEmpty,
    MemberAlreadyExist,
    MemberNotJoined,
    OperationTimedOut,
    SerializationError,
    ToozConnectionError,
    ToozError,
)

__all__ = ["RedisDriver"]

_log = logging.getLogger(__name__)

_LARGEST = 500_000_000
"""Bytes that a name, or capabilities, may have. The server closes the connection of a client
that sends more than proto-max-bulk-len in one piece, 512 MB by default (redis.conf 8.0)."""

_STAY, _TERM = "stay", "term"
"""What a reply that was lost may have been about."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

_HOSTS = (
    Characteristics.DISTRIBUTED_ACROSS_THREADS,
    Characteristics.DISTRIBUTED_ACROSS_PROCESSES,
    Characteristics.DISTRIBUTED_ACROSS_HOSTS,
)


class RedisDriver(RemoteCoordinator):
    """A coordinator on Redis: ``redis://[USER:PASS@]HOST[:6379]`` or ``redis:///unix/path``.

    Every call takes one round trip: so does acquiring a free lock, releasing it, and a
    heartbeat, whatever it renews. The first use of a script on a server takes one more.
    """

    CHARACTERISTICS: tuple[Characteristics, ...] = (
        *_HOSTS,
        Characteristics.LINEARIZABLE,
        Characteristics.SEQUENTIAL,
        Characteristics.CAUSAL,
        Characteristics.SERIALIZABLE,
    )
    Options: ClassVar[type[RedisOptions]] = RedisOptions
    requires_beating = True

    def __init__(self, member_id: bytes, url: SplitResult, options: RedisOptions) -> None:
        self._options = options
        self._membership_timeout = options.membership_timeout or options.timeout
        self._leader_timeout = options.leader_timeout or options.timeout
        self._stays: dict[bytes, int] = {}
        self._led: dict[bytes, int] = {}
        self._unsure: set[tuple[str, bytes]] = set()
        if options.sentinel is not None:
            self.CHARACTERISTICS = _HOSTS
        self._session = Session(
            partial(make_clients, url, options),
            prefix=quote(options.namespace, safe="").encode() + b":",
            timeout=options.socket_timeout or options.timeout,
            lock_timeout=options.lock_timeout or options.timeout,
        )
        super().__init__(member_id, url, options)

    # -- the session --------------------------------------------------------------------

    def _start(self) -> None:
        self._losses = None
        self._stays, self._led, self._unsure = {}, {}, set()
        self._session.open()

    def _stop(self) -> None:
        try:
            if self._session.answers:
                self._give_rest_back()
        except (RedisError, ToozError) as error:
            _log.warning("while stopping: %s; the rest expires", type(error).__name__)
        finally:
            self._session.close()

    def _give_rest_back(self) -> None:
        """Give back what lost replies may have been about, and locks without an object."""
        self._session.give_everything_back()
        doubtful = {_STAY: set(self._stays), _TERM: set(self._led)}
        for kind, group_id in self._unsure:
            doubtful[kind].add(group_id)
        for group_id in doubtful[_STAY]:
            self._ask(LEAVE, group_id, self._member_id, self._session.id)
        for group_id in doubtful[_TERM]:
            self._stand_down(group_id)

    def _forget_parent(self) -> None:
        super()._forget_parent()
        self._session.disown()

    def _heartbeat(self) -> float:
        session = self._session
        session.settle()
        claims = list(session.holds.values())
        lapsed = [claim for claim in claims if not claim.lease.valid]
        claims = [claim for claim in claims if claim.lease.valid]
        terms, stays = list(self._led.items()), list(self._stays.items())
        locks, led, joined = session.keep(
            claims,
            [self._leader(group_id) for group_id, _ in terms],
            [self._member_keys(group_id) for group_id, _ in stays],
            member_id=self._member_id,
            leader_timeout=self._leader_timeout,
            membership_timeout=self._membership_timeout,
        )
        lapsed += [claim for claim, kept in zip(claims, locks, strict=True) if not kept]
        self._note_losses(
            # What was given up meanwhile is not lost.
            [claim.name for claim in lapsed if session.holds.pop(claim.token, None)],
            _dropped(self._stays, stays, joined),
            _dropped(self._led, terms, led),
        )
        self._tell_losses("contact with Redis")
        return min(session.lock_timeout, self._leader_timeout, self._membership_timeout) / 3

    def _translate(self, error: Exception) -> ToozError | None:
        kind = type(error).__name__
        match error:
            case RedisTimeout():
                return OperationTimedOut(
                    f"Redis did not answer within {self._session.timeout} seconds; "
                    "whether it did what was asked is unknown"
                )
            case AuthenticationError():
                return ToozConnectionError(
                    "Redis did not accept the credentials: check USER:PASS of the URL"
                )
            case NoPermissionError() | AuthorizationError():
                return ToozError(
                    f"Redis does not permit that ({kind}): give the user all commands on keys "
                    "and channels that begin with the namespace"
                )
            case ReadOnlyError():
                return ToozConnectionError(
                    "the Redis server is a replica, which takes no writes: name its master, or "
                    "a sentinel"
                )
            case BusyLoadingError():
                return ToozConnectionError("Redis is still loading its data: try again later")
            case MasterNotFoundError():
                return ToozConnectionError(
                    f"no sentinel that answers knows a master {self._options.sentinel!r} that is "
                    "up: check the URL, sentinel, sentinel_fallback, sentinel_username and "
                    "sentinel_password, the TLS options where there is sentinel_ssl, and that the "
                    "sentinels run; the error's cause has what each said"
                )
            case RedisConnectionError():
                return ToozConnectionError(
                    f"the connection to Redis failed or broke ({_reason(error)}): check the URL, "
                    "the TLS options, and that the server runs; whether it did what was asked "
                    "is unknown"
                )
            case OutOfMemoryError():
                return ToozError("Redis has reached its maxmemory: give it more")
            case RedisError():
                # Not quoted: what a server complains about may have a password in it.
                return ToozError(f"Redis refused a request ({kind}): see the error's cause")
        return None

    # -- groups -------------------------------------------------------------------------

    def _create_group(self, group_id: bytes) -> None:
        _check_size(group_id)
        if not self._session.command("SADD", self._session.key(b"groups"), group_id):
            raise GroupAlreadyExist(group_id)

    def _delete_group(self, group_id: bytes) -> None:
        if self._run(DELETE, group_id) == b"occupied":
            raise GroupNotEmpty(group_id)

    def _get_groups(self) -> Iterable[bytes]:
        groups: Iterable[bytes] = self._session.command("SMEMBERS", self._session.key(b"groups"))
        return groups

    def _join_group(self, group_id: bytes, capabilities: bytes) -> None:
        _check_capabilities(capabilities)
        doubt = _STAY, group_id
        arguments = (
            self._member_id,
            self._session.id,
            capabilities,
            microseconds(self._membership_timeout),
            int(doubt in self._unsure),
        )
        self._unsure.add(doubt)
        number = self._run(JOIN, group_id, *arguments)
        self._unsure.discard(doubt)
        if number == b"present":
            raise MemberAlreadyExist(group_id, self._member_id)
        self._stays[group_id] = number

    def _leave_group(self, group_id: bytes) -> None:
        self._stays.pop(group_id, None)
        self._run(LEAVE, group_id, self._member_id, self._session.id)
        self._unsure.discard((_STAY, group_id))

    def _update_capabilities(self, group_id: bytes, capabilities: bytes) -> None:
        _check_capabilities(capabilities)
        self._run(UPDATE, group_id, self._member_id, self._session.id, capabilities)

    def _get_members(self, group_id: bytes) -> Mapping[bytes, Member]:
        found = self._run(MEMBERS, group_id)
        fields: dict[bytes, bytes] = dict(zip(found[::2], found[1::2], strict=True))
        return {
            field[1:]: _read_member(field[1:], stay, fields[b"c" + field[1:]])
            for field, stay in fields.items()
            if field[:1] == b"s"
        }

    def _get_member(self, group_id: bytes, member_id: bytes) -> Member:
        stay, capabilities = self._run(MEMBER, group_id, member_id)
        return _read_member(member_id, stay, capabilities)

    def _run(self, script: Script, group_id: bytes, *arguments: Any) -> Any:
        """Run a script on a group, and raise what its answer says of it and of a member."""
        _check_size(group_id, self._member_id)
        answer = self._ask(script, group_id, *arguments)
        if answer == b"absent":
            raise GroupNotCreated(group_id)
        if answer == b"missing":
            raise MemberNotJoined(group_id, arguments[0])
        return answer

    def _ask(self, script: Script, group_id: bytes, *arguments: Any) -> Any:
        """Run a script on a group; return its answer."""
        key = self._session.key
        keys = (key(b"groups"), *self._member_keys(group_id), key(b"numbers"))
        return self._session.run(script, keys, group_id, *arguments)

    def _member_keys(self, group_id: bytes) -> tuple[bytes, bytes]:
        return self._session.key(b"members", group_id), self._session.key(b"living", group_id)

    # -- leadership ---------------------------------------------------------------------

    def _campaign(self, group_id: bytes) -> object | None:
        _check_size(group_id, self._member_id)
        session, doubt = self._session, (_TERM, group_id)
        self._unsure.add(doubt)
        term: int | None = session.run(
            CAMPAIGN,
            (self._leader(group_id), session.key(b"numbers")),
            session.id,
            self._member_id,
            milliseconds(self._leader_timeout),
        )
        self._unsure.discard(doubt)
        if term is None:
            self._led.pop(group_id, None)
        else:
            self._led[group_id] = term
        return term

    def _stand_down(self, group_id: bytes) -> bool:
        self._led.pop(group_id, None)
        led = self._session.run(STAND_DOWN, (self._leader(group_id),), self._session.id)
        self._unsure.discard((_TERM, group_id))
        return bool(led)

    def _get_leader(self, group_id: bytes) -> bytes | None:
        value: bytes | None = self._session.command("GET", self._leader(group_id))
        return None if value is None else value.split(b" ", 2)[2]

    def _leader(self, group_id: bytes) -> bytes:
        return self._session.key(b"leader", group_id)

    # -- locks --------------------------------------------------------------------------

    def _make_lock(self, name: bytes) -> RedisLock:
        _check_size(name)
        keys = self._session.key(b"lock", name), self._session.key(b"queue", name)
        return RedisLock(name, self, self._session, keys)


def _dropped(
    current: dict[bytes, int], asked: list[tuple[bytes, int]], kept: list[bool]
) -> list[bytes]:
    """Remove and return the groups whose stay or term was lost, not given up or renewed."""
    lost = [
        group_id
        for (group_id, number), ours in zip(asked, kept, strict=True)
        if not ours and current.get(group_id) == number
    ]
    for group_id in lost:
        current.pop(group_id, None)
    return lost


def _read_member(member_id: bytes, stay: bytes, capabilities: bytes) -> Member:
    _, number, created, updated = stay.split(b" ")
    return Member(member_id, capabilities, int(number), _time(created), _time(updated))


def _time(microseconds: bytes) -> datetime:
    return _EPOCH + timedelta(microseconds=int(microseconds))


def _reason(error: Exception) -> str:
    """Return why there is no connection: in TLS's own words, else the kind of error."""
    cause = error.__cause__ or error.__context__
    return str(cause) if isinstance(cause, ssl.SSLError) else type(error).__name__


def _check_size(*names: bytes) -> None:
    for name in names:
        if len(name) > _LARGEST:
            raise ToozError(f"a name of {len(name)} bytes cannot be kept: at most {_LARGEST}")


def _check_capabilities(capabilities: bytes) -> None:
    if len(capabilities) > _LARGEST:
        raise SerializationError(
            f"the capabilities take {len(capabilities)} bytes: Redis keeps at most {_LARGEST}"
        )
