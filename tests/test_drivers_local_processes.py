"""What file and ipc do across processes, killed and paused, also in the middle of a change."""

from __future__ import annotations

import itertools
import os
import signal
import threading
import time
from concurrent import futures

import pytest

from conformance.coordination import OperationTimedOut
from conformance.drivers.local import LocalCoordinator
from conformance.drivers.medium import Descriptor
from conformance.drivers.registry import Registry
from tests.local_places import (
    GROUP,
    LOCK,
    PATIENCE,
    Place,
    eventually,
    still_has_everything,
    take_everything,
)

# -- killed and paused ------------------------------------------------------------------


def test_what_a_killed_client_held_is_free_at_once(local_place: Place) -> None:
    coordinator, client = local_place.coordinator(b"me"), local_place.client(b"other")
    client.do(take_everything)
    assert not coordinator.get_lock(LOCK).acquire(blocking=False)
    assert coordinator.get_leader(GROUP).get() == b"other"
    client.kill()
    assert coordinator.get_lock(LOCK).acquire(blocking=False)
    assert coordinator.get_members(GROUP).get() == set()
    assert coordinator.get_leader(GROUP).get() is None
    assert coordinator._campaign(GROUP) is not None
    coordinator.delete_group(GROUP).get()


def test_a_killed_clients_name_can_be_joined_under_at_once(local_place: Place) -> None:
    first = local_place.client(b"same")
    first.do(take_everything)
    first.kill()
    second = local_place.client(b"same")
    second.do(take_everything)
    assert local_place.coordinator().get_members(GROUP).get() == {b"same"}


def test_what_a_paused_client_holds_it_keeps(local_place: Place) -> None:
    coordinator = local_place.coordinator(b"me", timeout=0.05)
    client = local_place.client(b"other", timeout=0.05)
    client.do(take_everything)
    client.pause()
    assert not coordinator.get_lock(LOCK).acquire(blocking=0.3)
    coordinator.create_group(b"another").get()  # whoever changes something removes the dead
    assert coordinator.get_members(GROUP).get() == {b"other"}
    assert coordinator.get_leader(GROUP).get() == b"other"
    assert coordinator._campaign(GROUP) is None
    client.resume()
    assert client.do(still_has_everything)


def test_a_waiter_gets_the_lock_when_its_holder_is_killed(
    local_place: Place, threads: futures.ThreadPoolExecutor
) -> None:
    waiter = local_place.coordinator().get_lock(LOCK)
    client = local_place.client()
    client.lock("acquire", LOCK)
    waiting = threads.submit(waiter.acquire)
    assert eventually(lambda: waiter._busy)
    client.kill()
    assert waiting.result(PATIENCE)


def test_a_killed_waiter_does_not_keep_the_next_from_waiting(
    local_place: Place, threads: futures.ThreadPoolExecutor
) -> None:
    coordinator = local_place.coordinator()
    held, waiter = coordinator.get_lock(LOCK), coordinator.get_lock(LOCK)
    held.acquire()
    clients = [local_place.client(b"%d" % number) for number in range(2)]
    for client in clients:
        client.begin(acquire_and_tell_nobody)
    waiting = threads.submit(waiter.acquire)
    assert eventually(lambda: waiter._busy)
    for client in clients:
        client.kill()
    held.release()
    assert waiting.result(PATIENCE)


def acquire_and_tell_nobody(coordinator: LocalCoordinator) -> None:
    coordinator.get_lock(LOCK).acquire()


def test_shared_holds_of_two_processes_exclude_a_third_ones(local_place: Place) -> None:
    coordinator, client = local_place.coordinator(), local_place.client()
    lock = coordinator.get_lock(LOCK)
    assert lock.acquire(blocking=False, shared=True)
    assert client.lock("acquire", LOCK, False, True)
    assert not coordinator.get_lock(LOCK).acquire(blocking=False)
    lock.release()
    assert not lock.acquire(blocking=False)
    client.kill()
    assert lock.acquire(blocking=False)


def test_a_lock_broken_from_another_process_is_lost(local_place: Place) -> None:
    coordinator, client = local_place.coordinator(), local_place.client()
    client.lock("acquire", LOCK)
    lock = coordinator.get_lock(LOCK)
    assert lock.break_()
    assert lock.acquire(blocking=False)
    assert not client.lock("is_still_owner", LOCK)
    assert not client.lock("release", LOCK)
    assert lock.is_still_owner()


