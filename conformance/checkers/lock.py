"""Mutual exclusion: whether the locks of a history were held as locks are.

Where every object is used by one caller at a time and no lock is broken, the answer is
exact in O(n log n): every hold has a time at which it was held for certain; of two that
exclude each other these must not overlap, and then their order is plain. A refused
acquire needs a time during its call at which the lock may have been held. Between two
holds there may be none; then an acquire of unknown outcome, called before, may have had
the lock, each for one such gap. (P. Gibbons, E. Korach: "Testing shared memories", 1997,
on blocks of operations.) All other histories go to the search.
"""

from __future__ import annotations

import math
from bisect import bisect_left
from collections.abc import Iterator, Sequence
from typing import NamedTuple

from conformance.checkers.holds import Hold, Ledger, Lie
from conformance.checkers.losses import Losses
from conformance.checkers.moves import telling
from conformance.checkers.order import Order
from conformance.checkers.search import Search
from conformance.checkers.settle import Case, falsified, settle
from conformance.checkers.translation import moves_of
from conformance.checkers.turns import BUDGET
from conformance.checkers.wording import Clock, did, span, who
from conformance.history import History, Operation
from conformance.models import LOCK_CALLS, Kind, LockModel
from conformance.verdict import Finding

__all__ = ["RULE", "check_lock", "lock_cases"]

RULE = "mutual exclusion"


def check_lock(history: History, *, ttl: float | None = None, budget: int = BUDGET) -> Finding:
    """Say whether every lock of a history behaved as a lock, each on its own.

    At most one object holds, or several share; a free lock is granted; only a holder
    releases; and answers about a hold are true.

    :param ttl: the driver's time-out in seconds after which a hold may expire when its
        owner showed no sign of life; None when none may
    :param budget: steps that searches may take in all, where one is needed
    :returns: HELD, FALSIFIED with a witness, or INCONCLUSIVE
    :raises MalformedHistory: no run can produce the history
    """
    history = History.of(history.operations, history.faults)
    locks = _by_lock(history)
    summary = f"{sum(map(len, locks.values()))} operations on {len(locks)} locks"
    return settle(history, RULE, lock_cases(history, ttl), summary, budget)


def lock_cases(history: History, ttl: float | None) -> Finding | list[Case]:
    """Return a violation that a lock shows at once, or what has to be searched."""
    losses = Losses(history, ttl)
    clock = Clock(history)
    cases = []
    for target, operations in _by_lock(history).items():
        try:
            ledger = Ledger(operations, losses)
        except Lie as lie:
            return _told(lie, clock)
        verdict = _judge(ledger, clock)
        if isinstance(verdict, Finding):
            return verdict
        if not verdict:
            cases.append(_case(history, target, ttl))
    return cases


def _by_lock(history: History) -> dict[bytes, list[Operation]]:
    """Return the operations on each lock, with those that stop coordinators, by call."""
    locks: dict[bytes, list[Operation]] = {}
    stops = []
    for operation in history.operations:
        if operation.name in LOCK_CALLS and telling(operation):
            locks.setdefault(operation.target, []).append(operation)
        elif operation.name == "stop" and not operation.is_fail:
            stops.append(operation)
    if stops:
        for its in locks.values():
            its += stops
            its.sort(key=lambda operation: operation.call)
    return locks


def _case(history: History, target: bytes, ttl: float | None) -> Case:
    """Return the search that decides one lock."""
    spanning = ("stop", "heartbeat")
    about = [o for o in history.operations if o.target == target or o.name in spanning]
    moves = moves_of(History(about, history.faults), kinds=(Kind.LOCK,), ttl=ttl)
    return Case(f"lock {target!r}", RULE, Search(LockModel(), moves, Order.REAL_TIME))


def _judge(ledger: Ledger, clock: Clock) -> Finding | bool:
    """Return a violation, True when there is none, False when the rules cannot tell."""
    if not ledger.plain:
        return False
    sure = sorted((h for h in ledger.holds if h.definite), key=lambda hold: hold.granted)
    loose = [hold for hold in ledger.holds if not hold.definite]
    if (rivals := _at_once(sure)) is not None:
        return _both_held(*rivals, clock)
    if loose and (ledger.refused or any(hold.shared for hold in ledger.holds)):
        return False
    if (rivals := _inside(loose, sure)) is not None:
        return _both_held(*rivals, clock)
    return _refusals(ledger, sure, clock)


# -- two holds at once ----------------------------------------------------------------


def _at_once(sure: Sequence[Hold]) -> tuple[Hold, Hold] | None:
    """Return two holds that exclude each other and were both held at one time.

    :param sure: holds that were held for certain at some time, by ``granted``
    """
    longest: Hold | None = None
    longest_exclusive: Hold | None = None
    for hold in sure:
        rival = longest_exclusive if hold.shared else longest
        if rival is not None and rival.kept > hold.granted:
            return rival, hold
        if longest is None or hold.kept > longest.kept:
            longest = hold
        if not hold.shared and (longest_exclusive is None or hold.kept > longest_exclusive.kept):
            longest_exclusive = hold
    return None


def _inside(loose: Sequence[Hold], sure: Sequence[Hold]) -> tuple[Hold, Hold] | None:
    """Return a hold that has no place outside another, and that other.

    :param loose: exclusive holds that may have been over as soon as they were granted
    :param sure: exclusive holds that do not overlap, by ``granted``
    """
    begins = [hold.granted for hold in sure]
    for hold in loose:
        before = bisect_left(begins, hold.kept) - 1
        if before >= 0 and hold.granted < sure[before].kept:
            return sure[before], hold
    return None


# -- refused although free ------------------------------------------------------------


