"""The result file of a run: its schema, reading and writing. Reports are made from it alone.

A run's directory holds ``result.json`` and, beside it, what is too large for it:
``evidence/*.msgpack`` (one :class:`~conformance.verdict.Evidence` each) and
``samples/*.npy`` (raw benchmark samples, int64 nanoseconds).
"""

from __future__ import annotations

from pathlib import Path

import msgspec

from conformance.verdict import Evidence, Verdict

__all__ = [
    "HANDED_OVER",
    "HAND_OFF",
    "SCHEMA",
    "Benchmark",
    "Environment",
    "Measure",
    "Run",
    "ScenarioResult",
    "Subject",
    "load_evidence",
    "load_run",
    "save_evidence",
    "save_run",
]

SCHEMA = 1
"""The version of the schema; it grows when a reader of the former could go wrong."""


class Subject(msgspec.Struct, frozen=True, kw_only=True):
    """What was under test on one backend.

    ``url`` is without password; ``server`` the version by the server's own word, None
    for a backend without a server; ``image`` the digest of the image it ran from.
    ``variant`` is the server's make where there are several (``valkey`` …).
    """

    backend: str
    implementation: str
    implementation_version: str
    driver: str
    claims: list[str]
    features: list[str]
    url: str
    server: str | None = None
    image: str | None = None
    variant: str | None = None
    topology: str = "single"


class Environment(msgspec.Struct, frozen=True, kw_only=True):
    """Where it ran: versions of Python and packages, the kernel, processors, memory in bytes."""

    python: str
    system: str
    processors: int
    memory: int
    packages: dict[str, str]


class ScenarioResult(msgspec.Struct, frozen=True, kw_only=True):
    """The verdict of one test on one backend at one level.

    ``about`` is the characteristic's name, or that of a behaviour every driver owes
    (``contract``, ``watches`` …); ``claimed`` whether the driver claims it at this level.
    ``evidence`` are paths relative to the run's directory. ``expected`` is why it was
    expected not to hold, as the expectations file says; empty when it was not.
    """

    test: str
    scenario: str
    about: str
    summary: str
    backend: str
    level: str
    claimed: bool
    verdict: Verdict
    reason: str
    trials: int
    operations: int
    seconds: float
    seed: int
    command: str
    evidence: list[str] = []
    expected: str = ""


class Measure(msgspec.Struct, frozen=True, kw_only=True):
    """A distribution of durations in nanoseconds, or one figure per unit (then all equal)."""

    count: int
    minimum: float
    median: float
    p90: float
    p99: float
    maximum: float
    mean: float


HAND_OFF = "hand-off"
"""The name of the times from a release that somebody waits for to the next grant of another
client, however often the last holder took the lock back in between."""

HANDED_OVER = "share handed to another client"
"""The name of the figure of how often, after a release that somebody waited for, the next grant
was another client's."""


class Benchmark(msgspec.Struct, frozen=True, kw_only=True):
    """One thing measured on one backend.

    ``what`` is what was timed (``uncontended acquire + release`` …); ``implementation``
    whose driver did it, which files written before several were measured in one run leave
    empty: then it is the one under test. ``relative`` is how many times the median of the
    one under test another's is, that of a contended lock's hand-offs; None for the one under
    test itself. ``floor`` is the median
    of the floor measured in the same run in nanoseconds, with ``floor_what`` it is;
    ``ratio`` the median over the floor. A contended run has ``clients`` > 1 and figures in
    ``figures`` (``grants per second``, ``jain index`` …) besides its ``times``
    (``wait``, ``hand-off``, ``taken back``, ``hold``). ``invalid`` says why the figure must
    not be used, None for a valid one. ``samples`` are paths relative to the run's directory.
    """

    test: str
    what: str
    backend: str
    level: str
    implementation: str = ""
    clients: int = 1
    times: dict[str, Measure] = {}
    figures: dict[str, float] = {}
    floor: float | None = None
    floor_what: str | None = None
    ratio: float | None = None
    relative: float | None = None
    invalid: str | None = None
    samples: dict[str, str] = {}
    operations: int = 0
    evidence: list[str] = []


class Run(msgspec.Struct, frozen=True, kw_only=True):
    """All that one run found.

    ``started`` is ISO 8601 in UTC; ``command`` reproduces it; ``settings`` are the
    plugin's options by name; ``beside`` what stood beside the subjects in benchmarks.
    ``ended_early`` is why not all that was asked for was run, empty when all was.
    """

    schema: int = SCHEMA
    id: str
    version: str
    started: str
    seconds: float
    command: str
    settings: dict[str, str]
    environment: Environment
    subjects: list[Subject]
    beside: list[Subject] = []
    scenarios: list[ScenarioResult] = []
    benchmarks: list[Benchmark] = []
    exit_status: int = 0
    ended_early: str = ""


class _Schema(msgspec.Struct):
    """The one field that files of every schema have, read before the others."""

    schema: int


def save_run(run: Run, directory: Path) -> Path:
    """Write ``result.json`` in the run's directory, whole or not at all; return its path."""
    path = directory / "result.json"
    draft = directory / "result.json.draft"
    draft.write_bytes(msgspec.json.format(msgspec.json.encode(run)))
    draft.replace(path)
    return path


def load_run(path: Path) -> Run:
    """Read a ``result.json``.

    :raises ValueError: it is none, or of a schema that this version does not read
    """
    content = path.read_bytes()
    try:
        schema = msgspec.json.decode(content, type=_Schema).schema
        if schema != SCHEMA:
            raise ValueError(f"{path} has schema {schema}; this version reads {SCHEMA}")
        return msgspec.json.decode(content, type=Run)
    except msgspec.DecodeError as error:
        raise ValueError(f"{path} is not the result of a run: {error}") from error


def save_evidence(evidence: Evidence, path: Path) -> None:
    """Write one piece of evidence."""
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_bytes(msgspec.msgpack.encode(evidence))


def load_evidence(path: Path) -> Evidence:
    """Read one piece of evidence.

    :raises ValueError: the file holds none
    """
    try:
        return msgspec.msgpack.decode(path.read_bytes(), type=Evidence)
    except msgspec.DecodeError as error:
        raise ValueError(f"{path} is not the evidence of a violation") from error
