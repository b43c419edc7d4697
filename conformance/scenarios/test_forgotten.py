"""Forgotten connections: silent for ever, while new ones are served.

A firewall that forgets the connections it let through does that, and a server whose machine
went away without a word. Which connections, and of whom, differs: all that are idle, or one
of those over which somebody waits or watches.
"""

from __future__ import annotations

import contextlib
import time
from functools import partial

from conformance.characteristics import Feature
from conformance.scenarios import judges, link_judges
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
    OBSERVER,
    OPTIONS,
    RELEASE,
    about_links,
    again,
    on_object,
    own,
    patience_of,
    silent_calls,
    take_turns,
    try_both,
    use_again,
)
from conformance.scenarios.links import TIMEOUT, Link, Unsettled, insist, is_member
from conformance.trial import NotExercised, Trial
from conformance.verdict import Verdict
from conformance.workload.plan import Phase, Plan, Step
from conformance.workload.runner import Session

_CREW = range(50, 62)
"""Clients that share a coordinator, numbered as the first of them, which has no heart."""

_CALLING_SECONDS = 0.1
"""Seconds after which all of them have a call under way, so that each has a connection of its
own where the driver makes as many."""

_DOUBTER = 40
"""A client that has no heart, and asks for its lock again and again."""

_DOUBTS = 3

_HEARTLESS = [Step("stop"), Step("start")]


@about_links(Feature.LOCKS)
def test_idle_connections_that_are_forgotten(trial: Trial) -> None:
    """A coordinator works again after its connections fell silent for ever, and says no untruth."""
    lacks = trial.place.driver.lacks
    calls = {
        client: ([on_object(step) for step in before], on_object(call))
        for client, (before, call) in enumerate(silent_calls(b"own"), OBSERVER + 1)
        if call.name not in lacks and call.name != "start"
    }
    calls = {c: (own(before, c), own([call], c)[0]) for c, (before, call) in calls.items()}
    doubts = [ASK, BELIEVE] * _DOUBTS
    crew = {client: own([ACQUIRE], client) for client in _CREW}
    on_link = [*calls, _DOUBTER, *crew]
    with Link(trial, on_link) as link:
        plan = Plan(
            {OBSERVER: OBSERVER}
            | {client: _CREW[0] if client in crew else client for client in on_link},
            [
                Phase({OBSERVER: [Step("create_group", GROUP)]}),
                Phase(
                    {client: before for client, (before, _) in calls.items()}
                    | {_DOUBTER: [*_HEARTLESS, ACQUIRE], _CREW[0]: _HEARTLESS}
                ),
                Phase(crew),
                Phase(
                    {client: [call] for client, (_, call) in calls.items()}
                    | {
                        _DOUBTER: doubts,
                        _CREW[0]: own([ASK], _CREW[0]),
                        OBSERVER: [Step("acquire", LOCK, {"blocking": 1.5 * TIMEOUT} | OBJECT)],
                    }
                ),
                Phase(
                    {client: [*again(client, patience_of(trial)), LEAVE] for client in calls}
                    | {_CREW[0]: [BEAT]}
                ),
            ],
            options=OPTIONS,
            patience=15 * TIMEOUT,
            urls=link.urls,
        ).without(lacks)

        def steer(session: Session) -> None:
            session.perform_all(plan.phases[:2])
            link.proxy.stall()
            with session.during(plan.phases[2]):
                time.sleep(_CALLING_SECONDS)
                link.proxy.heal()
            with link.broken(session, "strand") as proxy:
                if not proxy.strand():
                    raise NotExercised("the driver keeps no connection that could be forgotten")
                session.perform(plan.phases[3])
                proxy.bury()
            with contextlib.suppress(Unsettled):
                for client, (_, call) in calls.items():
                    if call.name == "stop":
                        insist(session, client, Step("start"), patience_of(trial))
                session.perform(plan.phases[4])
                for client in [*crew, *calls]:
                    use_again(session, client, patience_of(trial))
                for client in calls:
                    insist(session, client, LEAVE, patience_of(trial))
                    insist(session, client, JOIN, patience_of(trial), is_member)
                insist(session, OBSERVER, RELEASE, patience_of(trial))
                try_both(session, patience_of(trial), _DOUBTER)
                insist(session, _DOUBTER, RELEASE, patience_of(trial))
                take_turns(session, patience_of(trial), _DOUBTER)

        history = trial.steer(plan, steer)
        judge = judges.all_of(
            link_judges.promptness, link_judges.locks(trial), link_judges.recovery
        )
        trial.conclude(history, judge, plan)


