"""Names that are cut, folded, hashed or taken for paths, so that some are one."""

from __future__ import annotations

import hashlib
import posixpath
import zlib
from collections.abc import Iterable

from conformance.drivers.file import FileDriver
from conformance.drivers.local import LocalLock

from .broken import meant_for

_LONGEST = 64
"""The longest name of a lock in MySQL, in characters (Reference Manual 9.1, 14.14)."""


class _Renames(FileDriver):
    """A driver that turns the names of locks into others."""

    def _rename(self, name: bytes) -> bytes:
        raise NotImplementedError

    def _make_lock(self, name: bytes) -> LocalLock:
        return super()._make_lock(self._rename(name))


_LOCKS = "test_locks_of_different_names_are_different"


@meant_for({_LOCKS: "hostile input"})
class CutsNames(_Renames):
    """Takes the first 64 bytes for the name, as a column or a server with a limit does."""

    def _rename(self, name: bytes) -> bytes:
        return name[:_LONGEST]


@meant_for({_LOCKS: "hostile input"})
class FoldsCase(_Renames):
    """Takes names that differ in case for one, as MySQL and some file systems do."""

    def _rename(self, name: bytes) -> bytes:
        return name.lower()


@meant_for({_LOCKS: "hostile input"})
class HashesNames(_Renames):
    """Takes a 32-bit hash for the name, as drivers do whose servers number their locks."""

    def _rename(self, name: bytes) -> bytes:
        return b"%x" % zlib.crc32(name)


@meant_for({"test_many_locks_are_all_different": "hostile input"}, level="processes")
class HashesToTwoBytes(_Renames):
    """Takes two bytes of a hash for the name, as upstream's PostgreSQL driver does."""

    def _rename(self, name: bytes) -> bytes:
        return hashlib.sha256(name).digest()[:2]


@meant_for({_LOCKS: "hostile input"})
class ReadsPaths(_Renames):
    """Takes a name for a path, so that ``a/x`` and ``a//x`` are one: drivers with folders."""

    def _rename(self, name: bytes) -> bytes:
        return posixpath.normpath(name)


@meant_for({_LOCKS: "hostile input"})
class EndsAtNul(_Renames):
    """Takes a name for a string of C, as libraries do that hand it on with strlen(3)."""

    def _rename(self, name: bytes) -> bytes:
        return name.partition(b"\0")[0] or b"\0"


@meant_for({"test_groups_and_members_of_different_names_are_different": "hostile input"})
class ShowsNamesAsText(FileDriver):
    """Takes names for UTF-8 on their way out, replacing what is none."""

    def _get_groups(self) -> Iterable[bytes]:
        return {name.decode(errors="replace").encode() for name in super()._get_groups()}


@meant_for({"test_leaders_of_different_groups_are_different": "hostile input"})
class LeadsTheWholeTree(FileDriver):
    """Keeps the leader of ``a/x`` where that of ``a`` is, as keys do that are split at ``/``."""

    def _campaign(self, group_id: bytes) -> object | None:
        return super()._campaign(_first_part(group_id))

    def _get_leader(self, group_id: bytes) -> bytes | None:
        return super()._get_leader(_first_part(group_id))

    def _stand_down(self, group_id: bytes) -> bool:
        return super()._stand_down(_first_part(group_id))


def _first_part(name: bytes) -> bytes:
    return name.split(b"/")[0]
