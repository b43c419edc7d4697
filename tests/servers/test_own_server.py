"""A server of a test's own goes with the run, whatever becomes of the test."""

from __future__ import annotations

from conformance.backends.engine import RUN_LABEL, docker
from conformance.gate import Settings
from tests.servers.own_server import own_server

BACKEND = "memcached"


def test_it_bears_the_runs_label_and_is_removed(
    backend: str, conformance_settings: Settings
) -> None:
    def containers() -> list[str]:
        label = f"label={RUN_LABEL}={conformance_settings.run_id}"
        return docker("ps", "--all", "--quiet", "--no-trunc", "--filter", label).split()

    with own_server(conformance_settings, backend, ["memcached"], 11211) as own:
        assert own.container in containers()
    assert own.container not in containers()
