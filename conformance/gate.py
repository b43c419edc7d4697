"""The settings of a gate, and its life: backends up, places to run at, results kept.

The process that controls the run owns a :class:`Gate`; the processes of pytest-xdist get
its :class:`Settings`, ready made.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import platform
import secrets
import shlex
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence, Set
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime
from importlib import metadata
from pathlib import Path

import msgspec

import conformance
from conformance.backends import Backend, Launch, Server, Spare, choose, known_backends
from conformance.backends.engine import RUN_LABEL, EngineFailed
from conformance.characteristics import Characteristics
from conformance.coordination import ToozError, driver_schemes, without_password
from conformance.expectations import Expectation, load_expectations, refuted
from conformance.implementations import (
    REFERENCE,
    BadImplementation,
    Driver,
    describe,
    find_factory,
    spelled,
    try_out,
)
from conformance.profiles import PROFILES, Profile
from conformance.results import Benchmark, Environment, Run, ScenarioResult, Subject, save_run
from conformance.trial import Place
from conformance.verdict import Verdict, worst
from conformance.workload.runner import LEVELS
from conformance.workplace import Workplace, new_run_id

__all__ = ["UP_TO_NOW", "BadSetting", "Gate", "Settings", "exit_status"]

UP_TO_NOW = ("threads", "processes")
"""The levels that can be run."""

_ANSWER_SECONDS = 20.0
"""How long a coordinator may take to start and stop: on a server of the user's own, and one
of the user's own."""

_PACKAGES = (
    "etcd3gw",
    "hypothesis",
    "kazoo",
    "msgspec",
    "posix-ipc",
    "psycopg2-binary",
    "pymemcache",
    "PyMySQL",
    "pytest",
    "pytest-benchmark",
    "pytest-xdist",
    "python-consul",
    "redis",
    "testcontainers",
    "tooz",
)


class BadSetting(ValueError):
    """An option's value cannot be used; the message says what to give instead."""


class Settings(msgspec.Struct, frozen=True, kw_only=True):
    """What was asked for, checked, and where it runs. Passed to every process of a run.

    ``spares`` are the backends that have a second server, which tests may restart.
    """

    run_id: str
    directory: str
    results: str
    profile: str
    seed: int
    levels: list[str]
    implementation: str
    strict_claims: bool
    path: list[str]
    servers: dict[str, tuple[str, str | None, str | None]] = {}
    drivers: dict[str, Driver] = {}
    beside: dict[str, dict[str, Driver | str]] = {}
    """By backend and implementation: the driver to measure beside, or why it has none."""
    spares: list[str] = []

    def __repr__(self) -> str:
        """Return a few words: the URLs may have passwords."""
        return f"<Settings of run {self.run_id}>"

    expectations: list[Expectation] = []

    @property
    def places(self) -> list[Place]:
        """Every backend at every level."""
        return [
            Place(backend, url, level, self.drivers[backend], self.path)
            for backend, (url, _, _) in self.servers.items()
            for level in self.levels
        ]

    def beside_at(self, place: Place) -> dict[str, Place | str]:
        """Return where each implementation beside runs, or why it cannot."""
        return {
            name: found if isinstance(found, str) else msgspec.structs.replace(place, driver=found)
            for name, found in self.beside.get(place.backend, {}).items()
        }

    @property
    def chosen_profile(self) -> Profile:
        """The profile."""
        return PROFILES[self.profile]

    @property
    def run_directory(self) -> Path:
        """Where the result file and the evidence of the run go."""
        return Path(self.results) / self.run_id

    @contextlib.contextmanager
    def spare(self, backend: str) -> Iterator[Spare | None]:
        """Give the second server of a backend to one test at a time; None without one.

        It is as the test before left it, which may have been another process's.
        """
        if backend not in self.spares:
            yield None
            return
        launch = Launch(self.run_id, Path(self.directory))
        with (launch.directory / f"spare-{backend.replace(':', '-')}").open("w") as turn:
            fcntl.flock(turn, fcntl.LOCK_EX)
            make = known_backends()[backend].spare
            yield None if make is None else make(launch)

    def command(self, test: str, backend: str) -> str:
        """Return the command that runs one test again, as it ran."""
        parts = ["pytest", "--pyargs", "conformance.scenarios", f"--backend={backend}"]
        if self.implementation != "reference":
            parts.append(f"--implementation={self.implementation}")
        parts += [f"--profile={self.profile}", f"--seed={self.seed}", "-k", test]
        return shlex.join(parts)


