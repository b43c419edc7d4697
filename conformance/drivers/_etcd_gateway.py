"""Exchanges with etcd through its JSON gateway, and the errors that they end in.

The client library is etcd3gw, over a session of HTTP for any number of threads. Nothing is
sent twice, except what etcd refused for an authentication token that was out of date.
"""

from __future__ import annotations

import contextlib
import json
import math
import re
import select
import ssl
from collections.abc import Callable, Iterator, Sequence
from typing import Any
from urllib.parse import SplitResult

from etcd3gw.client import Etcd3Client
from etcd3gw.exceptions import Etcd3Exception

from conformance.drivers._etcd_requests import Outcome, Request, outcome, watch
from conformance.drivers._http import HttpSession, Stream
from conformance.drivers.remote import address, credentials
from conformance.errors import OperationTimedOut, ToozConnectionError, ToozError

__all__ = ["Gateway", "LeaseLost"]

_PORT = 2379

# Codes of gRPC ("Status codes and their use in gRPC"), which the gateway passes on.
_CANCELLED, _DEADLINE_EXCEEDED, _NOT_FOUND, _PERMISSION_DENIED = 1, 4, 5, 7
_UNAVAILABLE, _UNAUTHENTICATED = 14, 16

_AUTHENTICATION = re.compile("auth|user name is empty")
"""In messages about who may do what, where their code does not say so."""


class LeaseLost(ToozConnectionError):
    """The lease that a request names has ended; nothing was done."""


class _TokenRefused(ToozConnectionError):
    """The authentication token is out of date; nothing was done."""


class Gateway:
    """The way to one etcd server, for any number of threads.

    :param url: whose host, port, user and password are used
    :param timeout: seconds for which each exchange is waited for
    :param tls: how it is secured, if it is
    :raises ValueError: the URL's port is none
    """

    def __init__(
        self, url: SplitResult, *, timeout: float, tls: ssl.SSLContext | None = None
    ) -> None:
        self._host, self._port = address(url, _PORT)
        self._user, self._password = credentials(url)
        self.timeout = timeout
        self.session = HttpSession(self._host, self._port, timeout=timeout, tls=tls)
        self._client = Etcd3Client(
            *(self._host, self._port, "http" if tls is None else "https"),
            timeout=timeout,
            api_path=None,  # it asks for the server's version
            session=self.session,  # type: ignore[arg-type] # one of requests, so it says
        )
        self._token: str | None = None
        self.hangs = False
        """Whether the last exchange was not answered in time."""

    # -- exchanges ----------------------------------------------------------------------

    def transact(
        self,
        conditions: Sequence[Request],
        then: Sequence[Request],
        otherwise: Sequence[Request] = (),
    ) -> Outcome:
        """Carry out a transaction, in one exchange."""
        request = {"compare": [*conditions], "success": [*then], "failure": [*otherwise]}
        return outcome(self.call("/kv/txn", request))

    def call(self, path: str, request: Request) -> Any:
        """Send a request and return its answer.

        :raises OperationTimedOut: no answer came in time
        :raises LeaseLost: the request names a lease that has ended
        :raises ToozConnectionError: the connection broke
        :raises ToozError: etcd refused
        """
        try:
            return self._exchange(path, request)
        except _TokenRefused:
            self._token = None
            return self._exchange(path, request)

    def _exchange(self, path: str, request: Request) -> Any:
        with self._translated():
            self._authenticate()
            return self._client.post(self._client.get_url(path), json=request)

    def _authenticate(self) -> None:
        """See that requests bear a token, if the URL names a user."""
        if self._user is not None and self._token is None:
            wanted = {"name": self._user, "password": self._password or ""}
            answer = self._client.post(self._client.get_url("/auth/authenticate"), json=wanted)
            token = answer["token"]
            # In the place of what requests of other threads may be reading.
            self.session.headers = {"Authorization": token}
            self._token = token

    # -- being told ---------------------------------------------------------------------

    @contextlib.contextmanager
    def watching(self, key: str) -> Iterator[Callable[[float], bool]]:
        """Watch for the removal of a key, with a connection of its own.

        Yields a function that waits, for seconds at most, until the removal is told, and
        says whether it was. etcd has confirmed the watch by then, and tells of what is done
        after that (etcd 3.5 manual, "etcd API", "Watch API"): look whether the key is there
        before waiting. What was not done yet when one looked was not read with the
        confirmation either, so the socket tells when there is something to read.
        """
        with contextlib.ExitStack() as stack:
            with self._translated():
                self._authenticate()
                streaming = self.session.streaming(self._client.get_url("/watch"), json=watch(key))
                stream = stack.enter_context(streaming)
                if stream.status_code != 200:
                    raise Etcd3Exception(stream.rest())
                if not _told(stream).get("created"):
                    raise Etcd3Exception("the watch was not confirmed")
            readable = select.poll()
            readable.register(stream, select.POLLIN)

            def told(seconds: float) -> bool:
                if not readable.poll(math.ceil(seconds * 1000)):
                    return False
                with self._translated():
                    return "events" in _told(stream)

            yield told

    # -- connections --------------------------------------------------------------------

    def close(self) -> None:
        """Close the connections: those that exchanges are using, at their end."""
        self.session.close()

    def disown(self) -> None:
        """In a forked child: let go of the parent's connections.

        To close them says nothing to etcd, and with them nothing is held; only a watch
        would go on for as long as the child has it open.
        """
        self.session.disown()

    # -- errors -------------------------------------------------------------------------

    @contextlib.contextmanager
    def _translated(self) -> Iterator[None]:
        """Turn the errors of etcd, etcd3gw and HTTP into the API's own."""
        try:
            yield
        except (Etcd3Exception, OSError, ValueError, LookupError) as error:
            translated = self._error(error)
            self.hangs = isinstance(translated, OperationTimedOut)
            raise translated from error
        self.hangs = False

    def _error(self, error: Exception) -> ToozError:
        where = f"etcd at {self._host}:{self._port}"
        refusal = _refusal(error)
        if refusal is not None:
            return _refused(where, *refusal)
        if isinstance(error, TimeoutError):
            return OperationTimedOut(
                f"{where} did not answer within {self.timeout:g} seconds; whether it did what "
                "was asked is unknown"
            )
        return ToozConnectionError(
            f"the connection to {where} failed ({type(error).__name__}); whether what was asked "
            "was done is unknown: check the URL, the TLS options, and that a server runs there"
        )


