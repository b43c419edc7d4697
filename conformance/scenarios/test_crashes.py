"""Crashes: a client that is killed in the middle of anything harms nobody else."""

from __future__ import annotations

from collections.abc import Set

import pytest
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from conformance.characteristics import Characteristics, Feature
from conformance.checkers.exercise import contended_grants, succeeded
from conformance.history import History, Operation, lane
from conformance.scenarios import judges
from conformance.scenarios.patience import perform_until_held
from conformance.trial import Judge, Least, Steering, Trial
from conformance.verdict import Finding, Verdict
from conformance.workload.plan import Phase, Plan, PlannedFault, Step, long_after
from conformance.workload.runner import Session
from conformance.workload.strategies import (
    GROUPS,
    LOCKS,
    exclusive_cycles,
    group_steps,
    leader_steps,
    numbered,
)

pytestmark = pytest.mark.scenario("crashes", levels=("processes",))

LOCK = LOCKS[0]
GROUP = GROUPS[0]

_BUSY = 50
"""How many times a script is repeated, so that a kill hits it somewhere inside."""


_TIMEOUT = 2.0
"""The driver's time-out, in seconds: long for one exchange with a server, short to outwait."""


def _trials(trial: Trial) -> int:
    """Return how many plans: each costs a process."""
    return max(3, trial.profile.trials // 2)


def _kills(history: History) -> int:
    return sum(fault.kind == "kill" for fault in history.faults)


def _crowds() -> SearchStrategy[dict[int, int]]:
    """Draw clients, of whom the first is killed and at least two survive."""
    return st.integers(3, 5).map(lambda count: {client: client for client in range(count)})


def _moments() -> SearchStrategy[float]:
    """Draw when the kill comes, in seconds from the beginning of the phase."""
    return st.integers(20, 500).map(lambda number: number / 10_000)


def _timeout(trial: Trial) -> float:
    """Return the driver's time-out: where a hold lasts that long, survivors outwait it."""
    return max(_TIMEOUT, trial.place.driver.least_timeout)


def _take(trial: Trial, lock: bytes) -> list[Step]:
    """Return how a survivor takes a lock and gives it back."""
    return [Step("acquire", lock, {"blocking": long_after(_timeout(trial))}), Step("release", lock)]


def _locks(trial: Trial) -> Judge:
    """Return a judge of locks whose holders' hearts may have been too slow to keep them."""
    return judges.unless_expired(trial.place.driver, _timeout(trial), judges.locks)


def _recovered(trial: Trial, judge: Judge) -> Judge:
    """Return a judge that also wants the survivors' last calls to have succeeded."""
    return judges.all_of(judge, _last_calls(trial))


def _patiently(trial: Trial) -> Steering:
    """Return what carries out a plan, and its last phase again until all is well.

    A server learns of a death a moment later, and on a busy machine a call may time out.
    """
    last_calls = _last_calls(trial)

    def carry_out(session: Session, plan: Plan) -> None:
        *before, last = plan.phases
        session.perform_all(before)
        perform_until_held(session, last, lambda: last_calls(session.history()))

    return carry_out


def _last_calls(trial: Trial) -> Judge:
    """Return a judge of the survivors' last calls.

    Locks are free by then, and where nothing rests on time-outs, so is all that the dead had.
    """
    at_once = Characteristics.NON_TIMEOUT_BASED in trial.place.driver.claims

    def last_calls(history: History) -> Finding:
        killed = {fault.client for fault in history.faults}
        survivors = [o for o in history.operations if lane(o.client) not in killed]
        for operation in {lane(o.client): o for o in survivors}.values():
            if operation.is_info:
                return _broken("a call failed", operation)
        for operation in {(lane(o.client), o.name, o.target): o for o in survivors}.values():
            if operation.name == "acquire" and operation.value is False:
                return _broken("a lock is not free", operation)
            if at_once and _has_dead(operation, killed):
                return _broken("what a dead client had is not free", operation)
        return judges.held("recovery")

    return last_calls


def _has_dead(operation: Operation, killed: Set[int | None]) -> bool:
    """Whether a dead client leads or is a member."""
    dead = {f"m{client}".encode() for client in killed}
    if operation.name == "get_leader":
        return operation.value in dead
    looked = operation.name == "get_members_with_capabilities" and operation.is_ok
    return looked and not dead.isdisjoint(operation.value)


def _broken(what: str, operation: Operation) -> Finding:
    reason = f"long after the kill, {what}: {operation}"
    return Finding(Verdict.FALSIFIED, "recovery", reason, [operation])


@pytest.mark.scenario("crashes", needs=(Feature.LOCKS,), levels=("processes",))
def test_a_killed_contender_harms_no_lock(trial: Trial) -> None:
    """A lock stays exclusive, and becomes free, when a contender is killed anywhere."""

    @st.composite
    def kill_one(draw: st.DrawFn) -> Plan:
        crowd = draw(_crowds())
        scripts = {client: draw(exclusive_cycles(trial.profile.steps)) for client in crowd}
        name = draw(st.sampled_from(LOCKS))
        scripts = {client: script + _take(trial, name) for client, script in scripts.items()}
        holding = [Step("acquire", name), Step("idle", b"", {"seconds": 1.0})]
        scripts[0] = draw(st.sampled_from([holding, holding, scripts[0] * _BUSY]))
        after = [*_take(trial, LOCKS[0]), *_take(trial, LOCKS[1])]
        return Plan(
            crowd,
            [
                Phase(scripts, [PlannedFault("kill", 0, at=draw(_moments()))]),
                Phase({client: after for client in crowd if client}),
            ],
            options={"timeout": _timeout(trial)},
            patience=5 * long_after(_timeout(trial)),
        )

    trial.explore(
        kill_one(),
        _recovered(trial, _locks(trial)),
        least=[
            Least("kills", _trials(trial), _kills),
            Least("contended grants", _trials(trial), contended_grants),
        ],
        trials=_trials(trial),
        steering=_patiently(trial),
    )


@pytest.mark.scenario("crashes", needs=(Feature.LOCKS,), levels=("processes",))
def test_a_killed_waiter_is_not_waited_for(trial: Trial) -> None:
    """A client that is killed while it waits for a lock does not get it."""

    @st.composite
    def kill_waiters(draw: st.DrawFn) -> Plan:
        waiters = draw(st.integers(1, 3))
        wait = [Step("acquire", LOCK, {"blocking": 20.0})]
        kills = [PlannedFault("kill", n, at=0.05) for n in range(2, 2 + waiters)]
        return Plan(
            {client: client for client in range(2 + waiters)},
            [
                Phase({0: [Step("acquire", LOCK, {"blocking": False})]}),
                Phase(
                    {0: [Step("idle", b"", {"seconds": 0.1})]}
                    | dict.fromkeys(range(2, 2 + waiters), wait),
                    kills,
                ),
                Phase({0: [Step("release", LOCK)]}),
                Phase({1: _take(trial, LOCK)}),
            ],
            options={"timeout": _timeout(trial)},
        )

    trial.explore(
        kill_waiters(),
        _recovered(trial, _locks(trial)),
        least=[Least("kills", 3, _kills)],
        trials=_trials(trial),
        steering=_patiently(trial),
    )


@pytest.mark.scenario("crashes", needs=(Feature.GROUPS,), levels=("processes",))
def test_a_killed_member_tears_no_group(trial: Trial) -> None:
    """Groups are never seen half-written, and are free of a member that was killed."""

    @st.composite
    def kill_one(draw: st.DrawFn) -> Plan:
        crowd = draw(_crowds())
        looks = [Step("get_members_with_capabilities", name) for name in GROUPS]
        watching = draw(st.booleans())  # then nobody is in the way of who is killed
        scripts = {
            client: looks * 8 if watching else draw(group_steps(client, 8)) for client in crowd
        }
        writes = ["join_group", "update_capabilities", "update_capabilities", "leave_group"]
        life = [Step(name, GROUP) for name in writes]
        busy = draw(st.sampled_from([life, draw(group_steps(0, 8))])) * _BUSY
        scripts[0] = numbered(0, busy)
        at = draw(_moments())
        return Plan(
            crowd,
            [
                Phase({0: [Step("create_group", name) for name in GROUPS]}),
                Phase(scripts, [PlannedFault("kill", 0, at=at)]),
                Phase({client: [*looks, Step("get_groups")] for client in crowd if client}),
            ],
        )

    trial.explore(
        kill_one(),
        _recovered(trial, judges.groups(trial)),
        least=[
            Least("kills", _trials(trial), _kills),
            Least("successful operations", 10 * _trials(trial), succeeded),
        ],
        trials=_trials(trial),
        steering=_patiently(trial),
    )


@pytest.mark.scenario("crashes", needs=(Feature.LEADERSHIP,), levels=("processes",))
def test_a_killed_candidate_harms_no_election(trial: Trial) -> None:
    """There is one leader at a time, and one can be had, when a candidate is killed."""

    @st.composite
    def kill_one(draw: st.DrawFn) -> Plan:
        crowd = draw(_crowds())
        down = Step("stand_down", GROUP)
        scripts = {client: [*draw(leader_steps(8)), down] for client in crowd}
        led = [Step("idle", b"", {"seconds": 1.0})]
        scripts[0] = led if draw(st.booleans()) else scripts[0] * _BUSY
        at = draw(_moments())
        after = [Step("campaign", GROUP, pause=0.05), Step("get_leader", GROUP)] * 3
        return Plan(
            crowd,
            [
                Phase({0: [Step("campaign", GROUP)]}),
                Phase(scripts, [PlannedFault("kill", 0, at=at)]),
                Phase({client: after for client in crowd if client}),
            ],
        )

    trial.explore(
        kill_one(),
        _recovered(trial, judges.leadership),
        least=[Least("kills", _trials(trial), _kills)],
        trials=_trials(trial),
        steering=_patiently(trial),
    )
