"""Watches: whether each join and leave was reported once, in order, and to who watches.

A watcher sees a group as snapshots: one when it begins to watch, one in each run of its
watchers. What it reports is what changed from one to the next; only a stay that begins
and ends in between may go unreported. For each member the snapshots are laid along its
joins and leaves, wherever their times allow; what was reported must fit somewhere.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field

from conformance.checkers.losses import Losses
from conformance.checkers.moves import end_of
from conformance.checkers.settle import falsified
from conformance.checkers.wording import Clock, did, who
from conformance.history import NEVER, History, Operation, lane
from conformance.verdict import Finding, Verdict

__all__ = ["RULE", "check_watches"]

RULE = "watches"

_JOINS = ("join_group", "join_group_create")


def check_watches(history: History, *, ttl: float | None = None) -> Finding:
    """Say whether the watches of a history reported what happened, and nothing else.

    A client watches a group from ``watch`` to ``unwatch``; each ``run_watchers`` returns
    the events since the last as (``join`` or ``leave``, group, member).

    :param ttl: the driver's time-out in seconds after which a member that shows no sign
        of life may be gone; None when it stays
    :returns: HELD, FALSIFIED with a witness, or INCONCLUSIVE when a client watched the
        same group twice at a time
    :raises MalformedHistory: no run can produce the history
    """
    history = History.of(history.operations, history.faults)
    clock = Clock(history)
    timelines = _timelines(history, Losses(history, ttl))
    watched = 0
    for number, watches in _watches(history):
        for watch in watches:
            watched += 1
            if watch.doubled:
                reason = f"{who(watch.begin)} watched {watch.group!r} twice at a time"
                return Finding(Verdict.INCONCLUSIVE, RULE, reason, [watch.begin])
            try:
                _follow(watch, timelines.get(watch.group, {}), clock)
            except _Wrong as wrong:
                return wrong.finding
        stray = _stray(number, watches, history, clock)
        if stray is not None:
            return stray
    runs = len(history.only("run_watchers"))
    return Finding(Verdict.HELD, RULE, f"{watched} watches, {runs} runs of watchers")


class _Wrong(Exception):
    """What was reported cannot be."""

    def __init__(self, reason: str, witness: Iterable[Operation]) -> None:
        super().__init__(reason)
        self.finding = falsified(RULE, reason, list(witness))


@dataclass(frozen=True)
class _Change:
    """A join or a leave, which took place between two times."""

    joined: bool
    earliest: float
    latest: float
    source: Operation

    def __str__(self) -> str:
        return f"{'joined' if self.joined else 'left'} ({who(self.source)}: {did(self.source)})"


@dataclass
class _Watch:
    """A group that a client watches, and the runs of its watchers meanwhile."""

    group: bytes
    begin: Operation
    runs: list[Operation] = field(default_factory=list)
    end: Operation | None = None
    doubled: bool = False


def _watches(history: History) -> Iterator[tuple[int, list[_Watch]]]:
    """Return each planned client with its watches; its successors go on with them."""
    lanes: dict[int, list[Operation]] = defaultdict(list)
    for operation in history.operations:
        if operation.name in ("watch", "unwatch", "run_watchers", "stop"):
            lanes[lane(operation.client)].append(operation)
    for number, operations in lanes.items():
        watches: list[_Watch] = []
        current: dict[bytes, _Watch] = {}
        for operation in operations:
            if operation.name == "watch" and not operation.is_fail:
                doubled = operation.target in current or operation.is_info
                current[operation.target] = _Watch(operation.target, operation, doubled=doubled)
                watches.append(current[operation.target])
            elif operation.name == "unwatch" and not operation.is_fail:
                if (ended := current.pop(operation.target, None)) is not None:
                    ended.end = operation
            elif operation.name == "run_watchers" and operation.is_ok:
                for watch in current.values():
                    watch.runs.append(operation)
            elif operation.name == "stop" and not operation.is_fail:
                for watch in current.values():
                    watch.end = operation
                current = {}
        yield number, watches


def _stray(
    number: int, watches: Sequence[_Watch], history: History, clock: Clock
) -> Finding | None:
    """Return an event of a group that a client did not watch since its last run.

    What a stopped coordinator still reports when it is started again is not told apart.
    """
    since = -NEVER
    for run in history.only("run_watchers"):
        if not run.is_ok or lane(run.client) != number:
            continue
        for kind, group, member in _events(run):
            known = [w for w in watches if w.group == group and w.begin.call < run.call]
            ends = [NEVER if w.end is None else end_of(w.end) for w in known]
            stopped = any(w.end is not None and w.end.name == "stop" for w in known)
            if not known or (not stopped and max(ends) < since):
                reason = (
                    f"{who(run)} was told that {member!r} {_did(kind)} {group!r}, which it "
                    f"does not watch ({clock.when(run)})"
                )
                return falsified(RULE, reason, [run])
        since = end_of(run)
    return None


# -- what members did --------------------------------------------------------------------


def _timelines(history: History, losses: Losses) -> dict[bytes, dict[bytes, list[_Change] | None]]:
    """Return the joins and leaves of each member in each group; None when they are unclear."""
    changes: dict[tuple[bytes, bytes], list[Operation]] = defaultdict(list)
    stops: dict[bytes, list[Operation]] = defaultdict(list)
    for operation in history.operations:
        if operation.is_fail:
            continue
        if operation.name in (*_JOINS, "leave_group"):
            changes[operation.target, operation.member].append(operation)
        elif operation.name == "stop":
            stops[operation.member].append(operation)
    timelines: dict[bytes, dict[bytes, list[_Change] | None]] = defaultdict(dict)
    for (group, member), its in changes.items():
        ordered = sorted([*its, *stops[member]], key=lambda operation: operation.call)
        timelines[group][member] = _timeline(ordered, losses)
    return timelines


def _timeline(operations: Sequence[Operation], losses: Losses) -> list[_Change] | None:
    """Return one member's joins and leaves, those it did not make itself included."""
    timeline: list[_Change] = []
    free_from, joined = -NEVER, None
    for operation in operations:
        if operation.is_info or operation.call < free_from:
            return None
        free_from = end_of(operation)
        if operation.name in _JOINS:
            if joined is not None:
                lost = losses.earliest(joined)
                timeline.append(_Change(False, lost, end_of(operation), joined))
            timeline.append(_Change(True, operation.call, end_of(operation), operation))
            joined = operation
        elif joined is not None:
            earliest = operation.call
            if operation.name == "stop":
                earliest = int(min(earliest, losses.earliest(joined)))
            timeline.append(_Change(False, earliest, end_of(operation), operation))
            joined = None
    if joined is not None and losses.earliest(joined) != NEVER:
        timeline.append(_Change(False, losses.earliest(joined), NEVER, joined))
    return timeline


