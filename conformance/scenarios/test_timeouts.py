"""NON_TIMEOUT_BASED: a paused client keeps what it holds, a dead one's is free at once.

Every plan is run at two settings of the driver's time-outs. Here no hold may expire,
whatever the driver claims: that is the claim under test.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import strategies as st

from conformance.characteristics import Characteristics, Feature
from conformance.checkers.exercise import refusals, succeeded
from conformance.history import History, lane
from conformance.scenarios import judges
from conformance.trial import Inconclusive, Least, Trial
from conformance.verdict import Finding, Verdict
from conformance.workload.plan import Phase, Plan, PlannedFault, Step, long_after
from conformance.workload.strategies import GROUPS

pytestmark = pytest.mark.scenario(Characteristics.NON_TIMEOUT_BASED, needs=(Feature.LOCKS,))

LOCK = b"lock-a"
GROUP = GROUPS[0]

_TIMEOUTS = (0.5, 1.0)
"""The settings of the driver's time-outs at which a holder is paused, in seconds; longer
where the driver and its server cannot keep so short ones."""

_PAUSE = 3.0
"""How long a holder is paused, in time-outs."""

_RECOVERY_TIMEOUTS = (1.0, 3.0)
"""The settings at which a holder is killed: far enough apart for their difference to be
seen above the noise of a busy machine."""

_SHARE = 0.5
"""The recovery grows with the time-out when it grows by more than this share of it."""

_RECOVERIES = 2
"""How many are measured at either setting, and how many more, at most, at the longer one."""


def _silenced(trial: Trial, options: dict[str, Any], alone: list[Step]) -> tuple[Any, ...]:
    """Return the phase in which client 0 shows no sign of life, and what else it needs.

    A process is paused; a thread, which cannot be, makes no call and has no heart.
    """
    seconds = _PAUSE * options["timeout"]
    if trial.place.level == "threads":
        idle = [Step("idle", b"", {"seconds": seconds})]
        return Phase({0: idle, 1: alone}), False
    pause = PlannedFault("pause", 0, at=0.0, seconds=seconds)
    return Phase({1: alone}, [pause]), True


def _paused(trial: Trial, hold: list[Step], alone: list[Step], after: list[Step]) -> Any:
    @st.composite
    def plan(draw: st.DrawFn) -> Plan:
        options = {"timeout": draw(st.sampled_from(_timeouts(trial)))}
        silence, heart = _silenced(trial, options, alone)
        look = Phase({1: alone[:1]})  # an order that puts the silence before the hold is none
        phases = [Phase({0: hold}), look, silence, Phase({0: after}), look]
        return Plan({0: 0, 1: 1}, phases, options=options, heart=heart)

    return plan()


def _timeouts(trial: Trial) -> list[float]:
    least = trial.place.driver.least_timeout
    return sorted({max(timeout, least) for timeout in _TIMEOUTS})


def _trials(trial: Trial) -> int:
    """Return how many plans: at least one for each setting, as each lasts some time-outs."""
    return max(len(_TIMEOUTS), trial.profile.trials // 8)


def test_a_paused_holder_keeps_its_lock(trial: Trial) -> None:
    """Nobody gets a lock while its holder is paused for three time-outs."""
    tries = [Step("acquire", LOCK, {"blocking": False}, pause=0.1) for _ in range(3)]
    tries.append(Step("acquire", LOCK, {"blocking": _PAUSE * min(_TIMEOUTS) / 2}))
    trial.explore(
        _paused(
            trial,
            [Step("acquire", LOCK, {"blocking": False})],
            tries,
            [Step("is_still_owner", LOCK), Step("acquired", LOCK), Step("release", LOCK)],
        ),
        judges.locks,
        least=[Least("refusals", 2, refusals)],
        trials=_trials(trial),
    )


@pytest.mark.scenario(Characteristics.NON_TIMEOUT_BASED, needs=(Feature.LEADERSHIP,))
def test_a_paused_leader_keeps_leading(trial: Trial) -> None:
    """Nobody else is elected while the leader is paused for three time-outs."""
    campaigns = [
        Step("campaign", GROUP, pause=0.15) if n % 2 else Step("get_leader", GROUP, pause=0.15)
        for n in range(5)
    ]
    trial.explore(
        _paused(
            trial,
            [Step("campaign", GROUP)],
            campaigns,
            [Step("get_leader", GROUP), Step("stand_down", GROUP)],
        ),
        judges.leadership,
        least=[Least("successful operations", 10, succeeded)],
        trials=_trials(trial),
    )


@pytest.mark.scenario(Characteristics.NON_TIMEOUT_BASED, needs=(Feature.GROUPS,))
def test_a_paused_member_stays(trial: Trial) -> None:
    """A member that is paused for three time-outs is a member all the while."""
    looks = [Step("get_members", GROUP, pause=0.2) for _ in range(4)]
    trial.explore(
        _paused(
            trial,
            [Step("create_group", GROUP), Step("join_group", GROUP, {"capabilities": "here"})],
            looks,
            [Step("get_members", GROUP)],
        ),
        judges.groups(trial),
        least=[Least("successful operations", 10, succeeded)],
        trials=_trials(trial),
    )


@pytest.mark.scenario(
    Characteristics.NON_TIMEOUT_BASED, needs=(Feature.LOCKS,), levels=("processes",)
)
def test_a_dead_holders_lock_is_free_at_once(trial: Trial) -> None:
    """How soon the next client gets a dead holder's lock does not hang on the time-out."""
    _compare_recoveries(
        trial,
        [Step("acquire", LOCK, {"blocking": False})],
        lambda timeout: [Step("acquire", LOCK, {"blocking": long_after(timeout)})],
    )


