"""Leadership: whether each group had at most one leader, and everyone was told the truth.

What shows at once, in O(n log n): two members that led for certain at the same time, and
an answer that contradicts a term that lasted for certain, or names one that cannot have
been. Whatever passes goes to the search, which is exact.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Mapping, Sequence

from conformance.checkers.losses import Losses
from conformance.checkers.moves import Move
from conformance.checkers.order import Order
from conformance.checkers.search import Search
from conformance.checkers.settle import Case, falsified, settle
from conformance.checkers.tenures import Tenure, Tenures, tenures_of
from conformance.checkers.translation import moves_of
from conformance.checkers.turns import BUDGET
from conformance.checkers.wording import Clock, did, span, who
from conformance.history import NEVER, History, Operation
from conformance.models import LEADERSHIP_CALLS, Kind, LeadershipModel
from conformance.verdict import Finding

__all__ = ["RULE", "check_leadership", "leadership_cases"]

RULE = "one leader at a time"


def check_leadership(
    history: History, *, ttl: float | None = None, budget: int = BUDGET
) -> Finding:
    """Say whether the leadership of every group behaved as one, each on its own.

    At most one member leads; who campaigns for a free leadership gets it; and everyone is
    told who leads.

    :param ttl: the driver's time-out in seconds after which a leadership may expire when
        its leader showed no sign of life; None when none may
    :param budget: steps that searches may take in all
    :returns: HELD, FALSIFIED with a witness, or INCONCLUSIVE
    :raises MalformedHistory: no run can produce the history
    """
    history = History.of(history.operations, history.faults)
    groups = _by_group(history)
    summary = f"{sum(map(len, groups.values()))} operations on {len(groups)} leaderships"
    return settle(history, RULE, leadership_cases(history, ttl), summary, budget)


def leadership_cases(history: History, ttl: float | None) -> Finding | list[Case]:
    """Return a violation that a leadership shows at once, or what has to be searched."""
    losses, clock = Losses(history, ttl), Clock(history)
    groups = _by_group(history)
    moves = moves_of(history, kinds=(Kind.LEADERSHIP,), ttl=ttl)
    unclear = {move.call.target for move in moves if _by_the_way(move)}
    for group, operations in groups.items():
        if group not in unclear:
            objection = _objection(operations, history, losses, clock)
            if objection is not None:
                return objection
    return [
        Case(
            f"leadership of {group!r}",
            RULE,
            Search(
                LeadershipModel(),
                [move for move in moves if move.call.target == group],
                Order.REAL_TIME,
            ),
        )
        for group in groups
    ]


def _by_group(history: History) -> dict[bytes, list[Operation]]:
    groups: dict[bytes, list[Operation]] = {}
    for operation in history.operations:
        if operation.name in LEADERSHIP_CALLS:
            groups.setdefault(operation.target, []).append(operation)
    return groups


def _by_the_way(move: Move) -> bool:
    """Whether a member may have been elected by a call that does not tell."""
    known = move.source is not None and move.source.is_ok
    return move.call.name == "campaign" and move.answer is None and known


def _objection(
    operations: Sequence[Operation], history: History, losses: Losses, clock: Clock
) -> Finding | None:
    """Return what is wrong with one leadership at first sight."""
    changes: dict[bytes, list[Operation]] = defaultdict(list)
    stops = history.only("stop")
    for operation in sorted([*operations, *stops], key=lambda operation: operation.call):
        won = operation.name == "campaign" and operation.value is not False
        ended = operation.name == "stop" or (
            operation.name == "stand_down" and operation.value is not False
        )
        if (won or ended) and not operation.is_fail:
            changes[operation.member].append(operation)
    terms = {
        member: tenures_of(its, losses, grants=["campaign"], ends=["stand_down"], lasting=True)
        for member, its in changes.items()
    }
    if (rivals := _at_once(terms)) is not None:
        return _both_led(*rivals, clock)
    for look in operations:
        if look.name == "get_leader" and look.is_ok:
            finding = _untrue(look, terms, clock)
            if finding is not None:
                return finding
    return None


def _at_once(terms: Mapping[bytes, Tenures]) -> tuple[Tenure, Tenure] | None:
    """Return the terms of two members that overlap for certain."""
    longest: dict[bytes, Tenure] = {}
    sure = [(term.granted, member, term) for member, its in terms.items() for term in its.sure]
    for granted, member, term in sorted(sure, key=lambda item: item[:2]):
        for other, rival in longest.items():
            if other != member and rival.kept > granted:
                return rival, term
        if member not in longest or term.kept > longest[member].kept:
            longest[member] = term
    return None


def _untrue(look: Operation, terms: Mapping[bytes, Tenures], clock: Clock) -> Finding | None:
    named: bytes | None = look.value
    begin = f"{who(look)} was told that {_name(named)} leads {look.target!r} ({clock.when(look)})"
    for member, its in terms.items():
        term = its.during(look)
        if member != named and term is not None:
            reason = f"{begin} while {member!r} led all that time: {_term(term, clock)}"
            return falsified(RULE, reason, [look, *_shown(term)])
    if named is not None and (named not in terms or not terms[named].possible(look)):
        return falsified(RULE, f"{begin}, which it cannot have done then", [look])
    return None


def _both_led(one: Tenure, other: Tenure, clock: Clock) -> Finding:
    begin, end = max(one.granted, other.granted), min(one.kept, other.kept)
    lasting = "until the end of the run" if end == NEVER else f"for at least {span(end - begin)}"
    reason = (
        f"{one.grant.member!r} and {other.grant.member!r} led {one.grant.target!r} at once "
        f"{lasting}: {_term(one, clock)}; {_term(other, clock)}"
    )
    return falsified(RULE, reason, [*_shown(one), *_shown(other)])


def _term(term: Tenure, clock: Clock) -> str:
    text = (
        f"{term.grant.member!r} ({who(term.grant)}) for certain from {clock.at(term.granted)} "
        f"to {clock.at(term.kept)}"
    )
    return text if term.proof is None else f"{text}, when it called {did(term.proof)}"


def _shown(term: Tenure) -> list[Operation]:
    return [term.grant] if term.proof is None else [term.grant, term.proof]


def _name(member: bytes | None) -> str:
    return "nobody" if member is None else repr(member)
