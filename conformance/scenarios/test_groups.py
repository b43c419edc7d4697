"""Groups and capabilities under contention: every view is one that some order explains."""

from __future__ import annotations

import pytest
from hypothesis import strategies as st

from conformance.characteristics import Feature
from conformance.checkers.exercise import overlapping, succeeded
from conformance.scenarios import judges
from conformance.trial import Least, Trial
from conformance.workload.plan import Phase, Plan, Step
from conformance.workload.strategies import GROUPS, group_steps, plans

pytestmark = pytest.mark.scenario("level", needs=(Feature.GROUPS,))

GROUP = GROUPS[0]


def test_groups_are_explained(trial: Trial) -> None:
    """What clients see of groups is explained by one order that keeps each client's own."""
    for sharing in trial.sharings:
        trial.explore(
            plans(
                trial.crowd(sharing),
                lambda client: group_steps(client, trial.profile.steps),
                before=[Step("create_group", name) for name in GROUPS],
            ),
            judges.groups(trial),
            least=[
                Least("successful operations", 10 * trial.profile.trials, succeeded),
                Least("overlapping operations", trial.profile.trials, overlapping),
            ],
        )


def test_no_update_is_lost(trial: Trial) -> None:
    """Members that join and update at the same time all are there, with what they wrote."""

    @st.composite
    def everyone(draw: st.DrawFn) -> Plan:
        crowd = draw(trial.crowd(False))
        times = draw(st.integers(2, 6))
        scripts = {}
        for client in crowd:
            script = [Step("join_group", GROUP, {"capabilities": f"{client}:0"})]
            script += [
                Step("update_capabilities", GROUP, {"capabilities": f"{client}:{number}"})
                for number in range(1, times)
            ]
            scripts[client] = script
        looking = [Step("get_members_with_capabilities", GROUP), Step("get_members", GROUP)]
        return Plan(
            crowd,
            [
                Phase({0: [Step("create_group", GROUP)]}),
                Phase(scripts),
                Phase(dict.fromkeys(crowd, looking)),
            ],
        )

    trial.explore(
        everyone(),
        judges.groups(trial),
        least=[Least("overlapping operations", trial.profile.trials, overlapping)],
    )


def test_deleting_races_with_joining(trial: Trial) -> None:
    """A group is never deleted under its members, nor joined after it was deleted."""

    @st.composite
    def race(draw: st.DrawFn) -> Plan:
        crowd = draw(trial.crowd(False))
        times = draw(st.integers(2, 4))
        scripts = {}
        for client in crowd:
            if client % 2:
                once = [Step("delete_group", GROUP), Step("create_group", GROUP)]
            else:
                once = [
                    Step("join_group", GROUP, {"capabilities": f"{client}"}),
                    Step("get_members", GROUP),
                    Step("leave_group", GROUP),
                ]
            scripts[client] = once * times
        return Plan(crowd, [Phase({0: [Step("create_group", GROUP)]}), Phase(scripts)])

    trial.explore(
        race(),
        judges.groups(trial),
        least=[Least("overlapping operations", trial.profile.trials // 2, overlapping)],
    )
