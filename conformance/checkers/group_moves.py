"""The moves of groups: what members did, and what was seen of them."""

from __future__ import annotations

from collections.abc import Iterator, Sequence

from conformance.checkers.losses import Losses
from conformance.checkers.moves import (
    Move,
    about,
    looks,
    losing,
    overlap,
    silent,
    stops,
    sure,
    unsure,
)
from conformance.history import NEVER, History, Operation
from conformance.models import Answer, Call, Kind, call_of

__all__ = ["group_moves"]


def group_moves(history: History, losses: Losses, local: bool) -> Iterator[Move]:
    """Return the moves of all groups.

    :param local: whether a listing of all groups is taken apart into what it says of each
    """
    placed = list(about(history, Kind.GROUP))
    groups = sorted({operation.target for _, operation in placed if operation.target})
    deletes = [operation for _, operation in placed if operation.name == "delete_group"]
    for place, operation in placed:
        if operation.is_info and looks(operation):
            continue
        if operation.name == "get_groups":
            yield from _listing(operation, place, groups, local)
        elif operation.name == "get_member_info":
            yield _info_read(operation, place)
        elif operation.name in ("join_group", "join_group_create"):
            yield from _joining(operation, place, losses, deletes)
        elif operation.is_info:
            yield unsure(operation, place, call_of(operation))
        else:
            yield sure(operation, place, call_of(operation))
    yield from stops(history, Kind.GROUP)


def _listing(
    operation: Operation, place: int, groups: Sequence[bytes], local: bool
) -> Iterator[Move]:
    """Return what a listing of all groups says of those that the history is about."""
    listed = set(operation.value or ())
    if not local:
        answer = Answer([group for group in groups if group in listed])
        yield sure(operation, place, call_of(operation), answer)
        return
    for group in groups:
        call = Call(Kind.GROUP, "exists", group)
        yield sure(operation, place, call, Answer(group in listed))


def _info_read(operation: Operation, place: int) -> Move:
    """Return what ``get_member_info`` says of the capabilities."""
    call = call_of(operation, "get_member_capabilities")
    if operation.error is not None:
        return sure(operation, place, call)
    return sure(operation, place, call, Answer(operation.value["capabilities"]))


def _joining(
    operation: Operation, place: int, losses: Losses, deletes: Sequence[Operation]
) -> Iterator[Move]:
    """Return the moves of a join, with those by which it may have created the group.

    ``join_group_create`` creates the group anew whenever another client deletes it before
    it could join.
    """
    make = silent if operation.is_ok else unsure
    stage = 0
    if operation.name == "join_group_create" and not operation.is_fail:
        create = call_of(operation, "create_group")
        for _ in range(1 + sum(overlap(operation, delete) for delete in deletes)):
            yield make(operation, place, create, stage)
            stage += 1
    lost = NEVER if operation.is_fail else losses.earliest(operation)
    call = call_of(operation, "join_group", tenure=0 if lost == NEVER else place + 1)
    yield (unsure if operation.is_info else sure)(operation, place, call, stage=stage)
    if lost != NEVER:
        yield losing(call, lost, place)
