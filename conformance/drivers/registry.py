"""What the coordinators of one host know together, and how it may change.

A :class:`Registry` is a value. Every function here returns another one, or the very same
one where nothing changes, or raises an error of the API. Where a registry is kept, and
who is alive, is not known here: see ``session``.
"""

from __future__ import annotations

from collections.abc import Iterable, Set
from datetime import datetime
from typing import Literal

import msgspec

from conformance.coordination import (
    GroupAlreadyExist,
    GroupNotCreated,
    GroupNotEmpty,
    MemberAlreadyExist,
    MemberNotJoined,
)

__all__ = [
    "Leadership",
    "Registry",
    "Stay",
    "campaign",
    "create_group",
    "decode",
    "delete_group",
    "encode",
    "enter",
    "is_idle",
    "join",
    "leave",
    "owner",
    "owners",
    "stand_down",
    "stay",
    "stays",
    "update",
    "without",
]


class Stay(msgspec.Struct, frozen=True):
    """One stay of a member in a group.

    ``session`` is the session of the coordinator that joined; ``incarnation`` is greater
    than that of every earlier stay.
    """

    session: str
    incarnation: int
    capabilities: bytes
    created_at: datetime
    updated_at: datetime


class Leadership(msgspec.Struct, frozen=True):
    """One term of a leader, numbered; no two terms have the same number."""

    member_id: bytes
    session: str
    term: int


class Registry(msgspec.Struct, frozen=True):
    """Sessions, groups with the stays in them, and leaderships.

    ``counter`` numbers stays and terms; it only grows. ``format`` tells registries of
    other versions of this package apart.
    """

    format: Literal[1] = 1
    counter: int = 0
    sessions: frozenset[str] = frozenset()
    groups: dict[bytes, dict[bytes, Stay]] = {}
    leaders: dict[bytes, Leadership] = {}


def encode(registry: Registry) -> bytes:
    """Return a registry as MessagePack."""
    return msgspec.msgpack.encode(registry)


def decode(document: bytes) -> Registry:
    """Return the registry that :func:`encode` made a document of.

    :raises msgspec.DecodeError: it is none
    """
    return msgspec.msgpack.decode(document, type=Registry)


# -- sessions -------------------------------------------------------------------------


def enter(registry: Registry, session: str) -> Registry:
    """Add a session."""
    return msgspec.structs.replace(registry, sessions=registry.sessions | {session})


def without(registry: Registry, sessions: Set[str]) -> Registry:
    """Remove sessions, and every stay and leadership of theirs."""
    if sessions.isdisjoint(registry.sessions):
        return registry
    return msgspec.structs.replace(
        registry,
        sessions=registry.sessions - sessions,
        groups={
            group_id: {m: stay for m, stay in members.items() if stay.session not in sessions}
            for group_id, members in registry.groups.items()
        },
        leaders={g: led for g, led in registry.leaders.items() if led.session not in sessions},
    )


def is_idle(registry: Registry) -> bool:
    """Whether nothing in it would be missed: no session and no group."""
    return not registry.sessions and not registry.groups


# -- groups ---------------------------------------------------------------------------


def create_group(registry: Registry, group_id: bytes) -> Registry:
    """Add a group; raise GroupAlreadyExist."""
    if group_id in registry.groups:
        raise GroupAlreadyExist(group_id)
    return _with_group(registry, group_id, {})


def delete_group(registry: Registry, group_id: bytes) -> Registry:
    """Remove a group; raise GroupNotCreated or GroupNotEmpty."""
    if stays(registry, group_id):
        raise GroupNotEmpty(group_id)
    groups = {g: members for g, members in registry.groups.items() if g != group_id}
    return msgspec.structs.replace(registry, groups=groups)


def join(
    registry: Registry,
    group_id: bytes,
    member_id: bytes,
    session: str,
    capabilities: bytes,
    now: datetime,
) -> Registry:
    """Begin a stay; raise GroupNotCreated or MemberAlreadyExist."""
    members = stays(registry, group_id)
    if member_id in members:
        raise MemberAlreadyExist(group_id, member_id)
    counter = registry.counter + 1
    joined = Stay(session, counter, capabilities, created_at=now, updated_at=now)
    counted = msgspec.structs.replace(registry, counter=counter)
    return _with_group(counted, group_id, {**members, member_id: joined})


def leave(registry: Registry, group_id: bytes, member_id: bytes, session: str) -> Registry:
    """End a stay of this session's; raise GroupNotCreated or MemberNotJoined."""
    _own(registry, group_id, member_id, session)
    members = stays(registry, group_id)
    return _with_group(registry, group_id, {m: s for m, s in members.items() if m != member_id})


def update(
    registry: Registry,
    group_id: bytes,
    member_id: bytes,
    session: str,
    capabilities: bytes,
    now: datetime,
) -> Registry:
    """Replace the capabilities of a stay of this session's; raise as :func:`leave`."""
    found = _own(registry, group_id, member_id, session)
    changed = msgspec.structs.replace(found, capabilities=capabilities, updated_at=now)
    return _with_group(registry, group_id, {**stays(registry, group_id), member_id: changed})


def stays(registry: Registry, group_id: bytes) -> dict[bytes, Stay]:
    """Return the stays in a group by member; raise GroupNotCreated."""
    try:
        return registry.groups[group_id]
    except KeyError:
        raise GroupNotCreated(group_id) from None


def stay(registry: Registry, group_id: bytes, member_id: bytes) -> Stay:
    """Return a member's stay in a group; raise GroupNotCreated or MemberNotJoined."""
    try:
        return stays(registry, group_id)[member_id]
    except KeyError:
        raise MemberNotJoined(group_id, member_id) from None


def owners(registry: Registry, group_id: bytes) -> set[str]:
    """Return the sessions with a stay in a group; raise GroupNotCreated."""
    return {found.session for found in stays(registry, group_id).values()}


def _own(registry: Registry, group_id: bytes, member_id: bytes, session: str) -> Stay:
    """Return a stay; that of another session of the same member's name is none."""
    found = stay(registry, group_id, member_id)
    if found.session != session:
        raise MemberNotJoined(group_id, member_id)
    return found


def _with_group(registry: Registry, group_id: bytes, members: dict[bytes, Stay]) -> Registry:
    return msgspec.structs.replace(registry, groups={**registry.groups, group_id: members})


# -- leadership -----------------------------------------------------------------------


def campaign(registry: Registry, group_id: bytes, member_id: bytes, session: str) -> Registry:
    """Begin a term where nobody leads; change nothing where somebody does."""
    if group_id in registry.leaders:
        return registry
    term = registry.counter + 1
    elected = Leadership(member_id, session, term)
    leaders = {**registry.leaders, group_id: elected}
    return msgspec.structs.replace(registry, counter=term, leaders=leaders)


def stand_down(registry: Registry, group_id: bytes, session: str) -> Registry:
    """End this session's term; change nothing where it does not lead."""
    led = registry.leaders.get(group_id)
    if led is None or led.session != session:
        return registry
    leaders = {g: other for g, other in registry.leaders.items() if g != group_id}
    return msgspec.structs.replace(registry, leaders=leaders)


def owner(registry: Registry, group_id: bytes) -> Iterable[str]:
    """Return the session that leads a group, if one does."""
    led = registry.leaders.get(group_id)
    return () if led is None else (led.session,)
