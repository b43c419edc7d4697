"""What locks on ZooKeeper do: in turn, under lost replies, and when a session is lost."""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable, Iterator
from functools import partial
from typing import Any

import pytest
from kazoo.exceptions import ConnectionLoss

from conformance.coordination import Lock, OperationTimedOut, ToozConnectionError, ToozError
from conformance.drivers._zookeeper_session import Session
from conformance.standin.client import Client
from conformance.standin.zookeeper import Server
from tests.zake_places import (
    PATIENCE,
    Place,
    Waiting,
    client_of,
    coordinator_of,
    eventually,
    expire,
)

SOON = 0.02
"""Seconds that a timed acquire is given where it cannot succeed."""


@pytest.fixture
def zake() -> Iterator[Place]:
    found = Place()
    yield found
    found.end()


def has_contenders(zake: Place, number: int) -> bool:
    return zake.contenders() == number


def waiter(zake: Place, lock: Lock, **wanted: Any) -> Waiting:
    """Acquire in another thread; return when its contender is in the queue."""
    before = zake.contenders()
    waiting = Waiting(lambda: lock.acquire(**wanted))
    assert eventually(lambda: zake.contenders() > before or waiting.is_over)
    return waiting


def before_commit(lock: Lock, act: Callable[[], object], number: int = 1) -> None:
    """Have something done just before a coming transaction of this lock's client."""
    client: Any = client_of(coordinator_of(lock))
    commit, left = client._commit, itertools.count(number - 1, -1)

    def act_first(operations: Any) -> Any:
        if next(left) == 0:
            client._commit = commit
            act()
        return commit(operations)

    client._commit = act_first


def requests(lock: Lock, call: Callable[[], object]) -> list[str]:
    """Return which requests a call makes."""
    client: Any = client_of(coordinator_of(lock))
    made: list[str] = []
    submit = client._submit

    def note(name: str, request: Any) -> Any:
        made.append(name)
        return submit(name, request)

    client._submit = note
    call()
    client._submit = submit
    return made


# -- holding ----------------------------------------------------------------------------


def test_a_free_lock_is_acquired_and_a_held_one_is_not(zake: Place) -> None:
    one, two = zake.lock(), zake.lock()
    assert one.acquire(blocking=False)
    assert not two.acquire(blocking=False)
    assert not two.acquire(blocking=SOON)
    assert (one.acquired, two.acquired) == (True, False)
    assert one.release()
    assert two.acquire(blocking=False)


def test_an_object_that_holds_is_refused_and_still_holds(zake: Place) -> None:
    one, two = zake.lock(), zake.lock()
    one.acquire()
    assert not one.acquire(blocking=False)
    assert not one.acquire(blocking=SOON)
    assert (one.acquired, one.is_still_owner(), one.heartbeat()) == (True, True, True)
    assert not two.acquire(blocking=False)
    assert one.release()
    assert two.acquire(blocking=False)


def test_only_the_holder_releases(zake: Place) -> None:
    one, two = zake.lock(), zake.lock()
    one.acquire()
    assert not two.release()
    assert one.is_still_owner()
    assert one.release()
    assert not one.release()


def test_objects_of_one_coordinator_compete_as_well(zake: Place) -> None:
    coordinator = zake.coordinator()
    one, two = coordinator.get_lock(b"lock"), coordinator.get_lock(b"lock")
    one.acquire()
    assert not two.acquire(blocking=False)


def test_locks_of_different_names_are_different(zake: Place) -> None:
    coordinator = zake.coordinator()
    names = [
        b"a",
        b"a/x",
        b"a%2Fx",
        b"=a",
        b".",
        b"..",
        b"\x00",
        b"x" * 200,
        b"x" * 201,
        b"x" * 9**6,
    ]
    locks = [coordinator.get_lock(name) for name in names]
    assert all(lock.acquire(blocking=False) for lock in locks)
    assert all(lock.release() for lock in locks)


def test_a_released_lock_leaves_nothing(zake: Place) -> None:
    one, two = zake.lock(), zake.lock()
    one.acquire()
    two.acquire(blocking=False)
    two.acquire(blocking=SOON)
    one.release()
    assert zake.below("locks") == []


def test_a_lock_object_that_nobody_has_any_more_is_freed_when_its_coordinator_stops(
    zake: Place,
) -> None:
    coordinator, other = zake.coordinator(), zake.lock()
    coordinator.get_lock(b"lock").acquire()
    assert not other.acquire(blocking=False)
    coordinator.stop()
    assert zake.below("locks") == []
    assert other.acquire(blocking=False)


