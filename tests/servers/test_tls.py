"""TLS, as each driver's options ask for it: whom it trusts, and what it proves itself with.

The servers of protocols that begin with TLS stand behind a front that speaks it;
PostgreSQL and MySQL, which are asked for it first, speak it themselves.
"""

from __future__ import annotations

import contextlib
import gc
import secrets
import warnings
from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

import psycopg2
import pymysql
import pytest

from conformance.coordination import Coordinator, ToozConnectionError, get_coordinator
from conformance.faults.addresses import address_of, at_address
from conformance.gate import Settings
from tests.servers.backends import basic, use
from tests.servers.certificates import KEY_PASSWORD, Certificates
from tests.servers.own_server import own_server, until_answer
from tests.servers.tls_front import TlsFront


@dataclass(frozen=True)
class TlsOptions:
    """How a driver calls its options of TLS; ``always`` are those that ask for it."""

    authority: str
    certificate: str
    key: str
    key_password: str | None = None
    always: Mapping[str, Any] = field(default_factory=dict)


BACKENDS = {
    "zookeeper": TlsOptions(
        "ca", "certfile", "keyfile", "keyfile_password", {"use_ssl": True, "check_hostname": True}
    ),
    "redis": TlsOptions("ssl_ca_certs", "ssl_certfile", "ssl_keyfile", None, {"ssl": True}),
    "memcached": TlsOptions(
        "ca_cert", "ssl_cert", "ssl_key", "ssl_key_password", {"use_ssl": True}
    ),
    "postgresql": TlsOptions("sslrootcert", "sslcert", "sslkey", None, {"sslmode": "verify-full"}),
    "mysql": TlsOptions("ssl_ca", "ssl_cert", "ssl_key", "ssl_key_password"),
    "etcd": TlsOptions("ca_cert", "cert_cert", "cert_key"),
    "consul": TlsOptions("ca_cert", "cert", "key", None, {"ssl": True}),
}

_PASSWORD = "hidden-of-all"
"""Of the users of the servers that this module starts."""

_TIMEOUT = 2.0
"""Seconds after which a driver that is refused without a word gives up."""

Open = Callable[..., str]


# -- servers ------------------------------------------------------------------------------


@contextlib.contextmanager
def _postgresql(settings: Settings, backend: str, certificates: Certificates) -> Iterator[str]:
    """Run a PostgreSQL that takes only TLS, and of the user ``certified`` a certificate.

    Its key must be its own and nobody else's to read (manual 17, "Secure TCP/IP Connections
    with SSL"), so it copies the files itself.
    """
    files = [certificates.authority, certificates.server, certificates.server_key]
    environment = {
        "POSTGRES_USER": "root",
        "POSTGRES_PASSWORD": _PASSWORD,
        "POSTGRES_DB": "postgres",
    }
    with own_server(
        *(settings, backend, ["postgres", "-c", "fsync=off"], 5432),
        environment=environment,
        files=files,
    ) as own:
        url = f"postgresql://root:{_PASSWORD}@127.0.0.1:{own.port}/postgres"
        until_answer(own, lambda: psycopg2.connect(url).close())
        with contextlib.closing(psycopg2.connect(url)) as connection:
            connection.autocommit = True
            cursor = connection.cursor()
            rules = "hostssl all certified all scram-sha-256 clientcert=verify-ca\n"
            rules += "hostssl all all all scram-sha-256"
            cursor.execute(
                f"CREATE ROLE certified SUPERUSER LOGIN PASSWORD '{_PASSWORD}';"
                "COPY (SELECT 1) TO PROGRAM 'cat > /dev/null; umask 077; cp /given/* $PGDATA'"
            )
            cursor.execute(
                "COPY (SELECT unnest(string_to_array(%s, E'\\n')))"
                " TO PROGRAM 'cat > $PGDATA/pg_hba.conf'",
                [rules],
            )
            for name, value in (
                ("ssl_ca_file", certificates.authority.name),
                ("ssl_cert_file", certificates.server.name),
                ("ssl_key_file", certificates.server_key.name),
                ("ssl", "on"),
            ):
                cursor.execute(f"ALTER SYSTEM SET {name} = '{value}'")
            cursor.execute("SELECT pg_reload_conf()")
        until_answer(own, lambda: psycopg2.connect(url, sslmode="require").close())
        yield url


