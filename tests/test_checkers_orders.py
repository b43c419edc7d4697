"""Whole histories under the four orders: classic anomalies, and never a wrong verdict."""

from __future__ import annotations

from random import Random

import pytest

from conformance.checkers import (
    Order,
    check,
    check_causal,
    check_groups,
    check_linearizable,
    check_sequential,
    check_serializable,
)
from conformance.history import Fault, History, MalformedHistory, Operation
from conformance.models import GROUP_CALLS, Coordination, Kind
from conformance.verdict import Verdict
from tests.brute_force import explained, operation_items
from tests.histories import fail, history, info, mutated, ok, random_history

HELD, FALSIFIED = Verdict.HELD, Verdict.FALSIFIED
CHECKS = (check_linearizable, check_sequential, check_causal, check_serializable)


def verdicts(*operations: Operation) -> list[Verdict]:
    """Return what is found in real time, in program order, causally, and in any order."""
    return [checked(history(*operations)).verdict for checked in CHECKS]


def founded(*members: int) -> list[Operation]:
    """Return a group that these members have joined, each with the capabilities "a"."""
    joins = [ok(m, "join_group", 10 + m, 20 + m, capabilities="a") for m in members]
    return [ok(0, "create_group", 0, 5), *joins]


def update(client: int, call: int, value: str) -> Operation:
    return ok(client, "update_capabilities", call, call + 5, capabilities=value)


def read(client: int, call: int, member: int, value: str) -> Operation:
    name = f"m{member}".encode()
    return ok(client, "get_member_capabilities", call, call + 5, value, member=name)


# -- anomalies, from the mildest -----------------------------------------------------------------


def test_what_happened_one_after_the_other_is_fine() -> None:
    operations = [*founded(1, 2), update(1, 100, "b"), read(3, 110, 1, "b")]
    assert verdicts(*operations) == [HELD, HELD, HELD, HELD]


def test_a_stale_read_is_not_linearizable() -> None:
    operations = [*founded(1), update(1, 100, "b"), read(3, 110, 1, "a")]
    assert verdicts(*operations) == [FALSIFIED, HELD, HELD, HELD]


def test_stale_reads_across_two_objects_are_not_sequential_together() -> None:
    # each reads the other's former value after its own write: no single order has both
    operations = [
        *founded(1, 2),
        update(1, 100, "b"),
        update(2, 100, "b"),
        read(1, 110, 2, "a"),
        read(2, 110, 1, "a"),
    ]
    assert verdicts(*operations) == [FALSIFIED, FALSIFIED, HELD, HELD]


def test_two_readers_that_see_two_writes_in_opposite_orders_are_causal_only() -> None:
    operations = [
        *founded(1, 2),
        update(1, 100, "b"),
        update(2, 100, "b"),
        read(3, 110, 1, "b"),
        read(3, 120, 2, "a"),
        read(4, 110, 2, "b"),
        read(4, 120, 1, "a"),
    ]
    assert verdicts(*operations) == [FALSIFIED, FALSIFIED, HELD, HELD]


def test_a_client_that_goes_back_in_time_is_not_causal() -> None:
    operations = [*founded(1), update(1, 100, "b"), read(3, 110, 1, "b"), read(3, 120, 1, "a")]
    assert verdicts(*operations) == [FALSIFIED, FALSIFIED, FALSIFIED, HELD]


def test_a_client_that_misses_its_own_write_is_not_causal() -> None:
    operations = [*founded(1), update(1, 100, "b"), read(1, 110, 1, "a")]
    assert verdicts(*operations) == [FALSIFIED, FALSIFIED, FALSIFIED, HELD]


def test_an_effect_without_its_cause_is_not_causal() -> None:
    # client 2 answers what it saw of 1; client 3 sees the answer, and not what it answers
    operations = [
        *founded(1, 2),
        update(1, 100, "question"),
        read(2, 110, 1, "question"),
        update(2, 120, "answer"),
        read(3, 130, 2, "answer"),
        read(3, 140, 1, "a"),
    ]
    assert verdicts(*operations) == [FALSIFIED, FALSIFIED, FALSIFIED, HELD]


def test_a_join_may_be_undone_by_a_delete_that_others_saw_later() -> None:
    operations = [
        ok(0, "create_group", 0, 5),
        ok(2, "delete_group", 10, 15),
        ok(3, "create_group", 20, 25),
        ok(0, "create_group", 30, 35, target=b"y"),
        ok(1, "join_group", 40, 45, capabilities="a"),
        ok(1, "join_group", 50, 55, target=b"y", capabilities="a"),
        ok(4, "get_member_capabilities", 60, 65, "a", target=b"y", member=b"m1"),
        ok(4, "get_members", 70, 75, []),
    ]
    assert verdicts(*operations)[1:3] == [FALSIFIED, HELD]
    never_deleted = [o for o in operations if o.client not in (2, 3)]
    assert verdicts(*never_deleted)[1:3] == [FALSIFIED, FALSIFIED]


def test_a_value_that_nobody_wrote_is_nothing() -> None:
    assert verdicts(*founded(1), read(3, 110, 1, "z")) == [FALSIFIED] * 4


