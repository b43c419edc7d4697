"""What a broken driver is: a driver with one mistake, and the scenario meant to see it.

The mistakes themselves are in the other modules, by what they are about.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from urllib.parse import parse_qsl, urlsplit

import msgspec

from conformance.coordination import Coordinator
from conformance.drivers.file import FileDriver
from conformance.drivers.local import LocalLock, LocalOptions

from .served import ServedDriver

__all__ = ["BROKEN", "PROCESSES", "THREADS", "WINDOW", "Broken", "meant_for"]

THREADS = "DISTRIBUTED_ACROSS_THREADS"
PROCESSES = "DISTRIBUTED_ACROSS_PROCESSES"

WINDOW = 0.005
"""Seconds between a check and the act that rests on it, where a driver makes two steps of
what should be one: some round trips to a server, and long enough where threads come late."""


@dataclass(frozen=True)
class Broken:
    """A driver broken on purpose; calling it makes a coordinator, as an implementation.

    ``falsifies`` names the scenarios meant to catch it, at ``level``, each with the
    characteristic or behaviour that it then falsifies. ``spares`` are scenarios that find
    nothing wrong with it, which shows what the others add. ``profile`` is how hard to try:
    what shows in every life needs few.
    """

    driver: type[FileDriver] | type[ServedDriver]
    falsifies: Mapping[str, str]
    level: str
    spares: tuple[str, ...]
    profile: str = "gate"

    @property
    def is_served(self) -> bool:
        """Whether it needs the server that ``served`` runs."""
        return issubclass(self.driver, ServedDriver)

    def __call__(self, url: str, member_id: bytes, **options: object) -> Coordinator:
        """Return a coordinator, not yet started."""
        parts = urlsplit(url)
        given = dict(parse_qsl(parts.query)) | options
        converted = msgspec.convert(given, LocalOptions, strict=False)
        return self.driver(member_id, parts._replace(query=""), converted)


BROKEN: dict[str, Broken] = {}
"""Every broken driver, by its name."""


def meant_for(
    falsifies: Mapping[str, str],
    level: str = "threads",
    spares: tuple[str, ...] = (),
    profile: str = "gate",
) -> Callable[[type[FileDriver] | type[ServedDriver] | type[LocalLock]], Broken]:
    """Return a decorator that enters a driver, or a lock for a file driver, in the table.

    See :class:`Broken` for the parameters.
    """

    def enter(kind: type[FileDriver] | type[ServedDriver] | type[LocalLock]) -> Broken:
        driver = _with_lock(kind) if issubclass(kind, LocalLock) else kind
        BROKEN[kind.__name__] = Broken(driver, falsifies, level, spares, profile)
        return BROKEN[kind.__name__]

    return enter


def _with_lock(lock: type[LocalLock]) -> type[FileDriver]:
    class Driver(FileDriver):
        def _make_lock(self, name: bytes) -> LocalLock:
            return lock(name, self)

    Driver.__name__ = Driver.__qualname__ = lock.__name__
    Driver.__module__, Driver.__doc__ = lock.__module__, lock.__doc__
    return Driver
