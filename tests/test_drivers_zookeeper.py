"""What the ZooKeeper driver does, on the stand-in: groups, leadership, sessions, its life.

Its locks are in ``test_drivers_zookeeper_locks``. What it asks of kazoo's own client is
tested here as far as that goes without a server.
"""

from __future__ import annotations

import fcntl
import logging
import socket
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator
from datetime import UTC, datetime, timedelta
from typing import Any
from urllib.parse import urlsplit

import pytest
from hypothesis import given
from hypothesis import strategies as st
from kazoo import exceptions as kazoo_errors
from kazoo.handlers.threading import KazooTimeoutError
from kazoo.protocol.serialization import Auth
from kazoo.security import make_digest_acl

from conformance.coordination import (
    Characteristics,
    Event,
    Feature,
    GroupAlreadyExist,
    GroupNotCreated,
    GroupNotEmpty,
    LeaderElected,
    MemberAlreadyExist,
    MemberJoinedGroup,
    MemberLeftGroup,
    MemberNotJoined,
    OperationTimedOut,
    SerializationError,
    ToozConnectionError,
    ToozError,
    driver_class,
    get_coordinator,
)
from conformance.drivers._zookeeper_client import ZookeeperOptions, make_client
from conformance.drivers.zake import ZakeDriver
from conformance.drivers.zookeeper import KazooDriver, _node
from tests.zake_places import Place, Waiting, client_of, eventually, expire

GROUP = b"group"

HOSTILE = [
    b".",
    b"..",
    b"/",
    b"a",
    b"a/x",
    b"a%2Fx",
    b"=a",
    b"#a",
    b"../locks/a",
    b"locks",
    b"leaders",
    b"groups",
    b"zookeeper",
    b"\x00",
    b"a\x00",
    b"\xff\xfe",
    "grüße".encode(),
    b"'; DROP TABLE members; --",
    b"x" * 200,
    b"x" * 201,
    b"\xff" * 70,
    b"x" * 100_000,
]
"""Names that mean something in paths or to this driver, that look alike, or are long."""


@pytest.fixture
def zake() -> Iterator[Place]:
    found = Place()
    yield found
    found.end()


def before_next(coordinator: ZakeDriver, request: str, act: Callable[[], object]) -> None:
    """Have something done just before the next request of a name."""
    client: Any = client_of(coordinator)
    submit = client._submit

    def act_first(name: str, *arguments: Any) -> Any:
        if name == request:
            client._submit = submit
            act()
        return submit(name, *arguments)

    client._submit = act_first


# -- groups -----------------------------------------------------------------------------


def test_a_group_is_created_once_and_deleted_once(zake: Place) -> None:
    one, two = zake.coordinator(b"1"), zake.coordinator(b"2")
    one.create_group(GROUP).get()
    with pytest.raises(GroupAlreadyExist):
        two.create_group(GROUP).get()
    assert two.get_groups().get() == [GROUP]
    two.delete_group(GROUP).get()
    with pytest.raises(GroupNotCreated):
        one.delete_group(GROUP).get()
    assert one.get_groups().get() == []


def test_a_group_with_members_is_not_deleted(zake: Place) -> None:
    one, two = zake.coordinator(b"1"), zake.coordinator(b"2")
    one.join_group_create(GROUP)
    with pytest.raises(GroupNotEmpty):
        two.delete_group(GROUP).get()
    one.leave_group(GROUP).get()
    two.delete_group(GROUP).get()


def test_members_are_known_to_all_with_their_capabilities(zake: Place) -> None:
    one, two = zake.coordinator(b"1"), zake.coordinator(b"2")
    one.join_group_create(GROUP, {"weight": 3})
    two.join_group(GROUP).get()
    for reader in (one, two):
        assert reader.get_members(GROUP).get() == {b"1", b"2"}
        assert reader.get_members_with_capabilities(GROUP).get() == {
            b"1": {"weight": 3},
            b"2": None,
        }
        assert reader.get_member_capabilities(GROUP, b"1").get() == {"weight": 3}


