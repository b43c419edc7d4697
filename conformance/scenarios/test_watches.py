"""Watches: joins, leaves and elections are reported once, in order, to who watches."""

from __future__ import annotations

import pytest
from hypothesis import strategies as st

from conformance.characteristics import Characteristics, Feature
from conformance.checkers.watches import check_watches
from conformance.history import History
from conformance.scenarios import judges
from conformance.scenarios.patience import perform_until_held
from conformance.trial import Least, Trial
from conformance.verdict import Finding, Verdict
from conformance.workload.plan import Phase, Plan, PlannedFault, Step, long_after
from conformance.workload.runner import Session
from conformance.workload.strategies import GROUPS

pytestmark = pytest.mark.scenario("watches", needs=(Feature.GROUPS, Feature.WATCHES))

GROUP = GROUPS[0]
NEIGHBOUR = GROUP + b"/x"
"""A group whose name begins like the watched one's."""

_RUN = Step("run_watchers")


def _reported(history: History) -> int:
    return sum(len(operation.value or ()) for operation in history.only("run_watchers"))


def _moves(group: bytes) -> st.SearchStrategy[list[Step]]:
    """Draw what a member does between two looks: come, go, come back, or both at once."""
    join = Step("join_group", group, {"capabilities": "here"})
    leave = Step("leave_group", group)
    return st.sampled_from([[join], [leave], [leave, join], [join, leave], []])


def test_every_lasting_change_is_reported_once(trial: Trial) -> None:
    """Watchers that look after every round of joins and leaves hear of each, once."""

    @st.composite
    def rounds(draw: st.DrawFn) -> Plan:
        crowd = draw(trial.crowd(False, most=5))
        crowd = {**crowd, len(crowd): len(crowd)}
        watchers = {0: [Step("watch", GROUP)], 1: [Step("watch", GROUP)]}
        members = [client for client in crowd if client > 0]
        phases = [
            Phase({0: [Step("create_group", GROUP), Step("create_group", NEIGHBOUR)]}),
            Phase({members[-1]: [Step("join_group", GROUP)]}),
            Phase(watchers),
        ]
        for _ in range(draw(st.integers(2, 5))):
            moves = {client: [*draw(_moves(GROUP)), *draw(_moves(NEIGHBOUR))] for client in members}
            phases.append(Phase(moves))
            phases.append(Phase({0: [_RUN], 1: [_RUN]}))
        phases.append(Phase({0: [_RUN, Step("unwatch", GROUP)]}))
        phases.append(Phase({members[-1]: draw(_moves(GROUP))}))
        phases.append(Phase({0: [_RUN], 1: [_RUN]}))
        return Plan(crowd, phases)

    trial.explore(
        rounds(),
        check_watches,
        least=[Least("reported events", 3 * trial.profile.trials, _reported)],
    )


def test_looking_while_members_come_and_go_is_consistent(trial: Trial) -> None:
    """Watchers that look at any time hear of joins and leaves in turn, and miss none."""

    @st.composite
    def busy(draw: st.DrawFn) -> Plan:
        crowd = draw(trial.crowd(False, most=5))
        life = [Step("join_group", GROUP, {"capabilities": 1}), Step("leave_group", GROUP)]
        times = draw(st.integers(2, 6))
        scripts = {client: life * times for client in crowd if client}
        looks = [Step("run_watchers", pause=0.001)] * 4 * times
        # However fast or slow the looks were, two changes last until there is one: the first
        # member's joining, and its leaving.
        last = {c: life[:1] if c == 1 else draw(st.sampled_from([[], life[:1]])) for c in scripts}
        return Plan(
            crowd,
            [
                Phase({0: [Step("create_group", GROUP), Step("watch", GROUP)]}),
                Phase({**scripts, 0: looks}),
                Phase(last),
                Phase({0: [_RUN, _RUN]}),
                Phase({1: life[1:]}),
                Phase({0: [_RUN, _RUN]}),
            ],
        )

    trial.explore(
        busy(),
        check_watches,
        least=[Least("reported events", 2 * trial.profile.trials, _reported)],
    )


@pytest.mark.scenario("watches", needs=(Feature.GROUPS, Feature.WATCHES), levels=("processes",))
def test_a_killed_member_is_reported_as_left(trial: Trial) -> None:
    """A watcher hears that a member left that was killed, and of one that stopped."""
    driver = trial.place.driver
    timeout = max(1.0, driver.least_timeout)
    at_once = Characteristics.NON_TIMEOUT_BASED in driver.claims

    @st.composite
    def losing(draw: st.DrawFn) -> Plan:
        join = [Step("join_group", GROUP, {"capabilities": "here"})]
        wait = 0.05 if at_once else long_after(timeout)
        idle = Step("idle", b"", {"seconds": wait + draw(st.floats(0, 0.02))})
        return Plan(
            {0: 0, 1: 1, 2: 2},
            [
                Phase({0: [Step("create_group", GROUP), Step("watch", GROUP)]}),
                Phase({1: join, 2: join}),
                Phase({0: [_RUN]}),
                Phase({1: [Step("idle", b"", {"seconds": 5.0})]}, [PlannedFault("kill", 1)]),
                Phase({2: [Step("stop")]}),
                Phase({0: [idle]}),
            ],
            options={"timeout": timeout},
        )

    watched = judges.unless_expired(driver, timeout, check_watches)

    def judge(history: History) -> Finding:
        finding = watched(history)
        return finding if finding.verdict is not Verdict.HELD else _both_left(history)

    trial.explore(
        losing(),
        judge,
        least=[Least("reported events", 6, _reported)],
        trials=max(2, trial.profile.trials // 5),
        steering=_hear_of_both,
    )


@pytest.mark.scenario("watches", needs=(Feature.LEADERSHIP,))
def test_an_election_is_reported_once_to_the_elected(trial: Trial) -> None:
    """Whoever is elected is told so once for each term, and nobody else is."""
    campaign, down = Step("run_elections", GROUP), Step("stand_down", GROUP)

    @st.composite
    def terms(draw: st.DrawFn) -> Plan:
        crowd = draw(trial.crowd(False, most=4))
        phases = []
        for _ in range(draw(st.integers(2, 5))):
            phases.append(Phase({client: [campaign, campaign] for client in crowd}))
            leaving = draw(st.sampled_from(sorted(crowd)))
            phases.append(Phase({leaving: [Step("get_leader", GROUP), down]}))
        return Plan(crowd, phases)

    trial.explore(
        terms(),
        judges.elections,
        least=[Least("elections", trial.profile.trials, judges.elected)],
    )


def _hear_of_both(session: Session, plan: Plan) -> None:
    """Carry out a plan; then run watchers until both members that went were reported."""
    session.perform_all(plan.phases)
    perform_until_held(session, Phase({0: [_RUN]}), lambda: _both_left(session.history()))


def _both_left(history: History) -> Finding:
    """Falsified unless both members that went were reported as left by the end."""
    events = [event for run in history.only("run_watchers") for event in run.value or ()]
    left = {bytes(member) for kind, _, member in events if kind == "leave"}
    if left == {b"m1", b"m2"}:
        return judges.held("watches")
    return Finding(
        Verdict.FALSIFIED,
        "watches",
        f"m1 was killed and m2 stopped, but only {sorted(left)} were reported as left",
        history.only("run_watchers"),
    )
