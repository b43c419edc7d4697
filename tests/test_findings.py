"""What was found in other libraries: page, scripts and expectations fit together."""

from __future__ import annotations

import importlib
import pkgutil
import re
from pathlib import Path

import pytest

import conformance.scenarios
from conformance.expectations import Expectation, load_expectations

FINDINGS = Path(__file__).parents[1] / "docs" / "findings"
PAGE = (FINDINGS / "README.md").read_text()
EXPECTED = load_expectations(FINDINGS / "tooz.toml")


def _scenarios() -> set[str]:
    """Return all scenarios, as module::name."""
    names = [module.name for module in pkgutil.iter_modules(conformance.scenarios.__path__)]
    return {
        f"{name}::{scenario}"
        for name in names
        for scenario in vars(importlib.import_module(f"conformance.scenarios.{name}"))
        if scenario.startswith("test_")
    }


def _id(entry: Expectation) -> str:
    return f"{entry.backend} {entry.scenario}"


@pytest.mark.parametrize("entry", EXPECTED, ids=_id)
def test_an_expectation_names_a_scenario_and_what_shows_its_defect(entry: Expectation) -> None:
    scenario, _, place = entry.scenario.partition("[")
    assert scenario in _scenarios()
    assert not place or place.startswith(f"{entry.backend}-")
    shown_by = entry.text.rpartition(": ")[2]
    assert (FINDINGS / shown_by).is_file(), entry.text
    assert shown_by == "README.md" or f"`{shown_by}`" in PAGE


def test_the_page_names_every_script_and_no_other() -> None:
    scripts = {path.name for path in FINDINGS.glob("*.py")}
    assert scripts == set(re.findall(r"`(\w+\.py)`", PAGE))


def test_the_page_names_scenarios_that_exist() -> None:
    assert set(re.findall(r"test_\w+::test_\w+", PAGE)) <= _scenarios()
