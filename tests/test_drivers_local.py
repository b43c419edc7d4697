"""What file and ipc do for coordinators of one process: names, groups, leaders and life."""

from __future__ import annotations

import gc
import secrets
import threading
from concurrent import futures

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from conformance.coordination import (
    Characteristics,
    GroupNotCreated,
    GroupNotEmpty,
    MemberAlreadyExist,
    MemberNotJoined,
    get_coordinator,
)
from conformance.drivers.local import LocalCoordinator
from conformance.drivers.medium import safe_name
from tests.local_places import PATIENCE, Place, open_descriptors

GROUP = b"group"

HOSTILE = [
    b".",
    b"..",
    b"../x",
    b"a/b",
    b"/",
    b"/etc/passwd",
    b"a\0b",
    b"\0",
    b"\n",
    b"\xff\xfe",
    b"name",
    b"NAME",
    b"Name",
    b"coordination.guard",
    b"guard",
    b"registry",
    b"registry0",
    b"lock.x61",
    b"x61",
    b"%61",
    b"a",
    b"'; DROP TABLE locks; --",
    b"n" * 64,
    b"n" * 65,
    b"N" * 65,
    b"n" * 5000,
    b"n" * 4999 + b"m",
]


# -- names ------------------------------------------------------------------------------


def test_no_name_of_a_lock_is_another(local_place: Place) -> None:
    coordinator = local_place.coordinator()
    locks = [coordinator.get_lock(name) for name in HOSTILE]
    assert all(lock.acquire(blocking=False) for lock in locks)
    assert not any(coordinator.get_lock(name).acquire(blocking=False) for name in HOSTILE)
    assert all(lock.is_still_owner() for lock in locks)


def test_groups_members_and_leaders_have_any_name(local_place: Place) -> None:
    coordinators = [local_place.coordinator(name) for name in HOSTILE[:6]]
    for name in HOSTILE:
        coordinators[0].create_group(name).get()
    assert coordinators[0].get_groups().get() == sorted(HOSTILE)
    for coordinator in coordinators:
        coordinator.join_group(b"../x", coordinator.member_id).get()
    members = coordinators[0].get_members_with_capabilities(b"../x").get()
    assert members == {name: name for name in HOSTILE[:6]}
    assert coordinators[0].get_members(b"a/b").get() == set()


@settings(deadline=None)  # the machine may be busy
@given(st.lists(st.binary(min_size=1, max_size=200), unique=True, max_size=20))
def test_safe_names_are_short_distinct_and_plain(names: list[bytes]) -> None:
    safe = {safe_name(name) for name in names}
    assert len(safe) == len(names)
    assert all(name.isalnum() and name.islower() and len(name) <= 129 for name in safe)


def test_safe_names_of_short_and_long_names_do_not_meet() -> None:
    long = b"n" * 100
    assert safe_name(safe_name(long).encode()) != safe_name(long)
    assert safe_name(bytes.fromhex(safe_name(long)[1:])) != safe_name(long)


# -- groups -----------------------------------------------------------------------------


def test_a_member_of_another_coordinators_is_not_ones_own(local_place: Place) -> None:
    one, two = local_place.coordinator(b"same"), local_place.coordinator(b"same")
    one.join_group_create(GROUP, "one's")
    with pytest.raises(MemberAlreadyExist):
        two.join_group(GROUP).get()
    with pytest.raises(MemberNotJoined):
        two.leave_group(GROUP).get()
    with pytest.raises(MemberNotJoined):
        two.update_capabilities(GROUP, "two's").get()
    two.stop()
    assert one.get_member_capabilities(GROUP, b"same").get() == "one's"


def test_stopping_leaves_groups_and_keeps_them(local_place: Place) -> None:
    one, two = local_place.coordinator(b"one"), local_place.coordinator(b"two")
    one.join_group_create(GROUP)
    two.join_group(GROUP).get()
    with pytest.raises(GroupNotEmpty):
        two.delete_group(GROUP).get()
    one.stop()
    assert two.get_members(GROUP).get() == {b"two"}


