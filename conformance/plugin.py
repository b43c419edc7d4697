"""The pytest plugin: options, the ``trial`` fixture, verdicts as pytest outcomes.

It does nothing without ``--backend``. With it, tests that use the ``trial`` fixture run
once for every backend and level, and what they end in becomes a verdict: see ``gate`` for
the life of a run and ``trial`` for that of a scenario.
"""

from __future__ import annotations

import shlex
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import msgspec
import pytest

from conformance.backends import UnknownBackend
from conformance.characteristics import Characteristics, Feature
from conformance.coordination import without_password
from conformance.expectations import BadExpectations, expected_because
from conformance.gate import BadSetting, Gate, Settings
from conformance.profiles import PROFILES
from conformance.reporting.terminal import benchmark_table, undecided, verdict_table
from conformance.results import Benchmark, ScenarioResult
from conformance.trial import (
    Falsified,
    Inconclusive,
    NotExercised,
    Place,
    Trial,
    level_characteristic,
)
from conformance.verdict import Verdict
from conformance.workload.crew import Crew

_settings_key = pytest.StashKey[Settings]()
_gate_key = pytest.StashKey[Gate]()
_why_key = pytest.StashKey[str]()
_verdict_key = pytest.StashKey[ScenarioResult]()

_RESULT = "conformance-result"
_BENCHMARK = "conformance-benchmark"
"""Names of the report properties in which results travel to the controlling process."""

_ROOT = Path(__file__).parent


# -- options ----------------------------------------------------------------------


def pytest_addoption(parser: pytest.Parser) -> None:
    """Add the options of the gate."""
    group = parser.getgroup("conformance", "conformance of coordination drivers")
    group.addoption(
        "--backend",
        metavar="NAME[,NAME…]",
        help="backends to run the scenarios on; 'embedded' for those without a server, 'servers' "
        "for the others, 'all' for those that can run here",
    )
    group.addoption(
        "--backend-url", metavar="URL", help="use the server at this URL for the one backend"
    )
    group.addoption(
        "--implementation",
        default="reference",
        metavar="NAME",
        help="whose drivers are under test: reference, an installed implementation, or "
        "package.module:factory",
    )
    group.addoption(
        "--beside",
        default="",
        metavar="NAME[,NAME…]",
        help="other implementations to measure in turns with the one under test; only with "
        "--benchmark-only",
    )
    group.addoption("--level", metavar="LEVEL[,LEVEL…]", help="threads, processes; default: both")
    group.addoption("--profile", default="gate", metavar="|".join(PROFILES), help="how hard to try")
    group.addoption(
        "--seed",
        type=int,
        metavar="N",
        help="what plans are drawn from; default: 0, at random in nightly",
    )
    group.addoption(
        "--results",
        default="results",
        metavar="DIR",
        help="where DIR/RUN/result.json and its evidence are written; default: results",
    )
    group.addoption(
        "--image",
        action="append",
        default=[],
        metavar="NAME=IMAGE",
        help="the image that the server of a backend is to run from; more than once for several",
    )
    group.addoption(
        "--keep-backend",
        action="store_true",
        help="leave the servers that were started up, and say at the end where they are and how "
        "to remove them",
    )
    group.addoption(
        "--strict-claims",
        action="store_true",
        help="a claim that held in no scenario is an error, also one that no level exercises",
    )
    group.addoption(
        "--expectations",
        metavar="FILE",
        help="a TOML file of scenarios that are known not to hold, and why: they do not fail "
        "the run, but those that hold after all do",
    )


