"""How soon what a killed client held is free: what grows with the time-out, and what does not."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from conformance.history import Fault, History, Operation
from conformance.scenarios.test_timeouts import _compare_recoveries
from conformance.trial import Falsified, Inconclusive, Trial
from conformance.workload.crew import Crew
from conformance.workload.plan import Plan
from tests.histories import SECOND, timed
from tests.trials import make_trial

HOLD = timed("acquire", 1, True)
KILL = Fault("kill", 0, 2 * SECOND, 2 * SECOND + 1)


@pytest.fixture
def trial(tmp_path: Path) -> Iterator[Trial]:
    with Crew() as crew:
        yield make_trial(crew, tmp_path, level="processes", profile="smoke")


def _free_after(seconds: float) -> History:
    return _tried(timed("acquire", 1.9, True, client=1, took=0.1 + seconds))


def _tried(*operations: Operation) -> History:
    return History.of([HOLD, *operations], [KILL])


def _compare(trial: Trial, monkeypatch: pytest.MonkeyPatch, histories: Iterator[History]) -> None:
    def run(plan: Plan) -> History:
        return next(histories)

    monkeypatch.setattr(trial, "run", run)
    _compare_recoveries(trial, [], lambda timeout: [])


@pytest.mark.parametrize(
    "seconds",
    [
        (0.1, 0.1, 0.1, 0.1),
        (0.1, 0.1, 0.9, 1.0),
        (0.1, 0.1, 1.6, 1.4, 0.2),
        (0.1, 0.1, 1.6, 1.4, 1.5, 0.2),
    ],
)
def test_a_busy_machine_is_no_time_out(
    trial: Trial, monkeypatch: pytest.MonkeyPatch, seconds: tuple[float, ...]
) -> None:
    _compare(trial, monkeypatch, map(_free_after, seconds))


def test_what_waits_for_the_time_out_is_falsified(
    trial: Trial, monkeypatch: pytest.MonkeyPatch
) -> None:
    with pytest.raises(Falsified, match="waits for the time-out"):
        _compare(trial, monkeypatch, map(_free_after, (1, 1, 3, 3, 3, 3)))


@pytest.mark.parametrize(
    ("operations", "error"),
    [
        ([timed("acquire", 1.9, False, client=1, took=4)], Falsified),
        ([timed("acquire", 1.9, client=1, error="OperationTimedOut")], Inconclusive),
    ],
)
def test_a_lock_that_is_not_free(
    trial: Trial,
    monkeypatch: pytest.MonkeyPatch,
    operations: list[Operation],
    error: type[Exception],
) -> None:
    with pytest.raises(error):
        _compare(trial, monkeypatch, iter([_tried(*operations)]))


def test_who_got_nothing_leaves_nothing(trial: Trial, monkeypatch: pytest.MonkeyPatch) -> None:
    operations = [
        timed("acquire", 1, error="OperationTimedOut"),
        timed("acquire", 1.9, True, client=1, took=0.01),
    ]
    with pytest.raises(Inconclusive, match="nothing that could become free"):
        _compare(trial, monkeypatch, iter([History.of(operations, [KILL])]))


def test_a_call_that_timed_out_before_the_one_that_succeeded_counts_as_waiting(
    trial: Trial, monkeypatch: pytest.MonkeyPatch
) -> None:
    failed = timed("campaign", 1.9, client=1, error="OperationTimedOut", took=0.3)
    won = timed("campaign", 2.3, True, client=101)
    _compare(trial, monkeypatch, iter([_tried(failed, won)] * 4))
