"""Writing a report to a directory: all of it or nothing."""

from __future__ import annotations

import tempfile
from collections.abc import Iterable, Mapping
from pathlib import Path

from conformance.reporting.data import data_json
from conformance.reporting.markdown import readme
from conformance.reporting.reading import read_sources
from conformance.reporting.report import Report, assemble
from conformance.reporting.site import evidence_page, index_page

__all__ = ["INDEX", "publish", "render", "write"]

INDEX = "index.html"
"""The page to open first."""

_EVIDENCE = "evidence"


def publish(results: Iterable[Path], output: Path) -> tuple[Report, list[str]]:
    """Make a report from the runs in some directories, and write it.

    :param output: where to; what an earlier report left there is replaced, other files stay
    :returns: what the report says, and what is wrong with runs that it leaves out
    :raises Unreadable: there are no such results; nothing was written
    :raises OSError: it cannot be written
    """
    sources, damaged = read_sources(results)
    report = assemble(sources)
    write(render(report), output)
    return report, damaged


def render(report: Report) -> dict[str, str]:
    """Return the files of a report, text by path."""
    pages = {
        f"{_EVIDENCE}/{exhibit.slug}.html": evidence_page(report, exhibit)
        for exhibit in report.exhibits.values()
    }
    return {
        INDEX: index_page(report),
        "README.md": readme(report),
        "data.json": data_json(report),
    } | pages


def write(files: Mapping[str, str], output: Path) -> None:
    """Write the files of a report beside where they belong, then put them there."""
    output.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=output, prefix=".draft-") as name:
        draft = Path(name)
        (draft / _EVIDENCE).mkdir()
        for path, text in files.items():
            (draft / path).write_text(text, encoding="utf-8")
        _replace_evidence(draft / _EVIDENCE, output / _EVIDENCE)
        for path in files:
            if not path.startswith(f"{_EVIDENCE}/"):
                (draft / path).replace(output / path)


def _replace_evidence(fresh: Path, place: Path) -> None:
    """Put the new pages in place, then remove those of an earlier report.

    In this order every link of the old index still leads somewhere until the new index
    takes its place.
    """
    place.mkdir(exist_ok=True)
    kept = {page.name for page in fresh.iterdir()}
    for page in fresh.iterdir():
        page.replace(place / page.name)
    for page in place.glob("*.html"):
        if page.name not in kept:
            page.unlink()
    if not any(place.iterdir()):
        place.rmdir()
