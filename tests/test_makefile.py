"""The commands of the Makefile."""

from __future__ import annotations

import subprocess
from pathlib import Path


def test_the_demo_begins_without_results_of_an_earlier_one() -> None:
    command = ["make", "--dry-run", "demo"]
    root = Path(__file__).parent.parent
    made = subprocess.run(command, cwd=root, check=True, capture_output=True, text=True).stdout
    assert made.index("rm -rf results/demo") < made.index("--results=results/demo")
