"""Histories for the tests of the checkers: short notation, and random ones.

A random history is made from a run of the real thing: operations take effect one after
the other on a model, and then get intervals around their moments. So it is right by
construction, until :func:`mutated` changes something in it.
"""

from __future__ import annotations

from random import Random
from typing import Any

import msgspec

from conformance.history import Fault, History, Operation, Outcome
from conformance.models import Coordination, Model, Registers, asked, predict

__all__ = [
    "SECOND",
    "contended",
    "fail",
    "history",
    "info",
    "mutated",
    "ok",
    "random_history",
    "random_step",
    "timed",
]

SECOND = 1_000_000_000
"""Ticks of a history: nanoseconds."""

_GAP = 10
"""Ticks between the moments of two operations."""


def timed(
    name: str,
    begin: float,
    value: Any = None,
    *,
    client: int = 0,
    took: float | None = 0.1,
    error: str | None = None,
    fails: bool = False,
    **arguments: Any,
) -> Operation:
    """Return an operation whose times are given in seconds.

    One with an error is of unknown outcome unless it ``fails``.
    """
    unknown = Outcome.FAIL if fails else Outcome.INFO
    return Operation(
        client,
        name,
        b"x",
        arguments,
        int(begin * SECOND),
        None if took is None else int((begin + took) * SECOND),
        unknown if error or took is None else Outcome.OK,
        value,
        error,
        b"m%d" % (client % 100),
    )


def ok(
    client: int,
    name: str,
    call: int,
    end: int,
    result: Any = None,
    target: bytes = b"x",
    acting: bytes | None = None,
    **arguments: Any,
) -> Operation:
    """Return an operation that succeeded."""
    who = f"m{client}".encode() if acting is None else acting
    return Operation(
        client, name, target, arguments, call, end, Outcome.OK, value=result, member=who
    )


def fail(
    client: int,
    name: str,
    call: int,
    end: int,
    error: str,
    target: bytes = b"x",
    acting: bytes | None = None,
    **arguments: Any,
) -> Operation:
    """Return an operation that certainly did not happen."""
    done = ok(client, name, call, end, None, target, acting, **arguments)
    return msgspec.structs.replace(done, outcome=Outcome.FAIL, error=error)


def info(
    client: int,
    name: str,
    call: int,
    end: int | None = None,
    target: bytes = b"x",
    acting: bytes | None = None,
    **arguments: Any,
) -> Operation:
    """Return an operation of unknown outcome."""
    done = ok(client, name, call, call, None, target, acting, **arguments)
    return msgspec.structs.replace(done, outcome=Outcome.INFO, end=end)


def history(*operations: Operation, faults: list[Fault] | None = None) -> History:
    """Return the history of these operations."""
    return History.of(operations, faults or [])


_Steps = tuple[tuple[str, dict[str, Any]], ...]

_LOCK_STEPS: _Steps = (
    ("acquire", {}),
    ("acquire", {}),
    ("release", {}),
    ("release", {}),
    ("is_still_owner", {}),
    ("acquired", {}),
    ("lock_heartbeat", {}),
)
_SHARED_STEPS = (*_LOCK_STEPS, ("acquire", {"shared": True}), ("acquire", {"shared": True}))
_GROUP_STEPS: _Steps = (
    ("create_group", {}),
    ("delete_group", {}),
    ("join_group", {"capabilities": None}),
    ("join_group", {"capabilities": None}),
    ("leave_group", {}),
    ("update_capabilities", {"capabilities": None}),
    ("get_members", {}),
    ("get_members_with_capabilities", {}),
    ("get_member_capabilities", {"member": None}),
    ("get_groups", {}),
)
_LEADER_STEPS: _Steps = (("campaign", {}), ("campaign", {}), ("stand_down", {}), ("get_leader", {}))
_REGISTER_STEPS: _Steps = (("read", {}), ("write", {"value": None}))
_CAS_STEPS = (*_REGISTER_STEPS, ("cas", {"old": None, "new": None}))
_STEPS: dict[str, _Steps] = {
    "lock": _LOCK_STEPS,
    "threads": tuple((name, {"object": 1}) for name, _ in _LOCK_STEPS),
    "rivals": (
        *((name, {"object": 1}) for name, _ in (*_LOCK_STEPS, *_LOCK_STEPS, ("break_", {}))),
        *_LOCK_STEPS,
        ("break_", {}),
    ),
    "breakable": (*_SHARED_STEPS, ("break_", {})),
    "shared": _SHARED_STEPS,
    "group": _GROUP_STEPS,
    "leadership": _LEADER_STEPS,
    "mixed": (*_LOCK_STEPS, *_GROUP_STEPS, *_LEADER_STEPS),
    "register": _REGISTER_STEPS,
    "cas": _CAS_STEPS,
}


