"""The search: the same answer as trying everything, whatever the order, and honest limits."""

from __future__ import annotations

from dataclasses import replace
from math import inf
from random import Random

import pytest

from conformance.checkers import Order
from conformance.checkers.moves import Move
from conformance.checkers.search import Search
from conformance.checkers.settle import Case, settle
from conformance.checkers.translation import moves_of, plain_moves
from conformance.checkers.turns import search_all
from conformance.checkers.witness import told
from conformance.history import History
from conformance.models import Coordination, Kind, LockModel, Model, RegisterModel, Registers
from conformance.verdict import Verdict
from tests.brute_force import explained, lock_items, operation_items
from tests.histories import history, info, mutated, ok, random_history

ORDERS = [Order.REAL_TIME, Order.PROGRAM, Order.NONE]


def searched(given: History, order: Order = Order.REAL_TIME, initial: object = None) -> bool | None:
    return Search(RegisterModel(initial), plain_moves(given), order).run(100_000)


# -- what the orders mean --------------------------------------------------------------------


def test_a_stale_read_fails_real_time_alone() -> None:
    given = history(ok(1, "write", 0, 10, value=1), ok(2, "read", 20, 30, None))
    assert [searched(given, order) for order in ORDERS] == [False, True, True]


def test_forgetting_ones_own_write_fails_program_order_too() -> None:
    given = history(ok(1, "write", 0, 10, value=1), ok(1, "read", 20, 30, None))
    assert [searched(given, order) for order in ORDERS] == [False, False, True]


def test_a_value_from_nowhere_fails_every_order() -> None:
    given = history(ok(1, "read", 0, 10, 7))
    assert [searched(given, order) for order in ORDERS] == [False, False, False]


def test_operations_that_overlap_may_come_in_either_order() -> None:
    given = history(
        ok(1, "write", 0, 30, value=1), ok(2, "read", 10, 20, None), ok(3, "read", 12, 40, 1)
    )
    assert searched(given) is True


def test_a_return_and_a_call_at_the_same_time_may_come_in_either_order() -> None:
    assert searched(history(ok(1, "write", 0, 10, value=1), ok(2, "read", 10, 20, None))) is True


def test_one_clients_operations_keep_their_order_even_at_the_same_time() -> None:
    assert searched(history(ok(1, "write", 0, 10, value=1), ok(1, "read", 10, 20, None))) is False


# -- unknown outcomes --------------------------------------------------------------------------


def test_an_unknown_write_may_take_effect_much_later_or_never() -> None:
    write = info(1, "write", 0, 5, value=1)
    assert searched(history(write, ok(2, "read", 100, 110, 1))) is True
    assert searched(history(write, ok(2, "read", 100, 110, None))) is True


def test_an_unknown_write_takes_effect_once() -> None:
    reads = [ok(2, "read", 100, 110, 1), ok(2, "write", 120, 130, value=2)]
    again = ok(2, "read", 140, 150, 1)
    assert searched(history(info(1, "write", 0, value=1), *reads, again)) is False
    twice = [info(1, "write", 0, value=1), info(3, "write", 0, value=1)]
    assert searched(history(*twice, *reads, again)) is True


def test_an_unknown_write_takes_no_effect_before_its_call() -> None:
    given = history(ok(2, "read", 0, 10, 1), info(1, "write", 20, value=1))
    assert [searched(given, order) for order in ORDERS] == [False, True, True]


def test_many_unknown_operations_do_not_make_it_explode() -> None:
    unknown = [info(100 + n, "write", n, value=n % 3) for n in range(60)]
    reads = [ok(1, "read", 100 + 20 * n, 110 + 20 * n, n % 3) for n in range(60)]
    search = Search(RegisterModel(), plain_moves(history(*unknown, *reads)), Order.REAL_TIME)
    assert search.run(100_000) is True
    wrong = [*reads, ok(1, "read", 2_000, 2_010, 9)]
    search = Search(RegisterModel(), plain_moves(history(*unknown, *wrong)), Order.REAL_TIME)
    assert search.run(100_000) is False


# -- limits ----------------------------------------------------------------------------------


def hard(seed: int = 0, clients: int = 12, rounds: int = 3) -> History:
    """Return writes and reads all at the same time, which no order explains."""
    random = Random(seed)
    operations = []
    for number in range(rounds):
        for client in range(clients):
            begin = 100 * number
            operations.append(ok(client, "write", begin, begin + 40, value=random.randrange(4)))
            operations.append(
                ok(client, "read", begin + 50, begin + 90, random.choice([0, 1, 2, 3]))
            )
    operations.append(ok(99, "read", 10_000, 10_010, 77))
    return history(*operations)


def test_a_search_that_runs_out_of_budget_does_not_know() -> None:
    search = Search(RegisterModel(), plain_moves(hard()), Order.REAL_TIME)
    assert search.run(50) is None
    assert 50 <= search.steps < 100


def test_no_budget_is_inconclusive_and_never_held() -> None:
    given = hard()
    case = Case("register", "rule", Search(RegisterModel(), plain_moves(given), Order.REAL_TIME))
    finding = settle(given, "rule", [case], "fine", 50)
    assert finding.verdict is Verdict.INCONCLUSIVE
    assert "not decided after" in finding.reason


