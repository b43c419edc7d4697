"""Stays in groups and terms of leaders: when they were for certain, and when at most.

A tenure is had by a member from a grant to an end. What others are told of it must agree:
nobody is told that it is over while it lasts for certain, nor that it lasts when it cannot
have begun or must be over.
"""

from __future__ import annotations

from bisect import bisect_left
from collections.abc import Iterable, Sequence

import msgspec

from conformance.checkers.losses import Losses
from conformance.checkers.moves import end_of
from conformance.history import NEVER, Operation

__all__ = ["Tenure", "Tenures", "tenures_of"]


class Tenure(msgspec.Struct, gc=False):
    """A stay or a term, with times in nanoseconds.

    It began between ``called`` and ``granted`` and ended between ``kept`` and ``ended``;
    ``proof`` shows that it lasted until ``kept``.
    """

    grant: Operation
    called: float
    granted: float
    kept: float
    ended: float = NEVER
    proof: Operation | None = None


class Tenures:
    """All tenures of one member at one object, to be asked whether a look at it is true."""

    def __init__(self, tenures: Iterable[Tenure]) -> None:
        self._all = sorted(tenures, key=lambda tenure: tenure.called)
        self._calls = [tenure.called for tenure in self._all]
        self._latest_end: list[float] = []
        latest = -NEVER
        for tenure in self._all:
            latest = max(latest, tenure.ended)
            self._latest_end.append(latest)
        self.sure = sorted(
            (tenure for tenure in self._all if tenure.granted < tenure.kept),
            key=lambda tenure: tenure.granted,
        )
        self._granted = [tenure.granted for tenure in self.sure]
        self._longest: list[Tenure] = []
        for tenure in self.sure:
            longest = self._longest[-1] if self._longest else tenure
            self._longest.append(tenure if tenure.kept > longest.kept else longest)

    def during(self, look: Operation) -> Tenure | None:
        """Return a tenure that lasted for certain while an operation ran, and beyond."""
        number = bisect_left(self._granted, look.call) - 1
        end = NEVER if look.end is None else look.end
        if number >= 0 and self._longest[number].kept > end:
            return self._longest[number]
        return None

    def possible(self, look: Operation) -> bool:
        """Whether there may have been a tenure at some time while an operation ran."""
        end = NEVER if look.end is None else look.end
        number = bisect_left(self._calls, end + 1) - 1
        return number >= 0 and self._latest_end[number] >= look.call


def tenures_of(
    operations: Sequence[Operation],
    losses: Losses,
    *,
    grants: Iterable[str],
    ends: Iterable[str],
    lasting: bool,
) -> Tenures:
    """Return the tenures of one member at one object.

    :param operations: its successful and unknown operations there, and each ``stop`` of
        its coordinator, by call
    :param grants: names of the operations that begin a tenure
    :param ends: names of those that end one
    :param lasting: whether a grant during a tenure only confirms it
    """
    grants, ends = frozenset(grants), frozenset(ends) | {"stop"}
    if not _clear(operations, grants):
        return Tenures(
            Tenure(operation, operation.call, NEVER, operation.call)
            for operation in operations
            if operation.name in grants
        )
    tenures: list[Tenure] = []
    current: Tenure | None = None
    for operation in operations:
        if operation.name in grants:
            earliest = losses.earliest(operation)
            if current is not None and lasting and earliest == NEVER:
                current.proof = operation
                continue
            if current is not None:  # confirmed, or lost and won again: nobody can tell
                if lasting:  # what is confirmed is not renewed
                    earliest = min(earliest, current.kept)
                current.kept = min(current.kept, operation.call)
                current.ended = end_of(operation)
            current = Tenure(operation, operation.call, end_of(operation), earliest)
            tenures.append(current)
        elif operation.name in ends and current is not None:
            stopped = operation.name == "stop" or operation.is_info
            lost = min(current.kept, operation.call) if stopped else operation.call
            current.kept, current.proof = lost, operation
            current.ended = NEVER if operation.is_info else end_of(operation)
            current = None
    return Tenures(tenures)


def _clear(operations: Sequence[Operation], grants: frozenset[str]) -> bool:
    """Whether a member's operations follow one another and each grant is certain."""
    free_from = -NEVER
    for operation in operations:
        if operation.call < free_from or (operation.is_info and operation.name in grants):
            return False
        free_from = NEVER if operation.is_info else end_of(operation)
    return True
