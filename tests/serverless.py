"""The reference drivers, for tests of what comes after a server was tried out: there is none."""

from __future__ import annotations

from conformance.coordination import Coordinator, get_coordinator


def make_coordinator(url: str, member_id: bytes, **options: object) -> Coordinator:
    """Make one, which finds a server if it is only tried out."""
    made = get_coordinator(url, member_id, **options)
    if member_id == b"asking":
        made.start = made.stop = lambda *_: None  # type: ignore[method-assign,assignment]
    return made