def test_a_member_tells_when_it_joined_and_was_updated(zake: Place) -> None:
    one = zake.coordinator(b"1")
    before = datetime.now(UTC) - timedelta(milliseconds=1)
    one.join_group_create(GROUP, 1)
    joined = one.get_member_info(GROUP, b"1").get()
    assert before <= joined["created_at"] == joined["updated_at"] <= datetime.now(UTC)
    one.update_capabilities(GROUP, 2).get()
    updated = one.get_member_info(GROUP, b"1").get()
    assert updated["capabilities"] == 2
    assert updated["created_at"] == joined["created_at"] <= updated["updated_at"]


def test_a_group_that_does_not_exist_is_said_not_to(zake: Place) -> None:
    one = zake.coordinator(b"1")
    for call in (
        one.join_group,
        one.leave_group,
        one.get_members,
        one.get_members_with_capabilities,
        lambda group: one.update_capabilities(group, 1),
        lambda group: one.get_member_capabilities(group, b"1"),
        lambda group: one.get_member_info(group, b"1"),
    ):
        with pytest.raises(GroupNotCreated):
            call(GROUP).get()


def test_a_member_that_is_not_in_a_group_is_said_not_to_be(zake: Place) -> None:
    one = zake.coordinator(b"1")
    one.create_group(GROUP).get()
    for call in (
        one.leave_group,
        lambda group: one.update_capabilities(group, 1),
        lambda group: one.get_member_capabilities(group, b"1"),
        lambda group: one.get_member_info(group, b"1"),
    ):
        with pytest.raises(MemberNotJoined):
            call(GROUP).get()


def test_a_name_joins_a_group_once(zake: Place) -> None:
    one, namesake = zake.coordinator(b"1"), zake.coordinator(b"1")
    one.join_group_create(GROUP, "first")
    for again in (one, namesake):
        with pytest.raises(MemberAlreadyExist):
            again.join_group(GROUP, "second").get()
    assert one.get_member_capabilities(GROUP, b"1").get() == "first"


def test_a_coordinator_neither_removes_nor_changes_a_namesake(zake: Place) -> None:
    one, namesake = zake.coordinator(b"1"), zake.coordinator(b"1")
    one.join_group_create(GROUP, "first")
    with pytest.raises(MemberNotJoined):
        namesake.leave_group(GROUP).get()
    with pytest.raises(MemberNotJoined):
        namesake.update_capabilities(GROUP, "second").get()
    namesake.stop()
    assert one.get_members_with_capabilities(GROUP).get() == {b"1": "first"}


def test_members_are_read_as_of_one_moment(zake: Place) -> None:
    """Were each read at its own moment, the new value of one would meet the old of another."""
    reader, one, two = (zake.coordinator(name) for name in (b"r", b"1", b"2"))
    one.join_group_create(GROUP, "old")
    two.join_group(GROUP, "old").get()

    def update_first_then_second() -> None:
        one.update_capabilities(GROUP, "new").get()
        before_next(reader, "get", lambda: two.update_capabilities(GROUP, "new").get())

    before_next(reader, "get", update_first_then_second)
    found = reader.get_members_with_capabilities(GROUP).get()
    assert found == {b"1": "new", b"2": "new"}


@pytest.mark.parametrize("happening", ["join", "leave", "rejoin"])
def test_members_who_come_and_go_while_they_are_read_are_all_or_none(
    zake: Place, happening: str
) -> None:
    reader, one, two = (zake.coordinator(name) for name in (b"r", b"1", b"2"))
    one.join_group_create(GROUP)

    def happen() -> None:
        if happening != "join":
            one.leave_group(GROUP).get()
        if happening != "leave":
            two.join_group(GROUP).get()

    before_next(reader, "get", happen)
    expected = {"join": {b"1", b"2"}, "leave": set(), "rejoin": {b"2"}}[happening]
    assert reader.get_members(GROUP).get() == expected


