"""What the drivers of servers share: options, addresses, what was lost, and forking.

No driver's protocol belongs here, and nothing that the drivers of one host need.
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import ssl
import threading
import time
from collections.abc import Iterable, Iterator
from typing import Annotated, Any
from urllib.parse import SplitResult, unquote

import msgspec

from conformance.coordinator import Coordinator, DriverOptions
from conformance.errors import OperationTimedOut, ToozConnectionError

__all__ = [
    "Lease",
    "RemoteCoordinator",
    "RemoteOptions",
    "abandon_socket",
    "address",
    "credentials",
    "digest",
    "tls_context",
    "turn",
]

_ONE_DAY = 86_400.0


class RemoteOptions(DriverOptions, frozen=True, kw_only=True):
    """Options of every driver of a server.

    ``timeout``: seconds for which each exchange with the server is waited for, and after
    which what expires does so, where no other option says. ``namespace``: what everything
    that is kept on the server begins with, so that users of different ones never meet.
    """

    timeout: Annotated[float, msgspec.Meta(gt=0, le=_ONE_DAY)] = 30.0
    namespace: Annotated[str, msgspec.Meta(min_length=1, max_length=100)] = "tooz"


class RemoteCoordinator(Coordinator):
    """A coordinator that may lose what it has on a server, and says so once it has."""

    def __init__(self, member_id: bytes, url: SplitResult, options: DriverOptions) -> None:
        super().__init__(member_id, url, options)
        self._losses: list[str] | None = None
        self._noting = threading.Lock()

    def _note_loss(self, locks: Iterable[bytes]) -> None:
        """Keep what was lost with the connection or session, for a heartbeat to tell.

        All memberships and leaderships are lost with it; and when nothing was held, the
        heartbeat tells that.

        :param locks: the names of the locks that were lost
        """
        with self._noting:
            self._losses = self._losses or []
        self._note_losses(locks, self._joined, self._terms)

    def _note_losses(
        self,
        locks: Iterable[bytes] = (),
        joined: Iterable[bytes] = (),
        led: Iterable[bytes] = (),
    ) -> None:
        """Keep what was lost one by one, for a heartbeat to tell.

        :param locks: the names of locks
        :param joined: the groups whose memberships were lost
        :param led: the groups whose leaderships were lost
        """
        joined, led = set(joined), set(led)
        lost = [
            *(f"the membership of group {group!r}" for group in sorted(joined)),
            *(f"the leadership of group {group!r}" for group in sorted(led)),
            *(f"the lock {name!r}" for name in sorted(locks)),
        ]
        with self._noting:
            if lost:
                self._losses = [*(self._losses or ()), *lost]
            # Changed, not replaced: another thread may be adding to them.
            self._joined.difference_update(joined)
            for group in led:
                self._terms.pop(group, None)

    def _tell_losses(self, what: str) -> None:
        """Raise ToozConnectionError, once, when something was lost since the last time.

        :param what: what was lost first, as in "contact with ZooKeeper"
        """
        with self._noting:
            losses, self._losses = self._losses, None
        if losses is not None:
            raise ToozConnectionError(
                f"{what} was lost, and with it "
                f"{', '.join(losses) or 'nothing, for nothing was held'}; join and acquire anew"
            )


class Lease:
    """How long something that expires on the server certainly lasts, by this clock.

    The server starts to count when a request arrives, which is after it was sent; so what
    counts from the sending never lasts longer here than there.

    :param seconds: how long the server keeps it after a renewal
    """

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self._end = 0.0

    def renewed(self, sent: float) -> None:
        """Note that a renewal succeeded.

        :param sent: when its request was sent, in seconds of the monotonic clock
        """
        self._end = max(self._end, sent + self.seconds)

    def ended(self) -> None:
        """Note that the server no longer has it."""
        self._end = 0.0

    @property
    def remaining(self) -> float:
        """Seconds for which it certainly lasts."""
        return max(0.0, self._end - time.monotonic())

    @property
    def valid(self) -> bool:
        """Whether it certainly lasts still."""
        return self.remaining > 0.0


def address(url: SplitResult, port: int) -> tuple[str, int]:
    """Return the host and the port that a URL names.

    :param port: the one where it names none
    :raises ValueError: it names no port that can be; the message quotes no password
    """
    try:
        return url.hostname or "localhost", url.port or port
    except ValueError:
        raise ValueError(f"{url.scheme}:// takes HOST[:PORT], with a port up to 65535") from None


def credentials(url: SplitResult) -> tuple[str | None, str | None]:
    """Return the user and the password of a URL, percent-encoding undone."""
    user = None if url.username is None else unquote(url.username)
    return user or None, None if url.password is None else unquote(url.password)


def digest(name: bytes) -> str:
    """Return 64 hexadecimal digits that stand for a name: those of its SHA-256."""
    return hashlib.sha256(name).hexdigest()


@contextlib.contextmanager
def turn(mutex: Any, seconds: float, server: str) -> Iterator[None]:
    """Have a mutex while the server is asked something; others wait no longer than so.

    :param mutex: a lock of ``threading``
    :param seconds: the time-out of an exchange
    :raises OperationTimedOut: another thread has been asking for that long
    """
    if not mutex.acquire(timeout=seconds):
        raise OperationTimedOut(
            f"{server} did not answer another thread within {seconds:g} seconds, so nothing was "
            "asked"
        )
    try:
        yield
    finally:
        mutex.release()


def tls_context(
    authorities: str | None,
    certificate: str | None = None,
    key: str | None = None,
    key_password: str | None = None,
) -> ssl.SSLContext:
    """Return how to speak TLS with a server that must prove who it is.

    :param authorities: the file of those who may vouch for it; the system's without one
    :param certificate: the file of the client's own certificate, if it has one
    :param key: the file of that one's key, if it is not in the same
    :param key_password: what the key is encrypted with, if it is
    :raises ValueError: a file cannot be read, or is none of its kind
    """
    using = authorities
    try:
        context = ssl.create_default_context(cafile=authorities)
        if certificate is not None:
            using = certificate if key is None else f"{certificate} with {key}"
            context.load_cert_chain(certificate, key, key_password)
    except OSError as error:  # which names no file
        raise ValueError(f"the TLS options cannot be used: {using}: {error}") from None
    return context


def abandon_socket(number: int) -> None:
    """In a forked child: let go of an inherited connection without a word to the server.

    The descriptor is made one of /dev/null, so that whatever a client library still writes
    when its object is collected goes nowhere, and the parent's end alone keeps the
    connection.

    :param number: the socket's descriptor
    """
    with contextlib.suppress(OSError):  # closed already
        nothing = os.open(os.devnull, os.O_RDWR | os.O_CLOEXEC)
        try:
            os.dup2(nothing, number, inheritable=False)
        finally:
            os.close(nothing)
