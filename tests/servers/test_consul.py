"""What the Consul driver does that the scenarios do not reach, on a real server."""

from __future__ import annotations

import os
import socket
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress

import pytest

from conformance.coordination import (
    Characteristics,
    Coordinator,
    Feature,
    GroupNotCreated,
    LeaderElected,
    MemberAlreadyExist,
    MemberNotJoined,
    OperationTimedOut,
    SerializationError,
    ToozConnectionError,
    ToozError,
    get_coordinator,
)
from conformance.drivers._consul_client import Entry, Operation
from conformance.drivers.consul import ConsulDriver
from conformance.faults.proxy import Proxy
from tests.local_places import open_descriptors

BACKEND = "consul"

GROUP, LOCK = b"group", b"lock"

_TIMEOUT = 1.0
"""Seconds: time-out of exchanges, and what a dead client held is free after it."""


class Place:
    """A name space of one server, and the coordinators made in it."""

    def __init__(self, url: str) -> None:
        self.url = url
        self.namespace = f"test/{uuid.uuid4().hex}"
        self._made: list[Coordinator] = []

    def make(self, member: bytes = b"m", url: str | None = None, **options: object) -> ConsulDriver:
        options = {"timeout": _TIMEOUT, "namespace": self.namespace} | options
        made = get_coordinator(url or self.url, member, **options)
        assert isinstance(made, ConsulDriver)
        self._made.append(made)
        return made

    def start(
        self, member: bytes = b"m", heart: bool = False, url: str | None = None, **options: object
    ) -> ConsulDriver:
        made = self.make(member, url, **options)
        made.start(start_heart=heart)
        return made

    def stop(self) -> None:
        for coordinator in self._made:
            if coordinator.is_started:
                coordinator.stop()


@pytest.fixture
def place(url: str) -> Iterator[Place]:
    found = Place(url)
    yield found
    found.stop()


def destroy_session(coordinator: ConsulDriver) -> None:
    """Do what the server does when a session's time is over."""
    session = coordinator._sessions.current()
    coordinator._client.put(f"/v1/session/destroy/{session.identity}")


def kept(coordinator: ConsulDriver) -> int:
    """Return how many keys there are below a coordinator's name space."""
    return len(coordinator._client.below(f"{coordinator._root}/"))


@contextmanager
def within(seconds: float) -> Iterator[None]:
    began = time.monotonic()
    yield
    assert time.monotonic() - began < seconds


def eventually(condition: Callable[[], object], seconds: float = 5.0) -> None:
    end = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.01)


# -- what is claimed, and the options ---------------------------------------------------


def test_what_rests_on_time_outs_is_not_said_not_to() -> None:
    assert Characteristics.NON_TIMEOUT_BASED not in ConsulDriver.CHARACTERISTICS
    assert Characteristics.LINEARIZABLE in ConsulDriver.CHARACTERISTICS
    assert Feature.SHARED_LOCKS not in ConsulDriver.FEATURES
    assert ConsulDriver.requires_beating


@pytest.mark.parametrize(
    ("query", "ttl", "timeout"),
    [("", 15.0, 30.0), ("?timeout=50", 25.0, 50.0), ("?ttl=12&timeout=50", 12.0, 50.0)],
)
def test_the_ttl_is_half_the_timeout_unless_given(query: str, ttl: float, timeout: float) -> None:
    coordinator = get_coordinator(f"consul://localhost{query}", b"m")
    assert isinstance(coordinator, ConsulDriver)
    assert (coordinator._ttl, coordinator._timeout) == (ttl, timeout)


@pytest.mark.parametrize(
    "url",
    [
        "consul://user:hush@localhost",
        "consul://localhost?acl_token=hush%0Ahush",
        "consul://localhost/path",
        "consul://localhost:99999999",
        "consul://localhost?ttl=0",
        "consul://localhost?timeout=-1",
        "consul://localhost?verify=perhaps",
        "consul://localhost?cert=a.pem",
        "consul://localhost?ssl=true&key=a.pem",
        "consul://localhost?ssl=true&verify=false&ca_cert=a.pem",
        "consul://localhost?unknown=1",
    ],
)
def test_what_cannot_be_meant_is_refused_without_telling_secrets(url: str) -> None:
    with pytest.raises(ValueError, match=r".") as refusal:
        get_coordinator(url, b"m")
    assert "hush" not in str(refusal.value)


