"""Hygiene: ``stop()`` gives everything back, and leaves nothing behind."""

from __future__ import annotations

import pytest
from hypothesis import strategies as st

from conformance.characteristics import Feature
from conformance.checkers.exercise import succeeded
from conformance.history import History
from conformance.scenarios import judges, link_judges
from conformance.scenarios.grounds import Count, Ground, grown, own_ground
from conformance.scenarios.links import TIMEOUT, Link
from conformance.trial import Inconclusive, Judge, Least, Trial
from conformance.verdict import Finding, Verdict
from conformance.workload.plan import Phase, Plan, Step
from conformance.workload.runner import Session
from conformance.workload.strategies import GROUPS

pytestmark = pytest.mark.scenario("hygiene")

LOCK = b"lock-a"
GROUP = GROUPS[0]

_FIRST_LIVES = 4
"""How many lives come before the first count: what is made once is there after them."""

_LIVES = {"smoke": 5, "gate": 50, "nightly": 200}
"""How many lives a coordinator has in each profile. Growth of one falsifies, so what grows
with each life is seen with few; more of them find what grows now and then."""

_PATIENCE = 600.0
"""Seconds that hundreds of lives may take on a busy machine."""

_LEAST_FULL = 0.9
"""The part of all lives that must not fail, for the count to mean anything."""


@pytest.mark.scenario("hygiene", needs=(Feature.LOCKS,))
def test_stopping_gives_everything_back(trial: Trial) -> None:
    """After ``stop()`` the locks are free, the member is gone and the leader is none."""
    hold = [
        Step("acquire", LOCK, {"blocking": False}),
        Step("join_group", GROUP, {"capabilities": "here"}),
        Step("campaign", GROUP),
    ]
    look = [
        Step("acquire", LOCK, {"blocking": False}),
        Step("release", LOCK),
        Step("get_members", GROUP),
        Step("get_leader", GROUP),
        Step("campaign", GROUP),
        Step("delete_group", GROUP),
    ]
    again = [Step("is_started"), Step("start"), *look[:2]]

    @st.composite
    def stopping(draw: st.DrawFn) -> Plan:
        held = draw(st.permutations(hold))
        held = held[: draw(st.integers(1, len(held)))]
        return Plan(
            {0: 0, 1: 1},
            [
                Phase({0: [Step("create_group", GROUP), *held]}),
                Phase({0: [Step("stop")]}),
                Phase({1: look}),
                Phase({0: again}),
            ],
        )

    trial.explore(
        stopping(),
        judges.all_of(judges.locks, judges.leadership, judges.groups(trial)),
        least=[Least("successful operations", 6 * trial.profile.trials, succeeded)],
    )


@pytest.mark.scenario("hygiene", needs=(Feature.LOCKS,), levels=("threads",))
def test_stopping_ends_a_wait(trial: Trial) -> None:
    """``stop()`` returns while another thread waits for a lock, and the wait ends."""
    for wait in (True, 20.0):
        plan = Plan(
            {0: 0, 1: 1, 2: 1},
            [
                Phase({0: [Step("acquire", LOCK, {"blocking": False})]}),
                Phase(
                    {
                        1: [Step("acquire", LOCK, {"blocking": wait})],
                        2: [Step("stop", pause=0.05)],
                    }
                ),
                Phase({0: [Step("is_still_owner", LOCK), Step("release", LOCK)]}),
            ],
            patience=15.0,
        )
        history = trial.run(plan)
        stuck = [operation for operation in history.operations if operation.end is None]
        trial.require(
            not stuck,
            "stop",
            "stop() did not return, or a wait for a lock went on after it",
            history,
            plan,
        )


