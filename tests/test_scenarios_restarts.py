"""The judges of restarts: what each objects to, and what it lets pass."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import pytest

from conformance.history import Fault, History, Operation
from conformance.results import load_run
from conformance.scenarios import link_judges, restarts
from conformance.trial import Judge
from conformance.verdict import Verdict
from tests.conftest import Pytest
from tests.histories import SECOND, timed

KILL = Fault("server kill", 0, 10 * SECOND, 20 * SECOND)
GONE = Fault("no server", 0, 12 * SECOND, 18 * SECOND)


def _objects(judge: Judge, *operations: Operation) -> bool:
    return judge(History.of(operations, (KILL, GONE))).verdict is Verdict.FALSIFIED


@pytest.mark.parametrize(
    ("operation", "objects"),
    [
        (timed("heartbeat", 13, error="ToozConnectionError", took=4.9), False),
        (timed("heartbeat", 13, error="ToozConnectionError", took=5.1), True),
        (timed("acquire", 9, False, took=6.9, blocking=2.0), False),
        (timed("acquire", 9, False, took=7.1, blocking=2.0), True),
        (timed("acquire", 9, took=None), True),
        (timed("get_members", 19, error="GroupNotCreated", fails=True), False),
        (timed("get_members", 19, error="ToozError: a database's own"), True),
        (timed("get_members", 21, error="ToozError: a database's own"), False),
        (timed("heartbeat", 1, took=8), False),
        (timed("heartbeat", 13, client=1, took=8), False),
    ],
)
def test_promptness_of_calls_under_way_in_a_restart(operation: Operation, objects: bool) -> None:
    assert _objects(partial(restarts.promptness, timeout=1.0), operation) is objects


@pytest.mark.parametrize(
    ("operation", "objects"),
    [
        (timed("acquire", 13, True), True),
        (timed("acquire", 13, False), False),
        (timed("join_group", 13), True),
        (timed("is_still_owner", 13, True), True),
        (timed("acquired", 13, True), False),
        (timed("campaign", 13, error="OperationTimedOut"), False),
        (timed("acquire", 11, True), False),
        (timed("acquire", 13, True, took=5.1), False),
    ],
)
def test_nothing_is_granted_while_there_is_no_server(operation: Operation, objects: bool) -> None:
    assert _objects(restarts.granted, operation) is objects


_JOIN = timed("join_group", 21)


@pytest.mark.parametrize(
    ("operations", "objects"),
    [
        ([_JOIN, timed("run_watchers", 22, [["join", b"x", b"m0"]], client=1)], False),
        ([_JOIN, timed("run_watchers", 22, [["join", b"x", b"m2"]], client=1)], True),
        ([_JOIN, timed("run_watchers", 22, [], client=1)], True),
        ([_JOIN, timed("run_watchers", 20.5, [], client=1)], False),
        ([timed("campaign", 21, False)], True),
        ([timed("campaign", 21, False), timed("campaign", 22, True)], False),
    ],
)
def test_watches_and_elections_work_again(operations: list[Operation], objects: bool) -> None:
    assert _objects(restarts.regained, *operations) is objects


_WELL = timed("heartbeat", 21, 0.4)


@pytest.mark.parametrize(
    ("operations", "objects"),
    [
        ([_WELL, timed("is_still_owner", 21.2, False)], True),
        ([_WELL, timed("leave_group", 21.2, error="GroupNotCreated", fails=True)], True),
        ([_WELL, timed("is_still_owner", 21.5, False)], False),
        ([_WELL, timed("heartbeat", 21.2, error="ToozConnectionError")], True),
        ([_WELL, timed("heartbeat", 21.5, error="ToozConnectionError")], False),
        ([_WELL, timed("heartbeat", 22, 0.4), timed("is_still_owner", 22.2, False)], True),
    ],
)
def test_what_expired_since_need_not_have_been_told(
    operations: list[Operation], objects: bool
) -> None:
    assert _objects(partial(link_judges.told, expires=True), *operations) is objects


@pytest.mark.parametrize(
    ("operation", "noticed"),
    [
        (timed("heartbeat", 13, error="ToozConnectionError"), True),
        (timed("heartbeat", 13, client=100, error="OperationTimedOut"), True),
        (timed("heartbeat", 13, 0.3), False),
        (timed("heartbeat", 11, error="ToozConnectionError"), False),
        (timed("heartbeat", 13, client=1, error="ToozConnectionError"), False),
    ],
)
def test_a_call_that_fails_while_there_is_no_server_is_noticed(
    operation: Operation, noticed: bool
) -> None:
    assert restarts.noticed(History.of([operation], [GONE])) is noticed


def test_a_server_of_somebody_elses_is_not_restarted(run_pytest: Pytest, tmp_path: Path) -> None:
    run_pytest(
        *("--pyargs", "conformance.scenarios.test_restarts"),
        *("--backend=redis", "--backend-url=redis://127.0.0.1:1"),
        "--implementation=serverless:make_coordinator",
    )
    (path,) = tmp_path.glob("results/*/result.json")
    results = load_run(path).scenarios
    assert {result.verdict for result in results} == {Verdict.NOT_EXERCISED}
    assert all("--backend-url is somebody else's" in result.reason for result in results)
