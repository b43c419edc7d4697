"""The matrix: claims against verdicts, and which run decides."""

from __future__ import annotations

from typing import Any

import msgspec
import pytest

from conformance.reporting.matrix import behaviours, cell, columns
from conformance.reporting.reading import Source
from conformance.reporting.report import assemble
from conformance.results import Run, ScenarioResult
from conformance.verdict import Verdict
from tests import sample_runs as sample


def test_a_claimed_cell_is_decided_by_the_levels_at_which_it_is_claimed() -> None:
    results = [
        sample.result("zake", "LINEARIZABLE"),
        sample.result("zake", "LINEARIZABLE", Verdict.FALSIFIED, level="processes", claimed=False),
    ]
    found = cell("LINEARIZABLE", sample.subject("zake"), results)
    assert (found.claimed, found.verdict) == (True, Verdict.HELD)
    assert found.trials == results[0].trials
    assert found.levels_beyond["processes"].verdict is Verdict.FALSIFIED


def test_a_cell_that_is_not_claimed_is_decided_by_all_levels() -> None:
    results = [
        sample.result("ipc", "CAUSAL", claimed=False),
        sample.result("ipc", "CAUSAL", Verdict.FALSIFIED, level="processes", claimed=False),
    ]
    found = cell("CAUSAL", sample.subject("ipc"), results)
    assert (found.claimed, found.verdict) == (False, Verdict.FALSIFIED)
    assert found.operations == sum(result.operations for result in results)


def test_a_cell_takes_the_worst_verdict_and_its_reason() -> None:
    results = [
        sample.result("file", "CAUSAL"),
        sample.result("file", "CAUSAL", Verdict.INCONCLUSIVE, reason="too few overlaps"),
        sample.result("file", "CAUSAL", Verdict.NOT_EXERCISED, reason="no cluster"),
    ]
    found = cell("CAUSAL", sample.subject("file"), results)
    assert (found.verdict, found.reason) == (Verdict.INCONCLUSIVE, "too few overlaps")


def test_a_claim_that_nothing_tested_is_not_exercised_and_says_so() -> None:
    found = cell("CAUSAL", sample.subject("file"), [])
    assert (found.claimed, found.verdict) == (True, Verdict.NOT_EXERCISED)
    assert "no test" in found.reason


@pytest.mark.parametrize("about", ["links", "restarts"])
def test_what_takes_a_server_is_not_owed_without_one(about: str) -> None:
    file, server = (
        sample.subject("file"),
        msgspec.structs.replace(sample.subject("file"), backend="redis", server="8.0"),
    )
    assert cell(about, file, []).claimed is False
    assert "no server" in cell(about, file, []).reason
    assert cell(about, server, []).claimed is True
    assert cell("hygiene", file, []).claimed is True


def test_a_claim_tested_only_where_it_is_not_claimed_is_not_exercised() -> None:
    result = sample.result("file", "CAUSAL", claimed=False)
    assert cell("CAUSAL", sample.subject("file"), [result]).verdict is Verdict.NOT_EXERCISED


def test_what_results_are_about_besides_characteristics_are_behaviours() -> None:
    results = [sample.result("file", about) for about in ("watches", "CAUSAL", "contract")]
    assert behaviours(results) == ["contract", "watches"]


def run_of_file(name: str, *results: ScenarioResult, **changes: object) -> Run:
    """Return a run of file with these results."""
    subjects = [sample.subject("file", **changes)]
    return sample.run(id=name, subjects=subjects, scenarios=list(results), benchmarks=[])


def falsified(about: str, **changes: Any) -> ScenarioResult:
    return sample.result("file", about, Verdict.FALSIFIED, **changes)


def test_a_later_run_of_one_test_replaces_that_test_alone() -> None:
    first = sample.run(id="one", started="2026-11-24T01:00:00Z")
    second = run_of_file("two", sample.result("file", "CAUSAL", reason="again"))
    by_backend = {column.subject.backend: column for column in columns([first, second])}
    assert {name: [run.id for run in c.runs] for name, c in by_backend.items()} == {
        "file": ["one", "two"],
        "ipc": ["one"],
        "zake": ["one"],
    }
    column = by_backend["file"]
    assert len(column.results) == sum(r.backend == "file" for r in first.scenarios)
    (again,) = [one for one in column.decided if one.run is second]
    assert (again.result.about, again.result.reason) == ("CAUSAL", "again")


