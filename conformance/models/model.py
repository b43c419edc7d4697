"""What a sequential specification is: calls, answers, and the steps of a model.

A model says, for a state and a call, what the caller is told and what the state is
afterwards. The same steps predict the result of a call and judge a recorded one, so
every operation is specified once. The specifications themselves stand in the modules
beside this one; searching for orders belongs to ``checkers``.
"""

from __future__ import annotations

import enum
from typing import Any, NamedTuple, Protocol

import msgspec

__all__ = ["Answer", "Call", "Kind", "Model", "Step", "answer_of", "expected", "follow"]


class Kind(enum.StrEnum):
    """What sort of object a call is about; with its name it tells the object."""

    LOCK = "lock"
    GROUP = "group"
    LEADERSHIP = "leadership"
    REGISTER = "register"


class Call(msgspec.Struct, frozen=True):
    """A call as a model sees it: hashable, and without a result.

    ``target`` names the lock, group or register; ``actor`` is who calls: the holder of a
    lock, the member of a group, the candidate for a leadership; ``argument`` what else
    matters. ``tenure`` tells one hold, stay or term of an actor from its others; it is 0
    where none of them can end behind the actor's back.
    """

    kind: Kind
    name: str
    target: bytes = b""
    actor: Any = None
    argument: Any = None
    tenure: int = 0


class Answer(NamedTuple):
    """What the caller is told: a value, or the class name of an error."""

    value: Any = None
    error: str | None = None


Step = tuple[Answer, Any]
"""What a call may lead to: the answer, and the state afterwards."""


class Model(Protocol):
    """A sequential specification as a state machine. States are hashable.

    With one answer a call leads to one state; a call may have several answers.
    """

    @property
    def initial(self) -> Any:
        """The state before any call."""

    def steps(self, state: Any, call: Call) -> tuple[Step, ...]:
        """Return what the call may lead to, the expected first.

        :raises ValueError: the model does not know the call
        """

    def observes(self, call: Call, answer: Answer) -> bool:
        """Whether a call with this answer leaves every state as it is."""


def expected(model: Model, state: Any, call: Call) -> Step:
    """Return the answer that a model gives to a call, and the state afterwards."""
    return model.steps(state, call)[0]


def follow(model: Model, state: Any, call: Call, answer: Answer | None) -> tuple[Any, ...]:
    """Return the state after a call that was answered so: none when that cannot be.

    :param answer: None when it is not known or does not matter; the call then does what
        it can in this state
    """
    steps = model.steps(state, call)
    if answer is None:
        return (next((after for _, after in steps if after != state), state),)
    return next(((after,) for given, after in steps if given == answer), ())


def answer_of(value: Any, error: str | None) -> Answer:
    """Return the answer that was recorded; an error leaves no value."""
    return Answer(value) if error is None else Answer(None, error)