def test_groups_outlive_all_coordinators(local_place: Place) -> None:
    first = local_place.coordinator()
    first.create_group(GROUP).get()
    first.stop()
    assert local_place.coordinator().get_groups().get() == [GROUP]


def test_groups_and_capabilities_have_no_size_limit(local_place: Place) -> None:
    coordinator = local_place.coordinator()
    for number in range(200):
        coordinator.create_group(b"group %d" % number)
    capabilities = secrets.token_bytes(3_000_000)
    coordinator.join_group(b"group 7", capabilities).get()
    assert coordinator.get_member_capabilities(b"group 7", b"me").get() == capabilities
    assert len(coordinator.get_groups().get()) == 200


def test_a_coordinators_calls_take_effect_in_order(local_place: Place) -> None:
    coordinator = local_place.coordinator()
    calls = [
        coordinator.create_group(GROUP),
        coordinator.join_group(GROUP, 1),
        coordinator.update_capabilities(GROUP, 2),
        coordinator.get_member_capabilities(GROUP, b"me"),
        coordinator.leave_group(GROUP),
        coordinator.get_members(GROUP),
        coordinator.delete_group(GROUP),
    ]
    assert [call.get() for call in calls] == [None, None, None, 2, None, set(), None]
    with pytest.raises(GroupNotCreated):
        coordinator.get_members(GROUP).get()


def test_concurrent_changes_are_all_kept(
    local_place: Place, threads: futures.ThreadPoolExecutor
) -> None:
    coordinators = [local_place.coordinator(b"%d" % number) for number in range(6)]
    coordinators[0].create_group(GROUP).get()

    def change(coordinator: LocalCoordinator) -> None:
        for value in range(10):
            coordinator.join_group(GROUP, value).get()
            coordinator.leave_group(GROUP).get()
        coordinator.join_group(GROUP, "in").get()

    for future in [threads.submit(change, coordinator) for coordinator in coordinators]:
        future.result(PATIENCE)
    members = coordinators[0].get_members_with_capabilities(GROUP).get()
    assert members == {b"%d" % number: "in" for number in range(6)}


# -- leadership -------------------------------------------------------------------------


def lead(coordinator: LocalCoordinator, group_id: bytes = GROUP) -> int:
    """Stand for election once; return how often the coordinator was told it leads."""
    told: list[object] = []
    coordinator.watch_elected_as_leader(group_id, told.append)
    coordinator.run_elect_coordinator()
    coordinator.unwatch_elected_as_leader(group_id, told.append)
    return len(told)


def test_one_leads_until_it_stands_down(local_place: Place) -> None:
    one, two = local_place.coordinator(b"one"), local_place.coordinator(b"two")
    assert two.get_leader(GROUP).get() is None
    assert (lead(one), lead(two)) == (1, 0)
    assert two.get_leader(GROUP).get() == b"one"
    assert not two.stand_down_group_leader(GROUP)
    assert one.stand_down_group_leader(GROUP)
    assert not one.stand_down_group_leader(GROUP)
    assert lead(two) == 1
    assert one.get_leader(GROUP).get() == b"two"


def test_stopping_stands_down(local_place: Place) -> None:
    one, two = local_place.coordinator(b"one"), local_place.coordinator(b"two")
    lead(one)
    one.stop()
    assert two.get_leader(GROUP).get() is None
    assert lead(two) == 1


def test_a_term_is_told_once_and_no_two_are_the_same(local_place: Place) -> None:
    coordinator = local_place.coordinator()
    terms = set()
    for _ in range(3):
        terms.add(coordinator._campaign(GROUP))
        assert coordinator._campaign(GROUP) in terms
        coordinator.stand_down_group_leader(GROUP)
    assert len(terms) == 3