@pytest.hookimpl(tryfirst=True)
def pytest_configure(config: pytest.Config) -> None:
    """Bring the backends up, or take over what the controlling process brought up."""
    config.addinivalue_line(
        "markers",
        "scenario(about, needs=(), levels=('threads', 'processes'), remote=False): what a "
        "scenario is about (a characteristic, 'level' for the level's own, or a behaviour), "
        "which features it needs, at which levels it means something, whether only where a "
        "link leads to the server",
    )
    worker_input: dict[str, Any] | None = getattr(config, "workerinput", None)
    if worker_input is not None:
        if "conformance" in worker_input:
            _narrow(config)
            config.stash[_settings_key] = msgspec.msgpack.decode(
                worker_input["conformance"], type=Settings
            )
    elif config.option.backend is not None:
        _narrow(config)
        if not config.option.help:
            _open_gate(config)
    elif config.option.backend_url is not None:
        raise pytest.UsageError("--backend-url needs --backend=NAME, the kind of server it is")
    elif config.option.beside:
        raise pytest.UsageError("--beside needs --backend=NAME and --benchmark-only")


def _narrow(config: pytest.Config) -> None:
    """Run the scenarios, or the benchmarks, where the command names no tests."""
    measuring = config.getoption("benchmark_only", False)
    if measuring and config.getoption("dist", "no") != "no":
        raise pytest.UsageError(
            "benchmarks take turns in one process, undisturbed: leave -n out with --benchmark-only"
        )
    if config.args_source is not pytest.Config.ArgsSource.ARGS:
        config.args = [str(_ROOT / ("benchmarks" if measuring else "scenarios"))]


def _open_gate(config: pytest.Config) -> None:
    option = config.option
    if option.beside and not config.getoption("benchmark_only", False):
        raise pytest.UsageError(
            "--beside needs --benchmark-only: benchmarks are what stands side by side"
        )
    try:
        gate = Gate(
            backends=option.backend,
            backend_url=option.backend_url,
            implementation=option.implementation,
            levels=option.level,
            profile=option.profile,
            seed=option.seed,
            results=Path(option.results),
            strict_claims=option.strict_claims,
            images=option.image,
            keep=option.keep_backend,
            say=_say,
            expectations=Path(option.expectations) if option.expectations else None,
            beside=[name.strip() for name in option.beside.split(",") if name.strip()],
        )
    except (BadExpectations, BadSetting, UnknownBackend) as error:
        raise pytest.UsageError(str(error)) from error
    config.stash[_gate_key] = gate
    config.stash[_settings_key] = gate.settings
    config.add_cleanup(gate.close)


def _say(line: str) -> None:
    """Tell at once what takes a while; before the run, and after it, is no other reporter."""
    sys.stdout.write(f"conformance: {line}\n")
    sys.stdout.flush()


@pytest.hookimpl(optionalhook=True)
def pytest_configure_node(node: Any) -> None:
    """Hand the settings to a process of pytest-xdist."""
    settings = node.config.stash.get(_settings_key, None)
    if settings is not None:
        node.workerinput["conformance"] = msgspec.msgpack.encode(settings)


def pytest_report_header(config: pytest.Config) -> list[str]:
    """Show every setting of the run."""
    settings = config.stash.get(_settings_key, None)
    if settings is None:
        return []
    lines = [
        f"conformance: run {settings.run_id}, profile {settings.profile}, seed {settings.seed}, "
        f"levels {','.join(settings.levels)}"
        f"{', strict claims' if settings.strict_claims else ''}",
        f"results: {settings.run_directory}",
    ]
    for name, (url, version, image) in settings.servers.items():
        driver = settings.drivers[name]
        server = "".join(f", {what}" for what in (version, image) if what)
        lines.append(
            f"{name}: {driver.name} ({driver.implementation} {driver.version}) at "
            f"{without_password(url)}{server}"
        )
        for other, found in settings.beside.get(name, {}).items():
            what = (
                f"no driver of {other}: {found}"
                if isinstance(found, str)
                else f"{found.name} ({found.implementation} {found.version})"
            )
            lines.append(f"  beside it: {what}")
    return lines


