"""Several objects as one model, for orders under which they cannot be judged one by one."""

from __future__ import annotations

from collections.abc import Callable, Hashable
from typing import Any

from conformance.models.group import RegistryModel
from conformance.models.leadership import LeadershipModel
from conformance.models.lock import LockModel
from conformance.models.model import Answer, Call, Kind, Model, Step
from conformance.models.register import RegisterModel

__all__ = ["Coordination", "Product", "Registers"]

ProductState = tuple[tuple[Any, Any], ...]
"""The states of the objects that are not in their initial one: (key, state), sorted."""


class Product:
    """Objects that know nothing of each other; every call is about one of them.

    :param locate: says which object a call is about; keys must sort
    :param component: makes the model of an object
    """

    initial: ProductState = ()

    def __init__(
        self, locate: Callable[[Call], Hashable], component: Callable[[Any], Model]
    ) -> None:
        self._locate = locate
        self._make = component
        self._components: dict[Hashable, Model] = {}

    def locate(self, call: Call) -> Hashable:
        """Return the key of the object that a call is about."""
        return self._locate(call)

    def component(self, key: Hashable) -> Model:
        """Return the model of the object with this key."""
        if key not in self._components:
            self._components[key] = self._make(key)
        return self._components[key]

    def state(self, state: ProductState, key: Hashable) -> Any:
        """Return the state of one object."""
        return dict(state).get(key, self.component(key).initial)

    def steps(self, state: ProductState, call: Call) -> tuple[Step, ...]:
        """Return what the call may lead to."""
        key = self._locate(call)
        component = self.component(key)
        steps = component.steps(self.state(state, key), call)
        return tuple((answer, self.put(state, key, after)) for answer, after in steps)

    def put(self, state: ProductState, key: Hashable, after: Any) -> ProductState:
        """Return the state with that of one object replaced."""
        others = [item for item in state if item[0] != key]
        if after != self.component(key).initial:
            others.append((key, after))
        return tuple(sorted(others, key=lambda item: item[0]))

    def observes(self, call: Call, answer: Answer) -> bool:
        """Whether a call with this answer leaves every state as it is."""
        return self.component(self._locate(call)).observes(call, answer)


class Coordination(Product):
    """Everything the coordination API has: locks, groups and leaderships.

    Its own call ``stop`` (of any kind) ends all holds, stays and terms of a member.
    """

    def __init__(self) -> None:
        super().__init__(_object_of, _model_of)

    def steps(self, state: ProductState, call: Call) -> tuple[Step, ...]:
        """Return what the call may lead to."""
        if call.name != "stop" or call.target:
            return super().steps(state, call)
        for key, inner in state:
            state = self.put(state, key, self._stopped(key, inner, call.actor))
        return ((Answer(), state),)

    def _stopped(self, key: Any, state: Any, member: Any) -> Any:
        component = self.component(key)
        if isinstance(component, RegistryModel):
            return component.stop(state, member)
        kind, target = key
        ((_, after),) = component.steps(state, Call(kind, "stop", target, member))
        return after


class Registers(Product):
    """Registers by name: a key-value store whose keys know nothing of each other.

    :param initial: what a register holds before its first write
    """

    def __init__(self, initial: Hashable = None) -> None:
        super().__init__(lambda call: call.target, lambda key: RegisterModel(initial))


def _object_of(call: Call) -> tuple[Kind, bytes]:
    """Return the object of a call; all groups are one, because ``get_groups`` lists them."""
    return call.kind, b"" if call.kind is Kind.GROUP else call.target


def _model_of(key: tuple[Kind, bytes]) -> Model:
    models: dict[Kind, type[Model]] = {
        Kind.LOCK: LockModel,
        Kind.GROUP: RegistryModel,
        Kind.LEADERSHIP: LeadershipModel,
        Kind.REGISTER: RegisterModel,
    }
    return models[key[0]]()
