"""A run as text for the terminal: verdicts, benchmarks, and one piece of evidence.

Pure functions to text of a given width; colour only where it is asked for.
"""

from __future__ import annotations

import io
from collections.abc import Iterable, Sequence

from rich import box
from rich.console import Console, RenderableType
from rich.table import Table
from rich.text import Text

from conformance.history import History, Operation
from conformance.reporting import wording
from conformance.reporting.glossary import SYMBOLS
from conformance.reporting.holds import key_of
from conformance.reporting.matrix import CHARACTERISTICS, Cell, behaviours, cell
from conformance.reporting.report import durations, label
from conformance.reporting.view import nearest, origin
from conformance.results import HAND_OFF, HANDED_OVER, Benchmark, Measure, ScenarioResult, Subject
from conformance.verdict import Evidence, Verdict

__all__ = ["account", "benchmark_table", "undecided", "verdict_table"]

_VALUE_LENGTH = 80
"""Characters of a call or a result that are shown."""

_MOST_ROWS = 200
"""How many operations an account lists; the page of the evidence lists more."""

_STYLES = {
    Verdict.HELD: "green",
    Verdict.FALSIFIED: "red",
    Verdict.INCONCLUSIVE: "yellow",
    Verdict.NOT_EXERCISED: "yellow",
    Verdict.ERROR: "red",
}


def verdict_table(
    subjects: Sequence[Subject],
    scenarios: Iterable[ScenarioResult],
    width: int,
    colour: bool = False,
    *,
    partial: bool = False,
) -> str:
    """Return what was found on each backend: characteristics, then behaviours.

    Each row says whether it was claimed (behaviours are owed by all), the verdict, trials,
    operations and time; levels of which a claim does not speak have rows of their
    own.

    :param width: columns of the terminal; 80 are enough
    :param colour: whether to use the terminal's colours
    :param partial: whether only some scenarios were asked for: no rows for the others
    """
    results = list(scenarios)
    run = {result.about for result in results}
    abouts = [about for about in CHARACTERISTICS if about in run or not partial]
    abouts += behaviours(results)
    return _rendered([_verdicts(subject, results, abouts) for subject in subjects], width, colour)


def undecided(scenarios: Iterable[ScenarioResult]) -> str:
    """Return a line for each inconclusive result: its test, whether it is claimed, and why.

    Those that were expected are left out: pytest names them as such.
    """
    return "\n".join(
        wording.printable(
            f"INCONCLUSIVE {one.test} - {'claimed' if one.claimed else 'not claimed'}: {one.reason}"
        )
        for one in scenarios
        if one.verdict is Verdict.INCONCLUSIVE and not one.expected
    )


def benchmark_table(benchmarks: Sequence[Benchmark], width: int, colour: bool = False) -> str:
    """Return what was measured, with one client and with several; nothing for nothing.

    Where implementations were measured side by side each has its row, which says how many
    times the median of the one under test its own is.

    :param width: columns of the terminal
    :param colour: whether to use the terminal's colours
    """
    alone = [one for one in benchmarks if one.clients == 1]
    several = [one for one in benchmarks if one.clients > 1]
    compared = len({one.implementation for one in benchmarks}) > 1
    parts = _uncontended(alone, compared) if alone else []
    parts += _contended(several, compared) if several else []
    return _rendered(parts, width, colour)


def account(evidence: Evidence, width: int, colour: bool = False) -> str:
    """Return a piece of evidence: finding, witness, timeline, faults, how to run it again.

    :param width: columns of the terminal
    :param colour: whether to use the terminal's colours
    """
    finding, history = evidence.finding, evidence.history
    verdict = _verdict(finding.verdict)
    verdict.append(f" · {wording.printable(finding.rule)}: {wording.printable(finding.reason)}")
    where = f"{evidence.implementation} on {evidence.backend}, {evidence.level}"
    shown = nearest(history.operations, finding.witness, _MOST_ROWS)
    parts: list[RenderableType] = [
        verdict,
        _text(evidence.scenario),
        _text(where),
        _heading("Witness"),
        _operations(finding.witness, history, finding.witness),
        _heading(_extent_of(shown, history)),
        _operations(shown, history, finding.witness),
    ]
    if history.faults:
        parts += [_heading("Faults"), _faults(history)]
    parts += [
        _heading("Plan"),
        Text(wording.printable_lines(evidence.plan)),
        _heading("Run it again"),
        _text(evidence.command),
    ]
    return _rendered(parts, width, colour)


