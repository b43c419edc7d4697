"""Which part of a history to look at: the window around a witness, and what is in it.

Pure functions of a history; where things stand on the page is ``timeline``'s business.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from conformance.history import Fault, History, Operation
from conformance.reporting.holds import Hold, find_holds, find_overlaps, key_of

__all__ = ["Window", "extent", "hit_clients", "lanes", "nearest", "origin", "window"]

_CONTEXT = 0.3
"""How much of the witness's own time is shown before and after it."""

_WHOLE = 0.6
"""From which part of the history on a window is not worth it, and all is shown."""

_REACH = 2
"""How many times the witness's time an overlap may go on and still be shown whole."""

_SHORTEST = 1_000
"""Nanoseconds that a window has at least."""


@dataclass(frozen=True)
class Window:
    """A stretch of time in nanoseconds, both ends included."""

    begin: int
    end: int

    @property
    def span(self) -> int:
        """Its length."""
        return self.end - self.begin

    def shows(self, begin: int, end: int | None) -> bool:
        """Whether something that lasts from ``begin`` to ``end`` (None: on) can be seen."""
        return begin <= self.end and (end is None or end >= self.begin)


def origin(history: History) -> int:
    """Return the moment from which reports count time: the first operation's call."""
    return min((operation.call for operation in history.operations), default=0)


def extent(history: History) -> Window:
    """Return the window that shows everything."""
    moments = [m for o in history.operations for m in (o.call, o.end) if m is not None]
    moments += [m for f in history.faults for m in (f.begin, f.end) if m is not None]
    begin, end = min(moments, default=0), max(moments, default=0)
    return Window(begin, max(end, begin + _SHORTEST))


def window(history: History, witness: Sequence[Operation]) -> Window:
    """Return the window that shows a witness with some context, or all if that is little."""
    whole = extent(history)
    if not witness:
        return whole
    begin = min(operation.call for operation in witness)
    end = max(operation.end or operation.call for operation in witness)
    reach = end + _REACH * (end - begin)
    for overlap in find_overlaps(find_holds(history), witness):
        begin = min(begin, overlap.begin)
        if overlap.end is not None and overlap.end <= reach:
            end = max(end, overlap.end)
    context = round(max(end - begin, _SHORTEST) * _CONTEXT)
    near = Window(max(begin - context, whole.begin), min(end + context, whole.end))
    return whole if near.span >= _WHOLE * whole.span else near


def lanes(history: History, holds: Iterable[Hold], seen: Window) -> list[tuple[int, bytes]]:
    """Return the clients that did or held something in a window, and under which names.

    A client that took over from another stands beside it if both are the same member's.
    """
    members = {
        hold.opening.client: hold.opening.member
        for hold in holds
        if seen.shows(hold.begin, hold.end)
    }
    for operation in history.operations:
        if seen.shows(operation.call, operation.end):
            members.setdefault(operation.client, operation.member)
    for fault in history.faults:
        if fault.client is not None and seen.shows(fault.begin, fault.end):
            members.setdefault(fault.client, b"")
    first: dict[bytes, int] = {}
    for client in sorted(members):
        first.setdefault(members[client], client)
    return sorted(members.items(), key=lambda lane: (first[lane[1]], lane[0]))


def hit_clients(history: History, fault: Fault) -> set[int]:
    """Return the clients that a fault hit: all that share the coordinator's process."""
    if fault.client is None:
        return {operation.client for operation in history.operations}
    members = {o.member for o in history.operations if o.client == fault.client and o.member}
    return {fault.client} | {o.client for o in history.operations if o.member in members}


def nearest(
    operations: Sequence[Operation], witness: Sequence[Operation], most: int
) -> list[Operation]:
    """Return at most so many operations: the witness, and what was called nearest to it.

    They keep the order of their calls.
    """
    if len(operations) <= most:
        return list(operations)
    shown = {key_of(operation) for operation in witness}
    calls = sorted(operation.call for operation in witness) or [operations[0].call]

    def distance(operation: Operation) -> tuple[bool, int]:
        at = bisect.bisect_left(calls, operation.call)
        beside = calls[max(0, at - 1) : at + 1]
        return key_of(operation) not in shown, min(abs(operation.call - c) for c in beside)

    chosen = sorted(operations, key=distance)[:most]
    return sorted(chosen, key=lambda operation: operation.call)
