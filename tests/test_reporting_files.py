"""Reading results and writing reports."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from conformance.reporting.publish import publish, write
from conformance.reporting.reading import Unreadable, read_sources
from conformance.results import save_run
from tests import sample_runs as sample


def test_runs_are_found_in_their_own_directory_and_one_level_below(tmp_path: Path) -> None:
    place = sample.save_sample(tmp_path)
    assert [s.run.id for s in read_sources([tmp_path])[0]] == [place.name]
    assert [s.run.id for s in read_sources([place, tmp_path])[0]] == [place.name]


def test_runs_are_read_in_the_order_they_were_started(tmp_path: Path) -> None:
    for name, started in (("a", "2026-11-24T02:00:00Z"), ("b", "2026-11-24T01:00:00Z")):
        (tmp_path / name).mkdir()
        save_run(sample.run(id=name, started=started, scenarios=[]), tmp_path / name)
    assert [source.run.id for source in read_sources([tmp_path])[0]] == ["b", "a"]


def test_a_copy_of_a_run_counts_once(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        save_run(sample.run(scenarios=[]), tmp_path / name)
    assert len(read_sources([tmp_path])[0]) == 1


def broken(tmp_path: Path, **changes: Any) -> Path:
    save_run(sample.run(**({"scenarios": [], "benchmarks": []} | changes)), tmp_path)
    return tmp_path


def test_two_runs_of_one_id_are_refused(tmp_path: Path) -> None:
    for name in ("a", "b"):
        (tmp_path / name).mkdir()
        broken(tmp_path / name, command=name)
    with pytest.raises(Unreadable, match="has the id of another run"):
        read_sources([tmp_path])


def test_evidence_outside_the_run_is_refused(tmp_path: Path) -> None:
    result = sample.result("file", "CAUSAL", evidence=["../../secret"])
    with pytest.raises(Unreadable, match="evidence outside its directory"):
        read_sources([broken(tmp_path, scenarios=[result])])


def test_missing_evidence_is_refused(tmp_path: Path) -> None:
    result = sample.result("file", "CAUSAL", evidence=["evidence/gone.msgpack"])
    with pytest.raises(Unreadable, match=r"gone\.msgpack: No such file"):
        read_sources([broken(tmp_path, scenarios=[result])])


def test_a_run_that_has_a_backend_twice_is_refused(tmp_path: Path) -> None:
    subjects = [sample.subject("file"), sample.subject("file")]
    with pytest.raises(Unreadable, match="names file twice"):
        read_sources([broken(tmp_path, subjects=subjects)])


def test_results_of_what_was_not_under_test_are_refused(tmp_path: Path) -> None:
    result = sample.result("other", "CAUSAL")
    with pytest.raises(Unreadable, match="results of other"):
        read_sources([broken(tmp_path, scenarios=[result])])


def test_a_report_replaces_an_earlier_one_and_leaves_other_files(tmp_path: Path) -> None:
    output = tmp_path / "reports"
    write({"index.html": "old", "evidence/old.html": "old"}, output)
    (output / "picture.png").write_bytes(b"kept")
    report, _ = publish([sample.save_sample(tmp_path / "results")], output)
    pages = {f"{exhibit.slug}.html" for exhibit in report.exhibits.values()}
    assert {page.name for page in (output / "evidence").iterdir()} == pages
    assert sorted(path.name for path in output.iterdir()) == [
        "README.md",
        "data.json",
        "evidence",
        "index.html",
        "picture.png",
    ]
    assert (output / "index.html").read_text(encoding="utf-8").startswith("<!DOCTYPE html>")


def test_published_twice_a_report_is_the_same_bytes(tmp_path: Path) -> None:
    place = sample.save_sample(tmp_path / "results")
    written = []
    for name in ("one", "two"):
        publish([place], tmp_path / name)
        paths = sorted(path for path in (tmp_path / name).rglob("*") if path.is_file())
        written.append([(p.relative_to(tmp_path / name), p.read_bytes()) for p in paths])
    assert written[0] == written[1]


def test_a_failing_write_leaves_the_earlier_report(tmp_path: Path) -> None:
    write({"index.html": "old"}, tmp_path)
    with pytest.raises(FileNotFoundError):
        write({"index.html": "new", "nowhere/page.html": "new"}, tmp_path)
    assert [path.name for path in tmp_path.iterdir()] == ["index.html"]
    assert (tmp_path / "index.html").read_text(encoding="utf-8") == "old"