@pytest.mark.scenario(
    Characteristics.NON_TIMEOUT_BASED, needs=(Feature.LEADERSHIP,), levels=("processes",)
)
def test_a_dead_leader_is_succeeded_at_once(trial: Trial) -> None:
    """How soon a dead leader is succeeded does not hang on the time-out."""
    _compare_recoveries(
        trial,
        [Step("campaign", GROUP)],
        lambda timeout: _until(timeout, "campaign"),
    )


@pytest.mark.scenario(
    Characteristics.NON_TIMEOUT_BASED, needs=(Feature.GROUPS,), levels=("processes",)
)
def test_a_dead_member_is_gone_at_once(trial: Trial) -> None:
    """How soon a dead member is gone from its group does not hang on the time-out."""
    _compare_recoveries(
        trial,
        [Step("create_group", GROUP), Step("join_group", GROUP)],
        lambda timeout: _until(timeout, "delete_group"),
    )


def _until(timeout: float, name: str) -> list[Step]:
    """Return a call that is made until it succeeds, or until well after a time-out."""
    return [Step("until", GROUP, {"name": name, "seconds": long_after(timeout)})]


def _compare_recoveries(trial: Trial, hold: list[Step], want: Any) -> None:
    """Kill a holder at two settings of the time-out, and compare how long recovery takes.

    The least of some counts, and where it has grown, of some more at the longer setting: what
    waits for a time-out never takes less, and a busy machine does sooner or later.
    """
    short, long = _RECOVERY_TIMEOUTS
    at_short = min(_recover(trial, hold, want, short)[0] for _ in range(_RECOVERIES))
    at_long = float("inf")
    for number in range(2 * _RECOVERIES):
        seconds, history, plan = _recover(trial, hold, want, long)
        at_long = min(at_long, seconds)
        has_grown = at_long - at_short > _SHARE * (long - short)
        if number + 1 >= _RECOVERIES and not has_grown:
            return
    finding = Finding(
        Verdict.FALSIFIED,
        "recovery",
        f"what a killed client held was free after {at_short:.2f} s at a time-out of "
        f"{short:g} s, and after {at_long:.2f} s at {long:g} s: it waits for the time-out",
        history.operations[-1:],
    )
    trial.falsify(finding, history, plan)


def _recover(
    trial: Trial, hold: list[Step], want: Any, timeout: float
) -> tuple[float, History, Plan]:
    """Kill a holder; return the seconds until what it held was free, and what tells of it."""
    plan = Plan(
        {0: 0, 1: 1},
        [
            Phase({0: hold}),
            Phase({1: want(timeout)}, [PlannedFault("kill", 0, at=0.05)]),
        ],
        options={"timeout": timeout},
        patience=60.0,
    )
    history = trial.run(plan)
    trial.conclude(history, judges.locks, plan)
    seconds = _recovery(history)
    trial.require(
        seconds is not None,
        "recovery",
        f"what a killed client held was not free {long_after(timeout):g} s later, at "
        f"a time-out of {timeout:g} s",
        history,
        plan,
    )
    return seconds or 0.0, history, plan


def _recovery(history: History) -> float | None:
    """Return the seconds from the kill to the first success of the survivor.

    :returns: None when it had none
    :raises Inconclusive: that does not tell what became of what the killed client held
    """
    if not any(fault.kind == "kill" for fault in history.faults):
        raise Inconclusive("the holder ended before it could be killed")
    killed = min(fault.begin for fault in history.faults if fault.kind == "kill")
    before = [o for o in history.operations if lane(o.client) == 0]
    if not before or not all(o.is_ok and o.value in (True, None) for o in before):
        raise Inconclusive("the client that was killed had nothing that could become free")
    tries = [o for o in history.operations if lane(o.client) == 1]
    for operation in tries:
        if operation.is_ok and operation.value in (True, None):
            end = operation.end or killed
            if end > killed:
                return (end - killed) / 1e9
    failed = [o for o in tries if o.is_info and o.end is not None]
    if failed:
        raise Inconclusive(f"a call of the survivor's failed: {failed[0]}")
    return None
