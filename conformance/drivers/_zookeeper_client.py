"""What the ZooKeeper driver takes as options, and the kazoo client that they ask for."""

from __future__ import annotations

import logging
from typing import Annotated, Any
from urllib.parse import SplitResult, unquote

import msgspec
from kazoo.client import KazooClient
from kazoo.protocol.serialization import Auth
from kazoo.retry import KazooRetry
from kazoo.security import make_digest_acl

from conformance.coordinator import DriverOptions

__all__ = ["SessionOptions", "ZookeeperOptions", "make_client"]

_RECONNECT_SECONDS = 1.0
"""The longest pause between two attempts to reach a server that went away."""


class SessionOptions(DriverOptions, frozen=True, kw_only=True):
    """Options of every driver that holds a session.

    ``timeout``: seconds for which the server keeps a silent client's session (a server
    with other limits may change that), and for which each exchange with it is waited for.
    ``namespace``: the node below which everything is kept.
    ``command_retry``: how often a request that only reads is sent when its connection
    breaks; those that write are sent once.
    """

    timeout: Annotated[float, msgspec.Meta(gt=0)] = 10.0
    namespace: Annotated[str, msgspec.Meta(min_length=1)] = "tooz"
    command_retry: Annotated[int, msgspec.Meta(ge=1)] = 3


class ZookeeperOptions(SessionOptions, frozen=True, kw_only=True):
    """Options of ``zookeeper://`` and ``kazoo://``, besides those of every session.

    ``hosts``: more servers, ``HOST[:PORT],…``, besides those of the URL; the place for
    addresses in brackets, which Python reads in a URL only where they stand alone.
    ``connection_retry``: how often to try to reach a server before giving up; None for ever.
    ``randomize_hosts``: whether to try the servers in random order.
    ``sync``: whether each read first catches up with the cluster's leader.
    ``use_ssl``, ``ca``, ``certfile``, ``keyfile``, ``keyfile_password``, ``verify_certs``,
    ``check_hostname``: TLS, as ``kazoo.client.KazooClient`` takes them.
    """

    hosts: str = ""
    connection_retry: Annotated[int, msgspec.Meta(ge=1)] | None = None
    randomize_hosts: bool = True
    sync: bool = False
    use_ssl: bool = False
    ca: str | None = None
    certfile: str | None = None
    keyfile: str | None = None
    keyfile_password: str | None = None
    verify_certs: bool = True
    check_hostname: bool = False


def make_client(url: SplitResult, options: ZookeeperOptions) -> KazooClient:
    """Return a client for the hosts and the credentials of a URL.

    :raises ValueError: the URL has a path, or hosts that are none; what it says does not
        quote the URL, in which there may be a password
    """
    if url.path.strip("/"):
        raise ValueError(f"{url.scheme}:// takes no path: use ?namespace= instead")
    hosts = [url.netloc.rpartition("@")[2], *options.hosts.split(",")]
    logger = logging.getLogger(f"{__name__}.client")
    logger.addFilter(_shows_no_password)
    credentials: dict[str, Any] = {}
    if url.username is not None:
        user, password = unquote(url.username), unquote(url.password or "")
        credentials["auth_data"] = [("digest", f"{user}:{password}")]
        credentials["default_acl"] = [make_digest_acl(user, password, all=True)]
    try:
        return KazooClient(
            hosts=",".join(filter(None, hosts)) or "localhost",
            timeout=options.timeout,
            randomize_hosts=options.randomize_hosts,
            connection_retry=KazooRetry(
                max_tries=options.connection_retry, max_delay=_RECONNECT_SECONDS
            ),
            logger=logger,
            use_ssl=options.use_ssl,
            ca=options.ca,
            certfile=options.certfile,
            keyfile=options.keyfile,
            keyfile_password=options.keyfile_password,
            verify_certs=options.verify_certs,
            check_hostname=options.check_hostname,
            **credentials,
        )
    except ValueError:
        raise ValueError(f"{url.scheme}:// takes HOST[:PORT][,HOST[:PORT]…]") from None


def _shows_no_password(record: logging.LogRecord) -> bool:
    """Whether a record of kazoo's log may be written: requests with credentials may not."""
    arguments = record.args if isinstance(record.args, tuple) else ()
    return not any(isinstance(argument, Auth) for argument in arguments)
