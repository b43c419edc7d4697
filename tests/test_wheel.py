"""The wheel: all that a user needs is in it, and it works from an empty directory."""

from __future__ import annotations

import os
import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parent.parent


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Build the wheel."""
    directory = tmp_path_factory.mktemp("wheel")
    subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", str(directory)],
        cwd=ROOT,
        check=True,
        stdout=subprocess.DEVNULL,
    )
    (built,) = directory.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Install the wheel, and it alone, in an environment that borrows the dependencies.

    The borrowed directory is on the path, but its own ``.pth`` files, and with them the
    development install of this project, are not looked at (site, Python 3.11).
    """
    directory = tmp_path_factory.mktemp("environment")
    venv.create(directory, with_pip=False)
    python = directory / "bin" / "python"
    (packages,) = directory.glob("lib/python*/site-packages")
    (packages / "borrowed.pth").write_text(sysconfig.get_path("purelib") + "\n")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(packages)
    return python


def test_the_wheel_has_everything_but_the_tests(wheel: Path) -> None:
    names = zipfile.ZipFile(wheel).namelist()
    for wanted in (
        "conformance/py.typed",
        "conformance/scenarios/test_locks.py",
        "conformance/benchmarks/test_uncontended.py",
    ):
        assert wanted in names
    assert any(name.startswith("conformance/reporting/templates/") for name in names)
    assert not any(name.startswith("tests/") for name in names)


def test_the_gate_runs_from_an_empty_directory(installed: Path, tmp_path: Path) -> None:
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("PYTEST", "PYTHON"))}
    where = subprocess.run(
        [installed, "-c", "import conformance; print(conformance.__file__)"],
        cwd=tmp_path,
        env=environment,
        check=True,
        text=True,
        stdout=subprocess.PIPE,
    )
    assert str(installed.parent.parent) in where.stdout
    run = subprocess.run(
        [
            *(installed, "-m", "pytest", "--pyargs", "conformance.scenarios"),
            *("--backend=file", "--profile=smoke", "-k", "asking or documented"),
        ],
        cwd=tmp_path,
        env=environment,
        check=False,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
    )
    assert run.returncode == 0, run.stdout
    assert "held" in run.stdout
    assert list(tmp_path.glob("results/*/result.json"))