class Gate:
    """A run, from the controlling process's side."""

    def __init__(
        self,
        *,
        backends: str,
        backend_url: str | None,
        implementation: str,
        levels: str | None,
        profile: str,
        seed: int | None,
        results: Path,
        strict_claims: bool,
        images: Sequence[str] = (),
        keep: bool = False,
        say: Callable[[str], None] = print,
        expectations: Path | None = None,
        beside: Sequence[str] = (),
    ) -> None:
        self._began = time.monotonic()
        self._started = datetime.now(UTC).isoformat(timespec="seconds")
        self._launches: list[tuple[Backend, Launch]] = []
        self._keep = keep
        self._say = say
        self._beside = beside
        servers: dict[str, Server] = {}
        chosen_profile = _profile(profile)
        chosen_levels = _levels(levels)
        chosen: list[Backend] = []
        expected = load_expectations(expectations) if expectations is not None else []
        if backend_url is not None:
            servers[_only_name(backends)] = Server(backend_url)
            _check_scheme(backends, backend_url)
        else:
            chosen = choose(backends)
        wanted = _images(images, chosen)
        _check_beside(beside, implementation)
        _check_results(results)
        run_id = new_run_id()
        self.workplace = Workplace(run_id, _sweep)
        try:
            for backend in chosen:
                launch = Launch(run_id, self.workplace.directory, wanted.get(backend.name), say)
                self._launches.append((backend, launch))
            servers |= self._launch()
            drivers = {n: _driver(implementation, n, s.url) for n, s in servers.items()}
            if backend_url is not None or implementation != REFERENCE:
                for name, server in servers.items():
                    _try_out(implementation, name, server.url, backend_url is not None)
            self.settings = Settings(
                run_id=run_id,
                directory=str(self.workplace.directory),
                results=str(results.absolute()),
                profile=chosen_profile.name,
                seed=_seed(seed, chosen_profile),
                levels=chosen_levels,
                implementation=implementation,
                strict_claims=strict_claims,
                path=[entry for entry in sys.path if entry],
                servers={n: (s.url, s.version, s.image) for n, s in servers.items()},
                drivers=drivers,
                beside={
                    n: {other: _beside(other, s.url) for other in beside}
                    for n, s in servers.items()
                    if beside
                },
                spares=[backend.name for backend in chosen if backend.spare is not None],
                expectations=expected,
            )
        except BaseException:
            self._keep = False
            self.close()
            raise
        self.scenarios: list[ScenarioResult] = []
        self.benchmarks: list[Benchmark] = []

    def _launch(self) -> dict[str, Server]:
        """Bring all backends up at the same time."""
        with ThreadPoolExecutor(max_workers=len(self._launches) or 1) as pool:
            starting = {b.name: pool.submit(b.start, launch) for b, launch in self._launches}
            try:
                return {name: started.result() for name, started in starting.items()}
            except EngineFailed as error:
                raise BadSetting(str(error)) from error

    @property
    def refuted(self) -> list[str]:
        """Which expectations the results contradict, a sentence for each."""
        settings = self.settings
        return refuted(settings.expectations, self.scenarios, settings.servers)

    @property
    def conclusion(self) -> tuple[int, str]:
        """The exit status of a run in which no test failed, and why it is not 0."""
        settings = self.settings
        if self.refuted:
            return 1, "expectations were not met; they are listed above"
        claims = {
            (name, c.name) for name, driver in settings.drivers.items() for c in driver.claims
        }
        return exit_status(self.scenarios, claims, settings.strict_claims)

    def close(self) -> None:
        """Take the backends down, except servers that are to be kept; remove what was temporary.

        Where servers are kept, say where they are and what removes them.
        """
        kept = [b.name for b, _ in self._launches if self._keep and not b.embedded]
        for backend, launch in self._launches:
            if backend.name not in kept:
                backend.stop(launch)
        self.workplace.close()
        for name in kept:
            self._say(f"{name} is kept: {without_password(self.settings.servers[name][0])}")
        if kept:
            label = f"{RUN_LABEL}={self.settings.run_id}"
            self._say(f"to remove what is kept: docker rm -fv $(docker ps -aqf label={label})")
        elif self._keep:
            self._say("--keep-backend: no server was started, so none is kept")

    def save(self, command: Sequence[str], exit_code: int, ended_early: str = "") -> Path:
        """Write the result file; return its path."""
        settings = self.settings
        run = Run(
            id=settings.run_id,
            version=conformance.__version__,
            started=self._started,
            seconds=round(time.monotonic() - self._began, 1),
            command=self._shown_command(command),
            settings={
                "profile": settings.profile,
                "seed": str(settings.seed),
                "levels": ",".join(settings.levels),
                "implementation": settings.implementation,
                "strict claims": str(settings.strict_claims).lower(),
            }
            | ({"beside": ",".join(self._beside)} if self._beside else {}),
            environment=_environment(),
            subjects=self.subjects(),
            beside=[
                self._subject(backend, driver)
                for backend, drivers in settings.beside.items()
                for driver in drivers.values()
                if isinstance(driver, Driver)
            ],
            scenarios=sorted(self.scenarios, key=lambda result: result.test),
            benchmarks=sorted(self.benchmarks, key=lambda result: result.test),
            exit_status=exit_code,
            ended_early=ended_early,
        )
        settings.run_directory.mkdir(parents=True, exist_ok=True)
        return save_run(run, settings.run_directory)

    def subjects(self) -> list[Subject]:
        """Return what is under test on each backend."""
        return [self._subject(name, driver) for name, driver in self.settings.drivers.items()]

    def _subject(self, backend: str, driver: Driver) -> Subject:
        url, version, image = self.settings.servers[backend]
        return Subject(
            backend=backend,
            implementation=driver.implementation,
            implementation_version=driver.version,
            driver=driver.name,
            claims=[c.name for c in Characteristics if c in driver.claims],
            features=sorted(feature.name for feature in driver.features),
            url=self._shown(url),
            server=version,
            image=image,
        )

    def _shown_command(self, command: Sequence[str]) -> str:
        """Return the command of the run, without the passwords of its URLs."""
        shown = shlex.join(command)
        for url, _, _ in self.settings.servers.values():
            shown = shown.replace(url, without_password(url))
        return shown

    def _shown(self, url: str) -> str:
        """Return a URL for the result file: without password, and without where the run was."""
        return without_password(url).replace(self.settings.directory, "/RUN")


