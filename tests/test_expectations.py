"""Expectations: what is known not to hold does not fail a run; what holds after all does."""

from __future__ import annotations

from pathlib import Path

import pytest

from conformance.expectations import BadExpectations, load_expectations
from conformance.results import load_run
from tests.conftest import Pytest

SCENARIOS = """
import pytest
from conformance.history import History
from conformance.trial import Inconclusive, NotExercised
from conformance.verdict import Finding, Verdict
from conformance.workload.plan import Phase, Plan, Step

PLAN = Plan({0: 0}, [Phase({0: [Step("acquire", b"a"), Step("release", b"a")]})])

@pytest.mark.scenario("level")
def test_holds(trial):
    trial.run(PLAN)

@pytest.mark.scenario("level")
def test_false_in_processes(trial):
    history = trial.run(PLAN)
    if trial.place.level == "processes":
        trial.falsify(Finding(Verdict.FALSIFIED, "a rule", "a reason"), history, PLAN)

@pytest.mark.scenario("contract", levels=("threads",))
def test_undecided(trial):
    raise Inconclusive("too little happened")

@pytest.mark.scenario("contract", levels=("threads",))
def test_broken(trial):
    raise RuntimeError("out of order")

@pytest.mark.scenario("contract", levels=("threads",))
def test_nothing_to_run(trial):
    raise NotExercised("nothing to run")
"""

BROKEN = ["test_false_in_processes[file-processes]", "test_undecided", "test_broken"]


@pytest.fixture
def run_with(run_pytest: Pytest, tmp_path: Path):  # type: ignore[no-untyped-def]
    """Run the scenarios with expectations for the named ones, on the backend ``file``."""
    scenarios = tmp_path / "test_some.py"
    scenarios.write_text(SCENARIOS)

    def run(*names: str, arguments: tuple[str, ...] = (), backend: str = "file"):  # type: ignore[no-untyped-def]
        path = tmp_path / "expected.toml"
        path.write_text("".join(entry(f"test_some::{name}", backend) for name in names))
        return run_pytest("--backend=file", f"--expectations={path}", str(scenarios), *arguments)

    return run


def entry(scenario: str, backend: str, *, reason: str = "api", text: str = "is so") -> str:
    return (
        f'[[expected]]\nscenario = "{scenario}"\nbackend = "{backend}"\n'
        f'reason = "{reason}"\ntext = "{text}"\n'
    )


@pytest.mark.parametrize("arguments", [("-rx",), ("-rx", "-n", "2")])
def test_what_is_expected_does_not_fail_the_run(run_with, tmp_path, arguments) -> None:  # type: ignore[no-untyped-def]
    run = run_with(*BROKEN, arguments=arguments)
    assert run.returncode == 0, run.stdout
    assert "3 xfailed" in run.stdout
    assert "expected, api: is so; falsified: a rule: a reason" in run.stdout
    (path,) = tmp_path.glob("results/*/result.json")
    expected = {r.test.partition("::")[2]: r.expected for r in load_run(path).scenarios}
    assert expected["test_broken[file-threads]"] == "api: is so"
    assert expected["test_holds[file-threads]"] == ""


def test_what_is_not_expected_fails_it_as_ever(run_with) -> None:  # type: ignore[no-untyped-def]
    run = run_with(*BROKEN[1:])
    assert run.returncode == 1
    assert "1 failed" in run.stdout


def test_strict_claims_leave_out_what_is_expected(run_with) -> None:  # type: ignore[no-untyped-def]
    arguments = ("--strict-claims", "-k", "processes and false")
    run = run_with(BROKEN[0], arguments=arguments)
    assert run.returncode == 1, "the other claims are without a verdict"
    run = run_with(BROKEN[0], arguments=arguments[1:])
    assert run.returncode == 0, run.stdout


def test_a_name_without_level_is_meant_at_every_level(run_with) -> None:  # type: ignore[no-untyped-def]
    run = run_with("test_false_in_processes", *BROKEN[1:])
    assert run.returncode == 0, run.stdout


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("test_holds", "test_some::test_holds on file: it held (api: is so)"),
        ("test_false_in_processes[file-threads]", "on file: it held"),
        ("test_of_old", "test_some::test_of_old on file: nothing that ran is this"),
        ("test_nothing_to_run", "on file: nothing that ran is this"),
    ],
)
def test_an_expectation_that_is_not_met_fails_the_run(run_with, name, said) -> None:  # type: ignore[no-untyped-def]
    run = run_with(*BROKEN, name)
    assert run.returncode == 1
    assert "expectations that were not met" in run.stdout
    assert "exit status 1: expectations were not met" in run.stdout
    assert said in run.stdout


def test_what_fails_only_sometimes_may_hold(run_with, tmp_path) -> None:  # type: ignore[no-untyped-def]
    sometimes = tmp_path / "sometimes.toml"
    sometimes.write_text(entry("test_some::test_holds", "file") + "sometimes = true\n")
    run = run_with(arguments=("-k", "test_holds", f"--expectations={sometimes}"))
    assert run.returncode == 0, run.stdout
    run = run_with(arguments=("-k", "test_false", f"--expectations={sometimes}"))
    assert "nothing that ran is this" in run.stdout


def test_expectations_for_other_backends_wait_for_their_turn(run_with) -> None:  # type: ignore[no-untyped-def]
    run = run_with("test_holds", backend="redis", arguments=("-k", "holds"))
    assert run.returncode == 0, run.stdout


@pytest.mark.parametrize(
    ("text", "said"),
    [
        (entry("a", "file", reason="bad luck"), "bad luck.*reasons are lock-safety, "),
        (entry("a", "file", text=""), "needs a text or a url"),
        (entry("a", "file") * 2, "is there twice"),
        ("[[expected]]\nscenario = 'a'\n", "backend"),
        ("[[expcted]]\n", "expcted"),
        ("= nothing", "--expectations="),
    ],
)
def test_a_bad_file_is_refused_with_what_is_wrong(tmp_path: Path, text: str, said: str) -> None:
    path = tmp_path / "expected.toml"
    path.write_text(text)
    with pytest.raises(BadExpectations, match=said):
        load_expectations(path)


def test_a_missing_file_is_refused(run_pytest: Pytest) -> None:
    run = run_pytest("--backend=file", "--expectations=nowhere.toml")
    assert run.returncode == pytest.ExitCode.USAGE_ERROR
    assert "nowhere.toml" in run.stdout
