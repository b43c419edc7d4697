"""The plugin: options, test ids, verdicts as outcomes, exit status, results."""

from __future__ import annotations

import contextlib
import os
import re
import shlex
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar
from xml.etree import ElementTree

import pytest

from conformance.gate import exit_status
from conformance.results import Run, ScenarioResult, load_evidence, load_run
from conformance.verdict import Verdict
from tests.conftest import Pytest

T = TypeVar("T")

_SERVERLESS = "--implementation=serverless:make_coordinator"

SCENARIOS = '''
import pytest
from conformance.characteristics import Characteristics as C
from conformance.history import History
from conformance.trial import Inconclusive, NotExercised, Trial
from conformance.verdict import Finding, Verdict
from conformance.workload.plan import Phase, Plan, Step

PLAN = Plan({0: 0}, [Phase({0: [Step("acquire", b"a"), Step("release", b"a")]})])

@pytest.mark.scenario("level")
def test_holds(trial):
    """It holds."""
    trial.run(PLAN)

@pytest.mark.scenario(C.CAUSAL, levels=("threads",))
def test_false(trial):
    """It is false."""
    history = trial.run(PLAN)
    trial.falsify(Finding(Verdict.FALSIFIED, "a rule", "a reason"), history, PLAN)

@pytest.mark.scenario(C.SAME_VIEW_ACROSS_CLIENTS, levels=("threads",))
def test_false_and_not_claimed(trial):
    history = trial.run(PLAN)
    trial.falsify(Finding(Verdict.FALSIFIED, "a rule", "a reason"), history, PLAN)

@pytest.mark.scenario(C.SEQUENTIAL, levels=("threads",))
def test_undecided(trial):
    raise Inconclusive("too little happened")

@pytest.mark.scenario(C.LINEARIZABLE, levels=("threads",))
def test_nothing_to_run(trial):
    raise NotExercised("nothing to run")

@pytest.mark.scenario("contract", levels=("threads",))
def test_broken(trial):
    raise RuntimeError("the harness is broken")
'''


@pytest.fixture
def scenarios(tmp_path: Path) -> Path:
    """Write a file with one scenario for each way to end."""
    path = tmp_path / "test_ends.py"
    path.write_text(SCENARIOS)
    return path


def result(directory: Path) -> Run:
    (path,) = directory.glob("results/*/result.json")
    return load_run(path)


def verdicts(run: Run) -> dict[str, Verdict]:
    return {r.test.partition("::")[2]: r.verdict for r in run.scenarios}


def test_an_unknown_backend_is_refused_with_those_that_are_known(run_pytest: Pytest) -> None:
    run = run_pytest("--backend=oracle")
    assert run.returncode == pytest.ExitCode.USAGE_ERROR
    assert "no backend 'oracle'" in run.stdout
    for line in ("file ", "ipc ", "zake ", "can run here"):
        assert line in run.stdout


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["--backend=file", "--profile=fast"], "--profile takes smoke, gate, nightly"),
        (["--backend=file", "--level=fibres"], "--level takes threads, processes"),
        (["--backend=file", "--level=hosts"], "which is not available yet"),
        (["--backend=file,ipc", "--backend-url=file:///tmp/x"], "goes with one --backend"),
        (["--backend-url=file:///tmp/x"], "needs --backend=NAME"),
        (["--backend=file", "--implementation=nobody"], "no implementation 'nobody'"),
        (["--backend=file", "--implementation=os:nothing"], "cannot be imported"),
        (["--backend=mine", "--backend-url=nothing://x"], "no driver for URLs"),
        (["--backend=file", "--backend-url=zake://"], "begins with file://, not zake://"),
        (
            ["--backend=redis:valkey", "--backend-url=memcached://h"],
            "begins with redis://, not memcached://",
        ),
        (
            ["--backend=zookeeper", "--backend-url=zake://h", "--implementation=tooz"],
            "begins with kazoo:// or zookeeper://, not zake://",
        ),
        (["--backend=redis", "--backend-url=h:1"], "redis://, and this one with no scheme"),
        (["--backend=file", "--image=file=foo"], "(it starts none), not 'file=foo'"),
        (
            ["--backend=redis", "--backend-url=redis://h", "--image=redis=foo"],
            "(it starts none), not 'redis=foo'",
        ),
        (["--backend=file", "--results=/proc/foo"], "--results=/proc/foo: nothing can be written"),
        (["--backend=file", "--results=/dev/null"], "(it is no directory)"),
        (["--backend=file", "--implementation=tests.mistaken:nothing"], "factory returned None"),
        (["--backend=file", "--implementation=tests.mistaken:words"], "FEATURES of"),
        (["--backend=file", "--implementation=tests.mistaken:bare_locks"], "lacks acquired"),
        (["--backend=file", "--implementation=tests.mistaken:stuck"], "can be started and stopped"),
        (["--beside=tooz"], "--beside needs --backend=NAME"),
        (["--backend=file", "--beside=tooz"], "--beside needs --benchmark-only"),
        (["--backend=file", "--benchmark-only", "--beside=nobody"], "no implementation 'nobody'"),
        (["--backend=file", "--benchmark-only", "--beside=os:nothing"], "cannot be imported"),
        (["--backend=file", "--benchmark-only", "--beside=reference"], "leave 'reference' out"),
        (["--backend=file", "--benchmark-only", "--beside=tooz,tooz"], "leave 'tooz' out"),
    ],
)
def test_a_bad_setting_is_refused_with_what_to_give(
    run_pytest: Pytest, arguments: list[str], said: str
) -> None:
    run = run_pytest(*arguments)
    assert run.returncode == pytest.ExitCode.USAGE_ERROR
    assert said in run.stdout
    assert "Traceback" not in run.stdout


