"""The in-memory ZooKeeper keeps ZooKeeper's rules, one test for each.

The rules are those of the ZooKeeper Programmer's Guide, release 3.8, and the client's
those of kazoo 2.11.
"""

from __future__ import annotations

import inspect
import re
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from queue import Queue
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kazoo.client import KazooClient, TransactionRequest
from kazoo.exceptions import (
    BadArgumentsError,
    BadVersionError,
    ConnectionClosedError,
    ConnectionLoss,
    NoChildrenForEphemeralsError,
    NodeExistsError,
    NoNodeError,
    NotEmptyError,
    RolledBackError,
    RuntimeInconsistency,
    SessionExpiredError,
)
from kazoo.handlers.threading import KazooTimeoutError
from kazoo.protocol.states import EventType, KazooState, WatchedEvent, ZnodeStat

from conformance.standin.client import Client
from conformance.standin.transaction import Transaction
from conformance.standin.tree import Check, Create, Delete, Moment, Operation, SetData, Tree
from conformance.standin.zookeeper import Server, named_server

PATIENCE = 10.0
"""Seconds within which what must happen has happened, however busy the machine."""


@pytest.fixture
def server() -> Server:
    return Server()


@pytest.fixture
def connect(server: Server) -> Iterator[Callable[[], Client]]:
    """Return a function that returns started clients, stopped at the end of the test."""
    clients: list[Client] = []

    def start() -> Client:
        clients.append(Client(server))
        clients[-1].start()
        return clients[-1]

    yield start
    for client in clients:
        client.stop()


@pytest.fixture
def client(connect: Callable[[], Client]) -> Client:
    return connect()


@pytest.fixture
def other(connect: Callable[[], Client]) -> Client:
    return connect()


def get(result: Any) -> Any:
    return result.get(timeout=PATIENCE)


def stat(client: Client, path: str) -> ZnodeStat:
    found = get(client.exists_async(path))
    assert found is not None
    return found


def session_of(client: Client) -> int:
    assert client.client_id is not None
    return client.client_id[0]


class Told:
    """A watcher of a client's that keeps what it is told."""

    def __init__(self, client: Client) -> None:
        self._client = client
        self._events: Queue[WatchedEvent] = Queue()

    def __call__(self, event: WatchedEvent) -> None:
        self._events.put(event)

    def next(self) -> tuple[str, str | None]:
        event = self._events.get(timeout=PATIENCE)
        return event.type, event.path

    def hears_nothing_more(self) -> bool:
        """Whether it was told nothing until now: watchers are called in order."""
        called = threading.Event()
        self._client.dispatch(lambda event: called.set(), WatchedEvent(EventType.NONE, "", None))
        assert called.wait(PATIENCE)
        return self._events.empty()


# -- nodes ------------------------------------------------------------------------------


def test_a_node_keeps_its_data(client: Client) -> None:
    assert get(client.create_async("/a", b"data")) == "/a"
    assert get(client.get_async("/a"))[0] == b"data"


def test_a_node_needs_a_parent(client: Client) -> None:
    with pytest.raises(NoNodeError):
        get(client.create_async("/a/b"))


def test_a_path_that_is_missing_is_made_on_request(client: Client, server: Server) -> None:
    get(client.create_async("/a/b/c", makepath=True))
    get(client.ensure_path_async("/a/d"))
    get(client.ensure_path_async("/a/d"))
    assert server.paths() == ["/a", "/a/b", "/a/b/c", "/a/d"]


def test_a_path_is_taken_once(client: Client) -> None:
    get(client.create_async("/a"))
    with pytest.raises(NodeExistsError):
        get(client.create_async("/a"))


def test_an_ephemeral_node_has_no_children(client: Client) -> None:
    get(client.create_async("/a", ephemeral=True))
    with pytest.raises(NoChildrenForEphemeralsError):
        get(client.create_async("/a/b"))


@pytest.mark.parametrize("path", ["/a\x00", "/\x1f", "/\x7f", "/\ud800", "/\uffff"])
def test_control_characters_are_refused_in_paths(client: Client, path: str) -> None:
    with pytest.raises(BadArgumentsError):
        get(client.create_async(path))


@pytest.mark.parametrize("path", ["", "a", "/a/", "/a//b", "/.", "/a/..", "/../a"])
def test_a_path_has_its_form(path: str) -> None:
    with pytest.raises(BadArgumentsError):
        Tree().perform(Create(path), Moment(1, 0, 1))