# -- what was reported -------------------------------------------------------------------


@dataclass(frozen=True)
class _Joined:
    """A reported join: when it can have been at the earliest and at the latest."""

    member: bytes
    earliest: float
    latest: float
    run: Operation


def _follow(watch: _Watch, timelines: dict[bytes, list[_Change] | None], clock: Clock) -> None:
    """Lay what a watch reported along what the members did.

    :raises _Wrong: it does not fit
    """
    joins: list[list[_Joined]] = [[] for _ in watch.runs]
    reported = [
        [(kind, member) for kind, group, member in _events(run) if group == watch.group]
        for run in watch.runs
    ]
    members = {member for events in reported for _, member in events} | set(timelines)
    for member in sorted(members):
        timeline = timelines.get(member, [])
        its = [[kind for kind, who in events if who == member] for events in reported]
        if timeline is None:
            _alternate(watch, member, its, clock)
            continue
        for number, joined in _along(watch, member, timeline, its, clock):
            joins[number].append(joined)
    for number, events in enumerate(reported):
        last = {member: place for place, (_, member) in enumerate(events)}
        joins[number].sort(key=lambda joined: last[joined.member])
    _in_order(watch, [joined for its in joins for joined in its], clock)


def _along(
    watch: _Watch,
    member: bytes,
    timeline: Sequence[_Change],
    reported: Sequence[Sequence[str]],
    clock: Clock,
) -> Iterator[tuple[int, _Joined]]:
    """Find places for the snapshots; return the joins that were reported, by run."""
    places = set(_places(timeline, watch.begin))
    for number, (run, events) in enumerate(zip(watch.runs, reported, strict=True)):
        fitting = {
            now
            for now in _places(timeline, run)
            for seen in places
            if now >= seen and _fits(events, seen, now)
        }
        if not fitting:
            raise _misfit(watch, member, timeline, run, events, places, clock)
        if events and events[-1] == "join":
            its = [timeline[now - 1] for now in fitting]
            yield (
                number,
                _Joined(member, min(j.earliest for j in its), max(j.latest for j in its), run),
            )
        places = fitting


