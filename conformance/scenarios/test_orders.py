"""LINEARIZABLE, SEQUENTIAL, CAUSAL, SERIALIZABLE: which orders explain what clients saw.

All judge the same histories, of a mixture over locks, groups with capabilities and, where the
driver has elections, a leadership; each asks for an explanation that keeps its order. A driver
that lacks groups or capabilities has cycles on its locks explained. Linearizability is local, so
each object may be explained on its own; the others need one explanation of the whole history.
"""

from __future__ import annotations

from collections.abc import Callable
from functools import partial

import pytest
from hypothesis.strategies import SearchStrategy

from conformance.characteristics import Characteristics, Feature
from conformance.checkers import (
    check_causal,
    check_linearizable,
    check_sequential,
    check_serializable,
)
from conformance.checkers.exercise import overlapping, succeeded
from conformance.history import History
from conformance.trial import Least, Trial
from conformance.verdict import Finding
from conformance.workload.plan import Plan, Step
from conformance.workload.strategies import (
    GROUPS,
    exclusive_cycles,
    member_steps,
    mixed_steps,
    plans,
)

_MIXED = {Feature.GROUPS, Feature.CAPABILITIES}
"""What a driver must have beside locks for more than locks to be mixed."""

_PLENTY, _FEWER = 20, 10
"""How many operations of a trial must succeed; on locks alone plans are shorter, and waits in
vain are no success."""

Check = Callable[..., Finding]


@pytest.mark.scenario(Characteristics.LINEARIZABLE, needs=(Feature.LOCKS,))
def test_every_operation_takes_effect_between_call_and_return(trial: Trial) -> None:
    """Each lock, group and leadership is explained in real time."""
    _explained(trial, check_linearizable)


@pytest.mark.scenario(Characteristics.SEQUENTIAL, needs=(Feature.LOCKS,))
def test_one_order_keeps_each_clients_own(trial: Trial) -> None:
    """The whole history is explained in an order that keeps that of each client."""
    _explained(trial, check_sequential)


@pytest.mark.scenario(Characteristics.CAUSAL, needs=(Feature.LOCKS,))
def test_no_client_sees_an_effect_before_its_cause(trial: Trial) -> None:
    """No client misses its own write, goes back in time, or sees an effect causeless."""
    _explained(trial, check_causal)


@pytest.mark.scenario(Characteristics.SERIALIZABLE, needs=(Feature.LOCKS,))
def test_some_order_explains_everything(trial: Trial) -> None:
    """The whole history is explained by some order of its operations."""
    _explained(trial, check_serializable)


def _explained(trial: Trial, check: Check) -> None:
    def judge(history: History) -> Finding:
        return check(history, budget=trial.profile.budget)

    successes = _PLENTY if _mixes(trial) else _FEWER
    for sharing in trial.sharings:
        crowd = trial.crowd(sharing)
        trial.explore(
            _plans(crowd, trial),
            judge,
            least=[
                Least("successful operations", successes * trial.profile.trials, succeeded),
                Least("overlapping operations", trial.profile.trials, overlapping),
            ],
            shared=True,
        )


def _mixes(trial: Trial) -> bool:
    return trial.place.driver.features >= _MIXED


def _plans(crowd: SearchStrategy[dict[int, int]], trial: Trial) -> SearchStrategy[Plan]:
    steps = trial.profile.steps
    if not _mixes(trial):
        return plans(crowd, lambda client: exclusive_cycles(steps))
    before = [Step("create_group", name) for name in GROUPS]
    mixed, members = (
        plans(crowd, partial(script, steps=steps), before=before, after=_everyone_looks)
        for script in (mixed_steps, member_steps)
    )
    return mixed | members


def _everyone_looks(crowd: dict[int, int]) -> dict[int, list[Step]]:
    """Have every client read everything once all is over."""
    look = [
        *(Step("get_members_with_capabilities", name) for name in GROUPS),
        *(Step("get_leader", name) for name in GROUPS),
        Step("get_groups"),
    ]
    return dict.fromkeys(crowd, look)
