"""The memcached backend: one memcached server."""

from __future__ import annotations

import socket
import time
from urllib.parse import unquote, urlsplit

from conformance.backends.served import Service, namespace, served

__all__ = ["MEMCACHED"]

_DUMP_SECONDS = 10.0
"""How long the server may go on dumping for somebody else, and how long it may be silent."""

_ASK_AGAIN_SECONDS = 0.02
"""How long to wait before a server that was busy is asked again."""


def _ask(host: str, port: int) -> str:
    from pymemcache.client.base import Client

    client = Client((host, port), connect_timeout=2, timeout=2)
    try:
        return f"memcached {client.version().decode()}"
    finally:
        client.close()


def _residue(url: str) -> dict[str, int]:
    """Count the items of the namespace.

    The server tells its keys percent-encoded and one a line, those that have expired left
    out, and does so for one client at a time ("protocol.txt" of memcached 1.6, "LRU_Crawler").
    """
    prefix = f"{namespace(url)}:"
    lines = [line.split()[0] for line in _dump(url) if line.startswith("key=")]
    return {"items": sum(unquote(key.removeprefix("key=")).startswith(prefix) for key in lines)}


def _dump(url: str) -> list[str]:
    """Return what the server says of each of its items.

    :raises ConnectionError: it says something else
    """
    parts = urlsplit(url)
    end = time.monotonic() + _DUMP_SECONDS
    address = (parts.hostname or "localhost", parts.port or 11211)
    with (
        socket.create_connection(address, timeout=_DUMP_SECONDS) as connection,
        connection.makefile("rwb") as stream,
    ):
        while True:
            stream.write(b"lru_crawler metadump hash\r\n")
            stream.flush()
            lines = []
            while (line := stream.readline().decode().strip()).startswith("key="):
                lines.append(line)
            if line == "END":
                return lines
            if not line.startswith(("BUSY", "LOCKED")) or time.monotonic() > end:
                raise ConnectionError(f"memcached does not tell its keys: {line!r}")
            time.sleep(_ASK_AGAIN_SECONDS)


MEMCACHED = served(
    Service(
        name="memcached",
        summary="a memcached server",
        image="memcached:1.6",
        port=11211,
        url="memcached://{host}:{port}",
        ask=_ask,
        residue=_residue,
        client="pymemcache",
    )
)