# -- collection -------------------------------------------------------------------


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run what uses a place once for each backend and level."""
    if "conformance_place" not in metafunc.fixturenames:
        return
    settings = metafunc.config.stash.get(_settings_key, None)
    if settings is None:
        raise pytest.UsageError(
            f"{metafunc.function.__name__} needs a backend: give --backend=NAME "
            "(for instance --backend=file)"
        )
    marker = metafunc.definition.get_closest_marker("scenario")
    kwargs = marker.kwargs if marker else {}
    levels, remote = kwargs.get("levels", settings.levels), kwargs.get("remote", False)
    places = [
        place
        for place in settings.places
        if place.level in levels and (place.address is not None or not remote)
    ]
    metafunc.parametrize(
        "conformance_place",
        places or [_NOWHERE],
        ids=[f"{p.backend}-{p.level}" for p in places] or ["nowhere"],
        indirect=True,
    )


_NOWHERE = None
"""The place of a scenario that means nothing at the levels and on the backends asked for."""


def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Deselect the scenarios that mean nothing at the levels and on the backends asked for."""
    nowhere = [item for item in items if _is_nowhere(item)]
    if nowhere:
        config.hook.pytest_deselected(items=nowhere)
        items[:] = [item for item in items if not _is_nowhere(item)]


def _is_nowhere(item: pytest.Item) -> bool:
    callspec = getattr(item, "callspec", None)
    return callspec is not None and callspec.params.get("conformance_place", item) is _NOWHERE


# -- fixtures ---------------------------------------------------------------------


@pytest.fixture
def conformance_place(request: pytest.FixtureRequest) -> Place:
    """Where the test runs: driver, backend and level."""
    found: Place = request.param
    return found


@pytest.fixture(scope="session")
def conformance_crew() -> Iterator[Crew]:
    """Give the worker processes in which clients live."""
    with Crew() as crew:
        yield crew


@pytest.fixture(scope="session")
def conformance_settings(pytestconfig: pytest.Config) -> Settings:
    """Give the settings of the run."""
    return pytestconfig.stash[_settings_key]


@pytest.fixture
def record_benchmark(request: pytest.FixtureRequest) -> Callable[[Benchmark], None]:
    """Give what keeps a figure in the result file of the run."""

    def record(benchmark: Benchmark) -> None:
        encoded = msgspec.json.encode(benchmark).decode()
        request.node.user_properties.append((_BENCHMARK, encoded))

    return record


@pytest.fixture
def trial(
    request: pytest.FixtureRequest,
    conformance_place: Place,
    conformance_crew: Crew,
    conformance_settings: Settings,
) -> Trial:
    """Give what a scenario explores with; afterwards its verdict is known."""
    marker = request.node.get_closest_marker("scenario")
    if marker is None:
        raise pytest.UsageError(f"{request.node.nodeid} uses trial without a scenario marker")
    name = request.node.name
    began = time.monotonic()
    trial = Trial(
        place=conformance_place,
        scenario=f"{request.node.path.stem}::{name}",
        command=conformance_settings.command(_pattern(request.node), conformance_place.backend),
        seed=conformance_settings.seed,
        profile=conformance_settings.chosen_profile,
        crew=conformance_crew,
        directory=Path(conformance_settings.directory),
        evidence_directory=conformance_settings.run_directory
        / "evidence"
        / _file_name(request.node),
    )
    request.node.stash[_trial_key] = (trial, began)
    needs: tuple[Feature, ...] = marker.kwargs.get("needs", ())
    trial.needs(*needs)
    return trial


_trial_key = pytest.StashKey[tuple[Trial, float]]()


def _pattern(item: pytest.Item) -> str:
    """Return what selects the item with -k."""
    return item.name.replace("[", " and ").replace("]", "")


def _file_name(item: pytest.Item) -> str:
    return f"{item.path.stem}-{item.name}".replace("[", "-").replace("]", "")


