"""Places for the tests of the ZooKeeper driver: a stand-in each, and a hold on sessions.

No tests here.
"""

from __future__ import annotations

import itertools
import threading
import time
from collections.abc import Callable
from functools import partial
from typing import cast

from conformance.coordination import Lock, ToozError, get_coordinator
from conformance.drivers.zake import ZakeDriver
from conformance.standin.client import Client
from conformance.standin.zookeeper import named_server

PATIENCE = 20.0
"""Seconds within which what must happen has happened, however busy the machine."""

_names = (f"test-{number}" for number in itertools.count())
_pause = threading.Event()


def eventually(condition: Callable[[], bool]) -> bool:
    """Look at a condition until it holds, for ``PATIENCE`` at most; say whether it did."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            return False
        _pause.wait(0.001)
    return True


class Place:
    """A stand-in that one test has to itself, and the coordinators on it."""

    def __init__(self) -> None:
        self.url = f"zake://{next(_names)}"
        self.server = named_server(self.url.removeprefix("zake://"))
        self._made: list[ZakeDriver] = []

    def coordinator(self, member_id: bytes = b"me", **options: object) -> ZakeDriver:
        """Return a started coordinator, stopped at the end of the test."""
        made = cast(ZakeDriver, get_coordinator(self.url, member_id, None, **options))
        made.start()
        self._made.append(made)
        return made

    def lock(self, name: bytes = b"lock", **options: object) -> Lock:
        """Return a lock object of a coordinator of its own."""
        return self.coordinator(b"holder", **options).get_lock(name)

    def below(self, part: str) -> list[str]:
        """Return the paths of the nodes that one part of the driver keeps, sorted."""
        return [path for path in self.server.paths() if path.startswith(f"/tooz/{part}/")]

    def contenders(self) -> int:
        """Return how many nodes queue for locks."""
        return sum(path.count("/") == 4 for path in self.below("locks"))

    def end(self) -> None:
        """Stop every coordinator."""
        for coordinator in self._made:
            client = client_of(coordinator)
            client.resume()
            if coordinator.is_started:
                coordinator.stop()


def client_of(coordinator: ZakeDriver) -> Client:
    """Return the client through which a coordinator acts."""
    client: Client = coordinator._session.client
    return client


def coordinator_of(lock: Lock) -> ZakeDriver:
    """Return the coordinator that made a lock."""
    return cast(ZakeDriver, lock._owner)


def expire(coordinator: ZakeDriver) -> None:
    """End a coordinator's session, as its time-out would."""
    server, client = client_of(coordinator).server, client_of(coordinator)
    assert client.client_id is not None
    server.expire(client.client_id[0])


class Waiting:
    """A call made in a thread of its own."""

    def __init__(self, call: Callable[..., object], *arguments: object) -> None:
        self._call = partial(call, *arguments)
        self._value: object = None
        self._error: ToozError | None = None
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        try:
            self._value = self._call()
        except ToozError as error:
            self._error = error

    @property
    def is_over(self) -> bool:
        """Whether the call has returned."""
        return not self._thread.is_alive()

    def result(self) -> object:
        """Wait for the call; return or raise what it did."""
        self._thread.join(PATIENCE)
        assert self.is_over, "the call did not return"
        if self._error is not None:
            raise self._error
        return self._value
