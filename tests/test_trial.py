"""The trial: what was seen once stays seen, and too little is never enough."""

from __future__ import annotations

import importlib
import sys
from collections.abc import Iterator
from pathlib import Path

import msgspec
import pytest
from hypothesis import strategies as st

from conformance.characteristics import Characteristics, Feature
from conformance.history import History
from conformance.implementations import describe
from conformance.profiles import Profile
from conformance.results import load_evidence
from conformance.trial import Falsified, Inconclusive, Least, NotExercised, Place, Trial
from conformance.verdict import Finding, Verdict
from conformance.workload.crew import Crew
from conformance.workload.plan import Phase, Plan, Step
from conformance.workload.strategies import exclusive_cycles, plans
from tests.histories import timed
from tests.trials import make_trial

LOCK = b"lock-a"
HELD = Finding(Verdict.HELD, "a rule")
FALSE = Finding(Verdict.FALSIFIED, "a rule", "a reason")


@pytest.fixture(scope="module")
def crew() -> Iterator[Crew]:
    with Crew() as crew:
        yield crew


@pytest.fixture
def trial(crew: Crew, tmp_path: Path) -> Trial:
    return make_trial(crew, tmp_path)


def lengths(trial: Trial) -> st.SearchStrategy[Plan]:
    """Draw plans of one client that asks some times."""
    return st.integers(1, 8).map(
        lambda times: Plan({0: 0}, [Phase({0: [Step("acquired", LOCK)] * times})])
    )


def test_a_held_exploration_counts_trials_and_operations(trial: Trial) -> None:
    histories = trial.explore(lengths(trial), lambda history: HELD, trials=5)
    assert trial.trials == len(histories) == 5
    assert trial.operations == sum(map(len, histories))


def test_few_different_plans_are_run_again(trial: Trial) -> None:
    lengths_of_two = st.sampled_from([1, 2]).map(
        lambda times: Plan({0: 0}, [Phase({0: [Step("acquired", LOCK)] * times})])
    )
    histories = trial.explore(lengths_of_two, lambda history: HELD, trials=7)
    assert sorted(map(len, histories)) in ([1] * 4 + [2] * 3, [1] * 3 + [2] * 4)
    findings = iter([HELD] * 5 + [FALSE])
    with pytest.raises(Falsified, match="a reason"):
        trial.explore(lengths_of_two, lambda history: next(findings, HELD), trials=7)


def test_the_same_seed_draws_the_same_plans(trial: Trial) -> None:
    def drawn() -> list[list[tuple[str, object]]]:
        crowd = plans(trial.crowd(sharing=False), lambda client: exclusive_cycles(12))
        histories = trial.explore(crowd, lambda history: HELD, trials=4)
        return [sorted((o.name, str(o.arguments)) for o in h.operations) for h in histories]

    assert drawn() == drawn()


