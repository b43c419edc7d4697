"""From searches to findings: run those that are left, and say what came of them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

from conformance.checkers.moves import Move
from conformance.checkers.order import Order
from conformance.checkers.search import Search
from conformance.checkers.turns import search_all
from conformance.checkers.witness import smallest, sources, told
from conformance.checkers.wording import Clock
from conformance.history import History, Operation
from conformance.verdict import Finding, Verdict

__all__ = ["Case", "falsified", "settle"]


_EFFORT = 20_000
"""Steps that one attempt to do with fewer moves may take."""


@dataclass(frozen=True)
class Case:
    """Something that only a search can decide: ``what`` is searched, by which ``rule``.

    A case that ``decides`` settles all others once it is explained.
    """

    what: str
    rule: str
    search: Search
    decides: bool = False


def falsified(rule: str, reason: str, witness: Sequence[Operation]) -> Finding:
    """Return the finding of a violation; the witness in the order of its calls."""
    ordered = sorted(witness, key=lambda operation: operation.call)
    return Finding(Verdict.FALSIFIED, rule, reason, ordered)


def settle(
    history: History, rule: str, found: Finding | list[Case], summary: str, budget: int
) -> Finding:
    """Return the finding on a history: the one there is, or what the cases come to.

    :param rule: by which it holds, if it does
    :param found: a violation, or what is left to search
    :param summary: what was looked at, for a finding without objection
    :param budget: how many steps searches may take in all, and again to find a witness
    """
    if isinstance(found, Finding):
        return found
    deciding = next((case.search for case in found if case.decides), None)
    result = search_all([case.search for case in found], budget, deciding)
    if result.explained:
        return Finding(Verdict.HELD, rule, summary)
    if result.failed is None:
        names = sorted({case.what for case in found if case.search.explained is None})
        reason = f"not decided after {result.steps} steps: {', '.join(names)}"
        return Finding(Verdict.INCONCLUSIVE, rule, reason)
    case = next(case for case in found if case.search is result.failed)
    witness = sources(_smallest(case.search, budget))
    in_time = sorted(witness, key=lambda operation: operation.call)
    reason = (
        f"{case.what}: no order {_ORDERS[case.search.order]} explains what was seen by "
        f"{told(in_time, latest=case.search.order is Order.REAL_TIME)}"
    )
    if case.search.order is Order.REAL_TIME:
        last = max(witness, key=lambda operation: operation.end or operation.call)
        reason += f" (the last {Clock(history).when(last)})"
    return falsified(case.rule, reason, witness)


_ORDERS = {
    Order.REAL_TIME: "in which each call takes effect before it returns",
    Order.PROGRAM: "that keeps each client's own",
    Order.NONE: "at all",
}


def _smallest(search: Search, budget: int) -> list[Move]:
    """Return as few moves of a failed search as fail on their own."""
    left = budget

    def fails(moves: Sequence[Move]) -> bool:
        nonlocal left
        if left <= 0:
            return False
        again = search.again(moves)
        explained = again.run(min(_EFFORT, left))
        left -= again.steps
        return explained is False

    return smallest(
        search.moves,
        search.model,
        fails,
        timed=search.order is Order.REAL_TIME,
        counts=search.is_goal,
    )
