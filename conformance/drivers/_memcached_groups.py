"""Groups on memcached: one document each, and an index of their names.

*Documents.* A group's document holds its members' stays. It changes only by ``ms`` that
compares its CAS number (flag C in "protocol.txt" of memcached 1.6), so each change is one
step. A stay counts while the item of its coordinator's session is there; that item is made
once, renewed, and never made again, so who is dead stays dead. Therefore:

- a read that asks for the document first, then for the sessions, and finds all of them,
  shows what was true when the document was read;
- one that finds some dead is true if the document is the same when it is read again;
- whoever changes a document also removes the stays of the dead from it.

*Existence.* ``get_groups()`` needs the index, which cannot change together with a document.
A group exists while its document has client flags other than 0, a random mark of its
creation. Its name gets into the index before that, and leaves it after that: to create is
to store a document that is "opening", to see to the name, and to replace the document by
a live one; to delete is to replace it by one that is "closing", to remove the name, and
to delete the document. Anyone who finds such a document can finish what was begun.
``get_groups()`` reads the index and the marks twice, and once more when they differ.
"""

from __future__ import annotations

import secrets
from collections.abc import Callable, Iterable
from datetime import datetime
from typing import NamedTuple

import msgspec

from conformance.drivers._memcached_link import (
    ABSENT,
    DONE,
    Item,
    Link,
    add,
    look,
    new_number,
    number_in,
    put,
    remove,
)
from conformance.drivers.remote import digest
from conformance.errors import (
    GroupAlreadyExist,
    GroupNotCreated,
    GroupNotEmpty,
    MemberAlreadyExist,
    MemberNotJoined,
    OperationTimedOut,
    SerializationError,
    ToozError,
)
from conformance.locking import Deadline

__all__ = ["Groups", "SessionGone", "Stay"]

_OPENING, _CLOSING = b"opening", b"closing"
"""The documents of a group that does not exist yet, and of one that exists no more."""

_OVERHEAD = 512
"""Bytes of the largest item that are left to its key and its header."""


class SessionGone(Exception):
    """The session that was to join has expired."""


class Stay(msgspec.Struct, frozen=True, array_like=True):
    """One stay of a member: of which session, and which of the group's stays it is."""

    session: str
    incarnation: int
    capabilities: bytes
    created_at: datetime
    updated_at: datetime


class _Group(msgspec.Struct, frozen=True, array_like=True):
    """A document: the number of the last stay, and the stays by member."""

    counter: int
    members: dict[bytes, Stay]


class _View(NamedTuple):
    """A document as it was read, and those of its stays whose sessions were there."""

    number: int
    mark: int
    group: _Group
    living: dict[bytes, Stay]
    sessions: frozenset[str]