def test_a_search_goes_on_where_it_stopped() -> None:
    whole = Search(RegisterModel(), plain_moves(hard(clients=5, rounds=2)), Order.REAL_TIME)
    assert whole.run(1_000_000) is False
    again = Search(RegisterModel(), plain_moves(hard(clients=5, rounds=2)), Order.REAL_TIME)
    while again.explained is None:
        again.run(7)
    assert (again.explained, again.steps) == (whole.explained, whole.steps)


def test_a_hard_object_does_not_hide_an_easy_violation() -> None:
    easy = history(ok(1, "read", 0, 10, 7))
    searches = [
        Search(RegisterModel(), plain_moves(given), Order.REAL_TIME)
        for given in (hard(1), hard(2), easy)
    ]
    result = search_all(searches, 1_000_000)
    assert result.explained is False
    assert result.failed is searches[2]
    assert result.steps < 5_000


def test_a_decided_search_costs_nothing_more() -> None:
    search = Search(RegisterModel(), plain_moves(history(ok(1, "read", 0, 10, None))), ORDERS[0])
    assert search.run(100) is True
    steps = search.steps
    assert search.run(100) is True
    assert search.steps == steps


def test_causal_order_is_not_one_order() -> None:
    with pytest.raises(ValueError, match="causal"):
        Search(RegisterModel(), [], Order.CAUSAL)


# -- witnesses ---------------------------------------------------------------------------------


def test_of_many_operations_the_last_show_the_contradiction() -> None:
    many = [ok(1, "acquire", 10 * n, 10 * n + 1, n % 2 == 0, blocking=n) for n in range(6)]
    assert "blocking=0" in told(many)
    assert told(many).endswith("; and 2 more")
    assert "blocking=1)" not in told(many, latest=True)
    assert "blocking=5" in told(many, latest=True)
    assert told(many, latest=True).endswith("; and 2 before")
    assert "and" not in told(many[:4], latest=True)


def test_the_witness_leaves_out_what_does_not_matter() -> None:
    noise = [ok(5, "read", n, n + 3, None) for n in range(0, 100, 5)]
    guilty = [ok(1, "write", 200, 210, value=1), ok(2, "read", 220, 230, None)]
    later = [ok(5, "read", n, n + 3, 1) for n in range(300, 400, 5)]
    given = history(*noise, *guilty, *later)
    case = Case("register", "rule", Search(RegisterModel(), plain_moves(given), Order.REAL_TIME))
    finding = settle(given, "rule", [case], "", 100_000)
    assert finding.witness == guilty


@pytest.mark.parametrize("seed", range(4))
def test_a_witness_has_no_explanation_either(seed: int) -> None:
    random = Random(f"witness {seed}")
    for _ in range(60):
        given = mutated(random, random_history(random, "cas", clients=3, operations=10))
        moves = plain_moves(given)
        search = Search(Registers(), moves, Order.REAL_TIME)
        if search.run(100_000):
            continue
        finding = settle(given, "", [Case("all", "", search)], "", 100_000)
        shown = {id(operation) for operation in finding.witness}
        assert shown
        assert Search(Registers(), _doubting(moves, shown), Order.REAL_TIME).run(100_000) is False
        for left_out in list(shown):
            fewer = _doubting(moves, shown - {left_out})
            assert Search(Registers(), fewer, Order.REAL_TIME).run(100_000) is True


def _doubting(moves: list[Move], sure: set[int]) -> list[Move]:
    """Return moves of which only these operations are known, and the others may have been."""
    model = Registers()
    return [
        move if id(move.source) in sure else replace(move, answer=None, end=inf, required=False)
        for move in moves
        if id(move.source) in sure
        or move.answer is None
        or not model.observes(move.call, move.answer)
    ]


# -- the same verdict as trying everything ------------------------------------------------------


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("about", ["register", "cas", "group", "leadership", "mixed"])
def test_verdicts_are_those_of_brute_force(about: str, seed: int) -> None:
    random = Random(f"{about} {seed}")
    registers = about in ("register", "cas")
    for _ in range(60):
        given = random_history(
            random,
            about,
            clients=random.randint(1, 3),
            operations=random.randint(3, 7),
            targets=random.choice([1, 1, 2]),
            unknown=0 if about == "mixed" else random.choice([0, 0.15, 0.3]),
        )
        for _ in range(random.randint(0, 2)):
            given = mutated(random, given)
        model: Model = Registers() if registers else Coordination()
        moves = plain_moves(given) if registers else moves_of(given)
        for order in ORDERS:
            right = explained(model, operation_items(given), order)
            assert Search(model, moves, order).run(1_000_000) is right, (order, given)


@pytest.mark.parametrize("seed", range(8))
@pytest.mark.parametrize("about", ["lock", "shared", "breakable"])
def test_losses_are_those_of_brute_force(about: str, seed: int) -> None:
    random = Random(f"losses {about} {seed}")
    for _ in range(40):
        ttl = random.choice([None, 15, 40])
        given = random_history(
            random,
            about,
            clients=random.randint(1, 3),
            operations=random.randint(3, 7),
            unknown=random.choice([0, 0.15, 0.3]),
            stops=random.choice([0, 0.15]),
            beats=0.1 if ttl else 0,
            kills=random.choice([0, 0.4]),
        )
        given = mutated(random, given)
        items = lock_items(given, ttl)
        if len(items) > 9:
            continue
        moves = moves_of(given, kinds=[Kind.LOCK], ttl=None if ttl is None else ttl / 1e9)
        for order in ORDERS:
            right = explained(LockModel(), items, order)
            assert Search(LockModel(), moves, order).run(1_000_000) is right, (order, given)