def random_step(
    random: Random, about: str, clients: int, fresh: int, targets: int
) -> tuple[str, bytes, dict[str, Any]]:
    """Draw the name, target and arguments of one operation."""
    name, template = random.choice(_STEPS[about])
    number = 0 if (name, template) in _LEADER_STEPS else random.randrange(targets)
    target = b"" if name == "get_groups" else f"x{number}".encode()
    arguments: dict[str, Any] = dict(template)
    for key, value in template.items():
        if value is not None:
            continue
        if key == "member":
            arguments[key] = f"m{random.randrange(clients)}".encode()
        elif key == "old":
            arguments[key] = random.choice([None, *range(max(1, fresh))])
        else:
            arguments[key] = fresh
    return name, target, arguments


def random_history(
    random: Random,
    about: str,
    *,
    clients: int = 3,
    operations: int = 7,
    targets: int = 1,
    unknown: float = 0.1,
    stops: float = 0.0,
    beats: float = 0.0,
    kills: float = 0.0,
    spacing: int = _GAP,
) -> History:
    """Return a right history.

    :param about: what the operations are about, a key of ``_STEPS``
    :param unknown: which share of the operations has an unknown outcome
    :param stops: which share of the operations stops the client's coordinator
    :param beats: which share is a heartbeat of the client's coordinator
    :param kills: how likely each client is to be killed at the end of what it does
    :param spacing: ticks between operations; with the few of the default, times coincide
    """
    register = about in ("register", "cas")
    model: Model = Registers() if register else Coordination()
    state = model.initial
    planned: list[tuple[int, Operation]] = []
    names = {client: client for client in range(clients)}
    for number in range(operations):
        lane = random.randrange(clients)
        client = names[lane]
        member = b"m" if about in ("threads", "rivals") else f"m{lane}".encode()
        name, target, arguments = random_step(random, about, clients, number, targets)
        if about == "group" and number == 0:
            name, target, arguments = "create_group", b"x0", {}
        if random.random() < stops + beats:
            name = "stop" if random.random() * (stops + beats) < stops else "heartbeat"
            target, arguments = b"", {}
        question = asked(name, target, arguments, client=client, member=member)
        if random.random() < unknown:
            names[lane] += 100
            planned.append((number, question))
            if random.random() < 0.5:
                state = predict(model, state, question)[1]
            continue
        answer, state = predict(model, state, question)
        outcome = Outcome.OK if answer.error is None else Outcome.FAIL
        done = msgspec.structs.replace(
            question, outcome=outcome, value=answer.value, error=answer.error
        )
        planned.append((number, done))
    spread = _spread(random, planned, spacing)
    return History.of(spread, _killed(random, spread, range(clients), kills))


def _killed(
    random: Random, operations: list[Operation], clients: range, kills: float
) -> list[Fault]:
    """Kill some clients after their last operation began."""
    faults = []
    for client in clients:
        calls = [operation.call for operation in operations if operation.client % 100 == client]
        if calls and random.random() < kills:
            faults.append(Fault("kill", client, max(calls) + random.randint(0, 2 * _GAP)))
    return faults


