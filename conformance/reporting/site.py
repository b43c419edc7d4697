"""A report as HTML: the index and one page for each piece of evidence.

The pages need nothing but themselves: no script, no style sheet, no font, no image from
anywhere else.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import jinja2
import markupsafe

from conformance.history import History
from conformance.reporting import glossary, wording
from conformance.reporting.drawing import Timeline
from conformance.reporting.matrix import CHARACTERISTICS
from conformance.reporting.report import NOTHING_SHOWN, Exhibit, Report, durations, slug
from conformance.reporting.timeline import MOST_BARS, lay_out
from conformance.reporting.view import extent, nearest, origin, window
from conformance.results import HANDED_OVER
from conformance.verdict import Evidence, Verdict

__all__ = ["evidence_page", "index_page"]

_MOST_ROWS = MOST_BARS
"""How many operations an evidence page lists: those that its timeline can draw."""

_MOST_LINKS = 3
"""How many pieces of evidence a cell of a matrix links to before it links to their list."""


def index_page(report: Report) -> str:
    """Return ``index.html``."""
    return _environment().get_template("index.html").render(report=report)


def evidence_page(report: Report, exhibit: Exhibit) -> str:
    """Return the page of one piece of evidence, ``evidence/SLUG.html``."""
    return _environment().get_template("evidence.html").render(report=report, exhibit=exhibit)


def _environment() -> jinja2.Environment:
    environment = jinja2.Environment(
        loader=jinja2.PackageLoader("conformance.reporting"),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    environment.filters |= _FILTERS
    environment.globals |= _GLOBALS
    return environment


def _close_up(evidence: Evidence) -> Timeline:
    """Lay out the window around the witness."""
    witness = evidence.finding.witness
    return lay_out(evidence.history, witness, window(evidence.history, witness))


def _overview(evidence: Evidence) -> Timeline | None:
    """Lay out the whole history, or what fits of it; None if the close-up shows as much."""
    history, witness = evidence.history, evidence.finding.witness
    shown = nearest(history.operations, witness, MOST_BARS)
    wide = extent(history if len(shown) == len(history) else History(shown))
    close = window(history, witness)
    if close.begin <= wide.begin and close.end >= wide.end:
        return None
    return lay_out(history, witness, wide)


def _breakable(name: str) -> markupsafe.Markup:
    """Let a long name break after its underscores."""
    return markupsafe.Markup("_<wbr>").join(markupsafe.escape(part) for part in name.split("_"))


_FILTERS: dict[str, Callable[..., Any]] = {
    "breakable": _breakable,
    "call": wording.call,
    "count": wording.count,
    "duration": wording.duration,
    "durations": durations,
    "figure": wording.figure,
    "memory": wording.memory,
    "ms": wording.milliseconds,
    "name": wording.name,
    "plural": wording.plural,
    "printable": wording.printable,
    "printable_lines": wording.printable_lines,
    "ratio": wording.ratio,
    "result": wording.result,
    "seconds": wording.seconds,
    "share": wording.share,
    "shorten": wording.shorten,
    "slug": slug,
}

_GLOBALS: dict[str, Any] = {
    "CHARACTERISTICS": CHARACTERISTICS,
    "CLAIMS": glossary.CLAIMS,
    "HANDED_OVER": HANDED_OVER,
    "MEANINGS": glossary.MEANINGS,
    "MOST_LINKS": _MOST_LINKS,
    "MOST_ROWS": _MOST_ROWS,
    "NOTHING_SHOWN": NOTHING_SHOWN,
    "PROMISES": glossary.PROMISES,
    "SYMBOLS": glossary.SYMBOLS,
    "Verdict": Verdict,
    "close_up": _close_up,
    "ending": wording.ending,
    "nearest": nearest,
    "origin": origin,
    "overview": _overview,
}
