"""What file and ipc do when changes meet: with each other, a death, or the loss of everything."""

from __future__ import annotations

import logging
import threading
import time
from collections.abc import Callable, Iterable
from concurrent import futures

import pytest

from conformance.coordination import (
    OperationTimedOut,
    ToozConnectionError,
    get_coordinator,
)
from conformance.drivers import registry
from conformance.drivers.registry import Registry
from tests.local_places import PATIENCE, Place

GROUP = b"group"


# -- loss of what is stored -------------------------------------------------------------


def test_every_call_says_that_the_session_is_gone(local_place: Place) -> None:
    coordinator = local_place.coordinator()
    coordinator.create_group(GROUP).get()
    local_place.remove()
    calls: list[Callable[[], object]] = [
        coordinator.heartbeat,
        coordinator.get_groups().get,
        coordinator.get_members(GROUP).get,
        coordinator.get_leader(GROUP).get,
        coordinator.join_group(GROUP).get,
        coordinator.create_group(b"other").get,
        lambda: coordinator.stand_down_group_leader(GROUP),
        lambda: coordinator.get_lock(b"lock").acquire(blocking=False),
        coordinator.get_lock(b"lock").break_,
    ]
    for call in calls:
        with pytest.raises(ToozConnectionError, match="start"):
            call()


def test_a_hold_is_lost_with_what_is_stored(local_place: Place) -> None:
    coordinator = local_place.coordinator()
    lock = coordinator.get_lock(b"lock")
    lock.acquire()
    local_place.remove()
    assert not lock.acquired
    assert not lock.is_still_owner()
    assert not lock.release()


@pytest.mark.parametrize("anew", [False, True])
def test_a_lost_session_can_be_stopped_and_started_again(
    local_place: Place, anew: bool, caplog: pytest.LogCaptureFixture
) -> None:
    coordinator = local_place.coordinator(b"one")
    coordinator.join_group_create(GROUP)
    lock = coordinator.get_lock(b"lock")
    lock.acquire()
    local_place.remove()
    if anew:
        other = local_place.coordinator(b"two")
        assert other.get_lock(b"lock").acquire(blocking=False)
        other.stop()
    with caplog.at_level(logging.WARNING):
        coordinator.stop()
    assert "gone" in caplog.text
    coordinator.start()
    coordinator.join_group_create(GROUP)
    assert lock.acquire(blocking=False)


# -- the guard --------------------------------------------------------------------------


def test_a_change_that_is_held_up_times_out_and_reading_is_not(
    local_place: Place, threads: futures.ThreadPoolExecutor
) -> None:
    slow, other = local_place.coordinator(b"slow"), local_place.coordinator(b"other", timeout=0.05)
    other.join_group_create(GROUP)
    lock = other.get_lock(b"lock")
    assert lock.acquire()
    entered, leave = threading.Event(), threading.Event()

    def change(before: Registry) -> Registry:
        entered.set()
        leave.wait(PATIENCE)
        return before

    changing = threads.submit(slow.session.step, change)
    assert entered.wait(PATIENCE)
    try:
        with pytest.raises(OperationTimedOut, match="paused"):
            other.update_capabilities(GROUP, 1).get()
        with pytest.raises(OperationTimedOut):
            other.leave_group(GROUP).get()
        with pytest.raises(OperationTimedOut):
            get_coordinator(local_place.url, b"new", timeout=0.05).start()
        assert other.get_members(GROUP).get() == {b"other"}
        assert other.get_leader(GROUP).get() is None
        assert lock.release()
        assert lock.acquire(blocking=False)
    finally:
        leave.set()
    changing.result(PATIENCE)
    other.update_capabilities(GROUP, 1).get()


def test_stopping_while_held_up_returns_and_the_next_cleans_up(
    local_place: Place, threads: futures.ThreadPoolExecutor, caplog: pytest.LogCaptureFixture
) -> None:
    slow, other = local_place.coordinator(b"slow"), local_place.coordinator(b"other", timeout=0.05)
    other.join_group_create(GROUP)
    other.get_lock(b"lock").acquire()
    entered, leave = threading.Event(), threading.Event()

    def change(before: Registry) -> Registry:
        entered.set()
        leave.wait(PATIENCE)
        return before

    changing = threads.submit(slow.session.step, change)
    assert entered.wait(PATIENCE)
    with caplog.at_level(logging.WARNING):
        other.stop()
    assert "left to the next coordinator" in caplog.text
    leave.set()
    changing.result(PATIENCE)
    assert slow.get_members(GROUP).get() == set()
    assert slow.get_lock(b"lock").acquire(blocking=False)


def test_a_refused_change_leaves_everything_as_it_was(local_place: Place) -> None:
    coordinator = local_place.coordinator()
    coordinator.join_group_create(GROUP, "kept")

    def fail(before: Registry) -> Registry:
        raise RuntimeError("in the middle")

    with pytest.raises(RuntimeError):
        coordinator.session.step(fail)
    assert coordinator.get_member_capabilities(GROUP, b"me").get() == "kept"


def test_reading_succeeds_while_others_write_without_a_pause(
    local_place: Place, threads: futures.ThreadPoolExecutor
) -> None:
    reader, writer = local_place.coordinator(b"reader"), local_place.coordinator(b"writer")
    writer.join_group_create(GROUP)
    end = time.monotonic() + 0.5

    def write() -> None:
        value = 0
        while time.monotonic() < end:
            writer.update_capabilities(GROUP, value).get()
            value += 1

    writing = threads.submit(write)
    seen = []
    while not writing.done():
        seen.append(reader.get_member_capabilities(GROUP, b"writer").get() or 0)
    writing.result()
    assert seen == sorted(seen)
    assert len(set(seen)) > 1


def test_what_was_read_while_it_changed_is_read_again(local_place: Place) -> None:
    reader, one, two = (local_place.coordinator(name) for name in (b"reader", b"one", b"two"))
    one.join_group_create(GROUP)
    looked: list[Registry] = []

    def members_of_others(seen: Registry) -> Iterable[str]:
        if not looked:
            two.join_group(GROUP).get()
            one.leave_group(GROUP).get()
        looked.append(seen)
        return registry.owners(seen, GROUP)

    seen = reader.session.read(members_of_others)
    assert len(looked) == 2
    assert set(registry.stays(seen, GROUP)) == {b"two"}


def test_who_dies_while_others_are_looked_at_is_not_seen_to_outlive_them(
    local_place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """All die, one after the other, right after the first was found alive."""
    reader = local_place.coordinator(b"reader")
    dying = [local_place.coordinator(b"%d" % number) for number in range(3)]
    for coordinator in dying:
        coordinator.join_group_create(GROUP)
    is_alive = reader.session._is_alive
    asked: list[str] = []

    def dying_after_the_first(session: str) -> bool:
        alive = is_alive(session)
        if not asked:
            for coordinator in dying:
                coordinator.session._own.unlock()  # as the kernel does
        asked.append(session)
        return alive

    monkeypatch.setattr(reader.session, "_is_alive", dying_after_the_first)
    assert reader.get_members(GROUP).get() == set()
