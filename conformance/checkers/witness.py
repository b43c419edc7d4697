"""Fewest operations: what is left of a falsified history when all that can go is gone.

Only what makes the rest easier to explain is done to a history: to look at one object
alone, to cut it off at some time, to forget what an operation observed, and to forget
whether and when an operation took effect. What cannot be explained then could not be
explained before.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Callable, Sequence
from dataclasses import replace

from conformance.checkers.moves import Move
from conformance.checkers.wording import did, who
from conformance.history import NEVER, Operation
from conformance.models import Model

__all__ = ["smallest", "sources", "told"]

_TOLD = 4
"""The most operations that a sentence lists."""

Fails = Callable[[Sequence[Move]], bool]
"""Says whether moves are known to have no explanation."""


def smallest(
    moves: Sequence[Move],
    model: Model,
    fails: Fails,
    *,
    timed: bool,
    counts: Callable[[Move], bool] = lambda move: True,
) -> list[Move]:
    """Return as few of the moves as fail on their own, in their order.

    Those that are left out may or may not have happened: it makes no difference.

    :param moves: moves that have no explanation
    :param fails: asked again and again, and may say no when it has had enough
    :param timed: whether real time is to be kept, so that later moves can be cut off
    :param counts: which of the required moves have to be explained at all
    """

    def counted(move: Move) -> bool:
        return move.required and move.answer is not None and counts(move)

    left = _one_object(moves, fails)
    if timed:
        left = _cut_off(left, fails)
    left = _forget(left, model, fails, counted)
    return [move for move in left if counted(move)]


def sources(moves: Sequence[Move]) -> list[Operation]:
    """Return the operations that moves come from, each once."""
    return list({id(m.source): m.source for m in moves if m.source is not None}.values())


def told(operations: Sequence[Operation], *, latest: bool = False) -> str:
    """Return operations as the end of a sentence; some of them where they are many.

    :param latest: whether to tell of the last ones then, which is where time shows a
        contradiction; else of the first
    """
    chosen = operations[-_TOLD:] if latest else operations[:_TOLD]
    shown = "; ".join(f"{who(o)}: {did(o)}" for o in chosen)
    more = len(operations) - len(chosen)
    if not more:
        return shown
    return f"{shown}; and {more} {'before' if latest else 'more'}"


def _one_object(moves: Sequence[Move], fails: Fails) -> list[Move]:
    """Return the moves of one object, if these fail already."""
    objects = dict.fromkeys((move.call.kind, move.call.target) for move in moves)
    if len(objects) > 1:
        for kind, target in objects:
            of_it = [m for m in moves if (m.call.kind, m.call.target) == (kind, target)]
            if fails(of_it):
                return of_it
    return list(moves)


def _cut_off(moves: Sequence[Move], fails: Fails) -> list[Move]:
    """Return what is left when everything after some moment is forgotten."""
    ends = sorted({move.end for move in moves if move.required})
    number = bisect_left(ends, True, key=lambda end: fails(_before(moves, end)))
    return _before(moves, ends[number]) if number < len(ends) else list(moves)


def _before(moves: Sequence[Move], moment: float) -> list[Move]:
    """Return what was known at a moment: what was under way then is of unknown outcome."""
    return [
        move if move.end <= moment or not move.required else _doubted(move)
        for move in moves
        if move.start <= moment
    ]


def _forget(
    moves: Sequence[Move], model: Model, fails: Fails, counted: Callable[[Move], bool]
) -> list[Move]:
    """Return what is left when moves are forgotten in ever smaller groups."""
    kept = list(moves)
    size = max(1, len(kept) // 2)
    while True:
        begin = 0
        while begin < len(kept):
            chosen = {id(move) for move in kept[begin : begin + size] if counted(move)}
            fewer = _without(kept, chosen, model) if chosen else kept
            if chosen and fails(fewer):
                kept = fewer
            else:
                begin += size
        if size == 1:
            return kept
        size = max(1, size // 2)


def _without(moves: Sequence[Move], chosen: set[int], model: Model) -> list[Move]:
    """Return the moves with the chosen ones forgotten: gone if they only observe."""
    left = []
    for move in moves:
        if id(move) not in chosen:
            left.append(move)
        elif move.answer is None or not model.observes(move.call, move.answer):
            left.append(_doubted(move))
    return left


def _doubted(move: Move) -> Move:
    return replace(move, answer=None, end=NEVER, required=False)
