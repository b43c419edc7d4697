"""What the suite itself asks of every server that ``--backend`` names."""

from __future__ import annotations

import secrets
from urllib.parse import urlsplit

from conformance.backends import known_backends
from conformance.backends.engine import RUN_LABEL, docker
from conformance.backends.served import own_address
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


def test_the_second_server_restarts_and_belongs_to_the_run(conformance_settings: Settings) -> None:
    assert conformance_settings.spares == list(conformance_settings.servers)
    for name in conformance_settings.spares:
        with conformance_settings.spare(name) as spare:
            assert spare is not None
            processes = []
            for kill in (False, True):
                if spare.process is None:
                    spare.start()
                spare.wait_ready()
                processes.append(spare.process)
                spare.stop(kill=kill)
                assert spare.process is None, name
            assert spare.last_words().startswith("exited, exit code 137"), name
            assert None not in processes, name
            assert len(set(processes)) == 2, name
    label = f"label={RUN_LABEL}={conformance_settings.run_id}"
    ours = docker("ps", "--all", "--format", "{{.Names}}", "--filter", label).split()
    assert sum(name.endswith("-server-2") for name in ours) == len(conformance_settings.servers)


def test_servers_are_reached_at_their_own_addresses_where_that_can_be(
    conformance_settings: Settings,
) -> None:
    label = f"label={RUN_LABEL}={conformance_settings.run_id}"
    running = docker("ps", "--quiet", "--filter", label).split()
    found = filter(None, (own_address(container, 9) for container in running))
    hosts = {host for host, _ in found} or {"127.0.0.1"}
    for name, (url, _, _) in conformance_settings.servers.items():
        assert urlsplit(url).hostname in hosts, name
