"""The ZooKeeper driver where the stand-in cannot be: what time does to its session."""

from __future__ import annotations

import contextlib
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor

import pytest

from conformance.coordination import Coordinator, ToozError, get_coordinator
from conformance.faults.proxy import Proxy

BACKEND = "zookeeper"

LOCK = b"lock"

_TIMEOUT = 2.0
"""The sessions' time-out, in seconds."""


@pytest.fixture
def make(url: str) -> Iterator[Callable[..., Coordinator]]:
    """Make started coordinators in a namespace of the test's own, and stop them."""
    namespace = f"test-{secrets.token_hex(6)}"
    with contextlib.ExitStack() as stack:

        def make_one(member: bytes, at: str = url, timeout: float = _TIMEOUT) -> Coordinator:
            coordinator = get_coordinator(at, member, namespace=namespace, timeout=timeout)
            coordinator.start()
            stack.callback(coordinator.stop)
            return coordinator

        yield make_one


@pytest.mark.parametrize("asking", [0, 6])
def test_who_is_cut_off_believes_in_no_hold_that_the_server_ended(
    relayed: str, proxy: Proxy, make: Callable[..., Coordinator], asking: int
) -> None:
    held, other = make(b"one", relayed).get_lock(LOCK), make(b"other").get_lock(LOCK)
    assert held.acquire()
    ended = threading.Event()

    def ask() -> None:
        while not ended.is_set():
            with contextlib.suppress(ToozError):
                held.is_still_owner()

    with ThreadPoolExecutor(asking + 1) as threads:
        proxy.stall()
        for _ in range(asking):
            threads.submit(ask)
            time.sleep(_TIMEOUT / 2 / asking)
        assert other.acquire(5 * _TIMEOUT)
        believed = held.acquired
        ended.set()
        proxy.heal()
    assert not believed
    assert not held.release()
    assert other.is_still_owner()


def test_the_session_lasts_for_as_long_as_the_server_says(make: Callable[..., Coordinator]) -> None:
    one = make(b"one", timeout=600.0)
    lease = one._session.client._connection.lease  # type: ignore[attr-defined]
    assert 0 < lease.seconds < 600.0


def test_an_idle_holder_keeps_its_hold(make: Callable[..., Coordinator]) -> None:
    held = make(b"one").get_lock(LOCK)
    assert held.acquire()
    until = time.monotonic() + 2 * _TIMEOUT
    while time.monotonic() < until:
        assert held.acquired
        time.sleep(0.01)
    assert held.is_still_owner()
