"""What the suite itself asks of every server that ``--backend`` names."""

from __future__ import annotations

import secrets

from conformance.backends import known_backends
from conformance.benchmarks.exchanges import open_exchange
from conformance.coordination import get_coordinator
from conformance.gate import Settings


def test_the_least_exchange_is_answered_again_and_again(conformance_settings: Settings) -> None:
    for backend, (url, _, _) in conformance_settings.servers.items():
        opened = open_exchange(backend, url)
        assert opened is not None, backend
        with opened as exchange:
            for _ in range(3):
                exchange()


def test_what_is_stored_is_counted_in_its_own_namespace(conformance_settings: Settings) -> None:
    known = known_backends()
    for name, (url, _, _) in conformance_settings.servers.items():
        backend = known[name]
        if backend.residue is None:
            continue
        with (
            backend.private(url, secrets.token_hex(4)) as mine,
            backend.private(url, secrets.token_hex(4)) as other,
        ):
            coordinator = get_coordinator(mine, b"member")
            coordinator.start()
            nothing = sum(backend.residue(mine).values())
            coordinator.create_group(b"group").get()
            assert sum(backend.residue(mine).values()) > nothing, name
            coordinator.stop()
            assert not any(backend.residue(other).values()), name
