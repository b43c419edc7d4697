"""Whole histories of the coordination API under each order: the checkers of the claims.

What is explained in real time is explained under every weaker order too, and what real
time decides for each object on its own is decided fast; so that is tried first. Then come
the orders that a history forces, which show many a violation without a search.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Callable, Collection, Hashable, Iterator, Sequence
from dataclasses import replace

from conformance.checkers.causal import RULE as CAUSAL
from conformance.checkers.causal import causal_cases
from conformance.checkers.facts import causal_facts, facts_of
from conformance.checkers.forced import Contradiction, Forced
from conformance.checkers.groups import group_cases
from conformance.checkers.leadership import leadership_cases
from conformance.checkers.lock import lock_cases
from conformance.checkers.moves import Move
from conformance.checkers.order import Order
from conformance.checkers.search import Search
from conformance.checkers.settle import Case, falsified, settle
from conformance.checkers.translation import COORDINATION, moves_of
from conformance.checkers.turns import BUDGET, search_all
from conformance.checkers.witness import smallest, sources, told
from conformance.checkers.wording import Clock, did, who
from conformance.history import History
from conformance.models import Coordination, Kind
from conformance.verdict import Finding, Verdict

__all__ = [
    "check",
    "check_causal",
    "check_groups",
    "check_linearizable",
    "check_sequential",
    "check_serializable",
]

LINEARIZABLE = "linearizability"
SEQUENTIAL = "sequential consistency"
SERIALIZABLE = "serializability"

_RULES = {
    Order.REAL_TIME: LINEARIZABLE,
    Order.PROGRAM: SEQUENTIAL,
    Order.CAUSAL: CAUSAL,
    Order.NONE: SERIALIZABLE,
}

_ORDERS = {
    Order.REAL_TIME: "in real time",
    Order.PROGRAM: "in an order that keeps each client's own",
    Order.CAUSAL: "in an order that keeps cause before effect",
    Order.NONE: "in any order",
}

_SHARE_OF_REAL_TIME = 4
"""Which part of the budget real time gets when a weaker order is asked for: a quarter."""


def check_linearizable(
    history: History, *, ttl: float | None = None, budget: int = BUDGET
) -> Finding:
    """Say whether each object of a history is explained in real time.

    :param ttl: the driver's time-out in seconds after which what a client has may expire
        when it showed no sign of life; None when nothing may
    :param budget: steps that searches may take in all
    :returns: HELD, FALSIFIED with a witness, or INCONCLUSIVE
    :raises MalformedHistory: no run can produce the history
    :raises ValueError: an operation that no model knows
    """
    return check(history, Order.REAL_TIME, ttl=ttl, budget=budget)


def check_sequential(
    history: History, *, ttl: float | None = None, budget: int = BUDGET
) -> Finding:
    """Say whether one order that keeps each client's own explains a whole history.

    Parameters and results are those of :func:`check_linearizable`.
    """
    return check(history, Order.PROGRAM, ttl=ttl, budget=budget)


def check_causal(history: History, *, ttl: float | None = None, budget: int = BUDGET) -> Finding:
    """Say whether each client's view of a whole history is explained in causal order.

    Parameters and results are those of :func:`check_linearizable`.
    """
    return check(history, Order.CAUSAL, ttl=ttl, budget=budget)


def check_serializable(
    history: History, *, ttl: float | None = None, budget: int = BUDGET
) -> Finding:
    """Say whether any order at all explains a whole history.

    Parameters and results are those of :func:`check_linearizable`.
    """
    return check(history, Order.NONE, ttl=ttl, budget=budget)


def check_groups(
    history: History,
    *,
    order: Order = Order.PROGRAM,
    ttl: float | None = None,
    budget: int = BUDGET,
) -> Finding:
    """Say whether what clients saw of groups is explained under an order.

    Parameters and results are those of :func:`check`.
    """
    return check(history, order, kinds=(Kind.GROUP,), ttl=ttl, budget=budget)


def check(
    history: History,
    order: Order,
    *,
    kinds: Collection[Kind] = COORDINATION,
    ttl: float | None = None,
    budget: int = BUDGET,
) -> Finding:
    """Say whether a history of the coordination API is explained under an order.

    In real time each object is explained on its own, and a listing of all groups by what
    it says of each; under the other orders all objects are explained together.

    :param order: which orders between operations an explanation keeps
    :param kinds: which objects to look at
    :param ttl: the driver's time-out in seconds after which what a client has may expire
        when it showed no sign of life; None when nothing may
    :param budget: steps that searches may take in all
    :returns: HELD, FALSIFIED with a witness, or INCONCLUSIVE
    :raises MalformedHistory: no run can produce the history
    :raises ValueError: an operation that no model knows
    """
    history = History.of(history.operations, history.faults)
    in_real_time = _real_time(history, kinds, ttl, local=order is Order.REAL_TIME)
    if order is Order.REAL_TIME:
        return settle(history, LINEARIZABLE, in_real_time, _summary(history, order), budget)
    if not isinstance(in_real_time, Finding):
        searches = [case.search for case in in_real_time]
        if search_all(searches, budget // _SHARE_OF_REAL_TIME).explained:
            return Finding(Verdict.HELD, _RULES[order], _summary(history, Order.REAL_TIME))
    moves = moves_of(history, kinds=kinds, ttl=ttl)
    try:
        after = _force(moves, order)
    except Contradiction as contradiction:
        return _objection(history, moves, contradiction, order)
    cases = _CASES[order](moves, after)
    return settle(history, _RULES[order], cases, _summary(history, order), budget)


def _real_time(
    history: History, kinds: Collection[Kind], ttl: float | None, *, local: bool
) -> Finding | list[Case]:
    """Return a violation in real time that shows at once, or what has to be searched."""
    parts: list[Finding | list[Case]] = []
    if Kind.LOCK in kinds:
        parts.append(lock_cases(history, ttl))
    if Kind.LEADERSHIP in kinds:
        parts.append(leadership_cases(history, ttl))
    if Kind.GROUP in kinds:
        parts.append(group_cases(history, ttl, local=local))
    cases: list[Case] = []
    for part in parts:
        if isinstance(part, Finding):
            return part
        cases += part
    return cases


def _force(moves: Sequence[Move], order: Order) -> dict[Move, list[Move]]:
    """Return what must come before what under an order.

    :raises Contradiction: something must come before itself, or a read has no source
    """
    if order is Order.CAUSAL:
        return Forced(moves, causal_facts(moves), total=False).after
    if order is Order.NONE:
        moves = [replace(move, client=None) for move in moves]
    return Forced(moves, facts_of(moves), total=True).after


_After = dict[Move, list[Move]]


def _program_cases(moves: Sequence[Move], after: _After) -> list[Case]:
    """Return the search for one order of everything, and those that may fail sooner.

    One order for all is one for each object too, and an object is searched sooner.
    """
    model = Coordination()
    whole = Search(model, moves, Order.PROGRAM, after=after)
    parts = [
        Case(what, SEQUENTIAL, Search(model.component(key), its, Order.PROGRAM, after=after))
        for what, key, its in _objects(model, moves)
    ]
    return [
        Case("the whole history", SEQUENTIAL, whole, decides=True),
        *(parts if len(parts) > 1 else []),
    ]


def _causal_cases(moves: Sequence[Move], after: _After) -> list[Case]:
    """Return the search for each client's view."""
    return causal_cases(Coordination(), moves, after)


