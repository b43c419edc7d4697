"""The process that worker processes are forked from: it has imported what they need.

A worker that is started by forking costs a tenth of one that begins with an empty
interpreter. The nursery makes no coordinator and opens nothing, and has one thread unless
a driver starts others when it is imported, so there is nothing that a fork could break.
"""

from __future__ import annotations

import contextlib
import os
import signal
import socket
import subprocess
import sys
import traceback
from multiprocessing.connection import Connection, Pipe
from typing import NoReturn

from conformance.coordination import ToozError, driver_class
from conformance.workload.worker import die_with_parent, serve

__all__ = ["Nursery", "NurseryFailed", "raise_workers"]

_MESSAGE_BYTES = 1000
"""The most that is read of a request, the scheme of a URL and a colon, or of an answer."""


class NurseryFailed(RuntimeError):
    """The nursery ended."""


class Nursery:
    """The nursery from the side of who wants workers; used by its main thread.

    The process starts with the first worker, and dies with the thread that wanted it.
    """

    def __init__(self) -> None:
        self._process: subprocess.Popen[bytes] | None = None
        self._control, self._end = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)

    def bear(self, scheme: str) -> tuple[int, Connection]:
        """Start a worker; return its process and the connection to it.

        :param scheme: of the URL that it will use: the driver is imported before the fork
        :raises NurseryFailed: the nursery ended
        """
        if self._process is None:
            self._process = self._start()
        ours, its = Pipe()
        with its:
            try:
                socket.send_fds(self._control, [f"{scheme}:".encode()], [its.fileno()])
                answer = self._control.recv(_MESSAGE_BYTES)
            except OSError as error:
                raise NurseryFailed(f"the nursery of worker processes ended: {error}") from error
        if not answer:
            raise NurseryFailed("the nursery of worker processes ended: see standard error")
        return int(answer), ours

    def close(self) -> None:
        """End the process, and with it what workers are left."""
        self._control.close()
        self._end.close()
        if self._process is not None:
            self._process.wait()

    def _start(self) -> subprocess.Popen[bytes]:
        code = (
            "import sys\n"
            "control, *sys.path[:] = sys.argv[1:]\n"
            "from conformance.workload.nursery import raise_workers\n"
            "raise_workers(int(control))\n"
        )
        command = [sys.executable, "-c", code, str(self._end.fileno()), *sys.path]
        process = subprocess.Popen(  # noqa: S603 - this project's own code
            command, stdin=subprocess.DEVNULL, stdout=2, pass_fds=[self._end.fileno()]
        )
        self._end.close()
        return process


def raise_workers(control: int) -> None:
    """Fork a worker for each request on a socket, until it closes.

    A request has the scheme of a URL and one end of the worker's connection; the answer is
    the worker's process.

    :param control: the descriptor of the socket
    """
    die_with_parent()
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C is the controlling process's
    with socket.socket(fileno=control) as requests:
        while True:
            request, descriptors, _, _ = socket.recv_fds(requests, _MESSAGE_BYTES, 1)
            _bury()
            if not request:
                return
            with contextlib.suppress(ValueError, ToozError):  # the worker will tell of it
                driver_class(request.decode().rstrip(":"))
            with Connection(descriptors[0]) as connection:
                process = os.fork()
                if process == 0:
                    requests.close()
                    _live(connection)
            requests.send(str(process).encode())


def _live(connection: Connection) -> NoReturn:
    """Be a worker, and nothing else."""
    status = 1
    try:
        serve(connection)
        status = 0
    except BaseException:
        traceback.print_exc()
    finally:
        os._exit(status)


def _bury() -> None:
    """Reap the workers that are dead."""
    with contextlib.suppress(ChildProcessError):  # there is none
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
