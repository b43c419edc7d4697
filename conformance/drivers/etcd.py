"""The driver for etcd: locks, groups and leadership, through its JSON gateway.

Below the namespace, names are the SHA-256 digests of those that users give:

- ``groups/GROUP`` holds the group's name.
- ``members/GROUP/MEMBER`` goes with its coordinator's lease; it holds the member's name, its
  capabilities and its times. The revision that made it is the member's incarnation.
- ``leaders/GROUP`` goes with its coordinator's lease and holds the leader's name; the
  revision that made it is the term.
- ``locks/LOCK/…`` is the queue of a lock; see ``conformance.drivers._etcd_lock``. Beside it
  ``voided/…`` calls back what may still be under way.

What etcd promises ("KV API guarantees" in its manual 3.5), and so what is claimed here:
operations are atomic, and all but watches are strictly serializable unless asked otherwise,
which is never done here. Each call is one transaction, so each takes effect at one moment.
Leases end by time-out: a client that is paused for too long loses what it holds, and what a
killed client held becomes free only then, up to a second later than its time-out says.
Hence no NON_TIMEOUT_BASED.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from typing import Annotated, ClassVar, TypeVar
from urllib.parse import SplitResult, quote

import msgspec

from conformance.characteristics import Characteristics
from conformance.coordinator import Member
from conformance.drivers._etcd_gateway import Gateway, LeaseLost
from conformance.drivers._etcd_lock import EtcdLock
from conformance.drivers._etcd_requests import (
    Kept,
    absent,
    bound,
    delete,
    empty,
    get,
    listing,
    present,
    put,
    unchanged,
)
from conformance.drivers._etcd_session import Grant, Session
from conformance.drivers.remote import RemoteCoordinator, RemoteOptions, digest, tls_context
from conformance.errors import (
    GroupAlreadyExist,
    GroupNotCreated,
    GroupNotEmpty,
    MemberAlreadyExist,
    MemberNotJoined,
    SerializationError,
    ToozError,
)

__all__ = ["EtcdDriver", "EtcdOptions"]

_LARGEST_VALUE = 1_500_000
"""Bytes that a value may have. etcd refuses requests of more than 1.5 MiB by default
(``--max-request-bytes`` in its manual 3.5, "System limits"); the rest is left for keys."""

_SECURE = "etcd3+https"

Time = Annotated[float, msgspec.Meta(gt=0, le=86_400.0)]

T = TypeVar("T")


class EtcdOptions(RemoteOptions, frozen=True, kw_only=True):
    """Options of etcd, besides those of every server.

    ``lock_timeout``, ``membership_timeout``, ``leader_timeout``: seconds after which a
    silent client's go, ``timeout`` if not given. etcd counts in whole seconds, so they are
    rounded up, and not below the server's least.
    ``ca_cert``: the file of the authorities that sign the server's certificate.
    ``cert_cert``, ``cert_key``: the files of the client's certificate and of its key.
    """

    lock_timeout: Time | None = None
    membership_timeout: Time | None = None
    leader_timeout: Time | None = None
    ca_cert: str | None = None
    cert_cert: str | None = None
    cert_key: str | None = None


class _Stay(msgspec.Struct, frozen=True, array_like=True):
    """What a member's key holds."""

    member_id: bytes
    capabilities: bytes
    created_at: datetime
    updated_at: datetime


