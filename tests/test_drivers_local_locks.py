"""What the locks of file and ipc do for coordinators of one process."""

from __future__ import annotations

import gc
import signal
from collections.abc import Callable
from concurrent import futures
from typing import Any

import pytest

from conformance.coordination import Lock, ToozError, get_coordinator
from conformance.drivers.local import LocalCoordinator
from conformance.drivers.medium import safe_name
from tests.local_places import PATIENCE, Place, eventually, open_descriptors


def waits(lock: Lock) -> Callable[[], bool]:
    """Whether a thread is acquiring through this object."""
    return lambda: lock._busy


# -- locks ------------------------------------------------------------------------------


def test_a_held_lock_is_refused_to_every_other_object(local_place: Place) -> None:
    one, two = local_place.coordinator(b"one"), local_place.coordinator(b"two")
    held = one.get_lock(b"lock")
    assert held.acquire(blocking=False)
    assert not one.get_lock(b"lock").acquire(blocking=False)
    assert not two.get_lock(b"lock").acquire(blocking=False)
    assert not two.get_lock(b"lock").acquire(blocking=False, shared=True)
    assert held.acquired
    assert held.is_still_owner()
    assert held.heartbeat()


def test_a_released_lock_is_free(local_place: Place) -> None:
    one, two = local_place.coordinator(b"one"), local_place.coordinator(b"two")
    first, second = one.get_lock(b"lock"), two.get_lock(b"lock")
    for _ in range(3):
        assert first.acquire(blocking=False)
        assert first.release()
        assert second.acquire(blocking=False)
        assert second.release()


def test_releasing_without_a_hold_says_so(local_place: Place) -> None:
    lock = local_place.coordinator().get_lock(b"lock")
    assert not lock.release()
    lock.acquire()
    assert lock.release()
    assert not lock.release()
    assert not lock.is_still_owner()
    assert not lock.heartbeat()


def test_a_handler_of_signals_may_stop_the_coordinator_that_waits(local_place: Place) -> None:
    one, two = local_place.coordinator(b"one"), local_place.coordinator(b"two")
    held = two.get_lock(b"lock")
    assert held.acquire()
    before = signal.signal(signal.SIGALRM, lambda *_: one.stop())
    try:
        signal.setitimer(signal.ITIMER_REAL, 0.1)
        with pytest.raises(ToozError):
            one.get_lock(b"lock").acquire(PATIENCE)
    finally:
        signal.signal(signal.SIGALRM, before)
    assert not one.is_started
    assert held.release()
    assert held.acquire(blocking=False)


