"""The MySQL driver against a real server: what the scenarios do not reach."""

from __future__ import annotations

import contextlib
import os
import secrets
import threading
import time
from collections.abc import Callable, Iterator

import pymysql
import pytest

from conformance.coordination import (
    Coordinator,
    GroupNotCreated,
    MemberNotJoined,
    NotImplemented,
    OperationTimedOut,
    SerializationError,
    ToozConnectionError,
    ToozError,
    get_coordinator,
)
from conformance.drivers._mysql_link import Address, Link, MySQLOptions
from conformance.drivers._mysql_lock import _GENERATION
from conformance.drivers.mysql import MySQLDriver
from conformance.faults.proxy import Proxy

BACKEND = "mysql"

Maker = Callable[..., MySQLDriver]


@pytest.fixture
def make(url: str) -> Iterator[Maker]:
    """Make coordinators, started, in a namespace of the test's own."""
    made: list[Coordinator] = []
    namespace = secrets.token_hex(8)

    def make_one(member: bytes = b"m", **options: object) -> MySQLDriver:
        coordinator = get_coordinator(url, member, **{"namespace": namespace, **options})
        assert isinstance(coordinator, MySQLDriver)
        coordinator.start()
        made.append(coordinator)
        return coordinator

    yield make_one
    for coordinator in made:
        if coordinator.is_started:
            coordinator.stop()


def kill(coordinator: MySQLDriver, link: Link) -> None:
    """Have the server end a connection, and wait until that can be seen."""
    with coordinator._session.spare() as other:
        other.ask("KILL %s", link.number)
    until(lambda: link.lost)


def until(condition: Callable[[], bool]) -> None:
    """Wait until something is so."""
    end = time.monotonic() + 10
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.005)


@pytest.mark.parametrize(
    "wrong",
    [
        "mysql://h",
        "mysql://h/",
        "mysql://h/a/b",
        "mysql://u:verysecret@h:99999/db",
        "mysql://h/db?ssl_verify_mode=perhaps",
        "mysql://h/db?ssl_verify_mode=none&ssl_check_hostname=true",
        "mysql://h/db?timeout=0",
        "mysql://h/db?color=red",
    ],
)
def test_a_url_that_cannot_be_used_is_refused(wrong: str) -> None:
    """What is wrong is said when the coordinator is made, without the password."""
    with pytest.raises(ValueError, match=r"mysql|takes") as refused:
        get_coordinator(wrong, b"m")
    assert "verysecret" not in str(refused.value)


def test_a_wrong_password_is_refused_and_shown_nowhere(url: str) -> None:
    """The error tells what to check, and neither it nor any representation the password."""
    wrong = url.replace(url.split("@")[0], "mysql://root:verysecr\u20act")
    coordinator = get_coordinator(wrong, b"m", ssl_key_password="topsecret")
    with pytest.raises(ToozConnectionError, match="USER:PASS") as refused:
        coordinator.start()
    shown = f"{refused.value!r} {refused.value.__cause__!r} {coordinator!r}"
    assert "verysecr" not in shown
    assert "topsecret" not in shown
    assert "topsecret" not in repr(MySQLOptions(ssl_key_password="topsecret"))


def test_a_missing_certificate_is_told(url: str) -> None:
    """A file of the TLS options that is not there is an error of the API's family."""
    with pytest.raises(ToozError, match="FileNotFoundError"):
        get_coordinator(url, b"m", ssl_ca="/nowhere/ca.pem").start()


def test_nobody_listening_is_told() -> None:
    """A refused connection is a connection error."""
    with pytest.raises(ToozConnectionError):
        get_coordinator("mysql://root@127.0.0.1:1/db", b"m", timeout=1).start()


def test_shared_holds_are_not_to_be_had(make: Maker) -> None:
    """Asking for a shared hold says so, and leaves the lock free."""
    lock = make().get_lock(b"lock")
    with pytest.raises(NotImplemented):
        lock.acquire(shared=True)
    assert lock.acquire(blocking=False)


