"""A server of a test's own, from the image that the run's server of that backend runs from.

It bears the run's label, so that whatever becomes of the test the run removes it at its
end, and the next run after a killed one.
"""

from __future__ import annotations

import contextlib
import io
import tarfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import pytest

from conformance.backends.engine import RUN_LABEL, docker, last_words
from conformance.gate import Settings

__all__ = ["OwnServer", "own_server", "until_answer"]

HOST = "127.0.0.1"

_READY_SECONDS = 90.0
"""How long a server may take until it answers, on a busy machine."""

_ASK_AGAIN_SECONDS = 0.05


@dataclass(frozen=True)
class OwnServer:
    """A container, and where the port of its server is to be found on this host."""

    container: str
    port: int

    def execute(self, *command: str) -> str:
        """Run a command in the container; return what it prints."""
        return docker("exec", self.container, *command)


@contextlib.contextmanager
def own_server(
    settings: Settings,
    backend: str,
    command: Sequence[str],
    port: int,
    *,
    published: Sequence[int] = (),
    environment: Mapping[str, str] | None = None,
    files: Sequence[Path] = (),
) -> Iterator[OwnServer]:
    """Run a server; remove it in the end.

    :param backend: from whose image, as ``--backend`` names it
    :param command: what the image is to run
    :param port: the server's, inside the container
    :param published: ports that are the same inside and outside, instead of one of the engine's
    :param environment: variables for it
    :param files: put into ``/given`` before it starts, readable by everybody
    """
    image = settings.servers[backend][2]
    assert image, "a test starts a server from the run's image: run it without --backend-url"
    given = [f"--publish={HOST}:{one}:{one}" for one in published] or [f"--publish={HOST}::{port}"]
    given += [f"--env={name}={value}" for name, value in (environment or {}).items()]
    container = docker(
        *("create", f"--label={RUN_LABEL}={settings.run_id}", *given),
        *(image.split()[0], *command),
    )
    try:
        if files:
            docker("cp", "-", f"{container}:/", given=_archive(files))
        docker("start", container)
        if not published:
            port = int(docker("port", container, str(port)).splitlines()[0].rpartition(":")[2])
        yield OwnServer(container, port)
    finally:
        docker("rm", "--force", "--volumes", container, seconds=60)


def until_answer(server: OwnServer, ask: Callable[[], object]) -> None:
    """Ask a server until it answers."""
    end = time.monotonic() + _READY_SECONDS
    while True:
        try:
            ask()
        except Exception:
            state = docker("inspect", "--format", "{{.State.Status}}", server.container)
            if state != "running" or time.monotonic() > end:
                pytest.fail(f"the container is {last_words(server.container)}")
            time.sleep(_ASK_AGAIN_SECONDS)
        else:
            return


def _archive(files: Sequence[Path]) -> bytes:
    written = io.BytesIO()
    with tarfile.open(fileobj=written, mode="w") as archive:
        directory = tarfile.TarInfo("given")
        directory.type, directory.mode = tarfile.DIRTYPE, 0o755
        archive.addfile(directory)
        for file in files:
            entry = tarfile.TarInfo(f"given/{file.name}")
            entry.size, entry.mode = file.stat().st_size, 0o644
            archive.addfile(entry, io.BytesIO(file.read_bytes()))
    return written.getvalue()
