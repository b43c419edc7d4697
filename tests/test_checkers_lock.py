"""Locks: what the rule calls a violation, what it allows, and that it is never wrong."""

from __future__ import annotations

from random import Random

import msgspec
import pytest

from conformance.checkers import Order, check_lock
from conformance.checkers.lock import lock_cases
from conformance.history import Fault, History, MalformedHistory, Operation
from conformance.models import LockModel
from conformance.verdict import Finding, Verdict
from tests.brute_force import explained, lock_items
from tests.histories import contended, fail, history, info, mutated, ok, random_history

TTL = 100 / 1e9
"""A time-out of 100 ticks, in seconds."""


def falsified(finding: Finding) -> list[Operation]:
    """Return the witness of a finding that falsifies."""
    assert finding.verdict is Verdict.FALSIFIED, finding
    assert finding.reason
    return finding.witness


def held(finding: Finding) -> None:
    assert finding.verdict is Verdict.HELD, finding


# -- two at once -------------------------------------------------------------------------


def test_two_holders_at_once_are_a_violation_and_its_witness() -> None:
    guilty = [
        ok(1, "acquire", 0, 20, True),
        ok(1, "release", 90, 100, True),
        ok(2, "acquire", 30, 40, True),
        ok(2, "release", 70, 80, True),
    ]
    innocent = [ok(3, "acquire", 200, 210, True), ok(3, "release", 220, 230, True)]
    finding = check_lock(history(*guilty, *innocent))
    assert sorted(falsified(finding), key=guilty.index) == guilty
    assert "client 1 and client 2 held lock b'x' at once for at least 30 ns" in finding.reason


def test_holds_that_may_follow_each_other_are_allowed() -> None:
    held(
        check_lock(
            history(
                ok(1, "acquire", 0, 20, True),
                ok(1, "release", 30, 60, True),
                ok(2, "acquire", 10, 50, True),
                ok(2, "release", 70, 80, True),
            )
        )
    )


def test_different_locks_are_judged_on_their_own() -> None:
    held(
        check_lock(
            history(
                ok(1, "acquire", 0, 20, True),
                ok(2, "acquire", 30, 40, True, b"y"),
                ok(1, "release", 50, 60, True),
            )
        )
    )


def test_readers_share_but_not_with_a_writer() -> None:
    readers = [
        ok(1, "acquire", 0, 10, True, shared=True),
        ok(2, "acquire", 20, 30, True, shared=True),
        ok(1, "release", 60, 70, True),
        ok(2, "release", 80, 90, True),
    ]
    held(check_lock(history(*readers)))
    writer = ok(3, "acquire", 40, 50, True)
    assert writer in falsified(check_lock(history(*readers, writer)))


def test_a_reader_gets_in_on_no_writer() -> None:
    operations = [
        ok(1, "acquire", 0, 10, True),
        ok(2, "acquire", 20, 30, True, shared=True),
        ok(1, "release", 40, 50, True),
    ]
    falsified(check_lock(history(*operations)))


# -- refusals ----------------------------------------------------------------------------


def test_a_refusal_while_the_lock_was_free_is_a_violation() -> None:
    refused = ok(3, "acquire", 40, 50, False)
    operations = [
        ok(1, "acquire", 0, 10, True),
        ok(1, "release", 20, 30, True),
        refused,
        ok(2, "acquire", 60, 70, True),
    ]
    finding = check_lock(history(*operations))
    assert refused in falsified(finding)
    assert "although it was free all that time" in finding.reason


@pytest.mark.parametrize(("call", "end"), [(25, 50), (40, 65), (5, 8), (15, 18)])
def test_a_refusal_that_may_have_met_a_hold_is_allowed(call: int, end: int) -> None:
    operations = [
        ok(1, "acquire", 0, 10, True),
        ok(1, "release", 20, 30, True),
        ok(3, "acquire", call, end, False),
        ok(2, "acquire", 60, 70, True),
    ]
    held(check_lock(history(*operations)))


def test_a_lock_that_nobody_ever_had_is_not_refused() -> None:
    refused = ok(1, "acquire", 0, 10, False)
    assert falsified(check_lock(history(refused))) == [refused]


