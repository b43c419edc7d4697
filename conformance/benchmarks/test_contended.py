"""Clients that all want the same lock: how fast it is passed on, and how fairly."""

from __future__ import annotations

import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from conformance.benchmarks.contention import contend, judge, result
from conformance.benchmarks.efforts import EFFORTS, ONCE
from conformance.characteristics import Feature
from conformance.gate import Settings
from conformance.history import History
from conformance.results import Benchmark, save_evidence
from conformance.trial import Place
from conformance.verdict import Evidence, Finding, Verdict
from conformance.workload.crew import Crew
from conformance.workload.plan import Plan, describe
from conformance.workload.runner import run


@pytest.mark.scenario("speed", needs=(Feature.LOCKS,))
@pytest.mark.parametrize("clients", [2, 4, 8])
def test_contended_lock(
    clients: int,
    request: pytest.FixtureRequest,
    place: Place,
    settings: Settings,
    crew: Crew,
    benchmark: Any,
    record_benchmark: Callable[[Benchmark], None],
) -> None:
    """Acquire, hold and release one lock for a while; fails only if it is not exclusive."""
    measuring = benchmark.enabled
    # pytest-benchmark times calls; in its table a run of seconds would be one of them.
    benchmark.disabled = True
    plan = contend(clients, (EFFORTS[settings.profile] if measuring else ONCE).contended)
    directory = Path(settings.directory)
    history: History = benchmark.pedantic(run, (crew, place.target, plan, directory))
    finding = judge(history)
    test = f"{request.node.path.stem}::{request.node.name}"
    evidence = []
    if finding.verdict is Verdict.FALSIFIED:
        evidence.append(_keep(test, place, settings, plan, history, finding))
    if measuring:
        found = result(
            history,
            finding,
            test=test,
            backend=place.backend,
            level=place.level,
            clients=clients,
            run_directory=settings.run_directory,
            evidence=evidence,
        )
        record_benchmark(found)
    if finding.verdict is Verdict.FALSIFIED:
        reason = f"{finding.rule}: {finding.reason} (evidence: {', '.join(evidence)})"
        if not place.claims(None):
            pytest.xfail(f"not claimed at level {place.level}: {reason}")
        pytest.fail(reason, pytrace=False)


def _keep(
    test: str, place: Place, settings: Settings, plan: Plan, history: History, finding: Finding
) -> str:
    """Save the evidence of a lock that was not exclusive; return where, within the run."""
    name = test.replace("::", "-").replace("[", "-").replace("]", "")
    path = Path("evidence") / name / "1.msgpack"
    driver = place.driver
    save_evidence(
        Evidence(
            scenario=test,
            backend=place.backend,
            implementation=driver.implementation,
            level=place.level,
            plan=describe(plan),
            history=history,
            finding=finding,
            command=_command(test, place, settings),
        ),
        settings.run_directory / path,
    )
    return str(path)


def _command(test: str, place: Place, settings: Settings) -> str:
    """Return the command that measures the same again."""
    parts = ["pytest", f"--backend={place.backend}", "--benchmark-only"]
    if place.driver.implementation != "reference":
        parts.append(f"--implementation={place.driver.implementation}")
    parts += [f"--profile={settings.profile}", f"--level={place.level}"]
    return shlex.join([*parts, "-k", test.partition("::")[2]])
