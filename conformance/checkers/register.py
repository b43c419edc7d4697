"""Registers whose every write has a value of its own, decided in O(n log n).

The operations on a value are a block: the write, the reads of it, and the compare-and-set
that replaces it, whose own value continues the block. Of two blocks one must come first as
soon as an operation of it returned before one of the other was called. A history is
linearizable if each block keeps its forced inner order and no two must precede each other.
(P. Gibbons, E. Korach: "Testing shared memories", 1997.) Values that repeat, and refused
compare-and-sets, go to the search.
"""

from __future__ import annotations

import itertools
from bisect import bisect_left
from collections import Counter, defaultdict
from collections.abc import Hashable, Iterator, Sequence
from typing import NamedTuple

from conformance.checkers.order import Order
from conformance.checkers.search import Search
from conformance.checkers.settle import Case, falsified, settle
from conformance.checkers.translation import plain_moves
from conformance.checkers.turns import BUDGET
from conformance.checkers.wording import Clock, did, who
from conformance.history import NEVER, History, Operation
from conformance.models import RegisterModel
from conformance.verdict import Finding

__all__ = ["RULE", "check_register"]

RULE = "linearizability"


def check_register(history: History, *, initial: Hashable = None, budget: int = BUDGET) -> Finding:
    """Say whether every register of a history is linearizable.

    :param history: operations ``read``, ``write``, ``cas`` and ``append``
    :param initial: what a register holds before its first write
    :param budget: steps that searches may take in all, where one is needed
    :returns: HELD, FALSIFIED with a witness, or INCONCLUSIVE
    :raises MalformedHistory: no run can produce the history
    """
    history = History.of(history.operations, history.faults)
    registers = history.by_target()
    clock = Clock(history)
    cases: list[Case] = []
    found: Finding | list[Case] = cases
    for target, operations in registers.items():
        if not _distinct(operations, initial):
            moves = plain_moves(History(operations, []))
            search = Search(RegisterModel(initial), moves, Order.REAL_TIME)
            cases.append(Case(f"register {target!r}", RULE, search))
        elif (objection := _objection(operations, initial, clock)) is not None:
            found = objection
            break
    summary = f"{len(history)} operations on {len(registers)} registers"
    return settle(history, RULE, found, summary, budget)


def _distinct(operations: Sequence[Operation], initial: Hashable) -> bool:
    """Whether the rule applies: no value is written twice, and no ``cas`` was refused.

    Nor may a client call at the very moment its last call returned: times alone would not
    tell which came first.
    """
    free_from: dict[int, float] = {}
    for operation in operations:
        if free_from.get(operation.client, -1) >= operation.call:
            return False
        free_from[operation.client] = _end(operation)
    if any(o.name == "append" or (o.name == "cas" and o.value is False) for o in operations):
        return False
    written = [_new(operation) for operation in operations if operation.name != "read"]
    return max(Counter([initial, *written]).values()) == 1


def _new(operation: Operation) -> Hashable:
    """Return the value that an operation writes."""
    value: Hashable = operation.arguments["new" if operation.name == "cas" else "value"]
    return value


class _Block(NamedTuple):
    """Operations without others between: the first return and the last call of them."""

    first: float
    last: float
    returned: Operation | None
    called: Operation | None

    @property
    def operations(self) -> list[Operation]:
        """The operations that bound the block."""
        return [o for o in (self.returned, self.called) if o is not None]


