"""What moves say of the registers that objects are made of: what they read and write.

A lock is a register that holds its holder; a group one that holds whether it exists, and
one for each member that holds its capabilities, or that it is absent; a leadership one
that holds the leader. Reading a register may tell its value, or only what it was not.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Hashable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace

from conformance.checkers.moves import Move
from conformance.models import Answer, Call, Kind, pack

__all__ = ["ABSENT", "FREE", "Facts", "Key", "Read", "Write", "causal_facts", "facts_of", "initial"]

Key = tuple[Hashable, ...]

FREE = None
"""What the register of a lock or a leadership holds while nobody has it."""

ABSENT = None
"""What the register of a member holds while it is not in the group."""


@dataclass(frozen=True, slots=True)
class Read:
    """A register held one of ``values``, or none of them when ``negated``."""

    key: Key
    values: frozenset[Hashable]
    negated: bool = False

    def allows(self, value: Hashable) -> bool:
        """Whether the register may have held this value."""
        return (value in self.values) != self.negated


@dataclass(frozen=True, slots=True)
class Write:
    """A register holds ``value`` from here on, if the write is ``sure`` to happen."""

    key: Key
    value: Hashable
    sure: bool = True


@dataclass(slots=True)
class Facts:
    """What one move reads and writes; it reads before it writes."""

    reads: list[Read] = field(default_factory=list)
    writes: list[Write] = field(default_factory=list)


def facts_of(moves: Sequence[Move]) -> list[Facts]:
    """Return what each move reads and writes."""
    groups: dict[bytes, set[bytes]] = defaultdict(set)
    odd_locks: set[bytes] = set()
    for move in moves:
        call = move.call
        if call.kind is Kind.GROUP and call.target:
            groups[call.target].update([call.actor] if call.name == "join_group" else [])
        if call.kind is Kind.LOCK and (call.argument or call.name in ("lose", "lapse", "break_")):
            odd_locks.add(call.target)  # shared, or an object may not know that it lost
    facts = []
    for move in moves:
        readable = move.call.kind is not Kind.LOCK or move.call.target not in odd_locks
        reads = (
            [] if move.answer is None or not readable else _reads(move.call, move.answer, groups)
        )
        facts.append(Facts(list(reads), list(_writes(move))))
    return facts


def causal_facts(moves: Sequence[Move]) -> list[Facts]:
    """Return what each move reads and writes where every client has an order of its own.

    There a client applies what others did without their results, so what they wrote is
    sure only where it does not depend on what else the client has applied by then: the
    capabilities of a member, its leaving, and that a group exists. That a member is
    absent tells nothing once groups may be deleted under a join that is yet to be seen.
    """
    deleted = {move.call.target for move in moves if move.call.name == "delete_group"}
    kept = []
    for facts in facts_of(moves):
        reads = [
            read
            for read in facts.reads
            if read.key[0] != "lock"
            and not (read.key[0] == "member" and read.allows(ABSENT) and read.key[1] in deleted)
        ]
        writes = [
            write
            if write.key[0] in ("member", "register") or write.value is True
            else replace(write, sure=False)
            for write in facts.writes
        ]
        kept.append(Facts(reads, writes))
    return kept


def initial(key: Key) -> Hashable:
    """Return what a register holds before any write: nobody, nothing, no group."""
    return False if key[0] == "exists" else None


def _held(key: Key, *values: Hashable) -> Read:
    return Read(key, frozenset(values))


def _reads(call: Call, answer: Answer, groups: Mapping[bytes, set[bytes]]) -> Iterable[Read]:
    match call.kind:
        case Kind.LOCK:
            return _lock_reads(call, answer)
        case Kind.LEADERSHIP:
            return _leader_reads(call, answer)
        case Kind.GROUP if call.name == "get_groups":
            return (_held(("exists", group), group in answer.value) for group in groups)
        case Kind.GROUP:
            return _group_reads(call, answer, groups.get(call.target, set()))
        case Kind.REGISTER if call.name == "read":
            return [_held(("register", call.target), answer.value)]
    return []


def _writes(move: Move) -> Iterator[Write]:
    """Return what a move writes; what depends on the state is not sure."""
    call, answer = move.call, move.answer
    if answer is not None and (answer.error is not None or answer.value is False):
        return
    known = move.required and answer is not None
    match call.kind, call.name:
        case Kind.LOCK, "acquire":
            yield Write(("lock", call.target), call.actor, known)
        case Kind.LOCK, "release" | "break_" | "lose" | "lapse" | "stop":
            yield Write(("lock", call.target), FREE, known)
        case Kind.LEADERSHIP, "campaign":
            yield Write(("leader", call.target), call.actor, known)
        case Kind.LEADERSHIP, "stand_down" | "lose" | "stop":
            yield Write(("leader", call.target), FREE, known)
        case Kind.GROUP, "create_group":
            yield Write(("exists", call.target), True, move.required)
        case Kind.GROUP, "delete_group":
            yield Write(("exists", call.target), False, known)
        case Kind.GROUP, "join_group" | "update_capabilities":
            yield Write(("member", call.target, call.actor), call.argument, known)
        case Kind.GROUP, "leave_group" | "lose":
            yield Write(("member", call.target, call.actor), ABSENT, known)
        case Kind.GROUP, "stop":
            yield Write(("member", call.target, call.actor), ABSENT, move.required)
        case Kind.REGISTER, "write":
            yield Write(("register", call.target), call.argument, move.required)


def _lock_reads(call: Call, answer: Answer) -> Iterator[Read]:
    key = ("lock", call.target)
    match call.name:
        case "acquire":
            yield Read(key, frozenset([FREE]), negated=answer.value is False)
        case "release" | "is_still_owner" | "lock_heartbeat" | "acquired":
            yield Read(key, frozenset([call.actor]), negated=answer.value is False)


def _leader_reads(call: Call, answer: Answer) -> Iterator[Read]:
    key = ("leader", call.target)
    match call.name:
        case "get_leader":
            yield _held(key, answer.value)
        case "stand_down":
            yield Read(key, frozenset([call.actor]), negated=answer.value is False)
        case "campaign":
            yield Read(key, frozenset([call.actor, FREE]), negated=answer.value is False)


def _group_reads(call: Call, answer: Answer, members: set[bytes]) -> Iterator[Read]:
    yield _held(("exists", call.target), _existed(call.name, answer))
    own = ("member", call.target, call.actor)
    failed = answer.error is not None
    if answer.error in ("GroupNotCreated", "GroupNotEmpty"):
        return
    match call.name:
        case "delete_group":
            yield from (_held(("member", call.target, member), ABSENT) for member in members)
        case "join_group":
            yield Read(own, frozenset([ABSENT]), negated=failed)
        case "leave_group" | "update_capabilities":
            yield Read(own, frozenset([ABSENT]), negated=not failed)
        case "get_member_capabilities":
            found = ABSENT if failed else pack(answer.value)
            yield _held(("member", call.target, call.argument), found)
        case "get_members":
            for member in sorted(members.union(answer.value)):
                key = ("member", call.target, member)
                yield Read(key, frozenset([ABSENT]), negated=member in answer.value)
        case "get_members_with_capabilities":
            for member in sorted(members.union(answer.value)):
                there = member in answer.value
                found = pack(answer.value[member]) if there else ABSENT
                yield _held(("member", call.target, member), found)


def _existed(name: str, answer: Answer) -> bool:
    """Whether a group existed when a call was answered so."""
    if name == "exists":
        return answer.value is True
    if name == "create_group":
        return answer.error is not None
    return answer.error != "GroupNotCreated"