@contextlib.contextmanager
def _mysql(settings: Settings, backend: str, certificates: Certificates) -> Iterator[str]:
    """Run a MySQL or MariaDB that takes only TLS, and of ``certified`` a certificate."""
    kind = "mariadb" if backend.endswith("mariadb") else "mysql"
    command = [
        "mariadbd" if kind == "mariadb" else "mysqld",
        f"--ssl-ca=/given/{certificates.authority.name}",
        f"--ssl-cert=/given/{certificates.server.name}",
        f"--ssl-key=/given/{certificates.server_key.name}",
        "--require-secure-transport=ON",
        "--innodb-flush-log-at-trx-commit=0",
    ]
    environment = {
        f"{kind.upper()}_ROOT_PASSWORD": _PASSWORD,
        f"{kind.upper()}_DATABASE": "conformance",
    }
    files = [certificates.authority, certificates.server, certificates.server_key]
    with own_server(settings, backend, command, 3306, environment=environment, files=files) as own:

        def ask(*statements: str) -> None:
            with pymysql.connect(
                host="127.0.0.1",
                port=own.port,
                user="root",
                password=_PASSWORD,
                database="conformance",
                ssl={"ca": str(certificates.authority)},
            ) as connection:
                for statement in statements:
                    connection.cursor().execute(statement)

        until_answer(own, ask)
        ask(
            f"CREATE USER certified IDENTIFIED BY '{_PASSWORD}' REQUIRE X509",
            "GRANT ALL ON conformance.* TO certified",
        )
        yield f"mysql://root:{_PASSWORD}@127.0.0.1:{own.port}/conformance"


_SPEAK_IT_THEMSELVES = {"postgresql": _postgresql, "mysql": _mysql}


@pytest.fixture(scope="module")
def speaker(
    backend: str, conformance_settings: Settings, certificates: Certificates
) -> Iterator[str | None]:
    """The URL of a server that speaks TLS itself, where one must."""
    if (run := _SPEAK_IT_THEMSELVES.get(basic(backend))) is None:
        yield None
    else:
        with run(conformance_settings, backend, certificates) as url:
            yield url


@pytest.fixture
def secured(url: str, certificates: Certificates, speaker: str | None) -> Iterator[Open]:
    """Return the URL of a server of TLS that may want a certificate of its clients."""
    with contextlib.ExitStack() as stack:

        def open_one(*, wants_client: bool = False) -> str:
            if speaker is not None:
                user = "certified" if wants_client else "root"
                return speaker.replace("//root:", f"//{user}:")
            server = address_of(url)
            assert server is not None
            front = stack.enter_context(TlsFront(server, certificates, wants_client=wants_client))
            return at_address(url, *front.address).replace("etcd:", "etcd3+https:")

        yield open_one


@pytest.fixture(autouse=True)
def _kazoo_leaves_sockets_open(backend: str) -> Iterator[None]:
    """Collect, without a word, what kazoo 2.11 leaves open when a handshake fails."""
    if basic(backend) == "zookeeper":  # pytest drops the filter at the end of the test
        warnings.filterwarnings("ignore", "unclosed <ssl.SSLSocket", ResourceWarning)
    yield
    gc.collect()


# -- the tests ----------------------------------------------------------------------------


def test_locks_and_groups_work_over_tls(
    backend: str, secured: Open, certificates: Certificates
) -> None:
    use(_coordinator(secured(), **_options(backend, certificates)))


def test_a_server_that_a_stranger_vouches_for_is_refused(
    backend: str, secured: Open, certificates: Certificates
) -> None:
    names = _names(backend)
    _is_refused(secured(), **names.always, **{names.authority: str(certificates.stranger)})


def test_a_server_whose_certificate_is_for_another_host_is_refused(
    backend: str, secured: Open, certificates: Certificates
) -> None:
    elsewhere = secured().replace("127.0.0.1", "localhost")
    _is_refused(elsewhere, **_options(backend, certificates))


def test_a_certificate_of_the_client_lets_it_in(
    backend: str, secured: Open, certificates: Certificates
) -> None:
    options, names = _options(backend, certificates), _names(backend)
    url = secured(wants_client=True)
    _is_refused(url, **options)
    certificates.client_key.chmod(0o600)  # libpq takes no other
    options |= {names.certificate: str(certificates.client)}
    if names.key_password is not None:
        options |= {names.key: str(certificates.locked_key), names.key_password: KEY_PASSWORD}
    else:
        options |= {names.key: str(certificates.client_key)}
    use(_coordinator(url, **options))


def _coordinator(url: str, **options: Any) -> Coordinator:
    return get_coordinator(url, b"m", namespace=f"tls-{secrets.token_hex(6)}", **options)


def _is_refused(url: str, **options: Any) -> None:
    """Check that nothing can be started there, and that this is told as it should be."""
    coordinator = _coordinator(url, timeout=_TIMEOUT, **options)
    with pytest.raises(ToozConnectionError, match="TLS") as refused:
        coordinator.start()
    assert not coordinator.is_started
    told = f"{refused.value} {refused.value!r} {refused.value.__cause__!r} {coordinator!r}"
    assert _PASSWORD not in told
    assert "only-for-tests" not in told


def _options(backend: str, certificates: Certificates) -> dict[str, Any]:
    names = _names(backend)
    return {**names.always, names.authority: str(certificates.authority)}


def _names(backend: str) -> TlsOptions:
    return BACKENDS[basic(backend)]
