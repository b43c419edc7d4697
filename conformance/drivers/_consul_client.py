"""The HTTP API of Consul, as far as the driver needs it, on python-consul's client.

Everything is read in the mode ``consistent``, in which the leader asks a majority whether
it still leads before it answers: one more round trip between the servers, and no answer is
from the past (Consul 1.8, "HTTP API", "Consistency Modes"). All that changes is changed by
transactions: all of their operations are carried out, at one moment, or none is ("HTTP
API", "Transactions").
"""

from __future__ import annotations

import ssl
from typing import Any

import msgspec
from consul import std

from conformance.drivers._http import HttpSession, Reply
from conformance.errors import ToozConnectionError, ToozError

__all__ = ["Client", "Entry", "Operation", "Refused", "TooLarge"]

_LARGEST_REQUEST = 524_288
"""Bytes of a transaction that a server takes, where its ``txn_max_req_len`` and
``kv_max_value_size`` are as they come (Consul 1.8, "Agent", "Configuration", "limits"). It
answers a larger one before it has read it, which here would be a broken connection."""

_DENIED = "Permission denied"
"""How the reason begins for which a transaction is refused to a token that may not write a
key; it is no condition that does not hold (``ErrPermissionDenied`` in Consul's server 1.8)."""


class Entry(msgspec.Struct, frozen=True, rename="pascal"):
    """A key and what is known of it, as of one moment.

    ``create_index`` is the number, in the order of all changes, of the one that made it.
    """

    key: str
    create_index: int
    modify_index: int
    value: bytes | None = None
    session: str | None = None

    @property
    def data(self) -> bytes:
        """What is stored: JSON says null for nothing."""
        return self.value or b""


class Operation(msgspec.Struct, frozen=True, rename="pascal", omit_defaults=True):
    """One operation of a transaction; the verbs are those of "Transactions"."""

    verb: str
    key: str
    value: bytes | None = None
    session: str | None = None
    index: int | None = None
    flags: int | None = None


class Refused(Exception):
    """A transaction was not carried out, because of one of its operations.

    :param position: which one it was, counted from 0
    :param reason: the server's words
    """

    def __init__(self, position: int, reason: str) -> None:
        super().__init__(f"Consul refused operation {position} of a transaction: {reason}")
        self.position = position
        self.lost_session = reason.startswith("invalid session")
        """Whether it was because the session that was to hold a key is no more."""


class TooLarge(ToozError):
    """What was to be stored is more than Consul takes."""


