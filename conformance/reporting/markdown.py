"""A report as Markdown: the matrices, for those who read it where the results are kept."""

from __future__ import annotations

import html
import re
from collections.abc import Iterable, Sequence

from conformance.reporting import wording
from conformance.reporting.glossary import CLAIMS, MEANINGS, SYMBOLS
from conformance.reporting.matrix import CHARACTERISTICS, Cell, Column
from conformance.reporting.report import NOTHING_SHOWN, Exhibit, Measured, Report, durations
from conformance.results import HAND_OFF, HANDED_OVER, Benchmark, Run
from conformance.verdict import Verdict

__all__ = ["readme"]

_REASON_LENGTH = 140

_INTRODUCTION = """\
What coordination drivers claim, and what was found when each claim was put to experiments
that can falsify it. The whole report, with a timeline of each violation and the
benchmarks, is [index.html](index.html)."""

_BOLD = """\
**Bold** is what the driver claims; the rest is run all the same. A level named below a
verdict is one for which the driver does not claim it."""


_SIDE_BY_SIDE = """\
Implementations that were measured in turns, in one run each. The ratio is how many floors
the median is, relative how many times the median of the first its own is. Of a contended
lock the hand-off is from a release that somebody waited for until another client had the
lock; handed over is how often that was the next grant, for else the last holder took the
lock back first; relative is that of the hand-offs; starved are the clients without a grant,
over all turns."""


def readme(report: Report) -> str:
    """Return ``README.md`` of the reports."""
    parts = [
        "# Coordination drivers: what they claim and what holds",
        _INTRODUCTION,
        _tallies(report),
        "## Characteristics",
        _BOLD,
        _matrix(report, "characteristic", CHARACTERISTICS),
        "## Behaviour that every driver owes",
        _matrix(report, "behaviour", report.behaviours),
        "## What the words mean",
        _legend(),
    ]
    if report.compared:
        parts += ["## Side by side", _SIDE_BY_SIDE, *_comparisons(report)]
    if report.exhibits:
        parts += [
            "## Evidence",
            *(_exhibit(report, exhibit) for exhibit in report.exhibits.values()),
        ]
    parts += ["## Runs", *(_run(report, run) for run in report.runs)]
    return "\n\n".join(parts) + "\n"


def escape(text: str) -> str:
    """Return text that Markdown shows as it is, in one line and also inside a table."""
    plain = html.escape(wording.printable(text), quote=False)
    return re.sub(r"([\\`*_\[\]|~$])", r"\\\1", plain)


def fenced(text: str) -> str:
    """Return text as a block of code that it cannot break out of."""
    shown = wording.printable_lines(text)
    longest = max((len(ticks) for ticks in re.findall("`+", shown)), default=0)
    fence = "`" * max(3, longest + 1)
    return f"{fence}\n{shown}\n{fence}"


def _tallies(report: Report) -> str:
    rows = (
        ("claimed", report.tally(claimed=True)),
        ("not claimed", report.tally(claimed=False)),
        ("behaviour owed by every driver", report.tally_behaviours()),
    )
    return "\n".join(f"- {what}: {_tally(found) or 'nothing'}" for what, found in rows)


def _tally(found: dict[Verdict, int]) -> str:
    return ", ".join(f"{number} {_spelled(verdict)}" for verdict, number in found.items())


def _spelled(verdict: Verdict) -> str:
    return f"{SYMBOLS[verdict]} {verdict.value}"


def _matrix(report: Report, what: str, rows: Sequence[str]) -> str:
    if not (rows and report.columns):
        return "No verdicts."
    heads = [what, *(_head(report, column) for column in report.columns)]
    lines = [heads, ["---"] * len(heads)]
    for about in rows:
        shared = report.shared_reason(about)
        cells = [_cell(report, column, column.cell(about), shared) for column in report.columns]
        lines.append([_about(about) + (f"<br>{escape(shared)}" if shared else ""), *cells])
    return _table(lines)


def _about(about: str) -> str:
    return f"`{about}`" if about in CHARACTERISTICS else escape(about)


def _head(report: Report, column: Column) -> str:
    numbers = report.numbers(column)
    runs = f"run{'s' if len(numbers) > 1 else ''} {', '.join(map(str, numbers))}"
    return f"{escape(report.name(column.subject))}<br>{runs}"