def test_the_children_of_a_node_are_listed_by_name(client: Client) -> None:
    for path in ("/a", "/a/b", "/a/c", "/a/b/d"):
        get(client.create_async(path))
    names, found = get(client.get_children_async("/a", include_data=True))
    assert sorted(names) == ["b", "c"]
    assert found == stat(client, "/a")
    assert get(client.get_children_async("/")) == ["a"]


def test_what_is_not_there_is_not_to_be_read_or_changed(client: Client) -> None:
    assert get(client.exists_async("/a")) is None
    for request in (
        client.get_async("/a"),
        client.get_children_async("/a"),
        client.set_async("/a", b""),
        client.delete_async("/a"),
    ):
        with pytest.raises(NoNodeError):
            get(request)


def test_a_node_with_children_is_not_deleted(client: Client) -> None:
    get(client.create_async("/a"))
    get(client.create_async("/a/b"))
    with pytest.raises(NotEmptyError):
        get(client.delete_async("/a"))
    get(client.delete_async("/a/b"))
    assert get(client.delete_async("/a")) is True


def test_a_version_that_is_given_must_be_that_of_the_node(client: Client) -> None:
    get(client.create_async("/a"))
    get(client.create_async("/a/b"))
    with pytest.raises(BadVersionError):
        get(client.set_async("/a", b"", version=1))
    with pytest.raises(BadVersionError):
        get(client.delete_async("/a", version=1))  # said before that it is not empty
    assert get(client.set_async("/a", b"", version=0)).version == 1
    assert get(client.delete_async("/a/b", version=0)) is True


# -- the stat structure -----------------------------------------------------------------


def test_a_node_is_born_at_one_transaction_and_time(client: Client) -> None:
    before = time.time() * 1000 - 1
    path, born = get(client.create_async("/a", b"xyz", include_data=True))
    assert (path, born) == ("/a", stat(client, "/a"))
    assert born.czxid == born.mzxid == born.pzxid > 0
    assert before <= born.ctime == born.mtime <= time.time() * 1000
    assert (born.version, born.cversion, born.aversion) == (0, 0, 0)
    assert (born.dataLength, born.numChildren, born.ephemeralOwner) == (3, 0, 0)


def test_an_ephemeral_node_bears_its_session(client: Client) -> None:
    _, born = get(client.create_async("/a", ephemeral=True, include_data=True))
    assert born.ephemeralOwner == session_of(client)


def test_a_change_of_data_counts_as_a_version(client: Client) -> None:
    get(client.create_async("/a"))
    before = stat(client, "/a")
    after = get(client.set_async("/a", b"xy"))
    assert after.version == before.version + 1
    assert after.mzxid > before.mzxid
    assert after.mtime >= before.mtime
    assert after.dataLength == 2
    assert (after.czxid, after.ctime, after.pzxid, after.cversion) == (
        (before.czxid, before.ctime, before.pzxid, before.cversion)
    )


def test_births_and_deaths_of_children_count_in_the_parents_cversion(client: Client) -> None:
    get(client.create_async("/a"))
    _, born = get(client.create_async("/a/b", include_data=True))
    assert (stat(client, "/a").cversion, stat(client, "/a").pzxid) == (1, born.czxid)
    get(client.delete_async("/a/b"))
    parent = stat(client, "/a")
    assert (parent.cversion, parent.numChildren, parent.version) == (2, 0, 0)
    assert parent.pzxid > born.czxid
    assert parent.mzxid == parent.czxid


def test_what_happens_inside_a_child_leaves_the_parent_as_it_is(client: Client) -> None:
    get(client.create_async("/a"))
    get(client.create_async("/a/b"))
    before = stat(client, "/a")
    get(client.set_async("/a/b", b"x"))
    get(client.create_async("/a/b/c"))
    assert stat(client, "/a") == before


def test_transactions_of_all_clients_are_numbered_in_one_order(
    client: Client, other: Client
) -> None:
    numbers = [
        get(maker.create_async(f"/n{n}", include_data=True))[1].czxid
        for n, maker in enumerate([client, other, other, client])
    ]
    assert numbers == sorted(set(numbers))


# -- sequence nodes ---------------------------------------------------------------------


