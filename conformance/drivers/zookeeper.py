"""The driver for Apache ZooKeeper: groups and leadership, on kazoo's client.

Below the namespace there are three nodes, ``locks``, ``leaders`` and ``groups``, made
when the driver starts and never removed:

- ``groups/GROUP`` holds the group's name; its version grows with each update of a
  member's capabilities. ``groups/GROUP/MEMBER`` is ephemeral and holds the member's name
  and capabilities; the transaction that made it (its czxid) is the member's incarnation.
- ``leaders/GROUP`` is ephemeral and holds the leader's name; its czxid is the term.
- ``locks/LOCK`` is the queue of a lock; see ``conformance.drivers._zookeeper_lock``.

What ZooKeeper promises ("Consistency Guarantees" in its Programmer's Guide 3.8), and so
what is claimed here: writes are carried out in one order, and each client sees that order
from its own place in it, which may be behind. So a read need not show what another client
has just been told was done, unless the option ``sync`` is set; locks do not rest on such
reads. Sessions end by time-out: a client that is paused for too long loses its locks, and
what a killed client held becomes free only then. Hence no NON_TIMEOUT_BASED.
"""

from __future__ import annotations

import hashlib
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime, timedelta
from typing import Any, ClassVar
from urllib.parse import SplitResult, quote_from_bytes, unquote_to_bytes

import msgspec
from kazoo.exceptions import (
    AuthFailedError,
    ConnectionLoss,
    NoAuthError,
    NodeExistsError,
    NoNodeError,
    NotEmptyError,
    NotReadOnlyCallError,
    OperationTimeoutError,
    RequestTimeoutError,
    SessionExpiredError,
    SessionMovedError,
)
from kazoo.handlers.threading import KazooTimeoutError
from kazoo.protocol.states import ZnodeStat

from conformance.characteristics import Characteristics, Feature
from conformance.coordinator import Member
from conformance.drivers._zookeeper_client import SessionOptions, ZookeeperOptions, make_client
from conformance.drivers._zookeeper_lock import ZookeeperLock
from conformance.drivers._zookeeper_session import Session
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
from conformance.locking import Deadline

__all__ = ["KazooDriver"]

_LARGEST_DATA = 1_000_000
"""Bytes that a node may hold. The server drops the connection of a client whose request
is larger than jute.maxbuffer, 1,048,575 by default (Administrator's Guide 3.8, "Unsafe
Options"); the rest is left for paths and headers."""

_LONGEST_NAME = 200
"""Characters up to which a name is written out in its node's; longer ones are digested."""

_WRITTEN, _DIGESTED = "=", "#"
"""What the name of a node begins with: one that writes a name out, one that digests it."""

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)


