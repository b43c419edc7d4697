"""The reference drivers, for tests of what comes after a server was tried out: there is none."""

from __future__ import annotations

from conformance.coordination import Coordinator, get_coordinator
from conformance.implementations import ASKING


def make_coordinator(url: str, member_id: bytes, **options: object) -> Coordinator:
    """Make one, which finds a server if it is only tried out."""
    made = get_coordinator(url, member_id, **options)
    if member_id == ASKING:
        made.start = made.stop = lambda **_: None  # type: ignore[method-assign,assignment]
    return made
