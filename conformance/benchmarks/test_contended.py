"""Clients that all want the same lock: how fast it is passed on, and how fairly."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from conformance.benchmarks.contention import HAND_OFF, Objection, contend, object_to, result
from conformance.benchmarks.efforts import EFFORTS, ONCE
from conformance.benchmarks.sides import Beside, relative_to
from conformance.characteristics import Feature
from conformance.gate import Settings
from conformance.history import History
from conformance.implementations import spelled
from conformance.results import Benchmark, save_evidence
from conformance.trial import Place
from conformance.verdict import Evidence, Verdict
from conformance.workload.crew import Crew
from conformance.workload.plan import Plan, describe
from conformance.workload.runner import Trouble, run


@pytest.mark.scenario("speed", needs=(Feature.LOCKS,))
@pytest.mark.parametrize("clients", [2, 4, 8])
def test_contended_lock(
    clients: int,
    request: pytest.FixtureRequest,
    place: Place,
    beside: Beside,
    settings: Settings,
    crew: Crew,
    benchmark: Any,
    record_benchmark: Callable[[Benchmark], None],
) -> None:
    """Acquire, hold and release one lock for a while; fails only if it is not exclusive."""
    measuring = benchmark.enabled
    # pytest-benchmark times calls; in its table a run of seconds would be one of them.
    benchmark.disabled = True
    effort = EFFORTS[settings.profile] if measuring else ONCE
    plan = contend(clients, effort.contended)
    directory, turns = Path(settings.directory), effort.turns if beside else 1
    histories: dict[str, list[History] | str] = benchmark.pedantic(
        _in_turns, (crew, place, beside, plan, directory, turns)
    )
    test = f"{request.node.path.stem}::{request.node.name}"
    found = {}
    for name, its in histories.items():
        reason, evidence = (its, []) if isinstance(its, str) else (None, [])
        its = [] if isinstance(its, str) else its
        if (objection := object_to(its, effort.contended)) is not None:
            reason = objection.reason
            evidence = _keep(test, place, name, settings, plan, objection)
        found[name] = result(
            its,
            test=test,
            place=place,
            implementation=name,
            clients=clients,
            seconds=effort.contended,
            run_directory=settings.run_directory,
            invalid=reason,
            evidence=evidence,
        )
    ours = found.pop(place.driver.implementation)
    if measuring:
        record_benchmark(ours)
        for other in found.values():
            record_benchmark(relative_to(ours, other, HAND_OFF))
    if ours.evidence:
        reason = f"{ours.invalid} (evidence: {', '.join(ours.evidence)})"
        if not place.claims(None):
            pytest.xfail(f"not claimed at level {place.level}: {reason}")
        pytest.fail(reason, pytrace=False)


def _in_turns(
    crew: Crew, place: Place, beside: Beside, plan: Plan, directory: Path, turns: int
) -> dict[str, list[History] | str]:
    """Carry out a plan in turns; return each implementation's histories, or why there are none."""
    ours: list[History] = []
    others: dict[str, list[History] | str] = {
        name: side if isinstance(side, str) else [] for name, side in beside.items()
    }
    for _ in range(turns):
        ours.append(run(crew, place.target, plan, directory))
        for name, side in beside.items():
            its = others[name]
            if isinstance(side, Place) and isinstance(its, list):
                try:
                    its.append(run(crew, side.target, plan, directory))
                except Trouble as trouble:  # told in its result
                    others[name] = spelled(trouble)
    return {place.driver.implementation: ours, **others}


def _keep(
    test: str,
    place: Place,
    implementation: str,
    settings: Settings,
    plan: Plan,
    objection: Objection,
) -> list[str]:
    """Save the evidence of a lock that was not exclusive; return where, within the run."""
    if objection.finding.verdict is not Verdict.FALSIFIED:
        return []
    name = test.replace("::", "-").replace("[", "-").replace("]", "")
    path = Path("evidence") / name / f"{re.sub('[^a-z0-9]+', '-', implementation.lower())}.msgpack"
    save_evidence(
        Evidence(
            scenario=test,
            backend=place.backend,
            implementation=implementation,
            level=place.level,
            plan=describe(plan),
            history=objection.history,
            finding=objection.finding,
            command=_command(test, place, implementation, settings),
        ),
        settings.run_directory / path,
    )
    return [str(path)]


def _command(test: str, place: Place, implementation: str, settings: Settings) -> str:
    """Return the command that measures the same again."""
    parts = ["pytest", f"--backend={place.backend}", "--benchmark-only"]
    if implementation != "reference":
        parts.append(f"--implementation={implementation}")
    parts += [f"--profile={settings.profile}", f"--level={place.level}"]
    return shlex.join([*parts, "-k", test.partition("::")[2]])
