"""What the ZooKeeper driver takes as options, and the kazoo client that they ask for."""

from __future__ import annotations

import logging
import select
import time
from collections.abc import Iterable
from typing import Annotated, Any
from urllib.parse import SplitResult, unquote

import msgspec
from kazoo.client import KazooClient
from kazoo.handlers.threading import SequentialThreadingHandler
from kazoo.protocol.connection import ConnectionHandler
from kazoo.protocol.serialization import Auth
from kazoo.retry import KazooRetry
from kazoo.security import make_digest_acl

from conformance.coordinator import DriverOptions
from conformance.drivers.remote import Lease

__all__ = ["Client", "SessionOptions", "ZookeeperOptions", "make_client"]

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


class _Connection(ConnectionHandler):  # type: ignore[misc] # kazoo has no types
    """kazoo's connection, which knows for how long its session certainly lasts.

    The server counts from when it heard the client last, by whatever request ("ZooKeeper
    Sessions" in the Programmer's Guide 3.8). kazoo notices silence up to two thirds of the
    time-out later; where requests are sent in vain again and again, never.
    """

    def __init__(self, *arguments: Any, **options: Any) -> None:
        super().__init__(*arguments, **options)
        self.lease = Lease(0.0)
        self._asked: dict[int, float] = {}

    def _connect(self, *place: Any) -> Any:
        sent, self._asked = time.monotonic(), {}
        read_timeout, connect_timeout = super()._connect(*place)
        # In milliseconds; it is two thirds of what was agreed on with the server.
        lease = Lease(read_timeout * 1.5 / 1000)
        lease.renewed(sent)
        self.lease = lease
        return read_timeout, connect_timeout

    def _submit(self, request: Any, timeout: Any, xid: int | None = None) -> None:
        if xid is not None:
            self._asked.setdefault(xid, time.monotonic())  # pings all have the same
        super()._submit(request, timeout, xid)

    def _read_header(self, timeout: Any) -> Any:
        header, *rest = super()._read_header(timeout)
        sent = self._asked.pop(header.xid, None)
        if sent is not None:
            self.lease.renewed(sent)
        return header, *rest


class _Handler(SequentialThreadingHandler):  # type: ignore[misc] # kazoo has no types
    """kazoo's handler, which waits for sockets with one poll(2).

    kazoo asks before every read and write, for which it makes an epoll instance each time and
    takes it down again (2.11, ``handlers.utils.selector_select``): a third of what a busy
    client had to compute. select(2), which it was before, takes no descriptor beyond 1023.
    """

    def select(
        self,
        readers: Iterable[Any],
        writers: Iterable[Any],
        _: Iterable[Any],
        timeout: float | None = None,
    ) -> tuple[list[Any], list[Any], list[Any]]:
        """Return which of the readers and writers are ready; an error of one makes it so."""
        files = [(reader, reader.fileno(), select.POLLIN) for reader in readers]
        files += [(writer, writer.fileno(), select.POLLOUT) for writer in writers]
        poll = select.poll()
        for _file, number, event in files:
            poll.register(number, event)
        happened = dict(poll.poll(None if timeout is None else timeout * 1000))
        ready = [
            [file for file, number, event in files if event == asked and number in happened]
            for asked in (select.POLLIN, select.POLLOUT)
        ]
        return ready[0], ready[1], []


class Client(KazooClient):  # type: ignore[misc] # kazoo has no types
    """kazoo's client, with a handler and a connection of the kinds above."""

    def __init__(self, **options: Any) -> None:
        super().__init__(handler=_Handler(), **options)
        self._connection = _Connection(self, self._conn_retry.copy(), logger=self.logger)

    @property
    def lasts(self) -> bool:
        """Whether the session certainly lasts still; neither blocks nor fails."""
        return self._connection.lease.valid


def make_client(url: SplitResult, options: ZookeeperOptions) -> Client:
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
        return Client(
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
