"""Links: a server that never answers, a reply that is lost, a connection that comes to harm.

The link between a coordinator and the server leads through a proxy, which breaks it. A
second coordinator, the observer, goes straight to the server. Where the clients live
makes no difference to a link, so all are threads.
"""

from __future__ import annotations

import contextlib
import time
from functools import partial

import msgspec
import pytest

from conformance.characteristics import Feature
from conformance.scenarios import judges, links
from conformance.scenarios.links import TIMEOUT, Link, Unsettled, insist
from conformance.trial import Inconclusive, NotExercised, Trial
from conformance.verdict import Verdict
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

_LEAVE = Step("leave_group", GROUP)
_LOOK = Step("get_members", GROUP)
_LISTEN = Step("run_watchers", GROUP)


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


def _try_both(session: Session, patience: float, client: int = _TRIED) -> None:
    """Have a client say whether it holds, another try, and the first say so again."""
    insist(session, client, _ASK, patience)
    insist(session, client, _BELIEVE, patience)
    tried = insist(session, _OBSERVER, _ACQUIRE, patience)
    insist(session, client, _ASK, patience)
    if tried is not None and tried.value is True:
        insist(session, _OBSERVER, _RELEASE, patience)


def _take_turns(session: Session, patience: float, client: int = _TRIED) -> None:
    """Have the observer, then the client, acquire the lock and release it."""
    take = Step("acquire", LOCK, {"blocking": patience} | _OBJECT)
    for one in (_OBSERVER, client):
        insist(session, one, take, patience)
        insist(session, one, _RELEASE, patience)


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
    insist(session, _TRIED, _LEAVE, patience)
    insist(session, _TRIED, _JOIN, patience, links.is_member)
    insist(session, _OBSERVER, _LOOK, patience)
    insist(session, _TRIED, _BEAT, patience)
    insist(session, _TRIED, _RELEASE, patience)
    _take_turns(session, patience)


# -- connections that are forgotten -------------------------------------------------------

_CREW = range(50, 62)
"""Clients that share a coordinator, numbered as the first of them, which has no heart."""

_CALLING_SECONDS = 0.1
"""Seconds after which all of them have a call under way, so that each has a connection of its
own where the driver makes as many."""

_DOUBTER = 40
"""A client that has no heart, and asks for its lock again and again."""

_DOUBTS = 3

_HEARTLESS = [Step("stop"), Step("start")]


