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

_LAPSED = -2
"""The number of what is left of holds that lapsed; see :class:`LockModel`."""


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
    ``stop`` of its coordinator, or is lost (``lose``, ``lapse``): whether it may be is not
    for the model to say. An object that was not told of its loss may go on believing that
    it holds: ``acquired`` may still say so, and it may refuse to acquire again.

    What lapses, its object counts on no longer, but the backend may still keep it: who holds
    by a lease gives it up before it can have run out for the server (C. Gray, D. Cheriton:
    "Leases", 1989, section 5, on clocks), and a server may not see for a while that a
    connection is gone. So until somebody is granted the lock, breaks it, or stops that
    coordinator, an acquire may be refused, or granted.
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
                return _break(state)
            case "lose" | "lapse":
                return ((Answer(), _lose(state, call)),)
            case "stop":
                return ((Answer(), _stop(state, call)),)
        raise ValueError(f"locks have no call {call.name!r}")

    def observes(self, call: Call, answer: Answer) -> bool:
        """Whether a call with this answer leaves every state as it is."""
        if answer.error is not None:
            return True
        match call.name:
            case "acquire":
                return answer.value is False
            case "is_still_owner" | "lock_heartbeat" | "acquired":
                return answer.value is True
        return False


def _acquire(state: LockState, call: Call) -> tuple[Step, ...]:
    states = _settled(state)
    granted = tuple((Answer(True), _grant(one, call)) for one in states if _may_join(one, call))
    if len(granted) == len(states) and call.actor not in state.unaware:
        return granted
    return (*granted, (Answer(False), state))


def _may_join(state: LockState, call: Call) -> bool:
    return not state.holds or (
        bool(call.argument) and state.shared and not state.holder(call.actor)
    )


def _grant(state: LockState, call: Call) -> LockState:
    holds = tuple(sorted([*state.holds, (call.actor, call.tenure)]))
    return LockState(holds, bool(call.argument), state.unaware - {call.actor})


def _settled(state: LockState) -> tuple[LockState, ...]:
    """Return what a state may be for the backend: what lapsed is kept still, or gone."""
    kept = tuple(hold for hold in state.holds if hold[0].number != _LAPSED)
    if len(kept) == len(state.holds):
        return (state,)
    return (state, LockState(kept, state.shared and bool(kept), state.unaware))


def _break(state: LockState) -> tuple[Step, ...]:
    """Answer whether somebody held, as the backend sees it; nobody does from now on."""
    losers = state.unaware.union(h for h, _ in state.holds if h.number != _LAPSED)
    free = LockState(unaware=losers)
    return tuple((Answer(bool(one.holds)), free) for one in _settled(state))


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
    left = left._replace(unaware=left.unaware | {call.actor})
    if call.name == "lose":
        return left
    rest = (Holder(call.actor.member, _LAPSED), 0)
    return left._replace(holds=tuple(sorted({*left.holds, rest})), shared=state.shared)


def _stop(state: LockState, call: Call) -> LockState:
    """End the holds of all objects of the coordinator, which know of it."""
    holds = tuple(hold for hold in state.holds if hold[0].member != call.actor)
    unaware = frozenset(holder for holder in state.unaware if holder.member != call.actor)
    return LockState(holds, state.shared and bool(holds), unaware)