def test_a_group_that_is_deleted_while_it_is_read_does_not_exist(zake: Place) -> None:
    reader, one = zake.coordinator(b"r"), zake.coordinator(b"1")
    one.join_group_create(GROUP)
    before_next(
        reader, "get", lambda: (one.leave_group(GROUP).get(), one.delete_group(GROUP).get())
    )
    with pytest.raises(GroupNotCreated):
        reader.get_members(GROUP).get()


def test_reading_gives_up_when_the_members_never_stand_still(zake: Place) -> None:
    reader, one = zake.coordinator(b"r", timeout=0.05), zake.coordinator(b"1")
    one.join_group_create(GROUP)

    def update_again() -> None:
        one.update_capabilities(GROUP, 1).get()
        before_next(reader, "get", update_again)

    before_next(reader, "get", update_again)
    with pytest.raises(OperationTimedOut, match="faster than they can be read"):
        reader.get_members(GROUP).get()


def test_joins_and_leaves_are_reported_once_in_order(zake: Place) -> None:
    one, two = zake.coordinator(b"1"), zake.coordinator(b"2")
    one.create_group(GROUP).get()
    events: list[Event] = []
    one.watch_join_group(GROUP, events.append)
    one.watch_leave_group(GROUP, events.append)
    two.join_group(GROUP).get()
    one.run_watchers()
    two.leave_group(GROUP).get()
    two.join_group(GROUP).get()
    one.run_watchers()
    one.run_watchers()
    joined, left = MemberJoinedGroup(GROUP, b"2"), MemberLeftGroup(GROUP, b"2")
    assert events == [joined, left, joined]


@pytest.mark.parametrize("name", HOSTILE, ids=lambda name: repr(name[:12]))
def test_odd_names_stay_what_they_are(zake: Place, name: bytes) -> None:
    one = zake.coordinator(name)
    one.join_group_create(name, {"name": name})
    assert one.get_groups().get() == [name]
    assert one.get_members_with_capabilities(name).get() == {name: {"name": name}}
    one.watch_elected_as_leader(name, lambda event: None)
    one.run_elect_coordinator()
    assert one.get_leader(name).get() == name
    assert one.get_lock(name).acquire(blocking=False)
    assert one.get_groups().get() == [name]


def test_odd_names_do_not_meet(zake: Place) -> None:
    one = zake.coordinator()
    for name in HOSTILE:
        one.create_group(name).get()
    one.join_group(HOSTILE[0]).get()
    assert one.get_groups().get() == sorted(HOSTILE)
    assert [n for n in HOSTILE if one.get_members(n).get()] == HOSTILE[:1]


def test_a_long_name_that_goes_while_groups_are_listed_is_not_half_listed(zake: Place) -> None:
    one, two = zake.coordinator(b"1"), zake.coordinator(b"2")
    for name in (GROUP, b"x" * 300):
        one.create_group(name).get()
    before_next(one, "get", lambda: two.delete_group(b"x" * 300).get())
    assert one.get_groups().get() == [GROUP]


@given(st.lists(st.binary(min_size=1, max_size=300), min_size=2, max_size=5, unique=True))
def test_names_map_to_nodes_one_to_one_and_harmlessly(names: list[bytes]) -> None:
    nodes = [_node(name) for name in names]
    assert len(set(nodes)) == len(names)
    for node in nodes:
        assert node.isascii()
        assert node.isprintable()
        assert "/" not in node
        assert node[0] in "=#"
        assert len(node) <= 201


