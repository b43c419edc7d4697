"""Drivers that leave something behind with each life, on whichever server they are.

Each is the reference driver with one leak, and an implementation for ``--implementation``.
"""

from __future__ import annotations

import secrets
import select
from collections.abc import Callable

import psycopg2
from psycopg2.extensions import POLL_OK

from conformance.coordination import Coordinator, get_coordinator

_KEPT: list[object] = []
"""Keeps what nobody closes from being collected, which would close it."""


def leaves_a_group(url: str, member_id: bytes, **options: object) -> Coordinator:
    """Return a coordinator that leaves a key, a row or whatever a group is with each start."""

    def leak(coordinator: Coordinator) -> None:
        coordinator.create_group(secrets.token_hex(8).encode()).get()

    return _leaking(leak, url, member_id, options)


def keeps_connections(url: str, member_id: bytes, **options: object) -> Coordinator:
    """Return a coordinator that has another started with each start, and nobody stop it."""

    def leak(coordinator: Coordinator) -> None:
        other = get_coordinator(url, secrets.token_hex(8).encode(), **options)
        other.start()
        _KEPT.append(other)

    return _leaking(leak, url, member_id, options)


def keeps_the_server_busy(url: str, member_id: bytes, **options: object) -> Coordinator:
    """Return one that closes a connection with each start over which PostgreSQL is at work."""

    def leak(coordinator: Coordinator) -> None:
        connection = psycopg2.connect(url, async_=True)
        _wait(connection)
        connection.cursor().execute("SELECT pg_sleep(300)")
        connection.close()

    return _leaking(leak, url, member_id, options)


def _leaking(
    leak: Callable[[Coordinator], None], url: str, member_id: bytes, options: dict[str, object]
) -> Coordinator:
    """Return the reference driver's coordinator, which leaks once it is started."""
    coordinator = get_coordinator(url, member_id, **options)
    start = coordinator.start

    def start_and_leak(start_heart: bool = False) -> None:
        start(start_heart)
        leak(coordinator)

    coordinator.start = start_and_leak  # type: ignore[method-assign]
    return coordinator


def _wait(connection: psycopg2.extensions.connection) -> None:
    """Wait until an asynchronous connection is there."""
    while connection.poll() != POLL_OK:
        select.select([connection], [connection], [], 1.0)