@pytest.mark.parametrize("expected", ["", "upstream's bug"])
def test_a_violation_counts_whatever_later_runs_saw(expected: str) -> None:
    runs = [
        run_of_file("one", falsified("CAUSAL", expected=expected)),
        run_of_file("two", sample.result("file", "CAUSAL")),
        run_of_file("three", sample.result("file", "CAUSAL"), sample.result("file", "contract")),
    ]
    (column,) = columns(runs)
    (violation,) = column.behind("CAUSAL")
    assert column.cell("CAUSAL").verdict is Verdict.FALSIFIED
    assert violation.run is runs[0]
    assert violation.later == (Verdict.HELD, Verdict.HELD)
    assert [run.id for run in column.runs] == ["one", "three"]


def test_of_several_violations_the_last_counts() -> None:
    runs = [run_of_file(name, falsified("CAUSAL", reason=name)) for name in ("one", "two")]
    (column,) = columns(runs)
    (violation,) = column.decided
    assert (violation.result.reason, violation.later) == ("two", ())


def test_without_a_violation_the_last_result_counts() -> None:
    inconclusive = sample.result("file", "CAUSAL", Verdict.INCONCLUSIVE, reason="too little")
    (column,) = columns([
        run_of_file("one", inconclusive), run_of_file("two", sample.result("file", "CAUSAL")),
    ])  # fmt: skip
    assert column.cell("CAUSAL").verdict is Verdict.HELD


@pytest.mark.parametrize("changes", [{"implementation_version": "2"}, {"server": "2"}])
def test_a_violation_of_another_version_does_not_count(changes: dict[str, str]) -> None:
    runs = [
        run_of_file("one", falsified("CAUSAL"), falsified("contract")),
        run_of_file("two", sample.result("file", "CAUSAL"), **changes),
    ]
    (column,) = columns(runs)
    assert [run.id for run in column.runs] == ["two"]
    assert [result.verdict for result in column.results] == [Verdict.HELD]


def test_a_violation_of_a_claim_that_was_withdrawn_is_not_of_a_claim() -> None:
    runs = [
        run_of_file("one", falsified("CAUSAL")),
        run_of_file("two", sample.result("file", "CAUSAL", claimed=False), claims=[]),
    ]
    (column,) = columns(runs)
    found = column.cell("CAUSAL")
    assert (found.claimed, found.verdict) == (False, Verdict.FALSIFIED)


def test_what_a_run_that_ended_early_did_not_reach_says_so() -> None:
    result = sample.result("file", "CAUSAL")
    cut_off = msgspec.structs.replace(run_of_file("one", result), ended_early="interrupted")
    (column,) = columns([cut_off])
    assert column.cell("LINEARIZABLE").reason == "the run ended before any test of it"
    (column,) = columns([run_of_file("zero", result), cut_off])
    assert column.cell("LINEARIZABLE").reason == "no test of it was part of the run"


def test_a_later_run_without_verdicts_replaces_none() -> None:
    first = sample.run(id="one", benchmarks=[])
    second = sample.run(id="two", started="2026-11-25T00:00:00Z", scenarios=[])
    report = assemble([Source(run, sample.EVIDENCE) for run in (first, second)])
    assert {run.id for column in report.columns for run in column.runs} == {"one"}
    assert {measured.run.id for measured in report.benchmarks} == {"two"}


def test_implementations_and_variants_have_columns_of_their_own() -> None:
    runs = []
    for name, changes in (
        ("one", {}),
        ("two", {"implementation": "tooz"}),
        ("three", {"variant": "other"}),
    ):
        scenarios = [sample.result("file", "CAUSAL")]
        subjects = [sample.subject("file", **changes)]
        runs.append(sample.run(id=name, subjects=subjects, scenarios=scenarios))
    assert [run.id for column in columns(runs) for run in column.runs] == ["one", "three", "two"]