def test_starting_and_stopping_leaves_nothing(trial: Trial) -> None:
    """Nothing grows with starts and stops: here, on the way to the server, or on it.

    Every other life gives back what it held before it stops. The second coordinator is
    there to be in the first one's way, for which a few of its lives will do.
    """
    times = _LIVES[trial.profile.name]
    lives = {0: times, 1: times // 4}
    clients = tuple(lives)
    processes = clients[:1] if trial.place.level == "threads" else clients
    with own_ground(trial) as ground:
        plan = Plan(
            {client: client for client in clients},
            [
                Phase({client: [Step("stop")] for client in clients}),
                Phase({client: _lives(client, _FIRST_LIVES) for client in clients}),
                Phase({client: _lives(client, count) for client, count in lives.items()}),
            ],
            patience=_PATIENCE,
            urls=dict.fromkeys(clients, ground.url),
        ).without(trial.place.driver.lacks)
        counts: list[Count] = []

        def steer(session: Session) -> None:
            session.perform(plan.phases[0])
            session.perform(plan.phases[1])
            counts.append(ground.settled(session, processes))
            session.perform(plan.phases[2])
            counts.append(ground.settled(session, processes, counts[0]))

        history = trial.steer(plan, steer)
    finding = trial.judge(history, _lived(sum(lives.values())), plan)
    _require_no_growth(trial, counts, times, history, plan)
    _require_conclusion(finding)


@pytest.mark.scenario(
    "hygiene", needs=(Feature.LOCKS, Feature.GROUPS), levels=("threads",), remote=True
)
def test_stopping_without_the_server_leaves_nothing(trial: Trial) -> None:
    """Nothing grows here when the connection is cut each time before a coordinator stops.

    A driver may take the time that it gives a server to answer to find that none does, so
    these lives are fewer.
    """
    times = max(_LIVES["smoke"], _LIVES[trial.profile.name] // 4)
    with Link(trial, [0]) as link:
        plan = Plan(
            {0: 0},
            [Phase({0: [Step("stop")]})],
            options={"timeout": TIMEOUT},
            urls=link.urls,
        )
        ground = Ground(link.urls[0], link.proxy)
        counts: list[Count] = []

        def live(session: Session, first: int, count: int) -> None:
            for number in range(first, first + count):
                session.perform(Phase({0: _holding(b"%d" % number)}))
                with link.broken(session, "cut") as proxy:
                    proxy.cut()
                    session.perform(plan.phases[0])

        def steer(session: Session) -> None:
            session.perform(plan.phases[0])
            live(session, 0, _FIRST_LIVES)
            counts.append(ground.settled(session, [0]))
            live(session, _FIRST_LIVES, times)
            counts.append(ground.settled(session, [0], counts[0]))

        history = trial.steer(plan, steer)
    finding = trial.judge(history, judges.all_of(link_judges.promptness, _lived(times)), plan)
    _require_no_growth(trial, counts, times, history, plan)
    _require_conclusion(finding)


def _lives(client: int, times: int) -> list[Step]:
    """Return that many lives of a coordinator, each with all that it can hold."""
    start = Step("start", arguments={"heart": True})
    join = Step("join_group_create", GROUP, {"capabilities": "here"})
    stand = Step("campaign", GROUP)
    gives_back = [
        Step("acquire", LOCK, {"blocking": True}),
        Step("release", LOCK),
        join,
        stand,
        Step("stand_down", GROUP),
        Step("leave_group", GROUP),
    ]
    steps = []
    for number in range(times):
        # Another name each time: what a lock leaves behind may be one for each name.
        own = Step("acquire", b"lock-%d-%d-%d" % (client, times, number), {"blocking": False})
        steps += [start, *([own, join, stand] if number % 2 else gives_back), Step("stop")]
    return steps


def _holding(name: bytes) -> list[Step]:
    """Return the beginning of a life that holds what no other does.

    What servers free after a time-out would be in the way of the next life.
    """
    return [
        Step("start", arguments={"heart": True}),
        Step("acquire", name, {"blocking": False}),
        Step("join_group_create", name),
    ]


def _lived(times: int) -> Judge:
    """Return a judge that is content with so many lives, most of them full."""

    def judge(history: History) -> Finding:
        for name in ("start", "acquire", "join_group_create", "stop"):
            calls = history.only(name)
            done = sum(call.is_ok and call.value is not False for call in calls)
            if calls and done < times * _LEAST_FULL:
                reason = f"only {done} calls of {name} in {times} lives did what they are to"
                return Finding(Verdict.INCONCLUSIVE, "lives", reason)
        return judges.held("lives")

    return judge


def _require_no_growth(
    trial: Trial, counts: list[Count], times: int, history: History, plan: Plan
) -> None:
    more = grown(*counts)
    reason = f"after {times} further starts and stops: {'; '.join(more)}"
    trial.require(not more, "growth", reason, history, plan)


def _require_conclusion(finding: Finding) -> None:
    if finding.verdict is Verdict.INCONCLUSIVE:
        raise Inconclusive(finding.reason)
