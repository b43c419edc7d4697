"""The ``conformance`` command, as it is typed."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.testing import CliRunner, Result

from conformance import cli
from conformance.backends import Backend, Server
from conformance.errors import ToozError
from tests import sample_runs as sample


def run(*arguments: str | Path) -> Result:
    return CliRunner().invoke(cli.main, [str(argument) for argument in arguments])


def refused(result: Result, *said: str) -> None:
    """Check that a command was refused with one clear line."""
    assert result.exit_code == 2
    assert result.stdout == ""
    assert result.stderr.startswith("Error: ")
    assert result.stderr.count("\n") == 1
    for words in said:
        assert words in result.stderr


def test_report_writes_a_report_and_says_where(tmp_path: Path) -> None:
    sample.save_sample(tmp_path / "results")
    output = tmp_path / "out" / "reports"
    result = run("report", tmp_path / "results", "--output", output)
    assert result.exit_code == 0
    assert result.stdout == (
        f"{output / 'index.html'}: 3 drivers from 1 run, 3 violations kept as evidence\n"
    )
    assert (output / "index.html").exists()


def test_report_merges_several_directories(tmp_path: Path) -> None:
    sample.save_sample(tmp_path / "a")
    later = sample.run(id="later", started="2026-12-01T00:00:00Z", scenarios=[])
    sample.save_sample(tmp_path / "b", later)
    result = run("report", tmp_path / "a", tmp_path / "b", "--output", tmp_path / "reports")
    assert "from 2 runs" in result.stdout


def test_report_leaves_out_a_run_that_cannot_be_read_and_names_it(tmp_path: Path) -> None:
    sample.save_sample(tmp_path / "results")
    (tmp_path / "results" / "damaged").mkdir()
    (tmp_path / "results" / "damaged" / "result.json").write_bytes(b"{")
    result = run("report", tmp_path / "results", "--output", tmp_path / "reports")
    assert result.exit_code == 1
    assert "3 drivers from 1 run" in result.stdout
    (line,) = result.stderr.splitlines()
    assert line.startswith("left out: ")
    assert "damaged/result.json is not the result of a run" in line
    assert (tmp_path / "reports" / "index.html").exists()


def test_report_of_a_missing_directory_is_refused(tmp_path: Path) -> None:
    result = run("report", tmp_path / "gone", "--output", tmp_path / "reports")
    refused(result, "gone is not a directory", "--results=DIR")
    assert not (tmp_path / "reports").exists()


def test_report_of_a_directory_without_results_is_refused(tmp_path: Path) -> None:
    result = run("report", tmp_path, "--output", tmp_path / "reports")
    refused(result, "no result.json in", "pytest --backend=NAME --results=")


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"{", "is not the result of a run"),
        (b"\xff\xfe", "is not the result of a run"),
        (b'{"id": "x"}', "is not the result of a run"),
        (b'{"schema": 999, "everything": "else"}', "has schema 999; this version reads"),
    ],
)
def test_report_of_a_file_it_cannot_read_is_refused(
    tmp_path: Path, content: bytes, said: str
) -> None:
    (tmp_path / "result.json").write_bytes(content)
    result = run("report", tmp_path, "--output", tmp_path / "reports")
    refused(result, said, "run the suite again")
    assert not (tmp_path / "reports").exists()


def test_report_that_cannot_be_written_is_refused(tmp_path: Path) -> None:
    sample.save_sample(tmp_path / "results")
    (tmp_path / "file").write_text("in the way", encoding="utf-8")
    result = run("report", tmp_path / "results", "--output", tmp_path / "file" / "reports")
    refused(result, "cannot write the report")


def test_show_tells_what_happened(tmp_path: Path) -> None:
    place = sample.save_sample(tmp_path)
    result = run("show", place / "evidence" / "ipc-paused.msgpack")
    assert result.exit_code == 0
    assert "✗ falsified · mutual exclusion" in result.stdout
    assert "Run it again" in result.stdout
    assert "\x1b" not in result.stdout


def test_show_of_a_missing_file_is_refused(tmp_path: Path) -> None:
    refused(run("show", tmp_path / "gone"), "cannot read evidence", "No such file")


def test_show_of_something_else_is_refused(tmp_path: Path) -> None:
    place = sample.save_sample(tmp_path)
    result = run("show", place / "result.json")
    refused(result, "is not the evidence of a violation; give", "evidence/*.msgpack")
    assert "Expected" not in result.stderr


def backend(name: str, obstacle: str | None) -> Backend:
    return Backend(
        name=name,
        summary=f"the backend {name}",
        embedded=True,
        obstacle=lambda: obstacle,
        start=lambda directory, run_id: Server(url=f"{name}://"),
        stop=lambda directory, run_id: None,
        sweep=lambda run_id: None,
        private=lambda url, part: url,
    )


def test_backends_says_what_can_run_and_what_keeps_one_from_it(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    def driver_class(scheme: str) -> type:
        raise ToozError(f"the driver for {scheme}:// cannot be loaded: install it")

    gone = {name: backend(name, "no server found") for name in ("away", "far", "far:out")}
    monkeypatch.setattr(cli, "known_backends", lambda: {"here": backend("here", None), **gone})
    monkeypatch.setattr(cli, "driver_class", driver_class)
    result = run("backends")
    assert result.exit_code == 0
    lines = [line.split(maxsplit=1) for line in result.stdout.splitlines()]
    assert ["here", "the backend here; can run here"] in lines
    assert ["away", "the backend away; cannot run here"] in lines
    assert "What keeps away, far, far:out from it: no server found" in result.stdout
    assert ["file", "the driver for file:// cannot be loaded: install it"] in lines
    missing = run("backends", "--missing").stdout
    assert missing.startswith("not run on away, far: ")
    assert missing.endswith(" scenarios each; no server found\n")


def test_backends_lists_what_the_file_driver_claims() -> None:
    result = run("backends")
    assert result.exit_code == 0
    (line,) = [line for line in result.stdout.splitlines() if "FileDriver" in line]
    assert "LINEARIZABLE" in line


def test_the_version_is_that_of_the_distribution() -> None:
    assert run("--version").stdout.startswith("conformance, version ")
