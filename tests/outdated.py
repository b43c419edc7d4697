"""A file driver that is deprecated, and says so at each heartbeat."""

from __future__ import annotations

import warnings

from conformance.coordination import Coordinator, get_coordinator


def coordinator(url: str, member_id: bytes, **options: object) -> Coordinator:
    """Return a coordinator that warns."""
    made = get_coordinator(url, member_id, **options)

    def warn() -> float:
        warnings.warn("there is a newer one", DeprecationWarning, stacklevel=2)
        return 1.0

    made.heartbeat = warn  # type: ignore[method-assign]
    return made