# -- verdicts ---------------------------------------------------------------------


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(item: pytest.Item, call: pytest.CallInfo[None]) -> Any:
    """Turn how a scenario ended into its verdict, and the verdict into an outcome."""
    report: pytest.TestReport = yield
    found = item.stash.get(_trial_key, None)
    error = call.excinfo.value if call.excinfo is not None else None
    ended = call.when == "call" or (call.when == "setup" and error is not None)
    if not isinstance(item, pytest.Function) or found is None or not ended:
        return report
    if isinstance(error, KeyboardInterrupt | pytest.skip.Exception):
        return report
    trial, began = found
    result = _result(item, trial, error, time.monotonic() - began)
    report.user_properties.append((_RESULT, msgspec.json.encode(result).decode()))
    reason = f"{result.verdict.value}: {result.reason}"
    if result.expected:
        report.outcome = "skipped"
        report.wasxfail = f"expected, {result.expected}; {reason}"
    elif result.verdict is Verdict.FALSIFIED and not result.claimed:
        report.outcome = "skipped"
        report.wasxfail = f"not claimed, {reason}"
    elif result.verdict in (Verdict.INCONCLUSIVE, Verdict.NOT_EXERCISED):
        report.outcome = "skipped"
        report.longrepr = (str(item.path), item.location[1] or 0, reason)
    elif result.verdict is Verdict.FALSIFIED:
        report.longrepr = _account(result, item.config)
    return report


def _result(
    item: pytest.Function, trial: Trial, error: BaseException | None, seconds: float
) -> ScenarioResult:
    marker = item.get_closest_marker("scenario")
    about = marker.args[0] if marker is not None else "unmarked"
    if about == "level":
        about = level_characteristic(trial.place.level)
    verdict, reason = _verdict(trial, error)
    summary = (item.function.__doc__ or "").strip().partition("\n")[0]
    settings = item.config.stash[_settings_key]
    return ScenarioResult(
        test=trial.scenario,
        scenario=trial.scenario.partition("[")[0],
        about=about.name if isinstance(about, Characteristics) else about,
        summary=summary,
        backend=trial.place.backend,
        level=trial.place.level,
        claimed=trial.place.claims(about if isinstance(about, Characteristics) else None),
        verdict=verdict,
        reason=reason,
        trials=trial.trials,
        operations=trial.operations,
        seconds=round(seconds, 3),
        seed=settings.seed,
        command=trial.command,
        evidence=[str(Path(path).relative_to(settings.run_directory)) for path in trial.evidence],
        expected=expected_because(
            settings.expectations, trial.scenario, trial.place.backend, verdict
        ),
    )


def _verdict(trial: Trial, error: BaseException | None) -> tuple[Verdict, str]:
    """Return the verdict; what was falsified once stays so, whatever came after."""
    if trial.falsified is not None:
        return Verdict.FALSIFIED, f"{trial.falsified.rule}: {trial.falsified.reason}"
    if error is None:
        return Verdict.HELD, ""
    if isinstance(error, Inconclusive):
        return Verdict.INCONCLUSIVE, str(error)
    if isinstance(error, NotExercised):
        return Verdict.NOT_EXERCISED, str(error)
    if isinstance(error, Falsified):
        return Verdict.FALSIFIED, str(error)
    return Verdict.ERROR, f"{type(error).__name__}: {error}"


def _account(result: ScenarioResult, config: pytest.Config) -> str:
    directory = config.stash[_settings_key].run_directory
    if directory.is_relative_to(config.invocation_params.dir):
        directory = directory.relative_to(config.invocation_params.dir)
    lines = [
        f"{result.about} is falsified on {result.backend} at level {result.level}",
        result.reason,
        *(
            f"evidence: {shlex.join(['conformance', 'show', str(directory / path)])}"
            for path in result.evidence
        ),
        f"again: {result.command}",
    ]
    return "\n".join(lines)


