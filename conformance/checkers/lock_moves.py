"""The moves of locks: holds, refusals, and how a hold may be lost."""

from __future__ import annotations

import itertools
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import replace

from conformance.checkers.losses import Losses
from conformance.checkers.moves import (
    Move,
    about,
    follows,
    looks,
    losing,
    overlap,
    silent,
    stops,
    sure,
    unsure,
)
from conformance.history import NEVER, History, Operation
from conformance.models import STRANGER, Answer, Call, Kind, call_of, holder_of

__all__ = ["lock_moves"]


def lock_moves(history: History, losses: Losses) -> Iterator[Move]:
    """Return the moves of all locks."""
    of_object: dict[object, list[tuple[int, Operation]]] = defaultdict(list)
    of_lock: dict[bytes, list[Operation]] = defaultdict(list)
    for place, operation in about(history, Kind.LOCK):
        of_object[operation.target, holder_of(operation)].append((place, operation))
        of_lock[operation.target].append(operation)
    for placed in of_object.values():
        its = [operation for _, operation in placed]
        alone = all(follows(other, one) for one, other in itertools.pairwise(its))
        lost = _lock_losses(placed, losses, alone)
        for number, (place, operation) in enumerate(placed):
            if _met_a_break(operation, of_lock[operation.target]):
                yield _passing(operation, place)
            if _met_a_change(operation, of_lock[operation.target]):
                yield silent(operation, place, call_of(operation))
            elif alone or not _busy(operation, its):
                yield from _lock_move(operation, place, lost.get(number, []))
    yield from stops(history, Kind.LOCK)


_Loss = tuple[float, tuple[int, Operation] | None]
"""When a hold may be lost, and by which operation of unknown outcome, if it was one."""


def _lock_move(operation: Operation, place: int, lost: Sequence[_Loss]) -> Iterator[Move]:
    if operation.name == "enter" and not operation.is_info:
        yield from _entered(operation, place)
    elif operation.name in ("acquire", "enter") and operation.is_info:
        call = _by_a_stranger(call_of(operation, "acquire"))
        yield unsure(operation, place, call)
        yield losing(call, operation.call, place)
    elif operation.is_info:
        if not looks(operation):
            yield unsure(operation, place, call_of(operation))
    else:
        call = call_of(operation, tenure=place + 1 if lost else 0)
        yield sure(operation, place, call)
        for earliest, doubt in lost:
            if doubt is None:
                yield losing(call, earliest, place, "lapse")
            else:
                loss = losing(call, earliest, place)
                yield replace(loss, client=doubt[1].client, rank=(doubt[0], 0))


def _by_a_stranger(call: Call) -> Call:
    """Return a call of unknown outcome as that of a stranger: its hold is nobody's."""
    return Call(call.kind, call.name, call.target, STRANGER, call.argument)


def _entered(operation: Operation, place: int) -> Iterator[Move]:
    """Return the moves of a lock that was used as a context manager."""
    granted = operation.is_ok
    yield sure(operation, place, call_of(operation, "acquire"), Answer(granted))
    if granted:
        yield sure(operation, place, call_of(operation, "acquired"), stage=1)
        yield sure(operation, place, call_of(operation, "release"), Answer(True), stage=2)


def _busy(operation: Operation, others: Sequence[Operation]) -> bool:
    """Whether an object said no while it was busy with what another client had called.

    A lock object serves one acquire at a time, so a refusal beside another acquire says
    nothing. Neither does the answer that it does not hold, beside a grant or a release:
    an object counts on a hold only once it has been told of it, and no longer once it is
    about to give it back, whatever the server knows at that moment.
    """
    if operation.value is not False or operation.name == "enter":
        return False
    changing = [
        other
        for other in others
        if other.name in ("acquire", "release")
        and other.client != operation.client
        and overlap(operation, other)
    ]
    if operation.name == "acquire":
        return any(other.name == "acquire" for other in changing)
    return any(other.name == "release" or other.value is not False for other in changing)


def _met_a_change(operation: Operation, others: Sequence[Operation]) -> bool:
    """Whether a lock was broken while it may just have been taken or given back.

    To take it or give it back is more than one step, and who is in between may count as a
    holder: that somebody held then says nothing. It is broken all the same.
    """
    return (
        operation.name == "break_"
        and operation.value is True
        and any(
            other.name in ("acquire", "enter", "release") and overlap(operation, other)
            for other in others
        )
    )


def _met_a_break(operation: Operation, others: Sequence[Operation]) -> bool:
    """Whether somebody may just have been taking a lock when it was broken."""
    return operation.name == "acquire" and any(
        other.name == "break_" and other.value is True and overlap(operation, other)
        for other in others
    )


def _passing(operation: Operation, place: int) -> Move:
    """Return the move by which an acquire that met a break may have had the lock before it.

    It may have been in others' way, had not been told yet, and went on to take the lock
    anew. What it had before is nobody's, and only a break ends it.
    """
    call = _by_a_stranger(call_of(operation))
    return Move(call, None, operation.call, NEVER, False, None, (place, 0), None)


def _lock_losses(
    placed: Sequence[tuple[int, Operation]], losses: Losses, alone: bool
) -> dict[int, list[_Loss]]:
    """Return when holds of one object may be lost, by the number of their acquire.

    :param alone: whether no two of the object's operations overlap, so that it is plain
        which of them are about which hold
    """
    if not losses.possible and not any(operation.is_info for _, operation in placed):
        return {}
    lost: dict[int, list[_Loss]] = {}
    grants = [n for n, (_, o) in enumerate(placed) if o.name == "acquire" and o.value is True]
    for number, following in itertools.pairwise([*grants, len(placed)]):
        during = placed[number + 1 : following] if alone else []
        if any(o.name == "release" and o.value is True for _, o in during):
            continue
        proofs = [o for _, o in during if o.name == "lock_heartbeat" and o.value is True]
        earliest = losses.earliest(placed[number][1], proofs)
        lost[number] = [(earliest, None)] if earliest != NEVER else []
        doubts = [(p, o) for p, o in (during if alone else placed) if o.is_info]
        lost[number] += [(doubt[1].call, doubt) for doubt in doubts[:1]]
    return lost
