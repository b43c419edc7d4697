"""The driver for MySQL and MariaDB: groups and leadership in tables, on PyMySQL.

Four InnoDB tables are made in the URL's database when they are missing, for all namespaces:
``coordination_groups``, ``coordination_members``, ``coordination_leaders`` and
``coordination_breaks``. Rows are found by digests of names, of full length, with the names
beside; so names are any bytes. How locks work stands in ``conformance.drivers._mysql_lock``,
what a *token* is in ``conformance.drivers._mysql_session``.

- A member's row bears its coordinator's token, and a member is one whose token is held by
  some connection: one that died is not listed, joined over, and deleted with its group.
- So is a leader's row.
- The numbers that AUTO_INCREMENT gives to rows tell stays and terms apart.

Each step is one statement and a transaction of its own ("autocommit, Commit, and Rollback" in
the MySQL 9.7 Reference Manual). So a client that is paused or dies never leaves a transaction
open on which others would wait, and one that is cut off has done a step as a whole or not at
all. That nobody joins a group which is being deleted is the foreign key's doing: inserting a
member locks its group's row shared, deleting the group locks it exclusively ("FOREIGN KEY
Constraints", "Locks Set by Different SQL Statements in InnoDB").

Round trips: 1 to create or delete a group, to join, leave, update, list and to ask for the
leader; 1 more to find out why not. An election takes 2, a leader's own look 1.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from typing import Any, ClassVar
from urllib.parse import SplitResult

import pymysql
from pymysql.constants import CR, ER

from conformance.characteristics import Characteristics, Feature
from conformance.coordinator import Member
from conformance.drivers._mysql_link import Address, Answer, Link, MySQLOptions, error_number
from conformance.drivers._mysql_lock import MySQLLock
from conformance.drivers._mysql_session import Session
from conformance.drivers.remote import RemoteCoordinator, digest
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

__all__ = ["MySQLDriver"]

_TABLES = (
    """CREATE TABLE IF NOT EXISTS coordination_groups (
        id BINARY(32) PRIMARY KEY,
        namespace BINARY(32) NOT NULL,
        name LONGBLOB NOT NULL,
        KEY (namespace)
    ) ENGINE = InnoDB""",
    """CREATE TABLE IF NOT EXISTS coordination_members (
        group_id BINARY(32) NOT NULL,
        id BINARY(32) NOT NULL,
        name LONGBLOB NOT NULL,
        capabilities LONGBLOB NOT NULL,
        token CHAR(64) CHARACTER SET ascii NOT NULL,
        stay BIGINT UNSIGNED NOT NULL UNIQUE AUTO_INCREMENT,
        created_at DATETIME(6) NOT NULL,
        updated_at DATETIME(6) NOT NULL,
        PRIMARY KEY (group_id, id),
        FOREIGN KEY (group_id) REFERENCES coordination_groups (id) ON DELETE CASCADE
    ) ENGINE = InnoDB""",
    """CREATE TABLE IF NOT EXISTS coordination_leaders (
        id BINARY(32) PRIMARY KEY,
        name LONGBLOB NOT NULL,
        token CHAR(64) CHARACTER SET ascii NOT NULL,
        term BIGINT UNSIGNED NOT NULL UNIQUE AUTO_INCREMENT
    ) ENGINE = InnoDB""",
    """CREATE TABLE IF NOT EXISTS coordination_breaks (
        id BINARY(32) PRIMARY KEY,
        generation BIGINT UNSIGNED NOT NULL
    ) ENGINE = InnoDB""",
)

_ALL_THERE = "SELECT 1 FROM coordination_breaks LIMIT 0"
"""Fails unless the table made last is there. A look at several would hold the metadata lock of
one while it waits for the next, and so deadlock with a foreign key's CREATE TABLE, which takes
both ("Metadata Locking", MySQL 8.0 Reference Manual)."""

_DELETE_GROUP = """DELETE FROM coordination_groups WHERE id = %s AND NOT EXISTS (
    SELECT 1 FROM coordination_members WHERE group_id = %s AND IS_USED_LOCK(token) IS NOT NULL)"""

_HAS_MEMBERS = """SELECT EXISTS (
    SELECT 1 FROM coordination_members WHERE group_id = %s AND IS_USED_LOCK(token) IS NOT NULL)
    FROM coordination_groups WHERE id = %s"""

_OVERHEAD = 4096
"""More than the bytes that a statement takes besides names and capabilities."""

_NO_FAMILY = frozenset({ER.ROW_IS_REFERENCED_2, ER.NO_REFERENCED_ROW, ER.NO_REFERENCED_ROW_2})
"""What the server says of a row without the one that its foreign key refers to."""

_TOO_LARGE = frozenset({1118, 1153, 1301, ER.DATA_TOO_LONG})
"""Too large for a row, a packet, a result, a column."""

_SLOW = frozenset({ER.LOCK_WAIT_TIMEOUT, 3024, 1969})
"""Waited too long for a row; too long a statement, in MySQL's and in MariaDB's word."""

_ENDED = frozenset({0, 1053, 1317, 1927, 4031, CR.CR_CONN_HOST_ERROR, 2002, 2006, 2013})
"""The server stops (1317 to those who wait in it), or ended the connection, or cannot be
reached."""

_REFUSED = frozenset({1044, 1045, 1049, 1130, 1251, 1698, 1524})
"""The user, its password, its host or the database is not to the server's liking."""

