"""Every scenario can fail: each is shown a driver that is broken in the way it looks for."""

from __future__ import annotations

import importlib
import pkgutil
from pathlib import Path

import pytest

import conformance.scenarios
from conformance.results import Run, load_evidence, load_run
from conformance.verdict import Verdict
from tests.broken_drivers import BROKEN
from tests.broken_drivers.backend import install
from tests.conftest import Pytest


def _scenarios() -> set[str]:
    """Return the names of all scenarios."""
    modules = [
        importlib.import_module(f"conformance.scenarios.{module.name}")
        for module in pkgutil.iter_modules(conformance.scenarios.__path__)
    ]
    return {name for module in modules for name in vars(module) if name.startswith("test_")}


def _result(directory: Path) -> Run:
    (path,) = directory.glob("results/*/result.json")
    return load_run(path)


def test_the_driver_that_is_not_broken_is_not_accused(run_pytest: Pytest, tmp_path: Path) -> None:
    gate = run_pytest("--backend=file", "--profile=smoke", "-n", "2")
    accusing = (Verdict.FALSIFIED, Verdict.ERROR)
    accused = [r.test for r in _result(tmp_path).scenarios if r.verdict in accusing]
    assert not accused, gate.stdout


_LONGEST_FIRST = sorted(BROKEN, key=lambda name: (not BROKEN[name].is_served, name))
"""Those behind a server wait for time-outs of links."""


@pytest.mark.parametrize("name", _LONGEST_FIRST)
def test_a_broken_driver_is_caught_by_the_scenario_meant_for_it(
    name: str, run_pytest: Pytest, tmp_path: Path
) -> None:
    broken = BROKEN[name]
    if broken.is_served:
        install(tmp_path)
    gate = run_pytest(
        f"--backend={'served' if broken.is_served else 'file'}",
        f"--implementation=broken_drivers:{name}",
        f"--profile={broken.profile}",
        "-p",
        "unshrunk",
        f"--level={broken.level}",
        "-k",
        " or ".join([*broken.falsifies, *broken.spares]),
    )
    expected = pytest.ExitCode.TESTS_FAILED if broken.falsifies else pytest.ExitCode.OK
    assert gate.returncode == expected, gate.stdout
    run = _result(tmp_path)
    found = {result.scenario.partition("::")[2]: result for result in run.scenarios}
    for scenario, about in broken.falsifies.items():
        result = found[scenario]
        assert (result.verdict, result.about) == (Verdict.FALSIFIED, about), result.reason
        assert result.evidence
        for path in result.evidence:
            evidence = load_evidence(tmp_path / "results" / run.id / path)
            assert evidence.finding.verdict is Verdict.FALSIFIED
            assert evidence.history.operations
    for scenario in broken.spares:
        assert found[scenario].verdict is not Verdict.FALSIFIED, found[scenario].reason


def test_every_scenario_has_a_broken_driver_that_it_catches() -> None:
    assert _scenarios() == {scenario for broken in BROKEN.values() for scenario in broken.falsifies}
