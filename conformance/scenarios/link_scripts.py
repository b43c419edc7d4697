"""What clients do on links that break, before and after."""

from __future__ import annotations

import msgspec
import pytest

from conformance.characteristics import Feature
from conformance.scenarios.links import TIMEOUT, insist
from conformance.trial import Trial
from conformance.workload.plan import Step
from conformance.workload.runner import Session
from conformance.workload.strategies import GROUPS

__all__ = [
    "ACQUIRE",
    "ASK",
    "BEAT",
    "BELIEVE",
    "GROUP",
    "JOIN",
    "LEAVE",
    "LISTEN",
    "LOCK",
    "LOOK",
    "OBJECT",
    "OBSERVER",
    "OPTIONS",
    "RELEASE",
    "TRIED",
    "about_links",
    "again",
    "on_object",
    "own",
    "patience_of",
    "silent_calls",
    "take_turns",
    "try_both",
    "use_again",
]

TRIED, OBSERVER = 0, 1
"""The client whose link breaks, and the one who goes straight to the server."""


def about_links(*needs: Feature) -> pytest.MarkDecorator:
    """Return the mark of a scenario about links, for drivers that have these features."""
    return pytest.mark.scenario("links", needs=needs, levels=("threads",), remote=True)


LOCK = b"lock-a"
GROUP = GROUPS[0]

OPTIONS = {"timeout": TIMEOUT}

OBJECT = {"object": 0}
"""The lock object of a client, which it keeps after a call of unknown outcome."""

ACQUIRE = Step("acquire", LOCK, {"blocking": False} | OBJECT)
RELEASE = Step("release", LOCK, OBJECT)
ASK = Step("is_still_owner", LOCK, OBJECT)
BELIEVE = Step("acquired", LOCK, OBJECT)
BEAT = Step("heartbeat")
JOIN = Step("join_group", GROUP, {"capabilities": "here"})

LEAVE = Step("leave_group", GROUP)
LOOK = Step("get_members", GROUP)
LISTEN = Step("run_watchers", GROUP)


def patience_of(trial: Trial) -> float:
    """Return the seconds after which what rests on time-outs has happened for certain."""
    return 3.0 + 3 * max(TIMEOUT, trial.place.driver.least_timeout)


def silent_calls(lock: bytes) -> list[tuple[list[Step], Step]]:
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


def on_object(step: Step) -> Step:
    """Return a step that uses the lock object which its coordinator keeps."""
    if step.name not in ("acquire", "release", "is_still_owner", "lock_heartbeat"):
        return step
    return msgspec.structs.replace(step, arguments=step.arguments | OBJECT)


def own(steps: list[Step], client: int) -> list[Step]:
    """Return steps with a lock and a leadership that nobody else uses."""
    name = b"own-%d" % client
    return [step if step.target in (b"", GROUP) else _at(step, name) for step in steps]


def _at(step: Step, target: bytes) -> Step:
    return msgspec.structs.replace(step, target=target)


def again(client: int, patience: float) -> list[Step]:
    """Return how a client gives back what it may have, and uses its lock once more."""
    take = Step("acquire", LOCK, {"blocking": patience} | OBJECT)
    return own([RELEASE, take, RELEASE, BEAT], client)


def use_again(session: Session, client: int, patience: float) -> None:
    """Have a client give back what it may have, and use its lock once more."""
    for step in again(client, patience):
        insist(session, client, step, patience)


def try_both(session: Session, patience: float, client: int = TRIED) -> None:
    """Have a client say whether it holds, another try, and the first say so again."""
    insist(session, client, ASK, patience)
    insist(session, client, BELIEVE, patience)
    tried = insist(session, OBSERVER, ACQUIRE, patience)
    insist(session, client, ASK, patience)
    if tried is not None and tried.value is True:
        insist(session, OBSERVER, RELEASE, patience)


def take_turns(session: Session, patience: float, client: int = TRIED) -> None:
    """Have the observer, then the client, acquire the lock and release it."""
    take = Step("acquire", LOCK, {"blocking": patience} | OBJECT)
    for one in (OBSERVER, client):
        insist(session, one, take, patience)
        insist(session, one, RELEASE, patience)