def test_what_is_too_large_for_a_node_is_refused(zake: Place) -> None:
    one = zake.coordinator(b"1")
    with pytest.raises(ToozError, match="cannot be kept"):
        one.create_group(b"x" * 1_000_001).get()
    one.create_group(GROUP).get()
    with pytest.raises(SerializationError, match="at most"):
        one.join_group(GROUP, b"x" * 1_000_000).get()
    one.join_group(GROUP, b"x" * 999_000).get()
    with pytest.raises(SerializationError, match="at most"):
        one.update_capabilities(GROUP, b"y" * 1_000_000).get()
    assert one.get_member_capabilities(GROUP, b"1").get() == b"x" * 999_000
    long = zake.coordinator(b"x" * 1_000_001)
    long.watch_elected_as_leader(GROUP, lambda event: None)
    with pytest.raises(ToozError, match="cannot be kept"):
        long.run_elect_coordinator()


# -- leadership --------------------------------------------------------------------------


class Candidate:
    """A coordinator that stands for election."""

    def __init__(self, zake: Place, member_id: bytes) -> None:
        self.coordinator = zake.coordinator(member_id)
        self.elections: list[Event] = []
        self.coordinator.watch_elected_as_leader(GROUP, self.elections.append)

    def stand(self) -> int:
        """Stand for election; return how often it was elected so far."""
        self.coordinator.run_elect_coordinator()
        return len(self.elections)


def test_one_leads_until_it_stands_down(zake: Place) -> None:
    one, two = Candidate(zake, b"1"), Candidate(zake, b"2")
    assert one.coordinator.get_leader(GROUP).get() is None
    assert (one.stand(), two.stand(), one.stand()) == (1, 0, 1)
    assert one.elections == [LeaderElected(GROUP, b"1")]
    assert two.coordinator.get_leader(GROUP).get() == b"1"
    assert not two.coordinator.stand_down_group_leader(GROUP)
    assert one.coordinator.stand_down_group_leader(GROUP)
    assert not one.coordinator.stand_down_group_leader(GROUP)
    assert two.coordinator.get_leader(GROUP).get() is None
    assert (two.stand(), one.stand()) == (1, 1)


def test_a_new_term_is_a_new_election(zake: Place) -> None:
    one = Candidate(zake, b"1")
    assert one.stand() == 1
    one.coordinator.stand_down_group_leader(GROUP)
    assert one.stand() == 2


def test_namesakes_do_not_lead_together(zake: Place) -> None:
    one, namesake = Candidate(zake, b"1"), Candidate(zake, b"1")
    assert (one.stand(), namesake.stand()) == (1, 0)
    assert not namesake.coordinator.stand_down_group_leader(GROUP)
    assert one.coordinator.get_leader(GROUP).get() == b"1"


def test_an_election_whose_reply_is_lost_is_found_out(zake: Place) -> None:
    one = Candidate(zake, b"1")
    client = client_of(one.coordinator)
    client.lose_reply("create")
    with pytest.raises(ToozConnectionError):
        one.stand()
    client.resume()
    assert one.stand() == 1
    assert one.stand() == 1


def test_who_is_a_moment_late_does_not_lead(zake: Place) -> None:
    one, two = Candidate(zake, b"1"), Candidate(zake, b"2")
    before_next(one.coordinator, "create", two.stand)
    assert (one.stand(), len(two.elections)) == (0, 1)


def test_leading_needs_no_group_and_makes_none(zake: Place) -> None:
    one = Candidate(zake, b"1")
    one.stand()
    assert one.coordinator.get_groups().get() == []


# -- sessions ----------------------------------------------------------------------------


def test_what_was_lost_with_a_session_is_told_once_by_the_next_heartbeat(zake: Place) -> None:
    one = Candidate(zake, b"1")
    one.coordinator.join_group_create(b"the group")
    one.coordinator.get_lock(b"the lock").acquire()
    one.stand()
    expire(one.coordinator)
    with pytest.raises(ToozConnectionError, match="contact with ZooKeeper was lost") as lost:
        one.coordinator.heartbeat()
    for what in ("membership of group b'the group'", "leadership of group b'group'", "b'the lock'"):
        assert what in str(lost.value)
    assert one.coordinator.heartbeat() > 0


