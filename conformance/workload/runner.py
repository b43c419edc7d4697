"""Has a crew carry out a plan and returns the history of it."""

from __future__ import annotations

import contextlib
import heapq
import itertools
import os
import shutil
import threading
import time
from collections.abc import Iterable, Iterator, Sequence, Set
from pathlib import Path
from types import TracebackType

import msgspec

from conformance.coordination import without_password
from conformance.history import Fault, History, Operation
from conformance.workload.crew import Crew, Worker, WorkerFailed
from conformance.workload.journal import last_heard, read_journal
from conformance.workload.plan import Phase, Plan, Step
from conformance.workload.worker import Close, Open, Perform

__all__ = ["LEVELS", "Session", "StartFailed", "StopFailed", "Target", "Trouble", "run"]

LEVELS = ("threads", "processes", "hosts")
"""Where clients are: threads of one process, processes of one host, hosts."""

_OPEN_SECONDS = 60.0
"""How long the coordinators of a trial may take to start."""

_CLOSE_SECONDS = 60.0
"""How long they may take to stop: a stop() that never returns is an error."""

_HEAD_START = 2_000_000
"""Nanoseconds between sending a phase and its start, so that its clients begin together."""

_counter = itertools.count()


class Target(msgspec.Struct, frozen=True):
    """What the clients are to use: an implementation's driver for a URL, at a level."""

    implementation: str
    url: str
    level: str
    path: list[str] = []

    def __repr__(self) -> str:
        """Return a few words: the URL may have a password."""
        return f"<Target {self.implementation}, {self.level}, at {without_password(self.url)}>"


class Trouble(Exception):
    """The trial could not be carried out; says what happened where."""


class StartFailed(Trouble):
    """A coordinator could not be made or started."""


class StopFailed(Trouble):
    """A coordinator's ``stop()`` raised, or did not return; ``history`` is what came before."""

    def __init__(self, reason: str, history: History) -> None:
        super().__init__(reason)
        self.history = history


