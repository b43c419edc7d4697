"""What every driver's coordinator does, whatever the driver has."""

from __future__ import annotations

import threading
import weakref
from collections.abc import Iterable, Iterator
from typing import Any
from urllib.parse import urlsplit

import pytest

from conformance.coordination import (
    DriverOptions,
    Feature,
    OperationTimedOut,
    ToozError,
    WatchCallbackNotFound,
)
from conformance.coordination import NotImplemented as Lacking
from tests import featureless


def test_what_a_driver_lacks_is_said_by_the_apis_own_error() -> None:
    bare = featureless.coordinator("bare://", b"member")
    bare.start()
    with pytest.raises(Lacking, match="Featureless does not have GROUPS"):
        bare.create_group(b"group").get()
    with pytest.raises(Lacking, match="Featureless does not have LEADERSHIP"):
        bare.stand_down_group_leader(b"group")
    bare.stop()


class Elected(featureless.Featureless):
    """Leads whatever it stands for, as soon as it may."""

    FEATURES = frozenset({Feature.LEADERSHIP})

    def __init__(self) -> None:
        super().__init__(b"member", urlsplit("elected://"), DriverOptions())
        self.asked, self.answer = threading.Event(), threading.Event()
        self.led: set[bytes] = set()

    def _campaign(self, group_id: bytes) -> object | None:
        self.asked.set()
        assert self.answer.wait(10.0)
        self.led.add(group_id)
        return 1

    def _stand_down(self, group_id: bytes) -> bool:
        self.led.discard(group_id)
        return True


def test_stopping_gives_back_what_a_call_under_way_takes() -> None:
    one = Elected()
    one.start()
    one.watch_elected_as_leader(b"group", lambda event: None)
    electing = threading.Thread(target=one.run_elect_coordinator)
    electing.start()
    assert one.asked.wait(10.0)
    stopping = threading.Thread(target=one.stop)
    stopping.start()
    stopping.join(0.2)
    one.answer.set()
    electing.join()
    stopping.join()
    assert not one.led


def test_a_call_may_be_stopped_from_within() -> None:
    one = Elected()
    one.start()

    def interrupted(group_id: bytes) -> None:
        one.stop()

    one._campaign = interrupted  # type: ignore[method-assign]
    one.watch_elected_as_leader(b"group", lambda event: None)
    one.run_elect_coordinator()
    assert not one.is_started


def _in_a_callback() -> tuple[Elected, list[bytes], threading.Thread, threading.Event]:
    """Return a coordinator in the first of its two callbacks, whom they told, and what ends it."""
    one, told = Elected(), []
    inside, end = threading.Event(), threading.Event()

    def callback(event: Any) -> None:
        told.append(event.group_id)
        inside.set()
        assert end.wait(10.0)

    one.answer.set()
    one.start()
    for group_id in (b"first", b"second"):
        one.watch_elected_as_leader(group_id, callback)
    electing = threading.Thread(target=one.run_elect_coordinator)
    electing.start()
    assert inside.wait(10.0)
    return one, told, electing, end


def test_no_callback_is_called_once_a_coordinator_stops() -> None:
    one, told, electing, end = _in_a_callback()
    stopping = threading.Thread(target=one.stop)
    stopping.start()
    stopping.join(0.2)
    assert stopping.is_alive()
    end.set()
    electing.join()
    stopping.join()
    assert (told, one.led) == ([b"first"], set())


def test_an_election_of_a_former_life_is_not_reported() -> None:
    one, told, electing, end = _in_a_callback()
    stopping = threading.Thread(target=one.stop)
    stopping.start()
    while one.is_started:
        stopping.join(0.01)
    end.set()
    electing.join()
    stopping.join()
    one.start()
    one.unwatch_elected_as_leader(b"second", one._watches._watches[1].callback)
    one.run_elect_coordinator()
    assert told == [b"first", b"first"]
    one.stop()