def test_an_acquire_of_unknown_outcome_explains_one_refusal() -> None:
    ghost = info(9, "acquire", 0)
    gaps = [
        ok(1, "acquire", 10, 12, False),
        ok(1, "acquire", 20, 22, True),
        ok(1, "release", 24, 26, True),
        ok(1, "acquire", 30, 32, False),
    ]
    held(check_lock(history(ghost, *gaps[:3])))
    finding = check_lock(history(ghost, *gaps))
    assert gaps[3] in falsified(finding)
    held(check_lock(history(ghost, info(8, "acquire", 28), *gaps)))


def test_an_acquire_that_was_called_later_explains_nothing() -> None:
    falsified(check_lock(history(ok(1, "acquire", 0, 10, False), info(9, "acquire", 11))))


def test_a_shared_acquire_is_refused_for_a_writer_only() -> None:
    reader = [ok(1, "acquire", 0, 10, True, shared=True), ok(1, "release", 50, 60, True)]
    held(check_lock(history(*reader, ok(2, "acquire", 20, 30, False))))
    falsified(check_lock(history(*reader, ok(2, "acquire", 20, 30, False, shared=True))))


def test_a_holder_that_asks_again_is_refused() -> None:
    operations = [
        ok(1, "acquire", 0, 10, True),
        ok(1, "acquire", 20, 30, False),
        ok(1, "release", 40, 50, True),
    ]
    held(check_lock(history(*operations)))


# -- answers about a hold ------------------------------------------------------------------


def test_a_second_grant_to_a_holder_is_a_violation() -> None:
    first, second = ok(1, "acquire", 0, 10, True), ok(1, "acquire", 20, 30, True)
    assert falsified(check_lock(history(first, second))) == [first, second]


def test_a_release_without_a_hold_is_a_violation() -> None:
    release = ok(1, "release", 0, 10, True)
    assert falsified(check_lock(history(release))) == [release]


def test_releasing_anothers_lock_is_a_violation() -> None:
    falsified(check_lock(history(ok(1, "acquire", 0, 10, True), ok(2, "release", 20, 30, True))))


@pytest.mark.parametrize("question", ["release", "is_still_owner", "acquired", "lock_heartbeat"])
def test_a_hold_that_is_denied_for_no_reason_is_a_violation(question: str) -> None:
    grant, denied = ok(1, "acquire", 0, 10, True), ok(1, question, 20, 30, False)
    assert falsified(check_lock(history(grant, denied))) == [grant, denied]


@pytest.mark.parametrize("question", ["is_still_owner", "acquired", "lock_heartbeat"])
def test_a_hold_that_is_made_up_is_a_violation(question: str) -> None:
    falsified(check_lock(history(ok(1, question, 0, 10, True))))
    held(check_lock(history(ok(1, question, 0, 10, False))))


def test_an_answer_shows_how_long_a_hold_lasted() -> None:
    operations = [
        ok(1, "acquire", 0, 10, True),
        ok(1, "is_still_owner", 50, 60, True),
        ok(1, "release", 70, 80, False),
        ok(2, "acquire", 20, 30, True),
    ]
    falsified(check_lock(history(*operations), ttl=5 / 1e9))
    held(check_lock(history(operations[0], *operations[2:]), ttl=5 / 1e9))


# -- holds that are lost -------------------------------------------------------------------


def test_a_hold_expires_no_earlier_than_its_time_out() -> None:
    grant = ok(1, "acquire", 0, 10, True)
    held(check_lock(history(grant, ok(2, "acquire", 90, 101, True)), ttl=TTL))
    falsified(check_lock(history(grant, ok(2, "acquire", 80, 99, True)), ttl=TTL))


def test_a_hold_does_not_expire_where_nothing_does() -> None:
    falsified(
        check_lock(history(ok(1, "acquire", 0, 10, True), ok(2, "acquire", 10**9, 2 * 10**9, True)))
    )


@pytest.mark.parametrize("beat", ["lock_heartbeat", "heartbeat"])
def test_a_sign_of_life_puts_expiry_off(beat: str) -> None:
    alive = ok(1, beat, 60, 70, True)
    grant, other = ok(1, "acquire", 0, 10, True), ok(2, "acquire", 110, 120, True)
    held(check_lock(history(grant, other), ttl=TTL))
    falsified(check_lock(history(grant, alive, other), ttl=TTL))


