"""Conduct: what no client may ever see, whatever it called and whoever else was there."""

from __future__ import annotations

from collections.abc import Iterable

from conformance.checkers.losses import SEVERING
from conformance.checkers.moves import overlap
from conformance.history import FOREIGN, History, Operation, lane
from conformance.verdict import Finding, Verdict

__all__ = ["check_conduct"]


def check_conduct(history: History, *, timeout: float | None = None) -> Finding:
    """Falsified by a foreign exception, a call that never returned, or one that failed.

    Clients whose process a fault hit are excused from returning, and once anything was hit,
    links too, calls may time out; so may one whose coordinator another client stops. A
    driver that was told to wait no longer than ``timeout`` may say after it that nothing
    came, where the machine was slow: then nothing is known.

    :param timeout: the driver's time-out in seconds, where the plan gave it one
    :returns: HELD, FALSIFIED with a witness, or INCONCLUSIVE
    """
    faults = [fault for fault in history.faults if fault.kind != "give up"]
    hit = {fault.client for fault in faults if fault.kind not in SEVERING}
    stops = history.only("stop")
    late: Operation | None = None
    for operation in history.operations:
        excused = bool(faults) or _is_stopped(operation, stops)
        reason = _misconduct(operation, excused=excused)
        if reason is None or (operation.end is None and lane(operation.client) in hit):
            continue
        if not _as_told(operation, timeout):
            return Finding(Verdict.FALSIFIED, "conduct", f"{reason}: {operation}", [operation])
        late = late or operation
    if late is not None:
        reason = f"a call had no answer within {timeout:g} s, as is told after that: {late}"
        return Finding(Verdict.INCONCLUSIVE, "conduct", reason, [late])
    return Finding(Verdict.HELD, "conduct")


def _is_stopped(operation: Operation, stops: Iterable[Operation]) -> bool:
    """Whether another client stopped the coordinator of a call that was under way."""
    return any(
        stop.member == operation.member
        and stop.client != operation.client
        and overlap(stop, operation)
        for stop in stops
    )


def _as_told(operation: Operation, timeout: float | None) -> bool:
    """Whether a call gave up no sooner than after the time-out that the driver was given."""
    if operation.error != "OperationTimedOut" or operation.end is None or timeout is None:
        return False
    return operation.end - operation.call >= timeout * 1e9


def _misconduct(operation: Operation, excused: bool) -> str | None:
    error = operation.error or ""
    if error.startswith(FOREIGN):
        return "an exception from outside the API's family"
    if error == "NotImplemented":
        return "not implemented, though the driver's features say otherwise"
    if operation.end is None:
        return "a call that never returned"
    if operation.is_info and not excused:
        return "a call that failed although nothing was wrong"
    return None
