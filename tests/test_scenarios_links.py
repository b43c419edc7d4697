"""The judges of links: what each objects to, and what it lets pass."""

from __future__ import annotations

import pytest

from conformance.checkers import check_lock
from conformance.checkers.conduct import check_conduct
from conformance.history import Fault, History, Operation
from conformance.scenarios import link_judges
from conformance.verdict import Finding, Verdict
from tests.histories import SECOND, timed

CUT = Fault("cut", 0, 10 * SECOND, 20 * SECOND)


def _history(*operations: Operation, faults: tuple[Fault, ...] = (CUT,)) -> History:
    return History.of(operations, faults)


def _objects(finding: Finding) -> bool:
    return finding.verdict is Verdict.FALSIFIED


@pytest.mark.parametrize(
    ("operation", "objects"),
    [
        (timed("heartbeat", 11, error="OperationTimedOut", took=4.9), False),
        (timed("heartbeat", 11, error="ToozConnectionError", took=1), False),
        (timed("acquire", 11, False, took=5.9, blocking=1.0), False),
        (timed("stop", 11, took=5.1), True),
        (timed("acquire", 11, False, took=6.1, blocking=1.0), True),
        (timed("acquire", 11, False, took=5.1, blocking=True), True),
        (timed("get_members", 11, took=None), True),
        (timed("release", 11, error="ToozError: a socket's own"), True),
        (timed("join_group", 11, error="MemberAlreadyExist", fails=True), True),
        (timed("stop", 9, took=6), False),
        (timed("stop", 20, took=6), False),
        (timed("stop", 11, client=1, took=6), False),
    ],
)
def test_promptness_of_calls_on_a_broken_link(operation: Operation, objects: bool) -> None:
    assert _objects(link_judges.promptness(_history(operation))) is objects


_TIMED_OUT_JOIN = timed("join_group", 21, error="OperationTimedOut")
_JOINED_ALREADY = timed("join_group", 22, error="MemberAlreadyExist", fails=True)


@pytest.mark.parametrize(
    ("operations", "objects"),
    [
        ([timed("heartbeat", 11, error="OperationTimedOut")], False),
        ([timed("heartbeat", 21, error="OperationTimedOut")], True),
        ([timed("heartbeat", 21, error="OperationTimedOut"), timed("heartbeat", 22)], False),
        ([timed("acquire", 21, False, client=1)], True),
        ([timed("acquire", 21, False, client=1), timed("acquire", 22, True, client=1)], False),
        ([timed("join_group", 21, error="MemberAlreadyExist", fails=True)], True),
        ([_TIMED_OUT_JOIN, _JOINED_ALREADY], False),
        ([_TIMED_OUT_JOIN, timed("join_group", 22, error="GroupNotCreated", fails=True)], True),
        ([timed("leave_group", 21, error="MemberNotJoined", fails=True)], False),
    ],
)
def test_recovery_after_a_link_healed(operations: list[Operation], objects: bool) -> None:
    assert _objects(link_judges.recovery(_history(*operations))) is objects


_WELL = timed("heartbeat", 22, 0.3)
_WARNING = timed("heartbeat", 21, error="ToozConnectionError")
_LOST_LOCK = timed("is_still_owner", 23, False)
_LOST_PLACE = timed("leave_group", 23, error="MemberNotJoined", fails=True)


@pytest.mark.parametrize(
    ("operations", "objects"),
    [
        ([_WELL, timed("is_still_owner", 23, True)], False),
        ([_WELL, _LOST_LOCK], True),
        ([_WELL, _LOST_PLACE], True),
        ([_WARNING, _WELL, _LOST_LOCK], False),
        ([_WARNING, _WELL, _LOST_PLACE], False),
        ([_WARNING, _WELL, timed("heartbeat", 23, error="ToozConnectionError")], True),
        ([_WELL, timed("heartbeat", 23, error="OperationTimedOut")], False),
        ([_WELL, timed("is_still_owner", 23, True), timed("is_still_owner", 24, False)], False),
        ([_LOST_LOCK], False),
    ],
)
def test_losses_are_told_by_a_heartbeat_and_once(
    operations: list[Operation], objects: bool
) -> None:
    assert _objects(link_judges.told(_history(*operations))) is objects


_RELEASE = timed("release", 12, True, took=0)


@pytest.mark.parametrize(
    ("operation", "objects"),
    [
        (timed("acquire", 11, True, client=1, took=2, blocking=6.0), False),
        (timed("acquire", 11, False, client=1, took=5.9, blocking=6.0), False),
        (timed("acquire", 11, False, client=1, took=6.1, blocking=6.0), True),
        (timed("acquire", 11, client=1, error="OperationTimedOut", took=6.1, blocking=6.0), False),
        (timed("acquire", 11, client=1, error="OperationTimedOut", took=11.1, blocking=6.0), True),
        (timed("acquire", 11, client=1, error="ToozError: its own", blocking=6.0), True),
        (timed("acquire", 11, client=1, took=None, blocking=6.0), True),
        (timed("acquire", 19, False, client=1, took=0.1, blocking=False), False),
    ],
)
def test_who_waits_learns_in_time_that_a_lock_is_free(operation: Operation, objects: bool) -> None:
    assert _objects(link_judges.late(_history(_RELEASE, operation))) is objects


_WATCH = timed("watch", 1, client=1)
_HEARD = timed("run_watchers", 23, [("join", b"g", b"m0")], client=1)
_HEARS_NOTHING = timed("run_watchers", 24, [], client=1)


@pytest.mark.parametrize(
    ("operations", "objects"),
    [
        ([_HEARD, _HEARS_NOTHING], False),
        ([_HEARS_NOTHING], True),
        ([timed("run_watchers", 21, [], client=1)], False),
        ([timed("run_watchers", 24, client=1, error="OperationTimedOut")], False),
        ([timed("run_watchers", 24, [], client=2)], False),
    ],
)
def test_who_watches_hears_of_a_join(operations: list[Operation], objects: bool) -> None:
    join = timed("join_group", 22, took=0.5)
    history = _history(_WATCH, *operations, join)
    assert _objects(link_judges.heard(history)) is objects


@pytest.mark.parametrize("kind", ["stall", "strand", "lost reply", "cut"])
def test_a_broken_link_may_cost_a_lock_from_then_on(kind: str) -> None:
    fault = Fault(kind, 0, 10 * SECOND, 20 * SECOND)
    grant = timed("acquire", 1, True)
    early, late = timed("acquire", 5, True, client=1), timed("acquire", 15, True, client=1)
    assert not _objects(check_lock(_history(grant, late, faults=(fault,))))
    assert _objects(check_lock(_history(grant, early, faults=(fault,))))
    assert _objects(check_lock(_history(grant, late, faults=(Fault(kind, 2, 10 * SECOND),))))


def test_a_healed_link_costs_nothing_that_came_after_it() -> None:
    grant, other = timed("acquire", 21, True), timed("acquire", 23, True, client=1)
    assert _objects(check_lock(_history(grant, other)))


def test_a_lock_that_is_known_to_be_held_during_a_break_is_held() -> None:
    operations = [
        timed("acquire", 1, True),
        timed("acquire", 22, True, client=1),
        timed("is_still_owner", 23, True),
    ]
    assert _objects(check_lock(_history(*operations)))


def test_a_client_on_a_broken_link_must_return_all_the_same() -> None:
    hung = _history(timed("acquire", 11, took=None))
    assert _objects(check_conduct(hung))
    assert not _objects(check_conduct(_history(timed("acquire", 11, error="OperationTimedOut"))))
