"""Locks under contention: exclusive, shared, free when they are free, and for everyone."""

from __future__ import annotations

import pytest
from hypothesis import strategies as st

from conformance.characteristics import Feature
from conformance.checkers.exercise import broken, contended_grants, crossings, refusals
from conformance.history import History, Operation
from conformance.scenarios import judges
from conformance.trial import Least, Trial
from conformance.verdict import Finding, Verdict
from conformance.workload.plan import Phase, Plan, Step
from conformance.workload.strategies import (
    exclusive_cycles,
    object_questions,
    object_steps,
    plans,
    shared_cycles,
)

LOCK = b"lock-a"

pytestmark = pytest.mark.scenario("level", needs=(Feature.LOCKS,))


def test_lock_is_exclusive(trial: Trial) -> None:
    """At most one client holds a lock at a time, and a free lock can be taken."""
    for sharing in trial.sharings:
        trial.explore(
            plans(trial.crowd(sharing), lambda client: exclusive_cycles(trial.profile.steps)),
            judges.locks,
            least=[
                Least("contended grants", trial.profile.trials // 2, contended_grants),
                Least("refusals", trial.profile.trials // 4, refusals),
            ],
        )


@pytest.mark.scenario("level", needs=(Feature.LOCKS, Feature.SHARED_LOCKS))
def test_shared_holds_exclude_exclusive_ones(trial: Trial) -> None:
    """Several clients may hold a lock shared, or one exclusively, never both."""
    for sharing in trial.sharings:
        trial.explore(
            plans(trial.crowd(sharing), lambda client: shared_cycles(trial.profile.steps)),
            judges.locks,
            least=[
                Least("contended grants", trial.profile.trials // 3, contended_grants),
                Least("shared holds side by side", trial.profile.trials // 4, _side_by_side),
            ],
        )


@pytest.mark.scenario("level", needs=(Feature.LOCKS,), levels=("threads",))
def test_threads_may_share_one_lock_object(trial: Trial) -> None:
    """Threads that share one lock object hold it one after the other."""

    # A thread releases only after its own acquire returned True, which the plan cannot
    # know: so each thread waits without end, and then releases.
    def script(client: int) -> st.SearchStrategy[list[Step]]:
        once = [
            Step("acquire", LOCK, {"blocking": True, "object": 1}),
            Step("acquire", LOCK, {"blocking": False, "object": 1}),
            Step("acquired", LOCK, {"object": 1}),
            Step("release", LOCK, {"object": 1}, pause=0.0005),
        ]
        return st.integers(2, 5).map(lambda times: once * times)

    trial.explore(
        plans(trial.crowd(sharing=True), script),
        judges.locks,
        least=[Least("contended grants", trial.profile.trials, contended_grants)],
    )


@pytest.mark.scenario("level", needs=(Feature.LOCKS,), levels=("threads",))
def test_threads_mix_calls_on_one_lock_object(trial: Trial) -> None:
    """A hold of an object that threads share ends by a call made during it, and no other."""
    # One more client, with a coordinator of its own, gets what is given away by mistake, and
    # breaks what the object holds while its threads ask for it.
    crowd = trial.crowd(sharing=True, most=5).map(lambda threads: {**threads, len(threads): 1})
    hold = Phase({0: [Step("acquire", LOCK, {"blocking": True, "object": 1})]})
    breaking = [
        Step("break_", LOCK, pause=0.0005),
        Step("acquire", LOCK, {"blocking": 0.002}),
        Step("is_still_owner", LOCK),
        Step("release", LOCK),
    ]

    @st.composite
    def mixed(draw: st.DrawFn) -> Plan:
        coordinators = draw(crowd)
        threads = range(len(coordinators) - 1)
        steps = trial.profile.steps
        scripts = {thread: draw(object_steps(steps, 1)) for thread in threads}
        phases = [Phase({**scripts, len(threads): draw(object_steps(steps, None))})]
        for _ in range(2):
            scripts = {thread: draw(object_questions(1)) for thread in threads}
            phases += [hold, Phase({**scripts, len(threads): breaking})]
        return Plan(coordinators, phases)

    trials = trial.profile.trials
    least = [
        Least("contended grants", trials, contended_grants),
        Least("calls beside one that gives a hold up", trials, crossings),
    ]
    if Feature.BREAKING in trial.place.driver.features:
        least.append(Least("holds broken", trials // 8, broken))
    trial.explore(mixed(), judges.locks, least=least)


def test_a_held_lock_is_refused_in_time(trial: Trial) -> None:
    """A try or a timed wait for a held lock returns False, no earlier than it was told."""
    waits = st.sampled_from([False, 0.0, 0.01, 0.05, 0.2])

    def script(client: int) -> st.SearchStrategy[list[Step]]:
        return st.lists(waits, min_size=1, max_size=3).map(
            lambda wanted: [Step("acquire", LOCK, {"blocking": w}) for w in wanted]
        )

    @st.composite
    def held_throughout(draw: st.DrawFn) -> Plan:
        crowd = draw(trial.crowd(False, most=4))
        scripts = {client: draw(script(client)) for client in crowd if client}
        return Plan(
            crowd,
            [
                Phase({0: [Step("acquire", LOCK, {"blocking": False})]}),
                Phase(scripts),
                Phase({0: [Step("is_still_owner", LOCK), Step("release", LOCK)]}),
            ],
            patience=2 * _LATE,
        )

    trial.explore(
        held_throughout(),
        judges.all_of(judges.locks, _returns_in_time),
        least=[Least("refusals", trial.profile.trials, refusals)],
    )


def test_asking_again_changes_nothing(trial: Trial) -> None:
    """A holder that asks again is refused, still holds, and its release frees the lock."""

    @st.composite
    def ask_again(draw: st.DrawFn) -> Plan:
        again = draw(st.lists(st.sampled_from([False, 0.01]), min_size=1, max_size=3))
        held = [Step("acquire", LOCK, {"blocking": False})]
        for waiting in again:
            held += [Step("acquire", LOCK, {"blocking": waiting}), Step("is_still_owner", LOCK)]
        held.append(Step("acquired", LOCK))
        return Plan(
            {0: 0, 1: 0 if draw(st.booleans()) and trial.place.level == "threads" else 1},
            [
                Phase({0: held}),
                Phase({1: [Step("acquire", LOCK, {"blocking": False})]}),
                Phase({0: [Step("release", LOCK), Step("acquired", LOCK), Step("release", LOCK)]}),
                Phase({1: [Step("acquire", LOCK, {"blocking": False}), Step("release", LOCK)]}),
            ],
        )

    trial.explore(ask_again(), judges.locks, least=[Least("refusals", 4, refusals)])


def test_only_the_holder_releases(trial: Trial) -> None:
    """Releasing a lock that another holds returns False and does not free it."""

    @st.composite
    def strangers(draw: st.DrawFn) -> Plan:
        crowd = draw(trial.crowd(draw(st.sampled_from(trial.sharings)), most=4))
        waiting = draw(st.sampled_from([False, 0.01]))
        meddling = [
            Step("release", LOCK),
            Step("acquire", LOCK, {"blocking": waiting}),
            Step("release", LOCK),
            Step("acquired", LOCK),
            Step("is_still_owner", LOCK),
        ]
        return Plan(
            crowd,
            [
                Phase({0: [Step("acquire", LOCK, {"blocking": False})]}),
                Phase({client: meddling for client in crowd if client}),
                Phase({0: [Step("is_still_owner", LOCK), Step("release", LOCK)]}),
            ],
        )

    trial.explore(strangers(), judges.locks, least=[Least("refusals", 4, refusals)])


@pytest.mark.scenario("liveness", needs=(Feature.LOCKS,))
def test_nobody_starves(trial: Trial) -> None:
    """Whoever waits for a lock that changes hands gets it."""

    @st.composite
    def rush(draw: st.DrawFn) -> Plan:
        crowd = {client: client for client in range(draw(st.integers(3, 5)))}
        hold = draw(st.sampled_from([0.001, 0.003]))
        cycles = Step("cycle", LOCK, {"seconds": _RUSH, "hold": hold})
        return Plan(crowd, [Phase({client: [cycles] for client in crowd})])

    trial.explore(
        rush(),
        judges.all_of(judges.locks, judges.starvation),
        least=[Least("contended grants", 40, contended_grants)],
        trials=max(2, trial.profile.trials // 8),
    )


def _returns_in_time(history: History) -> Finding:
    """Falsified by a refusal long before, or absurdly long after, the time given."""
    for operation in history.only("acquire"):
        if operation.value is not False or operation.end is None:
            continue
        wanted = float(operation.arguments["blocking"])
        took = (operation.end - operation.call) / 1e9
        if not wanted - 0.005 <= took <= wanted + _LATE:
            return Finding(
                Verdict.FALSIFIED,
                "in time",
                f"told to wait {wanted:g} s, the call returned False after {took:.3f} s",
                [operation],
            )
    return judges.held("in time")


_RUSH = 1.5
"""Seconds for which clients take a lock in turns; who starves waits through most of it."""

_LATE = 5.0
"""Seconds by which a busy machine may delay a return; a call that hangs takes longer."""


def _side_by_side(history: History) -> int:
    """How many shared holds began while another client's shared hold lasted."""
    count = 0
    holders: dict[tuple[int, bytes], Operation] = {}
    for operation in sorted(history.operations, key=lambda o: o.end or 0):
        if operation.name == "release":
            holders.pop((operation.client, operation.target), None)
        elif operation.name == "acquire" and operation.value is True:
            if operation.arguments.get("shared"):
                count += any(
                    target == operation.target and other.arguments.get("shared")
                    for (_, target), other in holders.items()
                )
            holders[operation.client, operation.target] = operation
    return count
