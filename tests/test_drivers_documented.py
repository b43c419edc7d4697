"""What docs/drivers.md says of the drivers' options is what the drivers take."""

from __future__ import annotations

import re
from pathlib import Path

import pytest

from conformance.coordination import driver_class
from conformance.drivers.remote import RemoteOptions

_PAGE = Path(__file__).parent.parent / "docs" / "drivers.md"

_ROW = re.compile(r"^\| `(?P<driver>\w+)` \| (?P<options>`.*`) \|$", re.MULTILINE)

_TABLE = _PAGE.read_text().partition("## Options")[2]

_DOCUMENTED = {
    row["driver"]: set(re.findall(r"`(\w+)`", row["options"])) for row in _ROW.finditer(_TABLE)
}

_SERVERS = {"zookeeper", "redis", "memcached", "postgresql", "mysql", "etcd", "consul"}


def test_every_driver_of_a_server_is_in_the_table() -> None:
    assert _DOCUMENTED.keys() == _SERVERS


@pytest.mark.parametrize("driver", sorted(_SERVERS))
def test_the_table_names_exactly_the_options_that_a_driver_takes(driver: str) -> None:
    taken = set(driver_class(driver).Options.__struct_fields__)
    assert _DOCUMENTED[driver] == taken - set(RemoteOptions.__struct_fields__)
