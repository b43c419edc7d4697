"""Registers: the rule for distinct values, and public histories with known verdicts."""

from __future__ import annotations

import json
from pathlib import Path
from random import Random
from typing import Any

import pytest

from conformance.checkers import Order, check_register
from conformance.checkers.register import _distinct
from conformance.history import History, Operation, Outcome
from conformance.models import Registers
from conformance.verdict import Verdict
from tests.brute_force import explained, operation_items
from tests.histories import history, info, mutated, ok, random_history

PUBLIC = Path(__file__).parents[2] / "shared" / "data" / "histories"
"""Jepsen's logs of etcd and porcupine's key-value histories, where they are there."""


def verdict(*operations: Operation) -> Verdict:
    return check_register(history(*operations)).verdict


def test_a_stale_read_is_a_violation_and_its_witness() -> None:
    first, second = ok(1, "write", 0, 10, value=1), ok(1, "write", 20, 30, value=2)
    read, stale = ok(2, "read", 40, 50, 2), ok(3, "read", 60, 70, 1)
    finding = check_register(history(first, second, read, stale))
    assert finding.verdict is Verdict.FALSIFIED
    assert stale in finding.witness


def test_a_value_that_was_never_written_is_not_read() -> None:
    read = ok(1, "read", 0, 10, 7)
    finding = check_register(history(read))
    assert finding.witness == [read]
    assert "nobody ever wrote 7" in finding.reason


def test_a_value_is_not_read_before_it_is_written() -> None:
    assert verdict(ok(1, "read", 0, 10, 7), ok(2, "write", 20, 30, value=7)) is Verdict.FALSIFIED


def test_the_initial_value_is_not_read_after_a_write() -> None:
    assert verdict(ok(1, "write", 0, 10, value=1), ok(2, "read", 20, 30)) is Verdict.FALSIFIED
    assert verdict(ok(1, "write", 0, 25, value=1), ok(2, "read", 20, 30)) is Verdict.HELD


def test_values_that_only_touch_may_follow_each_other() -> None:
    first = [ok(1, "write", 0, 10, value=1), ok(2, "read", 20, 30, 1)]
    assert verdict(*first, ok(3, "write", 5, 20, value=2), ok(4, "read", 40, 50, 2)) is Verdict.HELD


def test_a_value_is_replaced_once() -> None:
    both = [ok(1, "cas", 0, 10, True, old=None, new=1), ok(2, "cas", 0, 10, True, old=None, new=2)]
    assert verdict(*both) is Verdict.FALSIFIED


def test_a_chain_of_replacements_keeps_its_order() -> None:
    chain = [ok(1, "cas", 0, 10, True, old=None, new=1), ok(2, "cas", 20, 30, True, old=1, new=2)]
    assert verdict(*chain, ok(3, "read", 40, 50, 2)) is Verdict.HELD
    assert verdict(*chain, ok(3, "read", 40, 50, 1)) is Verdict.FALSIFIED
    early = ok(2, "cas", -20, -10, True, old=1, new=2)
    assert verdict(chain[0], early) is Verdict.FALSIFIED


def test_a_replacement_does_not_rest_on_itself() -> None:
    assert verdict(ok(1, "cas", 0, 10, True, old=5, new=5)) is Verdict.FALSIFIED


def test_an_unknown_write_that_was_read_happened() -> None:
    unknown = info(1, "write", 0, value=1)
    assert verdict(unknown, ok(2, "read", 40, 50, 1), ok(2, "read", 60, 70)) is Verdict.FALSIFIED
    assert verdict(unknown, ok(2, "read", 40, 50), ok(2, "read", 60, 70, 1)) is Verdict.HELD


def test_registers_are_judged_on_their_own() -> None:
    assert (
        verdict(ok(1, "write", 0, 10, value=1), ok(2, "read", 20, 30, target=b"y")) is Verdict.HELD
    )


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("about", ["register", "cas"])
def test_verdicts_are_those_of_brute_force(about: str, seed: int) -> None:
    random = Random(f"rule {about} {seed}")
    ruled = 0
    for _ in range(100):
        given = random_history(
            random,
            about,
            clients=random.randint(1, 4),
            operations=random.randint(4, 9),
            unknown=random.choice([0, 0, 0.15, 0.3]),
        )
        for _ in range(random.randint(0, 2)):
            given = mutated(random, given)
        if random.random() < 0.7:
            operations = [o for o in given.operations if o.name != "cas" or o.value is not False]
            given = History.of(operations)
        ruled += _distinct(given.operations, None)
        right = explained(Registers(), operation_items(given), Order.REAL_TIME)
        assert check_register(given).verdict is (Verdict.HELD if right else Verdict.FALSIFIED), (
            given
        )
    assert ruled > 30


def test_long_histories_with_distinct_values_are_decided() -> None:
    random = Random(7)
    given = random_history(random, "register", clients=20, operations=5_000, spacing=1_000)
    assert check_register(given).verdict is Verdict.HELD


@pytest.mark.skipif(not PUBLIC.is_dir(), reason="the public histories are not there")
@pytest.mark.parametrize("path", sorted(PUBLIC.glob("*.json")), ids=lambda path: path.stem)
def test_public_histories_have_their_known_verdicts(path: Path) -> None:
    described = json.loads(path.read_text())
    initial = "" if described["model"] == "kv" else described["init"]
    given = History.of(map(_operation, described["ops"]))
    finding = check_register(given, initial=initial)
    assert finding.verdict is (Verdict.HELD if described["expect"] else Verdict.FALSIFIED)


def _operation(recorded: dict[str, Any]) -> Operation:
    """Return an operation of a public history; a ``cas`` that failed answered False."""
    name = {"get": "read", "put": "write"}.get(recorded["f"], recorded["f"])
    known = recorded["type"] != "info"
    arguments: dict[str, Any] = {}
    result = recorded["out"]
    if name == "cas":
        arguments = dict(zip(("old", "new"), recorded["value"], strict=True))
        result = recorded["type"] == "ok"
    elif name != "read":
        arguments, result = {"value": recorded["value"]}, None
    return Operation(
        client=recorded["process"],
        name=name,
        target=recorded["key"].encode(),
        arguments=arguments,
        call=recorded["call"],
        end=recorded["return"] if known else None,
        outcome=Outcome.OK if known else Outcome.INFO,
        value=result if known else None,
    )
