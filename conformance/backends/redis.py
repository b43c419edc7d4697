"""The redis backend: one Redis server; its variant is Valkey."""

from __future__ import annotations

from dataclasses import replace

from conformance.backends.served import Service, served

__all__ = ["REDIS"]


def _ask(host: str, port: int) -> str:
    import redis

    with redis.Redis(host=host, port=port, socket_timeout=2) as client:
        found = client.info("server")
    name = found.get("server_name", "redis")
    return f"{name} {found.get(f'{name}_version')}"


_REDIS = Service(
    name="redis",
    summary="a Redis server",
    image="redis:8",
    port=6379,
    url="redis://{host}:{port}",
    ask=_ask,
    client="redis",
)

_VALKEY = replace(
    _REDIS,
    name="valkey",
    variant_of=("redis", "valkey"),
    summary="a Valkey server",
    image="valkey/valkey:8",
)

REDIS = served(replace(_REDIS, variants={"valkey": served(_VALKEY)}))
