"""What the PostgreSQL driver does that the scenarios do not reach."""

from __future__ import annotations

import os
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import psycopg2
import pytest

from conformance.coordination import (
    Characteristics,
    Coordinator,
    GroupNotEmpty,
    MemberAlreadyExist,
    MemberNotJoined,
    OperationTimedOut,
    ToozConnectionError,
    ToozError,
    get_coordinator,
)
from conformance.drivers import _postgresql_schema as sql
from conformance.drivers._postgresql_connection import Connection
from conformance.faults.proxy import Proxy
from tests.conftest import Pytest
from tests.servers.leaks import assert_seen

BACKEND = "postgresql"

Make = Callable[..., Coordinator]


@pytest.fixture
def make(url: str) -> Iterator[Make]:
    """Makes started coordinators in a namespace of the test's own, and stops them."""
    made: list[Coordinator] = []
    namespace = f"test-{secrets.token_hex(6)}"

    def make(member: bytes = b"member", **options: Any) -> Coordinator:
        coordinator = get_coordinator(url, member, **({"namespace": namespace} | options))
        coordinator.start()
        made.append(coordinator)
        return coordinator

    yield make
    for coordinator in made:
        if coordinator.is_started:
            coordinator.stop()


@pytest.fixture
def admin(url: str) -> Iterator[Callable[..., list[Any]]]:
    """Carries out statements over a connection of its own."""
    connection = psycopg2.connect(url)
    connection.autocommit = True

    def run(statement: str, *parameters: object) -> list[Any]:
        with connection.cursor() as cursor:
            cursor.execute(statement, parameters)
            return cursor.fetchall() if cursor.description else []

    yield run
    connection.close()


def main_of(coordinator: Any) -> int:
    pid: int = coordinator._session._main.pid
    return pid


def kill(admin: Callable[..., list[Any]], coordinator: Coordinator) -> None:
    """End a coordinator's connection at the server, and wait until it is gone."""
    pid = main_of(coordinator)
    admin("SELECT pg_terminate_backend(%s, 5000)", pid)
    eventually(lambda: not coordinator._session._main.alive)  # type: ignore[attr-defined]


def eventually(check: Callable[[], bool], seconds: float = 5.0) -> None:
    end = time.monotonic() + seconds
    while not check():
        assert time.monotonic() < end, "it did not come to that"
        time.sleep(0.01)


# -- URLs and options --------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("postgresql://h:70000/d", "65535"),
        ("postgresql://u:hidden@h/one?dbname=two", "two databases"),
        ("postgresql://u:hidden@h/d?sslmode=perhaps", "sslmode"),
        ("postgresql://u:hidden@h/d?timeout=0", "timeout"),
        ("postgresql://u:hidden@h/d%00", "NUL"),
        ("postgresql://u:hidden@h/d?lock_timeout=1", "lock_timeout"),
    ],
)
def test_bad_urls_are_refused_in_clear_words(url: str, said: str) -> None:
    with pytest.raises(ValueError, match=said) as caught:
        get_coordinator(url, b"m")
    assert "hidden" not in str(caught.value)


def test_the_database_may_be_an_option(url: str) -> None:
    parts = urlsplit(url)
    coordinator = get_coordinator(
        parts._replace(path="").geturl(), b"m", dbname=parts.path.removeprefix("/")
    )
    coordinator.start()
    coordinator.stop()


@pytest.mark.parametrize("wrong", ["password", "database"])
def test_what_does_not_let_in_is_told_without_the_password(url: str, wrong: str) -> None:
    parts = urlsplit(url)
    if wrong == "password":
        netloc = parts.netloc.replace(f":{parts.password}@", ":hidden-password@")
        parts = parts._replace(netloc=netloc)
    else:
        parts = parts._replace(path="/missing-database")
    coordinator = get_coordinator(parts.geturl(), b"m")
    with pytest.raises(ToozConnectionError, match=f"USER:PASS and database.*{wrong}") as e:
        coordinator.start()
    assert not coordinator.is_started
    for text in (str(e.value), repr(e.value), repr(e.value.__cause__), repr(coordinator)):
        assert "hidden-password" not in text
        assert str(urlsplit(url).password) not in text


def test_the_claims_are_those_of_one_server(make: Make) -> None:
    claims = make().CHARACTERISTICS
    assert Characteristics.NON_TIMEOUT_BASED in claims
    assert Characteristics.SAME_VIEW_UNDER_PARTITIONS not in claims