def test_modules_that_happen_to_be_loaded_change_no_plan(
    trial: Trial, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def drawn() -> list[bytes]:
        locks = st.binary(min_size=8, max_size=8).map(
            lambda name: Plan({0: 0}, [Phase({0: [Step("acquired", name)]})])
        )
        histories = trial.explore(locks, lambda history: HELD, trials=60)
        return [h.operations[0].target for h in histories]

    before = drawn()
    literals = [b"lit%05d" % number for number in range(500)]
    (tmp_path / "some_local_module.py").write_text(f"ALL = {literals!r}\n")
    monkeypatch.syspath_prepend(tmp_path)
    importlib.import_module("some_local_module")
    assert drawn() == before
    del sys.modules["some_local_module"]


def test_who_shares_judges_the_same_histories(trial: Trial, crew: Crew, tmp_path: Path) -> None:
    one_of_two = st.sampled_from([1, 2]).map(
        lambda times: Plan({0: 0}, [Phase({0: [Step("acquired", LOCK)] * times})])
    )
    another = make_trial(crew, tmp_path)
    mine, others, alone = (
        someone.explore(one_of_two, lambda history: HELD, trials=7, shared=shared)
        for someone, shared in ((trial, True), (another, True), (another, False))
    )
    assert mine == others != alone
    assert len({history.operations[0].call for history in mine}) == 7
    assert (trial.trials, another.trials) == (7, 14)


def test_what_is_shared_takes_no_steering(trial: Trial) -> None:
    with pytest.raises(ValueError, match="without steering"):
        trial.explore(
            st.nothing(), lambda history: HELD, steering=lambda session: None, shared=True
        )


def test_a_violation_that_does_not_repeat_is_a_violation(trial: Trial) -> None:
    findings = iter([HELD, HELD, FALSE])
    with pytest.raises(Falsified, match="a reason"):
        trial.explore(lengths(trial), lambda history: next(findings, HELD))
    assert trial.falsified == FALSE
    (first,) = trial.evidence
    assert load_evidence(Path(first)).finding == FALSE


def test_shrinking_keeps_the_first_evidence_and_the_smallest(trial: Trial) -> None:
    def judge(history: History) -> Finding:
        return FALSE if len(history) >= 3 else HELD

    with pytest.raises(Falsified):
        trial.explore(lengths(trial), judge)
    assert Path(trial.evidence[0]).name == "first.msgpack"
    assert len(load_evidence(Path(trial.evidence[-1])).history) == 3


def test_shrinking_has_a_budget(trial: Trial) -> None:
    trial.profile = Profile(name="tight", trials=9, clients=2, steps=8, shrinks=2, budget=1)
    seen = []

    def judge(history: History) -> Finding:
        seen.append(len(history))
        return FALSE

    with pytest.raises(Falsified):
        trial.explore(lengths(trial), judge)
    assert len(seen) <= 1 + 2


def test_an_undecided_history_makes_the_whole_inconclusive(trial: Trial) -> None:
    findings = iter([HELD, Finding(Verdict.INCONCLUSIVE, "search", "out of budget")])
    with pytest.raises(Inconclusive, match="out of budget"):
        trial.explore(lengths(trial), lambda history: next(findings, HELD), trials=4)


def test_too_little_is_inconclusive(trial: Trial) -> None:
    with pytest.raises(Inconclusive, match="at least 1000 are needed"):
        trial.explore(lengths(trial), lambda h: HELD, least=[Least("calls", 1000, len)], trials=2)


def test_misconduct_is_falsified_before_any_judge(trial: Trial) -> None:
    stuck = Plan(
        {0: 0, 1: 1},
        [Phase({0: [Step("acquire", LOCK)]}), Phase({1: [Step("acquire", LOCK)]})],
        patience=0.3,
    )
    with pytest.raises(Falsified, match="a call that never returned"):
        trial.explore(st.just(stuck), lambda history: HELD, trials=1)


def test_a_stop_that_fails_is_told_in_one_line_before_where(crew: Crew, tmp_path: Path) -> None:
    trial = make_trial(crew, tmp_path, implementation="tests.broken_at_stop:coordinator")
    with pytest.raises(Falsified) as falsified:
        trial.steer(Plan({0: 0}, []), lambda session: None)
    first, *rest = str(falsified.value).splitlines()
    assert first.endswith("a coordinator could not be stopped: RuntimeError: not today")
    assert any('raise RuntimeError("not today")' in line for line in rest)


def test_a_missing_feature_is_not_exercised(trial: Trial) -> None:
    trial.needs(Feature.LOCKS)
    zake = describe("reference", "zake://x")
    lacking = Place("zake", "zake://x", "threads", zake)
    assert not lacking.claims(Characteristics.DISTRIBUTED_ACROSS_PROCESSES)
    trial.place = Place("file", "", "threads", describe("tests.featureless:coordinator", "x://"))
    with pytest.raises(NotExercised, match="LOCKS"):
        trial.needs(Feature.LOCKS)


def test_steps_of_missing_features_are_left_out(trial: Trial) -> None:
    lacks = describe("tests.featureless:coordinator", "x://").lacks
    assert {"campaign", "watch", "update_capabilities", "break_"} <= lacks
    assert lacks.isdisjoint({"join_group", "get_members", "start"})
    trial.place = msgspec.structs.replace(
        trial.place, driver=msgspec.structs.replace(trial.place.driver, lacks=lacks)
    )
    steps = [Step("campaign", b"group"), Step("acquire", LOCK), Step("release", LOCK)]
    history = trial.run(Plan({0: 0}, [Phase({0: steps})]))
    assert [operation.name for operation in history.operations] == ["acquire", "release"]


def test_a_claim_counts_only_where_its_level_is_claimed(trial: Trial) -> None:
    zake = describe("reference", "zake://x")
    threads, processes = (Place("zake", "zake://x", at, zake) for at in ("threads", "processes"))
    assert threads.claims(Characteristics.LINEARIZABLE)
    assert not processes.claims(Characteristics.LINEARIZABLE)
    assert not processes.claims(None)


def test_one_history_that_cannot_be_judged_is_inconclusive(trial: Trial) -> None:
    plan = Plan({0: 0}, [Phase({0: [Step("acquired", LOCK)]})])
    history = trial.run(plan)
    trial.conclude(history, lambda history: HELD, plan)
    doubt = Finding(Verdict.INCONCLUSIVE, "a rule", "not decided")
    with pytest.raises(Inconclusive, match="not decided"):
        trial.conclude(history, lambda history: doubt, plan)
    with pytest.raises(Falsified, match="a reason"):
        trial.conclude(history, lambda history: FALSE, plan)


def test_a_call_that_timed_out_as_it_was_told_to_leaves_a_held_history_open(trial: Trial) -> None:
    plan = Plan({0: 0}, [], options={"timeout": 0.5})
    late = History.of([timed("acquire", 1, error="OperationTimedOut", took=0.6)])
    assert trial.judge(late, lambda history: HELD, plan).verdict is Verdict.INCONCLUSIVE
    with pytest.raises(Falsified, match="a reason"):
        trial.judge(late, lambda history: FALSE, plan)
