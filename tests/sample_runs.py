"""Made-up runs with something of everything, for the tests of reports and for a look at them.

No driver was run for these: histories are built here, the same every time.
"""

from __future__ import annotations

import random
from pathlib import Path
from typing import Any

import msgspec

from conformance.characteristics import Characteristics, Feature
from conformance.history import Fault, History, Operation, Outcome
from conformance.results import (
    Benchmark,
    Environment,
    Measure,
    Run,
    ScenarioResult,
    Subject,
    save_evidence,
    save_run,
)
from conformance.verdict import Evidence, Finding, Verdict

MS = 1_000_000
START = 81_234_000_000_000
"""When the made-up histories begin on their made-up clock."""

BEHAVIOURS = ("contract", "watches", "fairness", "hygiene", "hostile input", "pitfalls")
LEVELS = ("threads", "processes")

CLAIMS = {
    "file": (
        "DISTRIBUTED_ACROSS_THREADS",
        "DISTRIBUTED_ACROSS_PROCESSES",
        "NON_TIMEOUT_BASED",
        "LINEARIZABLE",
        "SEQUENTIAL",
        "CAUSAL",
        "SERIALIZABLE",
    ),
    "ipc": ("DISTRIBUTED_ACROSS_THREADS", "DISTRIBUTED_ACROSS_PROCESSES", "NON_TIMEOUT_BASED"),
    "zake": (
        "DISTRIBUTED_ACROSS_THREADS",
        "LINEARIZABLE",
        "SEQUENTIAL",
        "CAUSAL",
        "SERIALIZABLE",
    ),
}


def operation(
    client: int,
    name: str,
    call: float,
    end: float | None,
    value: object = None,
    *,
    target: bytes = b"ledger",
    error: str | None = None,
    outcome: Outcome = Outcome.OK,
    member: bytes | None = None,
    **arguments: Any,
) -> Operation:
    """Return an operation; times in milliseconds since the history's start."""
    return Operation(
        client=client,
        name=name,
        target=target,
        arguments=arguments,
        call=START + round(call * MS),
        end=None if end is None else START + round(end * MS),
        outcome=outcome,
        value=value,
        error=error,
        member=f"m{client % 100}".encode() if member is None else member,
    )


def fault(kind: str, client: int | None, begin: float, end: float | None = None) -> Fault:
    """Return a fault; times in milliseconds since the history's start."""
    return Fault(
        kind,
        client,
        START + round(begin * MS),
        None if end is None else START + round(end * MS),
    )


def evidence(
    history: History, finding: Finding, *, backend: str = "ipc", level: str = "processes"
) -> Evidence:
    """Return evidence of a finding on a history."""
    return Evidence(
        scenario="conformance.scenarios.test_non_timeout_based.test_a_paused_holder_keeps_its_lock",
        backend=backend,
        implementation="reference",
        level=level,
        plan="clients (by coordinator): {0: 0, 1: 1, 2: 2}\noptions: {'timeout': 1.0}\nphase 1\n"
        "  client 0: acquire(b'ledger'); release(b'ledger')\n"
        "  client 1: acquire(b'ledger', blocking=4.0)\n  after 0.02 s: pause client 0 for 3 s",
        history=history,
        finding=finding,
        command=f"pytest --pyargs conformance.scenarios --backend={backend} --level={level} "
        "-k test_a_paused_holder_keeps_its_lock --profile=gate",
    )


def paused_holder() -> Evidence:
    """A lock that another client gets while its holder is paused for three time-outs."""
    acquire = operation(0, "acquire", 0.0, 1.4, True, blocking=True)
    release = operation(0, "release", 3024.1, 3025.0, True)
    stolen = operation(1, "acquire", 3.1, 1002.8, True, blocking=4.0)
    operations = [
        acquire,
        release,
        stolen,
        operation(1, "is_still_owner", 1010.0, 1011.5, True),
        operation(1, "release", 1450.0, 1452.2, True),
        operation(2, "acquire", 5.0, 6.2, False, blocking=False),
        operation(2, "acquire", 400.0, 900.9, False, blocking=0.5),
        operation(2, "acquire", 1800.0, 1801.0, True, blocking=True),
        operation(2, "release", 2100.0, 2101.0, True),
        operation(0, "acquire", 3040.0, 3041.1, True, blocking=True),
        operation(0, "release", 3060.0, 3061.0, True),
    ]
    history = History.of(operations, [fault("pause", 0, 20.0, 3022.0)])
    finding = Finding(
        Verdict.FALSIFIED,
        "mutual exclusion",
        "client 1 acquired ledger while client 0, which was paused, still held it",
        [acquire, stolen, release],
    )
    return evidence(history, finding)


