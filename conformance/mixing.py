"""The order in which workers come to the scenarios: one of no meaning.

In the order of their files, scenarios of one kind stand together, so at one time all the
workers wait for time-outs and the processors idle, and at another all compute and stand in
each other's way.
"""

from __future__ import annotations

import hashlib

import pytest

__all__ = ["mix"]


def mix(items: list[pytest.Item]) -> None:
    """Mix the scenarios among the items, in the same way in every worker.

    Other tests keep their places. Scenarios that are marked to stay together do so, those of
    one backend in one module.
    """
    places = [n for n, item in enumerate(items) if item.get_closest_marker("scenario")]
    mixed = sorted((items[n] for n in places), key=_rank)
    for n, item in zip(places, mixed, strict=True):
        items[n] = item


def _rank(item: pytest.Item) -> tuple[str, str]:
    """Return a digest of the company that an item has to be in, and its own name."""
    company = item.nodeid
    marker = item.get_closest_marker("scenario")
    if marker is not None and marker.kwargs.get("together"):
        backend = getattr(item, "callspec").params["conformance_place"].backend  # noqa: B009
        company = f"{item.path.name} {backend}"
    return hashlib.sha256(company.encode()).hexdigest(), item.nodeid
