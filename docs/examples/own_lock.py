"""A library that has locks and nothing else, under test: flock(2) on files in a directory.

PYTHONPATH=docs/examples pytest --backend=file --implementation=own_lock:make_coordinator
"""

from __future__ import annotations

import contextlib
import fcntl
import hashlib
import math
import os
import threading
import time
import weakref
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import urlsplit

from conformance.coordination import Characteristics, Feature, LockAcquireFailed, ToozError


class OwnLock:
    """Holds while its file is open and locked; who releases removes the file."""

    def __init__(self, owner: OwnCoordinator, name: bytes) -> None:
        self.owner = owner
        self._path = owner.directory / hashlib.sha256(name).hexdigest()
        self._file: int | None = None
        self._guard = threading.Lock()
        _locks.add(self)

    @property
    def acquired(self) -> bool:
        return self._file is not None

    def is_still_owner(self) -> bool:
        return self.acquired  # nobody can take it away

    heartbeat = is_still_owner  # nor does it expire

    def acquire(self, blocking: bool | float = True, shared: bool = False) -> bool:
        end = time.monotonic() + (math.inf if blocking is True else blocking)
        while not self._try():
            if time.monotonic() >= end:
                return False
            time.sleep(0.002)
        return True

    def _try(self) -> bool:
        with self._guard:  # threads may share a lock object
            self.owner.check_started()  # stop() ends a wait
            if self._file is not None:
                return False
            file = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_CLOEXEC)
            with contextlib.suppress(BlockingIOError):
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if os.fstat(file).st_nlink:  # else its last holder has just removed it
                    self._file = file
                    return True
            os.close(file)
            return False

    def release(self) -> bool:
        with self._guard:
            if self._file is None:
                return False
            file, self._file = self._file, None  # first, as others may get it from here on
            self._path.unlink()
            os.close(file)
            return True

    def forget(self) -> None:
        if self._file is not None:
            os.close(self._file)
            self._file = None

    @contextlib.contextmanager
    def __call__(self, blocking: bool | float = True, shared: bool = False) -> Iterator[OwnLock]:
        if not self.acquire(blocking, shared):
            raise LockAcquireFailed(f"{self._path} is locked")
        try:
            yield self
        finally:
            self.release()


class OwnCoordinator:
    """Makes locks, and gives them back when it is stopped."""

    CHARACTERISTICS = (
        Characteristics.DISTRIBUTED_ACROSS_THREADS,
        Characteristics.DISTRIBUTED_ACROSS_PROCESSES,
        Characteristics.NON_TIMEOUT_BASED,
        Characteristics.LINEARIZABLE,
    )
    FEATURES = frozenset({Feature.LOCKS})

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self._process: int | None = None

    @property
    def is_started(self) -> bool:
        return self._process == os.getpid()  # a forked child has none

    def check_started(self) -> None:
        if not self.is_started:
            raise ToozError("this coordinator is not started: call start() first")

    def start(self, start_heart: bool = False) -> None:
        if self.is_started:
            raise ToozError("this coordinator is started already: stop() it first")
        self.directory.mkdir(parents=True, exist_ok=True)
        self._process = os.getpid()

    def stop(self) -> None:
        self.check_started()
        self._process = None
        for lock in [lock for lock in _locks if lock.owner is self]:
            lock.release()

    def get_lock(self, name: bytes) -> OwnLock:
        return OwnLock(self, name)


def make_coordinator(url: str, member_id: bytes, **options: object) -> OwnCoordinator:
    """Make one for a URL file:///DIRECTORY; nothing here rests on the option timeout."""
    return OwnCoordinator(Path(urlsplit(url).path))


_locks: weakref.WeakSet[OwnLock] = weakref.WeakSet()


def _forget_locks() -> None:
    """Keep a forked child from holding what its parent holds."""
    for lock in _locks:
        lock.forget()


os.register_at_fork(after_in_child=_forget_locks)