def test_a_heartbeat_that_may_have_come_too_late_puts_nothing_off() -> None:
    late = ok(1, "heartbeat", 95, 105, 1.0)
    grant, other = ok(1, "acquire", 0, 10, True), ok(2, "acquire", 110, 120, True)
    held(check_lock(history(grant, late, other), ttl=TTL))


def test_a_holder_that_lost_may_believe_until_it_is_told() -> None:
    lost = [ok(1, "acquire", 0, 10, True), ok(2, "acquire", 150, 160, True)]
    held(check_lock(history(*lost, ok(1, "acquired", 170, 180, True)), ttl=TTL))
    told = [ok(1, "is_still_owner", 170, 180, False), ok(1, "acquired", 190, 200, True)]
    falsified(check_lock(history(*lost, *told), ttl=TTL))


@pytest.mark.parametrize("denial", ["acquired", "is_still_owner"])
def test_who_gave_up_a_lease_may_leave_others_refused_until_one_is_granted(denial: str) -> None:
    lapsed = [ok(1, "acquire", 0, 10, True), ok(1, denial, 120, 121, False)]
    refused, granted = ok(2, "acquire", 140, 150, False), ok(2, "acquire", 160, 170, True)
    held(check_lock(history(*lapsed, refused, granted), ttl=TTL))
    cut = [Fault("cut", 1, 110, 115)]
    held(check_lock(history(*lapsed, refused, granted, faults=cut)))
    falsified(check_lock(history(lapsed[0], ok(1, "release", 80, 90, True), refused), ttl=TTL))
    after = [ok(2, "release", 180, 190, True), ok(3, "acquire", 200, 210, False)]
    falsified(check_lock(history(*lapsed, refused, granted, *after), ttl=TTL))


def test_what_lapsed_is_gone_for_certain_once_it_is_broken_or_stopped() -> None:
    lapsed = [ok(1, "acquire", 0, 10, True), ok(1, "acquired", 120, 121, False)]
    refused = ok(2, "acquire", 160, 170, False)
    for found in (True, False):
        broken = ok(2, "break_", 140, 150, found)
        held(check_lock(history(*lapsed, broken), ttl=TTL))
        falsified(check_lock(history(*lapsed, broken, refused), ttl=TTL))
    stop = ok(1, "stop", 140, 150, target=b"")
    falsified(check_lock(history(*lapsed, stop, refused), ttl=TTL))


def test_a_killed_holder_may_lose_its_hold_from_then_on() -> None:
    grant = ok(1, "acquire", 0, 10, True)
    killed = [Fault("kill", 1, 50)]
    held(check_lock(history(grant, ok(2, "acquire", 40, 60, True), faults=killed)))
    falsified(check_lock(history(grant, ok(2, "acquire", 20, 40, True), faults=killed)))


def test_a_killed_client_may_get_a_lock_until_it_is_gone() -> None:
    grant, other = ok(1, "acquire", 60, 70, True), ok(2, "acquire", 80, 90, True)
    held(check_lock(history(grant, other, faults=[Fault("kill", 1, 50, 75)])))
    falsified(check_lock(history(grant, other, faults=[Fault("kill", 1, 50, 55)])))
    before = ok(2, "acquire", 50, 59, True)
    falsified(check_lock(history(before, grant, other, faults=[Fault("kill", 1, 50, 75)])))


def test_a_kill_excuses_no_other_holder() -> None:
    grant, other = ok(1, "acquire", 0, 10, True), ok(2, "acquire", 60, 70, True)
    falsified(check_lock(history(grant, other, faults=[Fault("kill", 3, 50)])))


def test_a_kill_takes_what_clients_before_it_held() -> None:
    grant = ok(1, "acquire", 0, 10, True)
    gone = info(101, "acquire", 20, target=b"y", acting=b"m1")
    other = ok(2, "acquire", 60, 70, True)
    held(check_lock(history(grant, gone, other, faults=[Fault("kill", 1, 50)])))


def test_a_pause_takes_nothing() -> None:
    grant, other = ok(1, "acquire", 0, 10, True), ok(2, "acquire", 60, 70, True)
    falsified(check_lock(history(grant, other, faults=[Fault("pause", 1, 20, 50)])))


