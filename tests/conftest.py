"""Fixtures of the suite's own tests."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Callable, Iterator, Mapping
from concurrent import futures
from pathlib import Path

import pytest

from tests.local_places import DRIVERS, Place, place_for
from tests.processes import PROCESSES

Pytest = Callable[..., subprocess.CompletedProcess[str]]

_ALWAYS = ("-p", "no:cacheprovider", "-W", "ignore::pytest.PytestAssertRewriteWarning")
"""The options of every run: it leaves no cache, and may have modules that are imported."""


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with the tests that run pytest themselves, by far the longest, on every worker.

    pytest-xdist gives each worker an equal share of the list to begin with; what is long and
    comes last would be waited for by all.
    """
    long, short = [], []
    for item in items:
        (long if "run_pytest" in getattr(item, "fixturenames", ()) else short).append(item)
    workers = int(os.environ.get("PYTEST_XDIST_WORKER_COUNT", "1"))
    share = -(-len(short) // workers)
    items[:] = [
        item
        for worker in range(workers)
        for item in (*long[worker::workers], *short[worker * share : (worker + 1) * share])
    ]


@pytest.fixture(params=DRIVERS)
def local_place(request: pytest.FixtureRequest, tmp_path: Path) -> Iterator[Place]:
    """Give a place for coordinators of each driver that needs no server but the kernel."""
    with place_for(request.param, tmp_path) as place:
        yield place


@pytest.fixture
def threads() -> Iterator[futures.ThreadPoolExecutor]:
    """Give threads that have ended when the test has."""
    with futures.ThreadPoolExecutor(8) as pool:
        yield pool


@pytest.fixture
def run_pytest(tmp_path: Path) -> Pytest:
    """Run pytest as a user would, in an empty directory; return what it printed.

    Each run is a process of its own, forked from one that has imported pytest.
    """

    def run(*arguments: str, timeout: float = 300.0) -> subprocess.CompletedProcess[str]:
        environment = {k: v for k, v in os.environ.items() if not k.startswith("PYTEST_")}
        inherited = filter(None, [environment.get("PYTHONPATH")])
        environment["PYTHONPATH"] = os.pathsep.join([str(Path(__file__).parent), *inherited])
        output = tmp_path / "output"
        process = PROCESSES.Process(
            target=_pytest, args=(arguments, tmp_path, output, environment), daemon=True
        )
        process.start()
        process.join(timeout)
        if process.exitcode is None:
            process.kill()
            process.join()
            raise subprocess.TimeoutExpired(["pytest", *arguments], timeout, output.read_text())
        return subprocess.CompletedProcess(arguments, process.exitcode, output.read_text())

    return run


def _pytest(
    arguments: tuple[str, ...], directory: Path, output: Path, environment: Mapping[str, str]
) -> None:
    """Be a process that was started as ``python -m pytest`` with these arguments."""
    os.chdir(directory)
    descriptor = os.open(output, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
    os.dup2(descriptor, 1)
    os.dup2(descriptor, 2)
    os.close(descriptor)
    os.environ.clear()
    os.environ.update(environment)
    sys.path[:0] = [str(directory), *environment["PYTHONPATH"].split(os.pathsep)]
    sys.argv = ["pytest", *_ALWAYS, *arguments]
    sys.exit(pytest.main(sys.argv[1:]))