def _verdicts(subject: Subject, results: Sequence[ScenarioResult], abouts: Sequence[str]) -> Table:
    table = _table(label(subject), "claim", "verdict", figures=("trials", "operations", "time"))
    for number, about in enumerate(abouts):
        if number and about not in CHARACTERISTICS and abouts[number - 1] in CHARACTERISTICS:
            table.add_section()
        found = cell(about, subject, results)
        _add_verdict(table, about, found)
        for level, its in found.levels_beyond.items():
            _add_verdict(table, f"  at {level}", its)
    return table


def _add_verdict(table: Table, name: str, found: Cell) -> None:
    owed = found.about not in CHARACTERISTICS
    claimed = ("owed" if owed else "yes") if found.claimed else "no"
    table.add_row(
        _text(name),
        _text(claimed),
        _verdict(found.verdict),
        _text(wording.count(found.trials)),
        _text(wording.count(found.operations)),
        _text(wording.seconds(found.seconds)),
    )


def _verdict(verdict: Verdict) -> Text:
    return Text(f"{SYMBOLS[verdict]} {verdict.value}", style=_STYLES[verdict])


def _uncontended(benchmarks: Sequence[Benchmark], compared: bool) -> list[RenderableType]:
    if compared:
        heads = ["median", "p99", "ratio", "relative"]
        table = _table("one client", "backend", "driver of", figures=heads, padding=0)
    else:
        heads = ["median", "p99", "floor", "ratio"]
        table = _table("one client", "backend", "level", figures=heads)
    for one in benchmarks:
        timed = durations(one)
        for what, measure in timed.items():
            name = f"{one.what}: {what}" if len(timed) > 1 else one.what
            figures = [*_median_and_p99(measure), _duration(one.floor), _ratio(one.ratio)]
            if compared:
                figures = [*_median_and_p99(measure), _ratio(one.ratio), _ratio(one.relative)]
            where = one.implementation if compared else one.level
            _add_measured(table, [name, one.backend, where], figures, one)
    return [table, *_reasons(benchmarks)]


def _contended(benchmarks: Sequence[Benchmark], compared: bool) -> list[RenderableType]:
    heads = ["grants/s", "wait p50", "p99", "hand-off", "p99", "handed", "Jain"]
    if compared:
        heads = ["grants/s", "hand-off", "relative", "handed", "Jain", "starved"]
    parts: list[RenderableType] = []
    for what in dict.fromkeys(one.what for one in benchmarks):
        whose = ["driver of"] if compared else []
        table = _table("backend", *whose, "clients", figures=heads, padding=0)
        measured = [one for one in benchmarks if one.what == what]
        for one in measured:
            names = [one.backend, *([one.implementation] if compared else [])]
            figures = _compared(one) if compared else _spread(one)
            _add_measured(table, [*names, f"{one.clients} {one.level}"], figures, one)
        parts += [_heading(what), table, *_reasons(measured)]
    return parts


def _spread(one: Benchmark) -> list[str]:
    """Return the figures of a contended lock by itself."""
    return [
        _rate(one),
        *_median_and_p99(one.times.get("wait")),
        *_median_and_p99(one.times.get(HAND_OFF)),
        _handed_over(one),
        _fairness(one),
    ]


def _compared(one: Benchmark) -> list[str]:
    """Return the figures of a contended lock that others stand beside."""
    return [
        _rate(one),
        _median_and_p99(one.times.get(HAND_OFF))[0],
        _ratio(one.relative),
        _handed_over(one),
        _fairness(one),
        _starved(one),
    ]


def _rate(one: Benchmark) -> str:
    rate = one.figures.get("grants per second")
    return "–" if rate is None else wording.figure(rate)


def _handed_over(one: Benchmark) -> str:
    share = one.figures.get(HANDED_OVER)
    return "–" if share is None else wording.share(share)


def _fairness(one: Benchmark) -> str:
    index = one.figures.get("jain index")
    return "–" if index is None else f"{index:.3f}"


