"""A server that accepts and never answers: every call ends in time, in the API's own words."""

from __future__ import annotations

import contextlib
import secrets
import socket
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import pytest

from conformance.coordination import (
    Coordinator,
    OperationTimedOut,
    ToozConnectionError,
    get_coordinator,
)
from conformance.faults.addresses import at_address
from conformance.faults.proxy import Proxy

BACKENDS = {"zookeeper", "redis", "memcached", "postgresql", "mysql", "etcd", "consul"}

_TIMEOUT = 1.0
"""The coordinators' time-out, in seconds."""

_PROMPT = 10.0
"""Seconds within which a call has ended: it may have several things to ask, on a machine that
has much else to do."""

_UNTIL_WAITING = 0.5
"""Seconds after which a waiter waits; one that does not yet finds silence when it asks."""

GROUP, FREE = b"group", b"free"

_CALLS: dict[str, Callable[[Coordinator, Any], object]] = {
    "acquire without waiting": lambda one, held: one.get_lock(FREE).acquire(blocking=False),
    "acquire for a time": lambda one, held: one.get_lock(FREE).acquire(blocking=_TIMEOUT / 2),
    "acquire for good": lambda one, held: one.get_lock(FREE).acquire(blocking=True),
    "release": lambda one, held: held.release(),
    "break_": lambda one, held: held.break_(),
    "is_still_owner": lambda one, held: held.is_still_owner(),
    "heartbeat of a lock": lambda one, held: held.heartbeat(),
    "create_group": lambda one, held: one.create_group(b"new").get(),
    "delete_group": lambda one, held: one.delete_group(GROUP).get(),
    "get_groups": lambda one, held: one.get_groups().get(),
    "join_group": lambda one, held: one.join_group(b"other").get(),
    "join_group_create": lambda one, held: one.join_group_create(b"other"),
    "leave_group": lambda one, held: one.leave_group(GROUP).get(),
    "get_members": lambda one, held: one.get_members(GROUP).get(),
    "get_member_capabilities": lambda one, held: one.get_member_capabilities(
        GROUP, one.member_id
    ).get(),
    "get_members_with_capabilities": lambda one, held: one.get_members_with_capabilities(
        GROUP
    ).get(),
    "get_member_info": lambda one, held: one.get_member_info(GROUP, one.member_id).get(),
    "update_capabilities": lambda one, held: one.update_capabilities(GROUP, b"new").get(),
    "watch_join_group": lambda one, held: one.watch_join_group(b"other", print),
    "run_watchers": lambda one, held: one.run_watchers(),
    "run_elect_coordinator": lambda one, held: one.run_elect_coordinator(),
    "stand_down_group_leader": lambda one, held: one.stand_down_group_leader(one.member_id),
    "get_leader": lambda one, held: one.get_leader(GROUP).get(),
    "heartbeat": lambda one, held: one.heartbeat(),
}
"""All calls of a coordinator that take a server, and those of a lock that it holds."""


@pytest.fixture
def make(url: str) -> Iterator[Callable[..., Coordinator]]:
    """Make started coordinators in a namespace of the test's own, and stop them."""
    namespace = f"silence-{secrets.token_hex(6)}"
    with contextlib.ExitStack() as stack:

        def make_one(member: bytes, at: str = url, **options: Any) -> Coordinator:
            given: dict[str, Any] = {"namespace": namespace, "timeout": _TIMEOUT} | options
            coordinator = get_coordinator(at, member, **given)
            coordinator.start()
            stack.callback(lambda: coordinator.stop() if coordinator.is_started else None)
            return coordinator

        yield make_one


def _ending(call: Callable[[], object]) -> str:
    """Make a call; return what is wrong with how it ended, nothing if it is well."""
    began = time.monotonic()
    try:
        value = call()
    except (OperationTimedOut, ToozConnectionError):
        value = None
    except Exception as error:
        return f"ended in {error!r}"
    seconds = time.monotonic() - began
    if seconds > _PROMPT:
        return f"took {seconds:.1f} s"
    return "claimed success" if value else ""


def _endings(calls: dict[str, Callable[[], object]]) -> dict[str, str]:
    """Make calls at the same time; return what is wrong with which."""
    with ThreadPoolExecutor(len(calls)) as threads:
        ended = {name: threads.submit(_ending, call) for name, call in calls.items()}
        return {name: wrong for name, one in ended.items() if (wrong := one.result())}


def test_starting_ends_in_time(url: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as silent:
        at = at_address(url, *silent.getsockname())
        coordinator = get_coordinator(at, b"m", timeout=_TIMEOUT / 2)
        began = time.monotonic()
        with pytest.raises((OperationTimedOut, ToozConnectionError), match=r"0\.5 seconds"):
            coordinator.start()
        assert time.monotonic() - began < _PROMPT
        assert not coordinator.is_started


def test_every_call_ends_in_time(
    relayed: str, proxy: Proxy, make: Callable[..., Coordinator]
) -> None:
    calls: dict[str, Callable[[], object]] = {}
    members: list[Coordinator] = []
    make(b"founder").create_group(GROUP).get()
    for number, (name, call) in enumerate(_CALLS.items()):
        one = make(b"m%d" % number, relayed)
        held = one.get_lock(one.member_id)
        assert held.acquire(blocking=False)
        one.join_group(GROUP).get()
        one.watch_join_group(GROUP, print)
        one.watch_elected_as_leader(one.member_id, print)
        if name != "run_elect_coordinator":
            one.run_elect_coordinator()
        calls[name] = partial(call, one, held)
        members.append(one)
    proxy.stall()
    wrong = _endings(calls)
    wrong |= _endings(
        {f"stop after {name}": m.stop for name, m in zip(calls, members, strict=True)}
    )
    proxy.heal()
    assert not wrong


def test_a_waiter_does_not_wait_for_ever(
    relayed: str, proxy: Proxy, make: Callable[..., Coordinator]
) -> None:
    holder = make(b"holder", timeout=30.0).get_lock(FREE)
    waiter = make(b"waiter", relayed).get_lock(FREE)
    assert holder.acquire()
    with ThreadPoolExecutor(1) as threads:
        ended = threads.submit(_ending, waiter.acquire)
        time.sleep(_UNTIL_WAITING)
        proxy.stall()
        assert not ended.result()
        proxy.heal()
    assert holder.is_still_owner()


def test_threads_that_share_a_coordinator_do_not_wait_one_after_the_other(
    relayed: str, proxy: Proxy, make: Callable[..., Coordinator]
) -> None:
    one = make(b"one", relayed)
    # By then what was not renewed has run out, and connections are to be made anew.
    time.sleep(2.5 * _TIMEOUT)
    proxy.cut()
    proxy.stall()
    locks = [one.get_lock(b"%d" % number) for number in range(16)]
    wrong = _endings({str(lock.name): partial(lock.acquire, False) for lock in locks})
    proxy.heal()
    assert not wrong