def test_the_environment_does_not_choose_the_server(
    place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CONSUL_HTTP_ADDR", "127.0.0.1:1")
    monkeypatch.setenv("HTTP_PROXY", "http://127.0.0.1:1")
    assert place.start().get_lock(LOCK).acquire(False)


def test_a_ttl_that_the_server_does_not_take_is_said_to_be(place: Place) -> None:
    with pytest.raises(ToozError, match=r"session_ttl_min"):
        place.start(ttl=0.001)


def test_the_token_is_sent_and_not_shown(
    place: Place, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    coordinator = place.start(acl_token="hush")  # a server without ACLs takes any
    assert coordinator._client.session.headers["X-Consul-Token"] == "hush"
    with socket.create_server(("127.0.0.1", 0)) as silent:
        other = place.make(
            url=f"consul://127.0.0.1:{silent.getsockname()[1]}", acl_token="hush", timeout=0.4
        )
        with pytest.raises(OperationTimedOut) as failure:
            other.start()
    told = [str(failure.value), repr(failure.value.__cause__), repr(other), caplog.text]
    assert "hush" not in "".join(told)
    options = ConsulDriver.Options
    assert "hush" not in repr(options(acl_token="hush"))  # type: ignore[call-arg]


# -- servers that fail ------------------------------------------------------------------


def test_a_server_that_is_not_there_is_said_not_to_be(place: Place) -> None:
    with within(1.0), pytest.raises(ToozConnectionError, match=r"agent"):
        place.start(url="consul://127.0.0.1:1")


def test_a_server_that_does_not_speak_tls_is_said_not_to(place: Place) -> None:
    with pytest.raises(ToozConnectionError, match=r"TLS.*check ssl"):
        place.start(ssl=True, verify=False)


def test_cut_connections_are_replaced(place: Place, relayed: str, proxy: Proxy) -> None:
    coordinator = place.start(url=relayed)
    lock = coordinator.get_lock(LOCK)
    assert lock.acquire(False)
    proxy.cut()
    proxy.heal()
    with suppress(ToozConnectionError):
        coordinator.heartbeat()
    assert coordinator.heartbeat() > 0
    assert lock.is_still_owner()
    assert lock.release()


def test_a_lock_whose_grant_was_lost_is_given_back(
    place: Place, relayed: str, proxy: Proxy
) -> None:
    coordinator, other = place.start(url=relayed, timeout=0.4, ttl=10.0), place.start()
    lock = coordinator.get_lock(LOCK)
    proxy.drop_replies()
    with pytest.raises(OperationTimedOut):
        lock.acquire(False)
    assert not lock.acquired
    assert not other.get_lock(LOCK).acquire(False)  # it was granted, unknown to the client
    proxy.heal()
    coordinator.heartbeat()
    assert other.get_lock(LOCK).acquire(False)


def test_who_asks_again_after_a_lost_grant_is_not_in_its_own_way(
    place: Place, relayed: str, proxy: Proxy
) -> None:
    lock = place.start(url=relayed, timeout=0.4, ttl=10.0).get_lock(LOCK)
    proxy.drop_replies()
    with pytest.raises(OperationTimedOut):
        lock.acquire(False)
    proxy.heal()
    assert lock.acquire(False)
    assert lock.release()


def test_a_membership_whose_reply_was_lost_is_given_back(
    place: Place, relayed: str, proxy: Proxy
) -> None:
    coordinator, other = place.start(url=relayed, timeout=0.4, ttl=10.0), place.start(b"o")
    coordinator.create_group(GROUP).get()
    for again in (True, False):
        proxy.drop_replies()
        with pytest.raises(OperationTimedOut):
            coordinator.join_group(GROUP).get()
        proxy.heal()
        if again:
            coordinator.join_group(GROUP).get()
            coordinator.heartbeat()
            assert other.get_members(GROUP).get() == {b"m"}
            coordinator.leave_group(GROUP).get()
    coordinator.heartbeat()
    assert other.get_members(GROUP).get() == set()


@pytest.mark.parametrize("kind", ["membership", "leadership"])
def test_a_heartbeat_that_gives_back_what_is_owed_takes_nothing_that_was_taken_since(
    place: Place, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    one = place.start(timeout=20.0)
    one.create_group(b"g").get()
    sessions, client = one._sessions, one._client
    key = one._leader(b"g") if kind == "leadership" else one._member(b"g", b"m")
    elected: list[object] = []
    one.watch_elected_as_leader(b"g", elected.append)
    sessions._debts[key] = sessions.current(), time.monotonic()
    change, about_to, taken = client.change, threading.Event(), threading.Event()

    def slow(*operations: Operation) -> list[Entry]:
        if threading.current_thread() is beating:
            about_to.set()
            taken.wait(1.0)
        return change(*operations)

    beating = threading.Thread(target=lambda: sessions.pay(""))
    monkeypatch.setattr(client, "change", slow)
    beating.start()
    assert about_to.wait(5.0)
    if kind == "leadership":
        one.run_elect_coordinator()
    else:
        one.join_group(b"g").get()
    taken.set()
    beating.join()
    if kind == "leadership":
        assert elected
        assert one.get_leader(b"g").get() == b"m"
    else:
        assert one.get_members(b"g").get() == {b"m"}


def test_an_election_whose_reply_was_lost_is_found_out(
    place: Place, relayed: str, proxy: Proxy
) -> None:
    coordinator = place.start(url=relayed, timeout=0.4, ttl=10.0)
    elected: list[object] = []
    coordinator.watch_elected_as_leader(GROUP, elected.append)
    coordinator._sessions.current()
    looked = coordinator._client.get

    def look_then_swallow(key: str) -> object:
        found = looked(key)
        proxy.drop_replies()
        return found

    coordinator._client.get = look_then_swallow
    with pytest.raises(OperationTimedOut):
        coordinator.run_elect_coordinator()
    coordinator._client.get = looked
    proxy.heal()
    coordinator.run_elect_coordinator()
    coordinator.heartbeat()
    assert elected == [LeaderElected(GROUP, b"m")]
    assert coordinator.get_leader(GROUP).get() == b"m"


# -- losses -----------------------------------------------------------------------------


def test_a_hold_ends_by_the_clock_and_is_said_to(place: Place) -> None:
    coordinator, other = place.start(timeout=0.5), place.start(b"o", heart=True)
    lock, next_one = coordinator.get_lock(LOCK), other.get_lock(LOCK)
    assert lock.acquire(False)
    with within(1.5):
        assert next_one.acquire(3.0)
    assert not lock.acquired
    assert not lock.is_still_owner()
    assert not lock.release()
    assert not lock.heartbeat()
    assert next_one.is_still_owner()
    with pytest.raises(ToozConnectionError, match=r"lock b'lock'"):
        coordinator.heartbeat()
    assert coordinator.heartbeat() > 0
    assert next_one.release()
    assert lock.acquire(False)


def test_nothing_is_revived_that_was_said_to_be_lost(place: Place) -> None:
    coordinator = place.start(timeout=1.0)
    lock = coordinator.get_lock(LOCK)
    assert lock.acquire(False)
    time.sleep(0.6)  # the server has the session still, for 0.4 seconds
    assert not lock.acquired
    with pytest.raises(ToozConnectionError):
        coordinator.heartbeat()
    assert not lock.acquired
    assert place.start(b"o").get_lock(LOCK).acquire(False)


def test_all_that_a_session_held_is_told_once(place: Place) -> None:
    coordinator = place.start()
    lock = coordinator.get_lock(LOCK)
    assert lock.acquire(False)
    coordinator.join_group_create(GROUP)
    coordinator.watch_elected_as_leader(GROUP, lambda event: None)
    coordinator.run_elect_coordinator()
    destroy_session(coordinator)
    with pytest.raises(ToozConnectionError, match=r"membership.*leadership.*lock b'lock'"):
        coordinator.heartbeat()
    assert coordinator.heartbeat() > 0
    assert not lock.acquired
    assert coordinator.get_members(GROUP).get() == set()
    assert coordinator.get_leader(GROUP).get() is None
    coordinator.join_group(GROUP).get()
    assert lock.acquire(False)


def test_without_heartbeats_what_is_asked_is_done_all_the_same(place: Place) -> None:
    coordinator = place.start(timeout=0.5)
    for _ in range(2):
        time.sleep(0.6)
        assert coordinator.get_lock(uuid.uuid4().bytes).acquire(False)
    destroy_session(coordinator)
    assert coordinator.get_lock(LOCK).acquire(False)
    destroy_session(coordinator)
    coordinator.join_group_create(GROUP)
    assert coordinator.get_members(GROUP).get() == {b"m"}


def test_a_waiter_whose_session_is_lost_queues_anew(place: Place) -> None:
    holder, waiting = place.start(heart=True), place.start(b"w", heart=True)
    lock, wanted = holder.get_lock(LOCK), waiting.get_lock(LOCK)
    assert lock.acquire(False)
    granted: list[bool] = []
    thread = threading.Thread(target=lambda: granted.append(wanted.acquire(10.0)))
    thread.start()
    eventually(lambda: len(holder._client.below(lock._queue)) == 2)
    destroy_session(waiting)
    eventually(lambda: len(holder._client.below(lock._queue)) == 2)
    assert lock.release()
    thread.join()
    assert granted == [True]
    assert wanted.is_still_owner()


def test_a_broken_lock_goes_to_the_next(place: Place) -> None:
    holder, waiting = place.start(heart=True), place.start(b"w", heart=True)
    lock, wanted = holder.get_lock(LOCK), waiting.get_lock(LOCK)
    assert lock.acquire(False)
    assert place.start(b"b").get_lock(LOCK).break_()
    assert wanted.acquire(False)
    assert not lock.release()
    assert wanted.is_still_owner()


# -- groups -----------------------------------------------------------------------------


def test_a_join_counts_as_a_change_of_the_group(place: Place) -> None:
    coordinator = place.start()
    coordinator.create_group(GROUP).get()
    (before,) = coordinator._read_group(GROUP, coordinator._members(GROUP))
    coordinator.join_group(GROUP).get()
    after, _ = coordinator._read_group(GROUP, coordinator._members(GROUP))
    assert after.modify_index > before.modify_index


def test_namesakes_do_not_act_for_each_other(place: Place) -> None:
    one, other = place.start(), place.start()
    one.join_group_create(GROUP, "one")
    with pytest.raises(MemberAlreadyExist):
        other.join_group(GROUP).get()
    with pytest.raises(MemberNotJoined):
        other.leave_group(GROUP).get()
    with pytest.raises(MemberNotJoined):
        other.update_capabilities(GROUP, "other").get()
    assert other.get_member_capabilities(GROUP, b"m").get() == "one"


def test_a_dead_member_is_gone_and_can_be_joined_over(place: Place) -> None:
    one, other = place.start(timeout=0.5), place.start(heart=True)
    one.join_group_create(GROUP)
    eventually(lambda: other.get_members(GROUP).get() == set(), 2.0)
    other.join_group(GROUP).get()
    one._sessions.current()
    assert other.get_members(GROUP).get() == {b"m"}
    other.leave_group(GROUP).get()
    other.delete_group(GROUP).get()


def test_what_is_too_large_is_refused_with_words(place: Place) -> None:
    coordinator = place.start()
    coordinator.create_group(GROUP).get()
    coordinator.join_group(GROUP, b"x" * 380_000).get()
    assert coordinator.get_member_capabilities(GROUP, b"m").get() == b"x" * 380_000
    with pytest.raises(SerializationError, match=r"524288"):
        coordinator.update_capabilities(GROUP, b"x" * 500_000).get()
    with pytest.raises(ToozError, match=r"524288"):
        coordinator.create_group(b"x" * 500_000).get()
    assert coordinator.get_lock(b"x" * 500_000).acquire(False)


# -- name spaces, and what is left ------------------------------------------------------


def test_name_spaces_do_not_meet(place: Place) -> None:
    names = [place.namespace, f"{place.namespace}/groups", f"{place.namespace}%2Fgroups"]
    for number, name in enumerate(names):
        coordinator = place.start(namespace=name)
        assert coordinator.get_lock(LOCK).acquire(False)
        assert coordinator.get_groups().get() == []
        coordinator.create_group(b"%d" % number).get()
        assert coordinator.get_groups().get() == [b"%d" % number]
        with pytest.raises(GroupNotCreated):
            coordinator.get_members(b"%d" % (number + 1)).get()


def test_idle_locks_and_stopped_coordinators_leave_nothing(place: Place) -> None:
    witness, coordinator = place.start(b"w"), place.start(heart=True)
    lock = coordinator.get_lock(LOCK)
    assert lock.acquire(False)
    assert not witness.get_lock(LOCK).acquire(0.05)
    assert lock.release()
    assert kept(witness) == 0
    assert lock.acquire(False)
    coordinator.get_lock(b"forgotten").acquire(False)
    coordinator.watch_elected_as_leader(GROUP, lambda event: None)
    coordinator.run_elect_coordinator()
    coordinator.stop()
    assert kept(witness) == 0


def test_a_stopped_coordinator_can_be_started_again(place: Place) -> None:
    coordinator = place.start()
    lock = coordinator.get_lock(LOCK)
    assert lock.acquire(False)
    coordinator.stop()
    assert not lock.acquired
    coordinator.start()
    assert lock.acquire(False)
    assert lock.release()


def test_stopping_ends_a_wait_within_a_second(place: Place) -> None:
    assert place.start(heart=True).get_lock(LOCK).acquire(False)
    coordinator = place.start(b"w", heart=True)
    failures: list[ToozError] = []

    def wait() -> None:
        try:
            coordinator.get_lock(LOCK).acquire()
        except ToozError as error:
            failures.append(error)

    thread = threading.Thread(target=wait)
    thread.start()
    eventually(lambda: kept(coordinator) == 2)
    with within(1.5):
        coordinator.stop()
    thread.join(1.0)
    assert len(failures) == 1


def test_a_forked_child_has_no_connection_of_its_parents(place: Place) -> None:
    coordinator = place.start(heart=True)
    lock = coordinator.get_lock(LOCK)
    assert lock.acquire(False)
    numbers = [made.sock.fileno() for made in coordinator._client.session._open if made.sock]
    used = {os.readlink(f"/proc/self/fd/{number}") for number in numbers}  # noqa: PTH115
    assert used
    child = os.fork()
    if child == 0:
        has_some = True
        try:
            assert not lock.acquired
            has_some = not used.isdisjoint(open_descriptors())
        finally:
            os._exit(has_some)
    assert os.waitpid(child, 0)[1] == 0
    assert lock.is_still_owner()
    assert lock.release()