class KazooDriver(RemoteCoordinator):
    """A coordinator on ZooKeeper: ``zookeeper://[USER:PASS@]HOST[:2181][,HOST…]``."""

    CHARACTERISTICS = (
        Characteristics.DISTRIBUTED_ACROSS_THREADS,
        Characteristics.DISTRIBUTED_ACROSS_PROCESSES,
        Characteristics.DISTRIBUTED_ACROSS_HOSTS,
        Characteristics.SEQUENTIAL,
        Characteristics.CAUSAL,
        Characteristics.SERIALIZABLE,
    )
    FEATURES = frozenset(Feature)
    Options: ClassVar[type[SessionOptions]] = ZookeeperOptions

    def __init__(self, member_id: bytes, url: SplitResult, options: SessionOptions) -> None:
        self._root = _root(options.namespace)
        self._timeout = options.timeout
        self._session = self._make_session(url, options)
        super().__init__(member_id, url, options)

    # -- the session --------------------------------------------------------------------

    def _make_session(self, url: SplitResult, options: Any) -> Session:
        """Return a session that is not open yet."""
        client = make_client(url, options)
        return Session(
            client,
            timeout=options.timeout,
            lasts=lambda: client.lasts,
            tries=options.command_retry,
            sync=options.sync,
            on_loss=self._note_loss,
            on_lapse=self._note_losses,
        )

    def _start(self) -> None:
        self._losses = None
        try:
            self._session.open()
            client = self._session.client
            tops = (f"{self._root}/{name}" for name in ("locks", "leaders", "groups"))
            self._session.answers(*(client.ensure_path_async(top) for top in tops))
        except BaseException:
            self._session.close()
            raise

    def _stop(self) -> None:
        self._session.close()

    def _forget_parent(self) -> None:
        super()._forget_parent()
        self._session.disown()

    def _heartbeat(self) -> float:
        self._tell_losses("contact with ZooKeeper")
        self._session.read(lambda client: [client.exists_async(self._root)])
        return self._timeout / 3

    def _translate(self, error: Exception) -> ToozError | None:
        kind = type(error).__name__
        match error:
            case KazooTimeoutError() | OperationTimeoutError() | RequestTimeoutError():
                return OperationTimedOut(
                    f"ZooKeeper did not answer within {self._timeout} seconds ({kind}); "
                    "whether it did what was asked is unknown"
                )
            case SessionExpiredError():
                return ToozConnectionError(
                    f"the session with ZooKeeper has ended ({kind}), and what was held with it; "
                    "join and acquire anew"
                )
            case ConnectionLoss() | SessionMovedError() | NotReadOnlyCallError():
                return ToozConnectionError(
                    f"the connection to ZooKeeper broke ({kind}); whether it did what was asked "
                    "is unknown"
                )
            case AuthFailedError():
                return ToozConnectionError(
                    "ZooKeeper did not accept the credentials: check USER:PASS of the URL"
                )
            case NoAuthError():
                return ToozError(
                    f"ZooKeeper does not permit that below {self._root}: give the USER:PASS "
                    "which that was made with in the URL, or use another namespace"
                )
        return None

    # -- groups -------------------------------------------------------------------------

    def _create_group(self, group_id: bytes) -> None:
        if len(group_id) > _LARGEST_DATA:
            raise ToozError(
                f"a group's name of {len(group_id)} bytes cannot be kept: at most {_LARGEST_DATA}"
            )
        client = self._session.client
        try:
            self._session.answers(client.create_async(self._group(group_id), group_id))
        except NodeExistsError:
            raise GroupAlreadyExist(group_id) from None

    def _delete_group(self, group_id: bytes) -> None:
        try:
            self._session.answers(self._session.client.delete_async(self._group(group_id)))
        except NotEmptyError:
            raise GroupNotEmpty(group_id) from None
        except NoNodeError:
            raise GroupNotCreated(group_id) from None

    def _get_groups(self) -> Iterable[bytes]:
        groups = f"{self._root}/groups"
        while True:
            (nodes,) = self._session.read(lambda client: [client.get_children_async(groups)])
            names = [unquote_to_bytes(node[1:]) for node in nodes or () if node[0] == _WRITTEN]
            digested = [f"{groups}/{node}" for node in nodes or () if node[0] == _DIGESTED]
            found = self._read_nodes(digested)
            # A group that is gone by now was there when they were listed: list them anew.
            if None not in found:
                return names + [data for data, _ in found]

    def _join_group(self, group_id: bytes, capabilities: bytes) -> None:
        client = self._session.client
        path = self._member(group_id, self._member_id)
        data = self._packed(group_id, capabilities)
        try:
            self._session.answers(client.create_async(path, data, ephemeral=True))
        except NoNodeError:
            raise GroupNotCreated(group_id) from None
        except NodeExistsError:
            raise MemberAlreadyExist(group_id, self._member_id) from None

    def _leave_group(self, group_id: bytes) -> None:
        self._require_membership(group_id)
        path = self._member(group_id, self._member_id)
        try:
            self._session.answers(self._session.client.delete_async(path))
        except NoNodeError:
            raise MemberNotJoined(group_id, self._member_id) from None

    def _update_capabilities(self, group_id: bytes, capabilities: bytes) -> None:
        data = self._packed(group_id, capabilities)
        self._require_membership(group_id)
        change = self._session.client.transaction()
        change.set_data(self._group(group_id), group_id)
        change.set_data(self._member(group_id, self._member_id), data)
        try:
            self._session.commit(change)
        except NoNodeError:
            raise MemberNotJoined(group_id, self._member_id) from None

    def _get_members(self, group_id: bytes) -> Mapping[bytes, Member]:
        """Return the members as of one moment.

        Whatever happens to a group's members changes the group's node: its pzxid when one
        comes or goes, its mzxid when one is updated. So what was read between two looks at
        that node that found it unchanged was true all at once.
        """
        group = self._group(group_id)
        deadline = Deadline(self._timeout)
        while True:
            (listing,) = self._session.read(
                lambda client: [client.get_children_async(group, include_data=True)]
            )
            if listing is None:
                raise GroupNotCreated(group_id)
            nodes, before = listing
            if not nodes:
                return {}
            *found, after = self._read_nodes([*(f"{group}/{node}" for node in nodes), group])
            if after is not None and _changes(after[1]) == _changes(before):
                members = [_read_member(data, stat) for data, stat in found]
                return {member.member_id: member for member in members}
            if deadline.expired:
                raise OperationTimedOut(
                    f"the members of group {group_id!r} change faster than they can be read: "
                    f"no moment's were found in {self._timeout} seconds"
                )

    def _read_nodes(self, paths: list[str]) -> list[Any]:
        """Return the data and stat of each node, None where there is none, in their order."""
        return self._session.read(lambda client: [client.get_async(path) for path in paths])

    def _get_member(self, group_id: bytes, member_id: bytes) -> Member:
        # Looking for the group first makes the answer true of one moment: a group goes
        # only when it is empty, so one that was there without this member has been.
        group, found = self._session.read(
            lambda client: [
                client.exists_async(self._group(group_id)),
                client.get_async(self._member(group_id, member_id)),
            ]
        )
        if found is not None:
            return _read_member(*found)
        if group is None:
            raise GroupNotCreated(group_id)
        raise MemberNotJoined(group_id, member_id)

    def _require_membership(self, group_id: bytes) -> None:
        """Raise unless this coordinator, not another of the same name, is in the group.

        A node of this session stays until this coordinator leaves, or the session ends; and
        then nothing more is carried out for this session.
        """
        group, member = self._session.read(
            lambda client: [
                client.exists_async(self._group(group_id)),
                client.exists_async(self._member(group_id, self._member_id)),
            ]
        )
        if group is None:
            raise GroupNotCreated(group_id)
        if member is None or member.ephemeralOwner != self._session.id:
            raise MemberNotJoined(group_id, self._member_id)

    def _packed(self, group_id: bytes, capabilities: bytes) -> bytes:
        packed = msgspec.msgpack.encode((self._member_id, capabilities))
        # An update sends the group's name along.
        if len(packed) + len(group_id) > _LARGEST_DATA:
            raise SerializationError(
                f"the names and the capabilities take {len(packed) + len(group_id)} bytes: "
                f"ZooKeeper takes at most {_LARGEST_DATA}"
            )
        return packed

    # -- leadership ---------------------------------------------------------------------

    def _campaign(self, group_id: bytes) -> object | None:
        path, client = self._leader(group_id), self._session.client
        if len(self._member_id) > _LARGEST_DATA:
            raise ToozError(
                f"a member's name of {len(self._member_id)} bytes cannot be kept: at most "
                f"{_LARGEST_DATA}"
            )
        # Looking first finds the term that a lost reply was about, and makes standing
        # again and again cheap.
        (leading,) = self._read_nodes([path])
        if leading is not None:
            return self._own_term(leading[1])
        try:
            ((_, stat),) = self._session.answers(
                client.create_async(path, self._member_id, ephemeral=True, include_data=True)
            )
        except NodeExistsError:
            return None
        return self._own_term(stat)

    def _stand_down(self, group_id: bytes) -> bool:
        path = self._leader(group_id)
        (leading,) = self._read_nodes([path])
        if leading is None or self._own_term(leading[1]) is None:
            return False
        try:
            self._session.answers(self._session.client.delete_async(path))
        except NoNodeError:
            return False
        return True

    def _get_leader(self, group_id: bytes) -> bytes | None:
        path = self._leader(group_id)
        (leading,) = self._read_nodes([path])
        if leading is None:
            return None
        leader: bytes = leading[0]
        return leader

    def _own_term(self, stat: ZnodeStat) -> int | None:
        """Return the term that a leader's node stands for; None when it is another's."""
        term: int = stat.czxid
        return term if stat.ephemeralOwner == self._session.id else None

    # -- locks and paths ----------------------------------------------------------------

    def _make_lock(self, name: bytes) -> ZookeeperLock:
        return ZookeeperLock(name, self, self._session, f"{self._root}/locks/{_node(name)}")

    def _group(self, group_id: bytes) -> str:
        return f"{self._root}/groups/{_node(group_id)}"

    def _member(self, group_id: bytes, member_id: bytes) -> str:
        return f"{self._group(group_id)}/{_node(member_id)}"

    def _leader(self, group_id: bytes) -> str:
        return f"{self._root}/leaders/{_node(group_id)}"


