"""Leaks on real servers are seen, whichever server it is."""

from __future__ import annotations

from pathlib import Path

import pytest

from tests.conftest import Pytest
from tests.servers.leaks import assert_seen

BACKENDS = {"zookeeper", "redis", "memcached", "postgresql", "mysql", "etcd", "consul"}


@pytest.mark.parametrize(
    ("leak", "told"),
    [
        ("leaves_a_group", "(keys|entries|nodes|items|rows), "),
        ("keeps_connections", " connections, "),
    ],
    ids=["group", "connections"],
)
def test_a_leak_is_seen(
    leak: str, told: str, backend: str, url: str, run_pytest: Pytest, tmp_path: Path
) -> None:
    assert_seen(leak, told, backend, url, run_pytest, tmp_path)
