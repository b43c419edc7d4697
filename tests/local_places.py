"""Places for the tests of host-local drivers to meet in, and clients in other processes.

No tests here.
"""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import signal
import time
from collections.abc import Callable, Iterator
from multiprocessing.connection import Connection
from multiprocessing.context import ForkServerProcess
from pathlib import Path
from typing import Any, cast

from conformance.coordination import Lock, get_coordinator
from conformance.drivers.local import LocalCoordinator
from tests.processes import PROCESSES

DRIVERS = ["file", "ipc"]

GROUP = b"group"
LOCK = b"lock"

PATIENCE = 20.0
"""Seconds within which what must happen has happened, however busy the machine."""

_SHARED_MEMORY = Path("/dev/shm")


def eventually(condition: Callable[[], bool]) -> bool:
    """Look at a condition until it holds, for ``PATIENCE`` at most; say whether it did."""
    deadline = time.monotonic() + PATIENCE
    while not condition():
        if time.monotonic() > deadline:
            return False
        os.sched_yield()
    return True


def open_descriptors() -> list[str]:
    """Return what each descriptor of this process is open on (proc(5))."""
    found = []
    for link in Path("/proc/self/fd").iterdir():
        with contextlib.suppress(FileNotFoundError):  # that of the listing itself
            found.append(str(link.readlink()))
    return found


class Place:
    """A directory, or a namespace of the shared memory, that one test has to itself."""

    def __init__(self, driver: str, directory: Path) -> None:
        self.driver = driver
        self.directory = directory / "state"
        self.namespace = f"test-{secrets.token_hex(6)}"
        self.url = f"file://{self.directory}" if driver == "file" else f"ipc://{self.namespace}"
        self.coordinators: list[LocalCoordinator] = []
        self.clients: list[Client] = []

    def coordinator(self, member_id: bytes = b"me", **options: Any) -> LocalCoordinator:
        """Return a started coordinator, stopped at the end of the test."""
        made = get_coordinator(self.url, member_id, **options)
        made.start()
        self.coordinators.append(cast(LocalCoordinator, made))
        return self.coordinators[-1]

    def client(self, member_id: bytes = b"other", **options: Any) -> Client:
        """Return a coordinator in a process of its own, killed at the end of the test."""
        self.clients.append(Client(self.url, member_id, options))
        return self.clients[-1]

    def stored(self) -> list[str]:
        """Return the names of all files, segments and semaphores here."""
        if self.driver == "file":
            return sorted(path.name for path in self.directory.glob("*"))
        found = [*_SHARED_MEMORY.glob(f"{self.namespace}.*")]
        found += _SHARED_MEMORY.glob(f"sem.{self.namespace}.*")
        return sorted(path.name for path in found)

    def remove(self) -> None:
        """Remove everything behind the coordinators' backs."""
        if self.driver == "file":
            shutil.rmtree(self.directory, ignore_errors=True)
            return
        for name in self.stored():
            (_SHARED_MEMORY / name).unlink(missing_ok=True)

    def end(self) -> None:
        """Stop and kill all, then come once more to delete the groups."""
        for client in self.clients:
            client.kill()
        for coordinator in self.coordinators:
            if coordinator.is_started:
                coordinator.stop()
        last = get_coordinator(self.url, b"last")
        last.start()
        for group_id in last.get_groups().get():
            last.delete_group(group_id).get()
        last.stop()


@contextlib.contextmanager
def place_for(driver: str, directory: Path) -> Iterator[Place]:
    """Give a test its place; afterwards nothing must be left in it."""
    place = Place(driver, directory)
    try:
        yield place
        place.end()
        assert place.stored() == []
    finally:
        for client in place.clients:
            client.kill()
        place.remove()


class Client:
    """A coordinator, and one lock object of each name, in a process of its own."""

    def __init__(self, url: str, member_id: bytes, options: dict[str, Any]) -> None:
        self._connection, theirs = PROCESSES.Pipe()
        self.process: ForkServerProcess = PROCESSES.Process(
            target=_serve, args=(theirs, url, member_id, options), daemon=True
        )
        self.process.start()
        theirs.close()
        self.answer()

    def call(self, method: str, *arguments: object) -> Any:
        """Call a method of the coordinator, wait for its result and return it."""
        return self.do(_call, method, *arguments)

    def lock(self, method: str, name: bytes, *arguments: object) -> Any:
        """Call a method of the lock object of a name."""
        return self.do(_lock, method, name, *arguments)

    def do(self, function: Callable[..., object], *arguments: object) -> Any:
        """Call a function of a test module with the coordinator."""
        self.begin(function, *arguments)
        return self.answer()

    def begin(self, function: Callable[..., object], *arguments: object) -> None:
        """Call a function without waiting for it."""
        self._connection.send((function, arguments))

    def answer(self) -> Any:
        """Wait for a result and return it, or raise the error."""
        if not self._connection.poll(PATIENCE):
            raise TimeoutError("the client does not answer")
        value = self._connection.recv()
        if isinstance(value, Exception):
            raise value
        return value

    def kill(self) -> None:
        """Kill the process; return when it is dead."""
        self.process.kill()
        self.process.join()
        self._connection.close()

    def pause(self) -> None:
        """Stop the process; return when it has stopped."""
        os.kill(self._pid, signal.SIGSTOP)
        assert self.is_paused_soon()

    def is_paused_soon(self) -> bool:
        """Whether the process stops (proc(5): the state T)."""
        stat = Path(f"/proc/{self._pid}/stat")
        return eventually(lambda: stat.read_text().rpartition(")")[2].split()[0] == "T")

    def resume(self) -> None:
        """Let the process go on."""
        os.kill(self._pid, signal.SIGCONT)

    @property
    def _pid(self) -> int:
        assert self.process.pid is not None
        return self.process.pid


def _serve(connection: Connection, url: str, member_id: bytes, options: dict[str, Any]) -> None:
    coordinator = get_coordinator(url, member_id, **options)
    coordinator.start()
    connection.send(None)
    while True:
        try:
            function, arguments = connection.recv()
        except EOFError:
            return
        try:
            connection.send(function(coordinator, *arguments))
        except Exception as error:
            connection.send(error)


def _call(coordinator: LocalCoordinator, method: str, *arguments: object) -> object:
    result = getattr(coordinator, method)(*arguments)
    return result.get() if hasattr(result, "get") else result


_locks: dict[bytes, Lock] = {}


def _lock(coordinator: LocalCoordinator, method: str, name: bytes, *arguments: object) -> object:
    if name not in _locks:
        _locks[name] = coordinator.get_lock(name)
    return getattr(_locks[name], method)(*arguments)


def take_everything(coordinator: LocalCoordinator) -> None:
    """Hold the lock, join the group and lead it."""
    lock = coordinator.get_lock(LOCK)
    assert lock.acquire(blocking=False)
    coordinator.join_group_create(GROUP, "here")
    coordinator.watch_elected_as_leader(GROUP, lambda event: None)
    coordinator.run_elect_coordinator()


def still_has_everything(coordinator: LocalCoordinator) -> bool:
    """Whether what :func:`take_everything` took is held by every word."""
    (lock,) = coordinator.holding
    led = coordinator.get_leader(GROUP).get() == coordinator.member_id
    return lock.is_still_owner() and led
