"""Several searches that all have to succeed, run in turns."""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

from conformance.checkers.search import Search

__all__ = ["BUDGET", "Searched", "search_all"]

BUDGET = 500_000
"""How many steps searches take by default before they give up; a second has some 100,000."""

_SLICE = 1_000
"""Steps of the first turn of each of several searches."""


class Searched(NamedTuple):
    """What came of several searches that all have to succeed.

    ``explained`` is None when the budget ran out; ``failed`` the search that found no
    explanation, if one did.
    """

    explained: bool | None
    failed: Search | None
    steps: int


def search_all(searches: Sequence[Search], budget: int, deciding: Search | None = None) -> Searched:
    """Run searches in turns that grow, so that a hard one does not hide an easy violation.

    :param budget: how many steps to take in all
    :param deciding: one of them that, once it succeeded, leaves nothing to the others
    """
    pending, left, turn = list(searches), budget, _SLICE
    while pending and left > 0:
        for search in list(pending):
            before = search.steps
            explained = search.run(min(turn, left))
            left -= search.steps - before
            if explained is False:
                return Searched(False, search, budget - left)
            if explained and search is deciding:
                return Searched(True, None, budget - left)
            if explained:
                pending.remove(search)
            if left <= 0:
                break
        turn *= 2
    return Searched(None if pending else True, None, budget - left)
