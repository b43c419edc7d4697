"""The orders that an explanation of a history may have to keep."""

from __future__ import annotations

import enum

__all__ = ["Order"]


class Order(enum.Enum):
    """Which orders between operations an explanation has to keep."""

    REAL_TIME = "real time"
    """What returned before another was called comes before it."""

    PROGRAM = "program"
    """Operations of one client keep their order."""

    CAUSAL = "causal"
    """Program order, and what was read after what wrote it, closed transitively; each
    client may see operations that are unrelated in an order of its own."""

    NONE = "none"
    """None."""
