"""Calls of a lone caller, each beside the least that the medium must do for it.

Each benchmark says how its call is prepared, for the implementation under test and for
those that stand beside it.

The calls are made in the process of the tests, one after the other. Those on groups
include the way to the coordinator's own thread and back, which the API asks for.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator
from typing import Any

import pytest

from conformance.benchmarks.efforts import EFFORTS
from conformance.benchmarks.floors import ACQUIRE_RELEASE, GET_MEMBERS, JOIN_LEAVE, REFUSED
from conformance.benchmarks.sides import Beside, Side
from conformance.benchmarks.timing import Call, WrongAnswer
from conformance.benchmarks.uncontended import Uncontended
from conformance.characteristics import Feature
from conformance.gate import Settings
from conformance.results import Benchmark
from conformance.trial import Place

MEMBERS = 8
"""How many are in the group whose members are asked for."""

locks = pytest.mark.scenario("speed", needs=(Feature.LOCKS,), levels=("threads",))
groups = pytest.mark.scenario("speed", needs=(Feature.GROUPS,), levels=("threads",))


@pytest.fixture
def uncontended(
    request: pytest.FixtureRequest,
    place: Place,
    beside: Beside,
    settings: Settings,
    benchmark: Any,
    record_benchmark: Callable[[Benchmark], None],
) -> Iterator[Uncontended]:
    """Give what a benchmark measures with."""
    with Uncontended(
        place=place,
        beside=beside,
        test=f"{request.node.path.stem}::{request.node.name}",
        run_id=settings.run_id,
        run_directory=settings.run_directory,
        effort=EFFORTS[settings.profile],
        benchmark=benchmark,
        record=record_benchmark,
    ) as uncontended:
        yield uncontended


@locks
def test_acquire_and_release(uncontended: Uncontended) -> None:
    """Acquire a free lock and release it."""

    def prepare(side: Side) -> Call:
        lock = side.coordinator("alone").get_lock(side.name("lock"))
        return Call(ACQUIRE_RELEASE, lambda: lock.acquire() and lock.release(), True)

    uncontended.measure(prepare)


@locks
def test_refused_try(uncontended: Uncontended) -> None:
    """Try to acquire a lock that another coordinator holds, without waiting."""

    def prepare(side: Side) -> Call:
        name = side.name("lock")
        held = side.coordinator("holder").get_lock(name)
        if not held.acquire(blocking=False):
            raise WrongAnswer("a new lock was not to be had")
        lock = side.coordinator("other").get_lock(name)
        return Call(REFUSED, lambda: lock.acquire(blocking=False), False)

    uncontended.measure(prepare)


@groups
def test_join_and_leave(uncontended: Uncontended) -> None:
    """Join a group that nobody is in, and leave it."""

    def prepare(side: Side) -> Call:
        group = side.name("group")
        coordinator = side.coordinator("member")
        coordinator.create_group(group).get()

        def join_and_leave() -> None:
            coordinator.join_group(group).get()
            coordinator.leave_group(group).get()

        return Call(JOIN_LEAVE, join_and_leave)

    uncontended.measure(prepare)


@groups
def test_get_members(uncontended: Uncontended) -> None:
    """List the members of a group of eight."""

    def prepare(side: Side) -> Call:
        group = side.name("group")
        coordinators = [side.coordinator(f"member-{number}") for number in range(MEMBERS)]
        coordinators[0].create_group(group).get()
        for coordinator in coordinators:
            coordinator.join_group(group).get()
        names = {side.name(f"member-{number}") for number in range(MEMBERS)}
        return Call(GET_MEMBERS, lambda: coordinators[0].get_members(group).get(), names)

    uncontended.measure(prepare)