def test_the_next_to_come_removes_what_the_killed_left(local_place: Place) -> None:
    for number in range(3):
        client = local_place.client(b"%d" % number)
        client.lock("acquire", b"lock %d" % number)
        client.kill()
    assert any("lock" in name for name in local_place.stored())
    coordinator = local_place.coordinator()
    alone = local_place.stored()
    coordinator.stop()
    assert local_place.stored() == []
    coordinator.start()
    assert len(local_place.stored()) == len(alone)


def test_members_that_are_killed_one_by_one_are_seen_to_go_in_that_order(
    local_place: Place,
) -> None:
    """No view shows again who was gone, or misses one that was killed later."""
    coordinator = local_place.coordinator(b"me")
    coordinator.create_group(GROUP).get()
    clients = [local_place.client(b"%d" % number) for number in range(4)]
    for client in clients:
        client.call("join_group", GROUP)
    names = [b"%d" % number for number in range(4)]
    views: list[set[bytes]] = []
    done = threading.Event()

    def look() -> None:
        while not done.is_set():
            views.append(coordinator.get_members(GROUP).get())

    looking = threading.Thread(target=look)
    looking.start()
    for client in clients:
        client.kill()
    assert eventually(lambda: views[-1:] == [set()])
    done.set()
    looking.join()
    seen = [len(view) for view in views]
    assert seen == sorted(seen, reverse=True)
    assert all(view == set(names[len(names) - len(view) :]) for view in views)


# -- in the middle of a change ----------------------------------------------------------


def pause_in_a_change(coordinator: LocalCoordinator) -> None:
    """Stop this process while it holds the guard."""

    def change(before: Registry) -> Registry:
        os.kill(os.getpid(), signal.SIGSTOP)
        return before

    coordinator.session.step(change)


