"""Doing again what may come out well a moment later, on a machine or a server that is slow."""

from __future__ import annotations

import time
from collections.abc import Callable

from conformance.verdict import Finding, Verdict
from conformance.workload.plan import Phase
from conformance.workload.runner import Session

__all__ = ["perform_until_held"]

_SLOW = 5.0
"""Seconds for which it is done again: a busy machine takes less, as does a server to learn of a
death; the time-out that a driver has unless told otherwise is longer."""

_AGAIN_SECONDS = 0.02
"""How long to wait in between."""


def perform_until_held(session: Session, phase: Phase, judge: Callable[[], Finding]) -> None:
    """Carry out a phase, and again until the judge has no objection, or it took too long."""
    end = time.monotonic() + _SLOW
    session.perform(phase)
    while judge().verdict is not Verdict.HELD and time.monotonic() < end:
        time.sleep(_AGAIN_SECONDS)
        session.perform(phase)