def exit_status(
    scenarios: Iterable[ScenarioResult], claims: Set[tuple[str, str]], strict: bool
) -> tuple[int, str]:
    """Return 0 when all claims that were run held, 1 when one was falsified, else 2; and why.

    Each backend's claims are its own. What was expected not to hold counts as if it had. A
    claim of which no scenario was run, as that of hosts, which no level exercises, makes it
    1 when ``strict``, and nothing else.

    :param claims: all that the drivers claim, each with its backend before it
    :param strict: a claim that held in no scenario counts as falsified
    """
    run: dict[tuple[str, str], list[Verdict]] = {}
    for result in scenarios:
        if result.claimed:
            verdict = Verdict.HELD if result.expected else result.verdict
            run.setdefault((result.backend, result.about), []).append(verdict)
    found = {claim: worst(verdicts) for claim, verdicts in run.items()}
    false = {c: v for c, v in found.items() if v in (Verdict.FALSIFIED, Verdict.ERROR)}
    if false:
        return 1, _told(false)
    lacking = [claim for claim in claims if Verdict.HELD not in run.get(claim, ())]
    if strict and lacking:
        told = _told({claim: found.get(claim, Verdict.NOT_EXERCISED) for claim in lacking})
        return 1, f"--strict-claims wants every claim held; {told}"
    open_ = {
        claim: verdict
        for claim, verdict in found.items()
        if verdict is Verdict.INCONCLUSIVE or (verdict is Verdict.NOT_EXERCISED and claim in claims)
    }
    return (2, _told(open_)) if open_ else (0, "")


def _told(verdicts: Mapping[tuple[str, str], Verdict]) -> str:
    """Return which claims have which verdict, and on which backends."""
    told: dict[tuple[str, Verdict], list[str]] = {}
    for backend, about in sorted(verdicts):
        told.setdefault((backend, verdicts[backend, about]), []).append(about)
    return "; ".join(
        f"{verdict.value} on {backend}: {', '.join(abouts)}"
        for (backend, verdict), abouts in told.items()
    )


def _sweep(run_id: str) -> None:
    for backend in known_backends().values():
        backend.sweep(run_id)


def _profile(name: str) -> Profile:
    if name not in PROFILES:
        raise BadSetting(f"--profile takes {', '.join(PROFILES)}, not {name!r}")
    return PROFILES[name]


