"""What the count of what is left on a server makes for itself is gone afterwards."""

from __future__ import annotations

import secrets

from conformance.backends import known_backends
from conformance.gate import Settings


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