_FORGOTTEN = {2: slice(None), 4: slice(1), 6: slice(-1, None)}
"""Of which connections of a waiter's coordinator nothing is heard any more: of all, of the
oldest, of the newest."""

_HOLDER = 0

_UNTIL_WAITING = 0.3
"""Seconds after which a waiter has a connection for waiting; one that has not yet gets it
anew."""


@about_links(Feature.LOCKS)
def test_a_wait_over_connections_that_are_forgotten(trial: Trial) -> None:
    """Who waits gets the lock, and who watches hears of a join, over new connections.

    What comes of a pause of the machine does not come twice.
    """
    for last in (False, True):
        with contextlib.ExitStack() as stack:
            waiting = {
                waiter: stack.enter_context(Link(trial, (waiter, waiter + 1)))
                for waiter in _FORGOTTEN
            }
            plan = _waiting_plan(trial, waiting)
            history = trial.steer(plan, partial(_wait_forgotten, trial, plan, waiting))
        if link_judges.late(history).verdict is Verdict.HELD or last:
            judge = judges.all_of(
                link_judges.promptness,
                link_judges.late,
                link_judges.locks(trial),
                link_judges.recovery,
                link_judges.heard,
            )
            trial.conclude(history, judge, plan)
            return


def _waiting_plan(trial: Trial, waiting: dict[int, Link]) -> Plan:
    """Return a plan of a holder, and for each link a waiter and a watcher who share it."""
    take = {"blocking": patience_of(trial)} | OBJECT
    watches = Feature.WATCHES in trial.place.driver.features
    watchers = [waiter + 1 for waiter in waiting] if watches else []
    return Plan(
        {_HOLDER: _HOLDER}
        | {client: waiter for waiter in waiting for client in (waiter, waiter + 1)},
        [
            Phase(
                {
                    _HOLDER: [
                        *(own([ACQUIRE], waiter)[0] for waiter in waiting),
                        Step("create_group", GROUP),
                    ]
                }
            ),
            Phase({watcher: [Step("watch", GROUP), LISTEN] for watcher in watchers}),
            Phase({waiter: own([Step("acquire", LOCK, take)], waiter) for waiter in waiting}),
            Phase({_HOLDER: [own([RELEASE], waiter)[0] for waiter in waiting] + [JOIN]}),
            Phase({watcher: [LISTEN] for watcher in watchers}),
            Phase({waiter: again(waiter, patience_of(trial)) for waiter in waiting}),
        ],
        options=OPTIONS,
        patience=15 * TIMEOUT + patience_of(trial),
        urls={client: url for link in waiting.values() for client, url in link.urls.items()},
    ).without(trial.place.driver.lacks)


def _wait_forgotten(trial: Trial, plan: Plan, waiting: dict[int, Link], session: Session) -> None:
    """Forget the connections of those who wait, and give them what they wait for."""
    patience = patience_of(trial)
    *before, waits, release, looks, use = plan.phases
    session.perform_all(before)
    with session.during(waits):
        time.sleep(_UNTIL_WAITING)
        with contextlib.ExitStack() as stack:
            for waiter, link in waiting.items():
                proxy = stack.enter_context(link.broken(session, "strand"))
                if not proxy.strand(_FORGOTTEN[waiter]):
                    raise NotExercised("the driver keeps no connection while it waits")
            session.perform(release)
            for link in waiting.values():
                link.proxy.bury()
            session.perform(looks)  # at the same time; who has not heard looks again
        with contextlib.suppress(Unsettled):
            for watcher in looks.steps:
                if not link_judges.hears_of_a_join(watcher, session.history()):
                    insist(session, watcher, LISTEN, patience, link_judges.tells_of_a_join)
    session.perform(use)
    with contextlib.suppress(Unsettled):
        for waiter in waiting:
            use_again(session, waiter, patience)
            insist(session, waiter + 1, LOOK, patience)
