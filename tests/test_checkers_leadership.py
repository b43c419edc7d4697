"""Leaderships: one leader at a time, and everyone is told the truth."""

from __future__ import annotations

from random import Random

import pytest

from conformance.checkers import Order, check_leadership
from conformance.history import Fault, History, MalformedHistory, Operation
from conformance.models import Coordination
from conformance.verdict import Finding, Verdict
from tests.brute_force import explained, operation_items
from tests.histories import history, info, mutated, ok, random_history

TTL = 100 / 1e9
"""A time-out of 100 ticks, in seconds."""


def verdict(*operations: Operation, ttl: float | None = None) -> Verdict:
    return check_leadership(history(*operations), ttl=ttl).verdict


def falsified(finding: Finding) -> list[Operation]:
    assert finding.verdict is Verdict.FALSIFIED, finding
    return finding.witness


def test_two_leaders_at_once_are_a_violation_and_its_witness() -> None:
    one, other = ok(1, "campaign", 0, 10, True), ok(2, "campaign", 20, 30, True)
    down = ok(1, "stand_down", 90, 100, True)
    finding = check_leadership(history(one, other, down))
    assert falsified(finding) == [one, other, down]
    assert "b'm1' and b'm2' led b'x' at once for at least 60 ns" in finding.reason


def test_leaders_may_follow_each_other() -> None:
    first = [ok(1, "campaign", 0, 10, True), ok(1, "stand_down", 20, 40, True)]
    assert verdict(*first, ok(2, "campaign", 30, 50, True)) is Verdict.HELD


def test_leading_twice_in_a_row_is_one_term() -> None:
    again = [ok(1, "campaign", 0, 10, True), ok(1, "campaign", 20, 30, True)]
    assert verdict(*again, ok(2, "get_leader", 40, 50, b"m1")) is Verdict.HELD
    assert verdict(*again, ok(2, "campaign", 40, 50, True)) is Verdict.FALSIFIED


def test_a_free_leadership_is_not_refused() -> None:
    assert verdict(ok(1, "campaign", 0, 10, False)) is Verdict.FALSIFIED


@pytest.mark.parametrize("named", [None, b"m2", b"m9"])
def test_everyone_is_told_who_leads(named: bytes | None) -> None:
    look = ok(3, "get_leader", 20, 30, named)
    operations = [ok(1, "campaign", 0, 10, True), look, ok(1, "stand_down", 40, 50, True)]
    assert look in falsified(check_leadership(history(*operations)))


def test_a_leader_is_not_named_before_it_stands() -> None:
    look = ok(3, "get_leader", 0, 10, b"m1")
    assert falsified(check_leadership(history(look, ok(1, "campaign", 20, 30, True)))) == [look]


def test_a_leader_that_stood_down_is_not_named_any_more() -> None:
    term = [ok(1, "campaign", 0, 10, True), ok(1, "stand_down", 20, 30, True)]
    assert verdict(*term, ok(3, "get_leader", 25, 40, b"m1")) is Verdict.HELD
    assert verdict(*term, ok(3, "get_leader", 35, 40, b"m1")) is Verdict.FALSIFIED


def test_only_the_leader_stands_down() -> None:
    assert verdict(ok(1, "stand_down", 0, 10, True)) is Verdict.FALSIFIED
    assert verdict(ok(1, "stand_down", 0, 10, False)) is Verdict.HELD
    led = ok(1, "campaign", 0, 10, True)
    assert verdict(led, ok(1, "stand_down", 20, 30, False)) is Verdict.FALSIFIED


def test_stopping_ends_a_term() -> None:
    term = [ok(1, "campaign", 0, 10, True), ok(1, "stop", 20, 30, target=b"")]
    assert verdict(*term, ok(3, "get_leader", 40, 50, None)) is Verdict.HELD
    assert verdict(*term, ok(3, "get_leader", 40, 50, b"m1")) is Verdict.FALSIFIED


def test_a_killed_leader_may_be_succeeded_from_then_on() -> None:
    operations = [ok(1, "campaign", 0, 10, True), ok(2, "campaign", 60, 70, True)]
    killed = [Fault("kill", 1, 50)]
    assert check_leadership(history(*operations, faults=killed)).verdict is Verdict.HELD
    late = [Fault("kill", 1, 80)]
    assert check_leadership(history(*operations, faults=late)).verdict is Verdict.FALSIFIED


def test_a_term_that_was_confirmed_ends_by_standing_down_though_its_leader_is_killed_later() -> (
    None
):
    confirmed = [ok(1, "campaign", 0, 10, True), ok(1, "campaign", 20, 30, True)]
    down = ok(1, "stand_down", 40, 50, True)
    succeeded = ok(2, "campaign", 60, 70, True)
    operations = history(*confirmed, down, succeeded, faults=[Fault("kill", 1, 90)])
    assert check_leadership(operations).verdict is Verdict.HELD


def test_a_term_expires_no_earlier_than_its_time_out() -> None:
    led = ok(1, "campaign", 0, 10, True)
    assert verdict(led, ok(2, "campaign", 90, 101, True), ttl=TTL) is Verdict.HELD
    assert verdict(led, ok(2, "campaign", 80, 99, True), ttl=TTL) is Verdict.FALSIFIED
    beat = ok(1, "heartbeat", 60, 70, 1.0, target=b"")
    assert verdict(led, beat, ok(2, "campaign", 90, 101, True), ttl=TTL) is Verdict.FALSIFIED