@pytest.mark.parametrize(
    ("backend", "url", "implementation"),
    [
        ("zookeeper:3.8", "kazoo://127.0.0.1:1", _SERVERLESS),
        ("etcd", "ETCD3+HTTP://127.0.0.1:1", _SERVERLESS),
        ("nobodys", "file://{directory}", _SERVERLESS),
        ("file", "file://{directory}", "--implementation=tooz"),
    ],
)
def test_every_scheme_of_a_backend_is_taken(
    run_pytest: Pytest, scenarios: Path, backend: str, url: str, implementation: str
) -> None:
    at = url.format(directory=scenarios.parent / "file")
    arguments = (f"--backend={backend}", f"--backend-url={at}", implementation)
    assert run_pytest(*arguments, "--collect-only", str(scenarios)).returncode == 0


def test_what_starts_no_server_keeps_none_and_leaves_nothing(
    run_pytest: Pytest, scenarios: Path
) -> None:
    before = set(Path("/dev/shm").iterdir())
    run = run_pytest("--backend=ipc", "--keep-backend", str(scenarios), "-k", "holds")
    *_, last = run.stdout.splitlines()
    assert last == "conformance: --keep-backend: no server was started, so none is kept"
    assert "docker" not in run.stdout
    assert not [path for path in set(Path("/dev/shm").iterdir()) - before if _is_of(path, run)]


def _is_of(path: Path, run: subprocess.CompletedProcess[str]) -> bool:
    (run_id,) = re.findall(r"conformance: run (\S+),", run.stdout)
    return run_id in path.name


def test_without_a_backend_scenarios_say_what_to_give(run_pytest: Pytest, scenarios: Path) -> None:
    run = run_pytest(str(scenarios))
    assert run.returncode != 0
    assert "give --backend=NAME" in run.stdout


def test_each_end_becomes_its_verdict(run_pytest: Pytest, scenarios: Path, tmp_path: Path) -> None:
    run = run_pytest("--backend=file", "--seed=7", str(scenarios), "-v")
    assert verdicts(result(tmp_path)) == {
        "test_holds[file-threads]": Verdict.HELD,
        "test_holds[file-processes]": Verdict.HELD,
        "test_false[file-threads]": Verdict.FALSIFIED,
        "test_false_and_not_claimed[file-threads]": Verdict.FALSIFIED,
        "test_undecided[file-threads]": Verdict.INCONCLUSIVE,
        "test_nothing_to_run[file-threads]": Verdict.NOT_EXERCISED,
        "test_broken[file-threads]": Verdict.ERROR,
    }
    for said in ("XFAIL", "FAILED", "INCONCLUSIVE", "NOT EXERCISED", "a rule: a reason"):
        assert said in run.stdout


def test_the_header_shows_the_settings(run_pytest: Pytest, scenarios: Path) -> None:
    run = run_pytest(
        "--backend=file",
        "--seed=7",
        "--profile=smoke",
        "--level=threads",
        "--strict-claims",
        str(scenarios),
    )
    for said in ("profile smoke", "seed 7", "levels threads", "strict claims", "file://"):
        assert said in run.stdout


