"""Elections: each term is reported to its leader, once."""

from __future__ import annotations

import pytest

from conformance.checkers import check_elections
from conformance.history import History, MalformedHistory, Operation
from conformance.verdict import Verdict
from tests.histories import history, info, ok

HELD, FALSIFIED = Verdict.HELD, Verdict.FALSIFIED


def campaign(call: int, won: bool = True, group: bytes = b"x") -> Operation:
    return ok(1, "campaign", call, call + 5, won, target=group)


def stand_down(call: int, led: bool = True) -> Operation:
    return ok(1, "stand_down", call, call + 5, led)


def run(call: int, *elected: bytes, member: bytes = b"m1") -> Operation:
    told = [["elected", group, member] for group in elected]
    return ok(1, "run_watchers", call, call + 5, told, target=b"")


def verdict(*operations: Operation, ttl: float | None = None) -> Verdict:
    return check_elections(history(*operations), ttl=ttl).verdict


def test_a_term_that_a_campaign_won_is_not_reported_again() -> None:
    assert verdict(campaign(0), run(10)) is HELD
    assert verdict(campaign(0), run(10, b"x")) is FALSIFIED


def test_each_term_is_reported_once() -> None:
    again = [campaign(0), stand_down(10), run(20, b"x")]
    assert verdict(*again, run(30)) is HELD
    assert verdict(*again, run(30, b"x")) is FALSIFIED
    assert verdict(*again[:2], run(20, b"x", b"x")) is FALSIFIED


def test_a_term_that_was_never_reported_is_a_violation() -> None:
    silent = [campaign(0), stand_down(10), run(20)]
    assert verdict(*silent, stand_down(30, led=False)) is HELD
    finding = check_elections(history(*silent, stand_down(30)))
    assert finding.verdict is FALSIFIED
    assert "none of its 1 runs of watchers told it of its election" in finding.reason


def test_an_election_is_reported_to_who_was_elected() -> None:
    assert verdict(campaign(0, won=False), run(10, b"x", member=b"m2")) is FALSIFIED


def test_who_does_not_stand_is_not_elected() -> None:
    assert verdict(run(0, b"x")) is FALSIFIED
    assert verdict(campaign(0, won=False), run(10, b"y")) is FALSIFIED


def test_a_lost_campaign_may_be_won_by_a_run() -> None:
    assert verdict(campaign(0, won=False), run(10, b"x"), stand_down(20)) is HELD


def test_an_expired_term_may_be_followed_by_another() -> None:
    operations = [campaign(0), run(120, b"x")]
    assert verdict(*operations, ttl=100 / 1e9) is HELD
    assert verdict(*operations, ttl=1.0) is FALSIFIED


def test_after_an_unknown_outcome_a_term_may_be_new() -> None:
    unknown = info(1, "stand_down", 10, 15)
    later = ok(101, "run_watchers", 20, 25, [["elected", b"x", b"m1"]], acting=b"m1", target=b"")
    assert verdict(campaign(0), unknown, later) is HELD


def test_after_a_stop_a_term_may_be_new() -> None:
    assert verdict(campaign(0), ok(1, "stop", 10, 15, target=b""), run(20, b"x")) is HELD


def test_joins_and_leaves_are_not_elections() -> None:
    told = ok(1, "run_watchers", 10, 15, [["join", b"x", b"m2"]], target=b"")
    assert verdict(campaign(0), told) is HELD


def test_a_malformed_history_is_refused() -> None:
    with pytest.raises(MalformedHistory):
        check_elections(History([campaign(0), run(2)]))