class Session:
    """A trial under way: coordinators are started, clients wait for steps.

    Use as a context manager; afterwards the coordinators are stopped.

    :param lacks: the calls, by the names of steps, that the driver does without
    """

    def __init__(
        self,
        crew: Crew,
        target: Target,
        plan: Plan,
        directory: Path,
        lacks: Set[str] = frozenset(),
    ) -> None:
        self._crew = crew
        self._target = target
        self._plan = plan
        self._directory = directory / f"trial-{os.getpid()}-{next(_counter)}"
        self._mark = f"{os.getpid():x}-{time.monotonic_ns():x}-".encode()
        self._workers: dict[int, Worker] = {}
        self._faults: list[Fault] = []
        self.lacks = lacks
        self._busy: set[int] = set()  # clients that have been asked, and are not done
        self.lost: set[int] = set()
        """Clients that were killed, or given up because a call never returned."""

    def __enter__(self) -> Session:
        self._directory.mkdir(parents=True)
        try:
            self._open()
        except BaseException:
            self._forsake()
            self._bury()
            raise
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None = None,
        error: BaseException | None = None,
        trace: TracebackType | None = None,
    ) -> None:
        try:
            if kind is None or issubclass(kind, Exception):
                self._close()
            else:  # Ctrl-C: clients may be anywhere, and nobody waits for them
                self._forsake()
        finally:
            self._bury()

    def history(self) -> History:
        """Return what happened so far.

        :raises MalformedHistory: the recording is not what a run can produce
        """
        operations: list[Operation] = []
        for client in self._plan.clients:
            operations += read_journal(self._directory / f"{client}.journal")
        return History.of(operations, self._faults)

    def perform(self, phase: Phase) -> None:
        """Carry out a phase; return when every client is done, killed or given up.

        :raises Trouble: a client's thread broke in the suite's own code
        """
        with self.during(phase):
            pass

    def perform_all(self, phases: Iterable[Phase]) -> None:
        """Carry out phases, one after the other."""
        for phase in phases:
            self.perform(phase)

    @contextlib.contextmanager
    def during(self, phase: Phase) -> Iterator[None]:
        """Carry out a phase while the body has other clients perform others.

        :raises Trouble: a client's thread broke in the suite's own code
        """
        steps = {client: s for client, s in phase.steps.items() if client not in self.lost}
        start = time.monotonic_ns() + (_HEAD_START if len(steps) > 1 else 0)
        waiting: dict[Worker, set[int]] = {}
        for client in steps:
            waiting.setdefault(self._workers[client], set()).add(client)
        for worker, clients in waiting.items():
            worker.ask(Perform({client: steps[client] for client in clients}, start))
        self._busy |= set(steps)
        with self._struck(phase, start):
            yield
            lasting = sum(f.seconds + f.at for f in phase.faults)
            end = time.monotonic() + self._plan.patience + lasting
            for worker, clients in waiting.items():
                self._await(worker, clients, end)

    def note(self, fault: Fault) -> None:
        """Enter in the history what was done to the link of a client."""
        self._faults.append(fault)

    def last(self, count: int) -> list[Operation]:
        """Return the last operations that were called."""
        return self.history().operations[-count:]

    def call(self, client: int, step: Step) -> Operation:
        """Have one client do one step; return the operation."""
        self.perform(Phase({client: [step]}))
        return read_journal(self._directory / f"{client}.journal")[-1]

    def _open(self) -> None:
        plan, threads = self._plan, self._target.level == "threads"
        count = 1 if threads else len(set(plan.coordinators.values()))
        workers = self._crew.take(count, self._target.url)
        for client, coordinator in plan.coordinators.items():
            self._workers[client] = workers[0 if threads else coordinator % len(workers)]
        for worker in workers:
            clients = {c: plan.coordinators[c] for c, w in self._workers.items() if w is worker}
            worker.ask(
                Open(
                    implementation=self._target.implementation,
                    path=self._target.path,
                    url=self._target.url,
                    options=plan.options,
                    mark=self._mark,
                    marked_at_end=plan.marked_at_end,
                    heart=plan.heart,
                    urls=plan.urls,
                    coordinators={n: plan.member(n) for n in sorted(set(clients.values()))},
                    clients=clients,
                    directory=str(self._directory),
                )
            )
        reasons = self._all_done(workers, "open", _OPEN_SECONDS)
        if reasons:
            raise StartFailed(reasons[0])

    def _close(self) -> None:
        for worker in self._distinct():  # busy, if what came during a phase broke it off
            clients = {client for client, its in self._workers.items() if its is worker}
            self._await(worker, clients, time.monotonic() + self._plan.patience)
        alive = [worker for worker in self._distinct() if worker.alive]
        for worker in alive:
            worker.ask(Close())
        reasons = self._all_done(alive, "close", _CLOSE_SECONDS)
        if reasons:
            raise StopFailed(reasons[0], self.history())

    def _forsake(self) -> None:
        """Let no other trial have the workers: they have begun this one and will not end it."""
        for worker in self._distinct():
            worker.alive = False

    def _bury(self) -> None:
        self._crew.give_back(self._distinct())
        self._workers = {}
        shutil.rmtree(self._directory, ignore_errors=True)

    def _distinct(self) -> Sequence[Worker]:
        return list(dict.fromkeys(self._workers.values()))

    def _all_done(self, workers: Iterable[Worker], request: str, seconds: float) -> list[str]:
        """Wait until all workers have opened or closed; return what went wrong.

        Nobody is left with a reply that the next trial would take for one to itself.

        :param seconds: for which each is waited for, once those before it are done
        """
        done = [self._done(worker, request, time.monotonic() + seconds) for worker in workers]
        return [reason for reason in done if reason is not None]

    def _done(self, worker: Worker, request: str, until: float) -> str | None:
        """Wait until a worker has opened or closed; return what went wrong, if anything."""
        reply = worker.reply(until)
        if reply is not None and reply.done == request and reply.error is None:
            return None
        worker.alive = False
        if reply is None:
            verb = {"open": "start", "close": "stop"}[request]
            return f"{verb}() of a coordinator did not return in time, or its process died"
        if reply.done != request:
            raise WorkerFailed(f"expected {request!r} of a worker, got {reply}")
        return reply.error

    def _await(self, worker: Worker, clients: set[int], until: float) -> None:
        """Wait for clients to finish; give up those that do not.

        Who has many calls to make on a slow server may take long for all of them together:
        what must return in time is each.
        """
        while awaited := clients & self._busy - self.lost:
            reply = worker.reply(until)
            if reply is None:
                if worker.alive and (left := self._patience_left(awaited)) > 0:
                    until = time.monotonic() + left
                    continue
                self._give_up(worker)
                return
            if reply.error is not None:
                worker.alive = False
                raise Trouble(reply.error)
            if reply.client is not None:
                self._busy.discard(reply.client)

    def _patience_left(self, clients: Set[int]) -> float:
        """Return the seconds for which to wait on for whom has been silent longest."""
        heard = min(last_heard(self._directory / f"{client}.journal") for client in clients)
        return self._plan.patience - (time.monotonic_ns() - heard) / 1e9

    def _give_up(self, worker: Worker) -> None:
        """Kill a worker whose clients do not return; with it go all its clients."""
        gone = {client for client, its in self._workers.items() if its is worker} - self.lost
        if worker.alive:
            begin = time.monotonic_ns()
            worker.kill()
            end = time.monotonic_ns()
            self._faults += [Fault("give up", client, begin, end) for client in gone]
        self.lost |= gone

    @contextlib.contextmanager
    def _struck(self, phase: Phase, start: int) -> Iterator[None]:
        """Let the phase's faults happen while the body runs, and end before it does."""
        if not phase.faults:
            yield
            return
        striker = threading.Thread(target=self._strike, args=(phase, start), name="faults")
        striker.start()
        try:
            yield
        finally:
            striker.join()

    def _strike(self, phase: Phase, start: int) -> None:
        timeline = [(start / 1e9 + f.at, f.kind, f.client, f.seconds) for f in phase.faults]
        heapq.heapify(timeline)
        paused: dict[int, int] = {}
        while timeline:
            moment, kind, client, seconds = heapq.heappop(timeline)
            time.sleep(max(0.0, moment - time.monotonic()))
            if client in self.lost:
                continue
            worker = self._workers[client]
            begin = time.monotonic_ns()
            if kind == "kill":
                self.lost.add(client)
                worker.kill()
                self._faults.append(Fault("kill", client, begin, time.monotonic_ns()))
            elif kind == "pause":
                paused[client] = begin
                worker.pause()  # which may be late, and is none the shorter
                heapq.heappush(timeline, (time.monotonic() + seconds, "resume", client, 0.0))
            elif kind == "resume":
                worker.resume()
                self._faults.append(Fault("pause", client, paused.pop(client), begin))


def run(crew: Crew, target: Target, plan: Plan, directory: Path) -> History:
    """Carry out a plan and return its history.

    :param directory: where the clients' journals go while it runs
    :raises StartFailed: a coordinator could not be started
    :raises StopFailed: a coordinator could not be stopped
    :raises WorkerFailed: the harness could not start its processes
    """
    with Session(crew, target, plan, directory) as session:
        session.perform_all(plan.phases)
        return session.history()
