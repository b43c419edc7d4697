"""The postgresql backend: one PostgreSQL server."""

from __future__ import annotations

import contextlib
from collections.abc import Iterator
from typing import Any

from conformance.backends.served import Service, in_database, served

__all__ = ["POSTGRESQL"]


def _ask(host: str, port: int) -> str:
    import psycopg2

    connection = psycopg2.connect(
        host=host,
        port=port,
        user="postgres",
        password="only-for-tests",  # noqa: S106 - that of a server made for one run
        dbname="postgres",
        connect_timeout=2,
    )
    try:
        number: str = connection.get_parameter_status("server_version")
    finally:
        connection.close()
    return f"PostgreSQL {number}"


@contextlib.contextmanager
def _private(url: str, name: str) -> Iterator[str]:
    """Make a database, which the user must be allowed to, and drop it afterwards."""
    database = f"conformance_{name}"
    with _connected(url) as cursor:
        # Nobody may be connected to a template (manual 17, "Template Databases").
        cursor.execute(f"CREATE DATABASE {database} TEMPLATE template0")
    try:
        yield in_database(url, database)
    finally:
        with _connected(url) as cursor:
            cursor.execute(f"DROP DATABASE {database} WITH (FORCE)")


def _residue(url: str) -> dict[str, int]:
    """Count rows, advisory locks and server processes of the URL's database.

    A process may outlive the connection that its client has closed, as long as it is at
    work or waits for a lock; so the server is asked (manual 17, "pg_stat_activity").
    """
    with _connected(url) as cursor:
        cursor.execute(
            "SELECT quote_ident(schemaname) || '.' || quote_ident(tablename) FROM pg_tables"
            " WHERE schemaname NOT IN ('pg_catalog', 'information_schema')"
        )
        tables = [name for (name,) in cursor.fetchall()]
        each = [f"(SELECT count(*) FROM {name})" for name in tables]  # noqa: S608 - quoted
        counts = {
            "rows": " + ".join(["0", *each]),
            "advisory locks": "(SELECT count(*) FROM pg_locks JOIN pg_database d"
            " ON d.oid = database WHERE locktype = 'advisory' AND datname = current_database())",
            "server processes": "(SELECT count(*) FROM pg_stat_activity"
            " WHERE datname = current_database() AND backend_type = 'client backend'"
            " AND pid <> pg_backend_pid())",
        }
        cursor.execute(f"SELECT {', '.join(counts.values())}")
        return dict(zip(counts, cursor.fetchone(), strict=True))


@contextlib.contextmanager
def _connected(url: str) -> Iterator[Any]:
    """Lend a cursor, whose every statement is a transaction."""
    import psycopg2

    connection = psycopg2.connect(url.partition("?")[0], connect_timeout=10)
    try:
        connection.autocommit = True
        with connection.cursor() as cursor:
            yield cursor
    finally:
        connection.close()


POSTGRESQL = served(
    Service(
        name="postgresql",
        summary="a PostgreSQL server",
        image="postgres:17",
        port=5432,
        url="postgresql://postgres:only-for-tests@{host}:{port}/postgres",
        ask=_ask,
        private=_private,
        residue=_residue,
        client="psycopg2",
    )
)
