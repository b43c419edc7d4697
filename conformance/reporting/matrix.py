"""What each driver claims against what was found: runs to columns, columns to cells.

A column is one driver on one backend, as the runs of it found it: scenario by scenario, for
each of which one result decides. A cell is one characteristic, or one behaviour that every
driver owes, in a column. Pure data.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import msgspec

from conformance.characteristics import Characteristics
from conformance.results import Benchmark, Run, ScenarioResult, Subject
from conformance.verdict import Verdict, worst

__all__ = [
    "CHARACTERISTICS",
    "Cell",
    "Column",
    "Decided",
    "behaviours",
    "cell",
    "columns",
    "measured",
]

CHARACTERISTICS: tuple[str, ...] = tuple(member.name for member in Characteristics)
"""The names of the characteristics, in the order of the contract."""

NOTHING_RUN = "no test of it was part of the run"

ENDED_BEFORE = "the run ended before any test of it"

_CLUSTER = "it takes a cluster of servers, which cannot be started yet"

NOT_AVAILABLE = {
    "DISTRIBUTED_ACROSS_HOSTS": "it takes clients on several hosts, which cannot be started yet",
    "SAME_VIEW_ACROSS_CLIENTS": _CLUSTER,
    "SAME_VIEW_UNDER_PARTITIONS": _CLUSTER,
}
"""Why no test of a characteristic can be part of any run."""

_OF_SERVERS = frozenset(("links", "restarts"))
"""The behaviours that nobody owes whose backend has no server."""

_NO_SERVER = "there is no server, and no link to one"


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
class Decided:
    """What decides of one test: a result, the run it is of, and what later runs found.

    ``later`` are their verdicts, where a violation counts although they did not see it.
    """

    result: ScenarioResult
    run: Run
    later: tuple[Verdict, ...] = ()


@dataclass(frozen=True)
class Column:
    """One driver on one backend: what it is, what decided of each test, and in which runs.

    ``missing`` is why there is nothing of what no run tested.
    """

    subject: Subject
    decided: tuple[Decided, ...]
    runs: tuple[Run, ...]
    missing: str = NOTHING_RUN

    @property
    def results(self) -> tuple[ScenarioResult, ...]:
        """The results that decide."""
        return tuple(one.result for one in self.decided)

    def cell(self, about: str) -> Cell:
        """Return the cell of a characteristic or behaviour."""
        return cell(about, self.subject, self.results, self.missing)

    def behind(self, about: str) -> list[Decided]:
        """Return what a cell comes from, that at levels not claimed last."""
        found = [one for one in self.decided if one.result.about == about]
        return sorted(found, key=lambda one: not one.result.claimed)


def columns(runs: Iterable[Run]) -> list[Column]:
    """Return a column for each implementation, backend and variant that was tested.

    Of each test the last violation decides, for one that was seen once is one; without any
    the last result.

    :param runs: from the first to the last; those of another version of a driver or a server
        than the last with results of it are left out, so that a column never mixes two
    """
    found: dict[tuple[str, str, str], list[tuple[Subject, Run]]] = {}
    for run in runs:
        for subject in run.subjects:
            if any(result.backend == subject.backend for result in run.scenarios):
                found.setdefault(_key(subject), []).append((subject, run))
    return [_merged(found[key]) for key in sorted(found)]


def measured(runs: Iterable[Run]) -> list[tuple[Subject, Run, list[Benchmark]]]:
    """Return the benchmarks of each driver, from the last run that has any.

    Those of several runs are never mixed: what is compared is measured in one.
    """
    latest: dict[tuple[str, str, str], tuple[Subject, Run, list[Benchmark]]] = {}
    for run in runs:
        for subject in run.subjects:
            if found := [one for one in run.benchmarks if one.backend == subject.backend]:
                latest[_key(subject)] = (subject, run, found)
    return [latest[key] for key in sorted(latest)]


def behaviours(results: Iterable[ScenarioResult]) -> list[str]:
    """Return what results are about besides characteristics, sorted."""
    return sorted({result.about for result in results} - set(CHARACTERISTICS))


def cell(
    about: str,
    subject: Subject,
    results: Iterable[ScenarioResult],
    missing: str = NOTHING_RUN,
) -> Cell:
    """Return what the results on one backend say of a characteristic or behaviour.

    Behaviours are owed by every driver: one without results counts as claimed, unless it is
    one of servers and there is none.

    :param missing: why there are no results, where there are none
    """
    relevant = [r for r in results if r.about == about and r.backend == subject.backend]
    speaking = [r for r in relevant if r.claimed]
    if about in CHARACTERISTICS:
        claimed = about in subject.claims or bool(speaking)
    else:
        serverless = subject.server is None and about in _OF_SERVERS
        claimed = bool(speaking) or not (relevant or serverless)
        missing = _NO_SERVER if serverless else missing
    deciding, beyond = (speaking, [r for r in relevant if not r.claimed])
    if not claimed:
        deciding, beyond = relevant, []
    return _judge(about, claimed, deciding, beyond, missing)


def _judge(
    about: str,
    claimed: bool,
    deciding: Sequence[ScenarioResult],
    beyond: Sequence[ScenarioResult] = (),
    missing: str = NOTHING_RUN,
) -> Cell:
    verdict = worst(r.verdict for r in deciding)
    reasons = [r.reason for r in deciding if r.verdict is verdict and r.reason]
    if not deciding:
        reasons = [NOT_AVAILABLE.get(about, missing)]
    reason = reasons[0] if reasons and verdict is not Verdict.HELD else ""
    return Cell(about, claimed, verdict, reason, tuple(deciding), tuple(beyond))


def _by_level(about: str, claimed: bool, results: Sequence[ScenarioResult]) -> dict[str, Cell]:
    levels: dict[str, list[ScenarioResult]] = {}
    for result in results:
        levels.setdefault(result.level, []).append(result)
    return {level: _judge(about, claimed, found) for level, found in levels.items()}


def _key(subject: Subject) -> tuple[str, str, str]:
    """Return what a column is of."""
    return subject.implementation, subject.backend, subject.variant or ""


def _version(subject: Subject) -> tuple[str, str | None]:
    return subject.implementation_version, subject.server


def _merged(found: Sequence[tuple[Subject, Run]]) -> Column:
    """Return the column of a driver, from all runs of it, the first to the last."""
    latest = found[-1][0]
    runs = [run for subject, run in found if _version(subject) == _version(latest)]
    seen: dict[tuple[str, str], list[Decided]] = {}
    for run in runs:
        for result in run.scenarios:
            if result.backend == latest.backend:
                seen.setdefault((result.test, result.level), []).append(Decided(result, run))
    decided = tuple(_decisive(results) for results in seen.values())
    deciding = tuple(run for run in runs if any(one.run is run for one in decided))
    missing = ENDED_BEFORE if all(run.ended_early for run in runs) else NOTHING_RUN
    return Column(latest, decided, deciding, missing)


def _decisive(results: Sequence[Decided]) -> Decided:
    """Return which result of a test decides; whether it is claimed is for the last to say."""
    last = results[-1]
    for number, one in reversed(list(enumerate(results))):
        if one.result.verdict is Verdict.FALSIFIED:
            violation = msgspec.structs.replace(one.result, claimed=last.result.claimed)
            later = tuple(other.result.verdict for other in results[number + 1 :])
            return Decided(violation, one.run, later)
    return last
