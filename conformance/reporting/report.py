"""What a report says, put together from its sources; how it is written comes later."""

from __future__ import annotations

import hashlib
import re
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

import msgspec

from conformance.reporting.glossary import SYMBOLS
from conformance.reporting.matrix import (
    CHARACTERISTICS,
    Cell,
    Column,
    behaviours,
    columns,
    measured,
)
from conformance.reporting.reading import Source
from conformance.results import Benchmark, Measure, Run, ScenarioResult, Subject
from conformance.verdict import Evidence, Verdict

__all__ = ["Exhibit", "Measured", "Report", "assemble", "durations", "label", "slug"]


@dataclass(frozen=True)
class Exhibit:
    """A piece of evidence and what it is evidence of.

    ``slug`` names its page: ``evidence/SLUG.html``.
    """

    slug: str
    about: str
    claimed: bool
    subject: Subject
    run: Run
    test: str
    evidence: Evidence


@dataclass(frozen=True)
class Measured:
    """A benchmark, on what, and in which run."""

    subject: Subject
    run: Run
    benchmark: Benchmark


@dataclass(frozen=True)
class Report:
    """All that a report says.

    ``runs`` are those given, from first to last; ``columns`` and ``benchmarks`` come from
    the latest of them that has any, for each driver and backend; ``exhibits`` are the
    evidence of these, by run and path.
    """

    runs: list[Run]
    columns: list[Column]
    behaviours: list[str]
    benchmarks: list[Measured]
    exhibits: dict[tuple[str, str], Exhibit]

    @property
    def rows(self) -> list[str]:
        """What is judged: the characteristics, then the behaviours."""
        return [*CHARACTERISTICS, *self.behaviours]

    @property
    def uncontended(self) -> dict[str, list[Measured]]:
        """What was measured with one client: by what it is, all backends together."""
        return _by_what(one for one in self.benchmarks if one.benchmark.clients == 1)

    @property
    def contended(self) -> dict[str, list[Measured]]:
        """What was measured with several clients, by level and number of clients."""
        return _by_what(one for one in self.benchmarks if one.benchmark.clients > 1)

    def evidence_of(self, run: Run, results: Iterable[ScenarioResult | Benchmark]) -> list[Exhibit]:
        """Return the evidence that results of a run brought."""
        return [self.exhibits[run.id, path] for result in results for path in result.evidence]

    def evidence_for(self, column: Column, cell: Cell) -> list[Exhibit]:
        """Return the evidence behind a cell, that at levels not claimed last."""
        return self.evidence_of(column.run, (*cell.results, *cell.beyond))

    def shared_reason(self, about: str) -> str:
        """Return why a row was exercised nowhere, where that is the same for all; else nothing."""
        cells = [column.cell(about) for column in self.columns]
        reasons = {cell.reason for cell in cells}
        exercised = any(cell.verdict is not Verdict.NOT_EXERCISED for cell in cells)
        return reasons.pop() if len(reasons) == 1 and not exercised else ""

    def shown_from(self, run: Run) -> list[str]:
        """Return what the report takes from a run, none when later runs replace it."""
        parts = []
        for kind, subjects in (
            ("verdicts", [c.subject for c in self.columns if c.run is run]),
            ("benchmarks", [m.subject for m in self.benchmarks if m.run is run]),
        ):
            if names := list(dict.fromkeys(map(self.name, subjects))):
                parts.append(f"{kind} of {', '.join(names)}")
        return parts

    def name(self, subject: Subject) -> str:
        """Return what a driver on a backend is called here: apart from all others."""
        subjects = [c.subject for c in self.columns] + [m.subject for m in self.benchmarks]
        if len({one.implementation for one in subjects}) == 1:
            return label(subject)
        return f"{label(subject)}, {subject.implementation}"

    def number(self, run: Run) -> int:
        """Return the number by which the report calls a run, from 1."""
        return 1 + next(n for n, one in enumerate(self.runs) if one is run)

    def tally(self, claimed: bool) -> dict[Verdict, int]:
        """Return how many characteristics have each verdict, claimed or not, over columns.

        A behaviour that was run only where the driver claims nothing counts as not claimed.
        """
        rows = CHARACTERISTICS if claimed else (*CHARACTERISTICS, *self.behaviours)
        return _count(cell for cell in self._cells(rows) if cell.claimed is claimed)

    def tally_behaviours(self) -> dict[Verdict, int]:
        """Return how many behaviours have each verdict, over columns, where they are owed."""
        return _count(cell for cell in self._cells(self.behaviours) if cell.claimed)

    def _cells(self, rows: Iterable[str]) -> list[Cell]:
        return [column.cell(about) for column in self.columns for about in rows]


