"""Factories that are no implementations, each in its own way."""

from __future__ import annotations

from typing import Any

from conformance.coordination import Characteristics, Feature

__all__ = [
    "BareLocks",
    "Coordinator",
    "bare_locks",
    "failing",
    "idle",
    "nothing",
    "of",
    "optionless",
    "stuck",
    "words",
]


class BareLock:
    """Can be acquired and released, and not be asked."""

    def acquire(self, blocking: bool | float = True, shared: bool = False) -> bool:
        return True

    def release(self) -> bool:
        return True


class Coordinator:
    """Has what every coordinator needs, and no more."""

    CHARACTERISTICS: Any = (Characteristics.NON_TIMEOUT_BASED,)
    FEATURES: Any = frozenset[Feature]()
    is_started = False

    def __init__(self, url: str, member_id: bytes, **options: object) -> None:
        pass

    def start(self, start_heart: bool = False) -> None:
        pass

    def stop(self) -> None:
        pass


class BareLocks(Coordinator):
    """Has locks."""

    FEATURES = (Feature.LOCKS,)

    def get_lock(self, name: bytes) -> BareLock:
        return BareLock()


class Stuck(Coordinator):
    """Cannot start."""

    def start(self, start_heart: bool = False) -> None:
        raise RuntimeError("not today")


bare_locks, stuck = BareLocks, Stuck


def of(**attributes: Any) -> type[Coordinator]:
    """Return a coordinator that says other things of itself."""
    return type("Made", (Coordinator,), attributes)


words = of(FEATURES=("LOCKS",))


def nothing(url: str, member_id: bytes, **options: object) -> None:
    """Forget to return what was made."""


def idle() -> Coordinator:
    """Take no arguments."""
    return Coordinator("", b"")


def optionless(url: str, member_id: bytes) -> Coordinator:
    """Take no options."""
    return Coordinator(url, member_id)


def failing(url: str, member_id: bytes, **options: object) -> Coordinator:
    """Fail."""
    raise RuntimeError("not today")
