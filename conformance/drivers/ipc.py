"""The ``ipc`` driver: coordinators meet in the POSIX shared memory of their host."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator
from typing import Annotated, ClassVar
from urllib.parse import SplitResult

import msgspec
import posix_ipc

from conformance.coordination import DriverOptions
from conformance.drivers.local import LocalCoordinator, LocalLock, LocalOptions
from conformance.drivers.medium import Descriptor, Document, Medium

__all__ = ["IPCDriver", "IPCOptions", "SharedMemory"]

_MODE = 0o600
_DEFAULT_NAMESPACE = "tooz"


class IPCOptions(LocalOptions, frozen=True, kw_only=True):
    """Options of the ipc driver.

    ``namespace``: who uses the same one meets; up to 80 letters, digits, ``_`` and
    ``-``. None: what the URL names, or ``tooz``.
    """

    namespace: Annotated[str, msgspec.Meta(pattern=r"\A[A-Za-z0-9_-]{1,80}\Z")] | None = None


class SharedMemory(Medium):
    """Objects are POSIX shared memory; the document is one of two, which a byte tells.

    shm_overview(7), Linux man-pages 6.03: shared memory objects are files of a tmpfs, so
    that read(2), write(2), fstat(2) and flock(2) work on their descriptors as on a
    file's. POSIX promises none of it, and other systems refuse some.

    POSIX has no rename for them. So a writer makes the object that is not current anew,
    fills it, and then writes one byte of the guard, which says which one is: killed at
    any moment it leaves the old document or the new. A reader knows that its object was
    current, and so complete, when the byte still says so while the object has its name.
    """

    def __init__(self, namespace: str) -> None:
        self._namespace = namespace

    def __str__(self) -> str:
        return f"namespace {self._namespace!r} of the shared memory"

    def open(self, name: str, *, create: bool) -> Descriptor:
        """Open an object for reading and writing, making an empty one.

        shm_open(3) sets FD_CLOEXEC.
        """
        flags = posix_ipc.O_CREAT if create else 0
        with _os_errors():
            return Descriptor.opening(
                lambda: posix_ipc.SharedMemory(self._path(name), flags, _MODE).fd
            )

    def remove(self, name: str) -> None:
        """Unlink an object, if there is one."""
        with contextlib.suppress(FileNotFoundError), _os_errors():
            posix_ipc.unlink_shared_memory(self._path(name))

    def read(self, guard: Descriptor) -> Document | None:
        """Return the registry's object that is current."""
        current = _current(guard)
        try:
            segment = self.open(f"registry{current}", create=False)
        except FileNotFoundError:
            return None

        def is_current() -> bool:
            # The byte first: while the name stays, the byte cannot go and come back.
            return _current(guard) == current and segment.is_linked()

        if not is_current():
            segment.close()
            return None
        return Document(segment.read(), segment, is_current)

    def publish(self, guard: Descriptor, content: bytes) -> None:
        """Write the registry's other object, then say that it is the current one."""
        current = _current(guard)
        other = 1 - current
        self.remove(f"registry{other}")
        with self.open(f"registry{other}", create=True) as segment:
            segment.write(content)
        os.pwrite(guard.number, bytes([other]), 0)
        self.remove(f"registry{current}")

    def clear(self) -> None:
        """Remove both of the registry's objects, and the guard last."""
        for name in ("registry0", "registry1", "guard"):
            self.remove(name)

    def _path(self, name: str) -> str:
        return f"/{self._namespace}.{name}"


def _current(guard: Descriptor) -> int:
    """Return which of the two objects is current; a new guard has no byte, so the first."""
    return 1 if os.pread(guard.number, 1, 0) == b"\1" else 0


@contextlib.contextmanager
def _os_errors() -> Iterator[None]:
    """Turn posix_ipc's own errors into those of the operating system."""
    try:
        yield
    except posix_ipc.ExistentialError as error:
        raise FileNotFoundError(str(error)) from error
    except posix_ipc.PermissionsError as error:
        raise PermissionError(str(error)) from error
    except posix_ipc.Error as error:
        raise OSError(str(error)) from error


class IPCDriver(LocalCoordinator):
    """Coordination of the processes of one Linux host through its memory: ``ipc://NAME``.

    ``ipc://?namespace=NAME&timeout=10`` says the same; the namespace is ``tooz`` where
    none is named. Coordinators of one user meet who use the same one. All that it has is
    removed when the last coordinator stops and no group is left.

    - A lock is the flock(2), exclusive or shared, of a shared memory object. It is no
      semaphore, whose value outlives processes (sem_overview(7)): that would stay taken
      when its holder is killed. Waiters sleep until a release rings for them (``bell``),
      and look every ten milliseconds for a holder that was killed.
    - Groups, members, capabilities and leaders are one document in shared memory, of any
      size, replaced as a whole by one process at a time, which holds the flock of a
      guard object.
    - A member or leader lives as long as its coordinator's flock on a session object.

    Shared memory objects are files of a tmpfs on Linux (shm_overview(7), Linux man-pages
    6.03), so flock(2) works on them: a process that is killed has none from that moment,
    and one that is paused keeps it. Nothing here rests on time-outs. ``timeout`` bounds
    how long a change waits for another process that was paused in the middle of one;
    readers and locks do not wait for it.

    Not promised: anything on other systems than Linux, where flock(2) need not work on
    shared memory; anything across hosts, or containers with a /dev/shm of their own;
    anything for a child forked by other means than Python's, which would share its
    parent's locks; anything where a lock's object is truncated, as writing to what it has
    lost kills the process (mmap(2): SIGBUS). A lock's object stays until the coordinators
    that used it have stopped.
    """

    Options: ClassVar[type[DriverOptions]] = IPCOptions

    _USABLE = "a namespace of this user's own"

    def __init__(self, member_id: bytes, url: SplitResult, options: IPCOptions) -> None:
        super().__init__(member_id, url, options)
        self._shared_memory = SharedMemory(_namespace(url, options))

    def _medium(self) -> Medium:
        return self._shared_memory

    def _make_lock(self, name: bytes) -> LocalLock:
        return LocalLock(name, self)


def _namespace(url: SplitResult, options: IPCOptions) -> str:
    """Return the namespace that the URL or the options name; both only if they agree."""
    named = url.netloc or options.namespace or _DEFAULT_NAMESPACE
    if url.path not in ("", "/"):
        raise ValueError(f"an ipc URL is ipc://NAME, without a path, not {url.geturl()!r}")
    if options.namespace not in (None, named):
        raise ValueError(f"the URL names {named!r}, and the option {options.namespace!r}")
    try:
        msgspec.convert({"namespace": named}, IPCOptions)
    except msgspec.ValidationError as error:
        raise ValueError(
            f"a namespace is 1 to 80 letters, digits, _ and -, not {named!r}"
        ) from error
    return named
