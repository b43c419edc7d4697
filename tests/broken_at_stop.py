"""A file driver whose ``stop()`` fails."""

from __future__ import annotations

from conformance.coordination import Coordinator, get_coordinator


def coordinator(url: str, member_id: bytes, **options: object) -> Coordinator:
    """Return a coordinator that cannot be stopped."""
    made = get_coordinator(url, member_id, **options)

    def fail() -> None:
        raise RuntimeError("not today")

    made.stop = fail  # type: ignore[method-assign]
    return made