def test_stopping_a_coordinator_frees_its_locks() -> None:
    grant = ok(1, "acquire", 0, 10, True)
    stop = ok(1, "stop", 20, 30, target=b"")
    held(check_lock(history(grant, stop, ok(2, "acquire", 40, 50, True))))
    falsified(check_lock(history(grant, stop, ok(2, "acquire", 40, 50, False))))
    falsified(check_lock(history(grant, stop, ok(2, "acquire", 11, 15, True))))


def test_stopping_does_not_prove_that_a_hold_had_lasted() -> None:
    lost = [ok(1, "acquire", 0, 10, True), ok(2, "acquire", 110, 120, True)]
    stop = ok(1, "stop", 200, 210, target=b"")
    held(check_lock(history(*lost, stop), ttl=TTL))
    falsified(check_lock(history(*lost, stop)))


def test_an_object_that_believes_to_hold_may_refuse() -> None:
    lost = [ok(1, "acquire", 0, 10, True), ok(2, "break_", 20, 30, True)]
    held(check_lock(history(*lost, ok(1, "acquire", 40, 50, False))))
    held(check_lock(history(*lost, ok(1, "acquire", 40, 50, True))))
    falsified(check_lock(history(*lost, ok(2, "acquire", 40, 50, False))))
    told = ok(1, "is_still_owner", 35, 38, False)
    falsified(check_lock(history(*lost, told, ok(1, "acquire", 40, 50, False))))


def test_a_release_of_unknown_outcome_may_come_any_time_later() -> None:
    grant, release = ok(1, "acquire", 0, 10, True), info(1, "release", 20, 30)
    held(check_lock(history(grant, release, ok(2, "acquire", 40, 50, True))))
    held(check_lock(history(grant, release, ok(2, "acquire", 40, 50, False))))
    falsified(check_lock(history(grant, release, ok(2, "acquire", 12, 18, True))))


def test_a_broken_lock_is_free_and_a_second_break_finds_nothing() -> None:
    grant = ok(1, "acquire", 0, 10, True)
    broken = ok(2, "break_", 20, 30, True)
    after = [ok(1, "release", 40, 50, False), ok(2, "acquire", 60, 70, True)]
    held(check_lock(history(grant, broken, *after)))
    falsified(check_lock(history(grant, broken, ok(3, "break_", 80, 90, True))))
    falsified(check_lock(history(grant, ok(2, "break_", 20, 30, False))))
    falsified(check_lock(history(grant, broken, ok(1, "release", 40, 50, True))))


# -- objects that threads share ---------------------------------------------------------------


def test_a_thread_may_release_what_another_took_with_the_object() -> None:
    held(
        check_lock(
            history(
                ok(1, "acquire", 0, 10, True, acting=b"m", object=1),
                ok(2, "release", 20, 30, True, acting=b"m", object=1),
            )
        )
    )


def test_an_object_holds_once_whoever_asks() -> None:
    falsified(
        check_lock(
            history(
                ok(1, "acquire", 0, 10, True, acting=b"m", object=1),
                ok(2, "acquire", 20, 30, True, acting=b"m", object=1),
            )
        )
    )


def test_an_object_that_serves_another_thread_may_refuse() -> None:
    taking = ok(1, "acquire", 0, 100, False, acting=b"m", object=1)
    trying = ok(2, "acquire", 40, 50, False, acting=b"m", object=1)
    other = [ok(3, "acquire", 60, 70, True)]
    held(check_lock(history(taking, trying, *other)))
    alone = ok(2, "acquire", 40, 50, False, acting=b"m", object=2)
    falsified(check_lock(history(taking, alone, *other)))


def _by_threads(*operations: Operation) -> Finding:
    """Judge operations on an object that threads share, beside another's on its own."""
    return check_lock(
        history(
            *(
                o
                if o.client == 9
                else msgspec.structs.replace(o, member=b"m", arguments={**o.arguments, "object": 1})
                for o in operations
            )
        )
    )


