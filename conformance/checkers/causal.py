"""Causal order: each client's view is explained, and what was read comes after its write.

A client may see operations that have nothing to do with each other in an order of its
own. So there is one search for each client: its own operations with their results, and
as much of what others did as they need, without theirs; in everybody's program order and
after what was read. (M. Ahamad, G. Neiger, J. Burns, P. Kohli, P. Hutto: "Causal memory:
definitions, implementation and programming", 1995.) What no view can explain often shows
without a search: see ``forced``.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import replace

from conformance.checkers.moves import Move
from conformance.checkers.order import Order
from conformance.checkers.search import Search
from conformance.checkers.settle import Case
from conformance.models import Model

__all__ = ["RULE", "causal_cases"]

RULE = "causal consistency"


def causal_cases(
    model: Model, moves: Sequence[Move], after: Mapping[Move, list[Move]]
) -> list[Case]:
    """Return the search for each client's view.

    :param moves: the whole history, in the order of their ranks
    :param after: for moves, what they have read of, as ``forced`` knows it
    """
    clients = sorted({move.client for move in moves if move.client is not None and move.required})
    return [Case(f"the view of client {c}", RULE, _view(model, moves, after, c)) for c in clients]


def _view(
    model: Model, moves: Sequence[Move], after: Mapping[Move, list[Move]], client: int
) -> Search:
    """Return the search for an explanation of what one client saw."""
    seen: list[Move] = []
    copies: dict[Move, Move] = {}
    waits: dict[Move, list[Move]] = {}
    carried: dict[int | None, list[Move]] = defaultdict(list)
    for move in moves:
        causes = after.get(move, [])
        own = move.client == client
        if not own and move.answer is not None and model.observes(move.call, move.answer):
            carried[move.client] += causes  # whatever its client does next comes after them
            continue
        copy = move if own or move.answer is None else replace(move, answer=None)
        copies[move] = copy
        seen.append(copy)
        waits[copy] = [*causes, *carried.pop(move.client, [])]
    known = {copy: [copies[cause] for cause in causes] for copy, causes in waits.items() if causes}
    return Search(model, seen, Order.PROGRAM, goal=lambda move: move.client == client, after=known)
