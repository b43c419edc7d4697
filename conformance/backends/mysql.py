"""The mysql backend: one MySQL server; its variant is MariaDB."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from dataclasses import replace
from typing import Any
from urllib.parse import unquote, urlsplit

from conformance.backends.served import Service, in_database, served

__all__ = ["MYSQL"]


def _ask(host: str, port: int) -> str:
    import pymysql

    connection = pymysql.connect(
        host=host,
        port=port,
        user="root",
        password="only-for-tests",  # noqa: S106 - that of a server made for one run
        database="conformance",
        connect_timeout=2,
        read_timeout=2,
    )
    with connection, connection.cursor() as cursor:
        cursor.execute("SELECT VERSION()")
        (version,) = cursor.fetchone()
    return version if "MariaDB" in version else f"MySQL {version}"


@contextlib.contextmanager
def _private(url: str, name: str) -> Iterator[str]:
    """Make a database, which the user must be allowed to, and drop it afterwards."""
    database = f"conformance_{name}"
    with _connected(url) as cursor:
        cursor.execute(f"CREATE DATABASE {database}")
    try:
        yield in_database(url, database)
    finally:
        with _connected(url) as cursor:
            cursor.execute("SET SESSION lock_wait_timeout = 10")
            cursor.execute(f"DROP DATABASE {database}")


def _residue(url: str) -> dict[str, int]:
    """Count rows, user-level locks and server threads of the URL's database.

    A thread may outlive the connection that its client has closed, as long as it is at work
    or waits for a lock; so the server is asked (MySQL 9.7 Reference Manual, "SHOW
    PROCESSLIST", "The metadata_locks Table"). MariaDB shows no locks of others unless its
    performance schema was switched on, so none are counted there; each has its thread.
    """
    with _connected(url) as cursor:
        cursor.execute("SHOW TABLES")
        tables = [name.replace("`", "``") for (name,) in cursor.fetchall()]
        each = [f"(SELECT COUNT(*) FROM `{name}`)" for name in tables]  # noqa: S608 - quoted
        cursor.execute(f"SELECT {' + '.join(['0', *each])}")
        ((rows,),) = cursor.fetchall()
        cursor.execute(
            "SELECT COUNT(*) FROM performance_schema.metadata_locks"
            " JOIN performance_schema.threads ON THREAD_ID = OWNER_THREAD_ID"
            " WHERE OBJECT_TYPE = 'USER LEVEL LOCK' AND PROCESSLIST_DB = DATABASE()"
        )
        ((locks,),) = cursor.fetchall()
        cursor.execute("SELECT DATABASE(), CONNECTION_ID()")
        ((database, own),) = cursor.fetchall()
        cursor.execute("SHOW PROCESSLIST")
        threads = [row for row in cursor.fetchall() if row[3] == database and row[0] != own]
        return {"rows": rows, "user-level locks": locks, "server threads": len(threads)}


@contextlib.contextmanager
def _connected(url: str) -> Iterator[Any]:
    """Lend a cursor, whose every statement is a transaction."""
    import pymysql

    parts = urlsplit(url)
    connection = pymysql.connect(
        host=parts.hostname or "localhost",
        port=parts.port or 3306,
        user=unquote(parts.username or ""),
        password=unquote(parts.password or ""),
        database=unquote(parts.path.removeprefix("/")),
        connect_timeout=10,
        read_timeout=30,
        autocommit=True,
    )
    with connection, connection.cursor() as cursor:
        yield cursor


_MYSQL = Service(
    name="mysql",
    summary="a MySQL server",
    image="mysql:9",
    port=3306,
    url="mysql://root:only-for-tests@{host}:{port}/conformance",
    ask=_ask,
    private=_private,
    residue=_residue,
    client="pymysql",
)

_MARIADB = replace(
    _MYSQL,
    name="mariadb",
    variant_of=("mysql", "mariadb"),
    summary="a MariaDB server",
    image="mariadb:11.8",
)

MYSQL = served(replace(_MYSQL, variants={"mariadb": served(_MARIADB)}))