def test_a_release_ends_the_hold_that_there_is_when_it_takes_effect() -> None:
    first, gone = ok(1, "acquire", 0, 10, True), ok(1, "release", 20, 30, True)
    again = ok(1, "acquire", 40, 50, True)
    held(_by_threads(first, gone, again, ok(2, "release", 25, 60, True)))
    stale = ok(2, "release", 25, 60, False)
    held(_by_threads(first, gone, again, stale, ok(1, "acquired", 70, 80, True)))
    falsified(_by_threads(first, gone, again, stale, ok(1, "acquired", 70, 80, False)))
    falsified(_by_threads(first, gone, again, stale, ok(9, "acquire", 70, 80, True)))


@pytest.mark.parametrize("question", ["release", "is_still_owner", "acquired", "lock_heartbeat"])
def test_an_object_that_is_just_taken_or_given_back_may_not_count_on_its_hold(
    question: str,
) -> None:
    taking, releasing = ok(1, "acquire", 0, 50, True), ok(1, "release", 60, 99, True)
    kept_out = [ok(9, "acquire", 10, 15, False), ok(9, "acquire", 75, 80, False)]
    for call in (20, 65):
        denied = ok(2, question, call, call + 5, False)
        held(_by_threads(taking, releasing, *kept_out, denied))
    falsified(_by_threads(taking, releasing, *kept_out, ok(2, question, 52, 55, False)))


def test_a_hold_that_is_broken_while_it_is_given_back_may_have_been_given_up_before() -> None:
    grant, releasing = ok(1, "acquire", 0, 10, True), ok(1, "release", 20, 60, False)
    asked, broken = ok(2, "is_still_owner", 25, 30, False), ok(9, "break_", 40, 50, True)
    held(_by_threads(grant, releasing, asked, broken))
    falsified(_by_threads(grant, asked, broken))


def test_an_answer_about_a_former_hold_says_nothing_of_a_later_one() -> None:
    holds = [
        ok(1, "acquire", 0, 10, True),
        ok(9, "break_", 20, 30, True),
        ok(1, "release", 40, 50, False),
        ok(1, "acquire", 60, 70, True),
        ok(2, "is_still_owner", 35, 80, False),
    ]
    held(_by_threads(*holds, ok(1, "release", 90, 99, True)))
    falsified(_by_threads(*holds, ok(1, "release", 90, 99, False)))


def test_a_heartbeat_revives_no_hold() -> None:
    broken = [ok(1, "acquire", 0, 10, True), ok(9, "break_", 20, 30, True)]
    beat = ok(2, "lock_heartbeat", 15, 50, True)
    held(_by_threads(*broken, beat, ok(9, "acquire", 60, 70, True)))
    falsified(_by_threads(*broken, beat, ok(1, "release", 60, 70, True)))
    falsified(_by_threads(*broken, beat, ok(9, "acquire", 60, 70, False)))
    falsified(_by_threads(*broken, ok(2, "lock_heartbeat", 40, 50, True)))


def test_who_is_just_taking_a_lock_may_count_as_its_holder() -> None:
    taking, released = ok(1, "acquire", 25, 40, True), ok(1, "release", 50, 60, True)
    held(check_lock(history(taking, ok(2, "break_", 20, 30, True), released)))
    falsified(check_lock(history(taking, ok(2, "break_", 10, 20, True), released)))
    falsified(check_lock(history(taking, ok(2, "break_", 41, 45, True), released)))
    held(check_lock(history(taking, released, ok(2, "break_", 55, 70, True))))


def test_who_is_just_taking_a_lock_may_be_in_the_way_until_it_is_broken() -> None:
    taking, refused = ok(1, "acquire", 0, 60, True), ok(3, "acquire", 10, 20, False)
    others = [ok(4, "acquire", 35, 40, True), ok(4, "release", 45, 50, True)]
    held(check_lock(history(taking, refused, ok(2, "break_", 25, 30, True), *others)))
    falsified(check_lock(history(taking, refused, ok(2, "break_", 25, 30, False), *others)))
    falsified(check_lock(history(taking, refused, *others)))
    late = ok(3, "acquire", 31, 34, False)
    falsified(check_lock(history(taking, late, ok(2, "break_", 25, 30, True), *others)))
    early = ok(3, "acquire", -20, -10, False)
    falsified(check_lock(history(taking, early, ok(2, "break_", 25, 30, True), *others)))


