"""The sequential specification of a group's leadership."""

from __future__ import annotations

from conformance.models.model import Answer, Call, Step

__all__ = ["LeadershipModel", "LeadershipState"]

LeadershipState = tuple[bytes, int] | None
"""The leader and the number of its term; None while nobody leads."""


class LeadershipModel:
    """Who leads one group: at most one member, elected for a term.

    ``campaign`` answers whether the caller leads afterwards: it is elected, or leads
    already, or another leads. A term ends by ``stand_down``, ``stop`` of the
    coordinator, or is lost (``lose``). Neither the group nor a membership is needed.
    """

    initial: LeadershipState = None

    def steps(self, state: LeadershipState, call: Call) -> tuple[Step, ...]:
        """Return what the call may lead to."""
        leads = state is not None and state[0] == call.actor
        match call.name:
            case "campaign" if state is None:
                return ((Answer(True), (call.actor, call.tenure)),)
            case "campaign":
                return ((Answer(leads), state),)
            case "get_leader":
                return ((Answer(None if state is None else state[0]), state),)
            case "stand_down":
                return ((Answer(leads), None if leads else state),)
            case "lose":
                return ((Answer(), None if state == (call.actor, call.tenure) else state),)
            case "stop":
                return ((Answer(), None if leads else state),)
        raise ValueError(f"leaderships have no call {call.name!r}")

    def observes(self, call: Call, answer: Answer) -> bool:
        """Whether a call with this answer leaves every state as it is."""
        refused = call.name in ("campaign", "stand_down") and answer.value is False
        return answer.error is not None or refused or call.name == "get_leader"