def test_a_session_lost_without_anything_is_told_as_well(zake: Place) -> None:
    one = zake.coordinator()
    expire(one)
    with pytest.raises(ToozConnectionError, match="nothing was held"):
        one.heartbeat()


def test_two_lost_sessions_are_told_together(zake: Place) -> None:
    one = zake.coordinator()
    for name in (b"a", b"b"):
        one.join_group_create(name)
        expire(one)
    with pytest.raises(ToozConnectionError, match="b'a', the membership of group b'b'"):
        one.heartbeat()


def test_a_membership_is_lost_with_the_session_and_can_be_renewed(zake: Place) -> None:
    one, two = zake.coordinator(b"1"), zake.coordinator(b"2")
    one.join_group_create(GROUP)
    events: list[Event] = []
    two.watch_leave_group(GROUP, events.append)
    two.watch_join_group(GROUP, events.append)
    expire(one)
    for reader in (one, two):
        assert reader.get_members(GROUP).get() == set()
    with pytest.raises(MemberNotJoined):
        one.leave_group(GROUP).get()
    one.join_group(GROUP).get()
    two.run_watchers()
    assert two.get_members(GROUP).get() == {b"1"}
    assert events == [MemberLeftGroup(GROUP, b"1"), MemberJoinedGroup(GROUP, b"1")]


def test_a_leadership_is_lost_with_the_session_and_can_be_won_again(zake: Place) -> None:
    one, two = Candidate(zake, b"1"), Candidate(zake, b"2")
    one.stand()
    expire(one.coordinator)
    assert one.coordinator.get_leader(GROUP).get() is None
    assert two.stand() == 1
    assert not one.coordinator.stand_down_group_leader(GROUP)
    assert (two.coordinator.stand_down_group_leader(GROUP), one.stand()) == (True, 2)


def test_stopping_after_a_loss_harms_no_successor(zake: Place) -> None:
    lost, successor = Candidate(zake, b"1"), Candidate(zake, b"1")
    lost.coordinator.join_group_create(GROUP)
    lost.stand()
    expire(lost.coordinator)
    successor.coordinator.join_group(GROUP).get()
    successor.stand()
    lost.coordinator.stop()
    assert successor.coordinator.get_members(GROUP).get() == {b"1"}
    assert successor.coordinator.get_leader(GROUP).get() == b"1"


def test_who_is_cut_off_times_out_and_works_again_when_connected(zake: Place) -> None:
    one = zake.coordinator(b"1", timeout=0.1)
    one.join_group_create(GROUP)
    client_of(one).suspend()
    for call in (
        lambda: one.get_members(GROUP).get(),
        lambda: one.create_group(b"another").get(),
        one.heartbeat,
    ):
        with pytest.raises(OperationTimedOut, match=r"within 0\.1 seconds"):
            call()
    client_of(one).resume()
    assert one.get_members(GROUP).get() == {b"1"}
    assert one.heartbeat() > 0


def test_writes_whose_reply_is_lost_are_not_sent_again(zake: Place) -> None:
    one = zake.coordinator(b"1")
    client_of(one).lose_reply("create")
    with pytest.raises(ToozConnectionError, match="unknown"):
        one.create_group(GROUP).get()
    client_of(one).resume()
    assert one.get_groups().get() == [GROUP]


def test_reads_whose_reply_is_lost_are(zake: Place) -> None:
    one = zake.coordinator(b"1")
    one.create_group(GROUP).get()
    client_of(one).lose_reply("get_children")
    reading = Waiting(one.get_groups().get)
    assert eventually(lambda: not client_of(one).connected)
    client_of(one).resume()
    assert reading.result() == [GROUP]


# -- life --------------------------------------------------------------------------------


