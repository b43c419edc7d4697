"""NON_TIMEOUT_BASED: a paused client keeps what it holds, a dead one's is free at once.

Every plan is run at two settings of the driver's time-outs. Here no hold may expire,
whatever the driver claims: that is the claim under test. A driver may rest on a time of its
own, and heed no setting; so others want what is held for as long as its holder is silent, and
what a dead client held must be free soon, not only as soon at either setting.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable
from typing import Any

import msgspec
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

_OFTEN = 9
"""How many times more often a holder is paused for time-outs than for a profile's silence."""

_ASKINGS = 6
"""How often is asked who leads, or who is a member, while one is paused: all the while."""

_RECOVERY_TIMEOUTS = (1.0, 3.0)
"""The settings at which a holder is killed: far enough apart for their difference to be
seen above the noise of a busy machine."""

_SHARE = 0.5
"""The recovery grows with the time-out when it grows by more than this share of it."""

_AT_ONCE = 1.5
"""Seconds within which what a dead client held is free, at the best of times. A server notices
that a connection is gone, a kernel that a process is, in a thousandth of that."""

_RECOVERIES = 2
"""How many are measured at either setting, and how many more, at most, at the longer one."""


def _silenced(trial: Trial, seconds: float, alone: list[Step]) -> tuple[Phase, bool]:
    """Return the phase in which client 0 shows no sign of life, and whether hearts beat.

    A process is paused; a thread, which cannot be, makes no call and has no heart.
    """
    if trial.place.level == "threads":
        return Phase({0: [Step("idle", b"", {"seconds": seconds})], 1: alone}), False
    return Phase({1: alone}, [PlannedFault("pause", 0, at=0.0, seconds=seconds)]), True


def _paused(
    trial: Trial, hold: list[Step], alone: Callable[[float], list[Step]], after: list[Step]
) -> st.SearchStrategy[Plan]:
    """Return plans in which client 0 is silent once it holds.

    :param alone: what another client does in so many seconds
    """

    @st.composite
    def silences(draw: st.DrawFn) -> Plan:
        timeout = draw(st.sampled_from(_timeouts(trial)))
        seconds = _PAUSE * timeout
        if trial.profile.silence is not None:
            seconds = draw(st.sampled_from([seconds] * _OFTEN + [trial.profile.silence]))
        steps = alone(seconds)
        silence, heart = _silenced(trial, seconds, steps)
        look = Phase({1: steps[:1]})  # an order that puts the silence before the hold is none
        phases = [Phase({0: hold}), look, silence, Phase({0: after}), look]
        plan = Plan({0: 0, 1: 1}, phases, options={"timeout": timeout}, heart=heart)
        return msgspec.structs.replace(plan, patience=plan.patience + seconds)

    return silences()


def _all_the_while(seconds: float, *steps: Step) -> list[Step]:
    """Return these calls in turn, again and again for some seconds."""
    pause = seconds / (_ASKINGS + 1)
    return [
        msgspec.structs.replace(step, pause=pause)
        for step in itertools.islice(itertools.cycle(steps), _ASKINGS)
    ]


def _timeouts(trial: Trial) -> list[float]:
    least = trial.place.driver.least_timeout
    return sorted({max(timeout, least) for timeout in _TIMEOUTS})


def _trials(trial: Trial) -> int:
    """Return how many plans: at least one for each setting, as each lasts some time-outs."""
    return max(len(_TIMEOUTS), trial.profile.trials // 8)


def test_a_paused_holder_keeps_its_lock(trial: Trial) -> None:
    """Nobody gets a lock while its holder is paused for three time-outs."""

    def tries(seconds: float) -> list[Step]:
        at_once = Step("acquire", LOCK, {"blocking": False}, pause=0.1)
        return [at_once, at_once, at_once, Step("acquire", LOCK, {"blocking": seconds})]

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
    trial.explore(
        _paused(
            trial,
            [Step("campaign", GROUP)],
            lambda seconds: _all_the_while(
                seconds, Step("get_leader", GROUP), Step("campaign", GROUP)
            ),
            [Step("get_leader", GROUP), Step("stand_down", GROUP)],
        ),
        judges.leadership,
        least=[Least("successful operations", 10, succeeded)],
        trials=_trials(trial),
    )


@pytest.mark.scenario(Characteristics.NON_TIMEOUT_BASED, needs=(Feature.GROUPS,))
def test_a_paused_member_stays(trial: Trial) -> None:
    """A member that is paused for three time-outs is a member all the while."""
    trial.explore(
        _paused(
            trial,
            [Step("create_group", GROUP), Step("join_group", GROUP, {"capabilities": "here"})],
            lambda seconds: _all_the_while(seconds, Step("get_members", GROUP)),
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
    waits for a time-out never takes less, and a busy machine does sooner or later. That holds
    for a time that is the driver's own, too.
    """
    short, long = _RECOVERY_TIMEOUTS
    at_short = min(_recover(trial, hold, want, short)[0] for _ in range(_RECOVERIES))
    at_long = float("inf")
    for number in range(2 * _RECOVERIES):
        seconds, history, plan = _recover(trial, hold, want, long)
        at_long = min(at_long, seconds)
        has_grown = at_long - at_short > _SHARE * (long - short)
        is_late = min(at_short, at_long) > _AT_ONCE
        if number + 1 >= _RECOVERIES and not has_grown and not is_late:
            return
    what = "it waits for the time-out" if has_grown else "it waits, whatever the time-out"
    finding = Finding(
        Verdict.FALSIFIED,
        "recovery",
        f"what a killed client held was free after {at_short:.2f} s at a time-out of "
        f"{short:g} s, and after {at_long:.2f} s at {long:g} s: {what}",
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
