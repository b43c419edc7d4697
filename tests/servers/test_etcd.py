"""The etcd driver where the scenarios do not reach: lost replies, losses, and mute servers."""

from __future__ import annotations

import contextlib
import os
import secrets
import threading
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests

from conformance.coordination import get_coordinator
from conformance.coordinator import Coordinator
from conformance.drivers._etcd_requests import get
from conformance.errors import (
    MemberAlreadyExist,
    MemberNotJoined,
    OperationTimedOut,
    SerializationError,
    ToozConnectionError,
    ToozError,
)
from conformance.faults.proxy import Proxy

BACKEND = "etcd"

LOCK = b"lock"
GROUP = b"group"


@contextlib.contextmanager
def started(url: str, member: bytes = b"m0", **options: Any) -> Iterator[Coordinator]:
    """Yield a started coordinator, and stop it if it still is one."""
    coordinator = get_coordinator(url, member, **options)
    coordinator.start()
    try:
        yield coordinator
    finally:
        if coordinator.is_started:
            coordinator.stop()


@pytest.fixture
def space() -> str:
    """A namespace that no other test uses."""
    return f"test-{secrets.token_hex(8)}"


def revoke(url: str, coordinator: Any, key: str) -> None:
    """End the lease that a key is bound to, behind everybody's back."""
    (found,) = coordinator._gateway.transact([], [get(key)]).found
    address = urlsplit(url).netloc
    answer = requests.post(
        f"http://{address}/v3/lease/revoke", json={"ID": str(found[0].lease)}, timeout=5
    )
    answer.raise_for_status()


# -- options ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "options"),
    [
        ("etcd://:secret@localhost/path", {}),
        ("etcd://:secret@localhost:99999", {}),
        ("etcd://localhost", {"cert_key": "key.pem"}),
        ("etcd://localhost", {"ca_cert": "ca.pem"}),
        ("etcd://localhost?lock_timeout=0", {}),
        ("etcd://localhost?unknown=1", {}),
    ],
)
def test_what_cannot_be_meant_is_refused(url: str, options: dict[str, Any]) -> None:
    with pytest.raises((ValueError, ToozError)) as caught:
        get_coordinator(url, b"m0", **options)
    assert "secret" not in str(caught.value)


def test_missing_certificates_are_told(url: str) -> None:
    secure = f"etcd3+https://{urlsplit(url).netloc}?ca_cert=/nowhere/ca.pem"
    with pytest.raises(ValueError, match=r"TLS.*/nowhere/ca\.pem"):
        get_coordinator(secure, b"m0")


