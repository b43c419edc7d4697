"""What a host-local driver needs of the operating system.

A :class:`Descriptor` is an open file or shared memory object, whose flock(2) tells one
holder apart from another and is taken back by the kernel when its process ends. A
:class:`Medium` is where such objects have names. Nothing here knows of groups or locks.

flock(2), Linux man-pages 6.03: locks belong to the open file description, so every
``open`` competes with every other, also within a process; a description's locks go when
its last descriptor is closed, which the kernel does for a killed process, and not for a
stopped one.
"""

from __future__ import annotations

import abc
import fcntl
import hashlib
import os
import random
import threading
import time
import weakref
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from types import TracebackType
from typing import TypeVar

from conformance.coordination import Deadline

__all__ = [
    "EXCLUSIVE",
    "SHARED",
    "Descriptor",
    "Document",
    "Medium",
    "pauses",
    "safe_name",
    "while_not_forking",
]

T = TypeVar("T")

EXCLUSIVE = fcntl.LOCK_EX
SHARED = fcntl.LOCK_SH

_SPELLED_OUT = 64
"""The longest name, in bytes, that is spelled out; its file name has twice as many, and
all of it stays below NAME_MAX, which is 255 (limits.h(0p))."""


def safe_name(name: bytes) -> str:
    """Return a file name for a name of any bytes; no two names have the same.

    It has only lower-case letters and digits, at most 129 of them, so that it stays in
    its directory and is told apart where a file system ignores case. A long name becomes
    its SHA-256 (FIPS 180-4), for which no two names with the same value are known.
    """
    if len(name) <= _SPELLED_OUT:
        return "x" + name.hex()
    return "s" + hashlib.sha256(name).hexdigest()


def pauses(shortest: float, longest: float) -> Iterator[float]:
    """Return seconds to wait between tries, within these bounds.

    They grow so slowly, to a two-hundredth of the time waited so far, that who has waited
    for long is hardly slower to try than who just began, and long waits cost little all
    the same. Chance keeps those who wait from trying in step with one another.
    """
    began = time.monotonic()
    while True:
        pause = max(shortest, (time.monotonic() - began) / 200)
        yield min(longest, pause) * random.uniform(0.5, 1.0)  # noqa: S311 - no secret


class Descriptor:
    """An open file description of this process's own; closed when it is collected.

    In a forked child all of them are closed, but not unlocked: that would take away the
    parent's lock, which is the same one.
    """

    def __init__(self, number: int) -> None:
        self.number = number
        self._process = os.getpid()
        _descriptors.add(self)

    @classmethod
    def opening(cls, call: Callable[[], int]) -> Descriptor:
        """Return what ``call`` opens."""
        return while_not_forking(lambda: cls(call()))

    def try_flock(self, kind: int) -> bool:
        """Take the flock, EXCLUSIVE or SHARED, if it is to be had now."""
        try:
            fcntl.flock(self.number, kind | fcntl.LOCK_NB)
        except BlockingIOError:
            return False
        return True

    def wait_flock(self, kind: int, deadline: Deadline) -> bool:
        """Take the flock before the deadline, or return False.

        A blocking flock could neither be given a time nor be interrupted by ``stop()``.
        """
        for pause in pauses(0.0001, 0.002):
            if self.try_flock(kind):
                return True
            if deadline.expired:
                break
            time.sleep(min(pause, deadline.remaining))
        return False

    def unlock(self) -> None:
        """Give the flock back.

        Closing alone would not do: a child that another thread is just starting has a
        copy of the descriptor until it calls execve(2).
        """
        fcntl.flock(self.number, fcntl.LOCK_UN)

    def is_linked(self) -> bool:
        """Whether its name still leads to it.

        These objects have one name and are never given another (stat(2): st_nlink).
        """
        return self.number >= 0 and os.fstat(self.number).st_nlink > 0

    def is_same_as(self, other: Descriptor) -> bool:
        """Whether both are open on the same object."""
        return os.path.sameopenfile(self.number, other.number)

    def write(self, content: bytes) -> None:
        """Write all of it, after what was written before."""
        rest = memoryview(content)
        while rest:
            rest = rest[os.write(self.number, rest) :]

    def read(self) -> bytes:
        """Return everything from the beginning."""
        os.lseek(self.number, 0, os.SEEK_SET)
        with open(self.number, "rb", buffering=0, closefd=False) as file:
            return file.readall()

    def close(self) -> None:
        """Close it, if it is not closed."""
        while_not_forking(self._close)

    def _close(self) -> None:
        """Unlock it, unless it is the parent's, and close it."""
        if self.number >= 0:
            if self._process == os.getpid():
                self.unlock()
            number, self.number = self.number, -1
            os.close(number)

    def __enter__(self) -> Descriptor:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        trace: TracebackType | None,
    ) -> None:
        self.close()

    def __del__(self) -> None:
        # Not while_not_forking(): this may be called in the middle of anything. A child
        # forked at this moment may get a descriptor more, but no flock with it.
        self._close()


_descriptors: weakref.WeakSet[Descriptor] = weakref.WeakSet()
_forking = threading.RLock()


def while_not_forking(call: Callable[[], T]) -> T:
    """Return what ``call`` returns; no thread forks this process in the meantime.

    Else a child could get a descriptor that is open and not yet, or no longer, known here.
    """
    with _forking:
        return call()


def _before_fork() -> None:
    _forking.acquire()


def _after_fork_in_parent() -> None:
    _forking.release()


def _after_fork_in_child() -> None:
    global _forking
    _forking = threading.RLock()
    for descriptor in list(_descriptors):
        descriptor._close()


os.register_at_fork(
    before=_before_fork,
    after_in_parent=_after_fork_in_parent,
    after_in_child=_after_fork_in_child,
)


@dataclass(frozen=True)
class Document:
    """One version of what a medium publishes, complete, open until it is closed."""

    content: bytes
    descriptor: Descriptor
    is_current: Callable[[], bool]
    """Whether no other version was published since this one was read."""


class Medium(abc.ABC):
    """A name space of objects, and one document that is replaced as a whole.

    Names are ASCII without slashes. ``OSError`` is what its methods raise;
    ``FileNotFoundError`` where there is no object of the name. ``str()`` says where it
    is, for messages. The object ``guard`` is the one whose flock is held while the
    document is replaced.
    """

    @abc.abstractmethod
    def open(self, name: str, *, create: bool) -> Descriptor:
        """Open the object of a name for reading and writing, making an empty one."""

    @abc.abstractmethod
    def remove(self, name: str) -> None:
        """Take an object's name away, if there is one; who has it open keeps it."""

    @abc.abstractmethod
    def read(self, guard: Descriptor) -> Document | None:
        """Return the document.

        None when there is none, or, unless the guard is held, when it was being replaced.
        """

    @abc.abstractmethod
    def publish(self, guard: Descriptor, content: bytes) -> None:
        """Replace the document, in one moment, whenever this process is killed."""

    @abc.abstractmethod
    def clear(self) -> None:
        """Remove the document, and the guard last; the guard is held."""
