"""Stopping beside a call: what its scenario's judges object to, and what they bear with."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from conformance.checkers.exercise import beside_a_stop
from conformance.history import History, Operation
from conformance.scenarios import test_stops
from conformance.verdict import Verdict
from tests.histories import SECOND, timed

OBSERVER, WAITER, WATCHER, STOPPER = 0, 1, 3, 4


def _call(client: int, name: str, begin: float, value: Any = None, **given: Any) -> Operation:
    member = b"m0" if client == OBSERVER else b"m1"
    return msgspec.structs.replace(timed(name, begin, value, client=client, **given), member=member)


STOP = _call(STOPPER, "stop", 10, took=1)
START = _call(STOPPER, "start", 20)


def _verdicts(*operations: Operation) -> set[Verdict]:
    history = History.of([STOP, START, *operations])
    judges = (
        test_stops._it_stops,
        test_stops._nothing_is_left,
        test_stops._nothing_is_heard,
        test_stops._it_starts_again,
    )
    return {judge(history).verdict for judge in judges}


@pytest.mark.parametrize(
    "operation",
    [
        _call(OBSERVER, "acquire", 12, False),
        _call(OBSERVER, "campaign", 12, False),
        _call(OBSERVER, "get_members", 12, [b"m0", b"m1"]),
        _call(OBSERVER, "get_leader", 12, b"m1"),
        _call(WAITER, "acquire", 12, True),
        _call(WAITER, "release", 12, True),
        _call(WAITER, "join_group", 12),
        _call(WATCHER, "heard", 13, [["elected", b"g", b"m1", 11.5 * SECOND]]),
        _call(STOPPER, "acquire", 21, False),
        _call(STOPPER, "join_group", 21, error="MemberAlreadyExist", fails=True),
    ],
    ids=str,
)
def test_what_is_left_of_a_stopped_coordinator_is_objected_to(operation: Operation) -> None:
    assert _verdicts(operation) == {Verdict.HELD, Verdict.FALSIFIED}


@pytest.mark.parametrize(
    "operation",
    [
        _call(OBSERVER, "acquire", 12, True),
        _call(OBSERVER, "acquire", 10.5, False),
        _call(OBSERVER, "get_members", 12, [b"m0"]),
        _call(OBSERVER, "get_leader", 12, None),
        _call(WAITER, "acquire", 9, True, took=3),
        _call(WAITER, "join_group", 10.5, took=3),
        _call(WAITER, "release", 12, False),
        _call(WAITER, "join_group", 12, error="ToozError", fails=True),
        _call(WATCHER, "run_watchers", 9, [["join", b"g", b"m0"]], took=3),
        _call(WATCHER, "heard", 13, [["elected", b"g", b"m1", 10.9 * SECOND]]),
        _call(STOPPER, "acquire", 21, True),
    ],
    ids=str,
)
def test_what_a_stop_may_meet_is_borne_with(operation: Operation) -> None:
    assert _verdicts(operation) == {Verdict.HELD}


def test_a_stop_that_fails_is_objected_to() -> None:
    failed = msgspec.structs.replace(_call(STOPPER, "stop", 10, error="ToozError", fails=True))
    history = History.of([failed])
    assert test_stops._it_stops(history).verdict is Verdict.FALSIFIED


def test_calls_beside_a_stop_are_those_that_it_found_under_way() -> None:
    waits = [
        _call(WAITER, "acquire", 9, True, took=1.5),
        _call(WATCHER, "acquire", 10.5, True),
        _call(OBSERVER, "acquire", 9, True, took=3),
    ]
    assert beside_a_stop(History.of([STOP, *waits]), "acquire") == 1
