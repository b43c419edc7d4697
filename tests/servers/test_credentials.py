"""Who may use a server: the right credentials let in, others are told what to check.

Rights are as narrow as the drivers' documentation says that they may be. No error, log or
representation shows a password.
"""

from __future__ import annotations

import base64
import contextlib
import secrets
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import urlsplit

import psycopg2
import pymysql
import pytest
import redis
import requests

from conformance.coordination import ToozError, get_coordinator
from conformance.gate import Settings
from tests.servers.backends import basic, use
from tests.servers.own_server import own_server, until_answer

_PASSWORD, _WRONG = "hidden-and-right", "hidden-and-wrong"

_NAMESPACE = "only-here"
"""Below which the credentials are good."""


@dataclass(frozen=True)
class Way:
    """A way to ask for a server: URL and options; ``told`` is in the error of a refusal."""

    url: str
    options: dict[str, Any] = field(default_factory=dict)
    told: str = ""


@dataclass(frozen=True)
class Ways:
    """Those that lead into a server, and those that do not."""

    good: list[Way]
    refused: list[Way]


# -- one server after the other -----------------------------------------------------------


@contextlib.contextmanager
def _redis(settings: Settings, backend: str) -> Iterator[Ways]:
    program = "valkey-server" if backend.endswith("valkey") else "redis-server"
    command = [program, "--bind", "0.0.0.0", "--save", "", "--requirepass", _PASSWORD]
    with own_server(settings, backend, command, 6379) as own:
        place = f"127.0.0.1:{own.port}"
        with redis.Redis(port=own.port, password=_PASSWORD) as client:
            until_answer(own, client.ping)
            rights = ["on", f">{_PASSWORD}", f"~{_NAMESPACE}:*", f"&{_NAMESPACE}:*", "+@all"]
            client.execute_command("ACL", "SETUSER", "user", *rights)
        yield Ways(
            [Way(f"redis://:{_PASSWORD}@{place}"), Way(f"redis://user:{_PASSWORD}@{place}")],
            [
                Way(f"redis://{place}", told="USER:PASS"),
                Way(f"redis://:{_WRONG}@{place}", told="USER:PASS"),
                Way(f"redis://user:{_WRONG}@{place}", told="USER:PASS"),
                Way(f"redis://user:{_PASSWORD}@{place}", {"namespace": "other"}, "namespace"),
            ],
        )


@contextlib.contextmanager
def _etcd(settings: Settings, backend: str) -> Iterator[Ways]:
    """Run an etcd with users (manual 3.5, "Role-based access control")."""
    command = [
        "etcd",
        "--listen-client-urls=http://0.0.0.0:2379",
        "--advertise-client-urls=http://0.0.0.0:2379",
        "--data-dir=/tmp/etcd",
    ]
    with own_server(settings, backend, command, 2379) as own:
        place = f"127.0.0.1:{own.port}"

        def ask(path: str, **request: Any) -> None:
            requests.post(f"http://{place}/v3/{path}", json=request, timeout=5).raise_for_status()

        until_answer(own, lambda: ask("kv/range", key=_base64("any")))
        whole = {"key": _base64(f"{_NAMESPACE}/"), "range_end": _base64(f"{_NAMESPACE}0")}
        for user in ("root", "user"):
            ask("auth/user/add", name=user, password=_PASSWORD)
            ask("auth/role/add", name=user)
            ask("auth/user/grant", user=user, role=user)
        ask("auth/role/grant", name="user", perm={"permType": "READWRITE", **whole})
        ask("auth/enable")
        yield Ways(
            [Way(f"etcd://{user}:{_PASSWORD}@{place}") for user in ("root", "user")],
            [
                Way(f"etcd://{place}", told="USER:PASS"),
                Way(f"etcd://user:{_WRONG}@{place}", told="USER:PASS"),
                Way(f"etcd://user:{_PASSWORD}@{place}", {"namespace": "other"}, "USER:PASS"),
            ],
        )


def _base64(text: str) -> str:
    return base64.b64encode(text.encode()).decode()


@contextlib.contextmanager
def _consul(settings: Settings, backend: str) -> Iterator[Ways]:
    """Run a Consul that permits nothing without a token ("Security", "ACL System")."""
    command = [
        *("agent", "-dev", "-client", "0.0.0.0"),
        *("-hcl", 'acl { enabled = true default_policy = "deny" }'),
    ]
    with own_server(settings, backend, command, 8500) as own:
        url = f"consul://127.0.0.1:{own.port}"
        headers: dict[str, str] = {}

        def ask(path: str, **request: Any) -> Any:
            address = url.replace("consul:", "http:") + f"/v1/acl/{path}"
            answer = requests.put(address, json=request or None, headers=headers, timeout=5)
            answer.raise_for_status()
            return answer.json()

        until_answer(own, lambda: headers.update({"X-Consul-Token": ask("bootstrap")["SecretID"]}))
        rules = f'key_prefix "{_NAMESPACE}/" {{ policy = "write" }}'
        rules += ' session_prefix "" { policy = "write" }'
        ask("policy", Name="narrow", Rules=rules)
        token = ask("token", Policies=[{"Name": "narrow"}])["SecretID"]
        strange = f"{_WRONG}-{secrets.token_hex(8)}"
        yield Ways(
            [Way(url, {"acl_token": token})],
            [
                Way(url, told="acl_token"),
                Way(url, {"acl_token": strange}, "acl_token"),
                Way(url, {"acl_token": token, "namespace": "other"}, "acl_token"),
            ],
        )


