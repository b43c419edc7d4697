"""What can be put under test: one module per backend, found by entry point.

A backend says what to start for a run and under which URL clients reach it, and removes
what a killed run left. It knows nothing of drivers.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from importlib import metadata
from pathlib import Path
from typing import Protocol

__all__ = [
    "BACKENDS",
    "Backend",
    "Launch",
    "Server",
    "Spare",
    "UnknownBackend",
    "choose",
    "hindered",
    "known_backends",
    "listing",
]

BACKENDS = "conformance.backends"
"""The entry-point group in which a distribution names its backends."""


@dataclass(frozen=True)
class Server:
    """A backend that is up: its URL, its version by its own word, its image's digest."""

    url: str
    version: str | None = None
    image: str | None = None


@dataclass(frozen=True)
class Launch:
    """For whom a backend is brought up: a run, which owns the directory.

    ``image`` is the one that the user wants a server to run from; ``say`` tells the user
    what takes a while.
    """

    run_id: str
    directory: Path
    image: str | None = None
    say: Callable[[str], None] = print


class Spare(Protocol):
    """A second server of a backend, for what the run's other tests must not see.

    Its run owns it, as it does the first. What it stores outlives a restart, if it stores
    anything; its address may not.
    """

    @property
    def process(self) -> str | None:
        """What tells its process from any that it had before; None while it is down."""

    @property
    def address(self) -> tuple[str, int]:
        """Its host and port, once it is started."""

    def start(self) -> None:
        """Start it; it need not answer yet."""

    def wait_ready(self) -> None:
        """Wait until it answers."""

    def stop(self, *, kill: bool) -> None:
        """End it: ask it to (SIGTERM, or what its image has instead), or SIGKILL it.

        It is gone when this returns.
        """

    def last_words(self) -> str:
        """Return its state, how it ended if it did, and what it wrote last."""


@dataclass(frozen=True)
class Backend:
    """A kind of server, or a medium of one host.

    Its ``name`` is a URL scheme of its driver, whose others a URL of the user's own may have.
    ``obstacle()`` says why it cannot run here, None when it can. ``start(launch)`` brings
    it up for a run and ``stop(launch)`` takes it down; ``sweep(run_id)`` removes what a
    killed run left outside its directory. ``private(url, name)`` gives the URL of a part of
    it that nobody else uses, and ``residue(url)`` counts what is there by kind, such as
    ``{"keys": 3}``; None where that cannot be looked at. ``spare(launch)`` is the second
    server that ``start`` made ready, and left down; None where there is nothing to restart.
    ``variants`` are others that the same driver is for, which are asked for as
    ``NAME:VARIANT``.
    """

    name: str
    summary: str
    embedded: bool
    obstacle: Callable[[], str | None]
    start: Callable[[Launch], Server]
    stop: Callable[[Launch], None]
    sweep: Callable[[str], None]
    private: Callable[[str, str], AbstractContextManager[str]]
    residue: Callable[[str], Mapping[str, int]] | None = None
    spare: Callable[[Launch], Spare] | None = None
    variants: Mapping[str, Backend] = field(default_factory=dict)


class UnknownBackend(ValueError):
    """No backend of this name, or it cannot run here; the message says what can."""


def known_backends() -> dict[str, Backend]:
    """Return the installed backends by name, each with its variants behind it."""
    known: dict[str, Backend] = {}
    for entry in sorted(metadata.entry_points(group=BACKENDS), key=lambda entry: entry.name):
        backend: Backend = entry.load()
        for one in (backend, *backend.variants.values()):
            known[one.name] = one
    return known


def choose(names: str) -> list[Backend]:
    """Return the backends that ``NAME[,NAME…]``, ``embedded``, ``servers`` or ``all`` names.

    ``all`` are those that can run here, and ``servers`` those that are not embedded;
    variants are in neither, nor in ``embedded``.

    :raises UnknownBackend: a name that is not known, or a backend that cannot run here
    """
    known = known_backends()
    chosen: dict[str, Backend] = {}
    basic = [backend for backend in known.values() if ":" not in backend.name]
    for name in filter(None, (part.strip() for part in names.split(","))):
        if name == "embedded":
            found = [backend for backend in basic if backend.embedded]
        elif name == "servers":
            found = [backend for backend in basic if not backend.embedded]
        elif name == "all":
            found = [backend for backend in basic if backend.obstacle() is None]
        elif name in known:
            found = [known[name]]
        else:
            raise UnknownBackend(f"no backend {name!r}. {_choices(known)}")
        for backend in found:
            if (obstacle := backend.obstacle()) is not None:
                raise UnknownBackend(f"{backend.name} cannot run here: {obstacle}")
            chosen[backend.name] = backend
    if not chosen:
        raise UnknownBackend(f"--backend names none. {_choices(known)}")
    return list(chosen.values())


def listing(known: Mapping[str, Backend]) -> list[str]:
    """Return a line for each backend, and one for each obstacle with all that it hinders."""
    obstacles = {name: backend.obstacle() for name, backend in known.items()}
    lines = []
    for name, backend in known.items():
        state = "can" if obstacles[name] is None else "cannot"
        lines.append(f"  {name:16} {backend.summary}; {state} run here")
    for obstacle, names in hindered(obstacles).items():
        lines.append(f"What keeps {', '.join(names)} from it: {obstacle}")
    return lines


def hindered(obstacles: Mapping[str, str | None]) -> dict[str, list[str]]:
    """Return each obstacle that there is, and the names of the backends that it hinders.

    :param obstacles: what keeps each backend from running here, None where nothing does
    """
    found: dict[str, list[str]] = {}
    for name, obstacle in obstacles.items():
        if obstacle is not None:
            found.setdefault(obstacle, []).append(name)
    return found


def _choices(known: Mapping[str, Backend]) -> str:
    """Return what ``--backend`` takes."""
    return "\n".join(
        [
            "Backends:",
            "  embedded         all that need no server",
            "  servers          all that are servers",
            "  all              all that can run here; variants (NAME:VARIANT) are in none",
            *listing(known),
        ]
    )
