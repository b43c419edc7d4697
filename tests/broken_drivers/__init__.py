"""Drivers broken on purpose, each in one way: what the scenarios must be able to see.

Each is the file driver, its claims included, with one mistake that real drivers make, or
the driver of a small server where it is about links. Run
one with ``--implementation=broken_drivers:NAME``, with this directory's parent in
PYTHONPATH. ``BROKEN`` is the table of all of them, with the scenarios meant for each.
"""

from __future__ import annotations

from . import groups, leaders, leases, links, lives, locks, names, views, watches
from .broken import BROKEN, Broken

__all__ = [
    "BROKEN",
    "Broken",
    "groups",
    "leaders",
    "leases",
    "links",
    "lives",
    "locks",
    "names",
    "views",
    "watches",
]


def __getattr__(name: str) -> Broken:
    """Return the broken driver of a name, as if it were defined here."""
    try:
        return BROKEN[name]
    except KeyError:
        raise AttributeError(f"there is no broken driver {name!r}") from None
