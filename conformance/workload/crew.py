"""The worker processes of a run, from the controlling side: start, ask, pause, kill.

Workers are kept from trial to trial, because starting one costs a hundred times what a
trial does; one that was killed or does not answer is replaced.
"""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from typing import Any

import execnet
import msgspec

from conformance.workload.worker import Close, Open, Perform, Reply

__all__ = ["Crew", "Worker", "WorkerFailed"]

_START_SECONDS = 30.0
"""How long a new process may take to say that it is ready, on a busy machine."""


class WorkerFailed(RuntimeError):
    """A worker could not be started or could not do what it was asked."""


class Worker:
    """One worker process."""

    def __init__(self) -> None:
        self._gateway = execnet.makegateway(f"popen//python={sys.executable}")
        self._replies: queue.SimpleQueue[Reply | None] = queue.SimpleQueue()
        decoder = msgspec.msgpack.Decoder(Reply)
        self._encoder = msgspec.msgpack.Encoder()
        self._channel = self._gateway.remote_exec(
            "import sys\n"
            "sys.path[:] = channel.receive()\n"
            "from conformance.workload.worker import serve\n"
            "serve(channel)\n"
        )
        self._channel.send(sys.path)
        io: Any = self._gateway._io  # typed for every kind of gateway, not for popen
        self._popen: subprocess.Popen[bytes] = io.popen
        self.process = self._popen.pid
        self._channel.setcallback(
            lambda packed: self._replies.put(decoder.decode(packed) if packed else None),
            endmarker=b"",
        )
        self.alive = True

    def ask(self, order: Open | Perform | Close) -> None:
        """Send a request; the replies come through :meth:`reply`."""
        with contextlib.suppress(OSError):  # a dead worker says so by not replying
            self._channel.send(self._encoder.encode(order))

    def reply(self, until: float) -> Reply | None:
        """Return the next reply, or None when none came until then or the worker died.

        :param until: seconds of the monotonic clock
        """
        try:
            reply = self._replies.get(timeout=max(0.0, until - time.monotonic()))
        except queue.Empty:
            return None
        if reply is None:
            self.alive = False
        return reply

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
        os.kill(self.process, signal.SIGSTOP)

    def resume(self) -> None:
        """Let a stopped process go on (SIGCONT)."""
        os.kill(self.process, signal.SIGCONT)

    def kill(self) -> None:
        """Kill the process (SIGKILL), without any clean-up of its own; return when it is dead.

        Until then the kernel may not have closed what it had open (_exit(2), wait(2)).
        """
        self.alive = False
        os.kill(self.process, signal.SIGKILL)
        self._popen.wait()

    def end(self) -> None:
        """End the process and wait until it is gone."""
        if self._popen.poll() is None:
            self._popen.kill()
        self._popen.wait()
        self.alive = False
        self._gateway.exit()


class Crew:
    """A pool of workers; used by one thread, the main one (see the worker's death)."""

    def __init__(self) -> None:
        self._idle: list[Worker] = []

    def take(self, count: int) -> list[Worker]:
        """Return that many workers, started together where there are too few.

        :raises WorkerFailed: one could not be started
        """
        taken = [self._idle.pop() for _ in range(min(count, len(self._idle)))]
        fresh = [Worker() for _ in range(count - len(taken))]
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

    def __enter__(self) -> Crew:
        return self

    def __exit__(self, *exception: Any) -> None:
        self.close()
