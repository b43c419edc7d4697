"""Backends that are servers: started from a compose project, asked until they answer.

What differs from server to server is a :class:`Service`; one module for each says it.
"""

from __future__ import annotations

import importlib.util
import socket
import time
from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass, field
from urllib.parse import parse_qs, urlsplit

from conformance.backends import Backend, Launch, Server
from conformance.backends.engine import (
    EngineFailed,
    compose_command,
    docker,
    engine_obstacle,
    last_words,
    remove_run,
    run,
)
from conformance.backends.images import base_image, compose_directory, find_image, variable

__all__ = ["Service", "in_database", "namespace", "own_address", "served"]

_HOST = "127.0.0.1"
"""Where the compose projects publish their ports. A second server, which is stopped and
killed, is reached only there: what a container's own address leads to when it is down is
another matter."""

_READY_SECONDS = 120.0
"""How long a server may take until it answers, on a busy machine."""

_ASK_AGAIN_SECONDS = 0.1
"""How long to wait before a server that does not answer yet is asked again."""

_MAKING_SECONDS = 60.0
"""How long a container may take to be made."""

_ENDING_SECONDS = 60.0
"""How long a server may take to end when it is asked to."""


def _namespaced(url: str, name: str) -> AbstractContextManager[str]:
    """Give the URL with a namespace of its own."""
    return nullcontext(f"{url}{'&' if '?' in url else '?'}namespace={name}")


@dataclass(frozen=True)
class Service:
    """A server: ``compose/NAME.yaml``, its official image, where and how to ask it.

    ``url`` has ``{host}`` and ``{port}``; ``ask(host, port)`` returns the server's version
    by its own word, and raises as long as it does not serve. ``private`` and ``residue`` are
    those of the :class:`Backend`; a part of a server is a namespace unless it says otherwise.
    ``client`` is the module of the driver's client library. ``variant_of`` names the backend,
    and the variant, of a server that is not a backend's first.
    """

    name: str
    summary: str
    image: str
    port: int
    url: str
    ask: Callable[[str, int], str]
    client: str
    residue: Callable[[str], Mapping[str, int]]
    private: Callable[[str, str], AbstractContextManager[str]] = _namespaced
    variant_of: tuple[str, str] | None = None
    variants: dict[str, Backend] = field(default_factory=dict)


def served(service: Service) -> Backend:
    """Return the backend that starts a server."""
    return Backend(
        name=":".join(service.variant_of or (service.name,)),
        summary=service.summary,
        embedded=False,
        obstacle=lambda: _obstacle(service),
        start=lambda launch: _start(service, launch),
        stop=lambda launch: remove_run(launch.run_id),
        sweep=remove_run,
        private=service.private,
        residue=service.residue,
        spare=lambda launch: _Spare(service, launch),
        variants=service.variants,
    )


def namespace(url: str) -> str:
    """Return the namespace that a private URL names."""
    return parse_qs(urlsplit(url).query)["namespace"][0]


def in_database(url: str, name: str) -> str:
    """Return the URL with another database in its path."""
    return urlsplit(url)._replace(path=f"/{name}").geturl()


def _obstacle(service: Service) -> str | None:
    if importlib.util.find_spec(service.client) is None:
        extra, *_ = service.variant_of or (service.name,)
        return f"{service.client} is missing: install coordination-conformance[{extra}]"
    return engine_obstacle()


def _container(service: Service, run_id: str, number: int) -> str:
    """Return the name that compose gives to the first, or second, container of a project."""
    return f"{_project(service, run_id)}-server-{number}"


def _project(service: Service, run_id: str) -> str:
    return f"conformance-{run_id.lower()}-{service.name.replace('.', '-')}"


