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
    Decided,
    behaviours,
    columns,
    measured,
)
from conformance.reporting.reading import Source
from conformance.results import Benchmark, Measure, Run, ScenarioResult, Subject
from conformance.verdict import Evidence, Verdict

__all__ = [
    "NOTHING_SHOWN",
    "Exhibit",
    "Measured",
    "Report",
    "assemble",
    "durations",
    "label",
    "slug",
]

NOTHING_SHOWN = "nothing, other runs decide"
"""What a report takes from a run of which :meth:`Report.shown_from` says nothing."""


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
    """A benchmark, on what, and in which run.

    ``subject`` is what was measured: the driver under test, or one that stood beside it.
    """

    subject: Subject
    run: Run
    benchmark: Benchmark


@dataclass(frozen=True)
class Report:
    """All that a report says.

    ``runs`` are those given, from first to last; ``columns`` come from all of them,
    ``benchmarks`` from the latest that has any, for each driver and backend; ``exhibits``
    are the evidence of these, by run and path.
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
    def compared(self) -> bool:
        """Whether several implementations were measured side by side."""
        return any(m.run.settings.get("beside") for m in self.benchmarks)

    @property
    def uncontended(self) -> dict[str, list[Measured]]:
        """What was measured with one client: by what it is, all backends together."""
        return _by_what(one for one in self.benchmarks if one.benchmark.clients == 1)

    @property
    def contended(self) -> dict[str, list[Measured]]:
        """What was measured with several clients, by level and number of clients."""
        return _by_what(one for one in self.benchmarks if one.benchmark.clients > 1)

    def evidence_of(self, run: Run, found: ScenarioResult | Benchmark) -> list[Exhibit]:
        """Return the evidence that a run brought with what it found."""
        return [self.exhibits[run.id, path] for path in found.evidence]

    def evidence_on(self, decided: Iterable[Decided]) -> list[Exhibit]:
        """Return the evidence that what decided brought."""
        return [found for one in decided for found in self.evidence_of(one.run, one.result)]

    def evidence_for(self, column: Column, cell: Cell) -> list[Exhibit]:
        """Return the evidence behind a cell, that at levels not claimed last."""
        return self.evidence_on(column.behind(cell.about))

    def notes(self, decided: Iterable[Decided]) -> list[str]:
        """Return what there is to say of violations that later runs did not see again."""
        return list(dict.fromkeys(self._not_again(one) for one in decided if one.later))

    def _not_again(self, one: Decided) -> str:
        later = " and ".join(dict.fromkeys(verdict.value for verdict in one.later))
        return (
            f"falsified in run {self.number(one.run)} of {one.run.started[:10]}, {later} in later "
            "ones: leave that run out if the driver has been mended since"
        )

    def shared_reason(self, about: str) -> str:
        """Return why a row was exercised nowhere, where that is the same for all; else nothing."""
        cells = [column.cell(about) for column in self.columns]
        reasons = {cell.reason for cell in cells}
        exercised = any(cell.verdict is not Verdict.NOT_EXERCISED for cell in cells)
        return reasons.pop() if len(reasons) == 1 and not exercised else ""

    def shown_from(self, run: Run) -> list[str]:
        """Return what the report takes from a run, nothing when other runs decide."""
        verdicts = [self._verdicts_of(c, run) for c in self.columns if run in c.runs]
        measured = [self._called(m.subject) for m in self.benchmarks if m.run is run]
        return [
            f"{kind} of {', '.join(dict.fromkeys(names))}"
            for kind, names in (("verdicts", verdicts), ("benchmarks", measured))
            if names
        ]

    def _verdicts_of(self, column: Column, run: Run) -> str:
        """Return a column's name, with how many of a run's results decide unless all do."""
        called = self._called(column.subject)
        deciding = sum(one.run is run for one in column.decided)
        found = sum(result.backend == column.subject.backend for result in run.scenarios)
        return called if deciding == found else f"{called} ({deciding} of its {found})"

    def _called(self, subject: Subject) -> str:
        """Return a driver's name for an enumeration: one without a comma."""
        name = label(subject)
        return f"{subject.implementation} on {name}" if self._has_several else name

    @property
    def _has_several(self) -> bool:
        """Whether it is about several implementations."""
        subjects = [c.subject for c in self.columns] + [m.subject for m in self.benchmarks]
        return len({one.implementation for one in subjects}) > 1

    def name(self, subject: Subject) -> str:
        """Return what a driver on a backend is called here: apart from all others."""
        name = label(subject)
        return f"{name}, {subject.implementation}" if self._has_several else name

    def number(self, run: Run) -> int:
        """Return the number by which the report calls a run, from 1."""
        return 1 + next(n for n, one in enumerate(self.runs) if one is run)

    def numbers(self, column: Column) -> list[int]:
        """Return the numbers of the runs that a column comes from."""
        return [self.number(run) for run in column.runs]

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
        Measured(_measured_of(subject, run, benchmark), run, benchmark)
        for subject, run, found in measured(runs)
        for benchmark in found
    ]
    exhibits: dict[tuple[str, str], Exhibit] = {}
    for column in shown:
        for run, result in ((one.run, one.result) for one in column.decided):
            for path in result.evidence:
                exhibits[run.id, path] = _exhibit(
                    pieces[run.id, path],
                    result.about,
                    result.claimed,
                    column.subject,
                    run,
                    result.test,
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


def _measured_of(subject: Subject, run: Run, benchmark: Benchmark) -> Subject:
    """Return what a benchmark is of: the subject, or what stood beside it.

    One that stood beside without a driver for the backend is known by its name alone.
    """
    name = benchmark.implementation or subject.implementation
    if name == subject.implementation:
        return subject
    for other in run.beside:
        if (other.backend, other.implementation) == (subject.backend, name):
            return msgspec.structs.replace(other, variant=subject.variant)
    return msgspec.structs.replace(
        subject, implementation=name, implementation_version="", driver="", claims=[], features=[]
    )


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
