"""A report as JSON: the matrices and the benchmarks, for other programs to read."""

from __future__ import annotations

from typing import Any

import msgspec

from conformance.reporting.matrix import Cell, Column
from conformance.reporting.report import Measured, Report

__all__ = ["data_json"]


def data_json(report: Report) -> str:
    """Return ``data.json``: runs, drivers with a cell for each row, benchmarks."""
    content = {
        "runs": [
            {
                "id": run.id,
                "version": run.version,
                "started": run.started,
                "seconds": run.seconds,
                "command": run.command,
                "settings": run.settings,
                "environment": run.environment,
                "exit_status": run.exit_status,
                "ended_early": run.ended_early,
            }
            for run in report.runs
        ],
        "drivers": [_driver(report, column) for column in report.columns],
        "benchmarks": [_benchmark(one) for one in report.benchmarks],
    }
    return msgspec.json.format(msgspec.json.encode(content)).decode() + "\n"


def _driver(report: Report, column: Column) -> dict[str, Any]:
    return {
        "subject": column.subject,
        "runs": [run.id for run in column.runs],
        "cells": [_cell(report, column, column.cell(about)) for about in report.rows],
    }


def _cell(report: Report, column: Column, cell: Cell) -> dict[str, Any]:
    return {
        "about": cell.about,
        "claimed": cell.claimed,
        "verdict": cell.verdict,
        "reason": cell.reason,
        "notes": report.notes(column.behind(cell.about)),
        "trials": cell.trials,
        "operations": cell.operations,
        "seconds": cell.seconds,
        "levels": {level: its.verdict for level, its in cell.levels.items()},
        "levels_not_claimed": {level: its.verdict for level, its in cell.levels_beyond.items()},
        "evidence": [f"evidence/{e.slug}.html" for e in report.evidence_for(column, cell)],
    }


def _benchmark(one: Measured) -> dict[str, Any]:
    """Return a benchmark; an invalid one without its figures, which nobody should use."""
    figures = one.benchmark
    if figures.invalid is not None:
        figures = msgspec.structs.replace(figures, times={}, figures={}, ratio=None, relative=None)
    return {"run": one.run.id, "implementation": one.subject.implementation, "figures": figures}
