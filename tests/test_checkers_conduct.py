"""Conduct: what no client may see, and what a slow machine may show it."""

from __future__ import annotations

import msgspec
import pytest

from conformance.checkers.conduct import check_conduct
from conformance.history import History, Operation
from conformance.verdict import Verdict
from tests.histories import timed


@pytest.mark.parametrize(
    ("operation", "verdict"),
    [
        (timed("acquire", 1, True), Verdict.HELD),
        (timed("acquire", 1, error="OperationTimedOut", took=0.6), Verdict.INCONCLUSIVE),
        (timed("acquire", 1, error="OperationTimedOut", took=0.4), Verdict.FALSIFIED),
        (timed("acquire", 1, error="ToozConnectionError", took=0.6), Verdict.FALSIFIED),
        (timed("acquire", 1, took=None), Verdict.FALSIFIED),
        (timed("acquire", 1, error="NotImplemented", fails=True), Verdict.FALSIFIED),
    ],
)
def test_a_time_out_is_told_no_sooner_than_after_it(operation: Operation, verdict: Verdict) -> None:
    assert check_conduct(History.of([operation]), timeout=0.5).verdict is verdict


def test_a_time_out_that_nobody_asked_for_is_a_failure() -> None:
    late = timed("acquire", 1, error="OperationTimedOut", took=6)
    assert check_conduct(History.of([late])).verdict is Verdict.FALSIFIED


def test_a_failure_goes_before_a_time_out() -> None:
    late = timed("acquire", 1, error="OperationTimedOut", took=6)
    lost = timed("heartbeat", 2, client=1, error="ToozConnectionError")
    finding = check_conduct(History.of([late, lost]), timeout=0.5)
    assert (finding.verdict, finding.witness) == (Verdict.FALSIFIED, [lost])


def test_a_call_may_fail_whose_coordinator_another_client_stops() -> None:
    failed = timed("acquire", 1, error="ToozConnectionError", took=1)
    stop = timed("stop", 1.5, client=1)
    beside = [msgspec.structs.replace(o, member=b"m") for o in (failed, stop)]
    assert check_conduct(History.of(beside)).verdict is Verdict.HELD
    assert check_conduct(History.of([failed, stop])).verdict is Verdict.FALSIFIED
    foreign = msgspec.structs.replace(beside[0], error="foreign KeyError: 1")
    assert check_conduct(History.of([foreign, beside[1]])).verdict is Verdict.FALSIFIED
    hung = msgspec.structs.replace(beside[0], end=None)
    assert check_conduct(History.of([hung, beside[1]])).verdict is Verdict.FALSIFIED
