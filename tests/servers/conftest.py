"""Tests here run against the servers that ``--backend`` names, and only those."""

from __future__ import annotations

import pytest

from conformance.gate import Settings


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect the tests of backends that were not asked for: each module has a BACKEND."""
    asked = set(filter(None, (config.getoption("--backend") or "").split(",")))
    here = str(config.rootpath / "tests" / "servers")
    other = [
        item
        for item in items
        if str(item.path).startswith(here)
        and getattr(getattr(item, "module", None), "BACKEND", None) not in asked
    ]
    if other:
        config.hook.pytest_deselected(items=other)
        items[:] = [item for item in items if item not in other]


@pytest.fixture
def url(request: pytest.FixtureRequest, conformance_settings: Settings) -> str:
    """The URL of the server that the module's BACKEND names."""
    found: str = conformance_settings.servers[request.module.BACKEND][0]
    return found