def _root(namespace: str) -> str:
    """Return the path of a namespace.

    :raises ValueError: it is no path, or the server's own
    """
    names = namespace.strip("/").split("/")
    if not all(names) or {".", ".."} & set(names) or not namespace.isprintable():
        raise ValueError(f"namespace takes NAME or NAME/NAME…, not {namespace!r}")
    if names[0] == "zookeeper":
        raise ValueError("namespace 'zookeeper' is the server's own: take another")
    return "/" + "/".join(names)


def _node(name: bytes) -> str:
    """Return the name of the node for any name: one to one, and harmless in a path."""
    if len(name) <= _LONGEST_NAME:
        quoted = quote_from_bytes(name, safe="")
        if len(quoted) <= _LONGEST_NAME:
            return _WRITTEN + quoted
    return _DIGESTED + hashlib.sha256(name).hexdigest()


def _changes(group: ZnodeStat) -> tuple[int, int]:
    """Return what changes in a group's node whenever its members do."""
    return group.pzxid, group.mzxid


def _read_member(data: bytes, stat: ZnodeStat) -> Member:
    member_id, capabilities = msgspec.msgpack.decode(data, type=tuple[bytes, bytes])
    return Member(member_id, capabilities, stat.czxid, _time(stat.ctime), _time(stat.mtime))


def _time(milliseconds: int) -> datetime:
    return _EPOCH + timedelta(milliseconds=milliseconds)
