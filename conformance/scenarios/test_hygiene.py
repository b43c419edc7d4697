"""Hygiene: ``stop()`` gives everything back, and leaves nothing behind."""

from __future__ import annotations

import secrets

import msgspec
import pytest
from hypothesis import strategies as st

from conformance.backends import Backend, known_backends
from conformance.characteristics import Feature
from conformance.checkers.exercise import succeeded
from conformance.history import History
from conformance.scenarios import judges
from conformance.trial import Least, Trial
from conformance.workload.plan import Phase, Plan, Step
from conformance.workload.strategies import GROUPS

pytestmark = pytest.mark.scenario("hygiene")

LOCK = b"lock-a"
GROUP = GROUPS[0]


@pytest.mark.scenario("hygiene", needs=(Feature.LOCKS,))
def test_stopping_gives_everything_back(trial: Trial) -> None:
    """After ``stop()`` the locks are free, the member is gone and the leader is none."""
    hold = [
        Step("acquire", LOCK, {"blocking": False}),
        Step("join_group", GROUP, {"capabilities": "here"}),
        Step("campaign", GROUP),
    ]
    look = [
        Step("acquire", LOCK, {"blocking": False}),
        Step("release", LOCK),
        Step("get_members", GROUP),
        Step("get_leader", GROUP),
        Step("campaign", GROUP),
        Step("delete_group", GROUP),
    ]
    again = [Step("is_started"), Step("start"), *look[:2]]

    @st.composite
    def stopping(draw: st.DrawFn) -> Plan:
        held = draw(st.permutations(hold))
        held = held[: draw(st.integers(1, len(held)))]
        return Plan(
            {0: 0, 1: 1},
            [
                Phase({0: [Step("create_group", GROUP), *held]}),
                Phase({0: [Step("stop")]}),
                Phase({1: look}),
                Phase({0: again}),
            ],
        )

    trial.explore(
        stopping(),
        judges.all_of(judges.locks, judges.leadership, judges.groups(trial)),
        least=[Least("successful operations", 6 * trial.profile.trials, succeeded)],
    )


@pytest.mark.scenario("hygiene", needs=(Feature.LOCKS,), levels=("threads",))
def test_stopping_ends_a_wait(trial: Trial) -> None:
    """``stop()`` returns while another thread waits for a lock, and the wait ends."""
    for wait in (True, 20.0):
        plan = Plan(
            {0: 0, 1: 1, 2: 1},
            [
                Phase({0: [Step("acquire", LOCK, {"blocking": False})]}),
                Phase(
                    {
                        1: [Step("acquire", LOCK, {"blocking": wait})],
                        2: [Step("stop", pause=0.05)],
                    }
                ),
                Phase({0: [Step("is_still_owner", LOCK), Step("release", LOCK)]}),
            ],
            patience=15.0,
        )
        history = trial.run(plan)
        stuck = [operation for operation in history.operations if operation.end is None]
        trial.require(
            not stuck,
            "stop",
            "stop() did not return, or a wait for a lock went on after it",
            history,
            plan,
        )


def test_starting_and_stopping_leaves_nothing(trial: Trial) -> None:
    """Threads, descriptors and stored things do not grow with starts and stops."""
    backend = known_backends().get(trial.place.backend)
    if backend is not None:
        private = backend.private(trial.place.url, secrets.token_hex(4))
        trial.place = msgspec.structs.replace(trial.place, url=private)
    times = {"smoke": 5, "gate": 20}.get(trial.profile.name, 200)
    plan = Plan(
        {0: 0, 1: 1},
        [
            Phase({client: _lives(3) for client in (0, 1)}),
            Phase({0: [Step("measure")]}),
            Phase({client: _lives(times) for client in (0, 1)}),
            Phase({0: [Step("measure")]}),
        ],
        patience=120.0,
    )
    history = trial.run(plan)
    before, after = (operation.value for operation in history.only("measure"))
    for what in before:
        trial.require(
            after[what] <= before[what],
            "growth",
            f"{after[what]} {what} after {times} starts and stops, {before[what]} before them",
            history,
            plan,
        )
    _check_residue(trial, backend, history, plan)


def _lives(times: int) -> list[Step]:
    """Return that many lives of a coordinator, each with all that it can hold."""
    life = [
        Step("acquire", LOCK, {"blocking": True}),
        Step("release", LOCK),
        Step("join_group_create", GROUP, {"capabilities": "here"}),
        Step("campaign", GROUP),
        Step("stop"),
        Step("start"),
    ]
    return life * times


def _check_residue(trial: Trial, backend: Backend | None, history: History, plan: Plan) -> None:
    """Falsify when something is stored although every coordinator was stopped.

    Groups outlive their members, so what counts is that nothing is added.
    """
    if backend is None or backend.residue is None:
        return
    last = Plan({0: 0}, [Phase({0: [Step("acquire", LOCK), Step("release", LOCK)]})])
    trial.run(last)
    held = backend.residue(trial.place.url)
    for _ in range(3):
        trial.run(last)
    left = backend.residue(trial.place.url)
    trial.require(
        left <= held,
        "residue",
        f"{left} things are stored after more starts and stops, {held} before them",
        history,
        plan,
    )
