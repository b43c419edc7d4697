"""The bell of a lock: waiters sleep in the kernel until a release rings.

A bell is numbers in the lock's own object, seen by every process that has it mapped: how
often it was rung, which is a futex, whether it is wanted, and whether somebody let go of the
object who had held it when the lock was broken. It has no name of its own and nothing of it
outlives the object. No hold rests on it: the numbers are read and written without being
locked, so a ringing may be lost, also because the one who should ring, or the one who heard
it, was killed or paused. Who waits must look for itself now and then.

futex(2), Linux man-pages 6.03: FUTEX_WAIT sleeps if the number is still the one that was
seen, and FUTEX_WAKE wakes some of those who wait. The C library has no function for it, so it
is called by its number.

Who rings and woke somebody gives way to it, as sched_yield(2), same edition, advises whoever
releases what others want: the kernel often has the one who wakes up wait for the processor of
the one who rang, though another sleeps.
"""

from __future__ import annotations

import ctypes
import mmap
import os
import platform
import sys
import time

from conformance.drivers.medium import Descriptor, while_not_forking

__all__ = ["Bell"]

_FUTEX_WAIT, _FUTEX_WAKE = 0, 1

_EVERYBODY = 0x7FFFFFFF

_KEEPS_FACTOR = 10
"""How many times as long as it was given away who gave way keeps the processor before it gives
way again. On busy ones others than who was woken are served first, for milliseconds."""

_CALL_NUMBERS = {"x86_64": 202, "aarch64": 98, "riscv64": 98, "ppc64le": 221, "s390x": 238}
"""The number of futex(2) for programs of 64 bits, by machine (unistd.h of Linux 6.1)."""

_CALL_NUMBER = _CALL_NUMBERS.get(platform.machine()) if sys.maxsize > 2**32 else None
"""None where it is not known: nobody is woken there, and waiting is looking now and then."""

_library = ctypes.CDLL(None, use_errno=True)
_library.mmap.restype = ctypes.c_void_p
_library.mmap.argtypes = (
    ctypes.c_void_p,
    ctypes.c_size_t,
    ctypes.c_int,
    ctypes.c_int,
    ctypes.c_int,
    ctypes.c_long,
)
_library.munmap.argtypes = (ctypes.c_void_p, ctypes.c_size_t)
_library.madvise.argtypes = (ctypes.c_void_p, ctypes.c_size_t, ctypes.c_int)


class _Time(ctypes.Structure):
    """A timespec of a program of 64 bits."""

    _fields_ = (("seconds", ctypes.c_long), ("nanoseconds", ctypes.c_long))


_futex = _library.syscall
_futex.restype = ctypes.c_long
_futex.argtypes = (
    ctypes.c_long,
    ctypes.c_void_p,
    ctypes.c_int,
    ctypes.c_uint32,
    ctypes.POINTER(_Time),
)


class _Numbers(ctypes.Structure):
    _fields_ = (
        ("rung", ctypes.c_uint32),
        ("wanted", ctypes.c_uint32),
        ("left", ctypes.c_uint32),
    )


_SIZE = ctypes.sizeof(_Numbers)


class Bell:
    """The bell in an object of a medium, as long as this is referred to.

    :param opened: the object, open for reading and writing
    :raises OSError: there is no room for it, or it cannot be mapped
    """

    def __init__(self, opened: Descriptor) -> None:
        self._process = os.getpid()
        self._address = 0
        self._keeps_until = 0.0
        # Room is made first: to write where there is none would kill the process.
        os.posix_fallocate(opened.number, 0, _SIZE)
        while_not_forking(lambda: self._map(opened.number))
        self._numbers = _Numbers.from_address(self._address)

    def _map(self, number: int) -> None:
        """Map the object, but in no forked child.

        A mapping keeps the open file description, and so its flock (mmap(2), flock(2)).
        """
        address = _library.mmap(
            None, _SIZE, mmap.PROT_READ | mmap.PROT_WRITE, mmap.MAP_SHARED, number, 0
        )
        if address == ctypes.c_void_p(-1).value:
            raise _error("mmap")
        self._address = address
        if _library.madvise(address, _SIZE, mmap.MADV_DONTFORK):
            raise _error("madvise")

    def __del__(self) -> None:
        if self._address and self._process == os.getpid():
            _library.munmap(self._address, _SIZE)

    def join(self) -> int | None:
        """Return what to give to :meth:`wait` if others wait, else None."""
        numbers = self._numbers
        if not numbers.wanted:
            return None
        rung: int = numbers.rung
        return rung if numbers.wanted else None

    @property
    def left(self) -> bool:
        """Whether somebody let go of the object who had held it when the lock was broken."""
        return bool(self._numbers.left)

    def leave(self) -> None:
        """Say that somebody lets go of the object who had held it when the lock was broken."""
        self._numbers.left = 1

    def want(self) -> int:
        """Have it rung for whoever waits; return what to give to :meth:`wait`."""
        rung: int = self._numbers.rung  # first: a ringing in between must not be missed
        self._numbers.wanted = 1
        return rung

    def wait(self, rung: int, seconds: float) -> None:
        """Wait for the next ringing, if ``rung`` is the last one, or for some time."""
        if _CALL_NUMBER is None:
            time.sleep(seconds)
            return
        whole = int(seconds)
        limit = _Time(whole, int((seconds - whole) * 1e9))
        # It fails when it was rung already, when the time is over, and on a signal.
        _futex(_CALL_NUMBER, self._address, _FUTEX_WAIT, rung, limit)

    def ring(self, *, for_everybody: bool = False) -> None:
        """Wake who has waited longest, or everybody; nobody unless it is wanted.

        It stays wanted while there was somebody to wake: others may wait still.
        """
        numbers = self._numbers
        if not numbers.wanted:
            return
        count = _EVERYBODY if for_everybody else 1
        if self._wake(count):
            self._give_way()
        else:
            numbers.wanted = 0
            self._wake(count)  # those who joined while it was wanted

    def _give_way(self) -> None:
        """Give the processor away, unless that took too much of the time lately."""
        began = time.monotonic()
        if began >= self._keeps_until:
            os.sched_yield()
            ended = time.monotonic()
            self._keeps_until = ended + _KEEPS_FACTOR * (ended - began)

    def _wake(self, count: int) -> int:
        """Wake so many at most, and those who are about to wait; return how many slept."""
        self._numbers.rung += 1
        if _CALL_NUMBER is None:
            return 0
        woken: int = _futex(_CALL_NUMBER, self._address, _FUTEX_WAKE, count, None)
        return woken


def _error(call: str) -> OSError:
    number = ctypes.get_errno()
    return OSError(number, f"{call}: {os.strerror(number)}")
