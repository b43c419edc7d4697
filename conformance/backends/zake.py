"""The zake backend: an in-memory stand-in for ZooKeeper in each process of the run."""

from __future__ import annotations

import importlib.util
from pathlib import Path

from conformance.backends import Backend, Server

__all__ = ["ZAKE"]


def _obstacle() -> str | None:
    if importlib.util.find_spec("kazoo") is None:
        return "kazoo is missing: install coordination-conformance[zake]"
    return None


def _start(directory: Path, run_id: str) -> Server:
    return Server(url=f"zake://{run_id.lower()}")


ZAKE = Backend(
    name="zake",
    summary="an in-memory stand-in for ZooKeeper, in one process",
    embedded=True,
    obstacle=_obstacle,
    start=_start,
    stop=lambda directory, run_id: None,
    sweep=lambda run_id: None,
    private=lambda url, name: f"{url}-{name}",
)