def test_stopping_gives_everything_back_but_the_groups(zake: Place) -> None:
    one = Candidate(zake, b"1")
    one.coordinator.join_group_create(GROUP)
    one.coordinator.get_lock(b"lock").acquire()
    one.stand()
    one.coordinator.stop()
    assert zake.below("groups") == ["/tooz/groups/=group"]
    assert zake.below("locks") == zake.below("leaders") == []
    assert zake.server.sessions == []


def test_a_stopped_coordinator_holds_nothing_and_can_be_started_again(zake: Place) -> None:
    one = zake.coordinator(b"1")
    lock = one.get_lock(b"lock")
    lock.acquire()
    one.join_group_create(GROUP)
    one.stop()
    assert not lock.acquired
    one.start()
    assert one.heartbeat() > 0
    assert one.get_members(GROUP).get() == set()
    assert lock.acquire(blocking=False)
    assert lock.is_still_owner()


def test_stopping_returns_when_the_server_does_not_answer(zake: Place) -> None:
    one = zake.coordinator(b"1", timeout=0.1)
    lock = one.get_lock(b"lock")
    lock.acquire()
    one.join_group_create(GROUP)
    client_of(one).suspend()
    stopping = Waiting(one.stop)
    stopping.result()
    assert not lock.acquired


def test_nothing_is_left_of_many_coordinators(zake: Place) -> None:
    before = threading.active_count()
    for _ in range(200):
        one = get_coordinator(zake.url, b"1")
        one.start()
        with one.get_lock(b"lock"):
            one.join_group_create(b"group")
        one.stop()
    assert threading.active_count() == before
    assert zake.server.sessions == []
    assert zake.server.paths() == [
        *("/tooz", "/tooz/groups", "/tooz/groups/=group", "/tooz/leaders", "/tooz/locks")
    ]


def test_namespaces_keep_coordinators_apart(zake: Place) -> None:
    one, two = zake.coordinator(namespace="a"), zake.coordinator(namespace="a/b")
    one.create_group(GROUP).get()
    assert two.get_groups().get() == []
    assert one.get_lock(b"lock").acquire()
    assert two.get_lock(b"lock").acquire(blocking=False)


FORKING = """
import os, warnings
warnings.simplefilter("ignore")
from conformance.coordination import ToozError, get_coordinator
parent = get_coordinator("zake://", b"parent")
parent.start()
lock = parent.get_lock(b"lock")
lock.acquire()
parent._session._mutex.acquire()
if os.fork() == 0:
    said = [lock.acquired, parent.is_started, lock.release()]
    try:
        parent.stop()
    except ToozError as error:
        said.append("forked" in str(error))
    own = get_coordinator("zake://", b"child")
    own.start()
    said.append(own.get_lock(b"lock").acquire(blocking=False))
    own.stop()
    os.write(1, repr(said).encode())
    os._exit(0)
os.wait()
parent._session._mutex.release()
os.write(1, repr([lock.is_still_owner(), lock.release()]).encode())
parent.stop()
"""


def test_a_forked_process_inherits_nothing_and_harms_nothing() -> None:
    run = subprocess.run(
        [sys.executable, "-c", FORKING], capture_output=True, text=True, timeout=60, check=True
    )
    assert run.stdout == "[False, False, False, True, True][True, True]"


# -- what is claimed ---------------------------------------------------------------------


def test_zookeeper_claims_what_its_documentation_supports() -> None:
    assert set(KazooDriver.CHARACTERISTICS) == {
        Characteristics.DISTRIBUTED_ACROSS_THREADS,
        Characteristics.DISTRIBUTED_ACROSS_PROCESSES,
        Characteristics.DISTRIBUTED_ACROSS_HOSTS,
        Characteristics.SEQUENTIAL,
        Characteristics.CAUSAL,
        Characteristics.SERIALIZABLE,
    }
    assert frozenset(Feature) == KazooDriver.FEATURES