class Groups:
    """The groups of a namespace.

    :param link: the connections
    :param prefix: what every key begins with
    :param timeout: seconds after which to give up on what others change all the time
    """

    def __init__(self, link: Link, prefix: str, timeout: float) -> None:
        self._link = link
        self._prefix = prefix
        self._timeout = timeout
        self._index = f"{prefix}:groups"
        self._expected: dict[str, frozenset[str]] = {}
        self.largest = 0
        """Bytes of the largest item that the server takes."""

    def key(self, group_id: bytes) -> str:
        """Return the key of a group's document."""
        return f"{self._prefix}:group:{digest(group_id)}"

    def session_key(self, session: str) -> str:
        """Return the key of a session's item."""
        return f"{self._prefix}:session:{session}"

    # -- reading ------------------------------------------------------------------------

    def members(self, group_id: bytes) -> dict[bytes, Stay]:
        """Return the stays in a group as of one moment; raise GroupNotCreated."""
        return self._view(group_id, certain=True).living

    def member(self, group_id: bytes, member_id: bytes) -> Stay:
        """Return one stay; raise GroupNotCreated or MemberNotJoined.

        One member is there or not at the moment at which its session was looked up,
        whatever else changed meanwhile.
        """
        stay = self._view(group_id).living.get(member_id)
        if stay is None:
            raise MemberNotJoined(group_id, member_id)
        return stay

    def names(self) -> list[bytes]:
        """Return the names of all groups as of one moment."""
        deadline = self._deadline()
        while True:
            index = self._link.read([self._index]).get(self._index)
            names = _names(index)
            if index is None or not names:
                return []
            once = [look(self._index), *(look(self.key(name)) for name in names)]
            replies = self._link.ask(*once, *once)
            first, second = replies[: len(once)], replies[len(once) :]
            if _marks(first) == _marks(second) and {
                number_in(first[0]),
                number_in(second[0]),
            } == {index.number}:
                marks = _marks(first)[1:]
                return [name for name, mark in zip(names, marks, strict=True) if mark]
            self._check(deadline, "the groups")

    def _view(self, group_id: bytes, *, certain: bool = False, session: str | None = None) -> _View:
        """Read a group; raise GroupNotCreated.

        :param certain: whether the view must have been true of all members at once
        :param session: another session to look for, besides those of the members
        """
        key, deadline = self.key(group_id), self._deadline()
        also = frozenset() if session is None else frozenset({session})
        asked = self._expected.get(key, frozenset()) | also
        before: _View | None = None
        while True:
            found = self._link.read([key, *map(self.session_key, asked)])
            item = found.get(key)
            if item is None or not item.flags:
                self._expected.pop(key, None)
                raise GroupNotCreated(group_id)
            if before is not None and before.number == item.number:
                return before
            group = msgspec.msgpack.decode(item.value, type=_Group)
            needed = frozenset(stay.session for stay in group.members.values())
            self._expected[key] = needed
            if needed <= asked:
                alive = frozenset(s for s in asked if self.session_key(s) in found)
                living = {m: stay for m, stay in group.members.items() if stay.session in alive}
                view = _View(item.number, item.flags, group, living, alive)
                if not certain or len(living) == len(group.members):
                    return view
                before = view
            asked = needed | also
            self._check(deadline, f"group {group_id!r}")

    # -- changing -----------------------------------------------------------------------

    def join(
        self,
        group_id: bytes,
        member_id: bytes,
        session: str,
        capabilities: bytes,
        now: datetime,
        *,
        unknown: bool,
    ) -> int:
        """Begin a stay; return the mark of the group's creation.

        :param unknown: whether a stay of this session's that is there already is one that
            its coordinator does not know of, because the reply was lost; it is replaced
        :raises GroupNotCreated: there is no such group
        :raises MemberAlreadyExist: a living member has this name
        :raises SessionGone: the session is not there
        """

        def joined(view: _View) -> _Group:
            if session not in view.sessions:
                raise SessionGone
            there = view.living.get(member_id)
            if there is not None and not (unknown and there.session == session):
                raise MemberAlreadyExist(group_id, member_id)
            counter = view.group.counter + 1
            stay = Stay(session, counter, capabilities, created_at=now, updated_at=now)
            return _Group(counter, {**view.living, member_id: stay})

        return self._change(group_id, joined, session)

    def leave(self, group_id: bytes, member_id: bytes, session: str | None) -> None:
        """End a stay of this session's; raise GroupNotCreated or MemberNotJoined."""

        def left(view: _View) -> _Group:
            _own(view, group_id, member_id, session)
            stays = {m: stay for m, stay in view.living.items() if m != member_id}
            return _Group(view.group.counter, stays)

        self._change(group_id, left)

    def update(
        self,
        group_id: bytes,
        member_id: bytes,
        session: str | None,
        capabilities: bytes,
        now: datetime,
    ) -> None:
        """Replace the capabilities of a stay of this session's; raise as :meth:`leave`."""

        def updated(view: _View) -> _Group:
            stay = _own(view, group_id, member_id, session)
            changed = msgspec.structs.replace(
                stay, capabilities=capabilities, updated_at=max(now, stay.created_at)
            )
            return _Group(view.group.counter, {**view.living, member_id: changed})

        self._change(group_id, updated)

    def _change(
        self, group_id: bytes, change: Callable[[_View], _Group], session: str | None = None
    ) -> int:
        """Replace a group's document by what ``change`` makes of it."""
        deadline = self._deadline()
        while True:
            view = self._view(group_id, session=session)
            document = msgspec.msgpack.encode(change(view))
            if len(document) > self.largest - _OVERHEAD:
                raise SerializationError(
                    f"group {group_id!r} with the names and capabilities of its members would "
                    f"take {len(document)} bytes: memcached takes {self.largest - _OVERHEAD} "
                    "unless started with a larger -I"
                )
            key = self.key(group_id)
            if self._replace(put(key, document, view.number, new_number(), flags=view.mark)):
                return view.mark
            self._check(deadline, f"group {group_id!r}")

    # -- existence ----------------------------------------------------------------------

    def create(self, group_id: bytes, now: datetime) -> None:
        """Create a group; raise GroupAlreadyExist."""
        key, deadline = self.key(group_id), self._deadline()
        # Greater than the stays of a group of this name that was deleted before.
        empty = msgspec.msgpack.encode(_Group(int(now.timestamp() * 1e6), {}))
        mark = 1 + secrets.randbelow(2**32 - 1)
        while True:
            self._check(deadline, f"group {group_id!r}")
            number = new_number()
            if not self._replace(add(key, _OPENING, number)):
                item = self._link.read([key]).get(key)
                if item is None:
                    continue
                if item.flags:
                    raise GroupAlreadyExist(group_id)
                if item.value == _CLOSING:
                    self._close(group_id, item.number)
                    continue
                number = item.number  # of one who may be dead: go on in its stead
            self._enter(group_id)
            if self._replace(put(key, empty, number, new_number(), flags=mark)):
                return

    def delete(self, group_id: bytes) -> None:
        """Delete a group without members; raise GroupNotCreated or GroupNotEmpty."""
        key, deadline = self.key(group_id), self._deadline()
        while True:
            view = self._view(group_id)
            if view.living:
                raise GroupNotEmpty(group_id)
            number = new_number()
            if self._replace(put(key, _CLOSING, view.number, number)):
                self._expected.pop(key, None)
                self._close(group_id, number)
                return
            self._check(deadline, f"group {group_id!r}")

    def _enter(self, group_id: bytes) -> None:
        """See to it that the index has a name.

        Called while the document is opening, when nobody may remove the name.
        """
        deadline = self._deadline()
        while True:
            index = self._link.read([self._index]).get(self._index)
            names = _names(index)
            if group_id in names or self._write_index(index, [*names, group_id]):
                return
            self._check(deadline, "the groups")

    def _close(self, group_id: bytes, number: int) -> None:
        """Remove the name of a group whose document is closing, then the document.

        The document is removed only once the index was without the name, and the name only
        from an index that was read before the document was seen to be closing. So whoever
        stores another document later finds nobody that can still remove its name.
        """
        key, deadline = self.key(group_id), self._deadline()
        while True:
            found = self._link.read([self._index, key])
            item, index = found.get(key), found.get(self._index)
            if item is None or item.number != number:
                return
            names = _names(index)
            if group_id not in names:
                break
            if self._write_index(index, [name for name in names if name != group_id]):
                break
            self._check(deadline, "the groups")
        self._link.ask(remove(key, number))

    def _write_index(self, before: Item | None, names: list[bytes]) -> bool:
        """Replace the index; return False when it has changed."""
        packed = msgspec.msgpack.encode(sorted(names))
        if len(packed) > self.largest - _OVERHEAD:
            raise ToozError(
                f"the names of all groups would take {len(packed)} bytes: memcached takes "
                f"{self.largest - _OVERHEAD} unless started with a larger -I; delete some"
            )
        if before is None:
            return self._replace(add(self._index, packed, new_number()))
        return self._replace(put(self._index, packed, before.number, new_number()))

    def _replace(self, command: bytes) -> bool:
        """Whether a conditional write was carried out."""
        (reply,) = self._link.ask(command)
        return reply == DONE

    def _deadline(self) -> Deadline:
        return Deadline(self._timeout)

    def _check(self, deadline: Deadline, what: str) -> None:
        if deadline.expired:
            raise OperationTimedOut(
                f"others change {what} faster than this coordinator can: it tried for "
                f"{self._timeout} seconds"
            )


def _names(index: Item | None) -> list[bytes]:
    return [] if index is None else msgspec.msgpack.decode(index.value, type=list[bytes])


def _marks(replies: Iterable[bytes]) -> list[int]:
    """Return the client flags in replies to :func:`look`, 0 where there was no item."""
    return [
        0 if reply == ABSENT else next(int(p[1:]) for p in reply.split()[1:] if p[:1] == b"f")
        for reply in replies
    ]


def _own(view: _View, group_id: bytes, member_id: bytes, session: str | None) -> Stay:
    """Return a living stay; that of another session of the same name is none."""
    stay = view.living.get(member_id)
    if stay is None or stay.session != session:
        raise MemberNotJoined(group_id, member_id)
    return stay