@_about_links(Feature.LOCKS)
def test_idle_connections_that_are_forgotten(trial: Trial) -> None:
    """A coordinator works again after its connections fell silent for ever, and says no untruth."""
    lacks = trial.place.driver.lacks
    calls = {
        client: ([_on_object(step) for step in before], _on_object(call))
        for client, (before, call) in enumerate(_silent_calls(b"own"), _OBSERVER + 1)
        if call.name not in lacks and call.name != "start"
    }
    calls = {c: (_own(before, c), _own([call], c)[0]) for c, (before, call) in calls.items()}
    doubts = [_ASK, _BELIEVE] * _DOUBTS
    crew = {client: _own([_ACQUIRE], client) for client in _CREW}
    on_link = [*calls, _DOUBTER, *crew]
    with Link(trial, on_link) as link:
        plan = Plan(
            {_OBSERVER: _OBSERVER}
            | {client: _CREW[0] if client in crew else client for client in on_link},
            [
                Phase({_OBSERVER: [Step("create_group", GROUP)]}),
                Phase(
                    {client: before for client, (before, _) in calls.items()}
                    | {_DOUBTER: [*_HEARTLESS, _ACQUIRE], _CREW[0]: _HEARTLESS}
                ),
                Phase(crew),
                Phase(
                    {client: [call] for client, (_, call) in calls.items()}
                    | {
                        _DOUBTER: doubts,
                        _CREW[0]: _own([_ASK], _CREW[0]),
                        _OBSERVER: [Step("acquire", LOCK, {"blocking": 1.5 * TIMEOUT} | _OBJECT)],
                    }
                ),
                Phase(
                    {client: [*_again(client, _patience(trial)), _LEAVE] for client in calls}
                    | {_CREW[0]: [_BEAT]}
                ),
            ],
            options=_OPTIONS,
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
                        insist(session, client, Step("start"), _patience(trial))
                session.perform(plan.phases[4])
                for client in [*crew, *calls]:
                    _use_again(session, client, _patience(trial))
                for client in calls:
                    insist(session, client, _LEAVE, _patience(trial))
                    insist(session, client, _JOIN, _patience(trial), links.is_member)
                insist(session, _OBSERVER, _RELEASE, _patience(trial))
                _try_both(session, _patience(trial), _DOUBTER)
                insist(session, _DOUBTER, _RELEASE, _patience(trial))
                _take_turns(session, _patience(trial), _DOUBTER)

        history = trial.steer(plan, steer)
        judge = judges.all_of(links.promptness, links.locks(trial), links.recovery)
        trial.conclude(history, judge, plan)


def _on_object(step: Step) -> Step:
    """Return a step that uses the lock object which its coordinator keeps."""
    if step.name not in ("acquire", "release", "is_still_owner", "lock_heartbeat"):
        return step
    return msgspec.structs.replace(step, arguments=step.arguments | _OBJECT)


def _own(steps: list[Step], client: int) -> list[Step]:
    """Return steps with a lock and a leadership that nobody else uses."""
    own = b"own-%d" % client
    return [step if step.target in (b"", GROUP) else _at(step, own) for step in steps]


def _at(step: Step, target: bytes) -> Step:
    return msgspec.structs.replace(step, target=target)


def _again(client: int, patience: float) -> list[Step]:
    """Return how a client gives back what it may have, and uses its lock once more."""
    take = Step("acquire", LOCK, {"blocking": patience} | _OBJECT)
    return _own([_RELEASE, take, _RELEASE, _BEAT], client)


def _use_again(session: Session, client: int, patience: float) -> None:
    for step in _again(client, patience):
        insist(session, client, step, patience)


_FORGOTTEN = {2: slice(None), 4: slice(1), 6: slice(-1, None)}
"""Of which connections of a waiter's coordinator nothing is heard any more: of all, of the
oldest, of the newest."""

_HOLDER = 0

_UNTIL_WAITING = 0.3
"""Seconds after which a waiter has a connection for waiting; one that has not yet gets it
anew."""


@_about_links(Feature.LOCKS)
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
        if links.late(history).verdict is Verdict.HELD or last:
            judge = judges.all_of(
                links.promptness,
                links.late,
                links.locks(trial),
                links.recovery,
                links.heard,
            )
            trial.conclude(history, judge, plan)
            return


def _waiting_plan(trial: Trial, waiting: dict[int, Link]) -> Plan:
    """Return a plan of a holder, and for each link a waiter and a watcher who share it."""
    take = {"blocking": _patience(trial)} | _OBJECT
    watches = Feature.WATCHES in trial.place.driver.features
    watchers = [waiter + 1 for waiter in waiting] if watches else []
    return Plan(
        {_HOLDER: _HOLDER}
        | {client: waiter for waiter in waiting for client in (waiter, waiter + 1)},
        [
            Phase(
                {
                    _HOLDER: [
                        *(_own([_ACQUIRE], waiter)[0] for waiter in waiting),
                        Step("create_group", GROUP),
                    ]
                }
            ),
            Phase({watcher: [Step("watch", GROUP), _LISTEN] for watcher in watchers}),
            Phase({waiter: _own([Step("acquire", LOCK, take)], waiter) for waiter in waiting}),
            Phase({_HOLDER: [_own([_RELEASE], waiter)[0] for waiter in waiting] + [_JOIN]}),
            Phase({watcher: [_LISTEN] for watcher in watchers}),
            Phase({waiter: _again(waiter, _patience(trial)) for waiter in waiting}),
        ],
        options=_OPTIONS,
        patience=15 * TIMEOUT + _patience(trial),
        urls={client: url for link in waiting.values() for client, url in link.urls.items()},
    ).without(trial.place.driver.lacks)


def _wait_forgotten(trial: Trial, plan: Plan, waiting: dict[int, Link], session: Session) -> None:
    """Forget the connections of those who wait, and give them what they wait for."""
    patience = _patience(trial)
    *before, waits, release, looks, again = plan.phases
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
                if not links.hears_of_a_join(watcher, session.history()):
                    insist(session, watcher, _LISTEN, patience, links.tells_of_a_join)
    session.perform(again)
    with contextlib.suppress(Unsettled):
        for waiter in waiting:
            _use_again(session, waiter, patience)
            insist(session, waiter + 1, _LOOK, patience)


# -- several threads and a server that never answers --------------------------------------

_TOGETHER = 4
"""How many threads make each kind of call."""


@_about_links(Feature.LOCKS)
def test_threads_that_ask_a_silent_server_together(trial: Trial) -> None:
    """Threads that share a coordinator do not wait for a silent server one after the other."""
    calls = [
        ([], _ACQUIRE),
        ([_ACQUIRE], _ASK),
        ([_ACQUIRE], _RELEASE),
        ([], _LOOK),
        ([], _JOIN),
        ([], Step("get_leader", GROUP)),
        ([], _BEAT),
    ]
    lacks = trial.place.driver.lacks
    kinds = [(before, call) for before, call in calls if call.name not in lacks] * _TOGETHER
    clients = {client: (_own(b, client), _own([c], client)) for client, (b, c) in enumerate(kinds)}
    with Link(trial, clients) as link:
        plan = Plan(
            dict.fromkeys(clients, 0),
            [
                Phase({0: [Step("create_group", GROUP)]}),
                Phase({client: before for client, (before, _) in clients.items()}),
                Phase({client: call for client, (_, call) in clients.items()}),
            ],
            options=_OPTIONS,
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
                    _use_again(session, client, _patience(trial))
                insist(session, 0, _LEAVE, _patience(trial))
                insist(session, 0, _JOIN, _patience(trial), links.is_member)

        history = trial.steer(plan, steer)
        judge = judges.all_of(links.promptness, links.locks(trial), links.recovery)
        trial.conclude(history, judge, plan)
