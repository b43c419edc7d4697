"""Pitfalls of drivers: loss behind the holder's back, fork, and stopping with a hold."""

from __future__ import annotations

import pytest
from hypothesis import strategies as st

from conformance.characteristics import Feature
from conformance.checkers.exercise import succeeded
from conformance.history import History
from conformance.scenarios import judges
from conformance.trial import Least, Trial
from conformance.verdict import Finding, Verdict
from conformance.workload.plan import Phase, Plan, PlannedFault, Step, long_after

pytestmark = pytest.mark.scenario("truth after loss")

LOCK = b"lock-a"


@pytest.mark.scenario("truth after loss", needs=(Feature.LOCKS, Feature.BREAKING))
def test_a_broken_lock_is_known_to_be_lost(trial: Trial) -> None:
    """A holder whose lock was broken is told so, harms no one, and can start afresh."""

    @st.composite
    def break_it(draw: st.DrawFn) -> Plan:
        questions = draw(
            st.lists(st.sampled_from(["is_still_owner", "acquired", "lock_heartbeat"]), max_size=3)
        )
        doubts = [Step("is_still_owner", LOCK), *(Step(name, LOCK) for name in questions)]
        taken = draw(st.booleans())
        take = [Step("acquire", LOCK, {"blocking": False})] if taken else []
        own = [Step("is_still_owner", LOCK), Step("release", LOCK)] if taken else []
        return Plan(
            {0: 0, 1: 1},
            [
                Phase({0: [Step("acquire", LOCK, {"blocking": False}), *doubts]}),
                Phase({1: [Step("break_", LOCK), *take]}),
                Phase({0: [*doubts, Step("release", LOCK), *doubts]}),
                Phase({1: own}),
                Phase({0: [Step("acquire", LOCK, {"blocking": False}), *doubts]}),
                Phase({1: [Step("acquire", LOCK, {"blocking": False})]}),
                Phase({0: [Step("release", LOCK), Step("break_", LOCK)]}),
            ],
        )

    trial.explore(
        break_it(),
        judges.locks,
        least=[Least("successful operations", 7 * trial.profile.trials, succeeded)],
    )


@pytest.mark.scenario("fork", needs=(Feature.LOCKS,), levels=("processes",))
def test_a_forked_child_does_not_hold(trial: Trial) -> None:
    """A child knows that it holds nothing, and ending it does not release its parent's."""
    plan = Plan(
        {0: 0, 1: 1},
        [
            Phase({0: [Step("acquire", LOCK), _fork(trial, linger=0.0)]}),
            Phase({0: [Step("idle", b"", {"seconds": 0.1})]}),
            Phase({1: [Step("acquire", LOCK, {"blocking": False})]}),
            Phase({0: [Step("is_still_owner", LOCK), Step("release", LOCK)]}),
            Phase({1: [Step("acquire", LOCK, {"blocking": False}), Step("release", LOCK)]}),
        ],
    )
    for _ in range(3):
        history = trial.run(plan)
        trial.conclude(history, judges.all_of(judges.locks, _child_knows), plan)


@pytest.mark.scenario("fork", needs=(Feature.LOCKS,), levels=("processes",))
def test_a_forked_child_does_not_keep_a_dead_parents_lock(trial: Trial) -> None:
    """A holder that is killed frees its lock even while a child that it forked lives on."""
    timeout = max(2.0, trial.place.driver.least_timeout)
    wait = long_after(timeout)
    plan = Plan(
        {0: 0, 1: 1},
        [
            Phase({0: [Step("acquire", LOCK), _fork(trial, linger=wait + 2)]}),
            Phase(
                {1: [Step("acquire", LOCK, {"blocking": wait}), Step("release", LOCK)]},
                [PlannedFault("kill", 0, at=0.02)],
            ),
        ],
        options={"timeout": timeout},
    )
    history = trial.run(plan)
    locks = judges.unless_expired(trial.place.driver, timeout, judges.locks)
    trial.conclude(history, judges.all_of(locks, _survivor_got_it), plan)


def _fork(trial: Trial, linger: float) -> Step:
    """Return a fork whose child says what it holds, where the driver can say so."""
    asked = sorted({"acquired"} - trial.place.driver.lacks)
    return Step("fork", LOCK, {"linger": linger, "asked": asked})


def _child_knows(history: History) -> Finding:
    for operation in history.only("fork"):
        if operation.is_ok and any(operation.value.values()):
            return Finding(
                Verdict.FALSIFIED,
                "fork",
                f"a forked child believes of its parent's: {operation.value}",
                [operation],
            )
    return judges.held("fork")


def _survivor_got_it(history: History) -> Finding:
    granted = [o for o in history.only("acquire") if o.client == 1 and o.value is True]
    if granted:
        return judges.held("fork")
    return Finding(
        Verdict.FALSIFIED,
        "fork",
        "a killed holder's lock was not free while a child that it had forked lived",
        history.only("acquire"),
    )