def test_a_callback_that_watches_twice_is_two_watches() -> None:
    one, told = Elected(), []
    one.answer.set()
    one.start()
    for _ in range(2):
        one.watch_elected_as_leader(b"group", told.append)
    for times in (2, 1):
        one.run_elect_coordinator()
        assert len(told) == times
        told.clear()
        one.stand_down_group_leader(b"group")
        one.unwatch_elected_as_leader(b"group", told.append)
    with pytest.raises(WatchCallbackNotFound):
        one.unwatch_elected_as_leader(b"group", told.append)
    one.stop()


def test_a_callback_may_stop_its_coordinator() -> None:
    one, told = Elected(), []

    def callback(event: Any) -> None:
        told.append(event.group_id)
        one.stop()

    one.answer.set()
    one.start()
    for group_id in (b"first", b"second"):
        one.watch_elected_as_leader(group_id, callback)
    one.run_elect_coordinator()
    assert (told, one.led, one.is_started) == ([b"first"], set(), False)


def test_a_callback_does_not_wait_for_a_stop_that_waits_for_it() -> None:
    one = Elected()
    inside, begun, said = threading.Event(), threading.Event(), []

    def callback(event: Any) -> None:
        inside.set()
        assert begun.wait(10.0)
        while one.is_started:
            stopping.join(0.01)
        for change in (one.stop, one.start):
            with pytest.raises(ToozError, match="another thread is stopping it"):
                change()
            said.append(change.__name__)

    stopping = threading.Thread(target=one.stop)
    one.answer.set()
    one.start()
    one.watch_elected_as_leader(b"group", callback)
    electing = threading.Thread(target=one.run_elect_coordinator)
    electing.start()
    assert inside.wait(10.0)
    stopping.start()
    begun.set()
    electing.join()
    stopping.join()
    assert said == ["stop", "start"]


def test_stopping_bears_with_locks_that_are_made_meanwhile() -> None:
    class Idle:
        def retire(self) -> None:
            pass

    class Locking(featureless.Featureless):
        FEATURES = frozenset({Feature.LOCKS})

        def _make_lock(self, name: bytes) -> Any:
            return Idle()

    class Interrupted(weakref.WeakSet[Any]):
        """Another thread makes a lock once the first of these has been looked at."""

        def __iter__(self) -> Iterator[Any]:
            locks = super().__iter__()
            yield next(locks)
            making.start()
            making.join(0.2)
            yield from locks

    one = Locking(b"member", urlsplit("locking://"), DriverOptions())
    made = [one.get_lock(b"lock") for _ in range(3)]
    making = threading.Thread(target=lambda: made.append(one.get_lock(b"lock")))
    one._made_locks = Interrupted(made)
    one.start()
    one.stop()
    making.join()
    assert len(made) == 4


class Unanswered(featureless.Featureless):
    """Has no answer in time where it is asked for the first group; a thread says when."""

    FEATURES = frozenset({Feature.GROUPS})

    def __init__(self) -> None:
        super().__init__(b"member", urlsplit("unanswered://"), DriverOptions())
        self.asked, self.late = threading.Event(), threading.Event()
        self.created: list[bytes] = []

    def _create_group(self, group_id: bytes) -> None:
        self.created.append(group_id)
        if group_id == b"first":
            self.asked.set()
            assert self.late.wait(10.0)
            raise OperationTimedOut("no answer")

    def _get_groups(self) -> Iterable[bytes]:
        return self.created


def test_calls_do_not_wait_for_a_silent_server_one_after_the_other() -> None:
    one = Unanswered()
    one.start()
    blocker = threading.Event()
    held = one._submit("holding up", blocker.wait)
    results = [one.create_group(name) for name in (b"first", b"second", b"third")]
    blocker.set()
    assert held.get(10.0)
    assert one.asked.wait(10.0)
    after = one.create_group(b"after")
    one.late.set()
    for result in results:
        with pytest.raises(OperationTimedOut):
            result.get(10.0)
    after.get(10.0)
    assert one.get_groups().get(10.0) == [b"after", b"first"]
    one.stop()