def test_sequence_nodes_get_ten_digits_that_grow(client: Client) -> None:
    get(client.create_async("/q"))
    made = [get(client.create_async("/q/n-", sequence=True)) for _ in range(3)]
    assert made == ["/q/n-0000000000", "/q/n-0000000001", "/q/n-0000000002"]


def test_the_name_of_a_sequence_node_may_be_its_number_alone(client: Client) -> None:
    get(client.create_async("/q"))
    assert get(client.create_async("/q/", sequence=True)) == "/q/0000000000"


def test_the_number_counts_every_child_ever_created(client: Client) -> None:
    get(client.create_async("/q"))
    get(client.create_async("/q/plain"))
    get(client.create_async("/q/n-", sequence=True))
    get(client.delete_async("/q/plain"))
    assert get(client.create_async("/q/m-", sequence=True)) == "/q/m-0000000002"


def test_each_parent_counts_for_itself_and_from_its_birth(client: Client) -> None:
    for path in ("/q", "/r"):
        get(client.create_async(path))
    get(client.create_async("/q/n-", sequence=True))
    assert get(client.create_async("/r/n-", sequence=True)) == "/r/n-0000000000"
    get(client.delete_async("/q/n-0000000000"))
    get(client.delete_async("/q"))
    get(client.create_async("/q"))
    assert get(client.create_async("/q/n-", sequence=True)) == "/q/n-0000000000"


# -- transactions -----------------------------------------------------------------------


def test_a_transaction_gives_the_results_of_its_operations(client: Client) -> None:
    change = client.transaction()
    change.create("/a", b"x")
    change.create("/a/n-", ephemeral=True, sequence=True)
    change.check("/a", 0)
    change.set_data("/a", b"y", 0)
    change.delete("/a/n-0000000000")
    first, second, third, fourth, fifth = change.commit()
    assert (first, second, third, fifth) == ("/a", "/a/n-0000000000", True, True)
    assert fourth.version == 1
    assert get(client.get_async("/a"))[0] == b"y"


def test_a_transaction_happens_at_one_moment(client: Client) -> None:
    change = client.transaction()
    change.create("/a")
    change.create("/a/b")
    change.create("/c")
    change.commit()
    assert stat(client, "/a").pzxid == stat(client, "/a/b").czxid == stat(client, "/c").czxid


def test_a_transaction_that_is_refused_changes_nothing(client: Client, server: Server) -> None:
    get(client.create_async("/a"))
    before = stat(client, "/a")
    change = client.transaction()
    change.set_data("/a", b"x")
    change.create("/a/b")
    change.delete("/nowhere")
    change.delete("/a")
    kinds = [type(result) for result in change.commit()]
    assert kinds == [RolledBackError, RolledBackError, NoNodeError, RuntimeInconsistency]
    assert (stat(client, "/a"), server.paths()) == (before, ["/a"])


@pytest.mark.parametrize(("version", "error"), [(1, BadVersionError), (0, None), (-1, None)])
def test_a_check_requires_a_version(
    client: Client, version: int, error: type[Exception] | None
) -> None:
    get(client.create_async("/a"))
    change = client.transaction()
    change.check("/a", version)
    change.create("/b")
    assert (type(change.commit()[0]) is error) == (error is not None)
    assert (get(client.exists_async("/b")) is None) == (error is not None)


def test_a_check_requires_the_node(client: Client) -> None:
    change = client.transaction()
    change.check("/a", -1)
    assert isinstance(change.commit()[0], NoNodeError)


def test_a_transaction_that_is_refused_sets_off_no_watch(client: Client) -> None:
    told = Told(client)
    get(client.exists_async("/a", watch=told))
    change = client.transaction()
    change.create("/a")
    change.delete("/nowhere")
    change.commit()
    assert told.hears_nothing_more()
    get(client.create_async("/a"))
    assert told.next() == (EventType.CREATED, "/a")


def test_a_transaction_is_committed_once(client: Client) -> None:
    change = client.transaction()
    change.create("/a")
    change.commit()
    for again in (change.commit_async, lambda: change.delete("/a")):
        with pytest.raises(ValueError, match="committed"):
            again()


OPERATIONS = st.one_of(
    st.builds(
        Create,
        st.sampled_from(["/a", "/b", "/a/c", "/a/c/d", "/e/f"]),
        st.binary(max_size=2),
        st.booleans(),
        st.booleans(),
    ),
    st.builds(Delete, st.sampled_from(["/a", "/b", "/a/c", "/a/c/d"]), st.sampled_from([-1, 0])),
    st.builds(SetData, st.sampled_from(["/a", "/a/c"]), st.binary(max_size=2), st.just(-1)),
    st.builds(Check, st.sampled_from(["/a", "/a/c"]), st.sampled_from([-1, 0, 1])),
)


