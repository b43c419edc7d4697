"""The tree of znodes: what each ZooKeeper operation does to it, and what that sets off.

No threads, no clock, no sessions' fates: the server (``conformance.standin.zookeeper``)
says when and for whom. The rules are those of the ZooKeeper Programmer's Guide, release
3.8, sections "The ZooKeeper Data Model", "ZooKeeper Stat Structure" and "ZooKeeper
Watches"; where the guide is silent, those of that release's server. Left out are the
server's own ``/zookeeper``, access control, quotas, container and TTL nodes.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from typing import NamedTuple

from kazoo.exceptions import (
    BadArgumentsError,
    BadVersionError,
    NoChildrenForEphemeralsError,
    NodeExistsError,
    NoNodeError,
    NotEmptyError,
    RolledBackError,
    RuntimeInconsistency,
    ZookeeperError,
)
from kazoo.protocol.states import EventType, ZnodeStat

__all__ = [
    "ANY_VERSION",
    "Check",
    "Create",
    "Delete",
    "Happening",
    "Moment",
    "Operation",
    "SetData",
    "Tree",
]

ANY_VERSION = -1
"""As an operation's version: whatever version the node has."""

_REFUSED_IN_PATHS = re.compile(
    "[\x00-\x1f\x7f-\x9f\ud800-\uf8ff\ufff0-\uffff]|//|/\\.\\.?(?:/|$)|[^/]/$|^[^/]|^$"
)
"""What no path may contain: "The ZooKeeper Data Model" in the Programmer's Guide."""


class Create(NamedTuple):
    """Create a node; with ``sequence``, its name gets a number behind it."""

    path: str
    data: bytes = b""
    ephemeral: bool = False
    sequence: bool = False


class Delete(NamedTuple):
    """Delete a node that has no children."""

    path: str
    version: int = ANY_VERSION


class SetData(NamedTuple):
    """Replace a node's data."""

    path: str
    data: bytes
    version: int = ANY_VERSION


class Check(NamedTuple):
    """Require that a node is there, and at this version."""

    path: str
    version: int


Operation = Create | Delete | SetData | Check


class Moment(NamedTuple):
    """When and for whom: transaction number, milliseconds since the epoch, session."""

    zxid: int
    time: int
    session: int


class Happening(NamedTuple):
    """What watches are told: the type of the event and the path it is about."""

    type: str
    path: str


@dataclass
class _Node:
    data: bytes
    owner: int
    czxid: int
    ctime: int
    mzxid: int
    mtime: int
    pzxid: int
    version: int = 0
    births: int = 0
    """How many children were ever created: the number of the next sequence node."""
    children: dict[str, None] = field(default_factory=dict)

    @classmethod
    def born(cls, data: bytes, owner: int, zxid: int, time: int) -> _Node:
        return cls(data, owner, czxid=zxid, ctime=time, mzxid=zxid, mtime=time, pzxid=zxid)

    def stat(self) -> ZnodeStat:
        """Return the stat structure; its cversion counts the children's births and deaths."""
        return ZnodeStat(
            czxid=self.czxid,
            mzxid=self.mzxid,
            ctime=self.ctime,
            mtime=self.mtime,
            version=self.version,
            cversion=2 * self.births - len(self.children),
            aversion=0,
            ephemeralOwner=self.owner,
            dataLength=len(self.data),
            numChildren=len(self.children),
            pzxid=self.pzxid,
        )


class _Done(NamedTuple):
    """An operation's result, what it sets off, and how to take it back."""

    result: object
    happenings: list[Happening]
    undo: Callable[[], object]


