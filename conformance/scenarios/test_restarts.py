"""Restarts: the server ends, by itself or killed, and comes back under its clients.

Each backend has a second server for this, at the end of a link of its own. A holder has a
lock, is in a group and leads it; an observer watches the group; a waiter waits for the lock
all the while. The server comes back with what it keeps on its disk, or empty.
"""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import partial

import pytest

from conformance.backends import Spare
from conformance.characteristics import Characteristics, Feature
from conformance.gate import Settings
from conformance.history import Operation
from conformance.implementations import Driver
from conformance.scenarios import judges, link_judges, restarts
from conformance.scenarios.link_scripts import (
    ACQUIRE,
    ASK,
    BEAT,
    BELIEVE,
    GROUP,
    JOIN,
    LEAVE,
    LISTEN,
    LOCK,
    LOOK,
    OBJECT,
    RELEASE,
)
from conformance.scenarios.links import Link, Unsettled, answered, insist, is_member
from conformance.trial import Inconclusive, NotExercised, Trial
from conformance.workload.plan import Phase, Plan, Step
from conformance.workload.runner import Session

_about_restarts = pytest.mark.scenario("restarts", needs=(Feature.LOCKS,), remote=True)

_OTHER = b"lock-b"

TIMEOUT = 2.0
"""The driver's time-out in seconds, unless it needs more: servers that start are slow."""

_AT_ANY_TIME = 0.001
"""Seconds after which what expires may do so: no heart beats here, so it is out of time
whenever something took long, and what is asked is whether the holder is told the truth."""

_HOLDER, _OBSERVER, _WAITER = 0, 1, 2

_WAIT = 10.0
"""Seconds for which the waiter waits: longer than most servers take to come back."""

_STARTING_SECONDS = 10.0
"""Seconds for which clients ask a server that starts, again and again."""

_BEGINNING_SECONDS = 10.0
"""How long it may take to begin to wait."""

_AGAIN_SECONDS = 0.01
"""How long to wait before looking again whether it has begun."""

_CREATE = Step("create_group", GROUP)
_WATCH = Step("watch", GROUP)
_CAMPAIGN = Step("campaign", GROUP)
_STAND_DOWN = Step("stand_down", GROUP)
_LEADER = Step("get_leader", GROUP)

_FEATURES = {
    "create_group": Feature.GROUPS,
    "join_group": Feature.GROUPS,
    "leave_group": Feature.GROUPS,
    "get_members": Feature.GROUPS,
    "watch": Feature.WATCHES,
    "run_watchers": Feature.WATCHES,
    "campaign": Feature.LEADERSHIP,
    "stand_down": Feature.LEADERSHIP,
    "get_leader": Feature.LEADERSHIP,
}
"""What a driver must have for a step."""

_BEFORE = [
    Phase({_OBSERVER: [_CREATE, _WATCH]}),
    Phase({_HOLDER: [BEAT, ACQUIRE, JOIN, _CAMPAIGN, BEAT]}),
]
_WAITING = Phase({_WAITER: [Step("acquire", LOCK, {"blocking": _WAIT} | OBJECT)]})
_GONE = Phase(
    {
        # No heartbeat: it would fail for want of a server, and not to tell of a loss.
        _HOLDER: [ASK, BELIEVE, LOOK],
        _OBSERVER: [BEAT, Step("acquire", _OTHER, {"blocking": False})],
    }
)
_STARTING = Phase(
    {_OBSERVER: [Step("until", b"", {"name": "heartbeat", "seconds": _STARTING_SECONDS})]}
)


@pytest.fixture(scope="module")
def restarted(conformance_settings: Settings) -> Iterator[set[str]]:
    """Give the names of the backends whose second servers are up; take these down at the end."""
    up: set[str] = set()
    yield up
    for backend in up:
        with conformance_settings.spare(backend) as spare:
            if spare is not None and spare.process is not None:
                spare.stop(kill=True)


@pytest.fixture
def spare(trial: Trial, conformance_settings: Settings, restarted: set[str]) -> Iterator[Spare]:
    """Give the second server of the backend, up."""
    with conformance_settings.spare(trial.place.backend) as found:
        if found is None:
            raise NotExercised(
                "no server to restart: the one of --backend-url is somebody else's, and not "
                "every backend starts a second one"
            )
        restarted.add(trial.place.backend)
        if found.process is None:
            found.start()
        found.wait_ready()
        yield found
        if found.process is None:
            name = trial.place.backend
            pytest.fail(f"the second server of {name} is {found.last_words()}", pytrace=False)


@_about_restarts
def test_a_server_that_is_stopped_and_started(trial: Trial, spare: Spare) -> None:
    """A coordinator works again when its server has ended by itself, and says what it lost."""
    _restart(trial, spare, kill=False)


@_about_restarts
def test_a_server_that_is_killed_and_started(trial: Trial, spare: Spare) -> None:
    """A coordinator works again when its server has been killed, and says what it lost."""
    _restart(trial, spare, kill=True)