_FULL = frozenset({1040, 1203, 1226})
"""Too many connections."""


class MySQLDriver(RemoteCoordinator):
    """A coordinator on MySQL or MariaDB: ``mysql://[USER[:PASS]@]HOST[:3306]/DB``.

    Locks, memberships and leaderships end when the server ends the connection that holds
    them, at once when a client dies; they never expire. What is *not* promised: locks are one
    server's own, so nothing here holds across the members of a Galera or Group Replication
    cluster, nor across a failover to a replica. A client's host that vanishes without closing
    its connections is not noticed before the server's TCP keepalive does. The user needs to be
    allowed SELECT, INSERT, UPDATE, DELETE and, for the first start, CREATE and REFERENCES.
    A hold that was waited for keeps a connection; those of free locks share one.
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
    Options: ClassVar[type[MySQLOptions]] = MySQLOptions

    def __init__(self, member_id: bytes, url: SplitResult, options: MySQLOptions) -> None:
        self._timeout = options.timeout
        self._namespace = options.namespace.encode()
        self._database = b""
        self._largest_packet = 0
        self._session = Session(Address(url, options), self._note_lost_connection)
        super().__init__(member_id, url, options)

    # -- the session --------------------------------------------------------------------

    def _start(self) -> None:
        self._losses = None
        try:
            self._session.open()
            main = self._session.main
            ((database, self._largest_packet),) = main.ask(
                "SELECT DATABASE(), @@max_allowed_packet"
            ).rows
            self._database = database.encode()
            self._make_tables(main)
        except BaseException:
            self._session.close()
            raise

    def _make_tables(self, main: Link) -> None:
        """Make the tables that are missing, one client at a time."""
        try:
            main.ask(_ALL_THERE)
        except pymysql.MySQLError as error:
            if error_number(error) != ER.NO_SUCH_TABLE:
                raise
        else:
            return
        guard = digest(_joined(b"tables", self._database))
        deadline = Deadline(self._timeout)
        while not main.compete(guard, self._session.waiting, "SELECT 1").rows[0][0]:
            if deadline.expired:
                raise OperationTimedOut("another client has been making the tables for too long")
        try:
            for table in _TABLES:
                main.ask(table)
        finally:
            if not main.lost:
                main.ask("SELECT RELEASE_LOCK(%s)", guard)

    def _stop(self) -> None:
        self._session.close()

    def _forget_parent(self) -> None:
        super()._forget_parent()
        self._session.disown()

    def _heartbeat(self) -> float:
        self._session.bury()
        self._tell_losses("a connection to MySQL")
        self._session.beat()
        self._tell_losses("a connection to MySQL")
        return self._timeout / 3

    def _note_lost_connection(self, locks: list[bytes], was_main: bool) -> None:
        if was_main:
            self._note_loss(locks)
        else:
            self._note_losses(locks)

    def _ended(self) -> ToozConnectionError:
        """Return the error to raise when the token proved to be held no more."""
        return ToozConnectionError(
            "the connection to MySQL that stands for this coordinator has ended; what was held "
            "with it is lost: join and acquire anew"
        )

    def _translate(self, error: Exception) -> ToozError | None:
        if not isinstance(error, pymysql.MySQLError):
            return None
        number = error_number(error)
        if number in _SLOW or _is_timeout(error):
            return OperationTimedOut(
                f"MySQL did not answer within {self._timeout} seconds ({number}); whether it did "
                "what was asked is unknown"
            )
        if number in _REFUSED:
            return ToozConnectionError(
                "MySQL refused the connection: check USER:PASS and DB of the URL, and whether the "
                f"user needs TLS options ({_said(error)})"
            )
        if number in _FULL:
            return ToozConnectionError(
                f"MySQL takes no more connections: raise max_connections ({_said(error)})"
            )
        if number in _ENDED:
            return ToozConnectionError(
                f"the connection to MySQL broke, or there is none to be had ({_said(error)}): "
                "check the URL, the TLS options, and that a server runs there; whether it did "
                "what was asked is unknown"
            )
        if number in _TOO_LARGE:
            return SerializationError(
                f"the names or the capabilities are too large for MySQL ({_said(error)})"
            )
        return None

    def _ask(self, sql: str, *arguments: object) -> Answer:
        """Have one statement carried out.

        :raises SerializationError: it would be larger than what the server takes, which
            ends the connection that sends more ("Packet Too Large")
        """
        size = sum(2 * len(part) for part in arguments if isinstance(part, bytes)) + _OVERHEAD
        if size > self._largest_packet:
            raise SerializationError(
                f"the names and the capabilities take {size} bytes of a packet, of which MySQL "
                f"takes {self._largest_packet}: raise max_allowed_packet"
            )
        return self._session.ask(sql, *arguments)

    # -- groups -------------------------------------------------------------------------

    def _create_group(self, group_id: bytes) -> None:
        try:
            self._ask(
                "INSERT INTO coordination_groups (id, namespace, name) VALUES (%s, %s, %s)",
                self._key(group_id),
                self._key(),
                group_id,
            )
        except pymysql.IntegrityError as error:
            if error_number(error) != ER.DUP_ENTRY:
                raise
            raise GroupAlreadyExist(group_id) from None

    def _delete_group(self, group_id: bytes) -> None:
        key = self._key(group_id)
        while not self._ask(_DELETE_GROUP, key, key).count:
            found = self._ask(_HAS_MEMBERS, key, key)
            if not found.rows:
                raise GroupNotCreated(group_id)
            # A group that is empty by now has been made, or left, since: it can be deleted.
            if found.rows[0][0]:
                raise GroupNotEmpty(group_id)

    def _get_groups(self) -> Iterable[bytes]:
        listing = self._ask(
            "SELECT name FROM coordination_groups WHERE namespace = %s", self._key()
        )
        return [name for (name,) in listing.rows]

    def _join_group(self, group_id: bytes, capabilities: bytes) -> None:
        key, member, token = self._key(group_id), _binary(self._member_id), self._session.token
        while True:
            try:
                joined = self._ask(
                    "INSERT INTO coordination_members"
                    " (group_id, id, name, capabilities, token, created_at, updated_at)"
                    " SELECT %s, %s, %s, %s, %s, UTC_TIMESTAMP(6), UTC_TIMESTAMP(6) FROM DUAL"
                    " WHERE IS_USED_LOCK(%s) IS NOT NULL",
                    *(key, member, self._member_id, capabilities, token, token),
                )
            except pymysql.IntegrityError as error:
                if error_number(error) in _NO_FAMILY:
                    raise GroupNotCreated(group_id) from None
                if error_number(error) != ER.DUP_ENTRY:
                    raise
            else:
                if not joined.count:
                    raise self._ended()
                return
            self._remove_dead(group_id, member)

    def _remove_dead(self, group_id: bytes, member: bytes) -> None:
        """Remove a member in the way, unless it lives.

        :raises MemberAlreadyExist: it does
        """
        found = self._ask(
            "SELECT token, IS_USED_LOCK(token) IS NOT NULL FROM coordination_members"
            " WHERE group_id = %s AND id = %s",
            self._key(group_id),
            member,
        )
        for token, alive in found.rows:
            if alive:
                raise MemberAlreadyExist(group_id, self._member_id)
            # No token is ever held again once it is not.
            self._ask(
                "DELETE FROM coordination_members WHERE group_id = %s AND id = %s AND token = %s",
                *(self._key(group_id), member, token),
            )

    def _leave_group(self, group_id: bytes) -> None:
        left = self._ask(
            "DELETE FROM coordination_members WHERE group_id = %s AND id = %s AND token = %s",
            *(self._key(group_id), _binary(self._member_id), self._session.token),
        )
        self._require_found(left, group_id)

    def _update_capabilities(self, group_id: bytes, capabilities: bytes) -> None:
        token = self._session.token
        updated = self._ask(
            "UPDATE coordination_members"
            " SET capabilities = %s, updated_at = GREATEST(created_at, UTC_TIMESTAMP(6))"
            " WHERE group_id = %s AND id = %s AND token = %s AND IS_USED_LOCK(%s) IS NOT NULL",
            *(capabilities, self._key(group_id), _binary(self._member_id), token, token),
        )
        self._require_found(updated, group_id)

    def _get_members(self, group_id: bytes) -> Mapping[bytes, Member]:
        found = self._ask(
            "SELECT name, capabilities, stay, created_at, updated_at FROM"
            " (SELECT id FROM coordination_groups WHERE id = %s) AS present"
            " LEFT JOIN coordination_members"
            " ON group_id = present.id AND IS_USED_LOCK(token) IS NOT NULL",
            self._key(group_id),
        )
        if not found.rows:
            raise GroupNotCreated(group_id)
        members = [_read_member(*row) for row in found.rows if row[0] is not None]
        return {member.member_id: member for member in members}

    def _get_member(self, group_id: bytes, member_id: bytes) -> Member:
        found = self._ask(
            "SELECT name, capabilities, stay, created_at, updated_at FROM"
            " (SELECT id FROM coordination_groups WHERE id = %s) AS present"
            " LEFT JOIN coordination_members"
            " ON group_id = present.id AND coordination_members.id = %s"
            " AND IS_USED_LOCK(token) IS NOT NULL",
            self._key(group_id),
            _binary(member_id),
        )
        if not found.rows:
            raise GroupNotCreated(group_id)
        (row,) = found.rows
        if row[0] is None:
            raise MemberNotJoined(group_id, member_id)
        return _read_member(*row)

    def _require_found(self, written: Answer, group_id: bytes) -> None:
        """Raise when a write that was for this coordinator's own membership found none."""
        if not written.count:
            self._require_group(group_id)
            raise MemberNotJoined(group_id, self._member_id)

    def _require_group(self, group_id: bytes) -> None:
        found = self._ask("SELECT 1 FROM coordination_groups WHERE id = %s", self._key(group_id))
        if not found.rows:
            raise GroupNotCreated(group_id)

    # -- leadership ---------------------------------------------------------------------

    def _campaign(self, group_id: bytes) -> object | None:
        key, token = self._key(group_id), self._session.token
        while True:
            leading = self._ask(
                "SELECT token, term, IS_USED_LOCK(token) IS NOT NULL FROM coordination_leaders"
                " WHERE id = %s",
                key,
            )
            for leader, term, alive in leading.rows:
                if alive:
                    own_term: int | None = term if leader == token else None
                    return own_term
                self._ask("DELETE FROM coordination_leaders WHERE id = %s AND term = %s", key, term)
            try:
                elected = self._ask(
                    "INSERT INTO coordination_leaders (id, name, token)"
                    " SELECT %s, %s, %s FROM DUAL WHERE IS_USED_LOCK(%s) IS NOT NULL",
                    *(key, self._member_id, token, token),
                )
            except pymysql.IntegrityError as error:
                if error_number(error) != ER.DUP_ENTRY:
                    raise
                continue
            if not elected.count:
                raise self._ended()
            return elected.number

    def _stand_down(self, group_id: bytes) -> bool:
        token = self._session.token
        stood_down = self._ask(
            "DELETE FROM coordination_leaders"
            " WHERE id = %s AND token = %s AND IS_USED_LOCK(%s) IS NOT NULL",
            *(self._key(group_id), token, token),
        )
        return stood_down.count == 1

    def _get_leader(self, group_id: bytes) -> bytes | None:
        leading = self._ask(
            "SELECT name FROM coordination_leaders"
            " WHERE id = %s AND IS_USED_LOCK(token) IS NOT NULL",
            self._key(group_id),
        )
        return leading.rows[0][0] if leading.rows else None

    # -- locks and keys -----------------------------------------------------------------

    def _make_lock(self, name: bytes) -> MySQLLock:
        def named(generation: int) -> str:
            # Unlike tables, locks are common to all databases of a server.
            parts = (b"lock", self._database, self._namespace, name, b"%d" % generation)
            return digest(_joined(*parts))

        return MySQLLock(name, self, self._session, self._key(name), named)

    def _key(self, *names: bytes) -> bytes:
        """Return the digest by which something of this namespace is found."""
        return _binary(_joined(self._namespace, *names))


def _joined(*parts: bytes) -> bytes:
    """Return bytes that no other parts give."""
    return b"".join(b"%d:%b" % (len(part), part) for part in parts)


def _binary(name: bytes) -> bytes:
    return bytes.fromhex(digest(name))


def _read_member(
    name: bytes, capabilities: bytes, stay: int, created_at: datetime, updated_at: datetime
) -> Member:
    return Member(
        name, capabilities, stay, created_at.replace(tzinfo=UTC), updated_at.replace(tzinfo=UTC)
    )


def _is_timeout(error: BaseException | None) -> bool:
    """Whether an error came of a socket's time-out, which PyMySQL tells in words only."""
    while error is not None:
        if isinstance(error, TimeoutError):
            return True
        error = error.__cause__ or error.__context__
    return False


def _said(error: Any) -> str:
    return ": ".join(str(part) for part in error.args)
