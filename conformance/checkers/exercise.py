"""How much a history exercised: counts by which too little is told from enough."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

from conformance.checkers.moves import end_of, overlap
from conformance.history import NEVER, History, Operation

__all__ = [
    "beside_a_stop",
    "broken",
    "contended_grants",
    "crossings",
    "overlapping",
    "refusals",
    "succeeded",
    "terms",
]


def overlapping(history: History) -> int:
    """How many ok operations ran at the same time as another client's on the same target."""
    return sum(_overlapping(operations) for operations in history.by_target().values())


def _overlapping(operations: Iterable[Operation]) -> int:
    done = [operation for operation in operations if operation.is_ok]
    count, latest, owner = 0, -1.0, -1
    for operation in done:
        if operation.call < latest and operation.client != owner:
            count += 1
        end = NEVER if operation.end is None else operation.end
        if end > latest:
            latest, owner = end, operation.client
    return count


def contended_grants(history: History) -> int:
    """How many acquisitions were granted while another client was after the same lock."""
    count = 0
    for calls in _by_target(history.only("acquire")).values():
        latest, owner = -1.0, -1
        for operation in calls:
            contended = operation.call < latest and operation.client != owner
            count += contended and operation.is_ok and operation.value is True
            end = NEVER if operation.end is None else operation.end
            if end > latest:
                latest, owner = end, operation.client
    return count


def _by_target(operations: Iterable[Operation]) -> dict[bytes, list[Operation]]:
    targets: dict[bytes, list[Operation]] = defaultdict(list)
    for operation in operations:
        targets[operation.target].append(operation)
    return targets


def refusals(history: History) -> int:
    """How many acquisitions were refused."""
    return sum(o.is_ok and o.value is False for o in history.only("acquire"))


def beside_a_stop(history: History, name: str) -> int:
    """How many calls of a name were under way when another client stopped their coordinator."""
    stops = [o for o in history.only("stop") if o.is_ok]
    return sum(
        one.client != stop.client
        and one.member == stop.member
        and one.call < stop.call < end_of(one)
        for one in history.only(name)
        for stop in stops
    )


def broken(history: History) -> int:
    """How many calls broke a lock that somebody held."""
    return sum(o.is_ok and o.value is True for o in history.only("break_"))


def crossings(history: History) -> int:
    """How many calls ran while another client ended a hold by a release, or broke the lock.

    Counted are those on a lock object that clients share.
    """
    shared = [o for o in history.operations if "object" in o.arguments and o.is_ok]
    ends = [o for o in shared if o.name == "release" and o.value is True]
    ends += [o for o in history.only("break_") if o.value is True]
    return sum(
        any(
            (end.target, end.client == one.client) == (one.target, False) and overlap(one, end)
            for end in ends
        )
        for one in shared
    )


def terms(history: History) -> int:
    """How many campaigns ended with their member leading."""
    return sum(o.is_ok and o.value is True for o in history.only("campaign"))


def succeeded(history: History) -> int:
    """How many operations are ok."""
    return sum(operation.is_ok for operation in history.operations)