def test_what_an_interrupted_acquire_gets_once_it_is_stopped_is_given_back(
    local_place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = local_place.coordinator(b"one"), local_place.coordinator(b"two")
    lock: Any = one.get_lock(b"lock")
    acquire = lock._acquire

    def interrupted(*arguments: Any) -> bool:
        taken: bool = acquire(*arguments)
        one.stop()
        return taken

    monkeypatch.setattr(lock, "_acquire", interrupted)
    with pytest.raises(ToozError):
        lock.acquire()
    assert not lock.acquired
    assert two.get_lock(b"lock").acquire(blocking=False)


def test_shared_holds_exclude_exclusive_ones_only(local_place: Place) -> None:
    coordinator = local_place.coordinator()
    readers = [coordinator.get_lock(b"lock") for _ in range(3)]
    writer = coordinator.get_lock(b"lock")
    assert all(reader.acquire(blocking=False, shared=True) for reader in readers)
    assert not writer.acquire(blocking=False)
    assert all(reader.release() for reader in readers)
    assert writer.acquire(blocking=False)
    assert not readers[0].acquire(blocking=False, shared=True)


def test_an_object_that_is_refused_keeps_nothing(local_place: Place) -> None:
    coordinator = local_place.coordinator()
    held, other = coordinator.get_lock(b"lock"), coordinator.get_lock(b"lock")
    held.acquire()
    assert not other.acquire(blocking=0.02)
    assert not other.acquired
    assert not other.release()
    assert held.is_still_owner()


@pytest.mark.parametrize("shared", [False, True])
def test_a_waiter_gets_the_lock_when_it_is_released(
    local_place: Place, threads: futures.ThreadPoolExecutor, shared: bool
) -> None:
    held, waiter = (local_place.coordinator().get_lock(b"lock") for _ in range(2))
    held.acquire()
    waiting = threads.submit(waiter.acquire, True, shared)
    assert eventually(waits(waiter))
    assert held.release()
    assert waiting.result(PATIENCE)
    assert waiter.is_still_owner()


def test_all_shared_waiters_get_in_together(
    local_place: Place, threads: futures.ThreadPoolExecutor
) -> None:
    coordinator = local_place.coordinator()
    held = coordinator.get_lock(b"lock")
    waiters = [coordinator.get_lock(b"lock") for _ in range(4)]
    held.acquire()
    waiting = [threads.submit(waiter.acquire, True, True) for waiter in waiters]
    assert eventually(lambda: all(waits(waiter)() for waiter in waiters))
    held.release()
    assert all(acquired.result(PATIENCE) for acquired in waiting)
    assert all(waiter.acquired for waiter in waiters)


def test_stopping_ends_a_wait(local_place: Place, threads: futures.ThreadPoolExecutor) -> None:
    holder, waiting = local_place.coordinator(b"one"), local_place.coordinator(b"two")
    held, waiter = holder.get_lock(b"lock"), waiting.get_lock(b"lock")
    held.acquire()
    acquiring = threads.submit(waiter.acquire)
    assert eventually(waits(waiter))
    waiting.stop()
    with pytest.raises(ToozError, match="not started"):
        acquiring.result(PATIENCE)
    assert held.is_still_owner()


def test_stopping_frees_what_is_held(local_place: Place) -> None:
    one, two = local_place.coordinator(b"one"), local_place.coordinator(b"two")
    held = one.get_lock(b"lock")
    held.acquire()
    one.stop()
    assert not held.acquired
    assert not held.release()
    assert two.get_lock(b"lock").acquire(blocking=False)


def test_a_lock_object_works_again_after_a_restart(local_place: Place) -> None:
    coordinator = local_place.coordinator()
    lock = coordinator.get_lock(b"lock")
    for _ in range(3):
        assert lock.acquire(blocking=False)
        coordinator.stop()
        with pytest.raises(ToozError):
            lock.acquire(blocking=False)
        coordinator.start()


def test_a_held_lock_that_nobody_refers_to_stays_held(local_place: Place) -> None:
    coordinator = local_place.coordinator()
    coordinator.get_lock(b"lock").acquire()
    gc.collect()
    assert not coordinator.get_lock(b"lock").acquire(blocking=False)


def test_lock_objects_that_nobody_refers_to_keep_no_descriptor(local_place: Place) -> None:
    coordinator = local_place.coordinator()

    def use() -> None:
        lock = coordinator.get_lock(b"lock")
        lock.acquire()
        lock.release()

    use()
    before = len(open_descriptors())
    for _ in range(50):
        use()
    assert len(open_descriptors()) <= before


def test_an_interrupted_acquire_holds_nothing(
    local_place: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    coordinator = local_place.coordinator()
    lock, other = coordinator.get_lock(b"lock"), coordinator.get_lock(b"lock")

    class Interrupting(set[Any]):
        def add(self, item: object) -> None:
            raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(coordinator, "holding", Interrupting())
        with pytest.raises(KeyboardInterrupt):
            lock.acquire()
    assert not lock.acquired
    assert other.acquire(blocking=False)


def test_nobody_is_refused_a_free_lock_because_others_clean_up(
    local_place: Place, threads: futures.ThreadPoolExecutor
) -> None:
    steady = local_place.coordinator(b"steady")
    lock = steady.get_lock(b"lock")

    def come_and_go() -> None:
        for _ in range(40):
            passing = get_coordinator(local_place.url, b"passing")
            passing.start()
            assert isinstance(passing, LocalCoordinator)
            passing.session.open_lock(f"lock.{safe_name(b'lock')}").close()
            passing.get_lock(b"lock").break_()
            passing.stop()

    passing = [threads.submit(come_and_go) for _ in range(2)]
    while not all(future.done() for future in passing):
        assert lock.acquire(blocking=False)
        lock.release()
    for future in passing:
        future.result()


def test_threads_exclude_each_other(
    local_place: Place, threads: futures.ThreadPoolExecutor
) -> None:
    shared = local_place.coordinator()
    inside: list[int] = []

    def work(number: int) -> None:
        lock = (shared if number % 2 else local_place.coordinator(b"%d" % number)).get_lock(b"lock")
        for _ in range(50):
            with lock:
                inside.append(number)
                assert inside == [number]
                inside.remove(number)

    for future in [threads.submit(work, number) for number in range(6)]:
        future.result(PATIENCE)


# -- breaking ---------------------------------------------------------------------------


def test_a_broken_hold_is_lost(local_place: Place) -> None:
    one, two = local_place.coordinator(b"one"), local_place.coordinator(b"two")
    held, other = one.get_lock(b"lock"), two.get_lock(b"lock")
    held.acquire()
    assert other.break_()
    assert not held.acquired
    assert not held.is_still_owner()
    assert not held.heartbeat()
    assert other.acquire(blocking=False)
    assert not held.release()
    assert other.is_still_owner()


def test_who_lost_a_hold_can_acquire_again(local_place: Place) -> None:
    coordinator = local_place.coordinator()
    lock = coordinator.get_lock(b"lock")
    lock.acquire()
    coordinator.get_lock(b"lock").break_()
    assert lock.acquire(blocking=False)
    assert lock.is_still_owner()
    assert not coordinator.get_lock(b"lock").acquire(blocking=False)


def test_breaking_ends_all_shared_holds(local_place: Place) -> None:
    coordinator = local_place.coordinator()
    readers = [coordinator.get_lock(b"lock") for _ in range(2)]
    assert all(reader.acquire(shared=True) for reader in readers)
    assert coordinator.get_lock(b"lock").break_()
    assert not any(reader.acquired for reader in readers)
    assert coordinator.get_lock(b"lock").acquire(blocking=False)


def test_breaking_a_free_lock_says_so(local_place: Place) -> None:
    coordinator = local_place.coordinator()
    lock = coordinator.get_lock(b"lock")
    assert not lock.break_()
    lock.acquire()
    lock.release()
    assert not coordinator.get_lock(b"lock").break_()
    assert lock.acquire(blocking=False)


@pytest.mark.parametrize("shared", [False, True])
def test_breaking_tells_of_a_holder_who_lets_go_at_that_moment(
    local_place: Place, shared: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    one, two = local_place.coordinator(b"one"), local_place.coordinator(b"two")
    held, other = one.get_lock(b"lock"), two.get_lock(b"lock")
    held.acquire(shared=shared)
    medium: Any = two.session._medium
    remove = medium.remove

    def let_go(name: str) -> None:
        remove(name)
        assert not held.release()
        assert held.acquire(blocking=False)

    monkeypatch.setattr(medium, "remove", let_go)
    assert other.break_()
    monkeypatch.undo()
    assert held.is_still_owner()
    held.release()
    assert not other.break_()


def test_breaking_lets_a_waiter_in(local_place: Place, threads: futures.ThreadPoolExecutor) -> None:
    coordinator = local_place.coordinator()
    held, waiter = coordinator.get_lock(b"lock"), coordinator.get_lock(b"lock")
    held.acquire()
    waiting = threads.submit(waiter.acquire)
    assert eventually(waits(waiter))
    assert coordinator.get_lock(b"lock").break_()
    assert waiting.result(PATIENCE)
