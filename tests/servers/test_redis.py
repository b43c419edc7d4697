"""What the Redis driver does that the scenarios do not reach: losses, silence, and names."""

from __future__ import annotations

import contextlib
import os
import secrets
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import redis as client_library

from conformance.coordination import (
    Characteristics,
    GroupNotCreated,
    GroupNotEmpty,
    MemberAlreadyExist,
    MemberNotJoined,
    NotImplemented,
    OperationTimedOut,
    SerializationError,
    ToozConnectionError,
    ToozError,
    get_coordinator,
)
from conformance.drivers import redis as driver_module
from conformance.drivers.redis import RedisDriver
from conformance.faults.proxy import Proxy
from tests.servers.backends import use

BACKEND = "redis"

GROUP, LOCK = b"group", b"lock"

PATIENCE = 10.0
"""Seconds within which what must happen has happened, however busy the machine."""


class Place:
    """A namespace that one test has to itself, and the coordinators in it."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.namespace = f"test-{secrets.token_hex(8)}"
        parts = urlsplit(url)
        self.address = parts.hostname or "localhost", parts.port or 6379
        self.server = client_library.Redis(*self.address)
        self._ending: list[Callable[[], None]] = []
        self._threads = ThreadPoolExecutor(16)

    def coordinator(self, member_id: bytes = b"me", url: str = "", **options: Any) -> RedisDriver:
        """Return a started coordinator, stopped at the end of the test."""
        options = {"namespace": self.namespace, "timeout": 5.0} | options
        made = get_coordinator(url or self.url, member_id, None, **options)
        assert isinstance(made, RedisDriver)
        made.start()
        self._ending.append(lambda: made.stop() if made.is_started else None)
        return made

    def keys(self) -> set[bytes]:
        """Return what is stored, but for the number that stays and terms are counted with."""
        stored = set(self.server.scan_iter(f"{self.namespace}:*"))
        return stored - {f"{self.namespace}:numbers:".encode()}

    def waiting(self, lock: Any, blocking: Any = PATIENCE) -> Future[bool]:
        """Have a thread wait for a lock; return once it has its place in the queue."""
        queue = f"{self.namespace}:queue:".encode() + lock.name
        before = self.server.zcard(queue)
        result = self._threads.submit(lock.acquire, blocking)
        eventually(lambda: self.server.zcard(queue) > before)
        return result

    def end(self) -> None:
        for step in reversed(self._ending):
            step()
        self._threads.shutdown()
        for key in self.server.scan_iter(f"{self.namespace}*"):
            self.server.delete(key)
        self.server.close()


@contextlib.contextmanager
def asking(
    coordinator: RedisDriver, before: Callable[[], object] = lambda: None
) -> Iterator[list[Any]]:
    """Yield what is asked of the server from now on.

    :param before: what to do before each time
    """
    client: Any = coordinator._session._clients.server
    ask, asked = client.execute_command, []

    def note(*words: Any) -> Any:
        before()
        asked.append(words)
        return ask(*words)

    client.execute_command = note
    yield asked
    client.execute_command = ask


def eventually(condition: Callable[[], bool]) -> None:
    """Wait until a condition holds."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        assert time.monotonic() < deadline
        threading.Event().wait(0.005)


@pytest.fixture
def place(url: str) -> Iterator[Place]:
    made = Place(url)
    # So that the server knows all scripts, and the reply that is lost is none about that.
    use(get_coordinator(url, b"first", namespace=f"{made.namespace}-first"))
    yield made
    made.end()


# -- URLs and options -----------------------------------------------------------------------


@pytest.mark.parametrize(
    "url",
    [
        "redis://user:hidden@host:port",
        "redis://user:hidden@host/1",
        "redis://host?timeout=0",
        "redis://host?lock_timeout=-1",
        "redis://host?db=-1",
        "redis://host?unknown=1",
        "redis://host?namespace=",
        "redis:///socket?ssl=true",
        "redis:///socket?sentinel=name",
        "redis://host?sentinel=name&sentinel_fallback=user:hidden@host",
    ],
)
def test_what_makes_no_sense_is_refused_without_quoting_passwords(url: str) -> None:
    with pytest.raises(ValueError, match=r".") as refusal:
        get_coordinator(url, b"me")
    assert "hidden" not in str(refusal.value)


def test_time_outs_are_those_of_the_options() -> None:
    made = get_coordinator("redis://host?timeout=4&lock_timeout=0.5&socket_timeout=1", b"me")
    assert isinstance(made, RedisDriver)
    assert (made._session.timeout, made._session.lock_timeout) == (1.0, 0.5)
    assert (made._leader_timeout, made._membership_timeout) == (4.0, 4.0)