class _Gap(NamedTuple):
    """A time, without its ends, at which no hold that is known can have been.

    ``before`` and ``after`` are the holds that bound it.
    """

    begin: float
    end: float
    before: Hold | None
    after: Hold | None


def _refusals(ledger: Ledger, sure: Sequence[Hold], clock: Clock) -> Finding | bool:
    """Judge the refused acquires of a lock whose holds are in order."""
    exclusive = [o for o in ledger.refused if not o.arguments.get("shared", False)]
    shared = [o for o in ledger.refused if o.arguments.get("shared", False)]
    stranded = _stranded(exclusive, sure, only_exclusive=False)
    stranded += _stranded(shared, sure, only_exclusive=True)
    if not stranded:
        return True
    unknown = [operation.call for operation in ledger.unknown]
    grants = [hold.grant for hold in sure]
    if unknown and any(o.arguments.get("shared") for o in (*shared, *grants, *ledger.unknown)):
        return False
    for needed, (gap, refused) in enumerate(stranded):
        if needed >= len(unknown) or unknown[needed] > (refused.end or 0):
            return _refused_though_free(refused, gap, len(unknown), clock)
    return True


def _stranded(
    refusals: Sequence[Operation], sure: Sequence[Hold], *, only_exclusive: bool
) -> list[tuple[_Gap, Operation]]:
    """Return the gaps in which acquires were refused, each with the one refused first."""
    if not refusals:
        return []
    gaps = list(_gaps(sure, only_exclusive))
    begins = [gap.begin for gap in gaps]
    first: dict[int, Operation] = {}
    for refused in refusals:
        number = bisect_left(begins, refused.call) - 1
        end = math.inf if refused.end is None else refused.end
        if number >= 0 and end < gaps[number].end:
            earlier = first.get(number)
            if earlier is None or end < (earlier.end or 0):
                first[number] = refused
    return [(gaps[number], first[number]) for number in sorted(first)]


def _gaps(sure: Sequence[Hold], only_exclusive: bool) -> Iterator[_Gap]:
    """Return the times at which none of the holds, or no exclusive one, can have been.

    A hold can have been from its call, or the certain end of those before it that exclude
    it, to its own end, or the certain begin of those after it that exclude it.
    """
    covered, last = -math.inf, None
    for begin, end, hold in sorted(_windows(sure), key=_begin):
        if hold.shared and only_exclusive:
            continue
        if begin > covered:
            yield _Gap(covered, begin, last, hold)
        if end > covered:
            covered, last = end, hold
    if covered < math.inf:
        yield _Gap(covered, math.inf, last, None)


_Window = tuple[float, float, Hold]


def _begin(window: _Window) -> float:
    return window[0]


def _windows(sure: Sequence[Hold]) -> list[_Window]:
    """Return from when to when each hold can have lasted; the latest hold first."""
    windows: list[_Window] = []
    any_after = exclusive_after = math.inf
    for hold in reversed(sure):
        after = exclusive_after if hold.shared else any_after
        windows.append((hold.called, hold.ended if hold.ended < after else after, hold))
        any_after = hold.granted
        if not hold.shared:
            exclusive_after = hold.granted
    any_before = exclusive_before = -math.inf
    for number in range(len(windows) - 1, -1, -1):
        called, end, hold = windows[number]
        before = exclusive_before if hold.shared else any_before
        if before > called:
            windows[number] = (before, end, hold)
        any_before = max(any_before, hold.kept)
        if not hold.shared:
            exclusive_before = max(exclusive_before, hold.kept)
    return windows


# -- what to say ------------------------------------------------------------------------


def _told(lie: Lie, clock: Clock) -> Finding:
    operation = lie.operation
    reason = f"{who(operation)} called {did(operation)} ({clock.when(operation)}): it {lie.why}"
    return falsified(RULE, reason, lie.witness)


def _both_held(one: Hold, other: Hold, clock: Clock) -> Finding:
    begin = max(one.granted, other.granted)
    end = min(one.kept, other.kept)
    lasting = f"for at least {span(end - begin)}" if begin < end < math.inf else ""
    if end == math.inf:
        lasting = "until the end of the run"
    reason = (
        f"{who(one.grant)} and {who(other.grant)} held lock {one.grant.target!r} at once "
        f"{lasting}: {_hold(one, clock)}; {_hold(other, clock)}"
    )
    proofs = [hold.proof for hold in (one, other) if hold.proof is not None]
    return falsified(RULE, reason, [one.grant, other.grant, *proofs])


def _hold(hold: Hold, clock: Clock) -> str:
    mode = " shared" if hold.shared else ""
    begin, end = clock.at(hold.granted), clock.at(hold.kept)
    return f"{who(hold.grant)}{mode} for certain from {begin} to {end}"


def _refused_though_free(refused: Operation, gap: _Gap, unknown: int, clock: Clock) -> Finding:
    shared = refused.arguments.get("shared", False)
    free = "not held exclusively" if shared else "free"
    before = (
        "it had not been held before"
        if gap.before is None
        else (f"the hold of {who(gap.before.grant)} had ended by {clock.at(gap.begin)}")
    )
    after = (
        "it was not held again"
        if gap.after is None
        else (f"the next, of {who(gap.after.grant)}, began at {clock.at(gap.end)} at the earliest")
    )
    excuse = (
        "" if not unknown else (f"; the {unknown} acquires of unknown outcome do not explain it")
    )
    reason = (
        f"{who(refused)} was refused lock {refused.target!r} ({clock.when(refused)}) although "
        f"it was {free} all that time: {before}, {after}{excuse}"
    )
    bounds: list[Operation | None] = [refused]
    if gap.before is not None:
        bounds += [gap.before.grant, gap.before.proof]
    if gap.after is not None:
        bounds.append(gap.after.grant)
    return falsified(RULE, reason, [operation for operation in bounds if operation is not None])