def test_zake_claims_more_but_stays_in_its_process() -> None:
    assert set(ZakeDriver.CHARACTERISTICS) == {
        Characteristics.NON_TIMEOUT_BASED,
        Characteristics.DISTRIBUTED_ACROSS_THREADS,
        Characteristics.LINEARIZABLE,
        Characteristics.SEQUENTIAL,
        Characteristics.CAUSAL,
        Characteristics.SERIALIZABLE,
    }


@pytest.mark.parametrize(
    ("scheme", "driver"),
    [("zookeeper", KazooDriver), ("kazoo", KazooDriver), ("zake", ZakeDriver)],
)
def test_drivers_are_found_by_their_schemes(scheme: str, driver: type) -> None:
    assert driver_class(scheme) is driver


# -- kazoo's client ----------------------------------------------------------------------


def kazoo_client(url: str, **options: Any) -> Any:
    made: Any = get_coordinator(url, b"1", None, **options)
    return made._session.client


@pytest.mark.parametrize(
    ("url", "hosts"),
    [
        ("zookeeper://", [("localhost", 2181)]),
        ("kazoo://one", [("one", 2181)]),
        ("zookeeper://one:2,two", [("one", 2), ("two", 2181)]),
        ("zookeeper://[::1]:3?hosts=one,[::2]", [("::1", 3), ("one", 2181), ("::2", 2181)]),
        ("zookeeper://one:2?hosts=two:3,three", [("one", 2), ("two", 3), ("three", 2181)]),
        ("zookeeper://me:secret@one:2/", [("one", 2)]),
    ],
)
def test_the_url_names_the_servers(url: str, hosts: list[tuple[str, int]]) -> None:
    assert kazoo_client(url).hosts == hosts


def test_options_reach_kazoos_client() -> None:
    client = kazoo_client(
        "zookeeper://one?timeout=2.5&randomize_hosts=false&use_ssl=true&ca=a&certfile=b",
        keyfile="c",
        keyfile_password="d",
        verify_certs=False,
        connection_retry=7,
    )
    assert client._session_timeout == 2500
    assert client.randomize_hosts is False
    assert (client.use_ssl, client.verify_certs, client.check_hostname) == (True, False, False)
    assert (client.ca, client.certfile, client.keyfile, client.keyfile_password) == tuple("abcd")
    assert client._conn_retry.max_tries == 7


def test_by_default_kazoo_goes_on_trying_to_connect_without_long_pauses() -> None:
    retry = kazoo_client("zookeeper://one")._conn_retry
    assert (retry.max_tries, retry.max_delay) == (None, 1.0)


def test_credentials_are_sent_and_protect_the_nodes() -> None:
    client = kazoo_client("zookeeper://me:s%40cret@one")
    assert client.auth_data == {("digest", "me:s@cret")}
    assert client.default_acl == [make_digest_acl("me", "s@cret", all=True)]
    assert kazoo_client("zookeeper://one").default_acl is None


@pytest.mark.parametrize(
    "url",
    [
        "zookeeper://me:secret@one/path",
        "zookeeper://me:secret@one?namespace=/",
        "zookeeper://me:secret@one?namespace=a//b",
        "zookeeper://me:secret@one?namespace=a/../b",
        "zookeeper://me:secret@one?namespace=zookeeper",
        "zookeeper://me:secret@one?namespace=a%00",
        "zookeeper://me:secret@one:port",
        "zookeeper://me:secret@one?hosts=two:port",
        "zookeeper://me:secret@one?timeout=0",
        "zookeeper://me:secret@one?timeout=soon",
        "zookeeper://me:secret@one?connection_retry=0",
        "zookeeper://me:secret@one?unknown=1",
        "zookeeper://me:secret/@one",
        "zookeeper://me:se/cret@one",
    ],
)
def test_what_cannot_be_meant_is_refused_without_telling_the_password(url: str) -> None:
    with pytest.raises(ValueError, match=r".") as refusal:
        get_coordinator(url, b"1")
    for part in ("secret", "cret", "se/"):
        assert part not in str(refusal.value)