class EtcdDriver(RemoteCoordinator):
    """A coordinator on etcd 3.4 or later: ``etcd://[USER:PASS@]HOST[:2379]``.

    ``etcd3+http://`` is the same, ``etcd3+https://`` encrypts.

    Exchanges with the server, where nothing is lost and somebody beats: 1 to acquire a free
    lock, 1 to release it, 1 for each call about a group, but 2 to update capabilities and 2
    to be elected. One connection for each thread that asks at the same time, and one for
    each that waits for a lock.

    Not promised: that times of members are the server's, for etcd has no clock that it
    tells; they are those of the client that joined.
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
    Options: ClassVar[type[EtcdOptions]] = EtcdOptions
    requires_beating = True
    least_timeout = 2.0
    """Of a server whose election time-out is one second, as it is by default: half as much
    again, in whole seconds (``minTTL`` in etcd's server 3.5)."""

    def __init__(self, member_id: bytes, url: SplitResult, options: EtcdOptions) -> None:
        gateway = _gateway(url, options)
        self._root = f"{quote(options.namespace, safe='')}/"
        self._lock_time = _whole(options.lock_timeout, options)
        self._membership_time = _whole(options.membership_timeout, options)
        self._leader_time = _whole(options.leader_timeout, options)
        times = (self._lock_time, self._membership_time, self._leader_time)
        self._gateway = gateway
        self._session = Session(gateway, self._root, times, self._note_lease_loss)
        super().__init__(member_id, url, options)

    # -- life ---------------------------------------------------------------------------

    def _start(self) -> None:
        self._losses = None
        try:
            self._session.open()
        except BaseException:
            self._session.close()
            raise

    def _stop(self) -> None:
        self._session.close()

    def _forget_parent(self) -> None:
        super()._forget_parent()
        self._session.disown()

    def _heartbeat(self) -> float:
        due = self._session.beat()
        self._tell_losses("a lease at etcd")
        return due

    def _note_lease_loss(self, seconds: int, locks: list[bytes]) -> None:
        """Note what was lost with the lease of a time-out: only what has that time-out."""
        joined = self._joined if seconds == self._membership_time else ()
        led = self._terms if seconds == self._leader_time else ()
        self._note_losses(locks, joined, led)

    def _with_lease(self, seconds: int, call: Callable[[Grant], T]) -> T:
        """Make a call that binds something to a lease; once more if that has ended.

        etcd then refuses and does nothing, so nothing is done twice.
        """
        grant = self._session.lease(seconds)
        try:
            return call(grant)
        except LeaseLost:
            return call(self._session.replace(grant))

    # -- groups -------------------------------------------------------------------------

    def _create_group(self, group_id: bytes) -> None:
        key = self._group(group_id)
        _check_length("group", group_id)
        if not self._gateway.transact([absent(key)], [put(key, group_id)]).done:
            raise GroupAlreadyExist(group_id)

    def _delete_group(self, group_id: bytes) -> None:
        key = self._group(group_id)
        conditions = [present(key), empty(self._members(group_id))]
        deleted = self._gateway.transact(conditions, [delete(key)], [get(key)])
        if not deleted.done:
            raise GroupNotEmpty(group_id) if deleted.found[0] else GroupNotCreated(group_id)

    def _get_groups(self) -> Iterable[bytes]:
        (found,) = self._gateway.transact([], [listing(f"{self._root}groups/")]).found
        return [group.value for group in found]

    def _join_group(self, group_id: bytes, capabilities: bytes) -> None:
        group, member = self._group(group_id), self._member(group_id, self._member_id)
        now = datetime.now(UTC)
        stay = _packed(_Stay(self._member_id, capabilities, now, now))
        joined = self._with_lease(
            self._membership_time,
            lambda grant: self._gateway.transact(
                [present(group), absent(member)],
                [put(member, stay, grant.number)],
                [get(group)],
            ),
        )
        if not joined.done:
            if joined.found[0]:
                raise MemberAlreadyExist(group_id, self._member_id)
            raise GroupNotCreated(group_id)

    def _leave_group(self, group_id: bytes) -> None:
        group, member = self._group(group_id), self._member(group_id, self._member_id)
        own = bound(member, self._session.lease(self._membership_time).number)
        left = self._gateway.transact([own], [delete(member)], [get(group)])
        if not left.done:
            raise self._not_joined(group_id, left.found[0])

    def _update_capabilities(self, group_id: bytes, capabilities: bytes) -> None:
        group, member = self._group(group_id), self._member(group_id, self._member_id)
        grant = self._session.lease(self._membership_time)
        groups, members = self._gateway.transact([], [get(group), get(member)]).found
        if not members or members[0].lease != grant.number:
            raise self._not_joined(group_id, groups)
        stay = msgspec.structs.replace(
            _stay(members[0]), capabilities=capabilities, updated_at=datetime.now(UTC)
        )
        # The calls of a coordinator are made one by one: what changed is no longer its own.
        change = put(member, _packed(stay), grant.number)
        if not self._gateway.transact([unchanged(members[0])], [change]).done:
            raise MemberNotJoined(group_id, self._member_id)

    def _get_members(self, group_id: bytes) -> Mapping[bytes, Member]:
        reads = [get(self._group(group_id)), listing(self._members(group_id))]
        groups, found = self._gateway.transact([], reads).found
        if not groups:
            raise GroupNotCreated(group_id)
        members = map(_read_member, found)
        return {member.member_id: member for member in members}

    def _get_member(self, group_id: bytes, member_id: bytes) -> Member:
        reads = [get(self._group(group_id)), get(self._member(group_id, member_id))]
        groups, found = self._gateway.transact([], reads).found
        if not groups:
            raise GroupNotCreated(group_id)
        if not found:
            raise MemberNotJoined(group_id, member_id)
        return _read_member(found[0])

    def _not_joined(self, group_id: bytes, groups: list[Kept]) -> ToozError:
        """Return the error for a group, as it was found, that this coordinator is not in."""
        if not groups:
            return GroupNotCreated(group_id)
        return MemberNotJoined(group_id, self._member_id)

    # -- leadership ---------------------------------------------------------------------

    def _campaign(self, group_id: bytes) -> object | None:
        _check_length("member", self._member_id)
        return self._with_lease(
            self._leader_time, lambda grant: self._stand(self._leader(group_id), grant)
        )

    def _stand(self, key: str, grant: Grant) -> int | None:
        # Looking first finds the term that a lost reply was about, and is cheap for etcd:
        # a transaction that may write is written down by a majority, whether it writes or not.
        (leading,) = self._gateway.transact([], [get(key)]).found
        if not leading:
            entry = put(key, self._member_id, grant.number)
            elected = self._gateway.transact([absent(key)], [entry], [get(key)])
            if elected.done:
                return elected.revision
            leading = elected.found[0]
        return leading[0].created if leading[0].lease == grant.number else None

    def _stand_down(self, group_id: bytes) -> bool:
        key = self._leader(group_id)
        own = bound(key, self._session.lease(self._leader_time).number)
        return self._gateway.transact([own], [delete(key)]).done

    def _get_leader(self, group_id: bytes) -> bytes | None:
        (leading,) = self._gateway.transact([], [get(self._leader(group_id))]).found
        return leading[0].value if leading else None

    # -- locks and keys -----------------------------------------------------------------

    def _make_lock(self, name: bytes) -> EtcdLock:
        queue = f"{self._root}locks/{digest(name)}/"
        return EtcdLock(name, self, self._session, self._lock_time, queue)

    def _group(self, group_id: bytes) -> str:
        return f"{self._root}groups/{digest(group_id)}"

    def _members(self, group_id: bytes) -> str:
        return f"{self._root}members/{digest(group_id)}/"

    def _member(self, group_id: bytes, member_id: bytes) -> str:
        return f"{self._members(group_id)}{digest(member_id)}"

    def _leader(self, group_id: bytes) -> str:
        return f"{self._root}leaders/{digest(group_id)}"


def _gateway(url: SplitResult, options: EtcdOptions) -> Gateway:
    """Return the way to the server of a URL.

    :raises ValueError: the URL or the options cannot be meant so; no password is quoted
    """
    if url.path.strip("/"):
        raise ValueError(f"{url.scheme}:// takes no path: use ?namespace= instead")
    if (options.cert_cert is None) != (options.cert_key is None):
        raise ValueError("cert_cert and cert_key belong together: give both or neither")
    tls = None
    if url.scheme == _SECURE:
        tls = tls_context(options.ca_cert, options.cert_cert, options.cert_key)
    elif options.cert_cert or options.ca_cert:
        raise ValueError(f"{url.scheme}:// does not encrypt: use {_SECURE}:// with certificates")
    return Gateway(url, timeout=options.timeout, tls=tls)


def _whole(seconds: float | None, options: EtcdOptions) -> int:
    """Return a time-out in whole seconds, as etcd counts."""
    return math.ceil(options.timeout if seconds is None else seconds)


def _check_length(what: str, name: bytes) -> None:
    if len(name) > _LARGEST_VALUE:
        raise ToozError(
            f"a {what}'s name of {len(name)} bytes cannot be kept: at most {_LARGEST_VALUE}"
        )


def _packed(stay: _Stay) -> bytes:
    packed = msgspec.msgpack.encode(stay)
    if len(packed) > _LARGEST_VALUE:
        raise SerializationError(
            f"the member's name and its capabilities take {len(packed)} bytes: etcd takes at "
            f"most {_LARGEST_VALUE}"
        )
    return packed


def _stay(kept: Kept) -> _Stay:
    return msgspec.msgpack.decode(kept.value, type=_Stay)


def _read_member(kept: Kept) -> Member:
    stay = _stay(kept)
    return Member(stay.member_id, stay.capabilities, kept.created, stay.created_at, stay.updated_at)