def test_numbers_do_not_come_back_with_a_new_registry(local_place: Place) -> None:
    terms = set()
    for _ in range(3):
        coordinator = local_place.coordinator()
        terms.add(coordinator._campaign(GROUP))
        coordinator.stop()
        assert local_place.stored() == []
    assert len(terms) == 3


# -- life -------------------------------------------------------------------------------


def test_both_claim_what_their_hosts_kernel_gives(local_place: Place) -> None:
    claims = set(local_place.coordinator().CHARACTERISTICS)
    assert Characteristics.NON_TIMEOUT_BASED in claims
    assert Characteristics.LINEARIZABLE in claims
    assert Characteristics.DISTRIBUTED_ACROSS_HOSTS not in claims


@pytest.mark.parametrize("timeout", ["0", "-1", "nan", "inf", "soon", ""])
def test_a_timeout_is_some_seconds(local_place: Place, timeout: str) -> None:
    with pytest.raises(ValueError, match="timeout"):
        get_coordinator(f"{local_place.url}?timeout={timeout}", b"me")


def test_an_unknown_option_is_refused(local_place: Place) -> None:
    with pytest.raises(ValueError, match=r"it takes .*timeout"):
        get_coordinator(f"{local_place.url}?time_out=1", b"me")


def test_the_last_to_stop_leaves_nothing(local_place: Place) -> None:
    one, two = local_place.coordinator(b"one"), local_place.coordinator(b"two")
    for coordinator in (one, two):
        coordinator.join_group_create(GROUP)
        coordinator.get_lock(b"lock").acquire(blocking=False)
        lead(coordinator)
    one.stop()
    assert local_place.stored() != []
    two.leave_group(GROUP).get()
    two.delete_group(GROUP).get()
    two.stop()
    assert local_place.stored() == []


def test_a_locks_object_goes_with_the_last_that_used_it(local_place: Place) -> None:
    one, two = local_place.coordinator(b"one"), local_place.coordinator(b"two")
    empty = local_place.stored()
    for coordinator in (one, two):
        with coordinator.get_lock(b"lock"):
            pass
    one.stop()
    one.start()
    assert any("lock" in name for name in local_place.stored())
    two.stop()
    two.start()
    assert not any("lock" in name for name in local_place.stored())
    assert len(local_place.stored()) == len(empty)


def test_starting_and_stopping_leaves_no_thread_descriptor_or_object(local_place: Place) -> None:
    coordinator = local_place.coordinator()
    lock = coordinator.get_lock(b"lock")

    def live() -> tuple[int, int, int]:
        coordinator.stop()
        left = len(open_descriptors()), threading.active_count(), len(local_place.stored())
        coordinator.start()
        with lock:
            coordinator.join_group_create(GROUP)
            lead(coordinator)
            coordinator.heartbeat()
        return left

    gc.collect()  # what other tests left may close its descriptors at any time
    first = [live() for _ in range(2)][-1]
    last = [live() for _ in range(200)][-1]
    assert all(after <= before for before, after in zip(first, last, strict=True)), (first, last)


def test_coordinators_come_and_go_at_the_same_time(
    local_place: Place, threads: futures.ThreadPoolExecutor
) -> None:
    """Who removes the last of everything and who begins anew do not get in each other's way."""

    def come_and_go(number: int) -> None:
        coordinator = get_coordinator(local_place.url, b"%d" % number)
        for _ in range(25):
            coordinator.start()
            coordinator.heartbeat()
            with coordinator.get_lock(b"lock"):
                pass
            coordinator.stop()

    for future in [threads.submit(come_and_go, number) for number in range(4)]:
        future.result(PATIENCE)
    assert local_place.stored() == []


def test_a_heartbeat_is_never_due_soon(local_place: Place) -> None:
    coordinator = local_place.coordinator(timeout=3)
    assert not coordinator.requires_beating
    assert coordinator.heartbeat() == 3.0
