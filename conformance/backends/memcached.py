"""The memcached backend: one memcached server."""

from __future__ import annotations

from conformance.backends.served import Service, served

__all__ = ["MEMCACHED"]


def _ask(host: str, port: int) -> str:
    from pymemcache.client.base import Client

    client = Client((host, port), connect_timeout=2, timeout=2)
    try:
        return f"memcached {client.version().decode()}"
    finally:
        client.close()


MEMCACHED = served(
    Service(
        name="memcached",
        summary="a memcached server",
        image="memcached:1.6",
        port=11211,
        url="memcached://{host}:{port}",
        ask=_ask,
        client="pymemcache",
    )
)