def test_namespaces_are_apart(make: Make) -> None:
    one, other = make(), make(namespace="elsewhere")
    group = secrets.token_bytes(8)
    one.create_group(group).get()
    one.join_group(group).get()
    lock = one.get_lock(group)
    assert lock.acquire(blocking=False)
    assert other.get_lock(group).acquire(blocking=False)
    assert group not in other.get_groups().get()
    other.watch_elected_as_leader(group, print)
    other.run_elect_coordinator()
    assert one.get_leader(group).get() is None
    assert other.get_leader(group).get() == b"member"


def test_coordinators_may_start_together_where_nothing_is(
    url: str, admin: Callable[..., list[Any]]
) -> None:
    name = f"fresh_{secrets.token_hex(4)}"
    admin(f"CREATE DATABASE {name}")
    try:
        fresh = urlsplit(url)._replace(path=f"/{name}").geturl()
        coordinators = [get_coordinator(fresh, b"m%d" % number) for number in range(5)]
        threads = [threading.Thread(target=coordinator.start) for coordinator in coordinators]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert all(coordinator.is_started for coordinator in coordinators)
        for coordinator in coordinators:
            coordinator.stop()
    finally:
        admin(f"DROP DATABASE {name} WITH (FORCE)")


# -- losses ------------------------------------------------------------------------------------


def test_a_lost_connection_loses_everything_and_says_so(
    make: Make, admin: Callable[..., list[Any]]
) -> None:
    one, other = make(b"one"), make(b"other")
    one.create_group(b"g").get()
    one.join_group(b"g").get()
    one.watch_elected_as_leader(b"g", print)
    one.run_elect_coordinator()
    lock, theirs = one.get_lock(b"l"), other.get_lock(b"l")
    assert lock.acquire(blocking=False)
    kill(admin, one)
    assert not lock.acquired
    assert not lock.is_still_owner()
    assert not lock.release()
    assert theirs.acquire(blocking=False)
    assert other.get_members(b"g").get() == set()
    assert other.get_leader(b"g").get() is None
    with pytest.raises(ToozConnectionError, match=r"b'g'.*b'g'.*b'l'"):
        one.heartbeat()
    assert one.heartbeat() > 0
    with pytest.raises(MemberNotJoined):
        one.leave_group(b"g").get()
    assert theirs.is_still_owner()
    theirs.release()
    assert lock.acquire(blocking=False)
    one.join_group(b"g").get()
    assert other.get_members(b"g").get() == {b"one"}


def test_nothing_reaches_a_server_after_stopping(make: Make) -> None:
    coordinator = make()
    lock = coordinator.get_lock(b"l")
    assert lock.acquire()
    coordinator.stop()
    assert not lock.acquired
    assert not lock.is_still_owner()
    assert not lock.release()
    with pytest.raises(ToozError, match="start"):
        coordinator._session.ping()  # type: ignore[attr-defined]
    assert make().get_lock(b"l").acquire(blocking=False)


def test_a_lock_object_that_is_gone_holds_until_the_end(make: Make) -> None:
    one, other = make(), make()
    assert one.get_lock(b"l").acquire()
    assert not other.get_lock(b"l").acquire(blocking=False)
    one.stop()
    assert other.get_lock(b"l").acquire(blocking=False)


def test_a_dead_member_keeps_no_group(make: Make, admin: Callable[..., list[Any]]) -> None:
    one, other = make(b"one"), make(b"other")
    one.create_group(b"g").get()
    one.join_group(b"g").get()
    with pytest.raises(GroupNotEmpty):
        other.delete_group(b"g").get()
    kill(admin, one)
    other.delete_group(b"g").get()
    assert other.get_groups().get() == []


def test_a_membership_is_its_coordinators(make: Make) -> None:
    one, twin = make(b"same"), make(b"same")
    one.create_group(b"g").get()
    one.join_group(b"g", "first").get()
    with pytest.raises(MemberAlreadyExist):
        twin.join_group(b"g").get()
    with pytest.raises(MemberNotJoined):
        twin.update_capabilities(b"g", "second").get()
    with pytest.raises(MemberNotJoined):
        twin.leave_group(b"g").get()
    assert one.get_member_capabilities(b"g", b"same").get() == "first"


def test_a_waiter_is_served_when_the_holder_dies(
    make: Make, admin: Callable[..., list[Any]]
) -> None:
    one, other = make(), make()
    assert one.get_lock(b"l").acquire()
    killing = threading.Timer(0.2, kill, (admin, one))
    killing.start()
    began = time.monotonic()
    assert other.get_lock(b"l").acquire(blocking=10)
    assert time.monotonic() - began < 2
    killing.join()


