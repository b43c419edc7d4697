"""Links: a server that never answers, a reply that is lost, a connection that breaks.

The link between a coordinator and the server leads through a proxy, which breaks it. A
second coordinator, the observer, goes straight to the server. Where the clients live
makes no difference to a link, so all are threads.
"""

from __future__ import annotations

import contextlib
from functools import partial

import pytest

from conformance.characteristics import Feature
from conformance.scenarios import judges, links
from conformance.scenarios.links import TIMEOUT, Link, Unsettled, insist
from conformance.trial import Inconclusive, Trial
from conformance.workload.plan import Phase, Plan, Step
from conformance.workload.runner import Session
from conformance.workload.strategies import GROUPS


def _about_links(*needs: Feature) -> pytest.MarkDecorator:
    return pytest.mark.scenario("links", needs=needs, levels=("threads",), remote=True)


LOCK = b"lock-a"
GROUP = GROUPS[0]

_OPTIONS = {"timeout": TIMEOUT}

_TRIED, _OBSERVER = 0, 1
"""The client whose link breaks, and the one who goes straight to the server."""

_OBJECT = {"object": 0}
"""The lock object of a client, which it keeps after a call of unknown outcome."""

_ACQUIRE = Step("acquire", LOCK, {"blocking": False} | _OBJECT)
_RELEASE = Step("release", LOCK, _OBJECT)
_ASK = Step("is_still_owner", LOCK, _OBJECT)
_BELIEVE = Step("acquired", LOCK, _OBJECT)
_BEAT = Step("heartbeat")
_JOIN = Step("join_group", GROUP, {"capabilities": "here"})

_LOOK = Step("get_members", GROUP)


def _patience(trial: Trial) -> float:
    """Return the seconds after which what rests on time-outs has happened for certain."""
    return 3.0 + 3 * max(TIMEOUT, trial.place.driver.least_timeout)


