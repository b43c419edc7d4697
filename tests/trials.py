"""A trial of the file driver, for tests of what is tried."""

from __future__ import annotations

from pathlib import Path

from conformance.implementations import describe
from conformance.profiles import PROFILES
from conformance.trial import Place, Trial
from conformance.workload.crew import Crew

__all__ = ["make_trial"]


def make_trial(
    crew: Crew,
    directory: Path,
    *,
    level: str = "threads",
    profile: str = "gate",
    implementation: str = "reference",
) -> Trial:
    """Return a trial that keeps all that it has in a directory."""
    url = f"file://{directory}/file"
    return Trial(
        place=Place("file", url, level, describe(implementation, url)),
        scenario="test_made_up",
        command="pytest",
        seed=3,
        profile=PROFILES[profile],
        crew=crew,
        directory=directory / "trials",
        evidence_directory=directory / "evidence",
    )
