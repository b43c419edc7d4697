"""Stopping beside a call: what other threads are doing when their coordinator is stopped.

Clients of one coordinator wait for a lock, join groups and run watchers; one more stops it.
Another coordinator then looks at what is left, which must be nothing, and the one that was
stopped must be fit to start again.
"""

from __future__ import annotations

from functools import partial

import msgspec
import pytest
from hypothesis import strategies as st

from conformance.characteristics import Feature
from conformance.checkers.exercise import beside_a_stop
from conformance.checkers.moves import end_of
from conformance.history import NEVER, History, Operation, lane
from conformance.scenarios import judges
from conformance.trial import Least, Trial
from conformance.verdict import Finding, Verdict
from conformance.workload.plan import Phase, Plan, Step
from conformance.workload.strategies import GROUPS

LOCK = b"lock-a"
GROUP = GROUPS[0]

_OBSERVER, _WAITER, _MEMBER, _WATCHER, _STOPPER = range(5)
"""Who looks on, by a coordinator of its own, and who have the one that is stopped."""

_COORDINATORS = {_OBSERVER: 0, _WAITER: 1, _MEMBER: 1, _WATCHER: 1, _STOPPER: 1}

_LINGER = 0.004
"""Seconds that a callback takes, so that others are due when the coordinator stops."""

_STOP = 0.012
"""When the coordinator is stopped, in seconds after all began. What others call is called up
to that long before, or just after it."""

_AROUND = st.sampled_from([-0.004, -0.001, -0.0003, 0.0, 0.0003, 0.002])
"""Seconds between the stop and a call that may meet it."""

_AFTER = st.sampled_from([-0.001, 0.0, 0.0003, 0.002, 0.03, 0.03])
"""The same of the end of a hold, which others wait for: mostly it comes after the stop."""

_BEFORE = st.sampled_from([-_STOP, -0.006, -0.003, -0.001, 0.0])
"""The same of a call that takes some time."""

_DELIVERIES = st.sampled_from([Step("run_watchers"), Step("campaign", GROUP)])
"""Calls that have callbacks called: those of all watches, and those of elections."""

_PATIENCE = 15.0
"""Seconds in which what must not hang returns, on a busy machine too."""

_TAKE = Step("acquire", LOCK, {"blocking": False})
_LOOKS = [
    _TAKE,
    *(Step("get_members", group) for group in GROUPS),
    *(Step("get_leader", group) for group in GROUPS),
    Step("campaign", GROUP),
]
_RETREAT = [Step("release", LOCK), Step("stand_down", GROUP)]
_NEW_LIFE = [
    Step("start", arguments={"heart": True}),
    _TAKE,
    Step("release", LOCK),
    Step("join_group", GROUP),
    Step("campaign", GROUP),
    Step("stop"),
]


