"""Checkers: pure code that judges a history. No sockets, no clocks, no threads.

``check_lock`` and ``check_leadership`` judge each object in real time, ``check_beliefs``
what objects say of locks without asking, ``check_groups`` groups under any order,
``check_linearizable`` and its like whole histories, ``check_watches`` and
``check_elections`` what watches reported. Each returns a
:class:`~conformance.verdict.Finding`. ``conduct`` and ``exercise`` look at what clients saw
whatever it was about, and at how much of it there was.
"""

from conformance.checkers.beliefs import check_beliefs
from conformance.checkers.conduct import check_conduct
from conformance.checkers.consistency import (
    check,
    check_causal,
    check_groups,
    check_linearizable,
    check_sequential,
    check_serializable,
)
from conformance.checkers.elections import check_elections
from conformance.checkers.leadership import check_leadership
from conformance.checkers.lock import check_lock
from conformance.checkers.order import Order
from conformance.checkers.register import check_register
from conformance.checkers.turns import BUDGET
from conformance.checkers.watches import check_watches

__all__ = [
    "BUDGET",
    "Order",
    "check",
    "check_beliefs",
    "check_causal",
    "check_conduct",
    "check_elections",
    "check_groups",
    "check_leadership",
    "check_linearizable",
    "check_lock",
    "check_register",
    "check_sequential",
    "check_serializable",
    "check_watches",
]
