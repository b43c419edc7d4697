"""Moves: what a search has to put in order, and how they are made.

A move is a call with its answer and its times. One of unknown outcome may be placed or
not; what a client can lose behind its back is such a move too. Which operations become
which moves stands in ``lock_moves``, ``group_moves`` and ``leadership_moves``.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass, replace

from conformance.history import NEVER, History, Operation
from conformance.models import Answer, Call, Kind, answer_of, kind_of

__all__ = [
    "Move",
    "about",
    "end_of",
    "follows",
    "looks",
    "losing",
    "overlap",
    "silent",
    "stops",
    "sure",
    "telling",
    "unsure",
]

_OBSERVED_ERRORS = frozenset(
    (
        "GroupAlreadyExist",
        "GroupNotCreated",
        "GroupNotEmpty",
        "LockAcquireFailed",
        "MemberAlreadyExist",
        "MemberNotJoined",
    )
)
"""Errors that tell something of the object; others only say that nothing happened."""

_LOOKS = frozenset(
    (
        "acquired",
        "get_groups",
        "get_leader",
        "get_member_capabilities",
        "get_member_info",
        "get_members",
        "get_members_with_capabilities",
        "is_still_owner",
        "lock_heartbeat",
        "read",
    )
)


@dataclass(eq=False, slots=True)
class Move:
    """A call with its answer, to be placed somewhere between ``start`` and ``end``.

    ``answer`` is None when it is unknown or does not matter. A move that is not
    ``required`` may be left out, and then has no end. ``client`` and ``rank`` give the
    order in the client's program: the operation's place in the history, and the move's
    in the operation; moves of one rank have no order, those of no client none at all.
    ``source`` is the operation that it comes from.
    """

    call: Call
    answer: Answer | None
    start: float
    end: float
    required: bool
    client: int | None
    rank: tuple[int, int]
    source: Operation | None


def looks(operation: Operation) -> bool:
    """Whether an operation changes nothing: without an answer it means nothing."""
    return operation.name in _LOOKS


def telling(operation: Operation) -> bool:
    """Whether an operation's result says something of its object, or might have."""
    return not operation.is_fail or operation.error in _OBSERVED_ERRORS


def overlap(one: Operation, other: Operation) -> bool:
    """Whether two operations ran at the same time, as far as their times tell."""
    return one.call <= end_of(other) and other.call <= end_of(one)


def follows(operation: Operation, former: Operation) -> bool:
    """Whether an operation began after another had returned."""
    end = end_of(former)
    return end < operation.call or (end == operation.call and operation.client == former.client)


def end_of(operation: Operation) -> float:
    """Return when a call returned, in nanoseconds; ``NEVER`` when it did not."""
    return NEVER if operation.end is None else operation.end


def sure(
    operation: Operation, place: int, call: Call, answer: Answer | None = None, stage: int = 0
) -> Move:
    """Return a move that must be placed; the answer is the operation's unless given."""
    if answer is None:
        answer = answer_of(operation.value, operation.error)
    end, rank = end_of(operation), (place, stage)
    return Move(call, answer, operation.call, end, True, operation.client, rank, operation)


def silent(operation: Operation, place: int, call: Call, stage: int = 0) -> Move:
    """Return a move that must be placed, and whose answer does not matter."""
    return replace(sure(operation, place, call, stage=stage), answer=None)


def unsure(operation: Operation, place: int, call: Call, stage: int = 0) -> Move:
    """Return a move that may have happened, then or later."""
    return replace(silent(operation, place, call, stage), end=NEVER, required=False)


def losing(call: Call, earliest: float, place: int, name: str = "lose") -> Move:
    """Return the move by which what ``call`` got is lost."""
    lose = Call(call.kind, name, call.target, call.actor, None, call.tenure)
    return Move(lose, None, earliest, NEVER, False, None, (place, 0), None)


def about(history: History, kind: Kind) -> Iterator[tuple[int, Operation]]:
    """Return the operations on a kind of object, with their places in the history."""
    for place, operation in enumerate(history.operations):
        if kind_of(operation.name) is kind and telling(operation):
            yield place, operation


def stops(history: History, kind: Kind) -> Iterator[Move]:
    """Return the moves by which stopping a coordinator ends what its member has."""
    touched: dict[bytes, set[bytes]] = defaultdict(set)
    for _, operation in about(history, kind):
        touched[operation.member].add(operation.target)
    for place, operation in enumerate(history.operations):
        if operation.name == "stop" and not operation.is_fail:
            make = silent if operation.is_ok else unsure
            for target in sorted(touched[operation.member]):
                yield make(operation, place, Call(kind, "stop", target, operation.member))
