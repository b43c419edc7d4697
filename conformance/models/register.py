"""The sequential specification of a register: to cross-check the checkers on public histories."""

from __future__ import annotations

from collections.abc import Hashable

from conformance.models.model import Answer, Call, Step

__all__ = ["RegisterModel"]


class RegisterModel:
    """A register with ``read``, ``write``, ``cas`` (compare and set) and ``append``.

    ``argument`` is the value of a write, the text of an append, and the pair (old, new)
    of a ``cas``, which answers whether the register held ``old``.

    :param initial: what the register holds before the first write
    """

    def __init__(self, initial: Hashable = None) -> None:
        self._initial = initial

    @property
    def initial(self) -> Hashable:
        """What the register holds before the first write."""
        return self._initial

    def steps(self, state: Hashable, call: Call) -> tuple[Step, ...]:
        """Return what the call may lead to."""
        match call.name, call.argument:
            case "read", _:
                return ((Answer(state), state),)
            case "write", value:
                return ((Answer(), value),)
            case "append", str(text):
                return ((Answer(), f"{state}{text}"),)
            case "cas", (old, new):
                return ((Answer(state == old), new if state == old else state),)
        raise ValueError(f"registers have no call {call.name!r} with {call.argument!r}")

    def observes(self, call: Call, answer: Answer) -> bool:
        """Whether a call with this answer leaves every state as it is."""
        refused = call.name == "cas" and answer.value is False
        return answer.error is not None or refused or call.name == "read"
