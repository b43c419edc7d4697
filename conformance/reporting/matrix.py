"""What each driver claims against what was found: runs to columns, columns to cells.

A column is one driver on one backend, as the latest run of it found it; a cell is one
characteristic, or one behaviour that every driver owes, in a column. Pure data.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from conformance.characteristics import Characteristics
from conformance.results import Benchmark, Run, ScenarioResult, Subject
from conformance.verdict import Verdict, worst

__all__ = [
    "CHARACTERISTICS",
    "Cell",
    "Column",
    "behaviours",
    "cell",
    "columns",
    "measured",
]

CHARACTERISTICS: tuple[str, ...] = tuple(member.name for member in Characteristics)
"""The names of the characteristics, in the order of the contract."""

NOTHING_RUN = "no test of it was part of the run"

_CLUSTER = "it takes a cluster of servers, which cannot be started yet"

NOT_AVAILABLE = {
    "DISTRIBUTED_ACROSS_HOSTS": "it takes clients on several hosts, which cannot be started yet",
    "SAME_VIEW_ACROSS_CLIENTS": _CLUSTER,
    "SAME_VIEW_UNDER_PARTITIONS": _CLUSTER,
}
"""Why no test of a characteristic can be part of any run."""

Found = TypeVar("Found", ScenarioResult, Benchmark)


@dataclass(frozen=True)
class Cell:
    """One characteristic or behaviour in one column.

    ``results`` are those that decide: at the levels at which it is claimed, or all where
    it is not claimed. ``beyond`` are the results at levels for which a claim does not
    speak. ``trials``, ``operations`` and ``seconds`` are sums over ``results``.
    """

    about: str
    claimed: bool
    verdict: Verdict
    reason: str
    results: tuple[ScenarioResult, ...]
    beyond: tuple[ScenarioResult, ...]

    @property
    def trials(self) -> int:
        """How many trials decided."""
        return sum(result.trials for result in self.results)

    @property
    def operations(self) -> int:
        """How many operations these trials had."""
        return sum(result.operations for result in self.results)

    @property
    def seconds(self) -> float:
        """How long they took."""
        return sum(result.seconds for result in self.results)

    @property
    def levels(self) -> dict[str, Cell]:
        """What each level that decides says by itself, in the order of the results."""
        return _by_level(self.about, self.claimed, self.results)

    @property
    def levels_beyond(self) -> dict[str, Cell]:
        """What each level says for which the claim does not speak."""
        return _by_level(self.about, False, self.beyond)


@dataclass(frozen=True)
class Column:
    """One driver on one backend: what it is, the run that decided, and its results."""

    subject: Subject
    run: Run
    results: tuple[ScenarioResult, ...]

    def cell(self, about: str) -> Cell:
        """Return the cell of a characteristic or behaviour."""
        return cell(about, self.subject, self.results)


def columns(runs: Iterable[Run]) -> list[Column]:
    """Return a column for each implementation, backend and variant that was tested.

    :param runs: from the first to the last; the last with results of a driver decides
        alone, so that a column never mixes two versions of a driver or a server
    """
    latest = _latest(runs, lambda run, backend: _of(run.scenarios, backend))
    return [Column(subject, run, tuple(found)) for subject, run, found in latest]


def measured(runs: Iterable[Run]) -> list[tuple[Subject, Run, list[Benchmark]]]:
    """Return the benchmarks of each driver, from the last run that has any."""
    return _latest(runs, lambda run, backend: _of(run.benchmarks, backend))


def behaviours(results: Iterable[ScenarioResult]) -> list[str]:
    """Return what results are about besides characteristics, sorted."""
    return sorted({result.about for result in results} - set(CHARACTERISTICS))


def cell(about: str, subject: Subject, results: Iterable[ScenarioResult]) -> Cell:
    """Return what the results on one backend say of a characteristic or behaviour.

    Behaviours are owed by every driver: one without results counts as claimed.
    """
    relevant = [r for r in results if r.about == about and r.backend == subject.backend]
    speaking = [r for r in relevant if r.claimed]
    if about in CHARACTERISTICS:
        claimed = about in subject.claims or bool(speaking)
    else:
        claimed = bool(speaking) or not relevant
    deciding, beyond = (speaking, [r for r in relevant if not r.claimed])
    if not claimed:
        deciding, beyond = relevant, []
    return _judge(about, claimed, deciding, beyond)


def _judge(
    about: str,
    claimed: bool,
    deciding: Sequence[ScenarioResult],
    beyond: Sequence[ScenarioResult] = (),
) -> Cell:
    verdict = worst(r.verdict for r in deciding)
    reasons = [r.reason for r in deciding if r.verdict is verdict and r.reason]
    if not deciding:
        reasons = [NOT_AVAILABLE.get(about, NOTHING_RUN)]
    reason = reasons[0] if reasons and verdict is not Verdict.HELD else ""
    return Cell(about, claimed, verdict, reason, tuple(deciding), tuple(beyond))


def _by_level(about: str, claimed: bool, results: Sequence[ScenarioResult]) -> dict[str, Cell]:
    levels: dict[str, list[ScenarioResult]] = {}
    for result in results:
        levels.setdefault(result.level, []).append(result)
    return {level: _judge(about, claimed, found) for level, found in levels.items()}


def _of(found: Sequence[Found], backend: str) -> list[Found]:
    return [one for one in found if one.backend == backend]


def _latest(
    runs: Iterable[Run], find: Callable[[Run, str], list[Found]]
) -> list[tuple[Subject, Run, list[Found]]]:
    """Return what the last run that found anything found, by driver and backend."""
    latest: dict[tuple[str, str, str], tuple[Subject, Run, list[Found]]] = {}
    for run in runs:
        for subject in run.subjects:
            if found := find(run, subject.backend):
                key = (subject.implementation, subject.backend, subject.variant or "")
                latest[key] = (subject, run, found)
    return [latest[key] for key in sorted(latest)]
