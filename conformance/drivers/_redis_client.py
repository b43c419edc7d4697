"""What the Redis driver takes as options, and the clients of redis-py that they ask for."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Annotated, Any, NamedTuple
from urllib.parse import SplitResult, unquote

import msgspec
from redis import Redis
from redis.backoff import NoBackoff
from redis.retry import Retry
from redis.sentinel import Sentinel

from conformance.drivers.remote import RemoteOptions, address, credentials

__all__ = ["Clients", "RedisOptions", "make_clients"]

_SENTINEL_PORT = 26379

Seconds = Annotated[float, msgspec.Meta(gt=0, le=86_400.0)]


class RedisOptions(RemoteOptions, frozen=True, kw_only=True):
    """Options of ``redis://``, besides those of every server.

    ``lock_timeout``, ``membership_timeout``, ``leader_timeout``: seconds after which the
    server lets go of what was not renewed; ``timeout`` where they are not given.
    ``socket_timeout``: seconds for which each exchange is waited for, likewise.
    ``db``: the number of the database. ``socket_keepalive``: whether TCP looks after idle
    connections. ``health_check_interval``: seconds after which an idle connection is tried
    before it is used, 0 for never.
    ``ssl``, ``ssl_ca_certs``, ``ssl_certfile``, ``ssl_keyfile``, ``ssl_check_hostname``: TLS,
    as ``redis.Redis`` takes them.
    ``sentinel``: the name of a master; the URL then is that of a sentinel, which is asked
    where that master is. ``sentinel_fallback``: more sentinels, ``HOST[:PORT],…``.
    ``sentinel_username``, ``sentinel_password``, ``sentinel_ssl``: for these.
    """

    namespace: Annotated[str, msgspec.Meta(min_length=1, max_length=100)] = "_tooz"
    lock_timeout: Seconds | None = None
    membership_timeout: Seconds | None = None
    leader_timeout: Seconds | None = None
    socket_timeout: Seconds | None = None
    db: Annotated[int, msgspec.Meta(ge=0)] = 0
    socket_keepalive: bool = True
    health_check_interval: Annotated[int, msgspec.Meta(ge=0)] = 0
    ssl: bool = False
    ssl_ca_certs: str | None = None
    ssl_certfile: str | None = None
    ssl_keyfile: str | None = None
    ssl_check_hostname: bool = True
    sentinel: str | None = None
    sentinel_fallback: str = ""
    sentinel_username: str | None = None
    sentinel_password: str | None = None
    sentinel_ssl: bool = False


class Clients(NamedTuple):
    """The client of a server, and those of the sentinels that know where it is."""

    server: Any
    sentinels: Sequence[Any] = ()

    def close(self) -> None:
        """Close all connections."""
        for client in (self.server, *self.sentinels):
            client.connection_pool.disconnect()


def make_clients(
    url: SplitResult, options: RedisOptions, on_connect: Callable[[Any], None]
) -> Clients:
    """Return clients for a URL; nothing is sent yet.

    :param on_connect: called with each connection that was made, and does the rest
    :raises ValueError: the URL or an option makes no sense; no password is quoted
    """
    seconds = options.socket_timeout or options.timeout
    user, password = credentials(url)
    common: dict[str, Any] = {
        # A request that is sent again may be carried out twice: redis-py's own retries,
        # ten by default, are switched off.
        "retry": Retry(NoBackoff(), 0),
        "redis_connect_func": on_connect,
        "protocol": 2,
    }
    server: dict[str, Any] = {
        **common,
        "db": options.db,
        "username": user,
        "password": password,
        "socket_timeout": seconds,
        "socket_connect_timeout": seconds,
        "health_check_interval": options.health_check_interval,
    }
    if not url.hostname and url.path.strip("/"):
        if options.sentinel is not None or options.ssl:
            raise ValueError(f"{url.scheme}:///PATH takes neither a sentinel nor TLS")
        return Clients(Redis(unix_socket_path=unquote(url.path), **server))
    if url.path.strip("/"):
        raise ValueError(f"{url.scheme}://HOST takes no path: use ?db= instead")
    network: dict[str, Any] = {"socket_keepalive": options.socket_keepalive}
    tls: dict[str, Any] = {
        "ssl": True,
        "ssl_ca_certs": options.ssl_ca_certs,
        "ssl_certfile": options.ssl_certfile,
        "ssl_keyfile": options.ssl_keyfile,
        "ssl_check_hostname": options.ssl_check_hostname,
    }
    server |= network | (tls if options.ssl else {})
    if options.sentinel is None:
        host, port = address(url, 6379)
        return Clients(Redis(host, port, **server))
    others = filter(None, options.sentinel_fallback.split(","))
    places = [address(url, _SENTINEL_PORT), *(_place(other) for other in others)]
    make_sentinel: Any = Sentinel
    # They are asked one after the other, so each gets its share of the time.
    share = seconds / len(places)
    sentinel: Any = make_sentinel(
        places,
        sentinel_kwargs={
            **common,
            **network,
            **(tls if options.sentinel_ssl else {}),
            "username": options.sentinel_username,
            "password": options.sentinel_password,
            "socket_timeout": share,
            "socket_connect_timeout": share,
        },
    )
    return Clients(sentinel.master_for(options.sentinel, **server), sentinel.sentinels)


def _place(text: str) -> tuple[str, int]:
    """Return the host and port that HOST[:PORT] names."""
    if "@" in text or "/" in text:
        raise ValueError("sentinel_fallback takes HOST[:PORT],…")
    return address(SplitResult("sentinel", text, "", "", ""), _SENTINEL_PORT)
