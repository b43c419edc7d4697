"""The file backend: a directory of this host, in the run's own."""

from __future__ import annotations

import sys
from contextlib import nullcontext
from pathlib import Path
from urllib.parse import urlsplit

from conformance.backends import Backend, Launch, Server

__all__ = ["FILE"]


def _obstacle() -> str | None:
    return None if sys.platform != "win32" else "it needs flock(2), which Windows lacks"


def _start(launch: Launch) -> Server:
    return Server(url=f"file://{launch.directory / 'file'}")


def _residue(url: str) -> dict[str, int]:
    """Count the files."""
    return {"files": sum(path.is_file() for path in Path(urlsplit(url).path).rglob("*"))}


FILE = Backend(
    name="file",
    summary="files and flock(2) in a directory of this host",
    embedded=True,
    obstacle=_obstacle,
    start=_start,
    stop=lambda launch: None,
    sweep=lambda run_id: None,
    private=lambda url, name: nullcontext(f"{url}-{name}"),
    residue=_residue,
)
