"""The worker processes of a run, from the controlling side: start, ask, pause, kill.

Workers are kept from trial to trial; one that was killed or does not answer is replaced.
"""

from __future__ import annotations

import contextlib
import os
import signal
import time
from collections.abc import Iterable
from multiprocessing.connection import Connection, wait
from typing import Any
from urllib.parse import urlsplit

import msgspec

from conformance.workload.nursery import Nursery
from conformance.workload.worker import Close, Open, Perform, Reply

__all__ = ["Crew", "Worker", "WorkerFailed"]

_START_SECONDS = 30.0
"""How long a new process may take to say that it is ready, on a busy machine."""


class WorkerFailed(RuntimeError):
    """A worker could not be started or could not do what it was asked."""


class Worker:
    """One worker process.

    :param process: its process
    :param connection: over which it is asked and replies
    """

    def __init__(self, process: int, connection: Connection) -> None:
        self.process = process
        self.alive = True
        self._life = os.pidfd_open(process)
        self._connection = connection
        self._encoder = msgspec.msgpack.Encoder()
        self._decoder = msgspec.msgpack.Decoder(Reply)

    def ask(self, order: Open | Perform | Close) -> None:
        """Send a request; the replies come through :meth:`reply`."""
        with contextlib.suppress(OSError):  # a dead worker says so by not replying
            self._connection.send_bytes(self._encoder.encode(order))

    def reply(self, until: float) -> Reply | None:
        """Return the next reply, or None when none came until then or the worker died.

        :param until: seconds of the monotonic clock
        """
        ready = wait([self._connection, self._life], max(0.0, until - time.monotonic()))
        if not ready:
            return None
        try:
            if self._connection.poll():  # what it had said before it died counts
                return self._decoder.decode(self._connection.recv_bytes())
        except (EOFError, OSError):
            pass
        self.alive = False
        return None

    def wait_ready(self) -> None:
        """Wait until the process is up.

        :raises WorkerFailed: it is not, in time
        """
        reply = self.reply(time.monotonic() + _START_SECONDS)
        if reply is None or reply.done != "ready":
            self.end()
            raise WorkerFailed(
                f"worker process {self.process} did not start within {_START_SECONDS:g} s"
            )

    def pause(self) -> None:
        """Stop the process (SIGSTOP)."""
        signal.pidfd_send_signal(self._life, signal.SIGSTOP)

    def resume(self) -> None:
        """Let a stopped process go on (SIGCONT)."""
        signal.pidfd_send_signal(self._life, signal.SIGCONT)

    def kill(self) -> None:
        """Kill the process (SIGKILL), without any clean-up of its own; return when it is dead.

        Until then the kernel may not have closed what it had open (_exit(2)). A descriptor
        of a process is readable once all of its threads have ended (pidfd_open(2)).
        """
        self.alive = False
        with contextlib.suppress(ProcessLookupError):  # it has ended by itself
            signal.pidfd_send_signal(self._life, signal.SIGKILL)
        wait([self._life])

    def end(self) -> None:
        """End the process and wait until it is gone."""
        self.kill()
        os.close(self._life)
        self._connection.close()


class Crew:
    """A pool of workers; used by one thread, the main one (see the worker's death)."""

    def __init__(self) -> None:
        self._idle: list[Worker] = []
        self._nursery = Nursery()

    def take(self, count: int, url: str) -> list[Worker]:
        """Return that many workers, started together where there are too few.

        :param url: what they will use
        :raises WorkerFailed: one could not be started
        :raises NurseryFailed: none can be
        """
        scheme = urlsplit(url).scheme
        taken = [self._idle.pop() for _ in range(min(count, len(self._idle)))]
        fresh = [Worker(*self._nursery.bear(scheme)) for _ in range(count - len(taken))]
        for worker in fresh:
            worker.wait_ready()
        return taken + fresh

    def give_back(self, workers: Iterable[Worker]) -> None:
        """Take workers back for the next trial; dead ones are buried."""
        for worker in workers:
            if worker.alive:
                self._idle.append(worker)
            else:
                worker.end()

    def close(self) -> None:
        """End all workers."""
        while self._idle:
            self._idle.pop().end()
        self._nursery.close()

    def __enter__(self) -> Crew:
        return self

    def __exit__(self, *exception: Any) -> None:
        self.close()