def _trials(trial: Trial) -> int:
    """Return how often a fault is tried: each takes time-outs."""
    return max(2, trial.profile.trials // 8)


# -- a server that never answers ----------------------------------------------------------


def _silent_calls(lock: bytes) -> list[tuple[list[Step], Step]]:
    """Return calls of which the server will hear nothing, and what comes before each."""
    take, join = Step("acquire", lock, {"blocking": False}), Step("join_group", GROUP)
    hold = [take, join, Step("campaign", lock)]
    return [
        ([join], take),
        ([join], Step("acquire", lock, {"blocking": TIMEOUT})),
        (hold, Step("release", lock)),
        (hold, Step("is_still_owner", lock)),
        (hold, Step("lock_heartbeat", lock)),
        ([take], join),
        (hold, Step("leave_group", GROUP)),
        (hold, Step("get_members", GROUP)),
        (hold, Step("get_leader", lock)),
        ([take], Step("campaign", lock)),
        (hold, Step("heartbeat")),
        (hold, Step("stop")),
        ([*hold, Step("stop")], Step("start")),
    ]


@_about_links(Feature.LOCKS)
def test_a_server_that_never_answers(trial: Trial) -> None:
    """Every call ends in time, starting and stopping too, when the server falls silent."""
    calls = _silent_calls(b"")
    can = [n for n, (_, call) in enumerate(calls) if call.name not in trial.place.driver.lacks]
    names = {client: b"own-%d" % client for client in can}
    scripts = {client: _silent_calls(name)[client] for client, name in names.items()}
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
            options=_OPTIONS,
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
                    insist(session, client, Step("start"), _patience(trial))
                    take = Step("acquire", name, {"blocking": _patience(trial)})
                    insist(session, client, take, _patience(trial))
                    insist(session, client, Step("release", name), _patience(trial))

        history = trial.steer(plan, steer)
        judge = judges.all_of(links.promptness, links.locks(trial), links.recovery)
        trial.conclude(history, judge, plan)


# -- a lost reply -------------------------------------------------------------------------


@_about_links(Feature.LOCKS)
def test_a_lost_reply_to_an_acquire(trial: Trial) -> None:
    """An acquire whose reply is lost leaves a lock that is held, or that becomes free."""
    _lose_replies(trial, [_ACQUIRE, _RELEASE], _ACQUIRE)


@_about_links(Feature.LOCKS)
def test_a_lost_reply_to_a_release(trial: Trial) -> None:
    """A release whose reply is lost leaves a lock that is held, or that is free."""
    _lose_replies(trial, [_ACQUIRE], _RELEASE)


def _lose_replies(trial: Trial, before: list[Step], call: Step) -> None:
    """Lose the reply to a call, then see whether client and server agree on the lock.

    The connection breaks at once, so that the client can ask again, or is silent until
    the call has ended, and breaks then.
    """
    for silent in [False, True] * _trials(trial):
        with Link(trial, [_TRIED]) as link:
            plan = Plan(
                {_TRIED: 0, _OBSERVER: 1},
                [Phase({_TRIED: before}), Phase({_TRIED: [call]})],
                options=_OPTIONS,
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
                    _compare(session, _patience(trial))

            history = trial.steer(plan, steer)
            trial.conclude(history, judges.all_of(links.locks(trial), links.recovery), plan)


def _compare(session: Session, patience: float) -> None:
    """Have a client say whether it holds, and another try; then both use the lock."""
    insist(session, _TRIED, _BEAT, patience)
    _try_both(session, patience)
    insist(session, _TRIED, _RELEASE, patience)
    _take_turns(session, patience)


def _try_both(session: Session, patience: float) -> None:
    """Have a client say whether it holds, another try, and the first say so again."""
    insist(session, _TRIED, _ASK, patience)
    insist(session, _TRIED, _BELIEVE, patience)
    tried = insist(session, _OBSERVER, _ACQUIRE, patience)
    insist(session, _TRIED, _ASK, patience)
    if tried is not None and tried.value is True:
        insist(session, _OBSERVER, _RELEASE, patience)


def _take_turns(session: Session, patience: float) -> None:
    """Have the observer, then the client, acquire the lock and release it."""
    take = Step("acquire", LOCK, {"blocking": patience} | _OBJECT)
    for client in (_OBSERVER, _TRIED):
        insist(session, client, take, patience)
        insist(session, client, _RELEASE, patience)


# -- a connection that breaks -------------------------------------------------------------


@_about_links(Feature.LOCKS)
def test_a_connection_that_breaks(trial: Trial) -> None:
    """After its connection broke, a coordinator knows what it lost, and works again."""
    for outage in [0.0, 2.5 * TIMEOUT] * _trials(trial):
        with Link(trial, [_TRIED]) as link:
            alive = [Step("heartbeat", pause=TIMEOUT / 4)] * int(outage / TIMEOUT * 4)
            plan = Plan(
                {_TRIED: 0, _OBSERVER: 1},
                [
                    Phase({_OBSERVER: [Step("create_group", GROUP)]}),
                    Phase({_TRIED: [_ACQUIRE, _JOIN]}),
                    Phase({_OBSERVER: alive}),
                ],
                options=_OPTIONS,
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
                    _take_stock(session, _patience(trial))

            history = trial.steer(plan, steer)
            judge = judges.all_of(
                links.locks(trial),
                links.groups(trial),
                partial(links.told, expires=links.lifetime(trial) is not None),
                links.recovery,
            )
            trial.conclude(history, judge, plan)


def _take_stock(session: Session, patience: float) -> None:
    """Have a client find out what it lost and get it again, while another looks on."""
    insist(session, _TRIED, _BEAT, patience)
    session.call(_TRIED, _BEAT)
    _try_both(session, patience)
    insist(session, _OBSERVER, _LOOK, patience)
    insist(session, _TRIED, Step("leave_group", GROUP), patience)
    insist(session, _TRIED, _JOIN, patience, links.is_member)
    insist(session, _OBSERVER, _LOOK, patience)
    insist(session, _TRIED, _BEAT, patience)
    insist(session, _TRIED, _RELEASE, patience)
    _take_turns(session, patience)