@contextlib.contextmanager
def _zookeeper(settings: Settings, backend: str) -> Iterator[Ways]:
    """Let one client make the namespace, which then is that user's alone."""
    url = settings.servers[backend][0]
    place = urlsplit(url).netloc
    good = Way(f"zookeeper://user:{_PASSWORD}@{place}", {"namespace": secrets.token_hex(6)})
    coordinator = get_coordinator(good.url, b"first", **good.options)
    coordinator.start()
    coordinator.stop()
    yield Ways(
        [good],
        [
            Way(f"zookeeper://{place}", good.options, "USER:PASS"),
            Way(f"zookeeper://user:{_WRONG}@{place}", good.options, "USER:PASS"),
            Way(f"zookeeper://other:{_PASSWORD}@{place}", good.options, "USER:PASS"),
        ],
    )


@contextlib.contextmanager
def _postgresql(settings: Settings, backend: str) -> Iterator[Ways]:
    """Let a user who is none but an owner of its database into the run's server."""
    url = settings.servers[backend][0]
    name = f"user_{secrets.token_hex(4)}"
    with contextlib.closing(psycopg2.connect(url)) as connection:
        connection.autocommit = True
        cursor = connection.cursor()
        cursor.execute(f"CREATE ROLE {name} LOGIN PASSWORD '{_PASSWORD}'")
        cursor.execute(f"CREATE DATABASE {name} OWNER {name}")
        try:
            place = urlsplit(url).netloc.rpartition("@")[2]
            yield Ways(
                [Way(f"postgresql://{name}:{_PASSWORD}@{place}/{name}")],
                [
                    Way(f"postgresql://{name}@{place}/{name}", told="USER:PASS"),
                    Way(f"postgresql://{name}:{_WRONG}@{place}/{name}", told="USER:PASS"),
                ],
            )
        finally:
            cursor.execute(f"DROP DATABASE {name} WITH (FORCE)")
            cursor.execute(f"DROP ROLE {name}")


@contextlib.contextmanager
def _mysql(settings: Settings, backend: str) -> Iterator[Ways]:
    """Let a user with the rights that the driver's class names into the run's server."""
    url = urlsplit(settings.servers[backend][0])
    name = f"user_{secrets.token_hex(4)}"
    connection = pymysql.connect(
        host=url.hostname, port=url.port or 0, user=url.username, password=url.password
    )
    with connection, connection.cursor() as cursor:
        cursor.execute(f"CREATE DATABASE {name}")
        cursor.execute(f"CREATE USER {name} IDENTIFIED BY '{_PASSWORD}'")
        rights = "SELECT, INSERT, UPDATE, DELETE, CREATE, REFERENCES"
        cursor.execute(f"GRANT {rights} ON {name}.* TO {name}")
        try:
            place = url.netloc.rpartition("@")[2]
            yield Ways(
                [Way(f"mysql://{name}:{_PASSWORD}@{place}/{name}")],
                [
                    Way(f"mysql://{name}@{place}/{name}", told="USER:PASS"),
                    Way(f"mysql://{name}:{_WRONG}@{place}/{name}", told="USER:PASS"),
                    Way(f"mysql://{name}:{_PASSWORD}@{place}/mysql", told="USER:PASS and DB"),
                ],
            )
        finally:
            cursor.execute(f"DROP DATABASE {name}")
            cursor.execute(f"DROP USER {name}")


BACKENDS: dict[str, Callable[[Settings, str], AbstractContextManager[Ways]]] = {
    "zookeeper": _zookeeper,
    "redis": _redis,
    "postgresql": _postgresql,
    "mysql": _mysql,
    "etcd": _etcd,
    "consul": _consul,
}
"""All but memcached: its driver takes no credentials."""


# -- the tests ----------------------------------------------------------------------------


@pytest.fixture(scope="module")
def ways(backend: str, conformance_settings: Settings) -> Iterator[Ways]:
    """The ways to a server of the backend."""
    with BACKENDS[basic(backend)](conformance_settings, backend) as found:
        yield found


def test_the_right_credentials_let_in(ways: Ways) -> None:
    for way in ways.good:
        coordinator = get_coordinator(way.url, b"m", **{"namespace": _NAMESPACE} | way.options)
        use(coordinator)


def test_who_is_refused_is_told_what_to_check(ways: Ways, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(0)
    for way in ways.refused:
        coordinator = get_coordinator(way.url, b"m", **{"namespace": _NAMESPACE} | way.options)
        with pytest.raises(ToozError, match=way.told) as refused:
            use(coordinator)
        if coordinator.is_started:
            coordinator.stop()
        error = refused.value
        told = f"{error} {error!r} {error.__cause__!r} {coordinator!r}"
        assert "hidden" not in told + caplog.text