def _spread(random: Random, planned: list[tuple[int, Operation]], spacing: int) -> list[Operation]:
    """Give every operation an interval around its moment, without overlap in one client."""
    moments: dict[int, list[tuple[int, Operation]]] = {}
    for number, operation in planned:
        lane = operation.client % 100
        moments.setdefault(lane, []).append((spacing * (number + 1), operation))
    spread = []
    width = random.choice([spacing // 2, spacing * 3 // 2, spacing * 4])
    for its in moments.values():
        free_from = 0
        for index, (moment, operation) in enumerate(its):
            following = its[index + 1][0] if index + 1 < len(its) else moment + 4 * spacing
            call = random.randint(max(free_from, moment - width), moment)
            latest = following if spacing == _GAP else following - 1
            end = random.randint(moment, max(moment, min(latest, moment + width)))
            free_from = end if spacing == _GAP else end + 1
            spread.append(_timed(operation, call, end, random))
    return spread


def _timed(operation: Operation, call: int, end: int, random: Random) -> Operation:
    if operation.outcome is Outcome.INFO:
        returned = end if random.random() < 0.5 else None
        return msgspec.structs.replace(operation, call=call, end=returned)
    return msgspec.structs.replace(operation, call=call, end=end)


def contended(random: Random, *, clients: int, operations: int, unknown: float = 0.0) -> History:
    """Return a long history of one lock that is right, with refusals.

    :param unknown: which share of the releases has an unknown outcome
    """
    done: list[Operation] = []
    free = [0] * clients
    names = list(range(clients))
    now = 1_000
    while len(done) < operations:
        chosen = random.randrange(clients)
        call = max(free[chosen], now - random.randint(0, 50))
        moment = max(now, call) + random.randint(1, 20)
        granted = moment + random.randint(1, 30)
        done.append(ok(names[chosen], "acquire", call, granted, True, blocking=True))
        until = granted + random.randint(1, 30)
        for other in range(clients):
            if other != chosen and free[other] < until and random.random() < 0.1:
                call = max(free[other] + 1, moment - random.randint(0, 20))
                end = max(call, moment) + random.randint(1, 20)
                done.append(ok(names[other], "acquire", call, end, False, blocking=False))
                free[other], until = end + 1, max(until, end)
        call = until + random.randint(0, 20)
        end = call + random.randint(1, 30)
        if random.random() < unknown:
            done.append(info(names[chosen], "release", call, end))
            names[chosen] += 100
        else:
            done.append(ok(names[chosen], "release", call, end, True))
        now, free[chosen] = random.randint(call, end), end + 1
    return History.of(done)


def mutated(random: Random, given: History) -> History:
    """Return a history with one thing changed, which may make it wrong."""
    operations = list(given.operations)
    known = [n for n, o in enumerate(operations) if not o.is_info and o.name != "stop"]
    if not known:
        return given
    number = random.choice(known)
    chosen = operations[number]
    match random.randrange(4):
        case 0:
            operations[number] = _another_result(random, chosen, operations)
        case 1:
            del operations[number]
        case 2:
            length = (chosen.end or chosen.call) - chosen.call
            call = max(0, chosen.call + random.randint(-4 * _GAP, 4 * _GAP))
            operations[number] = msgspec.structs.replace(chosen, call=call, end=call + length)
        case 3:
            operations[number] = _another_result(random, chosen, operations)
            return mutated(random, History.of(operations, given.faults))
    return _valid(operations, given)


def _another_result(random: Random, chosen: Operation, operations: list[Operation]) -> Operation:
    if isinstance(chosen.value, bool):
        return msgspec.structs.replace(chosen, value=not chosen.value)
    alike = [o for o in operations if o.name == chosen.name and not o.is_info]
    other = random.choice(alike)
    return msgspec.structs.replace(
        chosen, outcome=other.outcome, value=other.value, error=other.error
    )


def _valid(operations: list[Operation], given: History) -> History:
    """Return the changed history if a run can produce it, else the one that was given."""
    try:
        return History.of(operations, given.faults)
    except ValueError:
        return given