def pytest_report_teststatus(
    report: pytest.TestReport | pytest.CollectReport, config: pytest.Config
) -> tuple[str, str, str] | None:
    """Name the verdicts that are neither passed nor failed."""
    if isinstance(report, pytest.CollectReport) or report.when == "teardown":
        return None
    for name, value in report.user_properties:
        if name == _RESULT:
            result = msgspec.json.decode(str(value), type=ScenarioResult)
            verdict = result.verdict
            if result.expected:
                return None
            if verdict is Verdict.INCONCLUSIVE:
                return "inconclusive", "?", "INCONCLUSIVE"
            if verdict is Verdict.NOT_EXERCISED:
                return "not exercised", "-", "NOT EXERCISED"
    return None


# -- results ----------------------------------------------------------------------


@pytest.hookimpl(tryfirst=True)
def pytest_runtest_logreport(report: pytest.TestReport) -> None:
    """Gather results; in the controlling process, wherever the test ran."""
    if _gathering is None:
        return
    for name, value in report.user_properties if report.when != "teardown" else ():
        if name == _RESULT:
            result = msgspec.json.decode(str(value), type=ScenarioResult)
            _gathering.scenarios.append(result)
        elif name == _BENCHMARK and report.when == "call":
            _gathering.benchmarks.append(msgspec.json.decode(str(value), type=Benchmark))


_gathering: Gate | None = None


def pytest_sessionstart(session: pytest.Session) -> None:
    """Begin to gather results."""
    global _gathering
    _gathering = session.config.stash.get(_gate_key, None)


@pytest.hookimpl(trylast=True)
def pytest_sessionfinish(session: pytest.Session, exitstatus: int) -> None:
    """Write the result file and set the exit status."""
    gate = session.config.stash.get(_gate_key, None)
    if gate is None:
        return
    if exitstatus == pytest.ExitCode.OK and gate.scenarios:
        session.exitstatus, why = gate.conclusion
        session.config.stash[_why_key] = f"exit status {session.exitstatus}: {why}" if why else ""
    if gate.scenarios or gate.benchmarks:
        arguments = session.config.invocation_params.args
        ended_early = _ended_early(session, exitstatus)
        gate.save(["pytest", *map(str, arguments)], int(session.exitstatus), ended_early)


def _ended_early(session: pytest.Session, status: int) -> str:
    """Return why the session ended before all that was asked for was run; nothing if it did not.

    :param status: pytest's own exit status
    """
    if why := session.shouldfail or session.shouldstop:
        return str(why)
    if status == pytest.ExitCode.INTERRUPTED:
        return "interrupted"
    return "an error of pytest's own" if status == pytest.ExitCode.INTERNAL_ERROR else ""


def _is_partial(config: pytest.Config) -> bool:
    """Whether the command asks for some of the scenarios only."""
    option = config.option
    return bool(option.keyword or option.markexpr or getattr(option, "lf", False))


def pytest_terminal_summary(terminalreporter: Any, config: pytest.Config) -> None:
    """Print the tables."""
    gate = config.stash.get(_gate_key, None)
    if gate is None or not (gate.scenarios or gate.benchmarks):
        return
    width = terminalreporter._tw.fullwidth
    if gate.scenarios:
        terminalreporter.section("verdicts")
        table = verdict_table(gate.subjects(), gate.scenarios, width, partial=_is_partial(config))
        terminalreporter.write_line(table)
    if gate.refuted:
        terminalreporter.section("expectations that were not met", red=True)
        for complaint in gate.refuted:
            terminalreporter.write_line(complaint)
    if gate.benchmarks:
        terminalreporter.section("benchmarks")
        terminalreporter.write_line(benchmark_table(gate.benchmarks, width))
    terminalreporter.write_line(f"results: {gate.settings.run_directory / 'result.json'}")
    if lines := undecided(gate.scenarios):
        terminalreporter.section("inconclusive")
        terminalreporter.write_line(lines)


def pytest_unconfigure(config: pytest.Config) -> None:
    """Say last, below pytest's own summary, why the exit status is none of pytest's."""
    if why := config.stash.get(_why_key, ""):
        _say(why)
