"""Beliefs: what an object may say of a lock that another holds, without asking anybody."""

from __future__ import annotations

from random import Random

import msgspec
import pytest

from conformance.checkers import Order, check_beliefs
from conformance.checkers.beliefs import beliefs_met
from conformance.history import History, Operation
from conformance.models import LockModel
from conformance.verdict import Verdict
from tests.brute_force import explained, lock_items
from tests.histories import history, info, mutated, ok, random_history

MINE = [ok(1, "acquire", 0, 10, True)]
OTHERS = [ok(2, "acquire", 100, 110, True), ok(2, "is_still_owner", 200, 210, True)]


def _verdict(*operations: Operation) -> Verdict:
    finding = check_beliefs(history(*MINE, *operations))
    assert bool(finding.witness) is (finding.verdict is Verdict.FALSIFIED)
    return finding.verdict


def _asked(call: int, end: int, value: bool = True) -> Operation:
    return ok(1, "acquired", call, end, value)


def test_who_believes_to_hold_while_another_does_is_wrong_and_the_witness() -> None:
    belief = _asked(120, 130)
    finding = check_beliefs(history(*MINE, *OTHERS, belief))
    assert finding.witness == [OTHERS[0], belief, OTHERS[1]]
    assert finding.verdict is Verdict.FALSIFIED
    assert _verdict(*OTHERS, _asked(120, 130, False)) is Verdict.HELD


@pytest.mark.parametrize(("call", "end"), [(20, 30), (105, 120), (90, 300), (150, 205), (220, 230)])
def test_what_may_have_been_asked_outside_the_others_hold_is_no_lie(call: int, end: int) -> None:
    assert _verdict(*OTHERS, _asked(call, end)) is Verdict.HELD


@pytest.mark.parametrize(
    "last",
    [
        ok(2, "is_still_owner", 200, 210, False),
        ok(2, "release", 200, 210, False),
        ok(2, "acquired", 200, 210, True),
        info(2, "release", 200, 210),
        ok(2, "stop", 200, 210, target=b""),
    ],
)
def test_a_hold_without_the_servers_word_is_not_certain(last: Operation) -> None:
    assert _verdict(OTHERS[0], last, _asked(120, 130)) is Verdict.HELD


@pytest.mark.parametrize("proof", ["release", "is_still_owner", "lock_heartbeat"])
def test_each_of_the_servers_words_proves_a_hold(proof: str) -> None:
    said = ok(2, proof, 200, 210, True)
    asking_again = ok(2, "acquire", 160, 170, False)
    assert _verdict(OTHERS[0], said, _asked(120, 130)) is Verdict.FALSIFIED
    assert _verdict(OTHERS[0], asking_again, said, _asked(120, 130)) is Verdict.FALSIFIED


def test_two_holds_of_another_are_not_one() -> None:
    again = [
        ok(2, "acquire", 100, 110, True),
        ok(2, "release", 120, 130, True),
        ok(2, "acquire", 160, 170, True),
        ok(2, "release", 200, 210, True),
    ]
    assert _verdict(*again, _asked(140, 150)) is Verdict.HELD
    assert _verdict(*again, _asked(180, 190)) is Verdict.FALSIFIED


def test_nobody_is_told_that_a_lock_was_broken() -> None:
    assert _verdict(ok(3, "break_", 50, 60, True), *OTHERS, _asked(120, 130)) is Verdict.HELD


def test_readers_may_hold_together() -> None:
    readers = [msgspec.structs.replace(o, arguments={"shared": True}) for o in (*MINE, *OTHERS)]
    assert check_beliefs(history(*readers, _asked(120, 130))).verdict is Verdict.HELD


def test_an_object_that_several_use_at_once_is_certain_of_nothing() -> None:
    shared = [msgspec.structs.replace(o, member=b"m", arguments={"object": 1}) for o in OTHERS]
    beside = ok(3, "lock_heartbeat", 190, 205, True, acting=b"m", object=1)
    assert _verdict(*shared, _asked(120, 130)) is Verdict.FALSIFIED
    assert _verdict(*shared, beside, _asked(120, 130)) is Verdict.HELD


def test_a_bystander_asks_of_the_holders_own_object() -> None:
    mine = [ok(1, "acquire", 0, 10, True, acting=b"m", object=1)]
    asked = ok(5, "acquired", 120, 130, True, acting=b"m", object=1)
    given = history(*mine, *OTHERS, asked)
    assert check_beliefs(given).verdict is Verdict.FALSIFIED
    released = ok(1, "release", 200, 210, True, acting=b"m", object=1)
    assert check_beliefs(history(*mine, asked, released)).verdict is Verdict.HELD
    assert beliefs_met(history(*mine, asked, released)) == 1


@pytest.mark.parametrize("seed", range(2))
@pytest.mark.parametrize("about", ["lock", "shared", "rivals"])
def test_whoever_is_accused_is_wrong_for_who_tries_everything(about: str, seed: int) -> None:
    random = Random(f"{about} {seed}")
    accused = 0
    for number in range(2000):
        given = random_history(random, about, clients=3, operations=7, unknown=0)
        assert check_beliefs(given).verdict is Verdict.HELD
        for _ in range(1 + number % 2):
            given = mutated(random, given)
        items = lock_items(given)
        if check_beliefs(given).verdict is Verdict.FALSIFIED and len(items) <= 9:
            accused += 1
            assert not explained(LockModel(), items, Order.REAL_TIME), given
    assert accused or about == "rivals"  # most of whose locks are broken


def test_locks_are_judged_one_by_one() -> None:
    elsewhere = [msgspec.structs.replace(o, target=b"y") for o in OTHERS]
    given = History.of([*MINE, *elsewhere, _asked(120, 130)])
    assert check_beliefs(given).verdict is Verdict.HELD
