"""What a lone caller measures: one call of each driver beside its floor, into results."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from conformance.benchmarks.distribution import Samples, measure, save_samples
from conformance.benchmarks.efforts import Effort
from conformance.benchmarks.floors import open_floors
from conformance.benchmarks.sides import Beside, Others, Prepare, Side, relative_to
from conformance.benchmarks.timing import Timed, WrongAnswer, check, joined, take_turns
from conformance.implementations import spelled
from conformance.results import Benchmark
from conformance.trial import Place

__all__ = ["Uncontended"]


@dataclass(frozen=True)
class _Life:
    """What was timed in turns of the coordinators of one life.

    ``others`` are those beside, of which ``reasons`` tell why one has no figures.
    """

    subject: Timed
    floor: Timed | None
    others: dict[str, Timed]
    reasons: dict[str, str]


class Uncontended:
    """Measures a call of each implementation, and records what came of it.

    A context manager, which stops the coordinators of the implementation under test.

    :param place: where the benchmark runs, with the driver under test
    :param test: the test's id
    :param effort: how much to measure
    :param benchmark: pytest-benchmark's fixture; it measures the call under test a second
        time, its own way, for its own table and options
    :param record: keeps a result
    """

    def __init__(
        self,
        *,
        place: Place,
        beside: Beside,
        test: str,
        run_id: str,
        run_directory: Path,
        effort: Effort,
        benchmark: Any,
        record: Callable[[Benchmark], None],
    ) -> None:
        self._place = place
        self._beside = beside
        self._test = test
        self._run_id = run_id
        self._run_directory = run_directory
        self._effort = effort
        self._benchmark = benchmark
        self._record = record
        self._side = Side(place)
        self._unused = True

    def __enter__(self) -> Uncontended:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._unused:  # pytest-benchmark makes it an error not to use its fixture
            self._benchmark.skipped = True
        self._side.stop()

    def measure(self, prepare: Prepare) -> None:
        """Time the call of each implementation in turns with the floor; record the results.

        :param prepare: makes the call of one implementation
        :raises Exception: what the call under test, or its floor, failed with; a call that
            did not do what it is timed for is recorded too
        """
        call = prepare(self._side)
        self._unused = False
        try:
            check(call, self._benchmark(call.run))
        except WrongAnswer as error:
            self._record(self._invalid(self._place.driver.implementation, call.what, error))
            raise
        if self._benchmark.enabled:
            self._in_turns(prepare)

    def _in_turns(self, prepare: Prepare) -> None:
        beside: Beside = self._beside
        lives: list[_Life] = []
        for _ in range(self._effort.lives):
            lives.append(self._live(prepare, beside))
            beside = {**beside, **lives[-1].reasons}
            if lives[-1].subject.failed is not None:
                break
        subject = joined([life.subject for life in lives])
        floors = [life.floor for life in lives if life.floor is not None]
        least = joined(floors) if floors else None
        if least is not None and least.failed is not None:
            raise least.failed
        ours = self._result(self._place.driver.implementation, subject, least)
        self._record(ours)
        for name, reason in beside.items():
            if isinstance(reason, str):
                self._record(self._invalid(name, subject.what, reason))
            else:
                theirs = self._result(name, joined([life.others[name] for life in lives]), least)
                self._record(relative_to(ours, theirs, "call"))
        if subject.failed is not None:
            raise subject.failed

    def _live(self, prepare: Prepare, beside: Beside) -> _Life:
        """Time the calls of new coordinators in turns with their floor."""
        place = self._place
        with Side(place) as side, open_floors(place.backend, place.url, self._run_id) as floors:
            call, others = prepare(side), Others(beside, prepare)
            floor = [floors[call.what]] if call.what in floors else []
            calls = [call, *floor, *others.calls.values()]
            subject, *timed = take_turns(calls, self._effort.of_one_life)
            others.stop()
        least = timed.pop(0) if floor else None
        by_name = dict(zip(others.calls, timed, strict=True))
        failed = {name: spelled(its.failed) for name, its in by_name.items() if its.failed}
        return _Life(subject, least, by_name, others.reasons | failed)

    def _result(self, implementation: str, timed: Timed, least: Timed | None) -> Benchmark:
        if timed.failed is not None:
            return self._invalid(implementation, timed.what, timed.failed)
        samples = {"call": timed.samples}
        if least is not None:
            samples["floor"] = least.samples
        name = f"{timed.what} {self._place.backend} {self._place.level} {implementation}"
        return self._benchmark_of(
            implementation,
            timed.what,
            times={"call": measure(timed.samples)},
            floor=None if least is None else float(np.median(least.samples)),
            floor_what=None if least is None else least.what,
            ratio=None if least is None else _ratio(timed.samples, least.samples),
            samples={
                kind: save_samples(its, self._run_directory, f"{name} {kind}")
                for kind, its in samples.items()
            },
            operations=timed.samples.size,
        )

    def _invalid(self, implementation: str, what: str, why: Exception | str) -> Benchmark:
        reason = why if isinstance(why, str) else spelled(why)
        return self._benchmark_of(implementation, what, invalid=reason)

    def _benchmark_of(self, implementation: str, what: str, **measured: Any) -> Benchmark:
        return Benchmark(
            test=self._test,
            what=what,
            backend=self._place.backend,
            level=self._place.level,
            implementation=implementation,
            **measured,
        )


def _ratio(samples: Samples, floor: Samples) -> float:
    """Return the median of samples over that of the floor's."""
    return float(np.median(samples) / np.median(floor))
