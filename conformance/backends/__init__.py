"""What can be put under test: one module per backend, found by entry point.

A backend says what to start for a run and under which URL clients reach it, and removes
what a killed run left. It knows nothing of drivers.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from importlib import metadata
from pathlib import Path

__all__ = ["BACKENDS", "Backend", "Server", "UnknownBackend", "choose", "known_backends"]

BACKENDS = "conformance.backends"
"""The entry-point group in which a distribution names its backends."""


@dataclass(frozen=True)
class Server:
    """A backend that is up: its URL, its version by its own word, its image's digest."""

    url: str
    version: str | None = None
    image: str | None = None


@dataclass(frozen=True)
class Backend:
    """A kind of server, or a medium of one host.

    ``obstacle()`` says why it cannot run here, None when it can. ``start(directory,
    run_id)`` brings it up for a run, which owns the directory; ``stop(directory,
    run_id)`` takes it down; ``sweep(run_id)`` removes what a killed run left outside its
    directory. ``private(url, name)`` is the URL of a part of it that nobody else uses,
    and ``residue(url)`` counts what is stored there; None where that cannot be looked at.
    """

    name: str
    summary: str
    embedded: bool
    obstacle: Callable[[], str | None]
    start: Callable[[Path, str], Server]
    stop: Callable[[Path, str], None]
    sweep: Callable[[str], None]
    private: Callable[[str, str], str]
    residue: Callable[[str], int] | None = None


class UnknownBackend(ValueError):
    """No backend of this name, or it cannot run here; the message says what can."""


def known_backends() -> dict[str, Backend]:
    """Return the installed backends by name."""
    return {
        entry.name: entry.load()
        for entry in sorted(metadata.entry_points(group=BACKENDS), key=lambda e: e.name)
    }


def choose(names: str) -> list[Backend]:
    """Return the backends that ``NAME[,NAME…]``, ``embedded`` or ``all`` names.

    ``all`` are those that can run here.

    :raises UnknownBackend: a name that is not known, or a backend that cannot run here
    """
    known = known_backends()
    chosen: dict[str, Backend] = {}
    for name in filter(None, (part.strip() for part in names.split(","))):
        if name == "embedded":
            found = [backend for backend in known.values() if backend.embedded]
        elif name == "all":
            found = [backend for backend in known.values() if backend.obstacle() is None]
        elif name in known:
            found = [known[name]]
        else:
            raise UnknownBackend(f"no backend {name!r}. {_listing(known)}")
        for backend in found:
            if (obstacle := backend.obstacle()) is not None:
                raise UnknownBackend(f"{backend.name} cannot run here: {obstacle}")
            chosen[backend.name] = backend
    if not chosen:
        raise UnknownBackend(f"--backend names none. {_listing(known)}")
    return list(chosen.values())


def _listing(known: dict[str, Backend]) -> str:
    lines = ["Backends:"]
    for backend in known.values():
        obstacle = backend.obstacle()
        state = "can run here" if obstacle is None else f"cannot run here: {obstacle}"
        lines.append(f"  {backend.name:12} {backend.summary}; {state}")
    lines.append("  embedded     all that need no server;  all: all that can run here")
    return "\n".join(lines)