def _seed(given: int | None, profile: Profile) -> int:
    if given is not None:
        return given
    return secrets.randbelow(2**32) if profile.random else 0


def _images(given: Sequence[str], chosen: Sequence[Backend]) -> dict[str, str]:
    """Return which image each backend is to run from, as ``NAME=IMAGE`` says."""
    wanted = {}
    names = [backend.name for backend in chosen if not backend.embedded]
    for one in given:
        name, _, image = one.partition("=")
        if name not in names or not image:
            raise BadSetting(
                "--image takes NAME=IMAGE, with the NAME of a server that this run starts "
                f"({', '.join(names) or 'it starts none'}), not {one!r}"
            )
        wanted[name] = image
    return wanted


def _levels(given: str | None) -> list[str]:
    if given is None:
        return list(UP_TO_NOW)
    levels = [level.strip() for level in given.split(",")]
    for level in levels:
        if level not in UP_TO_NOW:
            why = ", which is not available yet" if level in LEVELS else ""
            raise BadSetting(f"--level takes {', '.join(UP_TO_NOW)}, not {level!r}{why}")
    return levels


def _only_name(backends: str) -> str:
    if "," in backends or backends in ("all", "embedded", "servers"):
        raise BadSetting("--backend-url goes with one --backend=NAME")
    return backends


def _check_scheme(backend: str, url: str) -> None:
    """Refuse a URL of the user's own that leads to another kind of server."""
    scheme, separator, _ = url.partition("://")
    fitting = driver_schemes(backend.partition(":")[0])
    if fitting and not (separator and scheme.lower() in fitting):
        wanted = " or ".join(f"{name}://" for name in fitting)
        raise BadSetting(
            f"--backend-url of {backend} begins with {wanted}, "
            f"{f'not {scheme}://' if separator else 'and this one with no scheme'}"
        )


def _check_results(directory: Path) -> None:
    """Refuse a directory in which no result can be written, before there is one."""
    try:
        directory.mkdir(parents=True, exist_ok=True)
        with tempfile.TemporaryFile(dir=directory):
            pass
    except OSError as error:
        why = "it is no directory" if isinstance(error, FileExistsError) else error.strerror
        raise BadSetting(
            f"--results={directory}: nothing can be written there ({why}); give a directory, "
            "which is made where it is missing"
        ) from error


def _driver(implementation: str, backend: str, url: str) -> Driver:
    try:
        return describe(implementation, url)
    except (ValueError, ToozError) as error:
        raise BadSetting(f"implementation {implementation} on {backend}: {error}") from error


def _try_out(implementation: str, backend: str, url: str, users_own: bool) -> None:
    """Refuse what does not start, or cannot be used, before every scenario fails of it.

    :param users_own: whether the server is the user's own, which may not answer
    """
    try:
        try_out(implementation, url, _ANSWER_SECONDS)
    except BadImplementation as error:
        raise BadSetting(f"implementation {implementation} on {backend}: {error}") from error
    except Exception as error:
        if not users_own:
            raise BadSetting(
                f"implementation {implementation} on {backend}: no coordinator can be started "
                f"and stopped: {spelled(error)}"
            ) from error
        raise BadSetting(
            f"--backend-url: no coordinator can be started at {without_password(url)}: "
            f"{spelled(error)}; see that the server is up and that the URL leads to it, or leave "
            "--backend-url out to have a server started"
        ) from error


def _check_beside(beside: Sequence[str], implementation: str) -> None:
    """Refuse what cannot stand beside the implementation under test."""
    for number, name in enumerate(beside):
        if name in (implementation, *beside[:number]):
            raise BadSetting(
                f"--beside takes implementations other than the one under test "
                f"({implementation}), each once: leave {name!r} out"
            )
        try:
            find_factory(name)
        except ValueError as error:
            raise BadSetting(f"--beside: {error}") from error


def _beside(implementation: str, url: str) -> Driver | str:
    """Return the driver that an implementation beside has for a URL, or why it has none."""
    try:
        return describe(implementation, url)
    except Exception as error:  # whatever is wrong with it, the run is not about it
        return spelled(error)


def _environment() -> Environment:
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    versions = {}
    for package in _PACKAGES:
        try:
            versions[package] = metadata.version(package)
        except metadata.PackageNotFoundError:
            continue
    return Environment(
        python=platform.python_version(),
        system=f"{platform.system()} {platform.release()} {platform.machine()}",
        processors=len(os.sched_getaffinity(0)),
        memory=memory,
        packages=versions,
    )
