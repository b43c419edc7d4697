"""The ipc backend: shared memory and semaphores of this host, named for the run."""

from __future__ import annotations

import importlib.util
import sys
from contextlib import nullcontext
from pathlib import Path

from conformance.backends import Backend, Launch, Server

__all__ = ["IPC"]

_SHARED_MEMORY = Path("/dev/shm")  # noqa: S108 - where Linux keeps them: shm_overview(7)


def _obstacle() -> str | None:
    if not sys.platform.startswith("linux"):
        return "it needs shared memory that flock(2) works on, which only Linux has"
    if importlib.util.find_spec("posix_ipc") is None:
        return "posix_ipc is missing: install coordination-conformance[ipc]"
    return None


def _namespace(run_id: str) -> str:
    return f"conformance-{run_id}"


def _start(launch: Launch) -> Server:
    return Server(url=f"ipc://?namespace={_namespace(launch.run_id)}")


def _sweep(run_id: str) -> None:
    for path in _left(_namespace(run_id)):
        path.unlink(missing_ok=True)


def _left(namespace: str) -> list[Path]:
    """Return the segments and semaphores of a namespace (sem_overview(7): ``sem.NAME``)."""
    return [
        path for prefix in ("", "sem.") for path in _SHARED_MEMORY.glob(f"{prefix}{namespace}*")
    ]


IPC = Backend(
    name="ipc",
    summary="POSIX shared memory and flock(2) of this host",
    embedded=True,
    obstacle=_obstacle,
    start=_start,
    stop=lambda launch: _sweep(launch.run_id),
    sweep=_sweep,
    private=lambda url, name: nullcontext(f"{url}-{name}"),
    residue=lambda url: {"shared objects": len(_left(url.partition("namespace=")[2]))},
)
