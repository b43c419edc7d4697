"""The judges that scenarios share: what each objects to, and what it leaves open."""

from __future__ import annotations

from pathlib import Path

import msgspec
import pytest

from conformance.checkers import check_lock, check_watches
from conformance.history import History, Operation
from conformance.implementations import Driver, describe
from conformance.scenarios import judges
from conformance.verdict import Finding, Verdict
from tests.histories import timed

HELD, DOUBT, FALSIFIED = (
    Finding(verdict, "a rule")
    for verdict in (Verdict.HELD, Verdict.INCONCLUSIVE, Verdict.FALSIFIED)
)


@pytest.fixture
def driver(tmp_path: Path) -> Driver:
    """Return a driver that claims nothing of time-outs."""
    found = describe("reference", f"file://{tmp_path}/file")
    return msgspec.structs.replace(found, claims=frozenset())


@pytest.mark.parametrize(
    ("findings", "worst"),
    [
        ([HELD, DOUBT, HELD], DOUBT),
        ([HELD, DOUBT, FALSIFIED], FALSIFIED),
        ([FALSIFIED, DOUBT], FALSIFIED),
        ([HELD, HELD], HELD),
    ],
)
def test_an_objection_goes_before_a_doubt(findings: list[Finding], worst: Finding) -> None:
    judging = [lambda history, finding=finding: finding for finding in findings]
    assert judges.all_of(*judging)(History.of([])) is worst


_GRANT = timed("acquire", 1, True)


def _taken(at: float) -> Operation:
    return timed("acquire", at, True, client=1)


@pytest.mark.parametrize(
    ("operations", "verdict"),
    [
        ([_GRANT, timed("release", 1.5, True), _taken(2)], Verdict.HELD),
        ([_GRANT, _taken(1.5), timed("is_still_owner", 1.8, True)], Verdict.FALSIFIED),
        ([_GRANT, _taken(1.5)], Verdict.FALSIFIED),
        ([_GRANT, _taken(2.5)], Verdict.INCONCLUSIVE),
        ([_GRANT, timed("release", 2.5, False)], Verdict.INCONCLUSIVE),
        ([_GRANT, _taken(2.5), timed("release", 2.8, True)], Verdict.FALSIFIED),
    ],
)
def test_a_hold_may_have_expired_under_a_slow_heart(
    driver: Driver, operations: list[Operation], verdict: Verdict
) -> None:
    judge = judges.unless_expired(driver, 2.0, check_lock)
    assert judge(History.of(operations)).verdict is verdict


def test_what_cannot_expire_is_in_no_doubt(tmp_path: Path) -> None:
    driver = describe("reference", f"file://{tmp_path}/file")
    judge = judges.unless_expired(driver, 2.0, check_lock)
    assert judge(History.of([_GRANT, _taken(2.5)])).verdict is Verdict.FALSIFIED


def test_a_stay_may_have_expired_under_a_slow_heart(driver: Driver) -> None:
    judge = judges.unless_expired(driver, 1.0, check_watches)
    watch, join = timed("watch", 1, client=1), timed("join_group", 1.2)
    seen = timed("run_watchers", 1.4, [["join", b"x", b"m0"]], client=1)
    left = [["leave", b"x", b"m0"]]
    late, early = (timed("run_watchers", at, left, client=1) for at in (2, 1.55))
    assert judge(History.of([watch, join, seen, late])).verdict is Verdict.INCONCLUSIVE
    assert judge(History.of([watch, join, seen, early])).verdict is Verdict.FALSIFIED
