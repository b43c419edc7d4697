"""Finding and reading the result files that a report is made from."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path

from conformance.results import Benchmark, Run, ScenarioResult, load_evidence, load_run
from conformance.verdict import Evidence

__all__ = ["RESULT", "Source", "Unreadable", "read_piece", "read_sources"]

RESULT = "result.json"
"""The name of a run's result file in its directory."""


class Unreadable(ValueError):
    """Results that cannot be reported on; the message says what to do."""


@dataclass(frozen=True)
class Source:
    """A run and, by its path relative to the run's directory, its evidence."""

    run: Run
    evidence: dict[str, Evidence]


def read_sources(directories: Iterable[Path]) -> tuple[list[Source], list[str]]:
    """Read the runs in these directories, each a run's own or one that holds several.

    :returns: the runs from the first to the last that was started, and what is wrong with
        those that cannot be read
    :raises Unreadable: a directory is missing or holds no run, two have one id, or none can
        be read
    """
    files: dict[Path, None] = {}
    for directory in directories:
        files |= dict.fromkeys(path.resolve() for path in _result_files(directory))
    sources: dict[str, Source] = {}
    damaged: list[str] = []
    for path in files:
        try:
            source = _read_source(path)
        except Unreadable as error:
            damaged.append(str(error))
            continue
        if sources.setdefault(source.run.id, source).run != source.run:
            raise Unreadable(
                f"{path} has the id of another run, {source.run.id!r}: give only one of them"
            )
    if not sources:
        raise Unreadable("; ".join(damaged))
    return sorted(sources.values(), key=lambda s: (s.run.started, s.run.id)), damaged


def read_piece(path: Path) -> Evidence:
    """Read one evidence file.

    :raises Unreadable: it is missing, or holds no evidence
    """
    try:
        return load_evidence(path)
    except OSError as error:
        raise Unreadable(f"cannot read evidence {path}: {error.strerror}") from error
    except ValueError as error:
        raise Unreadable(
            f"{error}; give one of the evidence/*.msgpack files beside a {RESULT}"
        ) from error


def _result_files(directory: Path) -> list[Path]:
    if not directory.is_dir():
        raise Unreadable(
            f"{directory} is not a directory: give one that pytest --results=DIR wrote"
        )
    if (directory / RESULT).exists():
        return [directory / RESULT]
    found = sorted(directory.glob(f"*/{RESULT}"))
    if not found:
        raise Unreadable(
            f"no {RESULT} in {directory}, nor one level below: "
            f"run pytest --backend=NAME --results={directory} first"
        )
    return found


def _read_source(path: Path) -> Source:
    try:
        run = load_run(path)
    except OSError as error:
        raise Unreadable(f"cannot read {path}: {error.strerror}") from error
    except ValueError as error:
        raise Unreadable(
            f"{error}; run the suite again, or report with the version that wrote it"
        ) from error
    _check(run, path)
    named = [piece for found in _found(run) for piece in found.evidence]
    return Source(run, {piece: read_piece(_inside(path.parent, piece)) for piece in named})


def _found(run: Run) -> list[ScenarioResult | Benchmark]:
    return [*run.scenarios, *run.benchmarks]


def _check(run: Run, path: Path) -> None:
    """Refuse a run whose results cannot be told apart by their backend."""
    backends = [subject.backend for subject in run.subjects]
    twice = sorted({name for name in backends if backends.count(name) > 1})
    if twice:
        raise Unreadable(f"{path} names {', '.join(twice)} twice: one run has each backend once")
    unknown = {found.backend for found in _found(run)} - set(backends)
    if unknown:
        raise Unreadable(
            f"{path} has results of {', '.join(sorted(unknown))} and does not say what was "
            "under test there: run the suite again"
        )


def _inside(directory: Path, piece: str) -> Path:
    """Return the path of a piece of evidence, which stays in the run's directory."""
    path = (directory / piece).resolve()
    if not path.is_relative_to(directory.resolve()):
        raise Unreadable(f"{directory / RESULT} names evidence outside its directory: {piece}")
    return path