def crowded() -> Evidence:
    """Eight clients at one lock, some two hundred operations, two of them in at once."""
    dice = random.Random(7)
    operations: list[Operation] = []
    free_from = dict.fromkeys(range(8), 0.0)
    clock = 0.1
    while len(operations) < 200:
        idle = [client for client, at in free_from.items() if at < clock]
        holder = dice.choice(idle)
        asked = max(free_from[holder], clock - dice.uniform(0.0, 0.9))
        granted = clock + dice.uniform(0.02, 0.05)
        given_back = granted + dice.uniform(0.1, 0.4)
        operations.append(operation(holder, "acquire", asked, granted, True, blocking=True))
        operations.append(operation(holder, "release", given_back, given_back + 0.03, True))
        free_from[holder] = given_back + 0.03
        for client in dice.sample([c for c in idle if c != holder], dice.randrange(2)):
            tried = granted + dice.uniform(0.01, 0.04)
            refused = operation(client, "acquire", tried, tried + 0.05, False, blocking=False)
            operations.append(refused)
            free_from[client] = tried + 0.05
        clock = given_back + 0.035
    grants = [o for o in operations if o.value is True and o.name == "acquire"]
    first = grants[len(grants) // 2]
    begin = ((first.end or 0) - START) / MS + 0.05
    second = operation(100, "acquire", begin - 0.03, begin, True, blocking=False)
    third = operation(100, "release", begin + 0.03, begin + 0.045, True)
    finding = Finding(
        Verdict.FALSIFIED,
        "mutual exclusion",
        f"clients {first.client} and {second.client} held ledger at the same time",
        [first, second],
    )
    return evidence(History.of([*operations, second, third]), finding, backend="zake")


def stale_read() -> Evidence:
    """A reader that is shown a group as it was, and a member killed meanwhile."""
    group: dict[str, Any] = {"target": b"r\xc3\xa9seau/\x00\xff<b>"}
    joined = operation(0, "join_group", 2.0, 4.6, None, capabilities={"cpu": 8}, **group)
    seen = operation(1, "get_members", 5.0, 6.1, [b"m0", b"m2"], **group)
    unseen = operation(3, "get_members", 7.4, 8.2, [b"m2"], **group)
    operations = [
        operation(0, "create_group", 0.0, 1.2, None, **group),
        joined,
        operation(2, "join_group", 1.6, 3.1, None, capabilities=None, **group),
        seen,
        unseen,
        operation(
            1, "leave_group", 8.0, 8.9, None, outcome=Outcome.FAIL, error="MemberNotJoined", **group
        ),
        operation(2, "update_capabilities", 9.0, None, None, outcome=Outcome.INFO, **group),
        operation(
            3,
            "join_group",
            9.5,
            14.5,
            None,
            outcome=Outcome.INFO,
            error="OperationTimedOut",
            **group,
        ),
        operation(103, "get_members", 15.0, 15.9, [b"m0", b"m3"], **group),
        operation(0, "get_members", 15.2, 16.4, [b"m0", b"m3"], **group),
        operation(1, "get_groups", 15.5, 16.9, [b"x" * 400], target=b""),
    ]
    history = History.of(operations, [fault("kill", 2, 9.3), fault("restart", None, 10.0, 12.5)])
    finding = Finding(
        Verdict.FALSIFIED,
        "linearizability",
        "client 3 did not see member m0, which client 1 had been shown before client 3 asked",
        [joined, seen, unseen],
    )
    return evidence(history, finding, backend="zake", level="processes")


def subject(backend: str, **changes: object) -> Subject:
    """Return what is under test on a backend."""
    made = Subject(
        backend=backend,
        implementation="reference",
        implementation_version="0.1.0",
        driver=f"conformance.drivers.{backend}.{backend.capitalize()}Driver",
        claims=list(CLAIMS.get(backend, ())),
        features=[feature.name for feature in Feature if feature is not Feature.SHARED_LOCKS],
        url=f"{backend}:///tmp/conformance" if backend == "file" else f"{backend}://",
    )
    return msgspec.structs.replace(made, **changes)


def result(
    backend: str,
    about: str,
    verdict: Verdict = Verdict.HELD,
    *,
    level: str = "threads",
    claimed: bool = True,
    reason: str = "",
    **changes: object,
) -> ScenarioResult:
    """Return the result of one test."""
    scenario = f"test_{about.lower().replace(' ', '_')}"
    ran = verdict is not Verdict.NOT_EXERCISED
    dice = random.Random(f"{backend} {about} {level}")
    made = ScenarioResult(
        test=f"conformance/scenarios/{scenario}.py::{scenario}_of_locks[{backend}-{level}]",
        scenario=f"{scenario}_of_locks",
        about=about,
        summary=f"Random plans on locks never contradict {about.lower().replace('_', ' ')}.",
        backend=backend,
        level=level,
        claimed=claimed,
        verdict=verdict,
        reason=reason,
        trials=dice.randrange(20, 80) if ran else 0,
        operations=dice.randrange(900, 9000) if ran else 0,
        seconds=dice.uniform(0.4, 4.0) if ran else 0.0,
        seed=20261124,
        command=f"pytest --pyargs conformance.scenarios --backend={backend} --level={level} "
        f"-k {scenario}_of_locks --profile=gate",
    )
    return msgspec.structs.replace(made, **changes)


def measure(median: float, spread: float = 3.0) -> Measure:
    """Return a made-up distribution of nanoseconds."""
    return Measure(
        count=5000,
        minimum=median * 0.8,
        median=median,
        p90=median * 1.4,
        p99=median * spread,
        maximum=median * spread * 4,
        mean=median * 1.1,
    )


def environment() -> Environment:
    """Return where the made-up run ran."""
    return Environment(
        python="3.13.1",
        system="Linux 6.12.0 x86_64",
        processors=2,
        memory=8 * 2**30,
        packages={"hypothesis": "6.170.15", "kazoo": "2.11.0", "posix_ipc": "1.3.2"},
    )


def run(**changes: object) -> Run:
    """Return a run of the three embedded backends, its evidence not yet saved."""
    made = Run(
        id="20261124T021733-5f3a",
        version="0.1.0",
        started="2026-11-24T02:17:33Z",
        seconds=171.4,
        command="pytest --pyargs conformance.scenarios --backend=embedded --profile=gate "
        "--results=results",
        settings={
            "backend": "embedded",
            "implementation": "reference",
            "level": "threads,processes",
            "profile": "gate",
            "strict-claims": "no",
        },
        environment=environment(),
        subjects=[subject("file"), subject("ipc"), subject("zake")],
        scenarios=[r for backend in CLAIMS for r in _scenarios(backend)],
        benchmarks=benchmarks(),
    )
    return msgspec.structs.replace(made, **changes)


def _scenarios(backend: str) -> list[ScenarioResult]:
    results = []
    for characteristic in Characteristics:
        about = characteristic.name
        if about.startswith("SAME_VIEW"):
            reason = "the backend has a single server; a cluster is needed"
            results.append(
                result(backend, about, Verdict.NOT_EXERCISED, claimed=False, reason=reason)
            )
            continue
        if about == "DISTRIBUTED_ACROSS_HOSTS":
            reason = "clients on other hosts are not supported yet"
            results.append(
                result(
                    backend,
                    about,
                    Verdict.NOT_EXERCISED,
                    level="hosts",
                    claimed=False,
                    reason=reason,
                )
            )
            continue
        for level in LEVELS:
            if about.endswith("_THREADS") and level != "threads":
                continue
            if about.endswith("_PROCESSES") and level != "processes":
                continue
            claimed = about in CLAIMS[backend] and not (backend == "zake" and level == "processes")
            results.append(_judged(backend, about, level, claimed))
    results += [result(backend, about, level=level) for about in BEHAVIOURS for level in LEVELS[:1]]
    return results


def _judged(backend: str, about: str, level: str, claimed: bool) -> ScenarioResult:
    if (backend, about, level) == ("ipc", "NON_TIMEOUT_BASED", "processes"):
        piece = "evidence/ipc-paused.msgpack"
        reason = "client 1 acquired ledger while client 0, which was paused, still held it"
        verdict = Verdict.FALSIFIED
        return result(
            backend, about, verdict, level=level, claimed=claimed, reason=reason, evidence=[piece]
        )
    if (backend, about) == ("zake", "DISTRIBUTED_ACROSS_PROCESSES"):
        return result(
            backend,
            about,
            Verdict.FALSIFIED,
            level=level,
            claimed=claimed,
            reason="two clients held ledger at the same time",
            evidence=["evidence/zake-crowded.msgpack"],
        )
    if (backend, about, level) == ("zake", "LINEARIZABLE", "processes"):
        return result(
            backend,
            about,
            Verdict.FALSIFIED,
            level=level,
            claimed=claimed,
            reason="a read was shown a group as it was before",
            evidence=["evidence/zake-stale.msgpack"],
        )
    if (backend, about) == ("ipc", "SERIALIZABLE"):
        reason = "the search for an order ended after 200,000 states without a decision"
        return result(
            backend, about, Verdict.INCONCLUSIVE, level=level, claimed=claimed, reason=reason
        )
    if (backend, about, level) == ("file", "NON_TIMEOUT_BASED", "processes"):
        reason = "a client process did not start within 30 s"
        return result(backend, about, Verdict.ERROR, level=level, claimed=claimed, reason=reason)
    return result(backend, about, level=level, claimed=claimed)


def benchmarks() -> list[Benchmark]:
    """Return benchmarks of three backends, one of them invalid."""
    found = []
    for backend, floor, median in (
        ("file", 2_900, 61_000),
        ("ipc", 900, 8_200),
        ("zake", 40, 310_000),
    ):
        pair = Benchmark(
            test=f"conformance/benchmarks/test_locks.py::test_pair[{backend}]",
            what="uncontended acquire + release",
            backend=backend,
            level="threads",
            times={"call": measure(median), "floor": measure(floor)},
            floor=float(floor),
            floor_what="a bare flock pair" if backend == "file" else "a bare dict update",
            ratio=median / floor,
        )
        reading = Benchmark(
            test=f"conformance/benchmarks/test_groups.py::test_get_members[{backend}]",
            what="get_members",
            backend=backend,
            level="threads",
            times={"call": measure(median * 0.7)},
        )
        levels = LEVELS[: 1 if backend == "zake" else 2]
        found += [pair, reading]
        found += [contended(backend, level, n, median) for level in levels for n in (2, 4, 8)]
    return found


def side_by_side() -> Run:
    """Return a run in which tooz was measured beside the drivers of file and zake."""
    found = []
    for one in benchmarks():
        if one.backend == "ipc":
            continue
        ours = msgspec.structs.replace(one, implementation="reference")
        theirs = msgspec.structs.replace(one, implementation="tooz", relative=4.32)
        if one.backend == "zake":
            nothing = {"times": {}, "figures": {}, "floor": None, "floor_what": None}
            theirs = msgspec.structs.replace(
                theirs, ratio=None, relative=None, invalid="tooz has no driver of it", **nothing
            )
        found += [ours, theirs]
    made = run(
        subjects=[subject("file"), subject("zake")],
        beside=[subject("file", implementation="tooz", implementation_version="9.1.0", claims=[])],
        scenarios=[],
        benchmarks=found,
    )
    return msgspec.structs.replace(made, settings={**made.settings, "beside": "tooz"})


def contended(backend: str, level: str, clients: int, median: float) -> Benchmark:
    """Return a benchmark of several clients; ipc's of eight processes is invalid."""
    broken = (backend, level, clients) == ("ipc", "processes", 8)
    return Benchmark(
        test=f"conformance/benchmarks/test_contention.py::test_contended[{backend}]",
        what="contended acquire + release",
        backend=backend,
        level=level,
        clients=clients,
        times={"wait": measure(median * clients, 9.0), "hand-off": measure(median / 2, 5.0)},
        figures={
            "grants per second": 1e9 / median / clients**0.5,
            "jain index": 1 - clients / 40,
            "fewest grants": 800.0 - 40 * clients,
            "most grants": 800.0 + 40 * clients,
            "share handed to another client": 0.9 - clients / 20,
            "clients without a grant": 0.0,
        },
        operations=9_000 * clients,
        invalid="two clients held the lock at once" if broken else None,
    )


def save_sample(directory: Path, made: Run | None = None) -> Path:
    """Write a run with its evidence to a directory of its own; return it."""
    made = made or run()
    place = directory / made.id
    place.mkdir(parents=True)
    for path, piece in EVIDENCE.items():
        save_evidence(piece, place / path)
    save_run(made, place)
    return place


EVIDENCE = {
    "evidence/ipc-paused.msgpack": paused_holder(),
    "evidence/zake-crowded.msgpack": crowded(),
    "evidence/zake-stale.msgpack": stale_read(),
}
"""The evidence of the made-up run, by path."""