def test_no_password_is_shown(url: str, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(0)
    coordinator = get_coordinator(f"etcd://user:secret@{urlsplit(url).netloc}", b"m0")
    with pytest.raises(ToozConnectionError, match="USER:PASS") as caught:
        coordinator.start()
    assert "secret" not in f"{caught.value!r} {caught.value.__cause__!r} {caplog.text}"


def test_times_are_kept_apart(url: str, space: str) -> None:
    """A lost lock costs no membership of a longer time-out."""
    options = {"namespace": space, "timeout": 20, "lock_timeout": 1}
    with started(url, **options) as coordinator:
        coordinator.join_group_create(GROUP)
        lock = coordinator.get_lock(LOCK)
        assert lock.acquire()
        assert coordinator.heartbeat() == pytest.approx(1 / 3)
        revoke(url, coordinator, lock._hold.key)
        with pytest.raises(ToozConnectionError) as caught:
            coordinator.heartbeat()
        assert "the lock b'lock'" in str(caught.value)
        assert "group" not in str(caught.value)
        coordinator.leave_group(GROUP).get()


# -- losses -----------------------------------------------------------------------------


def test_what_expires_is_known_to_be_lost(url: str, space: str) -> None:
    with started(url, namespace=space, timeout=1) as one, started(url, namespace=space) as two:
        one.join_group_create(GROUP)
        mine, other = one.get_lock(LOCK), two.get_lock(LOCK)
        assert mine.acquire()
        assert not other.acquire(False)
        time.sleep(1.1)
        assert not mine.acquired
        assert not mine.release()
        assert other.acquire(5)
        with pytest.raises(ToozConnectionError, match="lock b'lock'"):
            one.heartbeat()
        one.heartbeat()
        assert two.get_members(GROUP).get() == set()
        one.join_group(GROUP).get()
        assert not mine.acquire(False)
        assert other.is_still_owner()
        assert other.release()
        assert mine.acquire(False)


def test_a_lease_that_ended_is_noticed(url: str, space: str) -> None:
    with started(url, namespace=space) as one:
        one.join_group_create(GROUP)
        one.watch_elected_as_leader(GROUP, lambda event: None)
        one.run_elect_coordinator()
        lock = one.get_lock(LOCK)
        assert lock.acquire()
        revoke(url, one, lock._hold.key)
        assert not lock.is_still_owner()
        assert not lock.acquired
        assert lock.acquire(False)
        assert one.get_leader(GROUP).get() is None
        with pytest.raises(ToozConnectionError, match=r"membership.*leadership"):
            one.heartbeat()
        one.run_elect_coordinator()
        assert one.get_leader(GROUP).get() == b"m0"
        with pytest.raises(MemberNotJoined):
            one.leave_group(GROUP).get()


def test_a_waiter_keeps_its_place_where_nobody_beats(url: str, space: str) -> None:
    with started(url, namespace=space) as one, started(url, namespace=space, timeout=2) as two:
        lock, wanted = one.get_lock(LOCK), two.get_lock(LOCK)
        assert lock.acquire()
        threading.Timer(3.0, lock.release).start()
        assert wanted.acquire(10)
        assert wanted.is_still_owner()


def test_a_membership_is_its_coordinators(url: str, space: str) -> None:
    with started(url, namespace=space) as one, started(url, namespace=space) as twin:
        one.join_group_create(GROUP)
        with pytest.raises(MemberAlreadyExist):
            twin.join_group(GROUP).get()
        for call in (twin.leave_group(GROUP), twin.update_capabilities(GROUP, 1)):
            with pytest.raises(MemberNotJoined):
                call.get()
        assert one.get_members(GROUP).get() == {b"m0"}


# -- what goes wrong on the way -----------------------------------------------------------


def test_an_acquisition_whose_reply_is_lost_is_given_back(
    relayed: str, proxy: Proxy, url: str, space: str
) -> None:
    with started(relayed, namespace=space) as one, started(url, namespace=space) as two:
        lock = one.get_lock(LOCK)
        proxy.break_at_reply()
        with pytest.raises(ToozConnectionError):
            lock.acquire()
        assert not lock.acquired
        assert two.get_lock(LOCK).acquire(False)
        assert not lock.acquire(False)


def test_a_release_whose_reply_is_lost_is_done(
    relayed: str, proxy: Proxy, url: str, space: str
) -> None:
    with started(relayed, namespace=space) as one, started(url, namespace=space) as two:
        lock = one.get_lock(LOCK)
        assert lock.acquire()
        proxy.break_at_reply()
        with pytest.raises(ToozConnectionError):
            lock.release()
        assert not lock.acquired
        assert two.get_lock(LOCK).acquire(False)


def test_a_request_that_arrives_late_makes_no_hold(
    relayed: str, proxy: Proxy, url: str, space: str
) -> None:
    with (
        started(relayed, namespace=space, timeout=1, lock_timeout=30) as one,
        started(url, namespace=space) as two,
    ):
        lock = one.get_lock(LOCK)
        proxy.stall()
        with pytest.raises(OperationTimedOut):
            lock.acquire()
        (owed,) = one._session._debts
        one._session.gateway = one._gateway = two._gateway  # a way around what is held up
        one._session.settle()
        proxy.heal()
        time.sleep(0.5)
        assert two._gateway.transact([], [get(owed)]).found == [[]]
        assert two.get_lock(LOCK).acquire(False)


def test_a_waiter_whose_watch_fell_silent_looks_for_itself(
    url: str, proxy: Proxy, space: str
) -> None:
    with (
        started(url, namespace=space) as one,
        started(url, namespace=space, timeout=1, lock_timeout=30) as two,
        ThreadPoolExecutor(1) as threads,
    ):
        held, waited = one.get_lock(LOCK), two.get_lock(LOCK)
        assert held.acquire()
        session = two._gateway.session  # type: ignore[attr-defined]
        session._host, session._port = proxy.address  # where connections to come lead
        waiting = threads.submit(waited.acquire, 10.0)
        while not proxy.connections:
            time.sleep(0.01)
        time.sleep(0.2)
        proxy.stall()
        session._host, session._port = urlsplit(url).hostname, urlsplit(url).port
        assert held.release()
        began = time.monotonic()
        assert waiting.result()
        assert time.monotonic() - began < 5
        proxy.heal()


def test_broken_connections_are_replaced(relayed: str, proxy: Proxy, space: str) -> None:
    with started(relayed, namespace=space) as one:
        lock = one.get_lock(LOCK)
        assert lock.acquire()
        proxy.cut()
        proxy.heal()
        one.heartbeat()
        assert lock.is_still_owner()
        assert lock.release()


# -- names, sizes, processes --------------------------------------------------------------


def test_namespaces_are_apart(url: str, space: str) -> None:
    inner = f"{space}/groups"
    with started(url, namespace=space) as one, started(url, namespace=inner) as two:
        one.create_group(GROUP).get()
        assert two.get_groups().get() == []
        two.create_group(b"other").get()
        assert one.get_groups().get() == [GROUP]
        assert one.get_lock(LOCK).acquire(False)
        assert two.get_lock(LOCK).acquire(False)


def test_what_is_too_large_is_refused(url: str, space: str) -> None:
    with started(url, namespace=space) as one:
        one.create_group(GROUP).get()
        with pytest.raises(SerializationError, match="at most"):
            one.join_group(GROUP, b"x" * 1_600_000).get()
        with pytest.raises(ToozError, match="at most"):
            one.create_group(b"x" * 1_600_000).get()
        one.join_group(GROUP, b"x" * 1_400_000).get()


def test_hundreds_of_locks_need_few_connections(url: str, space: str) -> None:
    with started(url, namespace=space) as one:
        locks = [one.get_lock(b"%d" % number) for number in range(200)]
        assert all(lock.acquire(False) for lock in locks)
        assert one._gateway.session.idle == 1


def test_a_forked_child_leaves_the_parents_hold(url: str, space: str) -> None:
    with started(url, namespace=space) as one:
        lock = one.get_lock(LOCK)
        assert lock.acquire()
        child = os.fork()
        if child == 0:
            os._exit(lock.acquired or bool(one._gateway.session.idle))
        assert os.waitpid(child, 0)[1] == 0
        assert lock.is_still_owner()
        assert lock.release()


def test_it_starts_again(url: str, space: str) -> None:
    with started(url, namespace=space) as one:
        lock = one.get_lock(LOCK)
        assert lock.acquire()
        one.stop()
        assert not lock.acquired
        one.start()
        assert lock.acquire(False)
