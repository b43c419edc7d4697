"""How findings speak: times from the start of the history, spans, and who did it."""

from __future__ import annotations

from conformance.history import NEVER, History, Operation

__all__ = ["Clock", "did", "span", "who"]


class Clock:
    """Tells times as a person reads them: milliseconds since the first call.

    :param history: the history whose first call is time 0
    """

    def __init__(self, history: History) -> None:
        self._origin = history.operations[0].call if history.operations else 0

    def at(self, time: float) -> str:
        """Return a time in nanoseconds as text."""
        if abs(time) == NEVER:
            return "the end of the run" if time > 0 else "the start of the run"
        return f"{(time - self._origin) / 1e6:.3f} ms"

    def when(self, operation: Operation) -> str:
        """Return when an operation was called and returned."""
        if operation.end is None:
            return f"called at {self.at(operation.call)}, never returned"
        return f"called at {self.at(operation.call)}, returned at {self.at(operation.end)}"


def span(nanoseconds: float) -> str:
    """Return a length of time in the unit that suits it."""
    for unit, size in (("s", 1e9), ("ms", 1e6), ("µs", 1e3)):
        if nanoseconds >= size:
            return f"{nanoseconds / size:.3g} {unit}"
    return f"{nanoseconds:g} ns"


def who(operation: Operation) -> str:
    """Return who made a call."""
    shared = operation.arguments.get("object")
    if shared is None:
        return f"client {operation.client}"
    return f"client {operation.client} (by lock object {shared})"


def did(operation: Operation) -> str:
    """Return what a call was and what came of it, without who made it."""
    arguments = [repr(operation.target)] if operation.target else []
    arguments += [f"{name}={value!r}" for name, value in operation.arguments.items()]
    call = f"{operation.name}({', '.join(arguments)})"
    if operation.is_info:
        return f"{call}, whose outcome is unknown"
    return f"{call} -> {operation.error or repr(operation.value)}"
