"""What all benchmarks have in common: where they run, and what they need of a driver."""

from __future__ import annotations

import pytest

from conformance.benchmarks.sides import Beside, able
from conformance.gate import Settings
from conformance.trial import Place
from conformance.workload.crew import Crew


@pytest.fixture
def place(conformance_place: Place) -> Place:
    """Where the benchmark runs: driver, backend and level."""
    return conformance_place


@pytest.fixture
def crew(conformance_crew: Crew) -> Crew:
    """Give the worker processes in which contending clients live."""
    return conformance_crew


@pytest.fixture
def settings(conformance_settings: Settings) -> Settings:
    """Give the settings of the run."""
    return conformance_settings


@pytest.fixture
def beside(request: pytest.FixtureRequest, place: Place, settings: Settings) -> Beside:
    """Give the implementations to measure beside, with a reason for those that cannot be."""
    marker = request.node.get_closest_marker("scenario")
    return able(settings.beside_at(place), marker.kwargs["needs"])


@pytest.fixture(autouse=True)
def needed(request: pytest.FixtureRequest, place: Place) -> None:
    """Skip, before anything is set up, where the driver lacks what the marker needs."""
    marker = request.node.get_closest_marker("scenario")
    missing = [f.name for f in marker.kwargs["needs"] if f not in place.driver.features]
    if missing:
        pytest.skip(f"the driver does not have {', '.join(missing)}")
