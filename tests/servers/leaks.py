"""Runs the scenario that counts what is left on drivers that leave something."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from conformance.results import load_run
from conformance.verdict import Verdict
from tests.conftest import Pytest

__all__ = ["assert_seen"]

_SCENARIO = "test_starting_and_stopping_leaves_nothing"


def assert_seen(
    leak: str, told: str, backend: str, url: str, run_pytest: Pytest, directory: Path
) -> None:
    """Assert that a driver of ``leaking`` is falsified, with the words that name its leak."""
    gate = run_pytest(
        f"--backend={backend}",
        f"--backend-url={url}",
        f"--implementation=servers.leaking:{leak}",
        "--profile=smoke",
        "--level=threads",
        *("-k", _SCENARIO),
    )
    assert gate.returncode == pytest.ExitCode.TESTS_FAILED, gate.stdout
    (path,) = directory.glob("results/*/result.json")
    (result,) = load_run(path).scenarios
    assert result.verdict is Verdict.FALSIFIED, result.reason
    assert re.search(told, result.reason or ""), result.reason
