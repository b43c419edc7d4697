"""A driver that has nothing but groups, for tests of what is not exercised."""

from __future__ import annotations

from urllib.parse import urlsplit

from conformance.coordination import Coordinator, DriverOptions, Feature


class Featureless(Coordinator):
    """Has no locks."""

    FEATURES = frozenset({Feature.GROUPS})

    def _start(self) -> None:
        pass

    def _stop(self) -> None:
        pass

    def _heartbeat(self) -> float:
        return 1.0


def coordinator(url: str, member_id: bytes, **options: object) -> Coordinator:
    """Make one."""
    return Featureless(member_id, urlsplit(url), DriverOptions())