def test_a_killed_main_connection_loses_everything_and_is_replaced(make: Maker) -> None:
    """All that was held is known to be lost, told once, and can be had again."""
    one, other = make(b"one"), make(b"other")
    lock = one.get_lock(b"lock")
    assert lock.acquire()
    one.join_group_create(b"group")
    one.watch_elected_as_leader(b"group", lambda event: event)
    one.run_elect_coordinator()
    kill(other, one._session.main)
    assert not lock.acquired
    assert not lock.is_still_owner()
    assert not lock.release()
    until(lambda: other.get_lock(b"lock").acquire(blocking=False))
    assert other.get_members(b"group").get() == set()
    assert other.get_leader(b"group").get() is None
    with pytest.raises(ToozConnectionError, match=r"group'.*leadership.*lock b'lock'"):
        one.heartbeat()
    assert one.heartbeat() > 0
    with pytest.raises(MemberNotJoined):
        one.leave_group(b"group").get()
    assert not one.stand_down_group_leader(b"group")
    one.join_group(b"group").get()
    assert other.get_members(b"group").get() == {b"one"}


def test_a_hold_that_was_waited_for_is_lost_alone(make: Maker) -> None:
    """It has a connection of its own: the rest stays when that is killed."""
    one, other = make(b"one"), make(b"other")
    waited, free, before = one.get_lock(b"waited"), one.get_lock(b"free"), other.get_lock(b"waited")
    assert before.acquire()
    assert free.acquire()
    threading.Timer(0.1, before.release).start()
    assert waited.acquire(blocking=10)
    hold = waited._hold  # type: ignore[attr-defined]
    assert hold.link is not one._session.main
    kill(other, hold.link)
    assert not waited.acquired
    assert free.is_still_owner()
    with pytest.raises(ToozConnectionError, match="waited"):
        one.heartbeat()
    assert one.heartbeat() > 0
    assert waited.acquire(blocking=5)
    assert waited.release()


def test_a_release_wakes_who_waits(make: Maker) -> None:
    """A waiter has the lock long before it would ask anew, and then gives it back."""
    one, other = make(b"one"), make(b"other")
    held, wanted = one.get_lock(b"lock"), other.get_lock(b"lock")
    other._session._server.waiting = 8
    for _ in range(5):
        assert held.acquire(blocking=5)
        released: list[float] = []
        timer = threading.Timer(
            0.1, lambda r=released: r.append(time.monotonic()) or held.release()
        )
        timer.start()
        assert wanted.acquire(blocking=10)
        assert time.monotonic() - released[0] < 4
        timer.join()
        assert wanted.release()
    assert len(other._session._links) <= 3


def test_hundreds_of_locks_share_a_connection(make: Maker) -> None:
    """What is held at the same time is not limited by the server's connections."""
    one = make()
    locks = [one.get_lock(b"lock-%d" % number) for number in range(300)]
    assert all(lock.acquire(blocking=False) for lock in locks)
    assert len(one._session._links) == 1
    assert all(lock.is_still_owner() for lock in locks)


def test_breaking_a_lock_lets_those_in_who_wait(make: Maker) -> None:
    """Whoever waits for a broken lock gets it; the former holder keeps everything else."""
    one, other = make(b"one"), make(b"other")
    broken, kept, wanted = one.get_lock(b"lock"), one.get_lock(b"kept"), other.get_lock(b"lock")
    for _ in range(3):
        assert broken.acquire(blocking=5)
        assert kept.acquire(blocking=5)
        breaking = threading.Timer(0.1, other.get_lock(b"lock").break_)
        breaking.start()
        assert wanted.acquire(blocking=5)
        breaking.join()
        assert not broken.release()
        assert kept.release()
        assert wanted.is_still_owner()
        assert not broken.acquire(blocking=False)
        assert wanted.release()
    assert not broken.break_()


