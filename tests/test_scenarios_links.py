"""The judges of links: what each objects to, and what it lets pass."""

from __future__ import annotations

from typing import Any

import pytest

from conformance.checkers import check_lock
from conformance.checkers.conduct import check_conduct
from conformance.history import Fault, History, Operation, Outcome
from conformance.scenarios import links
from conformance.verdict import Finding, Verdict

_SECOND = 1_000_000_000

CUT = Fault("cut", 0, 10 * _SECOND, 20 * _SECOND)


def _call(
    name: str,
    begin: float,
    value: Any = None,
    *,
    client: int = 0,
    took: float | None = 0.1,
    error: str | None = None,
    fails: bool = False,
    **arguments: Any,
) -> Operation:
    """Return an operation; one with an error is of unknown outcome unless it ``fails``."""
    unknown = Outcome.FAIL if fails else Outcome.INFO
    return Operation(
        client,
        name,
        b"x",
        arguments,
        int(begin * _SECOND),
        None if took is None else int((begin + took) * _SECOND),
        unknown if error or took is None else Outcome.OK,
        value,
        error,
        b"m%d" % (client % 100),
    )


def _history(*operations: Operation, faults: tuple[Fault, ...] = (CUT,)) -> History:
    return History.of(operations, faults)


def _objects(finding: Finding) -> bool:
    return finding.verdict is Verdict.FALSIFIED


@pytest.mark.parametrize(
    ("operation", "objects"),
    [
        (_call("heartbeat", 11, error="OperationTimedOut", took=4.9), False),
        (_call("heartbeat", 11, error="ToozConnectionError", took=1), False),
        (_call("acquire", 11, False, took=5.9, blocking=1.0), False),
        (_call("stop", 11, took=5.1), True),
        (_call("acquire", 11, False, took=6.1, blocking=1.0), True),
        (_call("acquire", 11, False, took=5.1, blocking=True), True),
        (_call("get_members", 11, took=None), True),
        (_call("release", 11, error="ToozError: a socket's own"), True),
        (_call("join_group", 11, error="MemberAlreadyExist", fails=True), True),
        (_call("stop", 9, took=6), False),
        (_call("stop", 20, took=6), False),
        (_call("stop", 11, client=1, took=6), False),
    ],
)
def test_promptness_of_calls_on_a_broken_link(operation: Operation, objects: bool) -> None:
    assert _objects(links.promptness(_history(operation))) is objects


@pytest.mark.parametrize(
    ("operations", "objects"),
    [
        ([_call("heartbeat", 11, error="OperationTimedOut")], False),
        ([_call("heartbeat", 21, error="OperationTimedOut")], True),
        ([_call("heartbeat", 21, error="OperationTimedOut"), _call("heartbeat", 22)], False),
        ([_call("acquire", 21, False, client=1)], True),
        ([_call("acquire", 21, False, client=1), _call("acquire", 22, True, client=1)], False),
        ([_call("join_group", 21, error="MemberAlreadyExist", fails=True)], True),
        ([_call("leave_group", 21, error="MemberNotJoined", fails=True)], False),
    ],
)
def test_recovery_after_a_link_healed(operations: list[Operation], objects: bool) -> None:
    assert _objects(links.recovery(_history(*operations))) is objects


_WELL = _call("heartbeat", 22, 0.3)
_WARNING = _call("heartbeat", 21, error="ToozConnectionError")
_LOST_LOCK = _call("is_still_owner", 23, False)
_LOST_PLACE = _call("leave_group", 23, error="MemberNotJoined", fails=True)


@pytest.mark.parametrize(
    ("operations", "objects"),
    [
        ([_WELL, _call("is_still_owner", 23, True)], False),
        ([_WELL, _LOST_LOCK], True),
        ([_WELL, _LOST_PLACE], True),
        ([_WARNING, _WELL, _LOST_LOCK], False),
        ([_WARNING, _WELL, _LOST_PLACE], False),
        ([_WARNING, _WELL, _call("heartbeat", 23, error="ToozConnectionError")], True),
        ([_WELL, _call("is_still_owner", 23, True), _call("is_still_owner", 24, False)], False),
        ([_LOST_LOCK], False),
    ],
)
def test_losses_are_told_by_a_heartbeat_and_once(
    operations: list[Operation], objects: bool
) -> None:
    assert _objects(links.told(_history(*operations))) is objects


@pytest.mark.parametrize("kind", ["stall", "lost reply", "cut"])
def test_a_broken_link_may_cost_a_lock_from_then_on(kind: str) -> None:
    fault = Fault(kind, 0, 10 * _SECOND, 20 * _SECOND)
    grant = _call("acquire", 1, True)
    early, late = _call("acquire", 5, True, client=1), _call("acquire", 15, True, client=1)
    assert not _objects(check_lock(_history(grant, late, faults=(fault,))))
    assert _objects(check_lock(_history(grant, early, faults=(fault,))))
    assert _objects(check_lock(_history(grant, late, faults=(Fault(kind, 2, 10 * _SECOND),))))


def test_a_healed_link_costs_nothing_that_came_after_it() -> None:
    grant, other = _call("acquire", 21, True), _call("acquire", 23, True, client=1)
    assert _objects(check_lock(_history(grant, other)))


def test_a_lock_that_is_known_to_be_held_during_a_break_is_held() -> None:
    operations = [
        _call("acquire", 1, True),
        _call("acquire", 22, True, client=1),
        _call("is_still_owner", 23, True),
    ]
    assert _objects(check_lock(_history(*operations)))


def test_a_client_on_a_broken_link_must_return_all_the_same() -> None:
    hung = _history(_call("acquire", 11, took=None))
    assert _objects(check_conduct(hung))
    assert not _objects(check_conduct(_history(_call("acquire", 11, error="OperationTimedOut"))))
