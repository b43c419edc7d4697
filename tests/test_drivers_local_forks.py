"""What a forked child of a process that uses file or ipc has to do with its parent: nothing."""

from __future__ import annotations

import contextlib
import os
import signal
import threading
from collections.abc import Callable
from pathlib import Path

from conformance.coordination import ToozError, get_coordinator
from conformance.drivers.local import LocalCoordinator
from tests.local_places import (
    GROUP,
    LOCK,
    Place,
    open_descriptors,
    still_has_everything,
    take_everything,
)


def fork_and_wait(coordinator: LocalCoordinator) -> int:
    """Take everything, then fork a child that lives until it is killed."""
    take_everything(coordinator)
    reading, writing = os.pipe()
    child = os.fork()
    if not child:
        os.write(writing, b"1")
        signal.pause()
    os.read(reading, 1)
    return child


def test_a_forked_child_does_not_keep_what_its_killed_parent_held(local_place: Place) -> None:
    coordinator, client = local_place.coordinator(b"me"), local_place.client(b"other")
    child = client.do(fork_and_wait)
    try:
        client.kill()
        assert coordinator.get_lock(LOCK).acquire(blocking=False)
        assert coordinator.get_members(GROUP).get() == set()
        assert coordinator.get_leader(GROUP).get() is None
    finally:
        os.kill(child, signal.SIGKILL)


def test_a_forked_child_that_ends_takes_nothing_from_its_parent(local_place: Place) -> None:
    coordinator, client = local_place.coordinator(b"me"), local_place.client(b"other")
    assert client.do(fork_and_let_it_end) == 0
    assert not coordinator.get_lock(LOCK).acquire(blocking=False)
    assert coordinator.get_members(GROUP).get() == {b"other"}
    assert client.do(still_has_everything)


def fork_and_let_it_end(coordinator: LocalCoordinator) -> int:
    take_everything(coordinator)
    return in_a_child(lambda: None)


def test_a_forked_child_has_no_part_in_its_parents_coordinator(local_place: Place) -> None:
    client = local_place.client()
    assert client.do(fork_and_use_parents) == 0
    assert client.do(still_has_everything)


def fork_and_use_parents(coordinator: LocalCoordinator) -> int:
    take_everything(coordinator)
    (lock,) = coordinator.holding

    def use() -> None:
        assert not lock.acquired
        assert not lock.release()
        for call in (lock.acquire, coordinator.heartbeat, coordinator.stop, coordinator.start):
            try:
                call()
            except ToozError:
                continue
            raise AssertionError(call)

    return in_a_child(use)


def test_a_forked_child_can_have_a_coordinator_of_its_own(local_place: Place) -> None:
    client = local_place.client()
    assert client.do(fork_and_compete, local_place.url) == 0
    assert client.do(still_has_everything)
    assert local_place.coordinator(b"me").get_members(GROUP).get() == {b"other"}


def fork_and_compete(coordinator: LocalCoordinator, url: str) -> int:
    take_everything(coordinator)

    def compete() -> None:
        child = get_coordinator(url, b"child")
        child.start()
        assert not child.get_lock(LOCK).acquire(blocking=False)
        child.join_group(GROUP).get()
        assert child.get_members(GROUP).get() == {b"other", b"child"}
        child.stop()

    return in_a_child(compete)


def test_a_fork_in_the_middle_of_other_threads_calls_keeps_no_descriptor(
    local_place: Place,
) -> None:
    client = local_place.client()
    assert client.do(fork_while_busy, local_place.driver) == 0


def fork_while_busy(coordinator: LocalCoordinator, driver: str) -> int:
    """Fork again and again while a thread is busy.

    Return in how many children something of the coordinator's was open.
    """
    coordinator.create_group(GROUP).get()
    lock = coordinator.get_lock(LOCK)
    done = threading.Event()

    def work() -> None:
        while not done.is_set():
            with lock:
                coordinator.join_group(GROUP).get()
                coordinator.leave_group(GROUP).get()

    def look() -> None:
        part = "coordination." if driver == "file" else "/dev/shm/"
        assert not any(part in name for name in open_descriptors())

    worker = threading.Thread(target=work)
    worker.start()
    failed = sum(in_a_child(look) != 0 for _ in range(30))
    done.set()
    worker.join()
    return failed


def in_a_child(work: Callable[[], object]) -> int:
    """Call ``work`` in a forked child; return its exit status."""
    child = os.fork()
    if not child:
        try:
            work()
        except BaseException:
            os._exit(1)
        os._exit(0)
    return os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])


def test_a_started_process_does_not_inherit_anything(local_place: Place) -> None:
    """What execve(2) starts has none of the descriptors (flock(2) would survive it)."""
    client = local_place.client()
    client.do(take_everything)
    assert client.do(inheritable) == []


def inheritable(coordinator: LocalCoordinator) -> list[str]:
    """Return which of the coordinator's descriptors execve(2) would keep."""
    found = []
    for link in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(OSError):  # that of the listing itself
            if os.get_inheritable(int(link.name)):
                found.append(str(link.readlink()))
    return [name for name in found if "coordination." in name or "/dev/shm/" in name]
