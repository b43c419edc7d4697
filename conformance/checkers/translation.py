"""From what was recorded to what a search has to put in order: operations to moves.

An operation becomes one move, several (``stop`` ends many things, ``join_group_create``
may create first), or none, when its result says nothing.
"""

from __future__ import annotations

from collections.abc import Collection

from conformance.checkers.group_moves import group_moves
from conformance.checkers.leadership_moves import leadership_moves
from conformance.checkers.lock_moves import lock_moves
from conformance.checkers.losses import Losses
from conformance.checkers.moves import Move, looks, sure, unsure
from conformance.history import History
from conformance.models import Kind, call_of

__all__ = ["COORDINATION", "moves_of", "plain_moves"]

COORDINATION = (Kind.LOCK, Kind.GROUP, Kind.LEADERSHIP)
"""The kinds of objects that the coordination API has."""


def plain_moves(history: History) -> list[Move]:
    """Return the moves of operations that are single calls each, as those of registers.

    :raises ValueError: an operation that no model knows
    """
    moves = []
    for place, operation in enumerate(history.operations):
        if operation.is_ok:
            moves.append(sure(operation, place, call_of(operation)))
        elif operation.is_info and not looks(operation):
            moves.append(unsure(operation, place, call_of(operation)))
    return moves


def moves_of(
    history: History,
    *,
    kinds: Collection[Kind] = COORDINATION,
    ttl: float | None = None,
    local: bool = False,
) -> list[Move]:
    """Return the moves of a history of the coordination API, in the order of their ranks.

    :param kinds: of which objects
    :param ttl: the driver's time-out in seconds, None when nothing expires
    :param local: whether a listing of all groups is taken apart into what it says of each
    :raises ValueError: an operation that no model knows
    """
    losses = Losses(history, ttl)
    moves: list[Move] = []
    if Kind.LOCK in kinds:
        moves += lock_moves(history, losses)
    if Kind.GROUP in kinds:
        moves += group_moves(history, losses, local)
    if Kind.LEADERSHIP in kinds:
        moves += leadership_moves(history, losses)
    return sorted(moves, key=lambda move: move.rank)
