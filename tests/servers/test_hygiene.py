"""Hygiene on real servers: what is left there is seen, whichever server it is."""

from __future__ import annotations

import re
import secrets
from pathlib import Path

import pytest

from conformance.backends import known_backends
from conformance.gate import Settings
from conformance.results import load_run
from conformance.trial import Place
from conformance.verdict import Verdict
from tests.conftest import Pytest

_SCENARIO = "test_starting_and_stopping_leaves_nothing"


@pytest.mark.scenario("hygiene", levels=("threads",))
@pytest.mark.parametrize(
    ("leak", "told"),
    [
        ("leaves_a_group", "(keys|entries|nodes|items|rows), "),
        ("keeps_connections", " connections, "),
    ],
    ids=["group", "connections"],
)
def test_a_leak_is_seen(
    leak: str, told: str, conformance_place: Place, run_pytest: Pytest, tmp_path: Path
) -> None:
    _assert_seen(leak, told, conformance_place.backend, conformance_place.url, run_pytest, tmp_path)


def test_what_a_server_does_for_nobody_is_seen(
    conformance_settings: Settings, run_pytest: Pytest, tmp_path: Path
) -> None:
    for name, (url, _, _) in conformance_settings.servers.items():
        if name.startswith("postgresql"):
            told = "server processes, "
            _assert_seen("keeps_the_server_busy", told, name, url, run_pytest, tmp_path)


def _assert_seen(
    leak: str, told: str, backend: str, url: str, run_pytest: Pytest, directory: Path
) -> None:
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


def test_a_private_part_is_gone_when_it_was_a_database(conformance_settings: Settings) -> None:
    for name, (url, _, _) in conformance_settings.servers.items():
        backend = known_backends()[name]
        if not name.startswith(("postgresql", "mysql")):
            continue
        own = secrets.token_hex(4)
        assert backend.residue is not None
        with backend.private(url, own) as mine:
            assert not any(backend.residue(mine).values())
        with backend.private(url, own) as again:
            assert not any(backend.residue(again).values())
