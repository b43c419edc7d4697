"""The redis backend: one Redis server; its variant is Valkey."""

from __future__ import annotations

from dataclasses import replace

from conformance.backends.served import Service, namespace, served

__all__ = ["REDIS"]


def _ask(host: str, port: int) -> str:
    import redis

    with redis.Redis(host=host, port=port, socket_timeout=2) as client:
        found = client.info("server")
    name = found.get("server_name", "redis")
    return f"{name} {found.get(f'{name}_version')}"


def _residue(url: str) -> dict[str, int]:
    """Count the keys of the namespace, and what is in those that are collections."""
    import redis

    with redis.Redis.from_url(url.partition("?")[0], socket_timeout=10) as client:
        # A key may be met twice in a scan (Redis manual, "SCAN").
        keys = set(client.scan_iter(match=f"{namespace(url)}:*", count=1000))
        sizes = {b"set": client.scard, b"hash": client.hlen, b"zset": client.zcard}
        kinds = {key: client.type(key) for key in keys}
        entries = sum(sizes[kind](key) for key, kind in kinds.items() if kind in sizes)
        return {"keys": len(keys), "entries": entries}


_REDIS = Service(
    name="redis",
    summary="a Redis server",
    image="redis:8",
    port=6379,
    url="redis://{host}:{port}",
    ask=_ask,
    residue=_residue,
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
