"""What is concluded: findings about one history, verdicts about a claim.

Pure data, shared by the checkers that find, the scenarios that judge and the results.
"""

from __future__ import annotations

import enum
from collections.abc import Iterable

import msgspec

from conformance.history import History, Operation

__all__ = ["Evidence", "Finding", "Verdict", "worst"]


class Verdict(enum.Enum):
    """What is known about a claim, from best to worst news."""

    HELD = "held"
    """Not falsified, in so many trials of so many operations."""

    NOT_EXERCISED = "not exercised"
    """Nothing was run; the reason says why."""

    INCONCLUSIVE = "inconclusive"
    """The check ran out of budget, or too little happened for a run to mean anything."""

    ERROR = "error"
    """The harness or the environment failed."""

    FALSIFIED = "falsified"
    """A history was seen that the claim does not allow; it is kept as evidence."""


class Finding(msgspec.Struct, frozen=True):
    """What a checker says of one history.

    ``verdict`` is HELD, FALSIFIED or INCONCLUSIVE; ``rule`` names the rule that decided
    (``mutual exclusion``, ``linearizability`` …); ``reason`` is a sentence for a person;
    ``witness`` are the fewest operations that show it.
    """

    verdict: Verdict
    rule: str
    reason: str = ""
    witness: list[Operation] = []


class Evidence(msgspec.Struct, frozen=True):
    """A falsified trial, whole: what was planned, what happened, what is wrong with it.

    ``scenario`` is the test's id, ``plan`` a readable account of the plan, ``command``
    what runs the same again.
    """

    scenario: str
    backend: str
    implementation: str
    level: str
    plan: str
    history: History
    finding: Finding
    command: str


def worst(verdicts: Iterable[Verdict]) -> Verdict:
    """Return the worst of several verdicts on one claim; NOT_EXERCISED for none.

    Held counts only what was run: held and not exercised together are held.
    """
    order = list(Verdict)
    found = set(verdicts)
    if found <= {Verdict.HELD, Verdict.NOT_EXERCISED}:
        return Verdict.HELD if Verdict.HELD in found else Verdict.NOT_EXERCISED
    return max(found, key=order.index)
