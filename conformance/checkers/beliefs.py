"""Beliefs: whether an object says that it holds a lock while another certainly holds it.

``acquired`` is answered without asking anybody, so ``check_lock`` lets an object believe in
a hold that it lost until it is told. Where nobody broke the lock, a driver can do better:
leases are counted on this side too, from when they were asked for, and a connection that
was closed shows on both sides. Here it must, whatever may be lost.
"""

from __future__ import annotations

import itertools
from bisect import bisect_left
from collections import defaultdict
from collections.abc import Iterator, Sequence

import msgspec

from conformance.checkers.moves import end_of, follows, telling
from conformance.checkers.wording import Clock, span, who
from conformance.history import History, Operation
from conformance.models import holder_of
from conformance.verdict import Finding, Verdict

__all__ = ["beliefs_met", "check_beliefs"]

RULE = "beliefs"

_SERVERS_WORD = frozenset(("acquire", "release", "is_still_owner", "lock_heartbeat"))


class _Certain(msgspec.Struct, frozen=True):
    """A hold that lasted from its grant's return to the call of its proof, for certain."""

    holder: object
    grant: Operation
    proof: Operation

    @property
    def begin(self) -> float:
        return end_of(self.grant)

    def covers(self, operation: Operation) -> bool:
        return self.begin < operation.call and end_of(operation) < self.proof.call


def check_beliefs(history: History) -> Finding:
    """Falsified by an object that believes to hold while another certainly holds.

    Locks that were broken are left out, as nobody tells a holder of that.

    :returns: HELD, or FALSIFIED with a witness
    """
    clock = Clock(history)
    for belief, hold in _met(history):
        if hold.holder != holder_of(belief) and belief.value is True:
            lasting = span(end_of(belief) - hold.begin)
            return Finding(
                Verdict.FALSIFIED,
                RULE,
                f"{who(belief)} believed to hold {belief.target!r} ({clock.when(belief)}), "
                f"{lasting} after {who(hold.grant)} had got it, who still held it at "
                f"{clock.at(hold.proof.call)}",
                [hold.grant, belief, hold.proof],
            )
    return Finding(Verdict.HELD, RULE)


def beliefs_met(history: History) -> int:
    """How many beliefs were asked for while an object certainly held, the same or another."""
    return sum(1 for _ in _met(history))


def _met(history: History) -> Iterator[tuple[Operation, _Certain]]:
    """Return each belief that was asked for during a certain hold, with that hold."""
    locks: dict[bytes, list[Operation]] = defaultdict(list)
    for operation in history.operations:
        if operation.name in _SERVERS_WORD or operation.name in ("acquired", "break_", "stop"):
            locks[operation.target].append(operation)
    stops = locks.pop(b"", [])
    for its in locks.values():
        if any(operation.name == "break_" for operation in its):
            continue
        holds = sorted(_certain(its, stops), key=lambda hold: hold.begin)
        begins = [hold.begin for hold in holds]
        for belief in its:
            if belief.name != "acquired" or not belief.is_ok:
                continue
            for hold in holds[: bisect_left(begins, belief.call)]:
                if hold.covers(belief):
                    yield belief, hold


def _certain(operations: Sequence[Operation], stops: Sequence[Operation]) -> Iterator[_Certain]:
    """Return the exclusive holds of one lock that are certain."""
    of_object: dict[object, list[Operation]] = defaultdict(list)
    for operation in operations:
        if operation.name in _SERVERS_WORD and telling(operation):
            of_object[holder_of(operation)].append(operation)
    for holder, its in of_object.items():
        its += [stop for stop in stops if stop.member == its[0].member]
        its.sort(key=lambda operation: operation.call)
        if all(follows(other, one) for one, other in itertools.pairwise(its)):
            yield from _of_one(holder, its)


def _of_one(holder: object, operations: Sequence[Operation]) -> Iterator[_Certain]:
    """Return the certain holds of an object that is used by one client at a time."""
    grant: Operation | None = None
    proof: Operation | None = None
    for operation in operations:
        says = operation.value is True and operation.name != "acquire"
        if grant is not None and says:
            proof = operation
        if operation.name == "acquire" and operation.value is False:
            continue
        if says and operation.name != "release":
            continue
        if grant is not None and proof is not None:
            yield _Certain(holder, grant, proof)
        begins = operation.value is True and operation.name == "acquire"
        exclusive = not operation.arguments.get("shared", False)
        grant, proof = (operation if begins and exclusive else None), None
    if grant is not None and proof is not None:
        yield _Certain(holder, grant, proof)
