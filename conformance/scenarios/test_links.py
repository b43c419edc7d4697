"""Links: a server that never answers, a reply that is lost, a connection that comes to harm.

The link between a coordinator and the server leads through a proxy, which breaks it. A
second coordinator, the observer, goes straight to the server. Where the clients live
makes no difference to a link, so all are threads.
"""

from __future__ import annotations

import contextlib
from functools import partial

from conformance.characteristics import Feature
from conformance.scenarios import judges, link_judges
from conformance.scenarios.link_scripts import (
    ACQUIRE,
    ASK,
    BEAT,
    GROUP,
    JOIN,
    LEAVE,
    LOOK,
    OBSERVER,
    OPTIONS,
    RELEASE,
    TRIED,
    about_links,
    own,
    patience_of,
    silent_calls,
    take_turns,
    try_both,
    use_again,
)
from conformance.scenarios.links import TIMEOUT, Link, Unsettled, insist, is_member
from conformance.trial import Inconclusive, Trial
from conformance.workload.plan import Phase, Plan, Step
from conformance.workload.runner import Session


def _trials(trial: Trial) -> int:
    """Return how often a fault is tried: each takes time-outs."""
    return max(2, trial.profile.trials // 8)


# -- a server that never answers ----------------------------------------------------------


@about_links(Feature.LOCKS)
def test_a_server_that_never_answers(trial: Trial) -> None:
    """Every call ends in time, starting and stopping too, when the server falls silent."""
    calls = silent_calls(b"")
    can = [n for n, (_, call) in enumerate(calls) if call.name not in trial.place.driver.lacks]
    names = {client: b"own-%d" % client for client in can}
    scripts = {client: silent_calls(name)[client] for client, name in names.items()}
    ending = [Step("stop")]
    with Link(trial, scripts) as link:
        plan = Plan(
            {client: client for client in scripts},
            [
                Phase({0: [Step("create_group", GROUP)]}),
                Phase({client: before for client, (before, _) in scripts.items()}),
                Phase(
                    {
                        client: [call] if call.name in ("stop", "start") else [call, *ending]
                        for client, (_, call) in scripts.items()
                    }
                ),
            ],
            options=OPTIONS,
            patience=15 * TIMEOUT,
            urls=link.urls,
        ).without(trial.place.driver.lacks)

        def steer(session: Session) -> None:
            session.perform(plan.phases[0])
            session.perform(plan.phases[1])
            with link.broken(session, "stall") as proxy:
                proxy.stall()
                session.perform(plan.phases[2])
            with contextlib.suppress(Unsettled):
                for client, name in names.items():
                    insist(session, client, Step("start"), patience_of(trial))
                    take = Step("acquire", name, {"blocking": patience_of(trial)})
                    insist(session, client, take, patience_of(trial))
                    insist(session, client, Step("release", name), patience_of(trial))

        history = trial.steer(plan, steer)
        judge = judges.all_of(
            link_judges.promptness, link_judges.locks(trial), link_judges.recovery
        )
        trial.conclude(history, judge, plan)


# -- a lost reply -------------------------------------------------------------------------


@about_links(Feature.LOCKS)
def test_a_lost_reply_to_an_acquire(trial: Trial) -> None:
    """An acquire whose reply is lost leaves a lock that is held, or that becomes free."""
    _lose_replies(trial, [ACQUIRE, RELEASE], ACQUIRE)


@about_links(Feature.LOCKS)
def test_a_lost_reply_to_a_release(trial: Trial) -> None:
    """A release whose reply is lost leaves a lock that is held, or that is free."""
    _lose_replies(trial, [ACQUIRE], RELEASE)


def _lose_replies(trial: Trial, before: list[Step], call: Step) -> None:
    """Lose the reply to a call, then see whether client and server agree on the lock.

    The connection breaks at once, so that the client can ask again, or is silent until
    the call has ended, and breaks then.
    """
    for silent in [False, True] * _trials(trial):
        with Link(trial, [TRIED]) as link:
            plan = Plan(
                {TRIED: 0, OBSERVER: 1},
                [Phase({TRIED: before}), Phase({TRIED: [call]})],
                options=OPTIONS,
                urls=link.urls,
            ).without(trial.place.driver.lacks)

            def steer(
                session: Session, link: Link = link, plan: Plan = plan, silent: bool = silent
            ) -> None:
                session.perform(plan.phases[0])
                with link.broken(session, "lost reply") as proxy:
                    if silent:
                        proxy.drop_replies()
                    else:
                        proxy.break_at_reply()
                    session.perform(plan.phases[1])
                    if not proxy.wait_swallowed(0.0):
                        raise Inconclusive("the server did not reply before the call ended")
                    if silent:
                        proxy.cut()
                with contextlib.suppress(Unsettled):
                    _compare(session, patience_of(trial))

            history = trial.steer(plan, steer)
            trial.conclude(
                history, judges.all_of(link_judges.locks(trial), link_judges.recovery), plan
            )


def _compare(session: Session, patience: float) -> None:
    """Have a client say whether it holds, and another try; then both use the lock."""
    insist(session, TRIED, BEAT, patience)
    try_both(session, patience)
    insist(session, TRIED, RELEASE, patience)
    take_turns(session, patience)


# -- a connection that breaks -------------------------------------------------------------


@about_links(Feature.LOCKS)
def test_a_connection_that_breaks(trial: Trial) -> None:
    """After its connection broke, a coordinator knows what it lost, and works again."""
    for outage in [0.0, 2.5 * TIMEOUT] * _trials(trial):
        with Link(trial, [TRIED]) as link:
            alive = [Step("heartbeat", pause=TIMEOUT / 4)] * int(outage / TIMEOUT * 4)
            plan = Plan(
                {TRIED: 0, OBSERVER: 1},
                [
                    Phase({OBSERVER: [Step("create_group", GROUP)]}),
                    Phase({TRIED: [ACQUIRE, JOIN]}),
                    Phase({OBSERVER: alive}),
                ],
                options=OPTIONS,
                heart=False,  # a heart would be told of losses, and nobody else
                urls=link.urls,
            ).without(trial.place.driver.lacks)

            def steer(session: Session, link: Link = link, plan: Plan = plan) -> None:
                session.perform(plan.phases[0])
                session.perform(plan.phases[1])
                with link.broken(session, "cut") as proxy:
                    proxy.cut()
                    session.perform(plan.phases[2])
                with contextlib.suppress(Unsettled):
                    _take_stock(session, patience_of(trial))

            history = trial.steer(plan, steer)
            judge = judges.all_of(
                link_judges.locks(trial),
                link_judges.groups(trial),
                partial(link_judges.told, expires=link_judges.lifetime(trial) is not None),
                link_judges.recovery,
            )
            trial.conclude(history, judge, plan)


def _take_stock(session: Session, patience: float) -> None:
    """Have a client find out what it lost and get it again, while another looks on."""
    insist(session, TRIED, BEAT, patience)
    session.call(TRIED, BEAT)
    try_both(session, patience)
    insist(session, OBSERVER, LOOK, patience)
    insist(session, TRIED, LEAVE, patience)
    insist(session, TRIED, JOIN, patience, is_member)
    insist(session, OBSERVER, LOOK, patience)
    insist(session, TRIED, BEAT, patience)
    insist(session, TRIED, RELEASE, patience)
    take_turns(session, patience)


# -- several threads and a server that never answers --------------------------------------

_TOGETHER = 4
"""How many threads make each kind of call."""


@about_links(Feature.LOCKS)
def test_threads_that_ask_a_silent_server_together(trial: Trial) -> None:
    """Threads that share a coordinator do not wait for a silent server one after the other."""
    calls = [
        ([], ACQUIRE),
        ([ACQUIRE], ASK),
        ([ACQUIRE], RELEASE),
        ([], LOOK),
        ([], JOIN),
        ([], Step("get_leader", GROUP)),
        ([], BEAT),
    ]
    lacks = trial.place.driver.lacks
    kinds = [(before, call) for before, call in calls if call.name not in lacks] * _TOGETHER
    clients = {client: (own(b, client), own([c], client)) for client, (b, c) in enumerate(kinds)}
    with Link(trial, clients) as link:
        plan = Plan(
            dict.fromkeys(clients, 0),
            [
                Phase({0: [Step("create_group", GROUP)]}),
                Phase({client: before for client, (before, _) in clients.items()}),
                Phase({client: call for client, (_, call) in clients.items()}),
            ],
            options=OPTIONS,
            patience=15 * TIMEOUT,
            urls=link.urls,
        ).without(lacks)

        def steer(session: Session) -> None:
            session.perform_all(plan.phases[:2])
            with link.broken(session, "stall") as proxy:
                proxy.stall()
                session.perform(plan.phases[2])
            with contextlib.suppress(Unsettled):
                for client in clients:
                    use_again(session, client, patience_of(trial))
                insist(session, 0, LEAVE, patience_of(trial))
                insist(session, 0, JOIN, patience_of(trial), is_member)

        history = trial.steer(plan, steer)
        judge = judges.all_of(
            link_judges.promptness, link_judges.locks(trial), link_judges.recovery
        )
        trial.conclude(history, judge, plan)
