"""The moves of leaderships: campaigns, also those made by the way, and their ends."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterator, Sequence

from conformance.checkers.losses import Losses
from conformance.checkers.moves import (
    Move,
    end_of,
    losing,
    overlap,
    silent,
    stops,
    sure,
    unsure,
)
from conformance.history import NEVER, History, Operation
from conformance.models import Call, Kind, call_of

__all__ = ["leadership_moves"]


def leadership_moves(history: History, losses: Losses) -> Iterator[Move]:
    """Return the moves of all leaderships."""
    standing: dict[bytes, dict[bytes, float]] = defaultdict(dict)
    won: dict[tuple[bytes, bytes], Operation] = {}
    retreats = [o for o in history.only("stand_down", "stop") if not o.is_fail]
    for place, operation in enumerate(history.operations):
        member, group = operation.member, operation.target
        if operation.name in ("campaign", "run_watchers") and not operation.is_fail:
            for other, since in standing[member].items():
                if other != group:
                    won[member, other] = operation
                    certain = operation.is_ok and since <= operation.call
                    yield from _also_stands(operation, place, other, certain, losses)
        if operation.name == "campaign" and operation.is_ok and operation.value is False:
            withdrawn = _withdrawn(operation, losses, won.get((member, group)), retreats)
            yield (unsure if withdrawn else sure)(operation, place, call_of(operation))
        elif operation.name == "campaign" and not operation.is_fail:
            won[member, group] = operation
            yield from _campaign(operation, place, losses)
        elif operation.name in ("stand_down", "get_leader") and operation.is_ok:
            yield sure(operation, place, call_of(operation))
        elif operation.name == "stand_down" and operation.is_info:
            yield unsure(operation, place, call_of(operation))
        if operation.name == "campaign" and not operation.is_fail:
            since = end_of(operation) if operation.is_ok else NEVER
            standing[member][group] = min(since, standing[member].get(group, NEVER))
        elif operation.name == "stand_down" and operation.is_ok:
            won.pop((member, group), None)
        elif operation.name == "stop":
            standing[member] = dict.fromkeys(standing[member], NEVER)
    yield from stops(history, Kind.LEADERSHIP)


def _campaign(operation: Operation, place: int, losses: Losses) -> Iterator[Move]:
    lost = losses.earliest(operation)
    call = call_of(operation, tenure=0 if lost == NEVER else place + 1)
    yield (sure if operation.is_ok else unsure)(operation, place, call)
    if lost != NEVER:
        yield losing(call, lost, place)


def _withdrawn(
    operation: Operation,
    losses: Losses,
    won: Operation | None,
    retreats: Sequence[Operation],
) -> bool:
    """Whether a refused campaign may have left its member leading, and the lead was then lost.

    A campaign is two requests: to stand, and to ask who leads. In between, another client
    of the same coordinator may make it stand down, or a leadership may expire.

    :param won: the member's last operation by which it may have come to lead
    """
    if won is not None and losses.earliest(won) <= end_of(operation):
        return True
    return any(
        retreat.member == operation.member and overlap(operation, retreat) for retreat in retreats
    )


def _also_stands(
    operation: Operation, place: int, group: bytes, certain: bool, losses: Losses
) -> Iterator[Move]:
    """Return the move by which an operation stands for election in a further group.

    A coordinator that once campaigned in a group stands there again with each later
    campaign, wherever, and with each run of its watchers. Whether it still does after a
    stop is not ``certain``.
    """
    lost = losses.earliest(operation)
    tenure = 0 if lost == NEVER else place + 1
    call = Call(Kind.LEADERSHIP, "campaign", group, operation.member, None, tenure)
    yield (silent if certain else unsure)(operation, place, call)
    if lost != NEVER:
        yield losing(call, lost, place)
