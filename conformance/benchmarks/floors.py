"""Floors: the least that each medium must do for a call, without any driver.

A floor tells a slow driver from a slow medium. It does what no driver on this medium can
do without, through the thinnest call that Python has for it; it is measured in the same
run, in the same process, and on the same file system.
"""

from __future__ import annotations

import contextlib
import fcntl
import mmap
import os
import tempfile
import threading
from collections.abc import Callable, Iterator, Mapping
from contextlib import AbstractContextManager
from pathlib import Path
from urllib.parse import urlsplit

from conformance.benchmarks.exchanges import Exchange, open_exchange
from conformance.benchmarks.timing import Call

__all__ = ["ACQUIRE_RELEASE", "GET_MEMBERS", "JOIN_LEAVE", "REFUSED", "open_floors"]

ACQUIRE_RELEASE = "uncontended acquire + release"
REFUSED = "refused try"
JOIN_LEAVE = "join + leave"
GET_MEMBERS = "get_members"

Floors = Mapping[str, Call]
"""The floor of each of the calls above."""

_MEMBER = b"a member and what it can do".ljust(64)
"""What stands for one member's record."""

_MEMBERS = 8 * len(_MEMBER)


@contextlib.contextmanager
def open_floors(backend: str, url: str, run_id: str) -> Iterator[Floors]:
    """Give the floors of a backend while the context lasts; none when it has none here.

    :param url: where the backend is; the floors are measured beside it
    :param run_id: what names of things that outlive a killed process begin with
    """
    exchanging = open_exchange(backend, url)
    if exchanging is not None:
        with exchanging as exchange:
            yield _remote(exchange)
    elif (opened := _FLOORS.get(backend)) is not None:
        with opened(url, run_id) as floors:
            yield floors
    else:
        yield {}


def _remote(exchange: Exchange) -> Floors:
    """Return the floors of a server: asking for something and giving it back are two exchanges."""

    def once() -> None:
        exchange()

    def twice() -> None:
        exchange()
        exchange()

    return {
        ACQUIRE_RELEASE: Call("two bare exchanges with the server", twice),
        REFUSED: Call("one bare exchange with the server", once),
        JOIN_LEAVE: Call("two bare exchanges with the server", twice),
        GET_MEMBERS: Call("one bare exchange with the server", once),
    }


@contextlib.contextmanager
def _file(url: str, run_id: str) -> Iterator[Floors]:
    """Floors of a medium of files: flock(2), rename(2), one file a member."""
    home = Path(urlsplit(url).path)
    home.mkdir(parents=True, exist_ok=True)
    with (
        tempfile.TemporaryDirectory(prefix=".floor-", dir=home) as directory,
        (Path(directory) / "free").open("w") as free,
        (Path(directory) / "held").open("w") as held,
        (Path(directory) / "held").open("w") as wanted,
    ):
        lock, busy = free.fileno(), wanted.fileno()
        draft, member, group = (f"{directory}/{name}" for name in ("draft", "member", "group"))
        Path(group).write_bytes(_MEMBER * 8)
        fcntl.flock(held, fcntl.LOCK_EX)

        def pair() -> None:
            fcntl.flock(lock, fcntl.LOCK_EX)
            fcntl.flock(lock, fcntl.LOCK_UN)

        def refused() -> bool:
            try:
                fcntl.flock(busy, fcntl.LOCK_EX | fcntl.LOCK_NB)
            except BlockingIOError:
                return False
            return True

        def join_and_leave() -> None:
            fcntl.flock(lock, fcntl.LOCK_EX)
            written = os.open(draft, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600)
            os.write(written, _MEMBER)
            os.close(written)
            os.rename(draft, member)  # noqa: PTH104 - a floor takes the thinnest call
            fcntl.flock(lock, fcntl.LOCK_UN)
            fcntl.flock(lock, fcntl.LOCK_EX)
            os.unlink(member)  # noqa: PTH108 - as above
            fcntl.flock(lock, fcntl.LOCK_UN)

        def read() -> int:
            opened = os.open(group, os.O_RDONLY)
            content = os.read(opened, _MEMBERS)
            os.close(opened)
            return len(content)

        yield {
            ACQUIRE_RELEASE: Call("flock and unlock an open file", pair),
            REFUSED: Call("flock refused at once", refused, False),
            JOIN_LEAVE: Call(
                "under one flock write and rename a file, under another unlink it", join_and_leave
            ),
            GET_MEMBERS: Call("open, read and close one file", read, _MEMBERS),
        }


@contextlib.contextmanager
def _ipc(url: str, run_id: str) -> Iterator[Floors]:
    """Floors of a medium of semaphores and shared memory: sem_overview(7), mmap(2)."""
    import posix_ipc

    def semaphore(name: str, value: int) -> posix_ipc.Semaphore:
        path = f"/conformance-{run_id}-floor-{os.getpid()}-{name}"
        made = posix_ipc.Semaphore(path, posix_ipc.O_CREX, initial_value=value)
        made.unlink()
        return made

    with (
        contextlib.closing(semaphore("free", 1)) as free,
        contextlib.closing(semaphore("held", 0)) as held,
        mmap.mmap(-1, mmap.PAGESIZE) as memory,
    ):

        def pair() -> None:
            free.acquire()
            free.release()

        def refused() -> bool:
            try:
                held.acquire(0)
            except posix_ipc.BusyError:
                return False
            return True

        def join_and_leave() -> None:
            free.acquire()
            memory[: len(_MEMBER)] = _MEMBER
            free.release()
            free.acquire()
            memory[: len(_MEMBER)] = bytes(len(_MEMBER))
            free.release()

        def read() -> int:
            free.acquire()
            content = memory[:_MEMBERS]
            free.release()
            return len(content)

        yield {
            ACQUIRE_RELEASE: Call("wait for and post a semaphore", pair),
            REFUSED: Call("semaphore refused at once", refused, False),
            JOIN_LEAVE: Call(
                "under one semaphore write shared memory, under another clear it", join_and_leave
            ),
            GET_MEMBERS: Call("under a semaphore copy shared memory", read, _MEMBERS),
        }


@contextlib.contextmanager
def _memory(url: str, run_id: str) -> Iterator[Floors]:
    """Floors of a medium inside one process: a bare lock, a dictionary."""
    free, held = threading.Lock(), threading.Lock()
    held.acquire()
    members = dict.fromkeys(range(8), _MEMBER)
    joined: dict[bytes, bytes] = {}

    def pair() -> None:
        free.acquire()
        free.release()

    def join_and_leave() -> None:
        free.acquire()
        joined[b"member"] = _MEMBER
        free.release()
        free.acquire()
        del joined[b"member"]
        free.release()

    def read() -> int:
        free.acquire()
        names = set(members)
        free.release()
        return len(names)

    yield {
        ACQUIRE_RELEASE: Call("acquire and release a threading.Lock", pair),
        REFUSED: Call("threading.Lock refused at once", lambda: held.acquire(False), False),
        JOIN_LEAVE: Call(
            "under one threading.Lock add to a dict, under another remove", join_and_leave
        ),
        GET_MEMBERS: Call("under a threading.Lock copy a dict's keys", read, 8),
    }


_FLOORS: dict[str, Callable[[str, str], AbstractContextManager[Floors]]] = {
    "file": _file,
    "ipc": _ipc,
    "zake": _memory,
}
"""The floors by the name of their backend."""
