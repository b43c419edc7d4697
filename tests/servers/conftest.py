"""Tests here run against the servers that ``--backend`` names, and only those.

A module names its BACKEND, or the BACKENDS that its tests, which take a ``backend``, are run
on; one that names neither is about all that were asked for. A variant is tested as its
backend is.
"""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from conformance.faults.addresses import address_of, at_address
from conformance.faults.proxy import Proxy
from conformance.gate import Settings
from tests.servers.backends import basic
from tests.servers.certificates import Certificates, make_certificates


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run the tests of a module that names BACKENDS on each of these that was asked for."""
    known = getattr(metafunc.module, "BACKENDS", None)
    if known is not None and "backend" in metafunc.fixturenames:
        asked = [name for name in _asked(metafunc.config) if basic(name) in known]
        metafunc.parametrize("backend", asked, scope="module")


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect the tests of backends that were not asked for."""
    asked = {basic(name) for name in _asked(config)}
    here = str(config.rootpath / "tests" / "servers")
    other = [
        item for item in items if str(item.path).startswith(here) and not _is_asked(item, asked)
    ]
    if other:
        config.hook.pytest_deselected(items=other)
        items[:] = [item for item in items if item not in other]


@pytest.fixture(scope="module")
def backend(request: pytest.FixtureRequest, conformance_settings: Settings) -> str:
    """The module's BACKEND, or its variant, as ``--backend`` names it."""
    names = conformance_settings.servers
    return next(name for name in names if basic(name) == request.module.BACKEND)


@pytest.fixture
def url(backend: str, conformance_settings: Settings) -> str:
    """The URL of the run's server of that backend."""
    return conformance_settings.servers[backend][0]


@pytest.fixture
def proxy(url: str) -> Iterator[Proxy]:
    """A link to that server, which can be broken."""
    server = address_of(url)
    assert server is not None
    with Proxy(*server) as made:
        yield made


@pytest.fixture
def relayed(url: str, proxy: Proxy) -> str:
    """The URL of that server through the link."""
    return at_address(url, *proxy.address)


@pytest.fixture(scope="session")
def certificates(tmp_path_factory: pytest.TempPathFactory) -> Certificates:
    """Certificates for TLS."""
    directory: Path = tmp_path_factory.mktemp("certificates")
    return make_certificates(directory)


def _asked(config: pytest.Config) -> list[str]:
    given = config.getoption("--backend") or ""
    return [name for name in given.split(",") if name]


def _is_asked(item: pytest.Item, asked: set[str]) -> bool:
    module = getattr(item, "module", None)
    if (known := getattr(module, "BACKENDS", None)) is not None:
        return not asked.isdisjoint(known)
    backend = getattr(module, "BACKEND", None)
    return bool(asked) if backend is None else backend in asked
