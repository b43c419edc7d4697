"""Conduct: what no client may ever see, whatever it called and whoever else was there."""

from __future__ import annotations

from conformance.checkers.losses import SEVERING
from conformance.history import FOREIGN, History, Operation, lane
from conformance.verdict import Finding, Verdict

__all__ = ["check_conduct"]


def check_conduct(history: History) -> Finding:
    """Falsified by a foreign exception, a call that never returned, or one that failed.

    Clients whose process a fault hit are excused from returning, and once anything was hit,
    links too, calls may time out.
    """
    faults = [fault for fault in history.faults if fault.kind != "give up"]
    hit = {fault.client for fault in faults if fault.kind not in SEVERING}
    for operation in history.operations:
        reason = _misconduct(operation, excused=bool(faults))
        if reason is not None and not (operation.end is None and lane(operation.client) in hit):
            return Finding(Verdict.FALSIFIED, "conduct", f"{reason}: {operation}", [operation])
    return Finding(Verdict.HELD, "conduct")


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
