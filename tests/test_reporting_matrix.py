"""The matrix: claims against verdicts, and which run decides."""

from __future__ import annotations

from conformance.reporting.matrix import behaviours, cell, columns
from conformance.reporting.reading import Source
from conformance.reporting.report import assemble
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


def test_a_claim_tested_only_where_it_is_not_claimed_is_not_exercised() -> None:
    result = sample.result("file", "CAUSAL", claimed=False)
    assert cell("CAUSAL", sample.subject("file"), [result]).verdict is Verdict.NOT_EXERCISED


def test_what_results_are_about_besides_characteristics_are_behaviours() -> None:
    results = [sample.result("file", about) for about in ("watches", "CAUSAL", "contract")]
    assert behaviours(results) == ["contract", "watches"]


def test_the_latest_run_of_a_driver_on_a_backend_decides_its_whole_column() -> None:
    first = sample.run(id="one", started="2026-11-24T01:00:00Z")
    second = sample.run(
        id="two",
        started="2026-11-24T02:00:00Z",
        subjects=[sample.subject("file")],
        scenarios=[sample.result("file", "CAUSAL")],
        benchmarks=[],
    )
    by_backend = {column.subject.backend: column for column in columns([first, second])}
    assert {name: c.run.id for name, c in by_backend.items()} == {
        "file": "two",
        "ipc": "one",
        "zake": "one",
    }
    assert len(by_backend["file"].results) == 1


def test_a_later_run_without_verdicts_replaces_none() -> None:
    first = sample.run(id="one", benchmarks=[])
    second = sample.run(id="two", started="2026-11-25T00:00:00Z", scenarios=[])
    report = assemble([Source(run, sample.EVIDENCE) for run in (first, second)])
    assert {column.run.id for column in report.columns} == {"one"}
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
    assert [column.run.id for column in columns(runs)] == ["one", "three", "two"]