def _told(stream: Stream) -> dict[str, Any]:
    """Return the next message of a watch, which is a line."""
    message = json.loads(stream.readline())  # no message: the server ended the stream
    result: dict[str, Any] = message.get("result", {})
    if not result or result.get("canceled"):
        raise Etcd3Exception(json.dumps(message.get("error", message)))
    return result


def _refusal(error: Exception) -> tuple[int, str] | None:
    """Return the code and the message with which etcd refused; None if it did not."""
    try:
        told = json.loads(getattr(error, "detail_text", None) or "")
        return int(told.get("code") or told["grpc_code"]), str(told["message"])
    except (AttributeError, LookupError, TypeError, ValueError):
        return None


def _refused(where: str, code: int, message: str) -> ToozError:
    """Return the error for a refusal; etcd's messages quote neither keys nor passwords."""
    if code == _NOT_FOUND and "lease not found" in message:
        return LeaseLost(f"a lease at {where} has ended, and what was held with it; acquire anew")
    if "invalid auth token" in message or "revision in header is old" in message:
        return _TokenRefused(f"{where} does not accept the token that it gave: {message}")
    if code == _DEADLINE_EXCEEDED or "timed out" in message:
        return OperationTimedOut(
            f"{where} did not agree with its cluster in time ({message}); whether it did what "
            "was asked is unknown"
        )
    if code in (_UNAVAILABLE, _CANCELLED):  # nobody here cancels: the gateway ends, in etcd 3.4
        return ToozConnectionError(
            f"{where} is not ready ({message}); whether it did what was asked is unknown"
        )
    if code in (_UNAUTHENTICATED, _PERMISSION_DENIED) or _AUTHENTICATION.search(message):
        return ToozConnectionError(
            f"{where} does not permit that ({message}): check USER:PASS of the URL"
        )
    return ToozError(f"{where} refused: {message}")
