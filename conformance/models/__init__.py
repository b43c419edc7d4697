"""Sequential specifications as small state machines, and the calls that they know.

Each module specifies one kind of object; ``model`` says what a specification is,
``calls`` how recorded operations map to them, ``product`` puts several together. What a
concurrent history means is for ``checkers`` to say.
"""

from conformance.models.calls import (
    GROUP_CALLS,
    LEADERSHIP_CALLS,
    LOCK_CALLS,
    NEUTRAL_CALLS,
    asked,
    call_of,
    holder_of,
    kind_of,
    predict,
)
from conformance.models.group import GroupModel, RegistryModel, pack
from conformance.models.leadership import LeadershipModel
from conformance.models.lock import STRANGER, Holder, LockModel, LockState
from conformance.models.model import Answer, Call, Kind, Model, Step, answer_of, expected, follow
from conformance.models.product import Coordination, Product, Registers
from conformance.models.register import RegisterModel

__all__ = [
    "GROUP_CALLS",
    "LEADERSHIP_CALLS",
    "LOCK_CALLS",
    "NEUTRAL_CALLS",
    "STRANGER",
    "Answer",
    "Call",
    "Coordination",
    "GroupModel",
    "Holder",
    "Kind",
    "LeadershipModel",
    "LockModel",
    "LockState",
    "Model",
    "Product",
    "RegisterModel",
    "Registers",
    "RegistryModel",
    "Step",
    "answer_of",
    "asked",
    "call_of",
    "expected",
    "follow",
    "holder_of",
    "kind_of",
    "pack",
    "predict",
]
