"""The driver for HashiCorp Consul: groups and leadership, on keys and a session.

Each coordinator has one session, with a TTL and the behaviour ``delete``: the keys that it
holds go with it, at one moment ("Internals", "Sessions" of the manual of Consul 1.8, which
is meant throughout). Below the namespace, with 64 digits of SHA-256 for each name, since
names may be any bytes:

- ``groups/GROUP`` has the group's name. Each join changes its flags, and so its
  ModifyIndex: a group is deleted only if nobody joined since it was seen empty.
- ``members/GROUP/MEMBER`` is held by the member's session, and has its name, capabilities
  and times; its CreateIndex, the place of its making in the log, is the incarnation.
- ``leaders/GROUP`` is held by the leader's session, and has its name; its CreateIndex is
  the term.
- ``locks/LOCK/CONTENDER`` are the queue of a lock; see
  ``conformance.drivers._consul_lock``.

Every change is one transaction, which is carried out wholly or not at all, after all
before it and before all after it ("HTTP API", "Transactions"). Every read is ``consistent``
("HTTP API", "Consistency Modes"): the leader makes sure of a majority first, which costs a
round trip between the servers and sees whatever was done before. A reading of a group is
one transaction too, and so true of one moment.

Round trips: 1 for each acquire and release of a free lock and for each group call, but 2 to
delete a group; 1 to look at a leadership and 2 to win it; 1 for a heartbeat.
"""

from __future__ import annotations

import secrets
import ssl
from collections.abc import Iterable, Mapping
from datetime import datetime
from typing import Annotated, ClassVar, cast
from urllib.parse import SplitResult, quote

import msgspec

from conformance.characteristics import Characteristics, Feature
from conformance.coordinator import DriverOptions, Member
from conformance.drivers._consul_client import (
    Client,
    Entry,
    Operation,
    Refused,
    TooLarge,
)
from conformance.drivers._consul_lock import ConsulLock
from conformance.drivers._consul_session import Sessions
from conformance.drivers.remote import (
    RemoteCoordinator,
    RemoteOptions,
    address,
    digest,
    tls_context,
)
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
from conformance.locking import Deadline

__all__ = ["ConsulDriver", "ConsulOptions"]

_PORT = 8500

_LONGEST_TTL = 86_400.0
"""Seconds; Consul takes no longer one ("HTTP API", "Sessions")."""


class ConsulOptions(RemoteOptions, frozen=True, kw_only=True):
    """Options of ``consul://``.

    ``ttl``: seconds for which a session certainly lasts without a heartbeat; by default
    half of ``timeout``, because Consul ends a session after twice its TTL. So what a dead
    client held is free ``timeout`` seconds after its last heartbeat, and the defaults are
    30 and 15 seconds. ``acl_token``: sent with every request; visible ASCII. ``ssl``: HTTPS;
    ``verify``: whether the agent must prove who it is; ``ca_cert``: a file of authorities
    to believe; ``cert`` and ``key``: files of the client's own certificate and its key.
    """

    ttl: Annotated[float, msgspec.Meta(gt=0, le=_LONGEST_TTL)] | None = None
    acl_token: Annotated[str, msgspec.Meta(pattern=r"\A[!-~]+\Z")] | None = None
    ssl: bool = False
    verify: bool = True
    ca_cert: str | None = None
    cert: str | None = None
    key: str | None = None