@pytest.mark.scenario("hygiene", needs=(Feature.LOCKS,), levels=("threads",))
def test_stopping_beside_a_call(trial: Trial) -> None:
    """``stop()`` ends what other threads have under way, and nothing comes of it later."""
    watched = [
        Step(name, group, {"linger": _LINGER})
        for name in ("watch", "watch_elected")
        for group in GROUPS
    ]

    @st.composite
    def stopping(draw: st.DrawFn) -> Plan:
        waits = st.sampled_from([True, 20.0])
        wait = [Step("acquire", LOCK, {"blocking": draw(waits)}) for _ in range(2)]
        between = draw(st.sampled_from([[], [Step("release", LOCK)]]))
        joins = [Step("join_group", group, {"capabilities": "here"}) for group in GROUPS]
        beside = {
            _OBSERVER: _at(_AFTER, draw, [Step("release", LOCK)]),
            _WAITER: _at(_BEFORE, draw, [wait[0], *between, wait[1]]),
            _MEMBER: _at(_AROUND, draw, joins),
            _WATCHER: _at(_BEFORE, draw, [draw(_DELIVERIES), Step("run_watchers")]),
            _STOPPER: [Step("stop", pause=_STOP)],
        }
        return Plan(
            _COORDINATORS,
            [
                Phase({_OBSERVER: [Step("create_group", group) for group in GROUPS]}),
                Phase({_WATCHER: watched}),
                Phase({_OBSERVER: [_TAKE, *(Step("join_group", group) for group in GROUPS)]}),
                Phase(beside),
                Phase({_OBSERVER: _LOOKS, _WATCHER: [Step("heard")]}),
                Phase({_OBSERVER: _RETREAT}),
                Phase({_STOPPER: _NEW_LIFE}),
            ],
            patience=_PATIENCE,
        )

    trials = trial.profile.trials // 2
    least = [Least("waits beside a stop", trials // 8, partial(beside_a_stop, name="acquire"))]
    if "run_watchers" not in trial.place.driver.lacks:
        least.append(Least("deliveries beside a stop", trials // 8, _deliveries_beside_a_stop))
    trial.explore(
        stopping(),
        judges.all_of(
            _it_stops, _nothing_is_left, _nothing_is_heard, judges.locks, _it_starts_again
        ),
        least=least,
        trials=trials,
    )


def _deliveries_beside_a_stop(history: History) -> int:
    return beside_a_stop(history, "run_watchers") + beside_a_stop(history, "campaign")


def _at(moments: st.SearchStrategy[float], draw: st.DrawFn, script: list[Step]) -> list[Step]:
    """Return a script that begins at a moment that is drawn, counted from the stop."""
    return [msgspec.structs.replace(script[0], pause=_STOP + draw(moments)), *script[1:]]


def _by(history: History, client: int) -> list[Operation]:
    return [operation for operation in history.operations if lane(operation.client) == client]


def _wrong(what: str, *witness: Operation) -> Finding:
    reason = f"{what}: {witness[-1]}"
    return Finding(Verdict.FALSIFIED, "stop", reason, list(witness))


def _life(history: History) -> tuple[Operation, float]:
    """Return the stop beside which others called, and when the next life began."""
    own = _by(history, _STOPPER)
    return own[0], next((o.call for o in own if o.name == "start"), NEVER)


def _it_stops(history: History) -> Finding:
    """Falsified by a stop that fails."""
    stop, _ = _life(history)
    return judges.held("stop") if stop.is_ok else _wrong("a coordinator did not stop", stop)


def _nothing_is_left(history: History) -> Finding:
    """Falsified when somebody finds what a coordinator had that was stopped, itself included."""
    stop, again = _life(history)
    for own in history.operations:
        late = own.member == stop.member and end_of(stop) < own.call < again
        if late and own.is_ok and (own.value is True or own.name == "join_group"):
            return _wrong("a coordinator that was stopped has something", stop, own)
    for look in _by(history, _OBSERVER):
        if look.call < end_of(stop) or not look.is_ok:
            continue
        match look.name:
            case "acquire" | "campaign" if look.value is not True:
                return _wrong("a coordinator that was stopped is in the way", stop, look)
            case "get_members" if stop.member in look.value:
                return _wrong("a coordinator that was stopped is a member", stop, look)
            case "get_leader" if look.value == stop.member:
                return _wrong("a coordinator that was stopped leads", stop, look)
    return judges.held("stop")


def _nothing_is_heard(history: History) -> Finding:
    """Falsified by a callback that was called when its coordinator had stopped."""
    stop, again = _life(history)
    for heard in history.only("heard"):
        for kind, group, member, moment in heard.value or ():
            if end_of(stop) < moment < again:
                late = (moment - end_of(stop)) / 1e6
                what = f"{kind} of {member!r} in {group!r} was delivered {late:.3f} ms after it"
                return _wrong(what, heard, stop)
    return judges.held("stop")


def _it_starts_again(history: History) -> Finding:
    """Falsified when what was stopped does not start, or cannot do what it could before."""
    _, again = _life(history)
    for operation in _by(history, _STOPPER):
        if operation.call >= again and (operation.is_fail or operation.value is False):
            return _wrong("a coordinator that was stopped cannot start afresh", operation)
    return judges.held("stop")
