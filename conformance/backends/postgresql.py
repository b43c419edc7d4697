"""The postgresql backend: one PostgreSQL server."""

from __future__ import annotations

from conformance.backends.served import Service, served

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


POSTGRESQL = served(
    Service(
        name="postgresql",
        summary="a PostgreSQL server",
        image="postgres:17",
        port=5432,
        url="postgresql://postgres:only-for-tests@{host}:{port}/postgres",
        ask=_ask,
        client="psycopg2",
    )
)