def test_with_a_sentinel_less_is_claimed() -> None:
    alone = get_coordinator("redis://host", b"me")
    watched = get_coordinator("redis://host?sentinel=master", b"me")
    assert Characteristics.LINEARIZABLE in alone.CHARACTERISTICS
    assert set(watched.CHARACTERISTICS) < set(alone.CHARACTERISTICS)
    assert Characteristics.SERIALIZABLE not in watched.CHARACTERISTICS
    assert Characteristics.LINEARIZABLE in RedisDriver.CHARACTERISTICS


def test_sentinels_that_are_not_there_are_a_connection_error() -> None:
    made = get_coordinator(
        "redis://127.0.0.1:1?sentinel=master&sentinel_fallback=127.0.0.1:2&timeout=1", b"me"
    )
    with pytest.raises(ToozConnectionError):
        made.start()


def test_a_unix_socket_that_is_not_there_is_a_connection_error(tmp_path: Any) -> None:
    with pytest.raises(ToozConnectionError):
        get_coordinator(f"redis://{tmp_path}/none", b"me").start()


def test_a_password_shows_nowhere(place: Place, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(0)
    host, port = place.address
    made = get_coordinator(
        f"redis://user:hidden@{host}:{port}?sentinel_password=covered", b"me", timeout=5.0
    )
    assert isinstance(made, RedisDriver)
    with pytest.raises(ToozConnectionError, match="USER:PASS") as refusal:
        made.start()
    shown = (
        f"{refusal.value!r} {refusal.value.__cause__!r} {made!r} {made._options!r} {caplog.text}"
    )
    assert "hidden" not in shown
    assert "covered" not in shown


# -- losses ---------------------------------------------------------------------------------


def test_a_lock_whose_acquire_lost_its_reply_is_given_back(
    place: Place, relayed: str, proxy: Proxy
) -> None:
    me = place.coordinator(url=relayed)
    lock = me.get_lock(LOCK)
    with asking(me, proxy.break_at_reply), pytest.raises(ToozConnectionError):
        lock.acquire()
    assert not lock.acquired
    assert me.heartbeat() > 0
    assert place.keys() == set()
    assert lock.acquire(False)


def test_an_acquire_finds_out_what_its_lost_reply_was(
    place: Place, relayed: str, proxy: Proxy
) -> None:
    lock = place.coordinator(url=relayed).get_lock(LOCK)
    proxy.break_at_reply()
    assert lock.acquire(False)
    assert lock.is_still_owner()
    assert lock.release()
    assert place.keys() == set()


def test_a_release_that_lost_its_reply_leaves_the_lock_free(
    place: Place, relayed: str, proxy: Proxy
) -> None:
    lock = place.coordinator(url=relayed).get_lock(LOCK)
    assert lock.acquire()
    proxy.break_at_reply()
    with pytest.raises(ToozConnectionError):
        lock.release()
    assert not lock.acquired
    assert lock.release() is False
    assert place.coordinator(b"other").get_lock(LOCK).acquire(False)


def test_joining_again_after_a_lost_reply_works(place: Place, relayed: str, proxy: Proxy) -> None:
    me, other = place.coordinator(url=relayed), place.coordinator(b"other")
    other.create_group(GROUP).get()
    proxy.break_at_reply()
    with pytest.raises(ToozConnectionError):
        me.join_group(GROUP, 1).get()
    me.join_group(GROUP, 2).get()
    assert other.get_members_with_capabilities(GROUP).get() == {b"me": 2}
    with pytest.raises(MemberAlreadyExist):
        me.join_group(GROUP, 3).get()


def test_stopping_gives_back_what_lost_replies_were_about(
    place: Place, relayed: str, proxy: Proxy
) -> None:
    me, other = place.coordinator(url=relayed), place.coordinator(b"other")
    other.create_group(GROUP).get()
    proxy.break_at_reply()
    with pytest.raises(ToozConnectionError):
        me.join_group(GROUP).get()
    me.watch_elected_as_leader(GROUP, lambda event: None)
    me.get_groups().get()
    proxy.break_at_reply()
    with pytest.raises(ToozConnectionError):
        me.run_elect_coordinator()
    assert other.get_leader(GROUP).get() == b"me"
    me.get_groups().get()
    me.stop()
    assert other.get_members(GROUP).get() == set()
    assert other.get_leader(GROUP).get() is None


def test_idle_connections_that_broke_are_replaced(place: Place, relayed: str, proxy: Proxy) -> None:
    me = place.coordinator(url=relayed)
    lock = me.get_lock(LOCK)
    assert lock.acquire()
    proxy.cut()
    proxy.heal()
    assert lock.is_still_owner()
    assert me.heartbeat() > 0
    assert lock.release()


def test_a_waiter_whose_connections_break_waits_on(
    place: Place, relayed: str, proxy: Proxy
) -> None:
    held = place.coordinator(b"holder").get_lock(LOCK)
    assert held.acquire()
    waiter = place.coordinator(url=relayed).get_lock(LOCK)
    result = place.waiting(waiter)
    proxy.break_at_reply()  # it is handed the lock, and not told
    assert held.release()
    assert result.result(PATIENCE)
    assert waiter.is_still_owner()


def test_what_the_server_forgot_is_told_once(place: Place) -> None:
    me = place.coordinator()
    lock = me.get_lock(LOCK)
    assert lock.acquire()
    me.join_group_create(GROUP)
    me.watch_elected_as_leader(GROUP, lambda event: None)
    me.run_elect_coordinator()
    for key in sorted(place.keys()):
        place.server.delete(key)
    with pytest.raises(ToozConnectionError) as told:
        me.heartbeat()
    for lost in ("membership of group b'group'", "leadership of group b'group'", "lock b'lock'"):
        assert lost in str(told.value)
    assert me.heartbeat() > 0
    assert not lock.acquired
    assert lock.release() is False
    me.join_group_create(GROUP)
    assert lock.acquire(False)
    me.stop()
    assert place.keys() == {f"{place.namespace}:groups:".encode()}


def test_a_server_that_forgot_the_scripts_gets_them_again(place: Place) -> None:
    lock = place.coordinator().get_lock(LOCK)
    assert lock.acquire()
    place.server.script_flush()
    assert lock.release()


# -- expiry ---------------------------------------------------------------------------------


def test_what_was_not_renewed_is_lost_and_known_to_be(place: Place) -> None:
    me = place.coordinator(timeout=0.3, socket_timeout=5.0)
    lock = me.get_lock(LOCK)
    assert lock.acquire()
    me.join_group_create(GROUP)
    taken = place.coordinator(b"other").get_lock(LOCK)
    assert taken.acquire(PATIENCE)
    eventually(lambda: not lock.acquired)
    assert lock.release() is False
    assert taken.is_still_owner()
    eventually(lambda: me.get_members(GROUP).get() == set())
    with pytest.raises(MemberNotJoined):
        me.update_capabilities(GROUP, 1).get()
    with pytest.raises(ToozConnectionError, match="the membership of group b'group', the lock"):
        me.heartbeat()
    me.delete_group(GROUP).get()
    assert taken.release()
    assert lock.acquire(False)


def test_an_answer_that_came_too_late_grants_nothing(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, other = place.coordinator(lock_timeout=0.2), place.coordinator(b"other")
    lock, session = one.get_lock(LOCK), one._session
    run = session.run

    def late(*arguments: Any) -> Any:
        answer = run(*arguments)
        time.sleep(0.4)
        return answer

    monkeypatch.setattr(session, "run", late)
    assert not lock.acquire(blocking=False)
    monkeypatch.setattr(session, "run", run)
    assert other.get_lock(LOCK).acquire(blocking=False)


@pytest.mark.parametrize(
    ("asking", "exchange"), [("is_still_owner", "command"), ("heartbeat", "run")]
)
def test_an_answer_about_a_former_hold_ends_no_later_one(
    place: Place, monkeypatch: pytest.MonkeyPatch, asking: str, exchange: str
) -> None:
    coordinator = place.coordinator()
    lock, session = coordinator.get_lock(LOCK), coordinator._session
    ask = getattr(session, exchange)
    assert lock.acquire()

    def another_thread_takes_it_anew() -> None:
        assert lock.release()
        assert lock.acquire(blocking=False)

    def slow(*arguments: Any) -> Any:
        monkeypatch.setattr(session, exchange, ask)
        with ThreadPoolExecutor(1) as threads:
            threads.submit(another_thread_takes_it_anew).result()
        return ask(*arguments)

    monkeypatch.setattr(session, exchange, slow)
    getattr(lock, asking)()
    assert lock.acquired
    coordinator.heartbeat()
    assert lock.release()
    assert not place.keys()


def test_beating_keeps_everything(place: Place) -> None:
    me, other = place.coordinator(timeout=0.6, socket_timeout=5.0), place.coordinator(b"other")
    lock = me.get_lock(LOCK)
    assert lock.acquire()
    me.get_lock(b"dropped").acquire()  # nobody has the object any more
    me.join_group_create(GROUP)
    me.watch_elected_as_leader(GROUP, lambda event: None)
    me.run_elect_coordinator()
    me.heart.start()
    threading.Event().wait(1.5)
    assert lock.is_still_owner()
    assert not other.get_lock(b"dropped").acquire(False)
    assert other.get_members(GROUP).get() == {b"me"}
    assert other.get_leader(GROUP).get() == b"me"
    with pytest.raises(GroupNotEmpty):
        other.delete_group(GROUP).get()
    me.stop()
    assert other.get_lock(b"dropped").acquire(False)


def test_a_membership_belongs_to_the_coordinator_that_joined(place: Place) -> None:
    me, namesake = place.coordinator(), place.coordinator()
    me.join_group_create(GROUP, 1)
    with pytest.raises(MemberAlreadyExist):
        namesake.join_group(GROUP).get()
    for call in (namesake.leave_group, lambda group: namesake.update_capabilities(group, 2)):
        with pytest.raises(MemberNotJoined):
            call(GROUP).get()
    namesake.heartbeat()
    namesake.stop()
    assert me.get_member_capabilities(GROUP, b"me").get() == 1


def test_times_are_those_of_the_servers_clock(place: Place) -> None:
    seconds, microseconds = place.server.time()
    before = datetime.fromtimestamp(seconds, UTC) + timedelta(microseconds=microseconds)
    me = place.coordinator()
    me.join_group_create(GROUP)
    me.update_capabilities(GROUP, 1).get()
    info = me.get_member_info(GROUP, b"me").get()
    assert before <= info["created_at"] < info["updated_at"] < before + timedelta(minutes=1)


# -- waiting --------------------------------------------------------------------------------


def test_waiters_are_served_in_their_order(place: Place) -> None:
    held = place.coordinator(b"holder").get_lock(LOCK)
    assert held.acquire()
    locks = [place.coordinator(b"%d" % n).get_lock(LOCK) for n in range(3)]
    results = [place.waiting(lock) for lock in locks]
    assert held.release()
    for lock, result in zip(locks, results, strict=True):
        assert not held.acquire(False)
        assert result.result(PATIENCE)
        assert lock.release()
    assert held.acquire(False)


def test_a_waiter_that_is_gone_is_passed_over(place: Place, relayed: str, proxy: Proxy) -> None:
    held = place.coordinator(b"holder").get_lock(LOCK)
    assert held.acquire()
    result = place.waiting(place.coordinator(url=relayed).get_lock(LOCK))
    proxy.cut()
    with pytest.raises(ToozConnectionError):
        result.result(PATIENCE)
    eventually(lambda: not place.server.pubsub_channels(f"{place.namespace}:wake:*"))
    assert held.release()
    assert place.keys() == set()
    assert held.acquire(False)


def test_a_silent_waiter_is_not_waited_for_long(place: Place, relayed: str, proxy: Proxy) -> None:
    held = place.coordinator(b"holder", lock_timeout=0.5).get_lock(LOCK)
    assert held.acquire()
    silent = place.coordinator(url=relayed, timeout=1.0)
    result = place.waiting(silent.get_lock(LOCK), True)
    proxy.stall()
    held.release()
    began = time.monotonic()
    assert held.acquire(PATIENCE)
    assert time.monotonic() - began < PATIENCE / 2
    with pytest.raises((OperationTimedOut, ToozConnectionError)):
        result.result(PATIENCE)


def test_breaking_hands_the_lock_to_who_waits(place: Place) -> None:
    held, waiter = (place.coordinator(name).get_lock(LOCK) for name in (b"holder", b"waiter"))
    assert held.acquire()
    result = place.waiting(waiter)
    assert held.break_()
    assert result.result(PATIENCE)
    assert not held.is_still_owner()
    assert held.release() is False
    assert waiter.release()
    assert held.break_() is False


def test_a_free_lock_takes_one_round_trip_each_way(place: Place) -> None:
    me = place.coordinator()
    lock = me.get_lock(LOCK)
    assert lock.acquire()
    assert lock.release()
    with asking(me) as asked:
        assert lock.acquire()
        assert len(asked) == 1
        assert me.heartbeat() > 0
        asked.clear()
        assert lock.release()
        assert len(asked) == 1


def test_shared_holds_are_not_there(place: Place) -> None:
    with pytest.raises(NotImplemented):
        place.coordinator().get_lock(LOCK).acquire(shared=True)


def test_giving_up_leaves_nothing(place: Place) -> None:
    held, waiter = (place.coordinator(name).get_lock(LOCK) for name in (b"holder", b"waiter"))
    assert held.acquire()
    assert not waiter.acquire(0.1)
    assert place.keys() == {f"{place.namespace}:lock:lock".encode()}
    assert held.release()
    assert place.keys() == set()


def test_many_locks_take_few_connections(place: Place) -> None:
    me = place.coordinator()
    locks = [me.get_lock(b"%d" % number) for number in range(300)]
    with ThreadPoolExecutor(32) as threads, ThreadPoolExecutor(32) as waiting:
        assert all(threads.map(lambda lock: lock.acquire(False), locks))
        waiters = [me.get_lock(lock.name) for lock in locks[:32]]
        results = [waiting.submit(waiter.acquire, PATIENCE) for waiter in waiters]
        assert len(me._session._connections) <= 17
        assert all(threads.map(lambda lock: lock.release(), locks))
        assert all(result.result(PATIENCE) for result in results)
    assert me.heartbeat() > 0
    assert all(waiter.release() for waiter in waiters)


def test_starting_and_stopping_leaves_nothing(place: Place) -> None:
    held = place.coordinator(b"holder").get_lock(LOCK)
    assert held.acquire()
    me = place.coordinator()

    def live() -> tuple[int, int]:
        """Make every kind of connection, and stop; return what is left of it."""
        assert not me.get_lock(LOCK).acquire(0.02)
        me.join_group_create(GROUP)
        me.heart.start()
        me.stop()
        left = threading.active_count(), len(list(Path("/proc/self/fd").iterdir()))
        me.start()
        return left

    first = live()
    assert all(live() <= first for _ in range(5))


# -- names ----------------------------------------------------------------------------------


def test_namespaces_do_not_meet(place: Place) -> None:
    outer = place.coordinator()
    inner = place.coordinator(namespace=f"{place.namespace}:lock")
    assert outer.get_lock(b"lock:x").acquire(False)
    assert inner.get_lock(b"x").acquire(False)
    outer.join_group_create(b"outer")
    assert inner.get_groups().get() == []
    inner.join_group_create(b"inner")
    assert outer.get_groups().get() == [b"outer"]


def test_odd_members_keep_their_names_and_capabilities(place: Place) -> None:
    names = [b" ", b"s", b"c", b"a b c d", b"\x00", b"\xff", b"%", b"x" * 5000]
    for name in names:
        me = place.coordinator(name)
        me.join_group_create(GROUP, name)
        me.watch_elected_as_leader(name, lambda event: None)
        me.run_elect_coordinator()
        assert me.get_leader(name).get() == name
    found = place.coordinator().get_members_with_capabilities(GROUP).get()
    assert found == {name: name for name in names}


def test_what_is_too_large_is_refused(place: Place, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(driver_module, "_LARGEST", 100)
    me = place.coordinator()
    me.create_group(GROUP).get()
    with pytest.raises(SerializationError, match="Redis keeps at most"):
        me.join_group(GROUP, "x" * 101).get()
    with pytest.raises(ToozError, match="cannot be kept"):
        me.create_group(b"x" * 101).get()
    with pytest.raises(ToozError, match="cannot be kept"):
        me.get_lock(b"x" * 101)
    with pytest.raises(GroupNotCreated):
        me.join_group(b"x" * 100).get()


# -- forking --------------------------------------------------------------------------------


def test_a_forked_child_sends_nothing_and_keeps_no_connection(place: Place) -> None:
    me, other = place.coordinator(), place.coordinator(b"other")
    lock, held = me.get_lock(LOCK), other.get_lock(b"held")
    assert lock.acquire()
    assert held.acquire()
    result = place.waiting(me.get_lock(b"held"))
    ours = [connection._sock for connection in list(me._session._connections)]
    assert any(end is not None for end in ours)
    child = os.fork()
    if child == 0:
        quiet = all(not _is_socket(end.fileno()) for end in ours if end is not None)
        os._exit(0 if quiet and not lock.acquired and not me.is_started else 1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    assert lock.is_still_owner()
    assert held.release()
    assert result.result(PATIENCE)
    assert lock.release()


def _is_socket(descriptor: int) -> bool:
    return Path(f"/proc/self/fd/{descriptor}").is_socket()
