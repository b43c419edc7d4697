"""Runs and evidence as text for the terminal."""

from __future__ import annotations

import pytest
from rich.cells import cell_len

from conformance.reporting.terminal import account, benchmark_table, undecided, verdict_table
from conformance.verdict import Verdict
from tests import sample_runs as sample


@pytest.mark.parametrize("width", [80, 120])
def test_the_tables_fit_the_terminal(width: int) -> None:
    run = sample.run()
    for text in (
        verdict_table(run.subjects, run.scenarios, width),
        benchmark_table(run.benchmarks, width),
        benchmark_table(sample.side_by_side().benchmarks, width),
        account(sample.stale_read(), width),
    ):
        assert max(cell_len(line) for line in text.splitlines()) <= width


def test_the_verdict_table_has_a_line_for_each_row_of_each_backend() -> None:
    run = sample.run()
    lines = verdict_table(run.subjects, run.scenarios, 80).splitlines()
    found = [line.split() for line in lines if line.startswith("NON_TIMEOUT_BASED")]
    assert found == [
        ["NON_TIMEOUT_BASED", "yes", "!", "error", "113", "14,105", "5.9", "s"],
        ["NON_TIMEOUT_BASED", "yes", "✗", "falsified", "65", "10,364", "1.9", "s"],
        ["NON_TIMEOUT_BASED", "no", "✓", "held", "113", "8,829", "2.1", "s"],
    ]
    assert sum(line.startswith("contract ") for line in lines) == 3


def test_the_verdict_table_shows_levels_beyond_a_claim_apart() -> None:
    run = sample.run()
    lines = verdict_table(run.subjects, run.scenarios, 80).splitlines()
    at = max(n for n, line in enumerate(lines) if line.startswith("LINEARIZABLE"))
    assert lines[at].split()[:4] == ["LINEARIZABLE", "yes", "✓", "held"]
    assert lines[at + 1].split()[:5] == ["at", "processes", "no", "✗", "falsified"]


def test_a_partial_run_has_rows_only_for_what_it_ran() -> None:
    run = sample.run()
    some = [result for result in run.scenarios if result.about in ("CAUSAL", "contract")]
    lines = verdict_table(run.subjects, some, 80, partial=True).splitlines()
    names = {line.split()[0] for line in lines if line and line[0].isalpha()}
    assert names == {"file", "ipc", "zake", "CAUSAL", "contract"}
    whole = verdict_table(run.subjects, some, 80)
    assert "DISTRIBUTED_ACROSS_HOSTS" in whole


def test_there_is_colour_only_where_it_is_asked_for(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("FORCE_COLOR", "1")
    run = sample.run()
    assert "\x1b[" not in verdict_table(run.subjects, run.scenarios, 80)
    assert "\x1b[32m" in verdict_table(run.subjects, run.scenarios, 80, colour=True)


def test_nothing_measured_is_no_table() -> None:
    assert benchmark_table([], 80) == ""


def test_a_contended_lock_says_how_often_it_is_handed_over() -> None:
    text = benchmark_table([sample.contended("file", "threads", 4, 61_000.0)], 80)
    rows = [line.split() for line in text.splitlines()]
    (head,) = [row for row in rows if row[:1] == ["backend"]]
    assert head[-2:] == ["handed", "Jain"]
    assert rows[-1][-3:] == ["70", "%", "0.900"]


def test_what_is_inconclusive_is_named_with_its_reason() -> None:
    results = [
        sample.result("file", "CAUSAL", Verdict.INCONCLUSIVE, reason="too\nlittle", test="a"),
        sample.result("file", "CAUSAL", Verdict.INCONCLUSIVE, claimed=False, reason="b", test="b"),
        sample.result("file", "CAUSAL", Verdict.INCONCLUSIVE, expected="it is known", test="c"),
        sample.result("file", "CAUSAL", test="d"),
    ]
    assert undecided(results).splitlines() == [
        "INCONCLUSIVE a - claimed: too\\nlittle",
        "INCONCLUSIVE b - not claimed: b",
    ]


def test_implementations_stand_side_by_side_each_with_its_own_row() -> None:
    text = benchmark_table(sample.side_by_side().benchmarks, 100)
    rows = [line.split() for line in text.splitlines()]
    assert ["get_members", "file", "reference", "42.7", "µs", "128", "µs", "–", "–"] in rows
    assert ["get_members", "file", "tooz", "42.7", "µs", "128", "µs", "–", "4.32", "×"] in rows
    assert ["get_members", "zake", "tooz", "INVALID"] in rows
    assert any(row[:4] == ["file", "tooz", "4", "threads"] and "4.32" in row for row in rows)
    assert "INVALID: zake tooz, threads, 1 client, get_members: tooz has no driver of it" in text


def test_an_account_tells_finding_witness_timeline_faults_and_command() -> None:
    evidence = sample.paused_holder()
    text = account(evidence, 120)
    assert "✗ falsified · mutual exclusion: client 1 acquired ledger" in text
    rows = [line.split() for line in text.splitlines()]
    assert ["2", "3.100", "1,002.800", "1", "acquire(ledger,", "blocking=4.0)", "True"] in rows
    assert ["pause", "client", "0", "20.000", "3,022.000"] in rows
    assert evidence.command in text.replace("\n", " ")
