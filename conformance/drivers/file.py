"""The ``file`` driver: coordinators meet in a directory of their host."""

from __future__ import annotations

import os
from pathlib import Path
from urllib.parse import SplitResult, unquote

from conformance.drivers.local import LocalCoordinator, LocalLock, LocalOptions
from conformance.drivers.medium import Descriptor, Document, Medium

__all__ = ["Directory", "FileDriver"]

_REGISTRY = "registry"
_NEXT_REGISTRY = "registry.next"

_READ_WRITE = os.O_RDWR | os.O_CLOEXEC | os.O_NOFOLLOW
_MODE = 0o666
"""Less what the umask takes away (umask(2))."""


class Directory(Medium):
    """Objects are files of a directory; the document is a file replaced by rename(2).

    rename(2), Linux man-pages 6.03: where the new name exists it is replaced atomically,
    so that no other process finds it missing. A killed writer leaves the file it was
    writing, which the next one overwrites.

    All names begin with ``coordination.``, so that other files of the directory are safe.
    """

    def __init__(self, path: str) -> None:
        """Use a directory, making it if it is missing.

        :raises OSError: it cannot be made, or ``path`` is no directory
        """
        Path(path).mkdir(parents=True, exist_ok=True)
        self._path = path

    def __str__(self) -> str:
        return self._path

    def open(self, name: str, *, create: bool) -> Descriptor:
        """Open a file for reading and writing, making an empty one."""
        flags = _READ_WRITE | os.O_CREAT if create else _READ_WRITE
        path = self._file(name)
        return Descriptor.opening(lambda: os.open(path, flags, _MODE))

    def remove(self, name: str) -> None:
        """Unlink a file, if there is one."""
        Path(self._file(name)).unlink(missing_ok=True)

    def read(self, guard: Descriptor) -> Document | None:
        """Return the registry's file."""
        try:
            file = self.open(_REGISTRY, create=False)
        except FileNotFoundError:
            return None
        # A file that was replaced has lost its only name.
        return Document(file.read(), file, is_current=file.is_linked)

    def publish(self, guard: Descriptor, content: bytes) -> None:
        """Write the next registry's file, then rename it."""
        with self.open(_NEXT_REGISTRY, create=True) as file:
            os.ftruncate(file.number, 0)
            file.write(content)
        Path(self._file(_NEXT_REGISTRY)).replace(self._file(_REGISTRY))

    def clear(self) -> None:
        """Remove the registry, and the guard last."""
        for name in (_NEXT_REGISTRY, _REGISTRY, "guard"):
            self.remove(name)

    def _file(self, name: str) -> str:
        return f"{self._path}/coordination.{name}"


class FileDriver(LocalCoordinator):
    """Coordination of the processes of one host through a directory: ``file://DIR?timeout=10``.

    ``DIR`` is absolute (``file:///run/service``), or relative to the working directory
    (``file://service/state``); percent-encoding is undone. It is made if missing, and
    left in place, empty, when the last coordinator stops and no group is left.

    - A lock is the flock(2) of a file, exclusive or shared. Waiters sleep until a
      release rings for them (``bell``), and look every ten milliseconds for a holder that
      was killed.
    - Groups, members, capabilities and leaders are one document, replaced by rename(2)
      by one process at a time, which holds the flock of a guard file.
    - A member or leader lives as long as its coordinator's flock on a session file.

    A process that is killed has no flock from that moment, and one that is paused keeps
    it (flock(2), Linux man-pages 6.03), so nothing here rests on time-outs. ``timeout``
    bounds how long a change waits for another process that was paused in the middle of
    one; readers and locks do not wait for it.

    Not promised: anything across hosts, or on file systems that emulate flock(2) (NFS,
    SMB) or whose files cannot be mapped; anything where a lock's file is truncated, as
    writing to what it has lost kills the process (mmap(2): SIGBUS); anything for a child
    forked by other means than Python's, which would share its parent's locks; that groups
    outlive a crash of the machine. A lock's file stays until the coordinators that used it
    have stopped.
    """

    _USABLE = "a directory of this host that this user may read and write"

    def __init__(self, member_id: bytes, url: SplitResult, options: LocalOptions) -> None:
        super().__init__(member_id, url, options)
        self._path = _path(url)

    def _medium(self) -> Medium:
        return Directory(self._path)

    def _make_lock(self, name: bytes) -> LocalLock:
        return LocalLock(name, self)


def _path(url: SplitResult) -> str:
    """Return the absolute path that a URL names; ``localhost`` is no part of it (RFC 8089)."""
    host = "" if url.netloc == "localhost" else url.netloc
    path = unquote(host + url.path)
    if not path or "\0" in path:
        raise ValueError(
            f"a file URL names a directory, as in file:///run/service, not {url.geturl()!r}"
        )
    return str(Path(path).absolute())