class ConsulDriver(RemoteCoordinator):
    """A coordinator on Consul: ``consul://HOST[:8500]``, best the agent of the same host.

    What is claimed is what one datacenter's servers do: one order for all changes, which
    every read sees the end of.

    What is not promised: what a client holds hangs on its heartbeats, hence no
    NON_TIMEOUT_BASED. A client that is paused for longer than its ``ttl`` loses what it
    holds, and is told so by its own clock; what it does meanwhile, and what is under way
    from it, may meet what the next holder does, since no lock-delay is kept: a resource
    that must not suffer from that must check who comes. What a dead client held becomes
    free after twice the ``ttl``, or later where the servers elect a leader meanwhile. The
    servers must take so short a TTL: their ``session_ttl_min`` is 10 seconds by default
    ("Agent", "Configuration"), which makes a ``timeout`` of 20 the shortest. There are no
    shared locks.
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
    FEATURES = frozenset(Feature) - {Feature.SHARED_LOCKS}
    Options: ClassVar[type[DriverOptions]] = ConsulOptions
    requires_beating = True

    least_timeout = 0.4
    """Of servers with a ``session_ttl_min`` of 200 ms, as the suite starts them."""

    def __init__(self, member_id: bytes, url: SplitResult, options: DriverOptions) -> None:
        given = cast(ConsulOptions, options)
        if url.username is not None or url.password is not None or url.path not in ("", "/"):
            raise ValueError("consul:// takes HOST[:PORT] and options, such as acl_token")
        self._address = address(url, _PORT)
        self._timeout = given.timeout
        self._ttl = given.ttl or given.timeout / 2
        self._root = quote(given.namespace, safe="")  # no namespace begins another's keys
        self._stays: dict[bytes, datetime] = {}
        client = Client(*self._address, given.acl_token, given.timeout, _tls(given))
        self._sessions = Sessions(client, self._ttl, self._timeout, self._note_loss)
        super().__init__(member_id, url, options)

    # -- the session --------------------------------------------------------------------

    def _start(self) -> None:
        self._losses, self._stays = None, {}
        try:
            self._sessions.open()
        except BaseException:
            self._sessions.close()
            raise

    def _stop(self) -> None:
        self._sessions.close()

    def _forget_parent(self) -> None:
        super()._forget_parent()
        self._sessions.client.disown()

    def _heartbeat(self) -> float:
        self._sessions.beat()
        self._tell_losses("the session with Consul")
        return self._ttl / 3

    def _note_loss(self, locks: Iterable[bytes]) -> None:
        # A session that ran out unused, for want of heartbeats, is no loss to tell of.
        self._note_losses(locks, self._joined, self._terms)

    def _translate(self, error: Exception) -> ToozError | None:
        kind = type(error).__name__
        match error:
            case TimeoutError():
                return OperationTimedOut(
                    f"Consul did not answer within {self._timeout:g} seconds ({kind}); whether "
                    "it did what was asked is unknown"
                )
            case ssl.SSLError():
                return ToozConnectionError(
                    f"Consul could not be spoken to by TLS ({error}): check ssl, verify, "
                    "ca_cert, cert and key"
                )
            case OSError():
                host, port = self._address
                # A server that wants a certificate may close before its reason was read.
                tls = ", and what it asks of TLS: cert and key" if self._uses_tls else ""
                return ToozConnectionError(
                    f"the connection to Consul at {host}:{port} failed ({kind}); whether it did "
                    f"what was asked is unknown: check that an agent runs there{tls}"
                )
        return None

    @property
    def _uses_tls(self) -> bool:
        return bool(self._client.scheme == "https")

    @property
    def _client(self) -> Client:
        return self._sessions.client

    def _take(self, *conditions: Operation, key: str, value: bytes) -> Entry:
        """Take a key for the session, on conditions; return it.

        If the reply is lost, the key is given back as soon as the server answers.

        :raises Refused: by its position, the condition that does not hold
        """
        while True:
            session = self._sessions.current()
            try:
                with self._sessions.settling():
                    taken = self._client.change(*conditions, session.taking(key, value))[-1]
                    self._sessions.forgive(key)
                    return taken
            except Refused as refusal:
                if not refusal.lost_session:
                    raise
                self._sessions.end(session)
            except TooLarge:
                raise
            except BaseException:
                self._sessions.owe(session, key)
                raise

    # -- groups -------------------------------------------------------------------------

    def _create_group(self, group_id: bytes) -> None:
        key = self._group(group_id)
        try:
            self._client.change(
                Operation("check-not-exists", key), Operation("set", key, value=group_id)
            )
        except Refused:
            raise GroupAlreadyExist(group_id) from None

    def _delete_group(self, group_id: bytes) -> None:
        deadline = Deadline(self._timeout)
        while True:
            group, *members = self._read_group(group_id, self._members(group_id))
            if members:
                raise GroupNotEmpty(group_id)
            unchanged = Operation("check-index", group.key, index=group.modify_index)
            try:
                self._client.change(unchanged, Operation("delete", group.key))
            except Refused:  # somebody joined since, or deleted it: look again
                if deadline.expired:
                    raise OperationTimedOut(
                        f"group {group_id!r} changes faster than it can be deleted"
                    ) from None
            else:
                return

    def _get_groups(self) -> Iterable[bytes]:
        return [entry.data for entry in self._client.below(f"{self._root}/groups/")]

    def _join_group(self, group_id: bytes, capabilities: bytes) -> None:
        group, key = self._group(group_id), self._member(group_id, self._member_id)
        self._sessions.pay(key)
        created = self._sessions.current().now()
        conditions = (
            Operation("get", group),
            Operation("check-not-exists", key),
            # To set what is there already would not count as a change.
            Operation("set", group, value=group_id, flags=secrets.randbits(63)),
        )
        value = self._packed(capabilities, created, created)
        try:
            self._take(*conditions, key=key, value=value)
        except Refused as refusal:
            match refusal.position:
                case 0:
                    raise GroupNotCreated(group_id) from None
                case 1:
                    raise MemberAlreadyExist(group_id, self._member_id) from None
            raise
        except TooLarge as error:
            raise SerializationError(str(error)) from error
        self._stays[group_id] = created

    def _leave_group(self, group_id: bytes) -> None:
        key = self._member(group_id, self._member_id)
        self._change_membership(group_id, Operation("delete", key))
        self._stays.pop(group_id, None)

    def _update_capabilities(self, group_id: bytes, capabilities: bytes) -> None:
        key, now = self._member(group_id, self._member_id), self._sessions.current().now()
        value = self._packed(capabilities, self._stays.get(group_id, now), now)
        try:
            self._change_membership(group_id, Operation("set", key, value=value))
        except TooLarge as error:
            raise SerializationError(str(error)) from error

    def _change_membership(self, group_id: bytes, change: Operation) -> None:
        """Change this coordinator's member, not that of another of the same name."""
        try:
            self._client.change(
                Operation("get", self._group(group_id)),
                self._sessions.current().having(change.key),
                change,
            )
        except Refused as refusal:
            if refusal.position == 0:
                raise GroupNotCreated(group_id) from None
            raise MemberNotJoined(group_id, self._member_id) from None

    def _get_members(self, group_id: bytes) -> Mapping[bytes, Member]:
        _, *entries = self._read_group(group_id, self._members(group_id))
        members = map(_read_member, entries)
        return {member.member_id: member for member in members}

    def _get_member(self, group_id: bytes, member_id: bytes) -> Member:
        _, *entries = self._read_group(group_id, self._member(group_id, member_id))
        if not entries:
            raise MemberNotJoined(group_id, member_id)
        return _read_member(entries[0])

    def _read_group(self, group_id: bytes, members: str) -> list[Entry]:
        """Return a group's key, then those that begin as told, as of one moment."""
        try:
            return self._client.change(
                Operation("get", self._group(group_id)), Operation("get-tree", members)
            )
        except Refused:
            raise GroupNotCreated(group_id) from None

    def _packed(self, capabilities: bytes, created: datetime, updated: datetime) -> bytes:
        return msgspec.msgpack.encode((self._member_id, capabilities, created, updated))

    # -- leadership ---------------------------------------------------------------------

    def _campaign(self, group_id: bytes) -> object | None:
        key, session = self._leader(group_id), self._sessions.current()
        # Looking first finds the term that a lost reply was about, and makes standing
        # again and again cheap.
        with self._sessions.settling():
            leading = self._client.get(key)
            if leading is not None:
                if leading.session != session.identity:
                    return None
                self._sessions.forgive(key)
                return leading.create_index
        vacant = Operation("check-not-exists", key)
        try:
            leading = self._take(vacant, key=key, value=self._member_id)
        except Refused as refusal:
            if refusal.position == 0:
                return None
            raise
        return leading.create_index

    def _stand_down(self, group_id: bytes) -> bool:
        key = self._leader(group_id)
        try:
            self._client.change(self._sessions.current().having(key), Operation("delete", key))
        except Refused:
            return False
        return True

    def _get_leader(self, group_id: bytes) -> bytes | None:
        leading = self._client.get(self._leader(group_id))
        return None if leading is None else leading.data

    # -- locks and keys -----------------------------------------------------------------

    def _make_lock(self, name: bytes) -> ConsulLock:
        return ConsulLock(name, self, self._sessions, f"{self._root}/locks/{digest(name)}/")

    def _group(self, group_id: bytes) -> str:
        return f"{self._root}/groups/{digest(group_id)}"

    def _members(self, group_id: bytes) -> str:
        return f"{self._root}/members/{digest(group_id)}/"

    def _member(self, group_id: bytes, member_id: bytes) -> str:
        return f"{self._members(group_id)}{digest(member_id)}"

    def _leader(self, group_id: bytes) -> str:
        return f"{self._root}/leaders/{digest(group_id)}"


def _tls(options: ConsulOptions) -> ssl.SSLContext | None:
    """Return how to secure connections; None when they are not to be.

    :raises ValueError: the options contradict each other, or a file cannot be used
    """
    if options.key is not None and options.cert is None:
        raise ValueError("key is that of a certificate: give cert too")
    if not options.ssl and (options.ca_cert or options.cert):
        raise ValueError("ca_cert, cert and key are for HTTPS: give ssl=true too")
    if not options.verify and options.ca_cert:
        raise ValueError("ca_cert is for verifying, which verify=false forbids")
    if not options.ssl:
        return None
    context = tls_context(options.ca_cert, options.cert, options.key)
    if not options.verify:
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
    return context


def _read_member(entry: Entry) -> Member:
    member_id, capabilities, created, updated = msgspec.msgpack.decode(
        entry.data, type=tuple[bytes, bytes, datetime, datetime]
    )
    return Member(member_id, capabilities, entry.create_index, created, updated)