def test_the_table_shows_every_characteristic(run_pytest: Pytest, scenarios: Path) -> None:
    run = run_pytest("--backend=file", f"{scenarios}::test_holds")
    for name in ("CAUSAL", "LINEARIZABLE", "SAME_VIEW_UNDER_PARTITIONS", "NON_TIMEOUT_BASED"):
        assert name in run.stdout


@pytest.mark.parametrize(
    ("selected", "status"),
    [
        ("holds", 0),
        ("false_and_not_claimed", 0),
        ("test_false and not claimed", 1),
        ("holds or undecided", 2),
        ("holds or nothing_to_run", 2),
        ("broken", 1),
    ],
)
def test_the_exit_status_says_whether_the_claims_held(
    run_pytest: Pytest, scenarios: Path, selected: str, status: int
) -> None:
    selection = selected.replace("test_false and not claimed", "test_false and not not_claimed")
    assert run_pytest("--backend=file", str(scenarios), "-k", selection).returncode == status


def test_strict_claims_want_every_claim_held(run_pytest: Pytest, scenarios: Path) -> None:
    run = run_pytest("--backend=file", str(scenarios), "-k", "holds", "--strict-claims")
    assert run.returncode == 1
    assert (
        "exit status 1: --strict-claims wants every claim held; not exercised on file: CAUSAL, "
        "LINEARIZABLE, NON_TIMEOUT_BASED, SEQUENTIAL, SERIALIZABLE\n" in run.stdout
    )


def test_an_exit_status_without_a_failed_test_is_accounted_for(
    run_pytest: Pytest, scenarios: Path
) -> None:
    open_ = "holds or undecided or nothing_to_run"
    run = run_pytest("--backend=file,ipc", str(scenarios), "-k", open_)
    *_, last = run.stdout.splitlines()
    assert last == (
        "conformance: exit status 2: not exercised on file: LINEARIZABLE; "
        "inconclusive on file: SEQUENTIAL; not exercised on ipc: LINEARIZABLE; "
        "inconclusive on ipc: SEQUENTIAL"
    )
    for others in ("holds", "broken"):
        assert (
            "exit status" not in run_pytest("--backend=file", str(scenarios), "-k", others).stdout
        )


def outcome(backend: str, about: str, verdict: Verdict, expected: str = "") -> ScenarioResult:
    return ScenarioResult(
        test="a",
        scenario="a",
        about=about,
        summary="",
        backend=backend,
        level="threads",
        claimed=True,
        verdict=verdict,
        reason="",
        trials=1,
        operations=1,
        seconds=1.0,
        seed=0,
        command="",
        expected=expected,
    )


HOSTS = "DISTRIBUTED_ACROSS_HOSTS"
ON_BOTH = {("a", "CAUSAL"), ("b", "CAUSAL")}


@pytest.mark.parametrize(
    ("on_b", "status", "strictly", "said"),
    [
        ([], 0, 1, "not exercised on b: CAUSAL"),
        ([outcome("b", "CAUSAL", Verdict.HELD)], 0, 0, ""),
        ([outcome("b", "CAUSAL", Verdict.NOT_EXERCISED)], 2, 1, "not exercised on b: CAUSAL"),
        ([outcome("b", "CAUSAL", Verdict.INCONCLUSIVE)], 2, 1, "inconclusive on b: CAUSAL"),
        ([outcome("b", "CAUSAL", Verdict.INCONCLUSIVE, "liveness: so")], 0, 0, ""),
        ([outcome("b", "CAUSAL", Verdict.ERROR)], 1, 1, "error on b: CAUSAL"),
    ],
)
def test_a_claim_that_holds_on_one_backend_holds_on_no_other(
    on_b: list[ScenarioResult], status: int, strictly: int, said: str
) -> None:
    found = [outcome("a", "CAUSAL", Verdict.HELD), *on_b]
    assert exit_status(found, ON_BOTH, strict=False) == (status, said if status else "")
    strict, why = exit_status(found, ON_BOTH, strict=True)
    assert strict == strictly
    assert why.endswith(said)


def test_a_claim_that_no_level_exercises_counts_for_strict_claims_alone() -> None:
    found, claims = [outcome("a", "CAUSAL", Verdict.HELD)], {("a", "CAUSAL"), ("a", HOSTS)}
    assert exit_status(found, claims, strict=False) == (0, "")
    assert exit_status(found, claims, strict=True) == (
        1,
        f"--strict-claims wants every claim held; not exercised on a: {HOSTS}",
    )