def _contents(tree: Tree) -> dict[str, tuple[bytes, ZnodeStat, list[str]]]:
    return {
        path: (tree.data(path), tree.stat(path), sorted(tree.children(path)))
        for path in ["/", *tree.paths()]
    }


@given(st.lists(OPERATIONS, max_size=8), st.lists(OPERATIONS, min_size=1, max_size=5))
def test_any_transaction_happens_entirely_or_not_at_all(
    before: list[Operation], operations: list[Operation]
) -> None:
    one, two = Tree(), Tree()
    for zxid, operation in enumerate(before, 1):
        for tree in (one, two):
            tree.transact([operation], Moment(zxid, zxid, 7))
    untouched, moment = _contents(one), Moment(100, 100, 8)
    results, told = one.transact(operations, moment)
    if any(isinstance(result, Exception) for result in results):
        assert (_contents(one), told) == (untouched, [])
    else:
        assert [two.perform(operation, moment)[0] for operation in operations] == results
        assert _contents(one) == _contents(two)
    for tree in (one, two):
        tree.end_session(7, 101)
        tree.end_session(8, 102)
        assert not [path for path in tree.paths() if tree.stat(path).ephemeralOwner]


# -- watches ----------------------------------------------------------------------------


def test_a_watch_fires_once(client: Client) -> None:
    get(client.create_async("/a"))
    told = Told(client)
    get(client.get_async("/a", watch=told))
    get(client.set_async("/a", b"x"))
    get(client.set_async("/a", b"y"))
    assert told.next() == (EventType.CHANGED, "/a")
    assert told.hears_nothing_more()


def test_a_watch_of_data_fires_at_the_nodes_deletion(client: Client) -> None:
    get(client.create_async("/a"))
    told = Told(client)
    get(client.get_async("/a", watch=told))
    get(client.delete_async("/a"))
    assert told.next() == (EventType.DELETED, "/a")


def test_a_server_tells_what_is_watched(client: Client, server: Server) -> None:
    get(client.exists_async("/a", watch=Told(client)))
    get(client.get_children_async("/", watch=Told(client)))
    assert (server.is_watched("/a"), server.is_watched("/"), server.is_watched("/b")) == (
        (True, True, False)
    )
    get(client.create_async("/a"))
    assert not server.is_watched("/a")
    assert not server.is_watched("/")


def test_reading_a_missing_node_leaves_no_watch(client: Client) -> None:
    told = Told(client)
    for request in (client.get_async("/a", watch=told), client.get_children_async("/a", told)):
        with pytest.raises(NoNodeError):
            get(request)
    get(client.create_async("/a"))
    assert told.hears_nothing_more()


def test_asking_for_a_missing_node_watches_for_its_creation(client: Client) -> None:
    told = Told(client)
    assert get(client.exists_async("/a", watch=told)) is None
    get(client.create_async("/a"))
    assert told.next() == (EventType.CREATED, "/a")


def test_asking_for_a_node_watches_its_data(client: Client) -> None:
    get(client.create_async("/a"))
    told = Told(client)
    get(client.exists_async("/a", watch=told))
    get(client.create_async("/a/b"))
    assert told.hears_nothing_more()
    get(client.set_async("/a", b"x"))
    assert told.next() == (EventType.CHANGED, "/a")


@pytest.mark.parametrize("deletion", [False, True])
def test_a_watch_of_children_fires_when_one_comes_or_goes(client: Client, deletion: bool) -> None:
    for path in ("/a", "/a/b"):
        get(client.create_async(path))
    told = Told(client)
    get(client.get_children_async("/a", watch=told))
    get(client.delete_async("/a/b") if deletion else client.create_async("/a/c"))
    assert told.next() == (EventType.CHILD, "/a")
    assert told.hears_nothing_more()


def test_a_watch_of_children_does_not_look_into_them(client: Client) -> None:
    for path in ("/a", "/a/b"):
        get(client.create_async(path))
    told = Told(client)
    get(client.get_children_async("/a", watch=told))
    get(client.set_async("/a/b", b"x"))
    get(client.create_async("/a/b/c"))
    get(client.set_async("/a", b"x"))
    assert told.hears_nothing_more()


