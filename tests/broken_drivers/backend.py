"""The backend ``served``: the server of ``served`` in a process of its own, and a second one.

Run as a module it is that process, which ends when whoever started it does.
"""

from __future__ import annotations

import contextlib
import signal
import subprocess
import sys
from pathlib import Path
from urllib.parse import urlsplit

from conformance.backends import Backend, Launch, Server

from .served import serving

__all__ = ["SERVED", "install"]

_LAUNCHED: dict[str, tuple[_Process, _Process]] = {}
"""The two servers of each run that this process controls."""


class _Process:
    """A server that can be ended and started again, in a process of its own.

    :param directory: where it keeps its things
    """

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._popen: subprocess.Popen[str] | None = None
        self.url = ""

    @property
    def process(self) -> str | None:
        return None if self._popen is None else str(self._popen.pid)

    @property
    def address(self) -> tuple[str, int]:
        parts = urlsplit(self.url)
        return parts.hostname or "", parts.port or 0

    def start(self) -> None:
        self._popen = subprocess.Popen(
            [sys.executable, "-m", __name__, str(self._directory)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )
        assert self._popen.stdout is not None
        self.url = self._popen.stdout.readline().strip()

    def wait_ready(self) -> None:
        """Do nothing: it answers as soon as it has told its URL."""

    def stop(self, *, kill: bool) -> None:
        if self._popen is not None:
            with self._popen as popen:
                popen.send_signal(signal.SIGKILL if kill else signal.SIGTERM)
            self._popen = None


def _start(launch: Launch) -> Server:
    first, second = (_Process(launch.directory / name) for name in ("first", "second"))
    _LAUNCHED[launch.run_id] = first, second
    first.start()
    return Server(first.url)


def _stop(launch: Launch) -> None:
    for process in _LAUNCHED.pop(launch.run_id):
        process.stop(kill=True)


SERVED = Backend(
    name="served",
    summary="the server that broken drivers are for",
    embedded=False,
    obstacle=lambda: None,
    start=_start,
    stop=_stop,
    sweep=lambda run_id: None,
    private=lambda url, name: contextlib.nullcontext(url),
    spare=lambda launch: _LAUNCHED[launch.run_id][1],
)


def install(directory: Path) -> None:
    """Make the backend known to whoever has a directory in its path, as a package would."""
    package = directory / "served-1.dist-info"
    package.mkdir()
    (package / "METADATA").write_text("Metadata-Version: 2.1\nName: served\nVersion: 1\n")
    (package / "entry_points.txt").write_text(
        "[conformance.backends]\nserved = broken_drivers.backend:SERVED\n"
    )


def _serve(directory: Path) -> None:
    signal.signal(signal.SIGTERM, lambda *_: sys.exit())
    with serving(directory) as url:
        sys.stdout.write(f"{url}\n")
        sys.stdout.flush()
        sys.stdin.read()


if __name__ == "__main__":
    _serve(Path(sys.argv[1]))
