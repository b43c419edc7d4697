"""The mysql backend: one MySQL server; its variant is MariaDB."""

from __future__ import annotations

from dataclasses import replace

from conformance.backends.served import Service, served

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


_MYSQL = Service(
    name="mysql",
    summary="a MySQL server",
    image="mysql:9",
    port=3306,
    url="mysql://root:only-for-tests@{host}:{port}/conformance",
    ask=_ask,
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