def _restart(trial: Trial, spare: Spare, *, kill: bool) -> None:
    clients = (_HOLDER, _OBSERVER, _WAITER)
    with Link(trial, clients, spare.address) as link:
        driver = trial.place.driver
        timeout = max(TIMEOUT, driver.least_timeout)
        plan = _without_what_it_lacks(
            Plan(
                {client: client for client in clients},
                [*_BEFORE, _WAITING, _GONE, _STARTING],
                options={"timeout": timeout},
                patience=15 * timeout,
                heart=False,  # a heart would be told of losses, and nobody else
                urls=link.urls,
            ),
            driver,
        )
        *before, waiting, gone, starting = plan.phases

        def steer(session: Session) -> None:
            session.perform_all(before)
            survey = _Survey(session, driver)
            with session.during(waiting):
                _wait_begun(session)
                restarts.restart(session, link, spare, kill=kill, gone=gone, starting=starting)
                with contextlib.suppress(Unsettled):
                    _take_stock(survey)
                    _regain_group(survey)
                    _regain_leadership(survey)
                    survey.insist(_HOLDER, RELEASE)
            with contextlib.suppress(Unsettled):
                _take_turns(survey)

        history = trial.steer(plan, steer)
        expires = Characteristics.NON_TIMEOUT_BASED not in driver.claims
        lifetime = _AT_ANY_TIME if expires else None
        judge = judges.all_of(
            partial(restarts.promptness, timeout=timeout),
            restarts.granted,
            partial(judges.locks, ttl=lifetime),
            partial(judges.leadership, ttl=lifetime),
            partial(link_judges.told, expires=expires),
            link_judges.recovery,
            restarts.regained,
        )
        trial.conclude(history, judge, plan)
        if not restarts.noticed(history):
            raise Inconclusive("too little happened: no call failed for want of a server")


def _can(driver: Driver, step: Step) -> bool:
    """Whether a driver has what a step calls."""
    needed = _FEATURES.get(step.name)
    return step.name not in driver.lacks and (needed is None or needed in driver.features)


def _without_what_it_lacks(plan: Plan, driver: Driver) -> Plan:
    steps = [step for phase in plan.phases for its in phase.steps.values() for step in its]
    return plan.without({step.name for step in steps if not _can(driver, step)})


def _wait_begun(session: Session) -> None:
    """Wait until the waiter has called."""
    end = time.monotonic() + _BEGINNING_SECONDS
    while not any(o.client == _WAITER for o in session.history().operations):
        if time.monotonic() > end:
            raise Inconclusive("the waiter did not begin to wait")
        time.sleep(_AGAIN_SECONDS)


@dataclass(frozen=True)
class _Survey:
    """Has clients make calls after the restart; those that the driver lacks are left out."""

    session: Session
    driver: Driver

    @property
    def patience(self) -> float:
        """Seconds after which what rests on time-outs has happened for certain."""
        return 3.0 + 3 * max(TIMEOUT, self.driver.least_timeout)

    def at_once(self, client: int, steps: list[Step]) -> None:
        """Have a client make calls one right after the other."""
        owed = [step for step in steps if _can(self.driver, step)]
        self.session.perform(Phase({client: owed}))

    def call(self, client: int, step: Step) -> Operation | None:
        """Have a client make a call."""
        return self.session.call(client, step) if _can(self.driver, step) else None

    def insist(
        self, client: int, step: Step, content: Callable[[Operation], bool] = answered
    ) -> None:
        """Have a client make a call until its result is one to be content with.

        :raises Unsettled: it never was
        """
        if _can(self.driver, step):
            insist(self.session, client, step, self.patience, content)


def _take_stock(survey: _Survey) -> None:
    """Have the holder find out what it lost, while the observer wants it."""
    survey.insist(_HOLDER, BEAT)
    survey.at_once(_HOLDER, [BEAT, ASK, BELIEVE, LEAVE])
    survey.insist(_HOLDER, LEAVE)
    survey.insist(_OBSERVER, BEAT)
    tried = survey.call(_OBSERVER, ACQUIRE)
    survey.insist(_HOLDER, ASK)
    if tried is not None and tried.value is not False:
        survey.insist(_OBSERVER, RELEASE)


def _regain_group(survey: _Survey) -> None:
    """Have the holder join anew, and the observer hear of it by the watch that it has."""
    survey.insist(_OBSERVER, _CREATE)
    survey.insist(_OBSERVER, LISTEN)
    survey.insist(_HOLDER, JOIN, is_member)
    survey.insist(_OBSERVER, LISTEN, _tells_of_a_join)
    survey.insist(_OBSERVER, LOOK)


def _regain_leadership(survey: _Survey) -> None:
    """Have both say who leads, then the observer lead in the holder's place."""
    for client in (_HOLDER, _OBSERVER):
        survey.insist(client, _LEADER)
    survey.insist(_HOLDER, _STAND_DOWN)
    survey.insist(_OBSERVER, _CAMPAIGN, _is_won)
    survey.insist(_HOLDER, _LEADER)


def _take_turns(survey: _Survey) -> None:
    """Have the waiter give back what it may have got, then each acquire and release."""
    survey.insist(_WAITER, RELEASE)
    take = Step("acquire", LOCK, {"blocking": survey.patience} | OBJECT)
    for client in (_WAITER, _HOLDER, _OBSERVER):
        survey.insist(client, take)
        survey.insist(client, RELEASE)


def _is_won(operation: Operation) -> bool:
    return operation.value is True


def _tells_of_a_join(operation: Operation) -> bool:
    return operation.is_ok and any(event[0] == "join" for event in operation.value)