def test_a_refusal_leaves_nothing_in_the_queue(zake: Place) -> None:
    one, two = zake.lock(), zake.lock()
    one.acquire()
    for waiting, shared in itertools.product((False, SOON), (False, True)):
        assert not two.acquire(waiting, shared)
        assert zake.contenders() == 1


# -- requests: what the lock's module says of its cost -------------------------------------


def test_a_free_lock_takes_two_requests_to_acquire_and_one_to_release(zake: Place) -> None:
    one = zake.lock()
    assert requests(one, one.acquire) == ["transaction", "get_children"]
    assert requests(one, one.release) == ["transaction"]


def test_a_refused_try_makes_no_node_once_the_lock_was_seen_held(zake: Place) -> None:
    one, two = zake.lock(), zake.lock()
    one.acquire()
    two.acquire(blocking=False)
    assert requests(two, lambda: two.acquire(blocking=False)) == ["get_children", "transaction"]


def test_a_release_wakes_the_next_waiter_and_no_other(zake: Place) -> None:
    holder, second, third = zake.lock(), zake.lock(), zake.lock()
    holder.acquire()
    one = waiter(zake, second)
    two = waiter(zake, third)
    # Each waits by a watch of the one before it, so that third makes no request now.
    made = requests(third, lambda: (holder.release(), one.result()))
    assert made == []
    second.release()
    assert two.result() is True


def is_watched(zake: Place) -> bool:
    """Whether any contender waits for the end of another."""
    return any(map(zake.server.is_watched, zake.below("locks")))


def watched_waiter(zake: Place, lock: Lock) -> Waiting:
    """Acquire in another thread; return when it will be told of the end of who holds."""
    waiting = waiter(zake, lock)
    assert eventually(lambda: is_watched(zake))
    return waiting


def test_who_is_told_that_the_first_is_gone_holds_without_a_request(zake: Place) -> None:
    holder, second = zake.lock(), zake.lock()
    holder.acquire()
    waiting = watched_waiter(zake, second)
    assert requests(second, lambda: (holder.release(), waiting.result())) == []
    assert second.is_still_owner()


def test_behind_a_shared_holder_a_waiter_looks_for_others_beside_it(zake: Place) -> None:
    holder, beside, second = zake.lock(), zake.lock(), zake.lock()
    holder.acquire(shared=True)
    waiting = watched_waiter(zake, second)
    assert beside.acquire(blocking=False, shared=True)
    made = requests(second, lambda: (holder.release(), eventually(lambda: is_watched(zake))))
    assert made == ["get_children", "get"]
    assert not waiting.is_over
    beside.release()
    assert waiting.result() is True