def _start(service: Service, launch: Launch) -> Server:
    from testcontainers.compose import DockerCompose

    image = find_image(service.name, service.image, launch.image, launch.say)
    program = compose_command(lambda: base_image(launch.say), launch.say)
    project = _project(service, launch.run_id)
    environment = launch.directory / f"{service.name}.env"
    environment.write_text(
        f"COMPOSE_PROJECT_NAME={project}\n"
        f"{variable(service.name)}={image}\n"
        f"CONFORMANCE_RUN={launch.run_id}\n"
    )
    compose = DockerCompose(
        context=compose_directory(),
        compose_file_name=f"{service.name}.yaml",
        env_file=str(environment),
        docker_command_path=program,
        wait=False,
    )
    container = _container(service, launch.run_id, 1)
    try:
        compose.start()
        published = _HOST, int(compose.get_service_port("server", service.port) or 0)
    except Exception as error:
        raise EngineFailed(f"{service.name} cannot be started from {image}: {error}") from error
    host, port = own_address(container, service.port) or published
    # Made here, for only the process that controls the run is there to the end of it: what
    # another made while this one removes what the run has would stay.
    make = [*compose.docker_compose_command(), "create", "--no-recreate", "--scale", "server=2"]
    run(make, seconds=_MAKING_SECONDS, directory=compose_directory())
    version = _when_ready(service, container, host, port)
    return Server(
        url=service.url.format(host=host, port=port),
        version=version,
        image=f"{image} {_digest(image)}",
    )


def own_address(container: str, port: int) -> tuple[str, int] | None:
    """Return where a container itself listens, if this host is on its network, else None.

    What goes to a published port is copied by a process of the engine's, which takes a third of
    the time of an exchange with a quick server (Docker's manual, "Packet filtering and
    firewalls", userland proxy). Whether the network is here is told by the address that this
    host would speak from, for which nothing is sent: where the engine runs elsewhere, in a
    virtual machine say, the container's address may be somebody else's here.
    """
    template = '{{with index .NetworkSettings.Networks "bridge"}}{{.IPAddress}} {{.Gateway}}{{end}}'
    address, _, gateway = docker("inspect", "--format", template, container).partition(" ")
    try:
        with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as unsent:
            unsent.connect((address, port))
            return (address, port) if unsent.getsockname()[0] == gateway else None
    except OSError:
        return None


def _when_ready(service: Service, container: str, host: str, port: int) -> str:
    """Ask a server for its version until it answers; return its answer."""
    end = time.monotonic() + _READY_SECONDS
    while True:
        try:
            return service.ask(host, port)
        except Exception as error:
            state = docker("inspect", "--format", "{{.State.Status}}", container)
            if state != "running" or time.monotonic() > end:
                raise EngineFailed(
                    f"{service.name} does not answer on {host}:{port} ({error}); its container "
                    f"is {last_words(container)}"
                ) from error
            time.sleep(_ASK_AGAIN_SECONDS)


class _Spare:
    """The second container of a project, which :func:`_start` made."""

    def __init__(self, service: Service, launch: Launch) -> None:
        self._service = service
        self._container = _container(service, launch.run_id, 2)

    @property
    def process(self) -> str | None:
        state = docker(
            *("inspect", "--format", "{{.State.Pid}} since {{.State.StartedAt}}", self._container)
        )
        return None if state.startswith("0 ") else state

    @property
    def address(self) -> tuple[str, int]:
        published = docker("port", self._container, f"{self._service.port}/tcp")
        return _HOST, int(published.rpartition(":")[2])

    def start(self) -> None:
        docker("start", self._container, seconds=_MAKING_SECONDS)

    def wait_ready(self) -> None:
        _when_ready(self._service, self._container, *self.address)

    def stop(self, *, kill: bool) -> None:
        if kill:
            docker("kill", self._container)
            docker("wait", self._container)
        else:
            patience = f"{_ENDING_SECONDS:.0f}"
            docker("stop", "--time", patience, self._container, seconds=2 * _ENDING_SECONDS)

    def last_words(self) -> str:
        return last_words(self._container)


def _digest(image: str) -> str:
    return docker("image", "inspect", "--format", "{{.Id}}", image).removeprefix("sha256:")[:12]