def assemble(sources: Sequence[Source]) -> Report:
    """Put a report together from sources in the order of their runs' starts."""
    runs = [source.run for source in sources]
    pieces = {(s.run.id, path): piece for s in sources for path, piece in s.evidence.items()}
    shown = columns(runs)
    benchmarks = [
        Measured(subject, run, benchmark)
        for subject, run, found in measured(runs)
        for benchmark in found
    ]
    exhibits: dict[tuple[str, str], Exhibit] = {}
    for column in shown:
        for result in column.results:
            for path in result.evidence:
                piece = pieces[column.run.id, path]
                exhibits[column.run.id, path] = _exhibit(
                    piece, result.about, result.claimed, column.subject, column.run, result.test
                )
    for one in benchmarks:
        for path in one.benchmark.evidence:
            exhibits[one.run.id, path] = _exhibit(
                pieces[one.run.id, path],
                one.benchmark.what,
                f"DISTRIBUTED_ACROSS_{one.benchmark.level.upper()}" in one.subject.claims,
                one.subject,
                one.run,
                one.benchmark.test,
            )
    about = behaviours(result for column in shown for result in column.results)
    return Report(runs, shown, about, benchmarks, exhibits)


def label(subject: Subject) -> str:
    """Return what a driver on a backend is called: ``redis``, ``redis (valkey)``."""
    return f"{subject.backend} ({subject.variant})" if subject.variant else subject.backend


def durations(benchmark: Benchmark) -> dict[str, Measure | None]:
    """Return what a benchmark timed, by name, without its floor; never empty."""
    timed = {what: measure for what, measure in benchmark.times.items() if what != "floor"}
    return {**timed} or {"": None}


def slug(*words: str) -> str:
    """Return words as a part of a file name or an anchor: a-z, 0-9 and hyphens."""
    return re.sub(r"[^a-z0-9]+", "-", "-".join(words).lower()).strip("-")[:80] or "unnamed"


def _exhibit(
    evidence: Evidence, about: str, claimed: bool, subject: Subject, run: Run, test: str
) -> Exhibit:
    content = msgspec.msgpack.encode((run.id, test, evidence))
    digest = hashlib.sha256(content).hexdigest()[:8]
    name = slug(subject.backend, subject.variant or "", about, evidence.level)
    return Exhibit(f"{name}-{digest}", about, claimed, subject, run, test, evidence)


def _by_what(benchmarks: Iterable[Measured]) -> dict[str, list[Measured]]:
    """Group by what was measured; within, by level, clients and backend.

    What was measured and levels keep the order in which they were first mentioned.
    """
    groups: dict[str, list[Measured]] = {}
    levels: dict[str, int] = {}
    for one in benchmarks:
        groups.setdefault(one.benchmark.what, []).append(one)
        levels.setdefault(one.benchmark.level, len(levels))
    for group in groups.values():
        group.sort(key=lambda m: (levels[m.benchmark.level], m.benchmark.clients, label(m.subject)))
    return groups


def _count(cells: Iterable[Cell]) -> dict[Verdict, int]:
    found = Counter(cell.verdict for cell in cells)
    return {verdict: found[verdict] for verdict in SYMBOLS if found[verdict]}
