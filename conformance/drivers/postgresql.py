"""The driver for PostgreSQL: groups and leadership, on tables and advisory locks.

A coordinator's *session* is one connection, which holds an advisory lock on a number of its
own. What is a member's or a leader's bears that number, and counts only as long as somebody
holds it: the server frees advisory locks when the connection that took them ends (manual 17,
"Advisory Locks"), and shows at any time which are held (manual 17, "pg_locks"). So no time-out
is needed: a paused client's connection lasts, and a dead one's ends when the operating
system closes it. For locks see ``conformance.drivers._postgresql_lock``, for the tables
``conformance.drivers._postgresql_schema``.

Every call is one transaction on one server, committed before it is acknowledged, and sees
all that was committed before it began. Hence LINEARIZABLE, and with it SEQUENTIAL, CAUSAL
and SERIALIZABLE.

Not promised: that what a server granted holds on another to which it was replicated, when that
takes its place; that host names are looked up in time, which libpq does without a time-out; and
that the server notices at once when a client's whole host or network is gone. TCP keepalive
finds that out, after 90 seconds with the time-out of 30; a client that is cut off takes its
connection for lost after 60.

A call that timed out does not end the connection, so nothing is lost by it; a lock that it may
have taken is given back within about a second of the server's answering again. Each thread that
waits for a lock has a further connection meanwhile, of which the server must have enough.
The row of a lock's name stays until a coordinator that used it stops while nobody else does;
one that dies leaves it. Poolers between client and server
must keep sessions apart (PgBouncer: ``pool_mode = session``).
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC
from typing import ClassVar, Literal
from urllib.parse import SplitResult, unquote

import psycopg2

from conformance.characteristics import Characteristics, Feature
from conformance.coordinator import Member
from conformance.drivers import _postgresql_schema as sql
from conformance.drivers._postgresql_connection import Row
from conformance.drivers._postgresql_lock import PostgresLock
from conformance.drivers._postgresql_session import Session
from conformance.drivers.remote import RemoteCoordinator, RemoteOptions, address, credentials
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

__all__ = ["PostgresDriver", "PostgresOptions"]

_PORT = 5432

_LARGEST_VALUE = 2**26
"""Bytes of a name or of capabilities: a field may have 1 GB, and a statement in which it
stands twice as long in hexadecimal, too (manual 17, "PostgreSQL Limits")."""


class PostgresOptions(RemoteOptions, frozen=True, kw_only=True):
    """Options of ``postgresql://``, besides those of every server.

    ``timeout``: seconds for which each exchange is waited for; nothing expires by it.
    ``dbname``: the database, where the URL's path names none.
    ``sslmode``, ``sslrootcert``, ``sslcert``, ``sslkey``: TLS, as libpq takes them (manual 17,
    "SSL Support").
    """

    dbname: str | None = None
    sslmode: Literal["disable", "allow", "prefer", "require", "verify-ca", "verify-full"] | None = (
        None
    )
    sslrootcert: str | None = None
    sslcert: str | None = None
    sslkey: str | None = None


class PostgresDriver(RemoteCoordinator):
    """A coordinator on PostgreSQL: ``postgresql://[USER:PASS@]HOST[:5432]/DB``.

    Each call of groups, members and leaders takes one round trip, a free lock one to be
    acquired and one to be released.
    """

    CHARACTERISTICS = (
        Characteristics.DISTRIBUTED_ACROSS_THREADS,
        Characteristics.DISTRIBUTED_ACROSS_PROCESSES,
        Characteristics.DISTRIBUTED_ACROSS_HOSTS,
        Characteristics.NON_TIMEOUT_BASED,
        Characteristics.LINEARIZABLE,
        Characteristics.SEQUENTIAL,
        Characteristics.CAUSAL,
        Characteristics.SERIALIZABLE,
    )
    FEATURES = frozenset(Feature) - {Feature.SHARED_LOCKS}
    Options: ClassVar[type[PostgresOptions]] = PostgresOptions

    def __init__(self, member_id: bytes, url: SplitResult, options: PostgresOptions) -> None:
        self._namespace = options.namespace
        self._timeout = options.timeout
        self._session = Session(_parameters(url, options), options.timeout, self._note_loss)
        super().__init__(member_id, url, options)

    # -- the session --------------------------------------------------------------------

    def _start(self) -> None:
        self._losses = None
        _check_size("the member's name", self._member_id)
        self._session.open()

    def _stop(self) -> None:
        self._session.close()

    def _forget_parent(self) -> None:
        super()._forget_parent()
        self._session.disown()

    def _heartbeat(self) -> float:
        self._session.ping()
        self._tell_losses("the connection to PostgreSQL")
        return self._timeout / 3

    def _translate(self, error: Exception) -> ToozError | None:
        if not isinstance(error, psycopg2.Error):
            return None
        code, said = error.pgcode or "", " ".join(str(error).split())
        match code[:2], code:
            case _, "57014":
                return OperationTimedOut(
                    f"PostgreSQL gave up what took longer than {self._timeout} seconds ({said})"
                )
            case _, "42501":
                return ToozError(
                    f"{said}: let the user create a schema in the database, or use what the "
                    "schema that is there has"
                )
            case _, "25006":
                return ToozError(f"the server takes no writes, it may be a standby: {said}")
            case ("08" | "57", _) | (_, ""):
                return ToozConnectionError(
                    f"the connection to PostgreSQL failed; whether it did what was asked is "
                    f"unknown: {said}"
                )
        return None

    # -- groups -------------------------------------------------------------------------

    def _create_group(self, group_id: bytes) -> None:
        _check_size("a group's name", group_id)
        key = self._key(group_id)
        if not self._session.run(
            sql.CREATE_GROUP, group=key, namespace=sql.space(self._namespace), name=group_id
        ):
            raise GroupAlreadyExist(group_id)

    def _delete_group(self, group_id: bytes) -> None:
        ((existed, deleted),) = self._on_group(sql.DELETE_GROUP, group_id)
        if not existed:
            raise GroupNotCreated(group_id)
        if not deleted:
            raise GroupNotEmpty(group_id)

    def _get_groups(self) -> Iterable[bytes]:
        rows = self._session.run(sql.GROUPS, namespace=sql.space(self._namespace))
        return [bytes(name) for (name,) in rows]

    def _join_group(self, group_id: bytes, capabilities: bytes) -> None:
        _check_capabilities(capabilities)
        ((existed, joined),) = self._on_group(
            sql.JOIN,
            group_id,
            member=self._key(self._member_id),
            name=self._member_id,
            capabilities=capabilities,
        )
        if not existed:
            raise GroupNotCreated(group_id)
        if not joined:
            raise MemberAlreadyExist(group_id, self._member_id)

    def _leave_group(self, group_id: bytes) -> None:
        self._on_own(sql.LEAVE, group_id)

    def _update_capabilities(self, group_id: bytes, capabilities: bytes) -> None:
        _check_capabilities(capabilities)
        self._on_own(sql.UPDATE, group_id, capabilities=capabilities)

    def _get_members(self, group_id: bytes) -> Mapping[bytes, Member]:
        return self._read_members(group_id, None)

    def _get_member(self, group_id: bytes, member_id: bytes) -> Member:
        try:
            return self._read_members(group_id, self._key(member_id))[member_id]
        except KeyError:
            raise MemberNotJoined(group_id, member_id) from None

    def _read_members(self, group_id: bytes, member: bytes | None) -> Mapping[bytes, Member]:
        rows = self._on_group(sql.MEMBERS, group_id, member=member)
        if not rows:
            raise GroupNotCreated(group_id)
        members = [_member(row) for row in rows if row[0] is not None]
        return {member.member_id: member for member in members}

    def _on_group(self, statement: str, group_id: bytes, **parameters: object) -> list[Row]:
        key = self._key(group_id)
        return self._session.run(statement, group=key, gate=sql.gate(key), **parameters)

    def _on_own(self, statement: str, group_id: bytes, **parameters: object) -> None:
        """Change this session's membership, or raise because there is none."""
        member = self._key(self._member_id)
        ((existed, done),) = self._on_group(statement, group_id, member=member, **parameters)
        if not existed:
            raise GroupNotCreated(group_id)
        if not done:
            raise MemberNotJoined(group_id, self._member_id)

    # -- leadership ---------------------------------------------------------------------

    def _campaign(self, group_id: bytes) -> object | None:
        rows = self._on_group(sql.CAMPAIGN, group_id, name=self._member_id)
        return rows[0][0] if rows else None

    def _stand_down(self, group_id: bytes) -> bool:
        return bool(self._on_group(sql.STAND_DOWN, group_id))

    def _get_leader(self, group_id: bytes) -> bytes | None:
        rows = self._on_group(sql.LEADER, group_id)
        return bytes(rows[0][0]) if rows else None

    # -- locks and keys -----------------------------------------------------------------

    def _make_lock(self, name: bytes) -> PostgresLock:
        return PostgresLock(name, self, self._session, self._key(name))

    def _key(self, name: bytes) -> bytes:
        return sql.key(self._namespace, name)