def test_a_deletion_fires_watches_of_data_then_of_children_then_the_parents(
    client: Client,
) -> None:
    for path in ("/a", "/a/b"):
        get(client.create_async(path))
    order: Queue[tuple[str, str, str]] = Queue()
    get(client.get_children_async("/a", watch=lambda e: order.put(("parent", e.type, e.path))))
    get(client.get_children_async("/a/b", watch=lambda e: order.put(("child", e.type, e.path))))
    get(client.get_async("/a/b", watch=lambda e: order.put(("data", e.type, e.path))))
    get(client.delete_async("/a/b"))
    assert [order.get(timeout=PATIENCE) for _ in range(3)] == [
        ("data", EventType.DELETED, "/a/b"),
        ("child", EventType.DELETED, "/a/b"),
        ("parent", EventType.CHILD, "/a"),
    ]


def test_the_same_watcher_twice_is_called_once(client: Client) -> None:
    get(client.create_async("/a"))
    told = Told(client)
    get(client.get_async("/a", watch=told))
    get(client.exists_async("/a", watch=told))
    get(client.set_async("/a", b"x"))
    assert told.next() == (EventType.CHANGED, "/a")
    assert told.hears_nothing_more()


def test_watchers_hear_of_changes_in_their_order(client: Client, other: Client) -> None:
    told = Told(client)
    for number in range(20):
        get(client.exists_async(f"/n{number}", watch=told))
    for number in range(20):
        get(other.create_async(f"/n{number}"))
    assert [told.next()[1] for _ in range(20)] == [f"/n{number}" for number in range(20)]


def test_watchers_run_one_after_the_other_in_a_thread_of_their_client(
    client: Client, server: Server
) -> None:
    seen: Queue[tuple[str, bool]] = Queue()

    def watch(event: WatchedEvent) -> None:
        free = server.lock.acquire(blocking=False)
        if free:
            server.lock.release()
        seen.put((threading.current_thread().name, free))

    for path in ("/a", "/b"):
        get(client.exists_async(path, watch=watch))
        get(client.create_async(path))
    threads = [seen.get(timeout=PATIENCE)[0] for _ in range(2)]
    assert len(set(threads)) == 1
    assert threading.current_thread().name not in threads


def test_no_watcher_runs_under_the_servers_lock(client: Client, server: Server) -> None:
    called = threading.Event()
    get(client.exists_async("/a", watch=lambda event: called.set()))
    with server.lock:
        result = client.create_async("/a")  # its thread has the lock already
        assert result.ready()
    assert called.wait(PATIENCE)


def test_a_watcher_may_make_requests(client: Client) -> None:
    got: Queue[bytes] = Queue()
    get(client.exists_async("/a", watch=lambda e: got.put(get(client.get_async("/a"))[0])))
    get(client.create_async("/a", b"x"))
    assert got.get(timeout=PATIENCE) == b"x"


def test_a_watcher_that_fails_keeps_no_other_from_being_called(client: Client) -> None:
    def fail(event: WatchedEvent) -> None:
        raise RuntimeError("on purpose")

    told = Told(client)
    get(client.exists_async("/a", watch=fail))
    get(client.exists_async("/a", watch=told))
    get(client.create_async("/a"))
    assert told.next() == (EventType.CREATED, "/a")


# -- sessions ---------------------------------------------------------------------------


class States:
    """A listener that keeps the states it is told."""

    def __init__(self, client: Client) -> None:
        self.seen: list[str] = []
        client.add_listener(self.seen.append)


def test_a_client_has_a_session_while_it_is_started(client: Client, server: Server) -> None:
    assert client.connected
    assert client.state == KazooState.CONNECTED
    assert server.sessions == [session_of(client)]
    client.stop()
    assert (client.connected, client.client_id, client.state) == (False, None, KazooState.LOST)
    assert server.sessions == []


def test_ephemeral_nodes_go_with_their_session_and_others_stay(
    client: Client, other: Client, server: Server
) -> None:
    get(client.create_async("/stays"))
    get(client.create_async("/stays/goes", ephemeral=True))
    get(client.create_async("/goes", ephemeral=True))
    get(other.create_async("/others", ephemeral=True))
    client.stop()
    assert server.paths() == ["/others", "/stays"]


