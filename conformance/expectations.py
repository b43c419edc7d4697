"""Expectations: what is known not to hold, so that a gate fails on news alone.

An expectations file says which scenarios a driver is known to fail, and why::

    [[expected]]
    scenario = "test_locks::test_lock_is_exclusive[postgresql-threads]"
    backend = "postgresql"
    reason = "lock-safety"
    text = "the lock's key keeps two bytes of a hash of its name"
    url = "https://bugs.example.org/1"

``scenario`` is the id of a result; without the bracket it is meant at every level. An
expectation is as refutable as a claim: one that matches nothing that ran, or only what
held, is an error. Where it takes luck to see the defect, ``sometimes = true`` lets the
scenario hold. Expectations for backends that are not under test wait for their turn.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Literal, get_args

import msgspec

from conformance.results import ScenarioResult
from conformance.verdict import Verdict

__all__ = [
    "BadExpectations",
    "Expectation",
    "Reason",
    "expected_because",
    "load_expectations",
    "refuted",
]

Reason = Literal["lock-safety", "truth-after-loss", "api", "liveness", "hygiene"]
"""Why something is expected not to hold.

``lock-safety``: two hold what one may. ``truth-after-loss``: a client is told that it has
what it has not. ``api``: an answer, an error or a name that the contract does not allow.
``liveness``: something hangs, starves, or is not freed. ``hygiene``: something is left
behind, or is inherited over a fork.
"""

_UNCLEAN = (Verdict.FALSIFIED, Verdict.INCONCLUSIVE, Verdict.ERROR)
"""The verdicts that can be expected; what was not exercised tells nothing."""


class BadExpectations(ValueError):
    """The file cannot be read, or says something that it may not; the message says what."""


class Expectation(msgspec.Struct, frozen=True, kw_only=True, forbid_unknown_fields=True):
    """One scenario that is expected not to hold on a backend."""

    scenario: str
    backend: str
    reason: Reason
    text: str = ""
    url: str = ""
    sometimes: bool = False

    def matches(self, test: str, backend: str) -> bool:
        """Whether it speaks of a test on a backend."""
        return backend == self.backend and self.scenario in (test, test.partition("[")[0])

    @property
    def because(self) -> str:
        """The reason in words: its class, the text, where more is written."""
        said = " ".join(part for part in (self.text, self.url and f"<{self.url}>") if part)
        return f"{self.reason}: {said}"


class _File(msgspec.Struct, frozen=True, forbid_unknown_fields=True):
    expected: list[Expectation] = []


def load_expectations(path: Path) -> list[Expectation]:
    """Read an expectations file.

    :raises BadExpectations: it cannot be read, or an entry is not as it must be
    """
    try:
        found = msgspec.toml.decode(path.read_bytes(), type=_File).expected
    except (OSError, msgspec.DecodeError, ValueError) as error:
        hint = f"; reasons are {', '.join(get_args(Reason))}" if ".reason" in str(error) else ""
        raise BadExpectations(f"--expectations={path}: {error}{hint}") from error
    seen: set[tuple[str, str]] = set()
    for entry in found:
        if not (entry.text or entry.url):
            raise BadExpectations(
                f"--expectations={path}: {entry.scenario} on {entry.backend} needs a text or a url"
            )
        if (entry.scenario, entry.backend) in seen:
            raise BadExpectations(
                f"--expectations={path}: {entry.scenario} on {entry.backend} is there twice"
            )
        seen.add((entry.scenario, entry.backend))
    return found


def expected_because(
    expectations: Iterable[Expectation], test: str, backend: str, verdict: Verdict
) -> str:
    """Return why a verdict was expected; nothing when it was not."""
    if verdict not in _UNCLEAN:
        return ""
    return next((e.because for e in expectations if e.matches(test, backend)), "")


def refuted(
    expectations: Iterable[Expectation],
    results: Sequence[ScenarioResult],
    backends: Iterable[str],
) -> list[str]:
    """Return a sentence for each expectation that the results contradict.

    :param backends: those under test; expectations for others are not looked at
    """
    under_test = set(backends)
    complaints = []
    for entry in expectations:
        if entry.backend not in under_test:
            continue
        ran = [
            result
            for result in results
            if entry.matches(result.test, result.backend)
            and result.verdict is not Verdict.NOT_EXERCISED
        ]
        if not ran:
            complaints.append(f"{entry.scenario} on {entry.backend}: nothing that ran is this")
        elif not entry.sometimes and not any(result.verdict in _UNCLEAN for result in ran):
            complaints.append(f"{entry.scenario} on {entry.backend}: it held ({entry.because})")
    return complaints