def test_two_creations_of_one_group_are_nothing() -> None:
    operations = [ok(1, "create_group", 0, 5), ok(2, "create_group", 10, 15)]
    assert verdicts(*operations)[:2] == [FALSIFIED, FALSIFIED]
    assert verdicts(*operations)[3] is FALSIFIED


def test_members_and_capabilities_torn_apart_are_nothing() -> None:
    operations = [
        *founded(1, 2),
        ok(3, "get_members_with_capabilities", 100, 105, {b"m1": "a"}),
        ok(3, "get_members_with_capabilities", 110, 115, {b"m2": "a"}),
    ]
    assert verdicts(*operations) == [FALSIFIED] * 4


def test_two_groups_seen_in_opposite_orders_are_not_sequential() -> None:
    operations = [
        ok(1, "create_group", 0, 100, target=b"x"),
        ok(2, "create_group", 0, 100, target=b"y"),
        ok(3, "get_groups", 10, 20, [b"x"], target=b""),
        ok(4, "get_groups", 10, 20, [b"y"], target=b""),
    ]
    # linearizability is asked of each group alone, and each alone is fine
    assert verdicts(*operations) == [HELD, FALSIFIED, HELD, FALSIFIED]


def test_groups_that_the_history_is_not_about_are_ignored() -> None:
    listed = ok(3, "get_groups", 10, 20, [b"somebody else's", b"x"], target=b"")
    assert verdicts(ok(1, "create_group", 0, 5), listed) == [HELD] * 4


def test_locks_in_two_hands_are_not_sequential_if_the_holders_look() -> None:
    operations = [
        ok(1, "acquire", 0, 10, True),
        ok(2, "acquire", 20, 30, True),
        ok(1, "release", 40, 50, True),
        ok(2, "release", 60, 70, True),
    ]
    # in program order alone, one may have held after the other
    assert verdicts(*operations) == [FALSIFIED, HELD, HELD, HELD]
    questions = [ok(2, "acquire", 35, 37, False), ok(1, "is_still_owner", 34, 36, True)]
    assert verdicts(*operations, *questions)[0] is FALSIFIED


# -- calls made of several -----------------------------------------------------------------------


def test_a_join_that_creates_may_be_seen_half_done() -> None:
    joining = ok(1, "join_group_create", 0, 100, capabilities=1)
    looks = [ok(2, "get_members", 20, 30, []), ok(2, "get_members", 40, 50, [b"m1"])]
    assert verdicts(joining, *looks)[:2] == [HELD, HELD]
    assert verdicts(joining, *reversed(looks))[0] is HELD


def test_a_join_that_creates_does_so_again_after_a_delete() -> None:
    joining = ok(1, "join_group_create", 0, 100, capabilities=1)
    delete = ok(2, "delete_group", 20, 30)
    assert verdicts(joining, delete, ok(2, "get_members", 110, 120, [b"m1"]))[:2] == [HELD, HELD]


def test_the_capabilities_of_a_members_info_are_read() -> None:
    told = {"capabilities": "a", "created_at": 1, "updated_at": 2}
    info_read = ok(3, "get_member_info", 100, 110, told, member=b"m1")
    assert verdicts(*founded(1), info_read) == [HELD] * 4
    wrong = ok(3, "get_member_info", 100, 110, told | {"capabilities": "b"}, member=b"m1")
    assert verdicts(*founded(1), wrong) == [FALSIFIED] * 4


def test_stopping_leaves_every_group() -> None:
    stop = ok(1, "stop", 100, 110, target=b"")
    assert verdicts(*founded(1), stop, ok(3, "get_members", 120, 130, []))[0] is HELD
    assert verdicts(*founded(1), stop, ok(3, "get_members", 120, 130, [b"m1"]))[0] is FALSIFIED
    assert verdicts(*founded(1), stop, ok(3, "get_members", 105, 130, [b"m1"]))[0] is HELD


def test_a_join_of_unknown_outcome_may_show_later_or_never() -> None:
    joining = info(1, "join_group", 10, 15, capabilities="a")
    for seen in ([], [b"m1"]):
        look = ok(3, "get_members", 1_000, 1_010, seen)
        assert verdicts(ok(0, "create_group", 0, 5), joining, look) == [HELD] * 4


def test_an_error_that_tells_nothing_of_the_group_is_no_observation() -> None:
    assert verdicts(fail(1, "join_group", 0, 5, "SerializationError")) == [HELD] * 4
    assert verdicts(fail(1, "join_group", 0, 5, "MemberNotJoined")) == [FALSIFIED] * 4


# -- members that are lost -----------------------------------------------------------------------


def gone_at(call: int) -> Operation:
    return ok(3, "get_members", call, call + 5, [])


def test_a_killed_member_may_be_gone_from_then_on() -> None:
    killed = [Fault("kill", 1, 100)]
    assert check_groups(history(*founded(1), gone_at(110), faults=killed)).verdict is HELD
    early = history(*founded(1), gone_at(50), faults=killed)
    assert check_groups(early, order=Order.REAL_TIME).verdict is FALSIFIED