def test_waiters_go_on_when_a_lock_is_broken(make: Make) -> None:
    holder, waiters = make(), [make() for _ in range(3)]
    held = holder.get_lock(b"l")
    assert held.acquire()
    got: list[bool] = []

    def wait(coordinator: Coordinator) -> None:
        lock = coordinator.get_lock(b"l")
        got.append(lock.acquire(blocking=10))
        lock.release()

    threads = [threading.Thread(target=wait, args=(waiter,)) for waiter in waiters]
    for thread in threads:
        thread.start()
    time.sleep(0.3)
    began = time.monotonic()
    assert holder.get_lock(b"l").break_()
    for thread in threads:
        thread.join()
    assert got == [True] * 3
    assert time.monotonic() - began < 4
    assert not held.release()


def test_a_killed_waiters_connection_is_replaced(
    make: Make, admin: Callable[..., list[Any]]
) -> None:
    one, other = make(), make()
    held, wanted = one.get_lock(b"l"), other.get_lock(b"l")
    assert held.acquire()

    holder = main_of(one)

    def kill_waiters() -> None:
        statement = (  # others wait in the same database
            "SELECT pg_terminate_backend(pid) FROM coordination_1.advisory "
            "WHERE NOT granted AND mode = 'ShareLock' AND number IN "
            "(SELECT number FROM coordination_1.advisory WHERE granted AND pid = %s)"
        )
        eventually(lambda: bool(admin(statement, holder)))

    threading.Thread(target=kill_waiters).start()
    with pytest.raises(ToozConnectionError):
        wanted.acquire(blocking=10)
    assert not wanted.acquired
    assert held.release()
    assert wanted.acquire(blocking=5)


# -- many locks --------------------------------------------------------------------------------


@pytest.mark.parametrize("fault", [OperationTimedOut, psycopg2.OperationalError, KeyboardInterrupt])
def test_a_waiter_whose_connection_fails_once_the_lock_is_its_own_leaves_none_stuck(
    make: Make, monkeypatch: pytest.MonkeyPatch, fault: type[BaseException]
) -> None:
    holder, waiter = make(b"holder"), make(b"waiter")
    held, waited = holder.get_lock(b"lock"), waiter.get_lock(b"lock")
    assert held.acquire()
    run, failed = Connection.run, threading.Event()

    def failing(self: Connection, statement: str, *arguments: Any, **options: Any) -> list[Any]:
        if statement == sql.TURN_OVER and not failed.is_set():
            failed.set()
            raise fault
        return run(self, statement, *arguments, **options)

    monkeypatch.setattr(Connection, "run", failing)
    got: list[bool] = []

    def wait() -> None:
        try:
            got.append(waited.acquire(5.0))
        except BaseException:
            got.append(False)

    thread = threading.Thread(target=wait)
    thread.start()
    time.sleep(0.2)
    assert held.release()
    thread.join()
    assert failed.is_set()
    assert waited.acquired == got[0] == (fault is not KeyboardInterrupt)
    if got[0]:
        assert waited.is_still_owner()
        assert waited.release()
    assert held.acquire(5.0)