def test_what_is_broken_is_lost_whoever_was_just_taking_it() -> None:
    grant, broken = ok(1, "acquire", 0, 10, True), ok(2, "break_", 20, 30, True)
    refused = ok(3, "acquire", 25, 40, False)
    held(check_lock(history(grant, broken, refused, ok(1, "release", 50, 60, False))))
    falsified(check_lock(history(grant, broken, refused, ok(1, "release", 50, 60, True))))


# -- context managers ---------------------------------------------------------------------------


def test_entering_takes_and_gives_back() -> None:
    entered = ok(1, "enter", 0, 10, True)
    held(check_lock(history(entered, ok(2, "acquire", 20, 30, True))))
    falsified(check_lock(history(entered, ok(2, "acquire", 20, 30, False))))
    falsified(check_lock(history(fail(1, "enter", 0, 10, "LockAcquireFailed"))))
    falsified(check_lock(history(ok(1, "enter", 0, 10, False))))


# -- what is refused --------------------------------------------------------------------------


def test_a_client_with_two_operations_at_once_is_malformed() -> None:
    broken = History([ok(1, "acquire", 0, 10, True), ok(1, "release", 5, 20, True)])
    with pytest.raises(MalformedHistory):
        check_lock(broken)


def test_an_acquire_without_an_answer_is_malformed() -> None:
    with pytest.raises(MalformedHistory, match="True or False"):
        check_lock(history(ok(1, "acquire", 0, 10, None)))


@pytest.mark.parametrize("ttl", [0, -1.0, float("nan")])
def test_a_time_out_has_to_be_above_zero(ttl: float) -> None:
    with pytest.raises(ValueError, match="ttl"):
        check_lock(history(ok(1, "acquire", 0, 10, True)), ttl=ttl)


def test_an_operation_that_did_not_happen_says_nothing() -> None:
    held(check_lock(history(fail(1, "acquire", 0, 10, "NotImplemented"))))


# -- the same verdict as trying everything ------------------------------------------------------


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("about", ["lock", "shared", "breakable", "threads", "rivals"])
def test_verdicts_are_those_of_brute_force(about: str, seed: int) -> None:
    random = Random(f"{about} {seed}")
    for _ in range(120):
        threads = about in ("threads", "rivals")
        ttl = None if threads else random.choice([None, None, 15, 40])
        given = random_history(
            random,
            about,
            clients=random.randint(1, 4),
            operations=random.randint(3, 8),
            unknown=0 if threads else random.choice([0, 0.15, 0.3]),
            stops=random.choice([0, 0, 0.15]),
            beats=random.choice([0, 0.15]) if ttl else 0,
            kills=0 if threads else random.choice([0, 0, 0.4]),
        )
        for _ in range(random.randint(0, 2)):
            given = mutated(random, given)
        items = lock_items(given, ttl)
        if len(items) > 9:
            continue
        finding = check_lock(given, ttl=None if ttl is None else ttl / 1e9)
        right = explained(LockModel(), items, Order.REAL_TIME)
        assert finding.verdict is (Verdict.HELD if right else Verdict.FALSIFIED), given
        assert bool(finding.witness) is not right
        assert {msgspec.json.encode(o) for o in finding.witness} <= {
            msgspec.json.encode(o) for o in given.operations
        }


def test_most_plain_histories_need_no_search() -> None:
    random = Random(0)
    decided = 0
    for _ in range(200):
        given = random_history(random, "lock", clients=4, operations=12, spacing=1_000)
        decided += not lock_cases(given, None)
    assert decided > 180


@pytest.mark.parametrize("unknown", [0.0, 0.01])
def test_a_hundred_thousand_operations_are_decided(unknown: float) -> None:
    given = contended(Random(1), clients=10, operations=100_000, unknown=unknown)
    held(check_lock(given))
    refused = [n for n, o in enumerate(given.operations) if o.value is False]
    chosen = refused[len(refused) * 9 // 10]
    stranger = msgspec.structs.replace(given.operations[chosen], value=True, client=5_000_000)
    operations = [*given.operations[:chosen], stranger, *given.operations[chosen + 1 :]]
    assert stranger in falsified(check_lock(History.of(operations)))