def test_a_stay_expires_no_earlier_than_its_time_out() -> None:
    beat = ok(1, "heartbeat", 100, 105, 1.0, target=b"")
    late, early = history(*founded(1), gone_at(112)), history(*founded(1), gone_at(90))
    order, ttl = Order.REAL_TIME, 100 / 1e9
    assert check_groups(late, order=order, ttl=ttl).verdict is HELD
    assert check_groups(early, order=order, ttl=ttl).verdict is FALSIFIED
    assert check_groups(late, order=order).verdict is FALSIFIED
    kept_alive = history(*founded(1), beat, gone_at(115))
    assert check_groups(kept_alive, order=order, ttl=ttl).verdict is FALSIFIED


def test_a_member_that_is_gone_may_join_again() -> None:
    again = ok(1, "join_group", 200, 210, capabilities="b")
    assert check_groups(history(*founded(1), again), ttl=100 / 1e9).verdict is HELD
    assert check_groups(history(*founded(1), again)).verdict is FALSIFIED


# -- what is said --------------------------------------------------------------------------------


def test_a_member_that_is_not_seen_is_named_with_its_stay() -> None:
    given = history(*founded(1, 2), ok(3, "get_members", 50, 60, [b"m2"]))
    finding = check_linearizable(given)
    assert finding.verdict is FALSIFIED
    assert "while b'm1' was a member all that time" in finding.reason
    assert [operation.name for operation in finding.witness] == ["join_group", "get_members"]


def test_a_member_that_is_seen_after_it_left_is_named_with_its_stay() -> None:
    gone = ok(1, "leave_group", 30, 40)
    look = ok(3, "get_members", 50, 60, [b"m1"])
    finding = check_linearizable(history(*founded(1), gone, look))
    assert "but b'm1' cannot have been a member then" in finding.reason
    assert [o.name for o in finding.witness] == ["join_group", "leave_group", "get_members"]


def test_a_contradiction_is_shown_by_few_operations() -> None:
    noise = [read(4, 200 + 10 * n, 2, "a") for n in range(30)]
    back = [update(1, 100, "b"), read(3, 110, 1, "b"), read(3, 120, 1, "a")]
    finding = check_causal(history(*founded(1, 2), *back, *noise))
    assert finding.verdict is FALSIFIED
    assert finding.witness == back


def test_only_the_kinds_that_are_asked_for_are_judged() -> None:
    given = history(ok(1, "release", 0, 10, True), ok(1, "create_group", 20, 30))
    assert check(given, Order.REAL_TIME).verdict is FALSIFIED
    assert check(given, Order.REAL_TIME, kinds=[Kind.GROUP]).verdict is HELD


def test_neutral_operations_are_passed_over() -> None:
    assert verdicts(ok(1, "idle", 0, 10, target=b""), ok(1, "fork", 20, 30)) == [HELD] * 4


def test_an_operation_that_nobody_knows_is_refused() -> None:
    with pytest.raises(ValueError, match="dance"):
        check_sequential(history(ok(1, "dance", 0, 10)))


@pytest.mark.parametrize("checked", CHECKS)
def test_malformed_histories_are_refused(checked: object) -> None:
    assert callable(checked)
    broken = History([ok(1, "create_group", 0, 10), ok(1, "get_members", 5, 20, [])])
    with pytest.raises(MalformedHistory):
        checked(broken)


@pytest.mark.parametrize("checked", CHECKS)
def test_a_tiny_budget_is_inconclusive_at_worst(checked: object) -> None:
    assert callable(checked)
    given = random_history(Random(3), "mixed", clients=4, operations=40, unknown=0)
    assert checked(given, budget=1).verdict is Verdict.INCONCLUSIVE


# -- the same verdict as trying everything --------------------------------------------------------


@pytest.mark.parametrize("seed", range(10))
@pytest.mark.parametrize("about", ["group", "leadership", "mixed"])
def test_verdicts_are_those_of_brute_force(about: str, seed: int) -> None:
    random = Random(f"orders {about} {seed}")
    for _ in range(40):
        given = random_history(
            random,
            about,
            clients=random.randint(1, 3),
            operations=random.randint(3, 8),
            targets=random.choice([1, 1, 2]),
            unknown=0 if about == "mixed" else random.choice([0, 0, 0.15, 0.3]),
        )
        for _ in range(random.randint(0, 3)):
            given = mutated(random, given)
        _compare(given)


def _compare(given: History) -> None:
    items = operation_items(given)
    several = {o.target for o in given.operations if o.name in GROUP_CALLS and o.target}
    held = {}
    for order in (Order.REAL_TIME, Order.PROGRAM, Order.NONE):
        finding = check(given, order)
        held[order] = explained(Coordination(), items, order)
        if order is Order.REAL_TIME and len(several) > 1:
            # a listing of several groups is taken apart, so less is asked
            assert finding.verdict is HELD or not held[order], given
            continue
        assert finding.verdict is (HELD if held[order] else FALSIFIED), (order, given)
        assert bool(finding.witness) is not held[order]
    causal = check_causal(given).verdict
    assert causal is HELD or (causal is FALSIFIED and not held[Order.PROGRAM]), given
