"""Causal memory: registers of which every client may have a view of its own."""

from __future__ import annotations

from random import Random

import pytest

from conformance.checkers.causal import causal_cases
from conformance.checkers.facts import causal_facts, facts_of
from conformance.checkers.forced import Contradiction, Forced
from conformance.checkers.translation import plain_moves
from conformance.checkers.turns import search_all
from conformance.history import History
from conformance.models import Registers
from tests.brute_force import causally_explained
from tests.histories import history, mutated, ok, random_history


def causal(given: History) -> bool | None:
    """Whether registers are causal, by what is forced and then by search."""
    moves = plain_moves(given)
    try:
        after = Forced(moves, causal_facts(moves), total=False).after
    except Contradiction:
        return False
    cases = causal_cases(Registers(), moves, after)
    return search_all([case.search for case in cases], 1_000_000).explained


def forced(given: History) -> list[tuple[str, str]]:
    """Return what one order for all forces: pairs of operations, as text."""
    moves = plain_moves(given)
    after = Forced(moves, facts_of(moves), total=True).after
    return [
        (str(first.source), str(second.source)) for second, its in after.items() for first in its
    ]


def test_unrelated_writes_may_be_seen_in_different_orders() -> None:
    writes = [ok(1, "write", 0, 1, value=1), ok(2, "write", 0, 1, value=2)]
    one = [ok(3, "read", 10, 11, 1), ok(3, "read", 12, 13, 2)]
    other = [ok(4, "read", 10, 11, 2), ok(4, "read", 12, 13, 1)]
    assert causal(history(*writes, *one, *other)) is True


def test_a_client_does_not_change_its_mind_about_their_order() -> None:
    writes = [ok(1, "write", 0, 1, value=1), ok(2, "write", 0, 1, value=2)]
    back_and_forth = [
        ok(3, "read", 10 + 2 * n, 11 + 2 * n, value) for n, value in enumerate([1, 2, 1])
    ]
    assert causal(history(*writes, *back_and_forth)) is False


def test_writes_in_a_circle_are_not_causal() -> None:
    given = history(
        ok(1, "read", 0, 1, 2, target=b"y"),
        ok(1, "write", 2, 3, value=1, target=b"x"),
        ok(2, "read", 0, 1, 1, target=b"x"),
        ok(2, "write", 2, 3, value=2, target=b"y"),
    )
    assert causal(given) is False


def test_a_read_comes_after_its_write_and_before_the_next() -> None:
    first, second = ok(1, "write", 0, 1, value=1), ok(1, "write", 2, 3, value=2)
    read = ok(2, "read", 10, 11, 1)
    assert set(forced(history(first, second, read))) == {
        (str(first), str(read)),
        (str(read), str(second)),
    }


def test_what_was_read_first_was_written_first_if_it_was_overwritten() -> None:
    one, other = ok(1, "write", 0, 1, value=1), ok(2, "write", 0, 1, value=2)
    reads = [ok(3, "read", 10, 11, 1), ok(3, "read", 12, 13, 2)]
    assert (str(one), str(other)) in forced(history(one, other, *reads))


def test_a_client_passes_on_what_it_only_read() -> None:
    given = history(
        ok(1, "write", 0, 1, value=1, target=b"x"),
        ok(2, "read", 10, 11, 1, target=b"x"),
        ok(2, "write", 12, 13, value=2, target=b"y"),
        ok(4, "write", 0, 1, value=0, target=b"x"),
        ok(3, "read", 20, 21, 2, target=b"y"),
        ok(3, "read", 22, 23, 0, target=b"x"),
        ok(3, "read", 24, 25, 1, target=b"x"),
    )
    assert causal(given) is causally_explained(given) is False


def test_a_read_that_two_writes_may_explain_forces_nothing() -> None:
    given = history(
        ok(1, "write", 0, 1, value=1), ok(2, "write", 2, 3, value=1), ok(3, "read", 10, 11, 1)
    )
    assert forced(given) == []


def test_a_contradiction_shows_the_moves_of_a_circle() -> None:
    given = history(
        ok(1, "write", 0, 1, value=1, target=b"x"),
        ok(1, "read", 2, 3, None, target=b"y"),
        ok(2, "write", 0, 1, value=2, target=b"y"),
        ok(2, "read", 2, 3, None, target=b"x"),
    )
    moves = plain_moves(given)
    with pytest.raises(Contradiction) as caught:
        Forced(moves, facts_of(moves), total=True)
    assert len(caught.value.moves) == 4
    assert causal(given) is True


@pytest.mark.parametrize("seed", range(20))
def test_verdicts_are_those_of_the_definition(seed: int) -> None:
    random = Random(f"causal {seed}")
    for _ in range(100):
        given = random_history(
            random,
            "register",
            clients=random.randint(2, 3),
            operations=random.randint(4, 9),
            targets=random.choice([1, 1, 2]),
            unknown=random.choice([0, 0, 0.15]),
        )
        for _ in range(random.randint(0, 4)):
            given = mutated(random, given)
        if _ends_with_what_is_unknown(given):
            assert causal(given) is causally_explained(given), given


def _ends_with_what_is_unknown(given: History) -> bool:
    """Whether no client calls again after an unknown outcome."""
    return not any(o.is_info for its in given.by_client().values() for o in its[:-1])
