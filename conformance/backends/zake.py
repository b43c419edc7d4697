"""The zake backend: an in-memory stand-in for ZooKeeper in each process of the run."""

from __future__ import annotations

import importlib.util
from contextlib import nullcontext

from conformance.backends import Backend, Launch, Server

__all__ = ["ZAKE"]


def _obstacle() -> str | None:
    if importlib.util.find_spec("kazoo") is None:
        return "kazoo is missing: install coordination-conformance[zake]"
    return None


def _start(launch: Launch) -> Server:
    return Server(url=f"zake://{launch.run_id.lower()}")


ZAKE = Backend(
    name="zake",
    summary="an in-memory stand-in for ZooKeeper, in one process",
    embedded=True,
    obstacle=_obstacle,
    start=_start,
    stop=lambda launch: None,
    sweep=lambda run_id: None,
    private=lambda url, name: nullcontext(f"{url}-{name}"),
)