def _parameters(url: SplitResult, options: PostgresOptions) -> dict[str, object]:
    """Return the parameters of a connection.

    :raises ValueError: the URL names a database that the options do not, or none that can be
    """
    host, port = address(url, _PORT)
    user, password = credentials(url)
    path = unquote(url.path.removeprefix("/"))
    if path and options.dbname not in (None, path):
        raise ValueError(f"{url.scheme}:// names two databases: use its path, or ?dbname=")
    given = {
        "host": host,
        "port": port,
        "user": user,
        "password": password,
        "dbname": path or options.dbname,
        "sslmode": options.sslmode,
        "sslrootcert": options.sslrootcert,
        "sslcert": options.sslcert,
        "sslkey": options.sslkey,
        "application_name": "coordination",
    }
    texts = [value for value in given.values() if isinstance(value, str)]
    if any("\0" in text for text in texts):
        raise ValueError(f"{url.scheme}:// takes no NUL characters")
    return {name: value for name, value in given.items() if value is not None}


def _check_size(what: str, value: bytes) -> None:
    if len(value) > _LARGEST_VALUE:
        raise ToozError(f"{what} of {len(value)} bytes cannot be kept: at most {_LARGEST_VALUE}")


def _check_capabilities(capabilities: bytes) -> None:
    if len(capabilities) > _LARGEST_VALUE:
        raise SerializationError(
            f"the capabilities take {len(capabilities)} bytes: at most {_LARGEST_VALUE}"
        )


def _member(row: Row) -> Member:
    name, capabilities, incarnation, created_at, updated_at = row
    return Member(
        bytes(name),
        bytes(capabilities),
        incarnation,
        created_at.astimezone(UTC),
        updated_at.astimezone(UTC),
    )