class Tree:
    """The znodes of one server."""

    def __init__(self) -> None:
        self._nodes: dict[str, _Node] = {"/": _Node.born(b"", 0, 0, 0)}
        self._ephemerals: dict[int, dict[str, None]] = {}

    def stat(self, path: str) -> ZnodeStat:
        """Return a node's stat structure; raise NoNodeError when there is no such node."""
        return self._node(path).stat()

    def data(self, path: str) -> bytes:
        """Return a node's data; raise NoNodeError when there is no such node."""
        return self._node(path).data

    def children(self, path: str) -> list[str]:
        """Return the names of a node's children; raise NoNodeError without such a node."""
        return list(self._node(path).children)

    def paths(self) -> list[str]:
        """Return the paths of all nodes but the root, sorted."""
        return sorted(self._nodes.keys() - {"/"})

    def perform(self, operation: Operation, moment: Moment) -> tuple[object, list[Happening]]:
        """Carry out one operation.

        :returns: its result, as kazoo's client gives it, and what it sets off
        :raises ZookeeperError: it is refused, and nothing has changed
        """
        done = self._perform(operation, moment)
        return done.result, done.happenings

    def transact(
        self, operations: Sequence[Operation], moment: Moment
    ) -> tuple[list[object], list[Happening]]:
        """Carry out all operations, at one moment, or none.

        :returns: the results, and what they set off. When one is refused its result is
            the error, that of those before it RolledBackError, and of those behind it
            RuntimeInconsistency.
        """
        done: list[_Done] = []
        for operation in operations:
            try:
                done.append(self._perform(operation, moment))
            except ZookeeperError as error:
                for step in reversed(done):
                    step.undo()
                behind = len(operations) - len(done) - 1
                rolled_back = [RolledBackError() for _ in done]
                return [*rolled_back, error, *(RuntimeInconsistency() for _ in range(behind))], []
        return [step.result for step in done], [what for step in done for what in step.happenings]

    def end_session(self, session: int, zxid: int) -> list[Happening]:
        """Delete a session's ephemeral nodes, at one moment."""
        moment = Moment(zxid, 0, session)
        return [
            happening
            for path in list(self._ephemerals.get(session, ()))
            for happening in self._delete(Delete(path), moment).happenings
        ]

    def _node(self, path: str) -> _Node:
        try:
            return self._nodes[path]
        except KeyError:
            raise NoNodeError(path) from None

    def _perform(self, operation: Operation, moment: Moment) -> _Done:
        match operation:
            case Create():
                return self._create(operation, moment)
            case Delete():
                return self._delete(operation, moment)
            case SetData():
                return self._set_data(operation, moment)
            case Check():
                _require(self._node(operation.path), operation.version)
                return _Done(True, [], _nothing)

    def _create(self, wanted: Create, moment: Moment) -> _Done:
        path, data, ephemeral, sequence = wanted
        # A sequence node's own name may be empty: "/a/" becomes "/a/0000000000".
        if _REFUSED_IN_PATHS.search(path + "0" if sequence else path):
            raise BadArgumentsError(path)
        above = _parent(path)
        parent = self._node(above)
        if sequence:
            path = f"{path}{parent.births:010d}"
        if path in self._nodes:
            raise NodeExistsError(path)
        if parent.owner:
            raise NoChildrenForEphemeralsError(path)
        name = path.rpartition("/")[2]
        owner = moment.session if ephemeral else 0
        births, pzxid = parent.births, parent.pzxid

        self._put(path, _Node.born(data, owner, moment.zxid, moment.time))
        parent.children[name] = None
        parent.births, parent.pzxid = births + 1, moment.zxid

        def undo() -> None:
            self._take(path)
            del parent.children[name]
            parent.births, parent.pzxid = births, pzxid

        told = [Happening(EventType.CREATED, path), Happening(EventType.CHILD, above)]
        return _Done(path, told, undo)

    def _delete(self, wanted: Delete, moment: Moment) -> _Done:
        path = wanted.path
        if path == "/":
            raise BadArgumentsError(path)
        node = self._node(path)
        _require(node, wanted.version)
        if node.children:
            raise NotEmptyError(path)
        above, _, name = path.rpartition("/")
        parent = self._nodes[above or "/"]
        pzxid = parent.pzxid

        self._take(path)
        del parent.children[name]
        parent.pzxid = moment.zxid

        def undo() -> None:
            self._put(path, node)
            parent.children[name] = None
            parent.pzxid = pzxid

        told = [Happening(EventType.DELETED, path), Happening(EventType.CHILD, above or "/")]
        return _Done(True, told, undo)

    def _set_data(self, wanted: SetData, moment: Moment) -> _Done:
        node = self._node(wanted.path)
        _require(node, wanted.version)
        before = node.data, node.version, node.mzxid, node.mtime
        node.data, node.version = wanted.data, node.version + 1
        node.mzxid, node.mtime = moment.zxid, moment.time

        def undo() -> None:
            node.data, node.version, node.mzxid, node.mtime = before

        return _Done(node.stat(), [Happening(EventType.CHANGED, wanted.path)], undo)

    def _put(self, path: str, node: _Node) -> None:
        self._nodes[path] = node
        if node.owner:
            self._ephemerals.setdefault(node.owner, {})[path] = None

    def _take(self, path: str) -> None:
        node = self._nodes.pop(path)
        if node.owner:
            owned = self._ephemerals[node.owner]
            del owned[path]
            if not owned:
                del self._ephemerals[node.owner]


def _parent(path: str) -> str:
    return path.rpartition("/")[0] or "/"


def _require(node: _Node, version: int) -> None:
    if version not in (ANY_VERSION, node.version):
        raise BadVersionError


def _nothing() -> None:
    """Take back a check."""