def test_a_break_right_after_a_release_is_of_the_next_hold(
    make: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other, third = make(b"one"), make(b"other"), make(b"third")
    lock, following = one.get_lock(b"lock"), other.get_lock(b"lock")
    assert lock.acquire()
    ask = one._session.main.ask

    def slow(sql: str, *arguments: object) -> object:
        return ask(sql.replace(_GENERATION, f"DO SLEEP(0.5); {_GENERATION}"), *arguments)

    monkeypatch.setattr(one._session.main, "ask", slow)
    broken: list[bool] = []

    def break_the_next_hold() -> None:
        assert following.acquire(5.0)
        broken.append(third.get_lock(b"lock").break_())

    breaking = threading.Thread(target=break_the_next_hold)
    breaking.start()
    time.sleep(0.2)  # until it waits in the server
    assert lock.release()
    breaking.join()
    assert broken == [True]
    assert not following.is_still_owner()


def test_a_question_about_a_broken_hold_gives_back_no_later_one(
    make: Maker, monkeypatch: pytest.MonkeyPatch
) -> None:
    lock = make().get_lock(b"lock")
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
        return release()

    monkeypatch.setattr(lock, "_release", slow)
    assert not lock.is_still_owner()
    threads[0].join()
    assert lock.acquired
    assert lock.is_still_owner()


def test_objects_of_one_coordinator_exclude_each_other(make: Maker) -> None:
    """GET_LOCK would give a session again what it has; broken locks are free here too."""
    one = make()
    first, second = one.get_lock(b"lock"), one.get_lock(b"lock")
    assert first.acquire()
    assert not second.acquire(blocking=0.2)
    assert second.break_()
    assert second.acquire(blocking=False)
    assert not first.is_still_owner()
    assert second.is_still_owner()


def test_namespaces_share_nothing(make: Maker) -> None:
    """Locks, groups and leaders of one name in two namespaces are two."""
    one, other = make(b"m"), make(b"m", namespace=secrets.token_hex(8))
    one.create_group(b"group").get()
    assert one.get_groups().get() == [b"group"]
    assert other.get_groups().get() == []
    with pytest.raises(GroupNotCreated):
        other.join_group(b"group").get()
    assert one.get_lock(b"lock").acquire(False)
    assert other.get_lock(b"lock").acquire(False)


def test_too_large_capabilities_break_nothing(make: Maker) -> None:
    """What no packet can take is refused before it is sent."""
    one = make()
    one.create_group(b"group").get()
    with pytest.raises(SerializationError, match="max_allowed_packet"):
        one.join_group(b"group", b"x" * one._largest_packet).get()
    one.join_group(b"group", b"fits").get()
    with pytest.raises(SerializationError):
        one.update_capabilities(b"group", b"x" * one._largest_packet).get()
    assert one.get_member_capabilities(b"group", b"m").get() == b"fits"


def test_a_namesake_cannot_leave_for_another(make: Maker) -> None:
    """Membership belongs to the coordinator, not to the name."""
    one, namesake = make(b"m"), make(b"m")
    one.join_group_create(b"group")
    with pytest.raises(MemberNotJoined):
        namesake.leave_group(b"group").get()
    with pytest.raises(MemberNotJoined):
        namesake.update_capabilities(b"group", 1).get()
    one.leave_group(b"group").get()


def test_the_dead_are_joined_over_and_deleted_with_their_group(make: Maker) -> None:
    """Their rows stay, but count for nothing; stays differ."""
    one, other = make(b"m"), make(b"m")
    one.join_group_create(b"group")
    (before,) = one._get_members(b"group").values()
    kill(other, one._session.main)
    until(lambda: not other.get_members(b"group").get())
    other.join_group(b"group").get()
    (after,) = other._get_members(b"group").values()
    assert after.incarnation > before.incarnation
    kill(make(), other._session.main)
    until(lambda: not other.get_members(b"group").get())
    make().delete_group(b"group").get()


def test_a_reply_that_is_lost_leaves_no_lock_behind(url: str, make: Maker) -> None:
    """A connection whose reply did not come is closed, and what it may hold is freed."""
    one, other = make(b"one", timeout=0.5), make(b"other")
    link = one._session.main
    with pytest.raises(pymysql.MySQLError):
        link.ask("SELECT GET_LOCK('lost-%s', 0), SLEEP(3)", os.getpid())
    assert link.lost
    with other._session.spare() as free:
        name = f"lost-{os.getpid()}"
        until(lambda: free.ask("SELECT IS_FREE_LOCK(%s)", name).rows == ((1,),))
    assert one.get_lock(b"lock").acquire(blocking=False)


def test_stop_ends_a_wait_within_a_second(make: Maker) -> None:
    """The waiter gives up, and is not left in the server's queue."""
    one, other = make(b"one"), make(b"other")
    held, wanted = one.get_lock(b"lock"), other.get_lock(b"lock")
    assert held.acquire()
    ended: list[Exception] = []

    def wait() -> None:
        try:
            wanted.acquire()
        except ToozError as error:
            ended.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    time.sleep(0.2)
    began = time.monotonic()
    other.stop()
    thread.join(5)
    assert ended
    assert time.monotonic() - began < 2
    assert held.release()
    assert one.get_lock(b"lock").acquire(blocking=False)


def test_a_forked_child_keeps_nothing(make: Maker) -> None:
    """It holds nothing, and its end is not its parent's."""
    one = make()
    lock = one.get_lock(b"lock")
    assert lock.acquire()
    one.join_group_create(b"group")
    child = os.fork()
    if not child:
        status = 1
        with contextlib.suppress(BaseException):
            status = int(lock.acquired or lock.release() or one.is_started)
        os._exit(status)
    assert os.waitpid(child, 0)[1] == 0
    assert lock.is_still_owner()
    assert one.get_members(b"group").get() == {b"m"}


def test_coordinators_may_make_the_tables_at_once(url: str) -> None:
    """The first of several starts makes them; none fails."""
    address = Address(get_coordinator(url, b"m")._url, MySQLOptions())
    link = Link(address)
    link.open()
    database = f"coordination_test_{secrets.token_hex(4)}"
    link.ask(f"CREATE DATABASE {database}")
    try:
        fresh = url.split("?")[0].rpartition("/")[0] + f"/{database}"
        coordinators = [get_coordinator(fresh, b"%d" % n) for n in range(4)]
        errors: list[Exception] = []

        def live(coordinator: Coordinator) -> None:
            try:
                coordinator.start()
                coordinator.join_group_create(b"group")
                coordinator.stop()
            except ToozError as error:
                errors.append(error)

        threads = [threading.Thread(target=live, args=(one,)) for one in coordinators]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        assert not errors
    finally:
        link.ask(f"DROP DATABASE {database}")
        link.close(politely=True)


def test_connections_that_nobody_uses_are_made_anew_after_one_was_silent(
    proxy: Proxy, relayed: str
) -> None:
    member = get_coordinator(relayed, b"m", timeout=1.0)
    assert isinstance(member, MySQLDriver)
    member.start()
    with member._session.spare(), member._session.spare(), member._session.spare():
        pass
    proxy.strand()
    with pytest.raises(OperationTimedOut):
        member.get_groups().get()
    member.get_groups().get()
    with pytest.raises(OperationTimedOut):  # the main connection's turn
        member.get_lock(b"lock").acquire(blocking=False)
    assert member.get_lock(b"lock").acquire(blocking=False)
    member.stop()


def test_idle_connections_that_ended_are_forgotten(make: Maker) -> None:
    """Some end together, as they do when the server ends; the next call has another."""
    one, other = make(), make(b"other")
    with one._session.spare() as first, one._session.spare() as second:
        pass
    for link in (first, second):
        with other._session.spare() as ending:
            ending.ask("KILL %s", link.number)
        until(lambda link=link: link.lost)
    assert list(one.get_groups().get()) == []
    assert {first, second}.isdisjoint(one._session._links)