def _starved(one: Benchmark) -> str:
    starved = one.figures.get("clients without a grant")
    return "–" if starved is None else wording.count(starved)


def _add_measured(
    table: Table, names: Sequence[str], figures: Sequence[str], one: Benchmark
) -> None:
    """Add a row; an invalid one has no figure."""
    shown = [_text(figure) for figure in figures]
    if one.invalid is not None:
        shown = [Text("INVALID", style="bold red"), *[Text()] * (len(figures) - 1)]
    table.add_row(*map(_text, names), *shown)


def _reasons(benchmarks: Sequence[Benchmark]) -> list[RenderableType]:
    """Return why figures are invalid, a line each."""
    return [
        _text(
            f"INVALID: {f'{one.backend} {one.implementation}'.strip()}, {one.level}, "
            f"{wording.plural(one.clients, 'client')}, {one.what}: {one.invalid}"
        )
        for one in benchmarks
        if one.invalid is not None
    ]


def _median_and_p99(measure: Measure | None) -> tuple[str, str]:
    if measure is None:
        return "–", "–"
    return wording.duration(measure.median), wording.duration(measure.p99)


def _duration(nanoseconds: float | None) -> str:
    return "–" if nanoseconds is None else wording.duration(nanoseconds)


def _ratio(number: float | None) -> str:
    return "–" if number is None else wording.ratio(number)


def _operations(
    operations: Sequence[Operation], history: History, witness: Sequence[Operation]
) -> Table:
    start = origin(history)
    numbers = {key_of(operation): n for n, operation in enumerate(witness, 1)}
    table = _table("#", figures=("call, ms", "end, ms"))
    for head in ("client", "operation", "result"):
        table.add_column(head, overflow="fold")
    for operation in operations:
        number = numbers.get(key_of(operation))
        table.add_row(
            _text("" if number is None else str(number)),
            _moment(operation.call, start),
            _moment(operation.end, start),
            _text(str(operation.client)),
            _text(wording.call(operation, _VALUE_LENGTH)),
            _text(wording.result(operation, _VALUE_LENGTH)),
            style="" if number is None else "bold",
        )
    return table


def _faults(history: History) -> Table:
    start = origin(history)
    table = _table("fault", "hit", figures=("begin, ms", "end, ms"))
    for fault in history.faults:
        hit = "all" if fault.client is None else f"client {fault.client}"
        table.add_row(
            _text(fault.kind), _text(hit), _moment(fault.begin, start), _moment(fault.end, start)
        )
    return table


def _moment(nanoseconds: int | None, start: int) -> Text:
    return _text("–" if nanoseconds is None else wording.milliseconds(nanoseconds - start))


def _extent_of(shown: Sequence[Operation], history: History) -> str:
    whole = wording.plural(len(history), "operation")
    if len(shown) == len(history):
        return f"Timeline: {whole}, # is the place in the witness"
    return f"Timeline: {wording.count(len(shown))} of {whole}, those nearest to the witness"


def _text(text: str) -> Text:
    return Text(wording.printable(text), overflow="fold")


def _heading(text: str) -> Text:
    return Text(f"\n{wording.printable(text)}", style="bold")


def _table(*heads: str, figures: Sequence[str] = (), padding: int = 1) -> Table:
    """Return a table of columns of text, then of columns of figures."""
    table = Table(box=box.SIMPLE_HEAD, pad_edge=False, show_edge=False, padding=(0, padding, 0, 0))
    for head in heads:
        table.add_column(_text(head), overflow="fold")
    for head in figures:
        table.add_column(head, justify="right", no_wrap=True)
    return table


def _rendered(parts: Sequence[RenderableType], width: int, colour: bool) -> str:
    """Return what rich makes of the parts, by nothing of its surroundings."""
    console = Console(
        file=io.StringIO(),
        width=width,
        force_terminal=colour,
        color_system="standard" if colour else None,
        no_color=not colour,
        legacy_windows=False,
        emoji=False,
        markup=False,
        highlight=False,
        _environ={},
    )
    for part in parts:
        console.print(part, soft_wrap=False)
    file = console.file
    assert isinstance(file, io.StringIO)
    return "\n".join(line.rstrip() for line in file.getvalue().splitlines())