def test_a_question_about_a_broken_hold_gives_back_no_later_one(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    coordinator: Any = make()
    lock = coordinator.get_lock(b"lock")
    assert lock.acquire()
    assert make(b"other").get_lock(b"lock").break_()
    release = lock._release
    threads: list[threading.Thread] = []

    def take_anew() -> None:
        lock.release()
        assert lock.acquire(5.0)

    def slow() -> bool:
        monkeypatch.setattr(lock, "_release", release)
        threads.append(threading.Thread(target=take_anew))
        threads[0].start()
        threads[0].join(0.5)
        given_back: bool = release()
        return given_back

    monkeypatch.setattr(lock, "_release", slow)
    assert not lock.is_still_owner()
    threads[0].join()
    assert lock.acquired
    assert lock.is_still_owner()


def test_an_exchange_that_is_interrupted_leaves_the_connection_good(
    make: Make, monkeypatch: pytest.MonkeyPatch
) -> None:
    coordinator: Any = make()
    main = coordinator._session._main

    class Interrupted:
        def __init__(self, cursor: Any) -> None:
            self.cursor = cursor

        def execute(self, *arguments: Any) -> None:
            self.cursor.execute(*arguments)
            raise KeyboardInterrupt

    class Raw:
        def __getattr__(self, name: str) -> Any:
            return getattr(raw, name)

        def cursor(self) -> Interrupted:
            return Interrupted(raw.cursor())

    raw = main._raw
    lock = coordinator.get_lock(b"lock")
    monkeypatch.setattr(main, "_raw", Raw())
    with pytest.raises(KeyboardInterrupt):
        lock.acquire(blocking=False)
    monkeypatch.setattr(main, "_raw", raw)
    assert lock.acquire(blocking=False)


def test_hundreds_of_locks_need_few_connections(
    make: Make, admin: Callable[..., list[Any]]
) -> None:
    one, other = make(), make()
    locks = [one.get_lock(b"l%d" % number) for number in range(300)]
    contended = [other.get_lock(b"l%d" % number) for number in range(20)]
    assert all(lock.acquire(blocking=False) for lock in locks)
    for theirs, mine in zip(contended, locks, strict=False):
        timer = threading.Timer(0.01, mine.release)
        timer.start()
        assert theirs.acquire(blocking=5)
        timer.join()
    assert len(other._session._open) <= 3  # type: ignore[attr-defined]
    assert all(lock.is_still_owner() for lock in contended)
    assert one.get_lock(b"l0").acquire(blocking=False) is False


# -- a server that does not answer -------------------------------------------------------------


def test_calls_time_out_and_keep_what_is_held(relayed: str, proxy: Proxy, make: Make) -> None:
    other = make(namespace="relayed")
    coordinator = get_coordinator(relayed, b"m", timeout=0.5, namespace="relayed")
    coordinator.start()
    kept, wanted = coordinator.get_lock(b"kept"), coordinator.get_lock(b"wanted")
    assert kept.acquire()
    proxy.stall()
    for call in (
        lambda: wanted.acquire(blocking=False),
        kept.is_still_owner,
        coordinator.heartbeat,
        coordinator.create_group(b"g").get,
    ):
        began = time.monotonic()
        with pytest.raises(OperationTimedOut):
            call()
        assert time.monotonic() - began < 2
    assert not wanted.acquired
    proxy.heal()
    # The reply that was lost said that the lock was taken; it is given back.
    assert kept.is_still_owner()
    assert other.get_lock(b"wanted").acquire(blocking=False)
    assert not other.get_lock(b"kept").acquire(blocking=False)
    assert coordinator.heartbeat() > 0
    coordinator.stop()
    assert other.get_lock(b"kept").acquire(blocking=False)


def test_what_a_call_that_timed_out_took_is_given_back_though_nothing_more_is_asked(
    relayed: str, proxy: Proxy, make: Make
) -> None:
    namespace = f"test-{secrets.token_hex(6)}"
    other = make(b"other", namespace=namespace).get_lock(b"lock")
    one = get_coordinator(relayed, b"one", namespace=namespace, timeout=1.0)
    one.start()
    try:
        lock = one.get_lock(b"lock")
        proxy.stall()
        with pytest.raises(OperationTimedOut):
            lock.acquire(blocking=False)
        proxy.heal()
        time.sleep(0.2)  # what was held back arrives, and takes the lock
        assert other.acquire(5.0)
        assert not lock.acquired
        assert not lock.acquire(blocking=False)
    finally:
        one.stop()
    assert not [t for t in threading.enumerate() if t.name == "postgresql-debts"]


def test_stop_returns_when_the_server_does_not_answer(relayed: str, proxy: Proxy) -> None:
    coordinator = get_coordinator(relayed, b"m", timeout=0.5)
    coordinator.start()
    locks = [coordinator.get_lock(secrets.token_bytes(8)) for _ in range(5)]
    assert all(lock.acquire() for lock in locks)
    proxy.stall()
    began = time.monotonic()
    coordinator.stop()
    assert time.monotonic() - began < 3
    proxy.heal()
    coordinator.start()
    coordinator.stop()


# -- forking -----------------------------------------------------------------------------------


def test_a_child_does_not_touch_the_parents_connections(make: Make) -> None:
    one, other = make(), make()
    held, wanted = one.get_lock(b"l"), other.get_lock(b"l")
    assert held.acquire()
    assert wanted.acquire(blocking=0.05) is False
    child = os.fork()
    if child == 0:
        code = 1
        try:
            refused = False
            try:
                one.heartbeat()
            except ToozError:
                refused = True
            code = 0 if refused and not held.acquired and not held.release() else 2
        finally:
            os._exit(code)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert held.is_still_owner()
    assert other.heartbeat() > 0
    assert held.release()
    assert wanted.acquire(blocking=False)


def test_what_the_server_does_for_nobody_is_seen(
    backend: str, url: str, run_pytest: Pytest, tmp_path: Path
) -> None:
    assert_seen("keeps_the_server_busy", "server processes, ", backend, url, run_pytest, tmp_path)


def test_a_release_that_could_not_be_asked_for_is_owed(make: Make) -> None:
    member: Any = make(b"one", timeout=1.0)
    lock, other = member.get_lock(b"lock"), make(b"two").get_lock(b"lock")
    assert lock.acquire(blocking=False)
    with member._session._mutex, pytest.raises(OperationTimedOut):  # as another call has it
        lock.release()
    assert not lock.acquired
    assert other.acquire(blocking=10.0)
    other.release()
    assert lock.acquire(blocking=False)
    assert lock.release()
