"""Clients that all want the same lock: how fast it is passed on, and how fairly."""

from __future__ import annotations

import re
import shlex
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from conformance.benchmarks.contention import Objection, contend, object_to, result
from conformance.benchmarks.efforts import EFFORTS, ONCE
from conformance.benchmarks.sides import Beside, relative_to
from conformance.characteristics import Feature
from conformance.gate import Settings
from conformance.history import History
from conformance.implementations import spelled
from conformance.results import HAND_OFF, Benchmark, save_evidence
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
    name = place.driver.implementation
    parts = {name: _Part(place)} | {other: _Part(side) for other, side in beside.items()}
    benchmark.pedantic(_take_turns, (crew, parts, plan, directory, effort.contended, turns))
    test = f"{request.node.path.stem}::{request.node.name}"
    found = {
        implementation: result(
            part.histories,
            test=test,
            place=place,
            implementation=implementation,
            clients=clients,
            seconds=effort.contended,
            run_directory=settings.run_directory,
            invalid=part.reason,
            evidence=_keep(test, place, implementation, settings, plan, part.objection),
        )
        for implementation, part in parts.items()
    }
    ours = found.pop(name)
    if measuring:
        record_benchmark(ours)
        for other in found.values():
            record_benchmark(relative_to(ours, other, HAND_OFF))
    if ours.evidence:
        reason = f"{ours.invalid} (evidence: {', '.join(ours.evidence)})"
        if not place.claims(None):
            pytest.xfail(f"not claimed at level {place.level}: {reason}")
        pytest.fail(reason, pytrace=False)


@dataclass
class _Part:
    """What came of one implementation: its histories, or why there are none to use."""

    side: Place | str
    histories: list[History] = field(default_factory=list)
    objection: Objection | None = None
    trouble: str | None = None

    @property
    def reason(self) -> str | None:
        """Why it has no figures; None while it has."""
        if isinstance(self.side, str):
            return self.side
        return self.trouble or (self.objection.reason if self.objection else None)


def _take_turns(
    crew: Crew, parts: Mapping[str, _Part], plan: Plan, directory: Path, seconds: float, turns: int
) -> None:
    """Carry out a plan with each implementation in turn, until there is an objection to it.

    :raises Trouble: the implementation under test, which is the first, could not be run
    """
    for _ in range(turns):
        for number, part in enumerate(parts.values()):
            if part.reason is not None or isinstance(part.side, str):
                continue
            try:
                history = run(crew, part.side.target, plan, directory)
            except Trouble as trouble:
                if number == 0:
                    raise
                part.trouble = spelled(trouble)
                continue
            part.histories.append(history)
            part.objection = object_to(history, seconds)


def _keep(
    test: str,
    place: Place,
    implementation: str,
    settings: Settings,
    plan: Plan,
    objection: Objection | None,
) -> list[str]:
    """Save the evidence of a lock that was not exclusive; return where, within the run."""
    if objection is None or objection.finding.verdict is not Verdict.FALSIFIED:
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
