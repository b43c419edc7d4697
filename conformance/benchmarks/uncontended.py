"""What a lone caller measures: one call of a driver beside its floor, into one result."""

from __future__ import annotations

import secrets
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from conformance.benchmarks.distribution import measure, save_samples
from conformance.benchmarks.efforts import Effort
from conformance.benchmarks.floors import open_floors
from conformance.benchmarks.timing import Call, WrongAnswer, check, take_turns
from conformance.coordination import Coordinator
from conformance.implementations import find_factory
from conformance.results import Benchmark
from conformance.trial import Place

__all__ = ["Uncontended"]


class Uncontended:
    """Gives coordinators to measure, measures, and records what came of it.

    A context manager, which stops the coordinators.

    :param test: the test's id
    :param effort: how much to measure
    :param benchmark: pytest-benchmark's fixture; it measures the same call a second time,
        its own way, for its own table and options
    :param record: keeps the result
    """

    def __init__(
        self,
        *,
        place: Place,
        test: str,
        run_id: str,
        run_directory: Path,
        effort: Effort,
        benchmark: Any,
        record: Callable[[Benchmark], None],
    ) -> None:
        self._place = place
        self._test = test
        self._run_id = run_id
        self._run_directory = run_directory
        self._effort = effort
        self._benchmark = benchmark
        self._record = record
        self._started = ExitStack()
        self._mark = secrets.token_hex(4)
        self._unused = True

    def __enter__(self) -> Uncontended:
        return self

    def __exit__(self, *exception: object) -> None:
        if self._unused:  # pytest-benchmark makes it an error not to use its fixture
            self._benchmark.skipped = True
        self._started.close()

    def name(self, name: str) -> bytes:
        """Return the name of a lock, group or member that is nobody else's."""
        return f"{self._mark}-{name}".encode()

    def coordinator(self, member: str) -> Coordinator:
        """Return a started coordinator, which is stopped at the end."""
        make = find_factory(self._place.driver.implementation)
        coordinator = make(self._place.url, self.name(member))
        coordinator.start(start_heart=True)
        self._started.callback(coordinator.stop)
        return coordinator

    def measure(self, call: Call) -> None:
        """Time a call and its floor, and record the result.

        :raises WrongAnswer: it did not do what it is timed for; that is recorded too
        """
        try:
            measured = self._timed(call) if self._benchmark.enabled else None
            self._unused = False
            check(call, self._benchmark(call.run))
        except WrongAnswer as error:
            self._record(self._result(call, invalid=str(error)))
            raise
        if measured is not None:
            self._record(measured)

    def _timed(self, call: Call) -> Benchmark:
        place = self._place
        with open_floors(place.backend, place.url, self._run_id) as floors:
            floor = floors.get(call.what)
            timed = take_turns(call, floor, self._effort)
        samples = {"call": timed.subject} | (
            {"floor": timed.floor} if timed.floor is not None else {}
        )
        name = f"{call.what} {place.backend} {place.level}"
        return self._result(
            call,
            times={"call": measure(timed.subject)},
            floor=None if timed.floor is None else measure(timed.floor).median,
            floor_what=None if floor is None else floor.what,
            ratio=timed.ratio,
            samples={
                kind: save_samples(its, self._run_directory, f"{name} {kind}")
                for kind, its in samples.items()
            },
            operations=timed.subject.size,
        )

    def _result(self, call: Call, **measured: Any) -> Benchmark:
        return Benchmark(
            test=self._test,
            what=call.what,
            backend=self._place.backend,
            level=self._place.level,
            **measured,
        )