def test_passwords_are_not_shown(caplog: pytest.LogCaptureFixture) -> None:
    made: Any = get_coordinator(
        "zookeeper://me:secret@one", b"1", use_ssl=True, keyfile_password="hidden"
    )
    lock = made.get_lock(b"lock")
    options = made.Options(keyfile_password="hidden", keyfile="shown")
    for shown in (repr(made), repr(lock), repr(made._session.client), repr(options)):
        assert "secret" not in shown
        assert "hidden" not in shown
    assert "keyfile='shown'" in repr(options)
    logger = made._session.client.logger
    with caplog.at_level(logging.DEBUG, logger.name):
        logger.debug("Sending request(xid=%s): %s", -4, Auth(0, "digest", "me:secret"))
        logger.debug("another")
    assert [record.getMessage() for record in caplog.records] == ["another"]


def test_a_server_that_cannot_be_reached_is_said_to_be() -> None:
    with socket.socket() as unused:
        unused.bind(("127.0.0.1", 0))
        url = f"zookeeper://127.0.0.1:{unused.getsockname()[1]}?timeout=0.3"
        before = threading.active_count()
        made = get_coordinator(url, b"1")
        with pytest.raises(ToozConnectionError, match="check the URL"):
            made.start()
        assert not made.is_started
        assert eventually(lambda: threading.active_count() == before)


def test_a_server_that_never_answers_is_not_waited_for_without_end() -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        url = f"zookeeper://127.0.0.1:{silent.getsockname()[1]}?timeout=0.3"
        before = threading.active_count()
        made = get_coordinator(url, b"1")
        starting = Waiting(made.start)
        with pytest.raises(ToozConnectionError, match="no ZooKeeper server answered"):
            starting.result()
        assert eventually(lambda: threading.active_count() == before)


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (KazooTimeoutError(), OperationTimedOut),
        (kazoo_errors.OperationTimeoutError(), OperationTimedOut),
        (kazoo_errors.RequestTimeoutError(), OperationTimedOut),
        (kazoo_errors.ConnectionLoss(), ToozConnectionError),
        (kazoo_errors.SessionExpiredError(), ToozConnectionError),
        (kazoo_errors.ConnectionClosedError(), ToozConnectionError),
        (kazoo_errors.SessionMovedError(), ToozConnectionError),
        (kazoo_errors.NotReadOnlyCallError(), ToozConnectionError),
        (kazoo_errors.AuthFailedError(), ToozConnectionError),
        (kazoo_errors.NoAuthError(), ToozError),
        (kazoo_errors.MarshallingError(), ToozError),
    ],
    ids=lambda value: type(value).__name__ if isinstance(value, Exception) else "",
)
def test_no_error_of_kazoos_comes_out_raw(
    zake: Place, error: Exception, expected: type[ToozError]
) -> None:
    one = zake.coordinator()
    with pytest.raises(ToozError) as translated, one.translated("testing"):
        raise error
    assert type(translated.value) is expected
    assert translated.value.__cause__ is error


def test_the_handler_tells_which_sockets_are_ready() -> None:
    handler = make_client(urlsplit("zookeeper://127.0.0.1:1"), ZookeeperOptions()).handler
    mine, other = socket.socketpair()
    with mine, other, socket.socket(fileno=fcntl.fcntl(mine, fcntl.F_DUPFD, 1500)) as high:
        assert handler.select([mine, high], [], [], 0.01) == ([], [], [])
        assert handler.select([], [mine, high], [], None) == ([], [mine, high], [])
        other.send(b"x")
        assert handler.select([mine, high], [other], [], None) == ([mine, high], [other], [])
        mine.recv(1)
        other.close()
        assert handler.select([high], [], [], 10) == ([high], [], []), "its end is to be read"
    with pytest.raises(ValueError, match="negative"):
        handler.select([mine], [], [], 10)