def test_a_term_that_is_confirmed_is_not_renewed() -> None:
    confirmed = [ok(1, "campaign", 0, 10, True), ok(1, "campaign", 60, 70, True)]
    assert verdict(*confirmed, ok(2, "campaign", 90, 101, True), ttl=TTL) is Verdict.HELD
    assert verdict(*confirmed, ok(2, "campaign", 80, 99, True), ttl=TTL) is Verdict.FALSIFIED
    down = ok(1, "stand_down", 110, 120, True)
    assert verdict(*confirmed, ok(2, "campaign", 80, 105, True), down, ttl=TTL) is Verdict.FALSIFIED


def test_a_leader_that_campaigns_may_expire_meanwhile() -> None:
    campaigns = [ok(1, "campaign", 0, 10, True), ok(1, "campaign", 95, 120, False)]
    assert verdict(*campaigns, ttl=TTL) is Verdict.HELD
    assert verdict(*campaigns, ttl=2 * TTL) is Verdict.FALSIFIED
    down = ok(1, "stand_down", 20, 30, True)
    assert verdict(*campaigns, down, ttl=TTL) is Verdict.FALSIFIED


def test_a_look_that_ends_as_the_leader_stands_down_may_find_nobody() -> None:
    term = [ok(1, "campaign", 0, 10, True), ok(1, "stand_down", 40, 50, True)]
    assert verdict(*term, ok(3, "get_leader", 20, 40, None)) is Verdict.HELD
    assert verdict(*term, ok(3, "get_leader", 20, 39, None)) is Verdict.FALSIFIED


def test_a_campaign_of_unknown_outcome_may_have_won() -> None:
    unknown = info(1, "campaign", 0, 10)
    for leader in (None, b"m1"):
        assert verdict(unknown, ok(3, "get_leader", 50, 60, leader)) is Verdict.HELD
    assert verdict(unknown, ok(2, "campaign", 50, 60, False)) is Verdict.HELD


def test_running_watchers_may_win_the_election_again() -> None:
    operations = [
        ok(1, "campaign", 0, 10, True),
        ok(1, "stand_down", 20, 30, True),
        ok(3, "get_leader", 80, 90, b"m1"),
    ]
    run = ok(1, "run_watchers", 40, 50, [["elected", b"x", b"m1"]], target=b"")
    assert verdict(*operations) is Verdict.FALSIFIED
    assert verdict(*operations, run) is Verdict.HELD
    nobody = [*operations[:2], run, ok(3, "get_leader", 80, 90, None)]
    assert verdict(*nobody) is Verdict.FALSIFIED


def test_a_campaign_elsewhere_stands_here_too() -> None:
    operations = [
        ok(1, "campaign", 0, 10, True),
        ok(1, "stand_down", 20, 30, True),
        ok(1, "campaign", 40, 50, True, target=b"y"),
    ]
    assert verdict(*operations, ok(3, "get_leader", 60, 70, b"m1")) is Verdict.HELD
    assert verdict(*operations, ok(3, "get_leader", 60, 70, None)) is Verdict.FALSIFIED


def test_a_campaign_may_find_its_coordinator_standing_down_under_it() -> None:
    operations = [
        ok(1, "campaign", 0, 10, True, acting=b"m"),
        ok(2, "campaign", 20, 60, False, acting=b"m"),
        ok(1, "stand_down", 30, 40, True, acting=b"m"),
    ]
    assert verdict(*operations) is Verdict.HELD
    won_by_the_second = [
        ok(2, "campaign", 20, 60, False, acting=b"m"),
        ok(1, "stand_down", 30, 40, True, acting=b"m"),
    ]
    assert verdict(*won_by_the_second) is Verdict.HELD
    apart = [*operations[:1], ok(2, "campaign", 20, 28, False, acting=b"m"), operations[2]]
    assert verdict(*apart) is Verdict.FALSIFIED


def test_groups_have_leaders_of_their_own() -> None:
    operations = [ok(1, "campaign", 0, 10, True), ok(2, "campaign", 20, 30, True, target=b"y")]
    assert verdict(*operations) is Verdict.HELD


def test_a_malformed_history_is_refused() -> None:
    with pytest.raises(MalformedHistory):
        check_leadership(History([ok(1, "campaign", 10, 5, True)]))


@pytest.mark.parametrize("seed", range(12))
def test_verdicts_are_those_of_brute_force(seed: int) -> None:
    random = Random(f"leadership {seed}")
    for _ in range(120):
        given = random_history(
            random,
            "leadership",
            clients=random.randint(1, 4),
            operations=random.randint(3, 8),
            unknown=random.choice([0, 0.15, 0.3]),
        )
        for _ in range(random.randint(0, 2)):
            given = mutated(random, given)
        right = explained(Coordination(), operation_items(given), Order.REAL_TIME)
        finding = check_leadership(given)
        assert finding.verdict is (Verdict.HELD if right else Verdict.FALSIFIED), given
        assert bool(finding.witness) is not right
