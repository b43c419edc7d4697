"""Plans: what each client will do, in which phases, and which faults will hit it."""

from __future__ import annotations

from collections.abc import Set
from typing import Any

import msgspec

from conformance.history import brief

__all__ = ["PATIENCE", "Phase", "Plan", "PlannedFault", "Step", "describe", "long_after"]

PATIENCE = 5.0
"""Seconds that a client waits for the result of a group or member call."""


class Step(msgspec.Struct, frozen=True):
    """One call: ``name`` of the API's method, ``target`` lock or group, other arguments.

    ``pause`` are the seconds for which the client idles before the call.
    """

    name: str
    target: bytes = b""
    arguments: dict[str, Any] = {}
    pause: float = 0.0


class PlannedFault(msgspec.Struct, frozen=True):
    """Something to be done to a client's process: ``pause`` it or ``kill`` it.

    ``at`` are seconds after the phase began; a pause lasts ``seconds``.
    """

    kind: str
    client: int
    at: float = 0.0
    seconds: float = 0.0


class Phase(msgspec.Struct, frozen=True):
    """What happens between two barriers: each client's steps, at the same time as others'."""

    steps: dict[int, list[Step]]
    faults: list[PlannedFault] = []


class Plan(msgspec.Struct, frozen=True):
    """A whole run: clients, which of them share a coordinator, phases, driver options.

    ``coordinators`` maps each client to the number of its coordinator: all to one when
    they share it, each to its own otherwise. ``options`` go to the driver. ``patience``
    is how many seconds a phase may take, faults aside, before a client that has not
    returned is given up. ``members`` are names for coordinators that are not to have
    ``m0``, ``m1`` …; ``marked_at_end`` puts what makes names unique behind them instead
    of before; ``heart`` whether coordinators that need it beat by themselves. ``urls`` are
    for coordinators that are not to go where the others do.
    """

    coordinators: dict[int, int]
    phases: list[Phase]
    options: dict[str, Any] = {}
    patience: float = 30.0
    members: dict[int, bytes] = {}
    marked_at_end: bool = False
    heart: bool = True
    urls: dict[int, str] = {}

    def __repr__(self) -> str:
        """Return a few words: ``describe`` tells all, which may be megabytes."""
        return f"<Plan of {len(self.coordinators)} clients, {self.size} steps>"

    @property
    def clients(self) -> list[int]:
        """The clients' numbers."""
        return sorted(self.coordinators)

    def member(self, coordinator: int) -> bytes:
        """Return the name under which a coordinator joins groups."""
        return self.members.get(coordinator, f"m{coordinator}".encode())

    def without(self, names: Set[str]) -> Plan:
        """Return the plan without the calls of these names."""
        phases = [
            msgspec.structs.replace(
                phase,
                steps={
                    client: [step for step in steps if step.name not in names]
                    for client, steps in phase.steps.items()
                },
            )
            for phase in self.phases
        ]
        return msgspec.structs.replace(self, phases=phases)

    @property
    def size(self) -> int:
        """How many steps there are in all."""
        return sum(len(steps) for phase in self.phases for steps in phase.steps.values())

    @property
    def key(self) -> bytes:
        """The plan as bytes: equal for equal plans."""
        return msgspec.msgpack.encode(self)


def long_after(timeout: float) -> float:
    """Return the seconds after which what rests on a driver's time-out has happened.

    Servers end what expires late, but none later than at twice the time (Consul 1.8,
    "Sessions": up to double the TTL).
    """
    return 2 * timeout + 2


def describe(plan: Plan) -> str:
    """Return the plan as text for a person."""
    lines = [f"clients (by coordinator): {plan.coordinators}"]
    if plan.options:
        lines.append(f"options: {plan.options}")
    if plan.urls:
        lines.append(f"coordinators that have a URL of their own: {sorted(plan.urls)}")
    for number, phase in enumerate(plan.phases, 1):
        lines.append(f"phase {number}")
        for client, steps in sorted(phase.steps.items()):
            calls = "; ".join(_call(step) for step in steps)
            lines.append(f"  client {client}: {calls or 'nothing'}")
        for fault in phase.faults:
            lasting = f" for {fault.seconds:g} s" if fault.kind == "pause" else ""
            lines.append(f"  after {fault.at:g} s: {fault.kind} client {fault.client}{lasting}")
    return "\n".join(lines)


def _call(step: Step) -> str:
    arguments = [brief(step.target)] if step.target else []
    arguments += [f"{name}={brief(value)}" for name, value in step.arguments.items()]
    idle = f"idle {step.pause:g} s, " if step.pause else ""
    return f"{idle}{step.name}({', '.join(arguments)})"
