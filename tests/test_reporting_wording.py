"""How reports spell names, values and durations, and what words they explain."""

from __future__ import annotations

import pytest

from conformance.characteristics import Characteristics
from conformance.history import Outcome
from conformance.reporting import glossary, wording
from conformance.verdict import Verdict
from tests import sample_runs as sample


@pytest.mark.parametrize(
    ("raw", "spelled"),
    [
        (b"ledger", "ledger"),
        ("réseau".encode(), "réseau"),
        (b"\x00\n\x1b", "\\x00\\n\\x1b"),
        (b"\xff", "\\xff"),
        (b"\\xff", "\\\\xff"),
        ("\u202e".encode(), "\\u202e"),
    ],
)
def test_a_name_is_spelled_printable_and_unambiguous(raw: bytes, spelled: str) -> None:
    assert wording.name(raw) == spelled


def test_a_name_of_a_megabyte_is_shortened_and_its_size_given() -> None:
    spelled = wording.name(b"n" * 2**20)
    assert spelled.endswith("(1,048,576 bytes)")
    assert len(spelled) < 100


@pytest.mark.parametrize(
    ("nanoseconds", "spelled"),
    [
        (0, "0 ns"),
        (40, "40.0 ns"),
        (999.4, "999 ns"),
        (999.6, "1.00 µs"),
        (61_000, "61.0 µs"),
        (1_234_567, "1.23 ms"),
        (2_500_000_000, "2.50 s"),
        (3_600_000_000_000, "3,600 s"),
    ],
)
def test_a_duration_has_three_digits_and_the_unit_that_fits(
    nanoseconds: float, spelled: str
) -> None:
    assert wording.duration(nanoseconds) == spelled


def test_a_result_tells_what_is_known() -> None:
    ok = sample.operation(0, "acquire", 0, 1, True)
    fail = sample.operation(0, "leave_group", 0, 1, outcome=Outcome.FAIL, error="MemberNotJoined")
    info = sample.operation(0, "acquire", 0, None, outcome=Outcome.INFO)
    assert [wording.result(o) for o in (ok, fail, info)] == [
        "True",
        "! MemberNotJoined",
        "? no answer",
    ]


def test_each_verdict_and_characteristic_is_explained() -> None:
    assert set(glossary.SYMBOLS) == set(glossary.MEANINGS) == set(Verdict)
    assert len(set(glossary.SYMBOLS.values())) == len(Verdict)
    assert set(glossary.PROMISES) == {member.name for member in Characteristics}