def test_evidence_is_kept_beside_the_result(
    run_pytest: Pytest, scenarios: Path, tmp_path: Path
) -> None:
    run_pytest("--backend=file", str(scenarios), "-k", "test_false and not not_claimed")
    found = result(tmp_path)
    (scenario,) = found.scenarios
    (path,) = scenario.evidence
    evidence = load_evidence(tmp_path / "results" / found.id / path)
    assert [operation.name for operation in evidence.history.operations] == ["acquire", "release"]
    assert evidence.finding.reason == "a reason"
    assert "--seed=0" in scenario.command


def test_what_means_nothing_at_a_level_is_deselected_not_skipped(
    run_pytest: Pytest, scenarios: Path
) -> None:
    run = run_pytest("--backend=file", "--level=processes", str(scenarios))
    assert "1 passed, 5 deselected" in run.stdout


def test_what_means_nothing_without_a_link_is_deselected(
    run_pytest: Pytest, tmp_path: Path
) -> None:
    test = tmp_path / "test_remote.py"
    test.write_text(
        """
import pytest

@pytest.mark.scenario("links", levels=("threads",), remote=True)
def test_remote(trial):
    assert trial.place.address == ("127.0.0.1", 1)
"""
    )
    assert "1 deselected" in run_pytest("--backend=file", str(test)).stdout
    away = ("--backend=zookeeper", "--backend-url=zookeeper://127.0.0.1:1/", _SERVERLESS)
    assert "1 passed" in run_pytest(*away, str(test)).stdout


def test_it_works_with_xdist(run_pytest: Pytest, scenarios: Path, tmp_path: Path) -> None:
    run = run_pytest("--backend=file", "-n", "2", str(scenarios))
    assert run.returncode == 1
    assert len(result(tmp_path).scenarios) == 7


@pytest.mark.parametrize("arguments", [(), ("-n", "2"), ("--results=my results",)])
def test_evidence_is_shown_by_the_command_that_is_printed(
    run_pytest: Pytest, scenarios: Path, tmp_path: Path, arguments: tuple[str, ...]
) -> None:
    run = run_pytest("--backend=file", str(scenarios), "-k", "test_false[", *arguments)
    (line,) = {line for line in run.stdout.splitlines() if line.startswith("evidence: ")}
    command = shlex.split(line.removeprefix("evidence: "))
    assert command[:2] == ["conformance", "show"]
    assert not Path(command[2]).is_absolute()
    assert load_evidence(tmp_path / command[2]).finding.reason == "a reason"


def test_what_is_inconclusive_is_named_at_the_end(run_pytest: Pytest, scenarios: Path) -> None:
    run = run_pytest("--backend=file", str(scenarios))
    said = "INCONCLUSIVE test_ends::test_undecided[file-threads] - claimed: too little happened"
    assert said in run.stdout.splitlines()


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        ((), ""),
        (("-x",), "stopping after 1 failures"),
        (("-x", "-n", "1"), "stopping after 1 failures"),
        (("-k", "ctrl or holds"), "interrupted"),
    ],
)
def test_a_run_that_ended_early_says_so(
    run_pytest: Pytest, scenarios: Path, tmp_path: Path, arguments: tuple[str, ...], said: str
) -> None:
    if "-k" in arguments:
        with scenarios.open("a") as file:
            file.write(_CTRL_C)
    run_pytest("--backend=file", str(scenarios), *arguments)
    assert result(tmp_path).ended_early == said


_CTRL_C = """
@pytest.mark.scenario("contract", levels=("threads",))
def test_ctrl_c(trial):
    raise KeyboardInterrupt
"""


def test_it_works_with_junit_and_exitfirst(
    run_pytest: Pytest, scenarios: Path, tmp_path: Path
) -> None:
    run_pytest("--backend=file", "-x", "--junitxml=junit.xml", str(scenarios))
    cases = ElementTree.parse(tmp_path / "junit.xml").findall(".//testcase")
    names = [case.get("name") for case in cases]
    assert names == [
        "test_holds[file-threads]",
        "test_holds[file-processes]",
        "test_false[file-threads]",
    ]


def test_last_failed_runs_what_was_falsified(tmp_path: Path, scenarios: Path) -> None:
    command = [sys.executable, "-m", "pytest", "--backend=file", str(scenarios)]
    subprocess.run(command, cwd=tmp_path, check=False, stdout=subprocess.DEVNULL)
    again = subprocess.run(
        [*command, "--lf", "--collect-only", "-q"],
        cwd=tmp_path,
        check=False,
        text=True,
        stdout=subprocess.PIPE,
    )
    assert "test_false[" in again.stdout
    assert "test_holds[" not in again.stdout


