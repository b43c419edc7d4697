"""The sequential specifications of a group with members and capabilities, and of all groups."""

from __future__ import annotations

from typing import NamedTuple

import msgspec

from conformance.models.model import Answer, Call, Kind, Step

__all__ = ["GroupModel", "GroupState", "Membership", "RegistryModel", "pack"]


class Membership(NamedTuple):
    """A member's stay in a group, with its capabilities packed."""

    member: bytes
    capabilities: bytes
    tenure: int = 0


GroupState = tuple[Membership, ...] | None
"""The members, sorted; None where there is no group."""

_NO_GROUP = Answer(None, "GroupNotCreated")
_NOT_JOINED = Answer(None, "MemberNotJoined")

_READS = frozenset(
    (
        "exists",
        "get_groups",
        "get_member_capabilities",
        "get_members",
        "get_members_with_capabilities",
    )
)


def pack(capabilities: object) -> bytes:
    """Return capabilities in the form in which a state keeps them."""
    return msgspec.msgpack.encode(capabilities)


class GroupModel:
    """One group (:class:`conformance.coordinator.Coordinator`).

    ``argument`` is the packed capabilities of ``join_group`` and ``update_capabilities``,
    the member that ``get_member_capabilities`` asks for. ``exists`` is what a listing of
    all groups says of this one. A stay ends by ``leave_group``, ``stop`` of the
    coordinator, or is lost (``lose``).
    """

    initial: GroupState = None

    def steps(self, state: GroupState, call: Call) -> tuple[Step, ...]:
        """Return what the call may lead to."""
        match call.name:
            case "exists":
                return ((Answer(state is not None), state),)
            case "create_group" if state is not None:
                return ((Answer(None, "GroupAlreadyExist"), state),)
            case "create_group":
                return ((Answer(), ()),)
            case "lose" | "stop":
                return ((Answer(), _end(state, call)),)
        if call.name not in _OF_MEMBERS:
            raise ValueError(f"groups have no call {call.name!r}")
        return ((_NO_GROUP, state) if state is None else _of_members(state, call),)

    def observes(self, call: Call, answer: Answer) -> bool:
        """Whether a call with this answer leaves every state as it is."""
        return answer.error is not None or call.name in _READS


_OF_MEMBERS = _READS - {"exists", "get_groups"} | {
    "delete_group",
    "join_group",
    "leave_group",
    "update_capabilities",
}


def _of_members(state: tuple[Membership, ...], call: Call) -> Step:
    """Return the step of a call on a group that exists."""
    match call.name:
        case "delete_group":
            return (Answer(None, "GroupNotEmpty"), state) if state else (Answer(), None)
        case "get_members":
            return Answer([stay.member for stay in state]), state
        case "get_members_with_capabilities":
            return Answer({stay.member: _unpack(stay.capabilities) for stay in state}), state
        case "get_member_capabilities":
            found = _stay(state, call.argument)
            return (Answer(_unpack(found.capabilities)) if found else _NOT_JOINED), state
    return _of_own_stay(state, call)


def _of_own_stay(state: tuple[Membership, ...], call: Call) -> Step:
    """Return the step of a call by which a member changes its own stay."""
    stay = _stay(state, call.actor)
    if call.name == "join_group":
        if stay is not None:
            return Answer(None, "MemberAlreadyExist"), state
        joined = Membership(call.actor, call.argument, call.tenure)
        return Answer(), tuple(sorted((*state, joined)))
    if stay is None:
        return _NOT_JOINED, state
    others = tuple(other for other in state if other != stay)
    if call.name == "leave_group":
        return Answer(), others
    updated = stay._replace(capabilities=call.argument)
    return Answer(), tuple(sorted((*others, updated)))


def _stay(state: tuple[Membership, ...], member: object) -> Membership | None:
    return next((stay for stay in state if stay.member == member), None)


def _end(state: GroupState, call: Call) -> GroupState:
    if state is None:
        return None
    return tuple(
        stay
        for stay in state
        if stay.member != call.actor or (call.name == "lose" and stay.tenure != call.tenure)
    )


def _unpack(capabilities: bytes) -> object:
    return msgspec.msgpack.decode(capabilities)


class RegistryModel:
    """All groups of a backend together, which ``get_groups`` lists.

    A state is the groups that exist, sorted by name, each with its members.
    """

    initial: tuple[tuple[bytes, tuple[Membership, ...]], ...] = ()

    def __init__(self) -> None:
        self._group = GroupModel()

    def steps(
        self, state: tuple[tuple[bytes, tuple[Membership, ...]], ...], call: Call
    ) -> tuple[Step, ...]:
        """Return what the call may lead to."""
        if call.name == "get_groups":
            return ((Answer([name for name, _ in state]), state),)
        groups = dict(state)
        steps = []
        for answer, after in self._group.steps(groups.get(call.target), call):
            others = {name: members for name, members in state if name != call.target}
            if after is not None:
                others[call.target] = after
            steps.append((answer, tuple(sorted(others.items()))))
        return tuple(steps)

    def observes(self, call: Call, answer: Answer) -> bool:
        """Whether a call with this answer leaves every state as it is."""
        return self._group.observes(call, answer)

    def stop(
        self, state: tuple[tuple[bytes, tuple[Membership, ...]], ...], member: bytes
    ) -> tuple[tuple[bytes, tuple[Membership, ...]], ...]:
        """Return the state after a member's coordinator was stopped."""
        for name, _ in state:
            ((_, state),) = self.steps(state, Call(Kind.GROUP, "stop", name, member))
        return state
