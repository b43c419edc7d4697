"""How recorded operations map to the calls of the models, and what a call should return.

Every operation that a history may hold is listed here: the calls of each kind of object,
those made of several calls, and those that no model has anything to say of.
"""

from __future__ import annotations

from collections.abc import Hashable
from typing import Any

from conformance.history import MalformedHistory, Operation, Outcome
from conformance.models.group import pack
from conformance.models.lock import Holder
from conformance.models.model import Answer, Call, Kind, Model, Step, expected, follow

__all__ = [
    "GROUP_CALLS",
    "LEADERSHIP_CALLS",
    "LOCK_CALLS",
    "NEUTRAL_CALLS",
    "asked",
    "call_of",
    "holder_of",
    "kind_of",
    "predict",
]

LOCK_CALLS = frozenset(
    ("acquire", "release", "is_still_owner", "acquired", "lock_heartbeat", "break_", "enter")
)
"""Calls of a lock. ``enter`` uses it as a context manager, without waiting."""

GROUP_CALLS = frozenset(
    (
        "create_group",
        "delete_group",
        "get_groups",
        "get_member_capabilities",
        "get_member_info",
        "get_members",
        "get_members_with_capabilities",
        "join_group",
        "join_group_create",
        "leave_group",
        "update_capabilities",
    )
)
"""Calls of a group; ``get_groups`` is about all of them."""

LEADERSHIP_CALLS = frozenset(("campaign", "stand_down", "get_leader"))
"""Calls of a group's leadership."""

REGISTER_CALLS = frozenset(("read", "write", "cas", "append"))

NEUTRAL_CALLS = frozenset(
    (
        "fork",
        "heard",
        "heartbeat",
        "idle",
        "is_started",
        "join_oddly",
        "measure",
        "run_watchers",
        "start",
        "start_again",
        "stop",
        "unwatch",
        "watch",
        "watch_elected",
    )
)
"""Operations about no single object. ``stop`` ends what a member has, ``heartbeat`` is a
sign of life and ``run_watchers`` may win an election: the checkers see to that."""

_KINDS: dict[str, Kind | None] = (
    dict.fromkeys(LOCK_CALLS, Kind.LOCK)
    | dict.fromkeys(GROUP_CALLS, Kind.GROUP)
    | dict.fromkeys(LEADERSHIP_CALLS, Kind.LEADERSHIP)
    | dict.fromkeys(REGISTER_CALLS, Kind.REGISTER)
    | dict.fromkeys(NEUTRAL_CALLS)
)


def kind_of(name: str) -> Kind | None:
    """Return the kind of object that an operation is about, None for no single object.

    :raises ValueError: no model knows such an operation
    """
    try:
        return _KINDS[name]
    except KeyError:
        raise ValueError(
            f"no model knows the operation {name!r}: add it to conformance.models.calls"
        ) from None


def holder_of(operation: Operation) -> Holder:
    """Return the lock object that an operation uses.

    A client has one object for each lock; the argument ``object`` names one that the
    clients of a coordinator share.
    """
    shared = operation.arguments.get("object")
    if shared is None:
        return Holder(operation.member, operation.client)
    return Holder(operation.member, shared, shared=True)


def call_of(operation: Operation, name: str | None = None, *, tenure: int = 0) -> Call:
    """Return an operation as a call of a model.

    :param name: one of the calls that an operation like ``join_group_create`` makes
    :param tenure: the number of the hold, stay or term that it begins, if any
    :raises ValueError: no model knows such an operation
    :raises MalformedHistory: an argument is missing
    """
    name = name or operation.name
    kind = kind_of(name)
    if kind is None:
        raise ValueError(f"the operation {name!r} is about no object that has a model")
    actor: Hashable = None
    if kind is Kind.LOCK:
        actor = holder_of(operation)
    elif kind is not Kind.REGISTER:
        actor = operation.member
    try:
        argument = _argument(name, operation.arguments)
    except KeyError as error:
        raise MalformedHistory(f"without its argument {error}: {operation}") from error
    return Call(kind, name, operation.target, actor, argument, tenure)


def asked(
    name: str,
    target: bytes = b"",
    arguments: dict[str, Any] | None = None,
    *,
    client: int = 0,
    member: bytes = b"",
) -> Operation:
    """Return an operation that has no result yet, to be given to :func:`predict`."""
    return Operation(client, name, target, arguments or {}, 0, None, Outcome.INFO, member=member)


def predict(model: Model, state: Any, operation: Operation) -> Step:
    """Return what an operation should answer, and the state afterwards.

    The result that the operation may carry is not looked at. Of ``get_member_info`` only
    the capabilities are told; an operation that no model speaks of answers None.

    :param model: one that knows the operation's object, as ``Coordination`` knows all
    """
    match operation.name:
        case "stop":
            return expected(model, state, Call(Kind.GROUP, "stop", actor=operation.member))
        case name if name in NEUTRAL_CALLS:
            return Answer(), state
        case "join_group_create":
            (state,) = follow(model, state, call_of(operation, "create_group"), None)
            return expected(model, state, call_of(operation, "join_group"))
        case "get_member_info":
            answer, state = expected(model, state, call_of(operation, "get_member_capabilities"))
            if answer.error is None:
                answer = Answer({"capabilities": answer.value})
            return answer, state
        case "enter":
            granted, state = expected(model, state, call_of(operation, "acquire"))
            if not granted.value:
                return Answer(None, "LockAcquireFailed"), state
            return Answer(True), expected(model, state, call_of(operation, "release"))[1]
    return expected(model, state, call_of(operation))


def _argument(name: str, arguments: dict[str, Any]) -> Hashable:
    """Return what matters of the arguments, hashable."""
    match name:
        case "acquire":
            return bool(arguments.get("shared", False))
        case "join_group" | "update_capabilities":
            return pack(arguments.get("capabilities"))
        case "get_member_capabilities":
            member: bytes = arguments["member"]
            return member
        case "write" | "append":
            value: Hashable = arguments["value"]
            return value
        case "cas":
            return (arguments["old"], arguments["new"])
    return None