def _objection(operations: Sequence[Operation], initial: Hashable, clock: Clock) -> Finding | None:
    """Return what is wrong with one register."""
    writers = {_new(o): o for o in operations if o.name != "read"}
    readers: dict[Hashable, list[Operation]] = defaultdict(list)
    takers: dict[Hashable, list[Operation]] = defaultdict(list)
    happened = list(_happened(operations, writers))
    for operation in happened:
        if operation.name == "read":
            readers[operation.value].append(operation)
        elif operation.name == "cas":
            takers[operation.arguments["old"]].append(operation)
    for value, its in (*readers.items(), *takers.items()):
        if value != initial and value not in writers:
            reason = f"{who(its[0])} called {did(its[0])}, but nobody ever wrote {value!r}"
            return falsified(RULE, reason, its[:1])
    for value, its in takers.items():
        if len(its) > 1:
            reason = f"{who(its[0])} and {who(its[1])} both replaced {value!r}"
            return falsified(RULE, reason, its[:2])
    blocks = []
    placed: set[int] = set()
    for value in (initial, *(_new(o) for o in happened if o.name == "write")):
        stages = list(_stages(value, writers, readers, takers))
        if (objection := _out_of_order(stages, clock)) is not None:
            return objection
        blocks.append(_block(stages, at_first=value == initial))
        placed.update(id(operation) for stage in stages for operation in stage)
    circle = [operation for operation in happened if id(operation) not in placed]
    if circle:
        reason = f"{who(circle[0])} called {did(circle[0])}: what it found depends on what it wrote"
        return falsified(RULE, reason, circle)
    pair = _collision(blocks)
    if pair is None:
        return None
    shown = [operation for block in pair for operation in block.operations]
    reason = "each of two values was there before the other for certain: " + "; ".join(
        f"{who(operation)}: {did(operation)}, {clock.when(operation)}" for operation in shown
    )
    return falsified(RULE, reason, shown)


def _happened(
    operations: Sequence[Operation], writers: dict[Hashable, Operation]
) -> Iterator[Operation]:
    """Return the operations that took effect: those known to, and whose value was seen."""
    pending = [operation for operation in operations if operation.is_ok]
    taken = set(map(id, pending))
    while pending:
        operation = pending.pop()
        yield operation
        seen = operation.value if operation.name == "read" else operation.arguments.get("old")
        source = writers.get(seen) if operation.name != "write" else None
        if source is not None and id(source) not in taken:
            taken.add(id(source))
            pending.append(source)


def _stages(
    value: Hashable,
    writers: dict[Hashable, Operation],
    readers: dict[Hashable, list[Operation]],
    takers: dict[Hashable, list[Operation]],
) -> Iterator[list[Operation]]:
    """Return the operations of a block in the order that their values force."""
    if value in writers:
        yield [writers[value]]
    while True:
        yield readers[value]
        if not takers[value]:
            return
        yield takers[value]
        value = _new(takers[value][0])


def _out_of_order(stages: Sequence[Sequence[Operation]], clock: Clock) -> Finding | None:
    """Return what is wrong when an operation returned before one it depends on was called."""
    latest: Operation | None = None
    for stage in stages:
        for operation in stage:
            if latest is not None and _end(operation) < latest.call:
                reason = (
                    f"{who(operation)} called {did(operation)}, {clock.when(operation)}, before "
                    f"{who(latest)} called {did(latest)}, {clock.when(latest)}"
                )
                return falsified(RULE, reason, [operation, latest])
        for operation in stage:
            if latest is None or operation.call > latest.call:
                latest = operation
    return None


def _block(stages: Sequence[Sequence[Operation]], *, at_first: bool) -> _Block:
    """Return a block; that of the initial value began before everything."""
    operations = [operation for stage in stages for operation in stage]
    returned = None if at_first else min(operations, key=_end)
    called = max(operations, key=lambda operation: operation.call, default=None)
    first = -NEVER if returned is None else _end(returned)
    return _Block(first, -NEVER if called is None else called.call, returned, called)


def _collision(blocks: Sequence[_Block]) -> tuple[_Block, _Block] | None:
    """Return two blocks each of which must precede the other."""
    forward = sorted((b for b in blocks if b.first < b.last), key=lambda block: block.first)
    for one, other in itertools.pairwise(forward):
        if other.first < one.last:
            return one, other
    begins = [block.first for block in forward]
    for block in blocks:
        if block.last <= block.first:
            number = bisect_left(begins, block.last) - 1
            if number >= 0 and block.first < forward[number].last:
                return forward[number], block
    return None


def _end(operation: Operation) -> float:
    return NEVER if operation.end is None or operation.is_info else operation.end