def test_a_session_ends_at_one_moment(client: Client, other: Client, server: Server) -> None:
    for path in ("/a", "/b", "/a/x", "/b/y"):
        get(client.create_async(path, ephemeral=len(path) > 2))
    server.expire(session_of(client))
    assert stat(other, "/a").pzxid == stat(other, "/b").pzxid


def test_the_end_of_a_session_fires_watches(client: Client, other: Client, server: Server) -> None:
    get(client.create_async("/a", ephemeral=True))
    node, root = Told(other), Told(other)
    get(other.exists_async("/a", watch=node))
    get(other.get_children_async("/", watch=root))
    server.expire(session_of(client))
    assert node.next() == (EventType.DELETED, "/a")
    assert root.next() == (EventType.CHILD, "/")


def test_a_client_whose_session_expired_is_told_and_gets_another(
    client: Client, server: Server
) -> None:
    states, first = States(client), session_of(client)
    server.expire(first)
    assert states.seen == [KazooState.LOST, KazooState.CONNECTED]
    assert session_of(client) != first
    get(client.create_async("/a", ephemeral=True))
    assert stat(client, "/a").ephemeralOwner == session_of(client)


def test_the_watches_of_an_expired_session_are_told_and_gone(
    client: Client, server: Server
) -> None:
    told = Told(client)
    get(client.exists_async("/a", watch=told))
    server.expire(session_of(client))
    assert told.next() == (EventType.NONE, None)
    get(client.create_async("/a"))
    assert told.hears_nothing_more()


def test_a_session_that_is_not_alive_cannot_expire(client: Client, server: Server) -> None:
    session = session_of(client)
    server.expire(session)
    with pytest.raises(ValueError, match="no session"):
        server.expire(session)


def test_a_stopped_client_answers_nothing(client: Client) -> None:
    client.stop()
    client.stop()
    with pytest.raises(ConnectionClosedError):
        get(client.exists_async("/a"))


def test_a_stopped_client_can_be_started_anew(client: Client, server: Server) -> None:
    first = session_of(client)
    client.stop()
    client.close()
    client.start()
    assert server.sessions == [session_of(client)] != [first]
    assert get(client.exists_async("/a")) is None


def test_starting_twice_is_starting_once(client: Client, server: Server) -> None:
    client.start()
    assert len(server.sessions) == 1


def test_no_thread_is_left_of_a_stopped_client(server: Server) -> None:
    before = threading.active_count()
    for _ in range(50):
        client = Client(server)
        client.start()
        get(client.create_async("/a", ephemeral=True))
        client.stop()
        client.close()
    assert threading.active_count() == before


# -- connections that break --------------------------------------------------------------


def test_the_server_keeps_the_session_of_a_client_that_is_cut_off(
    client: Client, server: Server
) -> None:
    states, session = States(client), session_of(client)
    get(client.create_async("/a", ephemeral=True))
    client.suspend()
    assert states.seen == [KazooState.SUSPENDED]
    assert (client.connected, client.client_id) == (False, None)
    assert (server.sessions, server.paths()) == ([session], ["/a"])
    client.resume()
    assert states.seen == [KazooState.SUSPENDED, KazooState.CONNECTED]
    assert session_of(client) == session


def test_requests_wait_in_order_for_the_connection(client: Client, server: Server) -> None:
    client.suspend()
    made = client.create_async("/a", b"1")
    changed = client.set_async("/a", b"2")
    with pytest.raises(KazooTimeoutError):
        made.get(timeout=0)
    assert server.paths() == []
    client.resume()
    assert get(made) == "/a"
    assert get(changed).version == 1


def test_watches_are_told_that_the_connection_broke_and_are_gone(
    client: Client, other: Client
) -> None:
    told = Told(client)
    get(client.exists_async("/a", watch=told))
    client.suspend()
    assert told.next() == (EventType.NONE, None)
    get(other.create_async("/a"))
    client.resume()
    assert told.hears_nothing_more()


def test_a_client_learns_of_its_expiry_when_it_is_connected_again(
    client: Client, server: Server
) -> None:
    states, session = States(client), session_of(client)
    get(client.create_async("/a", ephemeral=True))
    client.suspend()
    server.expire(session)
    assert (states.seen, server.paths()) == ([KazooState.SUSPENDED], [])
    waiting = client.create_async("/b")
    client.resume()
    assert states.seen == [KazooState.SUSPENDED, KazooState.LOST, KazooState.CONNECTED]
    with pytest.raises(SessionExpiredError):
        get(waiting)
    assert server.sessions == [session_of(client)] != [session]


