"""The Docker engine and its compose plugin: whether they are there, and what runs in them.

Where the plugin is missing, it is taken from Debian's package into this user's cache.
"""

from __future__ import annotations

import contextlib
import fcntl
import os
import shutil
import subprocess
from collections.abc import Callable, Iterator, Sequence
from functools import cache
from pathlib import Path

__all__ = [
    "RUN_LABEL",
    "EngineFailed",
    "Say",
    "cache_directory",
    "compose_command",
    "docker",
    "engine_obstacle",
    "last_words",
    "remove_run",
    "run",
    "turn",
]

RUN_LABEL = "coordination-conformance.run"
"""The label that tells to which run a container belongs; see compose/."""

Say = Callable[[str], None]
"""Tells the user what takes a while, or was decided for them."""

_STATE = (
    "{{.State.Status}}{{if not .State.Running}}, exit code {{.State.ExitCode}},"
    " at {{.State.FinishedAt}}{{end}}"
)
"""What the engine is to say of a container's state."""

_ASKING_SECONDS = 20.0
"""How long the engine may take to answer a question."""


class EngineFailed(RuntimeError):
    """The engine could not do what it was asked; the message has its own words."""


def cache_directory() -> Path:
    """Return this user's directory for what is made once, making it if it is missing."""
    base = os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache"
    directory = Path(base) / "coordination-conformance"
    directory.mkdir(parents=True, exist_ok=True)
    return directory


def docker(*arguments: str, seconds: float = _ASKING_SECONDS, given: bytes | None = None) -> str:
    """Run a docker command; return what it prints.

    :param seconds: how long it may take
    :param given: what it is to read from its standard input
    :raises EngineFailed: it failed, or took longer
    """
    return run(["docker", *arguments], seconds=seconds, given=given).decode().strip()


def run(
    command: Sequence[str],
    *,
    seconds: float,
    given: bytes | None = None,
    directory: Path | None = None,
) -> bytes:
    """Run a command, in a directory if need be; return what it prints.

    :raises EngineFailed: it failed, took longer, or is not there
    """
    shown = " ".join(command[:4])
    try:
        done = subprocess.run(  # noqa: S603 - commands of this package, no shell
            command,
            input=given,
            stdin=subprocess.DEVNULL if given is None else None,
            capture_output=True,
            cwd=directory,
            timeout=seconds,
            check=True,
        )
    except FileNotFoundError as error:
        raise EngineFailed(f"{command[0]} is not installed") from error
    except subprocess.TimeoutExpired as error:
        raise EngineFailed(f"{shown} … did not end within {seconds:g} s") from error
    except subprocess.CalledProcessError as error:
        words = error.stderr.decode(errors="replace").strip().splitlines()[-5:]
        raise EngineFailed(f"{shown} … failed: {' / '.join(words) or 'without a word'}") from error
    return done.stdout


def last_words(container: str) -> str:
    """Return a container's state, how it ended if it did, and what its program wrote last.

    Those of a crash are many lines; it may have written them on either stream.
    """
    ask = ["sh", "-c", 'exec docker logs --tail 40 "$0" 2>&1', container]
    said = run(ask, seconds=_ASKING_SECONDS).decode(errors="replace")
    return f"{docker('inspect', '--format', _STATE, container)}, and said last: {said or 'nothing'}"


@contextlib.contextmanager
def turn(what: str) -> Iterator[None]:
    """Keep two runs, or two threads, from making the same thing at the same time."""
    with (cache_directory() / f"{what}.lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        yield


@cache
def engine_obstacle() -> str | None:
    """Return why no server can be started here, None when one can."""
    try:
        import testcontainers.compose  # noqa: F401 - only whether it is there
    except ImportError:
        return "testcontainers is missing: install coordination-conformance[servers]"
    try:
        docker("version", "--format", "{{.Server.Version}}")
    except EngineFailed as error:
        return (
            f"no Docker engine answers ({error}): start one, or name a server of your own "
            "with --backend-url=URL"
        )
    return None


def remove_run(run_id: str) -> None:
    """Remove the containers that a run left; without an engine there are none."""
    if shutil.which("docker") is None or engine_obstacle() is not None:
        return
    label = f"label={RUN_LABEL}={run_id}"
    containers = docker("ps", "--all", "--quiet", "--filter", label).split()
    if containers:
        docker("rm", "--force", "--volumes", *containers, seconds=60)


def compose_command(base_image: Callable[[], str], say: Say) -> str:
    """Return the program whose ``compose`` command is the plugin's: docker, or a stand-in.

    :param base_image: called where the plugin is missing; returns a Debian 13 image
    :raises EngineFailed: the plugin is missing and cannot be had
    """
    try:
        docker("compose", "version")
    except EngineFailed:
        return _own_compose(base_image, say)
    return "docker"


_FETCH = (
    "cd /tmp && apt-get update -q >&2 && apt-get download docker-compose >&2 && "
    "dpkg -x docker-compose*.deb x && cat x/usr/libexec/docker/cli-plugins/docker-compose"
)

_WRAPPER = """#!/bin/sh
# The plugin takes `compose …` as docker hands it over only when this is set.
DOCKER_CLI_PLUGIN_ORIGINAL_CLI_COMMAND=docker exec "{plugin}" "$@"
"""


def _own_compose(base_image: Callable[[], str], say: Say) -> str:
    directory = cache_directory() / "compose"
    wrapper, plugin = directory / "docker", directory / "docker-compose"
    with turn("compose"):
        if wrapper.exists():
            return str(wrapper)
        say(f"the docker compose plugin is missing: putting Debian's into {directory}")
        directory.mkdir(exist_ok=True)
        binary = run(["docker", "run", "--rm", base_image(), "sh", "-c", _FETCH], seconds=300)
        for path, content in ((plugin, binary), (wrapper, _WRAPPER.format(plugin=plugin).encode())):
            new = path.with_suffix(".new")
            new.write_bytes(content)
            new.chmod(0o755)
            new.replace(path)
    return str(wrapper)
