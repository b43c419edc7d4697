"""Leadership under contention: one leader at a time, and one can be had."""

from __future__ import annotations

import pytest
from hypothesis import strategies as st

from conformance.characteristics import Feature
from conformance.checkers.exercise import overlapping, terms
from conformance.scenarios import judges
from conformance.trial import Least, Trial
from conformance.workload.plan import Phase, Plan, Step
from conformance.workload.strategies import GROUPS, leader_steps, plans

pytestmark = pytest.mark.scenario("level", needs=(Feature.LEADERSHIP,))

GROUP = GROUPS[0]


def test_there_is_one_leader(trial: Trial) -> None:
    """At most one member leads, everyone is told the same, and a free lead can be taken."""
    for sharing in trial.sharings:
        trial.explore(
            plans(trial.crowd(sharing), lambda client: leader_steps(trial.profile.steps)),
            judges.leadership,
            least=[
                Least("terms", trial.profile.trials, terms),
                Least("overlapping operations", trial.profile.trials, overlapping),
            ],
        )


def test_a_leader_steps_down(trial: Trial) -> None:
    """After standing down, or stopping, a leader leads no more and another is elected."""

    @st.composite
    def succession(draw: st.DrawFn) -> Plan:
        crowd = draw(trial.crowd(False, most=4))
        going = draw(st.sampled_from(["stand_down", "stop"]))
        phases = []
        for client in crowd:
            last = client == max(crowd)
            phases.append(Phase({client: [Step("campaign", GROUP), Step("get_leader", GROUP)]}))
            phases.append(
                Phase({other: [Step("campaign", GROUP)] for other in crowd if other > client})
            )
            if not last:
                target = GROUP if going == "stand_down" else b""
                phases.append(Phase({client: [Step(going, target)]}))
                phases.append(Phase({max(crowd): [Step("get_leader", GROUP)]}))
        return Plan(crowd, phases)

    trial.explore(
        succession(),
        judges.leadership,
        least=[Least("terms", 4, terms)],
    )
