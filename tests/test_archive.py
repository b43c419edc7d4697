"""The archive: a plan is carried out once, and nothing is kept of what failed."""

from __future__ import annotations

import threading
from concurrent import futures
from pathlib import Path

import pytest

from conformance.archive import Archive
from conformance.history import History
from conformance.workload.plan import Phase, Plan, Step
from tests.histories import timed

PLAN = Plan({0: 0}, [Phase({0: [Step("acquire", b"lock-a")]})])
OTHER = Plan({0: 0}, [Phase({0: [Step("acquire", b"lock-b")]})])


def some_history(value: object = b"\x00\xff") -> History:
    return History.of([timed("acquire", 1.0, value)])


def forbidden() -> History:
    raise AssertionError("carried out again")


def test_a_plan_is_carried_out_once(tmp_path: Path) -> None:
    kept = Archive(tmp_path / "place").history(PLAN, 1, some_history)
    assert Archive(tmp_path / "place").history(PLAN, 1, forbidden) == kept == some_history()


def test_other_plans_other_runs_and_other_places_are_told_apart(tmp_path: Path) -> None:
    archive = Archive(tmp_path / "place")
    archive.history(PLAN, 1, some_history)
    for number, (place, plan, run) in enumerate(
        [(archive, OTHER, 1), (archive, PLAN, 2), (Archive(tmp_path / "elsewhere"), PLAN, 1)]
    ):
        made = some_history(number)
        assert place.history(plan, run, lambda made=made: made) == made  # type: ignore[misc]


def test_who_comes_while_it_is_made_waits_for_it(
    tmp_path: Path, threads: futures.ThreadPoolExecutor
) -> None:
    begun, go_on = threading.Event(), threading.Event()

    def slow() -> History:
        begun.set()
        assert go_on.wait(30)
        return some_history()

    archive = Archive(tmp_path)
    first = threads.submit(archive.history, PLAN, 1, slow)
    assert begun.wait(30)
    second = threads.submit(archive.history, PLAN, 1, forbidden)
    with pytest.raises(futures.TimeoutError):
        second.result(0.1)
    go_on.set()
    assert first.result(30) == second.result(30)


def test_what_failed_is_carried_out_again(tmp_path: Path) -> None:
    archive = Archive(tmp_path)
    with pytest.raises(AssertionError, match="carried out again"):
        archive.history(PLAN, 1, forbidden)
    assert archive.history(PLAN, 1, some_history) == some_history()
