"""How those who wait for a lock of file or ipc are woken, and what they notice by themselves."""

from __future__ import annotations

import gc
import math
import os
from concurrent import futures
from pathlib import Path

import pytest

from conformance.drivers import bell, local
from conformance.drivers.bell import Bell
from conformance.drivers.local import LocalLock
from conformance.drivers.medium import Descriptor
from tests.local_places import LOCK, PATIENCE, Place, eventually


@pytest.fixture
def waited(monkeypatch: pytest.MonkeyPatch) -> list[float]:
    """The seconds of each wait for a bell in this process."""
    begun: list[float] = []
    waiting = Bell.wait

    def wait(self: Bell, rung: int, seconds: float) -> None:
        begun.append(seconds)
        waiting(self, rung, seconds)

    monkeypatch.setattr(Bell, "wait", wait)
    return begun


@pytest.fixture
def opened(tmp_path: Path) -> Descriptor:
    path = tmp_path / "object"
    return Descriptor.opening(lambda: os.open(path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC))


def times_rung(lock: LocalLock) -> int:
    assert lock._bell is not None
    return int(lock._bell._numbers.rung)


def local_lock(place: Place) -> LocalLock:
    lock = place.coordinator().get_lock(LOCK)
    assert isinstance(lock, LocalLock)
    return lock


@pytest.mark.parametrize("shared", [False, True])
def test_a_release_wakes_who_waits_in_another_process(
    local_place: Place,
    threads: futures.ThreadPoolExecutor,
    waited: list[float],
    monkeypatch: pytest.MonkeyPatch,
    shared: bool,
) -> None:
    """Nobody looks by himself within the test's patience, so one wait is one wake-up."""
    monkeypatch.setattr(local, "_LOOK_SECONDS", 10 * PATIENCE)
    client, waiter = local_place.client(), local_lock(local_place)
    assert client.lock("acquire", LOCK)
    waiting = threads.submit(waiter.acquire, True, shared)
    assert eventually(lambda: len(waited) == 1)
    assert client.lock("release", LOCK)
    assert waiting.result(PATIENCE)
    assert len(waited) == 1


def test_every_waiter_is_woken_in_time_without_looking(
    local_place: Place, threads: futures.ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "_LOOK_SECONDS", 10 * PATIENCE)

    def work() -> None:
        lock = local_lock(local_place)
        for _ in range(50):
            with lock:
                pass

    for future in [threads.submit(work) for _ in range(6)]:
        future.result(PATIENCE)


def test_all_shared_waiters_and_a_writer_are_woken(
    local_place: Place, threads: futures.ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(local, "_LOOK_SECONDS", 10 * PATIENCE)
    client, readers = local_place.client(), [local_lock(local_place) for _ in range(6)]
    writer = local_lock(local_place)
    assert client.lock("acquire", LOCK)
    reading = [threads.submit(reader.acquire, True, True) for reader in readers]
    assert eventually(lambda: all(reader._busy for reader in readers))
    assert client.lock("release", LOCK)
    assert all(got.result(PATIENCE) for got in reading)
    writing = threads.submit(writer.acquire)
    assert eventually(lambda: writer._busy)
    assert all(reader.release() for reader in readers)
    assert writing.result(PATIENCE)


def test_breaking_wakes_who_waits(
    local_place: Place,
    threads: futures.ThreadPoolExecutor,
    waited: list[float],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(local, "_LOOK_SECONDS", 10 * PATIENCE)
    client, waiter = local_place.client(), local_lock(local_place)
    assert client.lock("acquire", LOCK)
    waiting = threads.submit(waiter.acquire)
    assert eventually(lambda: len(waited) == 1)
    assert client.lock("break_", LOCK)
    assert waiting.result(PATIENCE)


def test_a_killed_holder_is_noticed_though_it_rang_no_bell(
    local_place: Place, threads: futures.ThreadPoolExecutor, waited: list[float]
) -> None:
    client, waiter = local_place.client(), local_lock(local_place)
    assert client.lock("acquire", LOCK)
    waiting = threads.submit(waiter.acquire)
    assert eventually(lambda: len(waited) > 0)
    rung = times_rung(waiter)
    client.kill()
    assert waiting.result(PATIENCE)
    assert times_rung(waiter) == rung


def test_where_nobody_can_be_woken_waiters_look(
    local_place: Place, threads: futures.ThreadPoolExecutor, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(bell, "_CALL_NUMBER", None)
    held, waiter = local_lock(local_place), local_lock(local_place)
    assert held.acquire()
    waiting = threads.submit(waiter.acquire)
    assert eventually(lambda: waiter._busy)
    assert held.release()
    assert waiting.result(PATIENCE)


def test_a_lock_that_nobody_wants_rings_no_bell(local_place: Place) -> None:
    lock = local_lock(local_place)
    for _ in range(3):
        assert lock.acquire()
        assert lock.release()
    assert times_rung(lock) == 0


def test_a_refused_try_leaves_the_bell_alone(local_place: Place) -> None:
    held, other = local_lock(local_place), local_lock(local_place)
    assert held.acquire()
    assert not other.acquire(blocking=False)
    assert held._bell is not None
    assert held._bell.join() is None


def test_a_bell_that_wakes_nobody_is_not_wanted_any_more(opened: Descriptor) -> None:
    hung = Bell(opened)
    assert hung.join() is None
    rung = hung.want()
    assert Bell(opened).join() == rung
    hung.ring()
    assert hung.join() is None
    hung.wait(rung, math.floor(10 * PATIENCE))  # it was rung already


def test_who_wakes_somebody_gives_way_unless_it_took_much_time(
    opened: Descriptor, monkeypatch: pytest.MonkeyPatch
) -> None:
    now, gave_way, woken = 100.0, [], 1

    def give_way() -> None:
        nonlocal now
        gave_way.append(now)
        now += 0.003

    monkeypatch.setattr(bell.os, "sched_yield", give_way)
    monkeypatch.setattr(bell.time, "monotonic", lambda: now)
    monkeypatch.setattr(Bell, "_wake", lambda self, count: woken)
    hung = Bell(opened)

    def ring() -> None:
        hung.want()
        hung.ring()

    ring()
    now += 0.02
    ring()
    assert gave_way == [100.0]
    now += 0.02
    ring()
    assert gave_way == [100.0, pytest.approx(100.043)]
    now, woken = 200.0, 0
    ring()
    assert len(gave_way) == 2


def test_a_bell_leaves_no_mapping(opened: Descriptor) -> None:
    hung = Bell(opened)
    path = str(Path(f"/proc/self/fd/{opened.number}").readlink())
    assert path in Path("/proc/self/maps").read_text()
    child = os.fork()
    if not child:
        os._exit(path in Path("/proc/self/maps").read_text())
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    del hung
    gc.collect()
    assert path not in Path("/proc/self/maps").read_text()


def test_a_full_disk_is_an_error_and_no_fault(
    opened: Descriptor, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*arguments: int) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr(os, "posix_fallocate", full)
    with pytest.raises(OSError, match="No space left"):
        Bell(opened)