def _start(tmp_path: Path, arguments: Sequence[str]) -> subprocess.Popen[str]:
    return subprocess.Popen(
        [sys.executable, "-m", "pytest", "-p", "no:cacheprovider", "-v", *arguments],
        cwd=tmp_path,
        text=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        start_new_session=True,
        # What was started in the background has it ignored, and so have all its children.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )


def _workers(run: int) -> dict[int, Path]:
    """Return the processes of a run that have something open in its directory, and that.

    Not its first one, which has files of other runs open, too, while it sweeps after them.
    """
    base = Path(tempfile.gettempdir()) / f"coordination-conformance-{os.getuid()}"
    found = {}
    for process in (int(path.name) for path in Path("/proc").iterdir() if path.name.isdigit()):
        with contextlib.suppress(OSError):  # it ended in the meantime
            if process != run and os.getsid(process) == run:
                for link in Path(f"/proc/{process}/fd").iterdir():
                    if (opened := link.readlink()).is_relative_to(base):
                        found[process] = base / opened.relative_to(base).parts[0]
    return found


SLOW = """
import pytest
from conformance.workload.plan import Phase, Plan, Step

@pytest.mark.scenario("contract", levels=("processes",))
def test_slow(trial):
    idle = [Step("acquire", b"a", {"blocking": False}), Step("idle", b"", {"seconds": 60.0})]
    trial.run(Plan({0: 0, 1: 1}, [Phase({0: idle, 1: idle})]))
"""


@pytest.mark.parametrize("backend", ["file", "ipc"])
@pytest.mark.parametrize(
    ("ending", "status"),
    [(signal.SIGINT, pytest.ExitCode.INTERRUPTED), (signal.SIGKILL, -signal.SIGKILL)],
)
def test_a_run_that_is_ended_leaves_nothing(
    tmp_path: Path, run_pytest: Pytest, backend: str, ending: signal.Signals, status: int
) -> None:
    (tmp_path / "test_slow.py").write_text(SLOW)
    (tmp_path / "test_ends.py").write_text(SCENARIOS)
    run = _start(tmp_path, [f"--backend={backend}", "test_slow.py"])
    workers = _until(lambda: _workers(run.pid))
    (directory,) = set(workers.values())
    os.kill(run.pid, ending)
    run.communicate(timeout=60)
    assert run.returncode == status
    _until(lambda: not any(Path(f"/proc/{worker}").exists() for worker in workers))
    run_pytest(f"--backend={backend}", "test_ends.py", "-k", "holds")
    assert not directory.exists()
    assert not list(Path("/dev/shm").glob(f"*{directory.name}*"))


def _until(found: Callable[[], T], seconds: float = 60.0) -> T:
    """Return what is found as soon as it is true."""
    end = time.monotonic() + seconds
    while not (value := found()):
        assert time.monotonic() < end, "it did not come"
        time.sleep(0.02)
    return value


@pytest.mark.parametrize("gone", [True, False])
def test_no_password_of_a_url_is_shown_or_kept(
    run_pytest: Pytest, tmp_path: Path, gone: bool
) -> None:
    done = run_pytest(
        "--pyargs",
        "conformance.scenarios.test_locks",
        "--backend=redis",
        "--backend-url=redis://:a-secret@127.0.0.1:1",
        "-k",
        "exclusive and threads",
        "--showlocals",
        *([_SERVERLESS] if gone else []),
    )
    assert "ToozConnectionError" in done.stdout
    assert "redis://:***@127.0.0.1:1" in done.stdout
    kept = [path.read_bytes() for path in (tmp_path / "results").rglob("*") if path.is_file()]
    assert bool(kept) == gone
    assert not [content for content in (done.stdout.encode(), *kept) if b"a-secret" in content]


@pytest.mark.parametrize("listens", [True, False])
def test_a_server_that_does_not_answer_is_refused_at_once(
    run_pytest: Pytest, listens: bool
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = server.getsockname()[1]
        if not listens:
            server.close()
        done = run_pytest("--backend=etcd", f"--backend-url=etcd://127.0.0.1:{port}?timeout=2")
    assert done.returncode == pytest.ExitCode.USAGE_ERROR
    assert "no coordinator can be started at" in done.stdout
    assert "Traceback" not in done.stdout
