"""The process in which clients live: forked by ``nursery``, driven by ``crew``.

A worker serves one trial after another. In a trial it has one thread for each of its
clients; what the clients do goes to their journals, and only "done" goes back over the
connection. It dies with the process that started it.
"""

from __future__ import annotations

import ctypes
import os
import queue
import signal
import sys
import threading
import time
import traceback
import warnings
from multiprocessing.connection import Connection
from pathlib import Path
from typing import Any

import msgspec

from conformance.implementations import REFERENCE, find_factory
from conformance.workload.journal import Journal
from conformance.workload.performer import Party, Performer
from conformance.workload.plan import Step

__all__ = ["Close", "Open", "Perform", "Reply", "die_with_parent", "serve"]

_PR_SET_PDEATHSIG = 1
"""prctl(2): the signal that this process gets when its parent dies."""


class Open(msgspec.Struct, tag="open"):
    """Begin a trial: make and start coordinators.

    ``coordinators`` maps each coordinator's number to its member name, ``clients`` each
    client's number to its coordinator's, ``urls`` the numbers of coordinators to URLs that
    they use instead of ``url``; journals go to ``directory``.
    """

    implementation: str
    path: list[str]
    url: str
    options: dict[str, Any]
    mark: bytes
    marked_at_end: bool
    coordinators: dict[int, bytes]
    clients: dict[int, int]
    directory: str
    heart: bool
    urls: dict[int, str] = {}


class Perform(msgspec.Struct, tag="perform"):
    """Have clients carry out steps, from ``start`` (monotonic nanoseconds) on."""

    steps: dict[int, list[Step]]
    start: int


class Close(msgspec.Struct, tag="close"):
    """End the trial: stop the coordinators."""


class Reply(msgspec.Struct):
    """What a worker says: which request it has done, for which client, what went wrong."""

    done: str
    client: int | None = None
    error: str | None = None


class _Client(threading.Thread):
    """One client: waits for steps and performs them."""

    def __init__(self, performer: Performer, journal: Journal, say: Any) -> None:
        super().__init__(name=f"client-{performer.client}", daemon=True)
        self.number = performer.client
        self._performer = performer
        self._journal = journal
        self._say = say
        self.orders: queue.SimpleQueue[Perform | None] = queue.SimpleQueue()

    def run(self) -> None:
        while (order := self.orders.get()) is not None:
            error = None
            try:
                _wait_until(order.start)
                for step in order.steps[self.number]:
                    self._performer.perform(step)
            except BaseException:
                error = traceback.format_exc()
            self._say(Reply("perform", self.number, error))
        self._journal.close()


class _Trial:
    """The coordinators and clients of one trial."""

    def __init__(self, order: Open, say: Any) -> None:
        factory = find_factory(order.implementation)
        parties: dict[int, Party] = {}
        self.coordinators = []
        for number, member in order.coordinators.items():
            name = member + order.mark if order.marked_at_end else order.mark + member
            coordinator = factory(order.urls.get(number, order.url), name, **order.options)
            coordinator.start(start_heart=order.heart)
            self.coordinators.append(coordinator)
            parties[number] = Party(coordinator, order.mark, order.marked_at_end)
        self.clients: dict[int, _Client] = {}
        for client, number in order.clients.items():
            journal = Journal(Path(order.directory) / f"{client}.journal")
            performer = Performer(client, order.coordinators[number], parties[number], journal)
            self.clients[client] = _Client(performer, journal, say)
            self.clients[client].start()

    def close(self) -> None:
        """Stop what is still started."""
        for client in self.clients.values():
            client.orders.put(None)
        for client in self.clients.values():
            client.join()
        for coordinator in self.coordinators:
            if coordinator.is_started:
                coordinator.stop()


def serve(connection: Connection) -> None:
    """Serve requests until the connection closes."""
    die_with_parent()
    encoder = msgspec.msgpack.Encoder()
    decoder = msgspec.msgpack.Decoder(Open | Perform | Close)
    saying = threading.Lock()

    def say(reply: Reply) -> None:
        with saying:
            connection.send_bytes(encoder.encode(reply))

    say(Reply("ready"))
    trial: _Trial | None = None
    while True:
        try:
            order = decoder.decode(connection.recv_bytes())
        except EOFError:
            return
        if isinstance(order, Perform):
            if trial is None:
                raise RuntimeError("asked to perform without a trial")
            for client in order.steps:
                trial.clients[client].orders.put(order)
            continue
        error = None
        try:
            if isinstance(order, Open):
                _heed_warnings(order.implementation)
                sys.path[:0] = [entry for entry in order.path if entry not in sys.path]
                trial = _Trial(order, say)
            elif trial is not None:
                trial.close()
                trial = None
        except Exception:
            error = traceback.format_exc()
        say(Reply("open" if isinstance(order, Open) else "close", error=error))


def _heed_warnings(implementation: str) -> None:
    """Make errors of warnings where the drivers are this project's own.

    A warning is no wrong answer, so nobody else's driver is falsified for one.
    """
    warnings.simplefilter("error" if implementation == REFERENCE else "default")
    # os.fork() with threads is what some steps do on purpose.
    warnings.filterwarnings("ignore", category=DeprecationWarning, message=".*fork.*")


def die_with_parent() -> None:
    """Ask the kernel to kill this process, even a stopped one, when its parent dies.

    Source: prctl(2), PR_SET_PDEATHSIG. The parent's main thread starts the workers, as
    the signal is tied to the thread that did.
    """
    parent = os.getppid()
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(_PR_SET_PDEATHSIG, signal.SIGKILL, 0, 0, 0)
    if os.getppid() != parent:
        os._exit(1)


def _wait_until(moment: int) -> None:
    """Return at a moment of the monotonic clock, without giving it away by oversleeping."""
    spin = 200_000
    while (left := moment - time.monotonic_ns()) > 0:
        if left > spin:
            time.sleep((left - spin) / 1e9)
