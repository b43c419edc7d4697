"""Truth without asking: what ``acquired`` says to a bystander when a hold is lost.

The holder's process is paused, or its connection is cut, and nothing shows that it lives.
Another thread of that process, the bystander, asks the holder's lock object all the while.
A third client, with a coordinator of its own, is after the lock.
"""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path

import pytest

from conformance.characteristics import Characteristics, Feature
from conformance.checkers import check_beliefs
from conformance.checkers.beliefs import beliefs_met
from conformance.scenarios import judges
from conformance.scenarios.links import TIMEOUT, Link
from conformance.trial import Inconclusive, NotExercised, Trial
from conformance.workload.plan import Phase, Plan, PlannedFault, Step, long_after
from conformance.workload.runner import Session

LOCK = b"lock-a"

_HOLDER, _OTHER, _BYSTANDER = range(3)

_COORDINATORS = {_HOLDER: 0, _OTHER: 1, _BYSTANDER: 0}

_OBJECT = {"object": 1}
"""The lock object that the holder and the bystander share."""

_ASK_SECONDS = 0.01
"""How long the bystander idles between two questions."""

_SHORTEST = 0.5
"""The driver's time-out, in seconds, where it and its server can keep so short a one."""

_SILENCE = 1.25
"""For how many time-outs the holder is paused."""

_PAUSED_AT = 0.05
"""When the pause begins, in seconds; the bystander has questions left for after it."""

_LEAST = 10
"""How many questions must have been asked while somebody certainly held."""

_TRIES = 3
"""How often a plan is carried out until that many were."""

_CLOSED_SECONDS = 10.0
"""How long it may take until a connection that was reset is closed on both sides."""

_HOLD = Step("acquire", LOCK, {"blocking": False} | _OBJECT)
_LAST = [Step("is_still_owner", LOCK, _OBJECT), Step("release", LOCK, _OBJECT)]
_OTHERS_LAST = [Step("is_still_owner", LOCK), Step("release", LOCK)]


def _questions(seconds: float) -> list[Step]:
    """Return what the bystander asks for some time."""
    return [Step("acquired", LOCK, _OBJECT, pause=_ASK_SECONDS)] * int(seconds / _ASK_SECONDS)


_THE_OTHER_LIVES = Phase({_OTHER: [Step("stop"), Step("start", arguments={"heart": True})]})
"""What happens first: all begin without a heart, and the other client is not to be silent."""

_THE_OTHER_HOLDS = Phase({_OTHER: [Step("lock_heartbeat", LOCK)], _BYSTANDER: _questions(0.2)})
"""What happens when the holder has lost the lock, if it does, and the other has it."""


@pytest.mark.scenario("truth after loss", needs=(Feature.LOCKS,), levels=("processes",))
def test_nobody_believes_in_a_hold_lost_in_a_pause(trial: Trial) -> None:
    """After a long pause ``acquired`` is not true while another client holds the lock."""
    driver = trial.place.driver
    timeout = max(_SHORTEST, driver.least_timeout)
    expires = Characteristics.NON_TIMEOUT_BASED not in driver.claims
    silence = _SILENCE * timeout
    wait = long_after(timeout) if expires else silence
    pause = PlannedFault("pause", _HOLDER, at=_PAUSED_AT, seconds=silence)
    asked = _questions(4 * _PAUSED_AT)
    plan = Plan(
        _COORDINATORS,
        [
            _THE_OTHER_LIVES,
            Phase({_HOLDER: [_HOLD]}),
            Phase(
                {_OTHER: [Step("acquire", LOCK, {"blocking": wait})], _BYSTANDER: asked}, [pause]
            ),
            _THE_OTHER_HOLDS,
            Phase({_OTHER: _OTHERS_LAST}),
            Phase({_HOLDER: _LAST}),
        ],
        options={"timeout": timeout},
        heart=False,
    )
    _try(trial, plan, Session.perform_all)


@pytest.mark.scenario("truth after loss", needs=(Feature.LOCKS,), levels=("threads",), remote=True)
def test_nobody_believes_in_a_hold_that_was_cut_off(trial: Trial) -> None:
    """With its connection cut ``acquired`` is not true while another client holds the lock."""
    timeout = max(TIMEOUT, trial.place.driver.least_timeout)
    take = Step("acquire", LOCK, {"blocking": long_after(timeout)})
    with Link(trial, [_HOLDER]) as link:
        plan = Plan(
            _COORDINATORS,
            [
                _THE_OTHER_LIVES,
                Phase({_HOLDER: [_HOLD], _BYSTANDER: _questions(_ASK_SECONDS)}),
                Phase({_OTHER: [take], _BYSTANDER: _questions(timeout)}),
                _THE_OTHER_HOLDS,
                Phase({_OTHER: _OTHERS_LAST, _BYSTANDER: _questions(_ASK_SECONDS)}),
            ],
            options={"timeout": timeout},
            heart=False,
            urls=link.urls,
        )

        def steer(session: Session, phases: list[Phase]) -> None:
            session.perform(phases[0])
            session.perform(phases[1])
            with link.broken(session, "cut") as proxy:
                proxy.cut()
                _wait_until_closed(proxy.address[1])
                for phase in phases[2:]:
                    session.perform(phase)

        _try(trial, plan, steer)


def _try(trial: Trial, plan: Plan, steering: Callable[[Session, list[Phase]], None]) -> None:
    """Carry a plan out and judge it; again where a slow machine let too little happen.

    Where the driver claims that nothing expires, nothing may be lost but by the cut.
    """
    if "acquired" in trial.place.driver.lacks:
        raise NotExercised("the driver's locks do not say whether they are held")
    claimed = Characteristics.NON_TIMEOUT_BASED in trial.place.driver.claims
    judge = judges.all_of(check_beliefs, judges.locks) if claimed else check_beliefs
    for _ in range(_TRIES):
        history = trial.run(plan, lambda session, plan: steering(session, plan.phases))
        trial.conclude(history, judge, plan)
        if (asked := beliefs_met(history)) >= _LEAST:
            return
    raise Inconclusive(
        f"too little happened: {asked} questions during a hold, at least {_LEAST} are needed"
    )


def _wait_until_closed(port: int) -> None:
    """Wait until no client of this host has a connection to a port, by the kernel's word.

    :raises Inconclusive: that took longer than any machine should
    """
    end = time.monotonic() + _CLOSED_SECONDS
    while _is_connected(port):
        if time.monotonic() > end:
            raise Inconclusive(f"a connection to port {port} that was reset is still there")
        time.sleep(_ASK_SECONDS)


def _is_connected(port: int) -> bool:
    """Whether anybody is connected to a port of 127.0.0.1 (proc_pid_net(5): /proc/net/tcp)."""
    far_end = f"0100007F:{port:04X}"
    lines = Path("/proc/net/tcp").read_text().splitlines()[1:]
    return any((far, state) == (far_end, "01") for _, _, far, state in map(_fields, lines))


def _fields(line: str) -> list[str]:
    return line.split(maxsplit=4)[:4]
