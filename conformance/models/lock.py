"""The sequential specification of a lock, exclusive or shared."""

from __future__ import annotations

from typing import NamedTuple

from conformance.models.model import Answer, Call, Step

__all__ = ["STRANGER", "Holder", "LockModel", "LockState"]


class Holder(NamedTuple):
    """A lock object: the only one of a client, or one that clients share.

    ``number`` is the client's, or the object's when it is ``shared`` by the clients of
    one coordinator, which acts as ``member``.
    """

    member: bytes
    number: int
    shared: bool = False


STRANGER = Holder(b"", -1)
"""Whoever may have got the lock by a call of unknown outcome. Nobody can release such a
hold any more, so the model lets the driver or the backend give it back at any time."""


class LockState(NamedTuple):
    """Who holds: each holder with the number of its hold, and whether they share.

    ``unaware`` are the objects that lost their hold and have not been told yet.
    """

    holds: tuple[tuple[Holder, int], ...] = ()
    shared: bool = False
    unaware: frozenset[Holder] = frozenset()

    def holder(self, actor: object) -> bool:
        """Whether this object holds."""
        return any(holder == actor for holder, _ in self.holds)


class LockModel:
    """A lock whose holder is the lock object (:class:`conformance.locking.Lock`).

    ``acquire`` is granted when the lock is free, or shared and asked for shared, and
    refused when it is held, also by the asking object itself. ``argument`` of an acquire
    says whether it asks for a shared hold. A hold ends by ``release``, ``break_``,
    ``stop`` of its coordinator, or is lost (``lose``): whether it may be is not for the
    model to say. An object that was not told of its loss may go on believing that it
    holds: ``acquired`` may still say so, and it may refuse to acquire again.
    """

    initial = LockState()

    def steps(self, state: LockState, call: Call) -> tuple[Step, ...]:
        """Return what the call may lead to."""
        held = state.holder(call.actor)
        match call.name:
            case "acquire":
                return _acquire(state, call)
            case "release":
                return _tell(_without(state, call.actor) if held else state, call, held)
            case "is_still_owner" | "lock_heartbeat":
                return _tell(state, call, held)
            case "acquired":
                return _acquired(state, call, held)
            case "break_":
                losers = state.unaware.union(holder for holder, _ in state.holds)
                return ((Answer(bool(state.holds)), LockState(unaware=losers)),)
            case "lose":
                return ((Answer(), _lose(state, call)),)
            case "stop":
                return ((Answer(), _stop(state, call)),)
        raise ValueError(f"locks have no call {call.name!r}")

    def observes(self, call: Call, answer: Answer) -> bool:
        """Whether a call with this answer leaves every state as it is."""
        if answer.error is not None:
            return True
        match call.name:
            case "acquire" | "break_":
                return answer.value is False
            case "is_still_owner" | "lock_heartbeat" | "acquired":
                return answer.value is True
        return False


def _acquire(state: LockState, call: Call) -> tuple[Step, ...]:
    shared = bool(call.argument)
    refused = (Answer(False), state)
    if state.holds and not (shared and state.shared and not state.holder(call.actor)):
        return (refused,)
    holds = tuple(sorted([*state.holds, (call.actor, call.tenure)]))
    granted = (Answer(True), LockState(holds, shared, state.unaware - {call.actor}))
    return (granted, refused) if call.actor in state.unaware else (granted,)


def _acquired(state: LockState, call: Call, held: bool) -> tuple[Step, ...]:
    if call.actor not in state.unaware:
        return ((Answer(held), state),)
    return (*_tell(state, call, False), (Answer(True), state))


def _tell(state: LockState, call: Call, held: bool) -> tuple[Step, ...]:
    """Answer whether the object held; one that did not knows so from now on."""
    if not held and call.actor in state.unaware:
        state = state._replace(unaware=state.unaware - {call.actor})
    return ((Answer(held), state),)


def _without(state: LockState, actor: object) -> LockState:
    holds = tuple(hold for hold in state.holds if hold[0] != actor)
    return LockState(holds, state.shared and bool(holds), state.unaware)


def _lose(state: LockState, call: Call) -> LockState:
    if (call.actor, call.tenure) not in state.holds:
        return state
    left = _without(state, call.actor)
    if call.actor == STRANGER:
        return left
    return left._replace(unaware=left.unaware | {call.actor})


def _stop(state: LockState, call: Call) -> LockState:
    """End the holds of all objects of the coordinator, which know of it."""
    holds = tuple(hold for hold in state.holds if hold[0].member != call.actor)
    unaware = frozenset(holder for holder in state.unaware if holder.member != call.actor)
    return LockState(holds, state.shared and bool(holds), unaware)
