"""What the scenarios do not reach of the memcached driver: losses, restarts and expiry."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable, Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest
from pymemcache.client.base import Client

from conformance.coordination import (
    Coordinator,
    GroupNotEmpty,
    MemberAlreadyExist,
    MemberNotJoined,
    OperationTimedOut,
    SerializationError,
    ToozConnectionError,
    ToozError,
    get_coordinator,
)
from conformance.drivers._memcached_lock import Ledger, _Turn
from conformance.faults.proxy import Proxy

BACKEND = "memcached"

Make = Callable[..., Coordinator]


@pytest.fixture
def namespace() -> str:
    return f"test {os.urandom(6).hex()}"


@pytest.fixture
def make(url: str, namespace: str) -> Iterator[Make]:
    """Make coordinators that are started, and stop them in the end."""
    made: list[Coordinator] = []

    def start(member: bytes = b"m0", at: str = url, **options: Any) -> Coordinator:
        coordinator = get_coordinator(at, member, **{"namespace": namespace, **options})
        coordinator.start()
        made.append(coordinator)
        return coordinator

    yield start
    for coordinator in made:
        if coordinator.is_started:
            coordinator.stop()


@pytest.fixture
def server(url: str) -> Iterator[Client]:
    """A client that does what the driver would not."""
    split = urlsplit(url)
    client = Client((split.hostname, split.port), default_noreply=False, timeout=5)
    yield client
    client.close()


def session_key(coordinator: Any) -> str:
    key: str = coordinator._groups.session_key(coordinator._session)
    return key


# -- URLs and options -----------------------------------------------------------------


@pytest.mark.parametrize("where", ["u:hidden@h", "h/path", "h:99999", "h:port"])
def test_a_url_that_is_none_is_refused(where: str) -> None:
    with pytest.raises(ValueError, match=r"memcached://.*HOST") as refused:
        get_coordinator(f"memcached://{where}", b"m")
    assert "hidden" not in str(refused.value)


@pytest.mark.parametrize(
    "option",
    ["timeout=0", "lock_timeout=-1", "leader_timeout=99999999", "max_pool_size=0", "sync=1"],
)
def test_an_option_that_is_none_is_refused(option: str) -> None:
    with pytest.raises(ValueError, match="options of memcached://"):
        get_coordinator(f"memcached://h?{option}", b"m")


def test_tls_files_that_are_missing_are_refused() -> None:
    with pytest.raises(ValueError, match="TLS") as refused:
        get_coordinator(
            "memcached://h?use_ssl=true&ssl_cert=/nowhere&ssl_key_password=hidden", b"m"
        )
    assert "hidden" not in str(refused.value)


def test_no_server_is_a_connection_error() -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with pytest.raises(ToozConnectionError, match="check the URL"):
        get_coordinator(f"memcached://127.0.0.1:{port}", b"m").start()


def test_a_host_is_tried_at_all_its_addresses(url: str, make: Make) -> None:
    """The name localhost is ::1 first on many hosts, where nothing need listen."""
    assert make(at=url.replace("127.0.0.1", "localhost")).is_started


# -- servers that fail ------------------------------------------------------------------


@pytest.mark.parametrize("silent", [False, True])
def test_a_lock_whose_grant_was_lost_is_given_back(
    relayed: str, proxy: Proxy, make: Make, silent: bool
) -> None:
    unlucky, other = make(at=relayed, timeout=0.3, lock_timeout=30), make(b"m1")
    if silent:
        proxy.drop_replies()
    else:
        proxy.break_at_reply()
    lock = unlucky.get_lock(b"l")
    with pytest.raises((ToozConnectionError, OperationTimedOut)):
        lock.acquire()
    assert not lock.acquired
    proxy.heal()
    if silent:
        unlucky.heartbeat()
    assert other.get_lock(b"l").acquire(False)
    assert lock.acquire(False) is False


def test_a_lock_whose_release_was_lost_is_free(relayed: str, proxy: Proxy, make: Make) -> None:
    unlucky, other = make(at=relayed, timeout=5), make(b"m1")
    lock = unlucky.get_lock(b"l")
    assert lock.acquire()
    proxy.break_at_reply()
    with pytest.raises(ToozConnectionError):
        lock.release()
    assert not lock.acquired
    assert other.get_lock(b"l").acquire(False)


def test_a_join_whose_reply_was_lost_can_be_made_again(
    relayed: str, proxy: Proxy, make: Make
) -> None:
    unlucky: Any = make(at=relayed, timeout=5)
    unlucky.join_group_create(b"g", 1)
    unlucky.leave_group(b"g").get()
    commands = unlucky._link.ask

    def cut(*sent: bytes) -> Any:
        proxy.break_at_reply()
        return commands(*sent)

    unlucky._link.ask = cut
    with pytest.raises(ToozConnectionError):
        unlucky.join_group(b"g", 2).get()
    unlucky._link.ask = commands
    unlucky.join_group(b"g", 3).get()
    assert unlucky.get_members_with_capabilities(b"g").get() == {b"m0": 3}
    with pytest.raises(MemberAlreadyExist):
        unlucky.join_group(b"g", 4).get()


def test_a_leadership_whose_grant_was_lost_is_given_back(
    relayed: str, proxy: Proxy, make: Make
) -> None:
    unlucky, other = make(at=relayed, timeout=5), make(b"m1")
    unlucky.watch_elected_as_leader(b"g", lambda event: event)
    unlucky.run_elect_coordinator()
    assert unlucky.stand_down_group_leader(b"g")
    commands = unlucky._link.ask  # type: ignore[attr-defined]

    def cut(*sent: bytes) -> Any:
        proxy.break_at_reply()
        return commands(*sent)

    unlucky._link.ask = cut  # type: ignore[attr-defined]
    with pytest.raises(ToozConnectionError):
        unlucky.run_elect_coordinator()
    unlucky._link.ask = commands  # type: ignore[attr-defined]
    unlucky.heartbeat()
    assert other.get_leader(b"g").get() is None


def test_idle_connections_that_ended_are_replaced_unnoticed(
    relayed: str, proxy: Proxy, make: Make
) -> None:
    coordinator = make(at=relayed)
    lock = coordinator.get_lock(b"l")
    assert lock.acquire()
    proxy.cut()
    proxy.heal()
    assert lock.is_still_owner()
    assert lock.release()


# -- loss and expiry --------------------------------------------------------------------


def test_a_heartbeat_tells_once_what_the_server_lost(server: Client, make: Make) -> None:
    coordinator = make()
    lock = coordinator.get_lock(b"l")
    coordinator.join_group_create(b"g")
    coordinator.watch_elected_as_leader(b"g", lambda event: event)
    coordinator.run_elect_coordinator()
    assert lock.acquire()
    keys = [lock._key, session_key(coordinator), coordinator._leader_key(b"g")]  # type: ignore[attr-defined]
    assert all(server.delete(key) for key in keys)
    with pytest.raises(ToozConnectionError) as lost:
        coordinator.heartbeat()
    for what in ("membership of group b'g'", "leadership of group b'g'", "lock b'l'"):
        assert what in str(lost.value)
    assert coordinator.heartbeat() > 0
    assert not lock.acquired
    assert lock.release() is False
    with pytest.raises(MemberNotJoined):
        coordinator.leave_group(b"g").get()
    coordinator.join_group(b"g").get()
    assert lock.acquire(False)
    coordinator.heartbeat()


def test_a_session_that_ends_while_its_member_joins_is_made_anew(
    server: Client, make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    one: Any = make()
    one.create_group(b"g").get()
    join = one._groups.join

    def late(*arguments: Any, **options: Any) -> int:
        mark: int = join(*arguments, **options)
        monkeypatch.setattr(one._groups, "join", join)
        server.delete(session_key(one))
        one._renew_session()  # as the next heartbeat does, in its thread
        return mark

    monkeypatch.setattr(one._groups, "join", late)
    one.join_group(b"g").get()
    assert one.get_members(b"g").get() == {b"m0"}
    server.delete(session_key(one))
    with pytest.raises(ToozConnectionError, match="membership of group b'g'"):
        one.heartbeat()


def test_a_waiter_that_is_interrupted_once_it_has_the_lock_gives_it_back(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = make(lock_timeout=30.0), make(b"m1", lock_timeout=30.0)
    held, waited = one.get_lock(b"l"), other.get_lock(b"l")
    assert held.acquire()
    end = _Turn.end

    def interrupted(self: _Turn, ledger: Ledger) -> None:
        end(self, ledger)
        raise KeyboardInterrupt

    monkeypatch.setattr(_Turn, "end", interrupted)
    threading.Timer(0.2, held.release).start()
    with pytest.raises(KeyboardInterrupt):
        waited.acquire(10.0)
    monkeypatch.setattr(_Turn, "end", end)
    assert not waited.acquired
    other.heartbeat()
    assert held.acquire(blocking=False)


def test_an_evicted_group_is_told_of(server: Client, make: Make) -> None:
    coordinator = make()
    coordinator.join_group_create(b"g")
    assert server.delete(coordinator._groups.key(b"g"))  # type: ignore[attr-defined]
    assert coordinator.get_groups().get() == []
    with pytest.raises(ToozConnectionError, match="membership of group b'g'"):
        coordinator.heartbeat()
    coordinator.join_group_create(b"g")
    assert coordinator.get_groups().get() == [b"g"]


def test_a_holder_never_outlives_its_item(make: Make) -> None:
    holder, other = make(lock_timeout=2), make(b"m1")
    lock, rival = holder.get_lock(b"l"), other.get_lock(b"l")
    for _ in range(2):
        assert lock.acquire()
        while not rival.acquire(False):
            time.sleep(0.01)
        assert not lock.acquired
        assert lock.release() is False
        assert rival.is_still_owner()
        with pytest.raises(ToozConnectionError, match="lock b'l'"):
            holder.heartbeat()
        assert rival.is_still_owner()
        assert rival.release()


def test_heartbeats_keep_everything(url: str, namespace: str, make: Make) -> None:
    other = make(b"m1")
    keeper = get_coordinator(url, b"m0", namespace=namespace, timeout=2)
    keeper.start(start_heart=True)
    lock = keeper.get_lock(b"l")
    assert lock.acquire()
    keeper.join_group_create(b"g")
    keeper.watch_elected_as_leader(b"g", lambda event: event)
    keeper.run_elect_coordinator()
    time.sleep(3.2)
    assert lock.acquired
    assert lock.is_still_owner()
    assert other.get_lock(b"l").acquire(False) is False
    assert other.get_members(b"g").get() == {b"m0"}
    assert other.get_leader(b"g").get() == b"m0"
    keeper.stop()
    assert other.get_leader(b"g").get() is None
    assert other.get_members(b"g").get() == set()


def test_a_dead_member_is_joined_over_and_keeps_no_group(server: Client, make: Make) -> None:
    dead, again = make(), make()
    dead.join_group_create(b"g")
    with pytest.raises(MemberAlreadyExist):
        again.join_group(b"g").get()
    with pytest.raises(MemberNotJoined):
        again.leave_group(b"g").get()
    with pytest.raises(GroupNotEmpty):
        again.delete_group(b"g").get()
    assert server.delete(session_key(dead))
    assert again.get_members(b"g").get() == set()
    again.join_group(b"g", 7).get()
    with pytest.raises(MemberNotJoined):
        dead.leave_group(b"g").get()
    assert again.get_member_capabilities(b"g", b"m0").get() == 7
    assert server.delete(session_key(again))
    make(b"m1").delete_group(b"g").get()


# -- groups ------------------------------------------------------------------------------


def test_what_was_begun_and_left_is_finished(make: Make) -> None:
    coordinator: Any = make()
    groups, link = coordinator._groups, coordinator._link
    link.ask(b"ms %s 7 ME E5\r\nopening" % groups.key(b"g").encode())
    assert coordinator.get_groups().get() == []
    coordinator.create_group(b"g").get()
    assert coordinator.get_groups().get() == [b"g"]
    link.ask(b"ms %s 7 E6\r\nclosing" % groups.key(b"g").encode())
    assert coordinator.get_groups().get() == []
    coordinator.create_group(b"g").get()
    assert coordinator.get_groups().get() == [b"g"]
    coordinator.delete_group(b"g").get()
    assert coordinator.get_groups().get() == []


def test_what_is_too_large_is_refused_and_harms_nothing(make: Make) -> None:
    coordinator = make()
    coordinator.join_group_create(b"g", "small")
    with pytest.raises(SerializationError, match="-I"):
        coordinator.update_capabilities(b"g", b"x" * 2**20).get()
    coordinator.update_capabilities(b"g", b"x" * 1_000_000).get()
    found = coordinator.get_member_capabilities(b"g", b"m0").get()
    assert len(found) == 1_000_000
    giant = make(b"x" * 2**20)
    giant.watch_elected_as_leader(b"g", lambda event: event)
    with pytest.raises(ToozError, match="name"):
        giant.run_elect_coordinator()


def test_many_groups_are_all_listed(make: Make) -> None:
    coordinator = make()
    names = [b"g%03d" % number for number in range(300)]
    for name in names:
        coordinator.create_group(name)
    assert coordinator.get_groups().get() == names


@pytest.mark.parametrize("other", ["a:lock", "A", "ä", "a" * 90, "a b"])
def test_namespaces_never_meet(namespace: str, make: Make, other: str) -> None:
    one, two = make(namespace=f"{namespace[:9]}a"), make(namespace=f"{namespace[:9]}{other}"[:100])
    assert one.get_lock(b"l").acquire(False)
    assert two.get_lock(b"l").acquire(False)
    one.join_group_create(b"g")
    assert two.get_groups().get() == []


# -- threads and forks -------------------------------------------------------------------


def test_a_pool_of_two_serves_many_threads(make: Make) -> None:
    coordinator = make(max_pool_size=2)
    inside, most = 0, 0

    def work() -> None:
        nonlocal inside, most
        for _ in range(5):
            with coordinator.get_lock(b"l"):
                inside += 1
                most = max(most, inside)
                inside -= 1

    threads = [threading.Thread(target=work) for _ in range(8)]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert most == 1
    assert len(coordinator._link._idle) <= 2  # type: ignore[attr-defined]


def test_hundreds_of_locks_need_no_more_connections(make: Make) -> None:
    coordinator = make()
    locks = [coordinator.get_lock(b"l%d" % number) for number in range(600)]
    assert all(lock.acquire(False) for lock in locks)
    coordinator.heartbeat()
    assert all(lock.is_still_owner() for lock in locks[::50])
    assert len(coordinator._link._idle) == 1  # type: ignore[attr-defined]
    coordinator.stop()
    assert make(b"m1").get_lock(b"l599").acquire(False)


def test_a_forked_child_leaves_the_parents_connection_alone(make: Make) -> None:
    coordinator = make()
    lock = coordinator.get_lock(b"l")
    assert lock.acquire()
    child = os.fork()
    if child == 0:
        quiet = not lock.acquired and not coordinator.is_started and lock.release() is False
        os._exit(0 if quiet else 1)
    assert os.waitpid(child, 0)[1] == 0
    assert lock.is_still_owner()
    assert lock.release()


def test_connections_that_nobody_uses_are_made_anew_after_one_was_silent(
    make: Make, proxy: Proxy, relayed: str
) -> None:
    member = make(at=relayed, timeout=2.0)
    link: Any = member._link  # type: ignore[attr-defined]
    with link._connection() as one, link._connection() as two, link._connection() as three:
        for client in (one, two, three):
            client.version()
    assert proxy.strand() == 3
    lock = member.get_lock(b"lock")
    with pytest.raises(OperationTimedOut):
        lock.acquire(blocking=False)
    assert lock.acquire(blocking=False)