def test_who_may_have_lost_its_session_looks_before_it_believes_what_it_is_told(
    zake: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As one that was paused, and reads after its session's end what was sent before."""
    holder, second = zake.lock(), zake.lock()
    holder.acquire()
    waiting = watched_waiter(zake, second)
    answers = itertools.chain([False], itertools.repeat(True))
    monkeypatch.setattr(coordinator_of(second)._session, "_lasts", lambda: next(answers))
    assert requests(second, lambda: (holder.release(), waiting.result())) == ["get_children"]


# -- waiting ----------------------------------------------------------------------------


def test_waiters_are_served_in_the_order_of_their_coming(zake: Place) -> None:
    holder = zake.lock()
    holder.acquire()
    order: list[int] = []

    def take(number: int, lock: Lock) -> None:
        with lock:
            order.append(number)

    waiting = []
    for number in range(5):
        lock = zake.lock()
        waiting.append(Waiting(take, number, lock))
        assert eventually(partial(has_contenders, zake, number + 2))
    holder.release()
    for waiter_ in waiting:
        waiter_.result()
    assert order == list(range(5))
    assert zake.below("locks") == []


def test_a_waiter_in_the_middle_may_give_up(zake: Place) -> None:
    holder, second, third = zake.lock(), zake.lock(), zake.lock()
    holder.acquire()
    giving_up = waiter(zake, second, blocking=SOON)
    staying = waiter(zake, third)
    assert giving_up.result() is False
    assert not staying.is_over
    holder.release()
    assert staying.result() is True


def test_a_waiter_acquires_when_the_holder_dies(zake: Place) -> None:
    holder, second = zake.lock(), zake.lock()
    holder.acquire()
    waiting = waiter(zake, second)
    expire(coordinator_of(holder))
    assert waiting.result() is True


def test_a_waiter_gives_up_when_its_coordinator_is_stopped(zake: Place) -> None:
    holder, second = zake.lock(), zake.lock()
    holder.acquire()
    waiting = waiter(zake, second)
    coordinator_of(second).stop()
    with pytest.raises(ToozError, match="not started"):
        waiting.result()
    assert zake.contenders() == 1


# -- tries that meet ---------------------------------------------------------------------


def test_of_tries_that_meet_at_a_free_lock_exactly_one_gets_it(zake: Place) -> None:
    locks = [zake.lock() for _ in range(4)]
    for _ in range(50):
        start = threading.Barrier(len(locks))

        def attempt(lock: Lock, start: threading.Barrier = start) -> bool:
            start.wait(PATIENCE)
            return lock.acquire(blocking=False)

        tries = [Waiting(attempt, lock) for lock in locks]
        assert [waiting.result() for waiting in tries].count(True) == 1
        assert [lock.release() for lock in locks].count(True) == 1


def test_no_try_is_refused_while_nobody_holds(zake: Place) -> None:
    """A refused try overlaps a hold; were it the node of a loser, it would overlap none."""
    moments: list[tuple[str, float, float]] = []

    def strive(lock: Lock) -> None:
        for _ in range(60):
            called = time.monotonic()
            if lock.acquire(blocking=False):
                lock.release()
                moments.append(("held", called, time.monotonic()))
            else:
                moments.append(("refused", called, time.monotonic()))

    striving = [Waiting(strive, zake.lock()) for _ in range(4)]
    for waiting in striving:
        waiting.result()
    held = [(start, end) for kind, start, end in moments if kind == "held"]
    for kind, start, end in moments:
        assert kind == "held" or any(began < end and ended > start for began, ended in held)


def test_a_try_that_is_giving_up_when_the_lock_becomes_free_has_acquired_it(zake: Place) -> None:
    holder, giving_up, late = zake.lock(), zake.lock(), zake.lock()
    holder.acquire()
    assert not late.acquire(blocking=False)
    seen: list[bool] = []

    def free_and_try() -> None:
        holder.release()
        seen.append(late.acquire(blocking=False))

    # Its first transaction fails, for there is a queue already; its second makes its node
    # behind the holder's; its third is to withdraw that.
    before_commit(giving_up, free_and_try, number=3)
    assert giving_up.acquire(blocking=False)
    assert seen == [False]
    assert giving_up.is_still_owner()
    assert giving_up.release()
    assert late.acquire(blocking=False)


# -- shared holds ------------------------------------------------------------------------


def test_shared_holders_hold_together_and_exclude_exclusive_ones(zake: Place) -> None:
    one, two, three = zake.lock(), zake.lock(), zake.lock()
    assert one.acquire(shared=True)
    assert two.acquire(blocking=False, shared=True)
    assert not three.acquire(blocking=False)
    assert one.release()
    assert not three.acquire(blocking=SOON)
    assert two.release()
    assert three.acquire(blocking=False)
    assert not one.acquire(blocking=False, shared=True)
    assert three.release()
    assert zake.below("locks") == []


def test_waiting_for_a_shared_hold_is_behind_those_who_wait_for_an_exclusive_one(
    zake: Place,
) -> None:
    holder, exclusive, shared = zake.lock(), zake.lock(), zake.lock()
    holder.acquire(shared=True)
    first = waiter(zake, exclusive)
    second = waiter(zake, shared, shared=True)
    assert not second.is_over
    holder.release()
    assert first.result() is True
    assert not second.is_over
    exclusive.release()
    assert second.result() is True


@pytest.mark.parametrize("blocking", [False, SOON])
def test_a_shared_try_is_not_refused_because_somebody_waits(
    zake: Place, blocking: bool | float
) -> None:
    holder, exclusive, beside = zake.lock(), zake.lock(), zake.lock()
    holder.acquire(shared=True)
    waiting = waiter(zake, exclusive)
    assert beside.acquire(blocking, shared=True)
    holder.release()
    assert not waiting.is_over
    assert beside.is_still_owner()
    beside.release()
    assert waiting.result() is True


# -- breaking ----------------------------------------------------------------------------


@pytest.mark.parametrize("shared", [False, True])
def test_a_broken_lock_is_lost_by_all_who_hold_it(zake: Place, shared: bool) -> None:
    holders = [zake.lock() for _ in range(2 if shared else 1)]
    assert all(lock.acquire(shared=shared) for lock in holders)
    assert zake.lock().break_()
    for lock in holders:
        assert not lock.is_still_owner()
        assert not lock.acquired
        assert not lock.heartbeat()
        assert not lock.release()
    assert zake.below("locks") == []


def test_a_lock_that_nobody_holds_is_not_broken(zake: Place) -> None:
    assert not zake.lock().break_()


def test_the_release_of_a_broken_lock_harms_no_one(zake: Place) -> None:
    broken, other = zake.lock(), zake.lock()
    broken.acquire()
    other.break_()
    assert other.acquire(blocking=False)
    assert not broken.release()
    assert other.is_still_owner()
    assert not broken.acquire(blocking=False)
    other.release()
    assert broken.acquire(blocking=False)


def test_breaking_serves_the_next_waiter(zake: Place) -> None:
    holder, second = zake.lock(), zake.lock()
    holder.acquire()
    waiting = waiter(zake, second)
    assert zake.lock().break_()
    assert waiting.result() is True
    assert second.is_still_owner()


def test_a_lock_broken_before_its_new_holder_knew_was_acquired_and_lost(zake: Place) -> None:
    holder, second, breaker = zake.lock(), zake.lock(), zake.lock()
    holder.acquire()
    waiting = waiter(zake, second)
    second_client = client_of(coordinator_of(second))
    second_client.suspend()
    holder.release()
    assert breaker.break_()
    second_client.resume()
    assert waiting.result() is True
    assert not second.is_still_owner()
    assert not second.release()


def test_who_came_to_share_while_it_was_broken_loses_it_too(zake: Place) -> None:
    holder, joining, breaker = zake.lock(), zake.lock(), zake.lock()
    holder.acquire(shared=True)
    waiting = waiter(zake, zake.lock(), blocking=PATIENCE)
    before_commit(breaker, lambda: joining.acquire(blocking=False, shared=True))
    assert breaker.break_()
    assert not holder.is_still_owner()
    assert not joining.is_still_owner()
    assert waiting.result() is True


# -- lost replies and lost connections ----------------------------------------------------


@pytest.mark.parametrize("request_", ["transaction", "get_children"])
def test_an_acquire_whose_reply_is_lost_leaves_nothing(zake: Place, request_: str) -> None:
    lock, other = zake.lock(), zake.lock()
    client = client_of(coordinator_of(lock))
    client.lose_reply(request_)
    with pytest.raises(ToozConnectionError):
        lock.acquire(blocking=False)
    assert not lock.acquired
    client.resume()
    assert eventually(lambda: zake.below("locks") == [])
    assert other.acquire(blocking=False)
    assert not lock.acquire(blocking=False)


@pytest.mark.parametrize("number", [2, 3], ids=["queueing", "withdrawing"])
def test_a_contender_whose_reply_is_lost_leaves_the_queue(zake: Place, number: int) -> None:
    holder, lock, third = zake.lock(), zake.lock(), zake.lock()
    holder.acquire()
    client = client_of(coordinator_of(lock))
    before_commit(lock, lambda: client.lose_reply("transaction"), number)
    with pytest.raises(ToozConnectionError):
        lock.acquire(blocking=SOON)
    client.resume()
    assert eventually(lambda: zake.contenders() == 1)
    holder.release()
    assert third.acquire(blocking=False)


def test_a_release_whose_reply_is_lost_has_released(zake: Place) -> None:
    lock, other = zake.lock(), zake.lock()
    lock.acquire()
    client = client_of(coordinator_of(lock))
    client.lose_reply("transaction")
    with pytest.raises(ToozConnectionError):
        lock.release()
    assert not lock.acquired
    assert other.acquire(blocking=False)
    client.resume()
    assert not lock.acquire(blocking=False)


def test_a_release_that_never_arrived_is_made_up_for(zake: Place) -> None:
    lock, other = zake.lock(timeout=0.1), zake.lock()
    lock.acquire()
    client = client_of(coordinator_of(lock))
    client.suspend()
    with pytest.raises(OperationTimedOut):
        lock.release()
    assert not lock.acquired
    client.resume()
    assert other.acquire(blocking=PATIENCE)


def test_an_acquire_that_timed_out_leaves_nothing(zake: Place) -> None:
    lock, other = zake.lock(timeout=0.1), zake.lock()
    client = client_of(coordinator_of(lock))
    client.suspend()
    with pytest.raises(OperationTimedOut):
        lock.acquire()
    client.resume()
    assert eventually(lambda: zake.below("locks") == [])
    assert other.acquire(blocking=False)


@pytest.mark.parametrize("request_", ["get", "get_children"])
def test_a_waiter_keeps_its_place_when_its_connection_breaks(zake: Place, request_: str) -> None:
    holder, second, third = zake.lock(), zake.lock(), zake.lock()
    holder.acquire(shared=True)  # behind an exclusive holder there is no need to look
    client = client_of(coordinator_of(second))
    if request_ == "get":
        client.lose_reply(request_)
    waiting = waiter(zake, second)
    if request_ == "get_children":
        client.lose_reply(request_)
    behind = waiter(zake, third)
    holder.release()
    assert eventually(lambda: not client.connected)
    client.resume()
    assert waiting.result() is True
    assert not behind.is_over
    second.release()
    assert behind.result() is True


def test_a_waiter_whose_session_is_lost_queues_anew(zake: Place) -> None:
    holder, second = zake.lock(), zake.lock()
    holder.acquire()
    waiting = waiter(zake, second)
    assert eventually(lambda: is_watched(zake))
    expire(coordinator_of(second))
    holder.release()
    assert waiting.result() is True
    assert second.is_still_owner()


# -- lost sessions ------------------------------------------------------------------------


def test_a_hold_is_lost_with_the_session_and_known_to_be(zake: Place) -> None:
    lock, other = zake.lock(), zake.lock()
    lock.acquire()
    expire(coordinator_of(lock))
    assert not lock.acquired
    assert not lock.is_still_owner()
    assert not lock.heartbeat()
    assert not lock.release()
    assert other.acquire(blocking=PATIENCE)


def test_an_object_can_be_used_again_after_its_hold_was_lost(zake: Place) -> None:
    lock, other = zake.lock(), zake.lock()
    lock.acquire()
    expire(coordinator_of(lock))
    assert other.acquire(blocking=PATIENCE)
    assert not lock.acquire(blocking=False)
    assert not lock.release()
    assert other.is_still_owner()
    other.release()
    assert lock.acquire(blocking=PATIENCE)
    assert lock.is_still_owner()


def test_nothing_is_left_of_a_lock_whose_session_was_lost(zake: Place) -> None:
    lock = zake.lock()
    lock.acquire()
    expire(coordinator_of(lock))
    assert eventually(lambda: zake.below("locks") == [])


def test_an_acquire_during_which_the_session_is_lost_does_not_hold(zake: Place) -> None:
    lock = zake.lock()
    client: Any = client_of(coordinator_of(lock))
    get_children = client.get_children_async

    def expire_first(*arguments: Any, **options: Any) -> Any:
        client.get_children_async = get_children
        listing = get_children(*arguments, **options)
        expire(coordinator_of(lock))
        return listing

    client.get_children_async = expire_first
    with pytest.raises(ToozConnectionError, match="session"):
        lock.acquire(blocking=False)
    assert not lock.acquired
    assert eventually(lambda: zake.below("locks") == [])


def test_who_is_cut_off_still_holds_but_cannot_be_sure(zake: Place) -> None:
    lock = zake.lock(timeout=0.1)
    lock.acquire()
    client_of(coordinator_of(lock)).suspend()
    assert lock.acquired
    with pytest.raises(OperationTimedOut):
        lock.is_still_owner()
    client_of(coordinator_of(lock)).resume()
    assert lock.is_still_owner()


def test_who_is_cut_off_for_longer_than_a_session_lasts_gives_the_hold_up() -> None:
    client = Client(Server())
    lapsed: list[bytes] = []
    session = Session(
        client,
        timeout=PATIENCE,
        lasts=lambda: client.connected,
        tries=1,
        on_loss=list.clear,
        on_lapse=lapsed.extend,
    )
    session.open()
    node = "x-" + "0" * 32 + "-0000000000"
    client.create_async(f"/lock/{node}", ephemeral=False, makepath=True).get(timeout=PATIENCE)
    session.hold("0" * 32, f"/lock/{node}", b"lock", session.number)
    assert session.holds("0" * 32)
    client.suspend()
    assert eventually(lambda: not session.holds("0" * 32))
    client.resume()
    assert not session.holds("0" * 32)
    assert lapsed == [b"lock"]
    assert eventually(lambda: client.server.paths() == [])
    session.close()


def test_reads_are_sent_again_when_the_connection_breaks_and_writes_are_not() -> None:
    client = Client(Server())
    session = Session(client, timeout=PATIENCE, tries=2, on_loss=list.clear, on_lapse=list.clear)
    session.open()
    client.lose_reply("exists")
    reading = Waiting(lambda: session.read(lambda own: [own.exists_async("/a")]))
    assert eventually(lambda: not client.connected)
    client.resume()
    assert reading.result() == [None]
    client.lose_reply("create")
    with pytest.raises(ConnectionLoss):
        session.answers(client.create_async("/a"))
    client.resume()
    session.close()
