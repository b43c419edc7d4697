"""A checker that cannot be wrong in clever ways: it tries everything.

Every sequence of the required items, with every subset of the others, is tried against
the model until one fits: no cache, no pruning, no shortcuts but giving up a sequence that
the model refuses.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import Any

from conformance.checkers import Order
from conformance.history import History, Operation
from conformance.models import (
    GROUP_CALLS,
    STRANGER,
    Answer,
    Call,
    Kind,
    Model,
    answer_of,
    call_of,
    follow,
)

__all__ = ["Item", "causally_explained", "explained", "lock_items", "operation_items"]


@dataclass(frozen=True)
class Item:
    """Something to be placed: what, with which answer, when, and by whom."""

    call: Call
    answer: Answer | None
    start: float
    end: float
    required: bool
    client: int | None
    rank: int


def explained(model: Model, items: list[Item], order: Order) -> bool:
    """Whether some sequence of the items runs through the model and keeps the order."""
    return _explained(model, model.initial, frozenset(range(len(items))), items, order)


def _explained(
    model: Model, state: Any, left: frozenset[int], items: list[Item], order: Order
) -> bool:
    if not any(items[number].required for number in left):
        return True
    for number in left:
        item = items[number]
        others = (items[other] for other in left if other != number)
        if any(_must_precede(other, item, order) for other in others if other.required):
            continue
        for after in follow(model, state, item.call, item.answer):
            if _explained(model, after, left - {number}, items, order):
                return True
    return False


def _must_precede(first: Item, second: Item, order: Order) -> bool:
    if order is Order.NONE:
        return False
    if first.client is not None and first.client == second.client and first.rank < second.rank:
        return True
    return order is Order.REAL_TIME and first.end < second.start


def operation_items(history: History) -> list[Item]:
    """Return the items of operations that each are one call, and cannot be lost."""
    items = []
    for rank, operation in enumerate(history.operations):
        call = call_of(operation)
        known = not operation.is_info and not _withdrawn(operation, history)
        answer = answer_of(operation.value, operation.error) if known else None
        if operation.name == "get_groups" and known:
            targets = {o.target for o in history.operations if o.name in GROUP_CALLS}
            answer = Answer([group for group in operation.value if group in targets])
        end = math.inf if operation.end is None or not known else operation.end
        items.append(Item(call, answer, operation.call, end, known, operation.client, rank))
    return items


def _withdrawn(operation: Operation, history: History) -> bool:
    """Whether a campaign was refused while its own member may have been standing down."""
    return (
        operation.name == "campaign"
        and operation.value is False
        and any(
            other.name == "stand_down"
            and other.member == operation.member
            and other.call <= (operation.end or 0)
            and operation.call <= (math.inf if other.end is None else other.end)
            for other in history.operations
        )
    )


def lock_items(history: History, ttl: int | None = None) -> list[Item]:
    """Return the items of a history of one lock.

    Objects that clients share may not be used in calls of unknown outcome.

    :param ttl: ticks after which a hold may expire
    """
    items: list[Item] = []
    for rank, operation in enumerate(history.operations):
        if operation.name == "acquire" and _met_a_break(operation, history):
            call = Call(Kind.LOCK, "acquire", b"x0", STRANGER, call_of(operation).argument)
            items.append(Item(call, None, operation.call, math.inf, False, None, rank))
        if operation.name == "stop":
            call = Call(Kind.LOCK, "stop", b"x0", operation.member)
            items.append(_item(operation, rank, call, None))
        elif operation.name == "heartbeat" or _served_another(operation, history):
            continue
        elif operation.name == "acquire" and operation.is_info:
            call = Call(Kind.LOCK, "acquire", b"x0", STRANGER, call_of(operation).argument)
            items.append(_item(operation, rank, call, None))
            lose = Call(Kind.LOCK, "lose", b"x0", STRANGER)
            items.append(Item(lose, None, operation.call, math.inf, False, None, rank))
        elif operation.name == "acquire" and operation.value is True:
            call = call_of(operation, tenure=rank + 1)
            items.append(_item(operation, rank, call, answer_of(True, None)))
            lose = Call(Kind.LOCK, "lose", b"x0", call.actor, None, rank + 1)
            lost = _earliest_loss(history, operation, ttl)
            if lost < math.inf:
                lapse = Call(Kind.LOCK, "lapse", b"x0", call.actor, None, rank + 1)
                items.append(Item(lapse, None, lost, math.inf, False, None, rank))
            doubt = _doubt(history, operation)
            if doubt is not None:
                client, place = doubt.client, history.operations.index(doubt)
                items.append(Item(lose, None, doubt.call, math.inf, False, client, place))
        else:
            answer = answer_of(operation.value, operation.error)
            known = None if operation.is_info or _broke_in(operation, history) else answer
            items.append(_item(operation, rank, call_of(operation), known))
    return items


def _met_a_break(operation: Operation, history: History) -> bool:
    """Whether an acquire may have had the lock, and lost it to a break, before it had it."""
    end = math.inf if operation.end is None else operation.end
    return any(
        (other.name, other.value) == ("break_", True)
        and other.call <= end
        and operation.call <= (math.inf if other.end is None else other.end)
        for other in history.operations
    )


def _broke_in(operation: Operation, history: History) -> bool:
    """Whether a break found a holder while somebody was acquiring or releasing the lock."""
    return (operation.name, operation.value) == ("break_", True) and any(
        other.name in ("acquire", "release")
        and not other.is_fail
        and other.call <= (math.inf if operation.end is None else operation.end)
        and operation.call <= (math.inf if other.end is None else other.end)
        for other in history.operations
    )


def _served_another(operation: Operation, history: History) -> bool:
    """Whether a shared object said no while it served another client.

    A refusal beside another acquire, or that it does not hold beside a grant or a release.
    """
    if operation.value is not False or "object" not in operation.arguments:
        return False
    beside = [
        other
        for other in history.operations
        if other.client != operation.client
        and other.arguments.get("object") == operation.arguments["object"]
        and other.call <= (operation.end or 0)
        and operation.call <= (other.end or 0)
    ]
    match operation.name:
        case "acquire":
            return any(other.name == "acquire" for other in beside)
        case "release" | "acquired" | "is_still_owner" | "lock_heartbeat":
            granted = any((o.name, o.value) == ("acquire", True) for o in beside)
            return granted or any(o.name == "release" for o in beside)
    return False


def _item(operation: Operation, rank: int, call: Call, answer: Answer | None) -> Item:
    known = not operation.is_info
    end = math.inf if operation.end is None or not known else operation.end
    return Item(call, answer, operation.call, end, known, operation.client, rank)


def _earliest_loss(history: History, grant: Operation, ttl: int | None) -> float:
    """Return when a hold may be lost: its owner was killed, or shows no sign of life."""
    moments = [math.inf]
    moments += [
        fault.begin
        for fault in history.faults
        if fault.client == grant.client % 100 and fault.begin >= grant.call
    ]
    if ttl is not None:
        moments.append(_expiry(history, grant, ttl))
    return min(moments)


def _doubt(history: History, grant: Operation) -> Operation | None:
    """Return the first operation of unknown outcome on the object during a hold."""
    for operation in history.operations[history.operations.index(grant) + 1 :]:
        if operation.client == grant.client and operation.name not in ("stop", "heartbeat"):
            if operation.is_info:
                return operation
            if operation.name == "acquire" and operation.value is True:
                return None
    return None


def _expiry(history: History, grant: Operation, ttl: int) -> float:
    """Return when a hold may expire: when no sign of life came in time after the last."""
    proofs = [grant]
    for operation in history.operations:
        if operation.client == grant.client and operation.call > grant.call:
            if operation.name == "acquire" and operation.value is True:
                break
            if operation.name == "lock_heartbeat" and operation.value is True:
                proofs.append(operation)
    alive = proofs[-1].call
    while True:
        in_time = [
            o.call
            for o in history.operations
            if o.name == "heartbeat"
            and o.is_ok
            and o.member == grant.member
            and o.call > alive
            and (o.end or 0) <= alive + ttl
        ]
        if not in_time:
            return alive + ttl
        alive = min(in_time)


def causally_explained(history: History) -> bool:
    """Whether registers with distinct values are causal memory, straight from its definition.

    Causal order is program order and reads-from, closed transitively. For every client
    some sequence of its own operations and all writes keeps it, with each of its reads
    returning the value that was written last.
    """
    operations = [o for o in history.operations if o.name == "write" or o.is_ok]
    numbers = range(len(operations))
    before = {(a, b) for a in numbers for b in numbers if _causes(operations, a, b)}
    for _ in numbers:
        before |= {(a, d) for a, b in before for c, d in before if b == c}
    if any(a == b for a, b in before):
        return False
    clients = {operation.client for operation in operations}
    return all(_sees(operations, before, client, {}, frozenset()) for client in clients)


def _causes(operations: list[Operation], first: int, second: int) -> bool:
    one, other = operations[first], operations[second]
    if one.client == other.client:
        return first < second
    return (
        one.name == "write"
        and other.name == "read"
        and one.target == other.target
        and one.arguments["value"] == other.value
    )


def _sees(
    operations: list[Operation],
    before: set[tuple[int, int]],
    client: int,
    values: dict[bytes, Any],
    placed: frozenset[int],
) -> bool:
    """Whether what is left of a client's operations and all known writes can follow."""
    mine = [
        number
        for number, operation in enumerate(operations)
        if number not in placed and (operation.client == client or operation.name == "write")
    ]
    if not any(operations[number].client == client for number in mine):
        return True
    for number in mine:
        operation = operations[number]
        if any((other, number) in before for other in mine):
            continue
        if operation.name == "read" and values.get(operation.target) != operation.value:
            continue
        after = values
        if operation.name == "write":
            after = {**values, operation.target: operation.arguments["value"]}
        if _sees(operations, before, client, after, placed | {number}):
            return True
    return False