def die_in_a_change(coordinator: LocalCoordinator, moment: str) -> None:
    """Kill this process while it replaces the registry."""
    whole = Descriptor.write

    def write(self: Descriptor, content: bytes) -> None:
        whole(self, content[: len(content) // 2] if moment == "half written" else content)
        os.kill(os.getpid(), signal.SIGKILL)

    def die(before: Registry) -> Registry:
        os.kill(os.getpid(), signal.SIGKILL)
        return before

    if moment == "not yet written":
        coordinator.session.step(die)
    Descriptor.write = write  # type: ignore[method-assign]
    coordinator.create_group(b"never").get()


def test_a_change_that_is_paused_holds_up_changes_only(local_place: Place) -> None:
    coordinator = local_place.coordinator(b"me", timeout=0.05)
    coordinator.join_group_create(GROUP)
    lock = coordinator.get_lock(LOCK)
    lock.acquire()
    lock.release()
    client = local_place.client(b"other")
    client.begin(pause_in_a_change)
    assert client.is_paused_soon()
    with pytest.raises(OperationTimedOut, match="paused"):
        coordinator.update_capabilities(GROUP, 1).get()
    assert coordinator.get_members(GROUP).get() == {b"me"}
    assert lock.acquire(blocking=False)
    client.resume()
    client.answer()
    coordinator.update_capabilities(GROUP, 1).get()


def test_a_change_whose_maker_is_killed_while_paused_holds_up_nobody(local_place: Place) -> None:
    coordinator = local_place.coordinator(b"me", timeout=0.05)
    client = local_place.client(b"other")
    client.begin(pause_in_a_change)
    assert client.is_paused_soon()
    with pytest.raises(OperationTimedOut):
        coordinator.create_group(GROUP).get()
    client.kill()
    coordinator.create_group(GROUP).get()


@pytest.mark.parametrize("moment", ["not yet written", "half written", "written"])
def test_a_change_whose_maker_is_killed_never_was(local_place: Place, moment: str) -> None:
    coordinator, client = local_place.coordinator(b"me"), local_place.client(b"other")
    coordinator.join_group_create(GROUP, "kept")
    client.begin(die_in_a_change, moment)
    client.process.join(PATIENCE)
    assert client.process.exitcode == -signal.SIGKILL
    assert coordinator.get_groups().get() == [GROUP]
    assert coordinator.get_member_capabilities(GROUP, b"me").get() == "kept"
    coordinator.create_group(b"next").get()
    assert coordinator.get_groups().get() == [GROUP, b"next"]


def test_clients_killed_at_any_moment_leave_nothing_wrong(local_place: Place) -> None:
    coordinator = local_place.coordinator(b"me")
    coordinator.create_group(GROUP).get()
    for number in range(6):
        client = local_place.client(b"busy")
        client.begin(change_for_ever)
        assert eventually(lambda: coordinator.get_members(GROUP).get() == {b"busy"})
        end = time.monotonic() + 0.01 * number
        while time.monotonic() < end:
            assert coordinator.get_members(GROUP).get() <= {b"busy"}
        client.kill()
        assert coordinator.get_members(GROUP).get() == set()
        assert coordinator.get_lock(LOCK).acquire(blocking=False)
        coordinator.stop()
        coordinator.start()


def change_for_ever(coordinator: LocalCoordinator) -> None:
    lock = coordinator.get_lock(LOCK)
    while True:
        coordinator.join_group(GROUP).get()
        lock.acquire()
        coordinator.leave_group(GROUP).get()
        lock.release()


# -- exclusion --------------------------------------------------------------------------


def hold_often(coordinator: LocalCoordinator, times: int, shared: bool) -> list[tuple[int, int]]:
    """Hold the lock again and again; return when, by the clock that all processes share."""
    lock = coordinator.get_lock(LOCK)
    holds = []
    for _ in range(times):
        assert lock.acquire(PATIENCE, shared)
        begin = time.monotonic_ns()
        holds.append((begin, time.monotonic_ns()))
        assert lock.release()
    return holds


def test_no_two_of_four_processes_hold_at_once(local_place: Place) -> None:
    clients = [local_place.client(b"%d" % number) for number in range(4)]
    for client in clients:
        client.begin(hold_often, 300, False)
    holds = sorted(hold for client in clients for hold in client.answer())
    assert len(holds) == 1200
    assert all(before[1] <= after[0] for before, after in itertools.pairwise(holds))


def test_an_exclusive_hold_of_one_process_overlaps_no_shared_ones(local_place: Place) -> None:
    readers = [local_place.client(b"%d" % number) for number in range(2)]
    writer = local_place.client(b"writer")
    for client in readers:
        client.begin(hold_often, 300, True)
    writer.begin(hold_often, 100, False)
    exclusive = writer.answer()
    shared = [hold for client in readers for hold in client.answer()]
    assert not any(w[0] < r[1] and r[0] < w[1] for w in exclusive for r in shared)


def test_changes_of_four_processes_are_all_kept(local_place: Place) -> None:
    coordinator = local_place.coordinator()
    coordinator.create_group(GROUP).get()
    clients = [local_place.client(b"%d" % number) for number in range(4)]
    for client in clients:
        client.begin(join_and_update, 20)
    for client in clients:
        client.answer()
    members = coordinator.get_members_with_capabilities(GROUP).get()
    assert members == {b"%d" % number: 19 for number in range(4)}


def join_and_update(coordinator: LocalCoordinator, times: int) -> None:
    coordinator.join_group(GROUP).get()
    for value in range(times):
        coordinator.update_capabilities(GROUP, value).get()


def test_one_of_four_processes_leads_at_a_time(local_place: Place) -> None:
    clients = [local_place.client(b"%d" % number) for number in range(4)]
    for client in clients:
        client.begin(lead_often, 30)
    terms = [term for client in clients for term in client.answer()]
    numbers = [number for number, _, _ in terms]
    assert len(terms) == len(set(numbers)) == 120
    spans = [(begin, end) for _, begin, end in sorted(terms)]
    assert all(before[1] <= after[0] for before, after in itertools.pairwise(spans))


def lead_often(coordinator: LocalCoordinator, times: int) -> list[tuple[int, int, int]]:
    """Lead and stand down again and again; return each term and when it surely lasted."""
    terms: list[tuple[int, int, int]] = []
    while len(terms) < times:
        term = coordinator._campaign(GROUP)
        if isinstance(term, int):
            begin = time.monotonic_ns()
            terms.append((term, begin, time.monotonic_ns()))
            coordinator.stand_down_group_leader(GROUP)
    return terms
