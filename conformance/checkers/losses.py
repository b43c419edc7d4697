"""When what a client got may be taken from it behind its back, and no earlier.

A hold of a lock, a stay in a group, a term as leader may end without a call by its owner
when the owner's process was killed, while its link to the server was broken, when the
driver's time-out has passed since the owner's last sign of life (only for drivers whose
holds expire), or, for a lock, after a call on the very lock object ended in an unknown
outcome: the driver may have given up the hold.
"""

from __future__ import annotations

from bisect import bisect_right
from collections import defaultdict
from collections.abc import Iterable, Sequence

from conformance.history import NEVER, Fault, History, Operation, lane

__all__ = ["FATAL", "SEVERING", "Losses"]

FATAL = frozenset(("kill", "give up"))
"""The faults that end a client's process: killed on purpose, or because it hung."""

SEVERING = frozenset(
    ("stall", "strand", "lost reply", "cut", "server stop", "server kill", "no server")
)
"""The faults of a client's link, or at its other end, in which server and client may each
take the other for dead. The client lives: it is not excused from returning."""


class Losses:
    """The losses that a history makes possible.

    :param ttl: the driver's time-out in seconds; None for one whose holds do not expire
    """

    def __init__(self, history: History, ttl: float | None = None) -> None:
        if ttl is not None and not ttl > 0:
            raise ValueError(f"ttl takes seconds above 0, or None; not {ttl!r}")
        self.ttl: float = NEVER if ttl is None else ttl * 1e9
        """The time-out in nanoseconds."""
        self._deaths = _deaths(history.faults)
        self._severed = _severed(history.faults)
        self._beats = _beats(history.operations) if ttl is not None else {}
        self.possible = ttl is not None or bool(self._deaths) or bool(self._severed)
        """Whether anything can be lost at all, apart from calls of unknown outcome."""

    def earliest(self, grant: Operation, proofs: Sequence[Operation] = ()) -> float:
        """Return the earliest time at which what an operation got may be lost.

        :param proofs: later heartbeats of the very hold that said that it lasts, by call
        :returns: nanoseconds, ``NEVER`` when it cannot be lost
        """
        return min(self._death(grant), self._severance(grant, proofs), self._expiry(grant, proofs))

    def _death(self, grant: Operation) -> float:
        for begin, end in self._deaths.get(lane(grant.client), ()):
            if end >= grant.call:
                return max(begin, grant.call)
        return NEVER

    def _severance(self, grant: Operation, proofs: Sequence[Operation]) -> float:
        """Return the first time, from the last proof on, at which the link was broken."""
        alive = max([grant.call, *(proof.call for proof in proofs)])
        for begin, end in self._severed.get(lane(grant.client), ()):
            if end >= alive:
                return max(begin, alive)
        return NEVER

    def _expiry(self, grant: Operation, proofs: Sequence[Operation]) -> float:
        if self.ttl == NEVER:
            return NEVER
        alive = max([grant.call, *(proof.call for proof in proofs)])
        beats = self._beats.get(grant.member, [])
        for call, end in beats[bisect_right(beats, (alive, NEVER)) :]:
            if call > alive + self.ttl:
                break
            if end <= alive + self.ttl:  # else the hold may have been gone before this beat
                alive = call
        return alive + self.ttl


def _deaths(faults: Iterable[Fault]) -> dict[int, list[tuple[int, int]]]:
    """Return when the process of each planned client was killed, and gone, sorted.

    It may go on for a moment in between, and get what it has no time to give back.
    """
    deaths: dict[int, list[tuple[int, int]]] = defaultdict(list)
    for fault in sorted(faults, key=lambda fault: fault.begin):
        if fault.kind in FATAL and fault.client is not None:
            gone = fault.begin if fault.end is None else fault.end
            deaths[lane(fault.client)].append((fault.begin, gone))
    return deaths


def _severed(faults: Iterable[Fault]) -> dict[int, list[tuple[int, float]]]:
    """Return from when to when the link of each planned client was broken, sorted."""
    severed: dict[int, list[tuple[int, float]]] = defaultdict(list)
    for fault in sorted(faults, key=lambda fault: fault.begin):
        if fault.kind in SEVERING and fault.client is not None:
            end = NEVER if fault.end is None else fault.end
            severed[lane(fault.client)].append((fault.begin, end))
    return severed


def _beats(operations: Iterable[Operation]) -> dict[bytes, list[tuple[int, float]]]:
    """Return the heartbeats of each coordinator that succeeded: call and end, sorted."""
    beats: dict[bytes, list[tuple[int, float]]] = defaultdict(list)
    for operation in operations:
        if operation.name == "heartbeat" and operation.is_ok:
            beats[operation.member].append((operation.call, operation.end or operation.call))
    for its in beats.values():
        its.sort()
    return beats