class Client(std.HTTPClient):  # type: ignore[misc] # python-consul has no types
    """A client of one agent; any number of threads may use it.

    python-consul's own calls wait for ever, put the ACL token into URLs, and take the
    address from the environment; so only its way of speaking HTTP is used, with a session
    of this project's.

    :param host: where the agent runs
    :param port: its port
    :param token: the ACL token, if any
    :param timeout: seconds for which each answer is waited for
    :param tls: how connections are secured, if they are
    """

    def __init__(
        self, host: str, port: int, token: str | None, timeout: float, tls: ssl.SSLContext | None
    ) -> None:
        scheme = "http" if tls is None else "https"
        super().__init__(f"[{host}]" if ":" in host else host, port, scheme)
        self._timeout = timeout
        self.session = HttpSession(host, port, timeout=timeout, tls=tls)
        if token is not None:
            self.session.headers["X-Consul-Token"] = token
        self.answering = True
        """Whether the last exchange brought an answer."""

    def close(self) -> None:
        """Close the connections; the next exchange makes others."""
        self.session.close()
        self.answering = True

    def disown(self) -> None:
        """In a forked child: see that nothing here touches the parent's connections."""
        self.session.disown()

    # -- keys ---------------------------------------------------------------------------

    def change(self, *operations: Operation) -> list[Entry]:
        """Carry out a transaction; return the keys that its operations made, set and got.

        :raises Refused: nothing was changed
        :raises TooLarge: it is more than the server takes; nothing was changed
        """
        body = msgspec.json.encode([{"KV": operation} for operation in operations])
        if len(body) > _LARGEST_REQUEST:
            raise TooLarge(
                f"storing this takes a request of {len(body)} bytes: Consul takes at most "
                f"{_LARGEST_REQUEST}, which is about 390,000 bytes of data"
            )
        # The mode counts only where nothing is changed; all else goes through the leader.
        response = self._ask("PUT", "/v1/txn", {"consistent": ""}, body, accepted=(200, 409))
        outcome = msgspec.json.decode(response.content, type=_Outcome)
        if outcome.errors:
            first = min(outcome.errors, key=lambda error: error.op_index)
            if first.what.startswith(_DENIED):
                raise _error(403, first.what)
            raise Refused(first.op_index, first.what)
        return [result.kv for result in outcome.results or ()]

    def get(self, key: str) -> Entry | None:
        """Return a key, None when it is not there."""
        return next(iter(self._read(key, {})), None)

    def below(self, prefix: str) -> list[Entry]:
        """Return the keys that begin with a prefix, as of one moment."""
        return self._read(prefix, {"recurse": ""})

    def is_gone(self, entry: Entry, seconds: float) -> bool:
        """Wait until a key is removed, or changed, or the time is over; say if it is gone.

        Consul answers when the key's index has passed the one given (Consul 1.8, "HTTP
        API", "Blocking Queries"), and up to a sixteenth later than it was told to wait.
        """
        wait = {"index": entry.modify_index, "wait": duration(seconds)}
        return not self._read(entry.key, wait, patience=seconds * 17 / 16)

    def _read(self, key: str, how: dict[str, Any], patience: float = 0.0) -> list[Entry]:
        response = self._ask(
            "GET",
            f"/v1/kv/{key}",
            {"consistent": "", **how},
            patience=patience,
            accepted=(200, 404),
        )
        if response.status_code == 404:
            return []
        return msgspec.json.decode(response.content, type=list[Entry])

    # -- sessions -----------------------------------------------------------------------

    def put(self, path: str, body: bytes = b"", accepted: tuple[int, ...] = (200,)) -> Reply:
        """Send a PUT request; return the answer, whose status is one of the accepted."""
        return self._ask("PUT", path, {}, body, accepted=accepted)

    # -- exchanges ----------------------------------------------------------------------

    def _ask(
        self,
        method: str,
        path: str,
        parameters: dict[str, Any],
        body: bytes = b"",
        *,
        patience: float = 0.0,
        accepted: tuple[int, ...],
    ) -> Reply:
        uri = self.uri(path, parameters)
        try:
            reply: Reply = self.session.request(
                method, uri, body or None, timeout=self._timeout + patience
            )
        except OSError:
            self.answering = False
            raise
        self.answering = True
        if reply.status_code not in accepted:
            raise _error(reply.status_code, reply.text.strip()[:500])
        return reply


class _Result(msgspec.Struct, rename={"kv": "KV"}):
    kv: Entry


class _Error(msgspec.Struct, rename="pascal"):
    op_index: int
    what: str


class _Outcome(msgspec.Struct, rename="pascal"):
    results: list[_Result] | None = None
    errors: list[_Error] | None = None


def duration(seconds: float) -> str:
    """Return a time as the API takes it: at least a millisecond, for 0 means the default."""
    return f"{max(1, round(seconds * 1000))}ms"


def _error(status: int, words: str) -> ToozError:
    """Return what an answer with an error's status means."""
    if status in (401, 403):
        return ToozError(
            f"Consul does not permit that ({status}: {words}): give an acl_token that may "
            "write the keys of the namespace and sessions"
        )
    if status >= 500 or status == 429:
        return ToozConnectionError(
            f"Consul could not answer ({status}: {words}); whether it did what was asked is unknown"
        )
    return ToozError(f"Consul refused a request ({status}: {words})")