def _places(timeline: Sequence[_Change], look: Operation) -> list[int]:
    """Return how many of a member's changes can have happened at some time of a call."""
    return [
        place
        for place in range(len(timeline) + 1)
        if (place == 0 or timeline[place - 1].earliest <= end_of(look))
        and (place == len(timeline) or timeline[place].latest >= look.call)
    ]


def _fits(events: Sequence[str], seen: int, now: int) -> bool:
    """Whether events are what changed since only ``seen`` changes had been seen.

    A stay is reported as left if it was seen, and as joined if it is on now and was not
    seen; whole stays in between may be reported or not.
    """
    rest = list(events)
    if now != seen and seen % 2 == 1 and (not rest or rest.pop(0) != "leave"):
        return False
    if now != seen and now % 2 == 1 and (not rest or rest.pop() != "join"):
        return False
    whole = now // 2 - (seen + 1) // 2
    return rest == ["join", "leave"] * (len(rest) // 2) and len(rest) // 2 <= max(0, whole)


def _misfit(
    watch: _Watch,
    member: bytes,
    timeline: Sequence[_Change],
    run: Operation,
    events: Sequence[str],
    places: set[int],
    clock: Clock,
) -> _Wrong:
    """Return what is wrong with what a run reported of a member."""
    told = " and then ".join(f"{_did(kind)} it" for kind in events)
    seen = min(places)
    recent = [change for change in timeline[seen:] if change.earliest <= end_of(run)]
    truth = ", then it ".join(map(str, recent)) or "did nothing"
    reason = (
        f"{who(run)}, watching {watch.group!r}, was told by run_watchers ({clock.when(run)}) "
        + (f"that {member!r} {told}" if told else f"nothing of {member!r}")
        + f"; since what it had been told before, {member!r} {truth}"
    )
    before = [earlier for earlier in watch.runs if earlier.call < run.call][-1:]
    return _Wrong(reason, [watch.begin, *before, run, *(c.source for c in recent)])


def _alternate(
    watch: _Watch, member: bytes, reported: Sequence[Sequence[str]], clock: Clock
) -> None:
    """Judge reports of a member of whose joins and leaves too little is known.

    :raises _Wrong: it was reported to join, or to leave, twice in a row
    """
    former: tuple[str, Operation] | None = None
    for run, events in zip(watch.runs, reported, strict=True):
        for kind in events:
            if former is not None and former[0] == kind:
                reason = (
                    f"{who(run)}, watching {watch.group!r}, was told twice in a row that "
                    f"{member!r} {_did(kind)} it, the second time {clock.when(run)}"
                )
                raise _Wrong(reason, [watch.begin, former[1], run])
            former = (kind, run)


def _in_order(watch: _Watch, joins: Sequence[_Joined], clock: Clock) -> None:
    """Judge the order in which joins of different members were reported.

    :raises _Wrong: one was reported after another that was certainly later
    """
    latest: _Joined | None = None
    for joined in joins:
        if latest is not None and joined.latest < latest.earliest:
            reason = (
                f"{who(joined.run)}, watching {watch.group!r}, was told that "
                f"{latest.member!r} joined before it was told of {joined.member!r}, which "
                f"had joined by {clock.at(joined.latest)}, before {latest.member!r} did at "
                f"{clock.at(latest.earliest)} at the earliest"
            )
            raise _Wrong(reason, {id(run): run for run in (latest.run, joined.run)}.values())
        if latest is None or joined.earliest > latest.earliest:
            latest = joined


def _events(run: Operation) -> Iterator[tuple[str, bytes, bytes]]:
    """Return the joins and leaves that a run reported, in order: kind, group, member."""
    for kind, group, member in run.value or ():
        if kind in ("join", "leave"):
            yield kind, group, member


def _did(kind: str) -> str:
    return "joined" if kind == "join" else "left"