def test_a_client_that_stops_while_cut_off_leaves_its_session(
    client: Client, server: Server
) -> None:
    session = session_of(client)
    client.suspend()
    waiting = client.create_async("/a")
    client.stop()
    with pytest.raises(ConnectionLoss):
        get(waiting)
    assert server.sessions == [session]
    server.expire(session)
    assert (server.sessions, client.connected) == ([], False)


def test_a_reply_that_is_lost_was_about_something_that_happened(
    client: Client, server: Server
) -> None:
    states = States(client)
    client.lose_reply("create")
    get(client.ensure_path_async("/unharmed"))
    lost = client.create_async("/a", b"x")
    behind = client.get_async("/a")
    with pytest.raises(ConnectionLoss):
        get(lost)
    assert server.paths() == ["/a", "/unharmed"]
    client.resume()
    assert get(behind)[0] == b"x"
    assert states.seen == [KazooState.SUSPENDED, KazooState.CONNECTED]


# -- the client is kazoo's ---------------------------------------------------------------


@pytest.mark.parametrize(
    ("own", "kazoos"), [(Client, KazooClient), (Transaction, TransactionRequest)]
)
def test_methods_take_what_kazoos_take(own: type, kazoos: type) -> None:
    controls = {"suspend", "resume", "lose_reply", "dispatch", "note_expiry", "recover"}
    methods = dict(inspect.getmembers(own, inspect.isfunction))
    for name in methods.keys() - controls:
        if not name.startswith("_"):
            mine, theirs = (inspect.signature(getattr(kind, name)) for kind in (own, kazoos))
            assert [(p.name, p.default) for p in mine.parameters.values()] == [
                (p.name, p.default) for p in theirs.parameters.values()
            ], name


def test_completions_run_in_a_thread_of_the_client(client: Client) -> None:
    done: Queue[str] = Queue()
    client.create_async("/a").rawlink(lambda result: done.put(threading.current_thread().name))
    assert done.get(timeout=PATIENCE) != threading.current_thread().name


def test_listeners_run_in_a_thread_of_the_client(client: Client, server: Server) -> None:
    threads: list[str] = []
    client.add_listener(lambda state: threads.append(threading.current_thread().name))
    server.expire(session_of(client))
    client.stop()
    assert len(set(threads)) == 1
    assert threading.current_thread().name not in threads


def test_a_listener_that_returns_true_or_is_removed_hears_no_more(client: Client) -> None:
    heard: list[str] = []

    def once(state: str) -> bool:
        heard.append(state)
        return True

    client.add_listener(once)
    client.add_listener(heard.append)
    client.remove_listener(heard.append)
    client.suspend()
    client.resume()
    assert heard[:1] == [KazooState.SUSPENDED]
    assert heard.count(KazooState.CONNECTED) == 0


def test_a_listener_that_fails_keeps_no_other_from_hearing(client: Client) -> None:
    def fail(state: str) -> None:
        raise RuntimeError("on purpose")

    client.add_listener(fail)
    states = States(client)
    client.suspend()
    client.resume()
    assert states.seen == [KazooState.SUSPENDED, KazooState.CONNECTED]


# -- servers by name ---------------------------------------------------------------------


def test_a_server_is_found_by_its_name() -> None:
    assert named_server("test-one") is named_server("test-one")
    assert named_server("test-one") is not named_server("test-two")
    assert named_server() is named_server("")


FORKING = """
import os, sys, warnings
warnings.simplefilter("ignore")
from conformance.standin.client import Client
from conformance.standin.zookeeper import named_server
parents = Client(named_server())
parents.start()
parents.create_async("/parents").get(timeout=10)
named_server().lock.acquire()
if os.fork() == 0:
    own = Client(named_server())
    own.start()
    os.write(1, repr((named_server().paths(), len(named_server().sessions))).encode())
    own.stop()
    os._exit(0)
os.wait()
named_server().lock.release()
os.write(1, repr(named_server().paths()).encode())
parents.stop()
"""


def test_a_forked_process_has_servers_of_its_own() -> None:
    run = subprocess.run(
        [sys.executable, "-c", FORKING], capture_output=True, text=True, timeout=60, check=True
    )
    assert re.sub(r"\s", "", run.stdout) == "([],1)['/parents']"