def _cell(report: Report, column: Column, cell: Cell, shared_reason: str) -> str:
    """Return a cell: bold where it is claimed or owed, with one piece of evidence at most."""
    verdict = _spelled(cell.verdict)
    lines = [f"**{verdict}**" if cell.claimed else verdict]
    if cell.trials:
        lines.append(wording.plural(cell.trials, "trial"))
    if cell.verdict not in (Verdict.HELD, Verdict.FALSIFIED) and cell.reason != shared_reason:
        lines.append(escape(wording.shorten(cell.reason, _REASON_LENGTH)))
    for level, its in cell.levels_beyond.items():
        lines.append(f"{escape(level)}: {_spelled(its.verdict)}")
    lines += map(escape, report.notes(column.behind(cell.about)))
    if exhibits := report.evidence_for(column, cell):
        lines.append(f"[evidence](evidence/{exhibits[0].slug}.html)")
    return "<br>".join(lines)


def _comparisons(report: Report) -> list[str]:
    """Return a table for each thing that was measured with one client, and with several."""
    parts = []
    for what, group in report.uncontended.items():
        heads = ["driver", "median", "p99", "ratio", "relative"]
        rows = [_alone(report, one) for one in group]
        parts += [f"### {escape(what)}", _table([heads, ["---"] * len(heads), *rows])]
    for what, group in report.contended.items():
        heads = ["driver", "level", "clients", "grants/s", "hand-off"]
        heads += ["relative", "handed over", "Jain's index", "starved"]
        rows = [_contended(report, one) for one in group]
        parts += [f"### {escape(what)}", _table([heads, ["---"] * len(heads), *rows])]
    return parts


def _alone(report: Report, one: Measured) -> list[str]:
    found = one.benchmark
    name = escape(report.name(one.subject))
    if found.invalid is not None:
        return [name, _invalid(found), "", "", ""]
    measure = next(iter(durations(found).values()))
    times = [wording.duration(measure.median), wording.duration(measure.p99)] if measure else []
    return [name, *(times or ["–", "–"]), _ratio(found.ratio), _ratio(found.relative)]


def _contended(report: Report, one: Measured) -> list[str]:
    found = one.benchmark
    names = [escape(report.name(one.subject)), escape(found.level), str(found.clients)]
    if found.invalid is not None:
        return [*names, _invalid(found), "", "", "", "", ""]
    hand_off, fairness = found.times.get(HAND_OFF), found.figures.get("jain index")
    rate, starved = (found.figures.get(f) for f in ("grants per second", "clients without a grant"))
    share = found.figures.get(HANDED_OVER)
    return [
        *names,
        "–" if rate is None else wording.figure(rate),
        wording.duration(hand_off.median) if hand_off else "–",
        _ratio(found.relative),
        "–" if share is None else wording.share(share),
        "–" if fairness is None else f"{fairness:.3f}",
        "–" if starved is None else wording.count(starved),
    ]


def _invalid(found: Benchmark) -> str:
    return f"INVALID: {escape(wording.shorten(found.invalid or '', _REASON_LENGTH))}"


def _ratio(number: float | None) -> str:
    return "–" if number is None else wording.ratio(number)


def _table(lines: Iterable[Sequence[str]]) -> str:
    return "\n".join(f"| {' | '.join(cells)} |" for cells in lines)


def _legend() -> str:
    words = [f"- {symbol} **{v.value}**: {MEANINGS[v]}" for v, symbol in SYMBOLS.items()]
    claims = [f"- **{word}**: {meaning}" for word, meaning in CLAIMS.items()]
    return "\n".join(words + claims)


def _exhibit(report: Report, exhibit: Exhibit) -> str:
    evidence = exhibit.evidence
    standing = "claimed" if exhibit.claimed else "not claimed"
    where = f"{escape(report.name(exhibit.subject))}, {escape(evidence.level)}, {standing}"
    finding = f"**{escape(evidence.finding.rule)}**: {escape(evidence.finding.reason)}"
    return (
        f"### {_about(exhibit.about)} on {where}\n\n{finding}\n\n"
        f"[Timeline and history](evidence/{exhibit.slug}.html). Run it again:\n\n"
        f"{fenced(evidence.command)}"
    )


def _run(report: Report, run: Run) -> str:
    environment = run.environment
    profile = run.settings.get("profile", "not recorded")
    lines = [
        f"### Run {report.number(run)}",
        "",
        f"- shown: {escape('; '.join(report.shown_from(run)) or NOTHING_SHOWN)}",
        f"- started {escape(run.started)}, took {wording.seconds(run.seconds)}; "
        f"id {escape(run.id)}",
        f"- {escape(wording.ending(run.ended_early, run.exit_status))}",
        f"- coordination-conformance {escape(run.version)}, profile {escape(profile)}",
        f"- Python {escape(environment.python)} on {escape(environment.system)}, "
        f"{wording.plural(environment.processors, 'processor')}, "
        f"{wording.memory(environment.memory)} of memory",
        "",
        fenced(run.command),
    ]
    return "\n".join(lines)