def _free_cases(moves: Sequence[Move], after: _After) -> list[Case]:
    """Return the searches for an order of each object's moves.

    Every call is about one object. So explanations of the objects, one after the other,
    are one of the whole.
    """
    model = Coordination()
    return [
        Case(what, SERIALIZABLE, Search(model.component(key), its, Order.NONE))
        for what, key, its in _objects(model, moves)
    ]


def _objects(
    model: Coordination, moves: Sequence[Move]
) -> Iterator[tuple[str, Hashable, list[Move]]]:
    """Return the moves of each object: its name, its key, and they."""
    objects: dict[Hashable, list[Move]] = defaultdict(list)
    for move in moves:
        objects[model.locate(move.call)].append(move)
    for key, its in objects.items():
        call = its[0].call
        what = "all groups" if call.kind is Kind.GROUP else f"{call.kind} {call.target!r}"
        yield what, key, its


_CASES: dict[Order, Callable[[Sequence[Move], _After], list[Case]]] = {
    Order.PROGRAM: _program_cases,
    Order.CAUSAL: _causal_cases,
    Order.NONE: _free_cases,
}

_ATTEMPTS = 40_000
"""Moves that attempts to find a contradiction in fewer of them may look at in all."""


def _summary(history: History, order: Order) -> str:
    return f"{len(history)} operations are explained {_ORDERS[order]}"


def _objection(
    history: History, moves: Sequence[Move], contradiction: Contradiction, order: Order
) -> Finding:
    """Return the finding of a history whose forced orders contradict each other."""
    left = _ATTEMPTS

    def fails(fewer: Sequence[Move]) -> bool:
        nonlocal left, contradiction
        left -= len(fewer)
        try:
            if left > 0:
                _force(fewer, order)
        except Contradiction as smaller:
            contradiction = smaller
            return True
        return False

    witness = smallest(moves, Coordination(), fails, timed=False)
    shown = sorted(sources(witness), key=lambda operation: operation.call)
    clock, odd = Clock(history), contradiction.odd
    if odd is None or odd.source is None:
        reason = f"each of these must come before another, in a circle: {told(shown)}"
    else:
        reason = (
            f"{who(odd.source)} called {did(odd.source)} ({clock.when(odd.source)}): nothing "
            f"that can have come last before it {_ORDERS[order]} explains this, given "
            f"{told([operation for operation in shown if operation is not odd.source])}"
        )
    return falsified(_RULES[order], reason, shown)
