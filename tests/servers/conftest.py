"""Tests here run against the servers that ``--backend`` names, and only those."""

from __future__ import annotations

import pytest

from conformance.gate import Settings


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect the tests of backends that were not asked for.

    A module names its BACKEND; one that does not is about all that were asked for. A
    variant is tested as its backend is.
    """
    given = config.getoption("--backend") or ""
    asked = {_basic(name) for name in given.split(",") if name}
    here = str(config.rootpath / "tests" / "servers")
    other = [
        item for item in items if str(item.path).startswith(here) and not _is_asked(item, asked)
    ]
    if other:
        config.hook.pytest_deselected(items=other)
        items[:] = [item for item in items if item not in other]


@pytest.fixture
def url(request: pytest.FixtureRequest, conformance_settings: Settings) -> str:
    """The URL of the server that the module's BACKEND names."""
    servers = conformance_settings.servers.items()
    found: str = next(url for name, (url, *_) in servers if _basic(name) == request.module.BACKEND)
    return found


def _is_asked(item: pytest.Item, asked: set[str]) -> bool:
    backend = getattr(getattr(item, "module", None), "BACKEND", None)
    return bool(asked) if backend is None else backend in asked


def _basic(name: str) -> str:
    """Return the backend of which a name may be a variant."""
    return name.partition(":")[0]
