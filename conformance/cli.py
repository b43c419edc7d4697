"""The ``conformance`` command: reports from results, evidence as text, known backends."""

from __future__ import annotations

import re
import shutil
import sys
from importlib import metadata
from pathlib import Path

import click

import conformance
from conformance.backends import hindered, known_backends, listing
from conformance.coordination import DRIVERS, ToozError, driver_class
from conformance.reporting.publish import INDEX, publish
from conformance.reporting.reading import Unreadable, read_piece
from conformance.reporting.terminal import account
from conformance.reporting.wording import plural, printable

__all__ = ["main"]

_WIDEST = 140
"""Columns from which on text is no easier to read."""


class Refused(click.ClickException):
    """The command cannot do what it was asked; nothing was changed."""

    exit_code = 2


@click.group()
@click.version_option(conformance.__version__, prog_name="conformance")
def main() -> None:
    """Report on runs of the coordination conformance suite.

    The suite itself is run by pytest: pytest --backend=NAME --results=DIR.
    """


@main.command()
@click.argument("results", nargs=-1, required=True, type=click.Path(path_type=Path))
@click.option(
    "--output",
    type=click.Path(path_type=Path, file_okay=False),
    default=Path("reports"),
    show_default=True,
    help="The directory to write the report to; an earlier report there is replaced.",
)
def report(results: tuple[Path, ...], output: Path) -> None:
    """Make a report from the runs in RESULTS directories.

    Each is the directory of one run or holds several such. For each test of a driver on a
    backend the latest run decides, but a violation counts whatever later runs saw: leave out
    the runs from before a driver was mended. Benchmarks are those of the latest run.

    A run that cannot be read is named and left out; the exit status is then 1.
    """
    try:
        made, damaged = publish(results, output)
    except Unreadable as error:
        raise Refused(printable(str(error))) from error
    except OSError as error:
        raise Refused(printable(f"cannot write the report to {output}: {error}")) from error
    runs, drivers = plural(len(made.runs), "run"), plural(len(made.columns), "driver")
    pieces = plural(len(made.exhibits), "violation")
    click.echo(f"{output / INDEX}: {drivers} from {runs}, {pieces} kept as evidence")
    for why in damaged:
        click.echo(f"left out: {printable(why)}", err=True)
    if damaged:
        sys.exit(1)


@main.command()
@click.argument("evidence", type=click.Path(path_type=Path))
def show(evidence: Path) -> None:
    """Show the EVIDENCE of a violation: what is wrong, and what happened."""
    try:
        piece = read_piece(evidence)
    except Unreadable as error:
        raise Refused(printable(str(error))) from error
    width = min(shutil.get_terminal_size((100, 24)).columns, _WIDEST)
    click.echo(account(piece, width, colour=sys.stdout.isatty()))


@main.command()
@click.option("--servers", is_flag=True, help="Only name the servers that can run here.")
@click.option("--missing", is_flag=True, help="Only say what cannot run here, and why.")
def backends(servers: bool, missing: bool) -> None:
    """List the backends and drivers that are installed, and what keeps one from running."""
    known = known_backends()
    basic = [backend for name, backend in known.items() if ":" not in name]
    if servers:
        able = [b.name for b in basic if not b.embedded and b.obstacle() is None]
        click.echo(",".join(able))
        return
    if missing:
        for obstacle, names in hindered({b.name: b.obstacle() for b in basic}).items():
            each = f"{scenario_count()} scenarios{' each' if len(names) > 1 else ''}"
            click.echo(f"not run on {', '.join(names)}: {each}; {obstacle}")
        return
    click.echo("Backends, for pytest --backend=NAME:")
    click.echo("\n".join(listing(known)))
    click.echo("Drivers, by URL scheme, and what they claim:")
    for scheme in sorted(entry.name for entry in metadata.entry_points(group=DRIVERS)):
        click.echo(f"  {scheme:12} {_driver(scheme)}")


def scenario_count() -> int:
    """Return how many scenarios there are for a driver that has all of the API."""
    modules = Path(conformance.__file__).parent.joinpath("scenarios").glob("test_*.py")
    return sum(len(_TEST.findall(module.read_text())) for module in modules)


_TEST = re.compile(r"^def test_", re.MULTILINE)


def _driver(scheme: str) -> str:
    """Return what a driver claims, or why it cannot be loaded."""
    try:
        driver = driver_class(scheme)
    except ToozError as error:
        return str(error)
    claims = ", ".join(claim.name for claim in driver.CHARACTERISTICS)
    return f"{driver.__module__}.{driver.__qualname__}: {claims or 'nothing'}"
