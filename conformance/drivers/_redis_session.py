"""What the Redis driver and its locks share: exchanges in time, and what is held.

A session begins with ``start()`` and ends with ``stop()``; its random name is what shows
on the server whose a lock, membership or leadership is. No protocol of a lock or a group
belongs here.
"""

from __future__ import annotations

import contextlib
import itertools
import logging
import secrets
import threading
import time
import weakref
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

from redis.exceptions import ConnectionError as RedisConnectionError
from redis.exceptions import NoScriptError, RedisError
from redis.exceptions import TimeoutError as RedisTimeout

from conformance.drivers._redis_client import Clients
from conformance.drivers._redis_scripts import KEEP, RELEASE, Script
from conformance.drivers._redis_wakes import Wakes
from conformance.drivers.remote import Lease, abandon_socket
from conformance.errors import OperationTimedOut, ToozConnectionError, ToozError

__all__ = ["Claim", "Session", "microseconds", "milliseconds"]

_log = logging.getLogger(__name__)

_MOST_CONNECTIONS = 16
"""How many exchanges one coordinator has under way at a time; further threads wait."""

_GRACE_SECONDS = 2.0
"""For how long a lock is kept for the waiter that it was handed to: waiters that run claim
theirs within a round trip, and one that does not run keeps others waiting no longer."""


@dataclass(frozen=True, eq=False)
class Claim:
    """A lock that is held, or may be."""

    name: bytes
    token: str
    keys: tuple[bytes, bytes]
    lease: Lease


class Session:
    """The connections of a coordinator, and what it holds.

    :param make_clients: returns the clients, given what they shall call with each
        connection
    :param prefix: what all keys and channels begin with
    :param timeout: seconds for which an exchange is waited for
    :param lock_timeout: seconds after which the server frees a lock that was not renewed
    """

    def __init__(
        self,
        make_clients: Callable[[Callable[[Any], None]], Clients],
        prefix: bytes,
        timeout: float,
        lock_timeout: float,
    ) -> None:
        self._clients = make_clients(self._connected)
        self._turns = threading.BoundedSemaphore(_MOST_CONNECTIONS)
        self._connections: weakref.WeakSet[Any] = weakref.WeakSet()
        self._numbers = itertools.count(1)
        self._silent = False
        self._open = False
        self._prefix = prefix
        self.timeout = timeout
        self.lock_timeout = lock_timeout
        self.channels = prefix + b"wake:"
        self.grace = milliseconds(min(lock_timeout, _GRACE_SECONDS))
        self.id = ""
        self.holds: dict[str, Claim] = {}
        self._debts: dict[str, Claim] = {}
        self.wakes = self._make_wakes()

    # -- life ---------------------------------------------------------------------------

    def open(self) -> None:
        """Connect, under a new name."""
        self.id = secrets.token_hex(16)
        self.holds, self._debts = {}, {}
        self.wakes = self._make_wakes()
        self._open, self._silent = True, False
        try:
            self.command("PING")
        except BaseException:
            self.close()
            raise

    def close(self) -> None:
        """Disconnect; nothing is sent."""
        self._open = False
        self.holds, self._debts = {}, {}
        self.wakes.close()
        self._clients.close()

    def disown(self) -> None:
        """In a forked child: let go of the parent's connections without a word."""
        self._open = False
        self.holds, self._debts = {}, {}
        for connection in list(self._connections):
            inherited = getattr(connection, "_sock", None)
            if inherited is not None:
                abandon_socket(inherited.fileno())

    @property
    def answers(self) -> bool:
        """Whether the server answered when it was last asked."""
        return self._open and not self._silent

    # -- exchanges ----------------------------------------------------------------------

    def key(self, kind: bytes, name: bytes = b"") -> bytes:
        """Return the key of something: one to one, for no kind has a colon in it."""
        return self._prefix + kind + b":" + name

    def command(self, *words: Any) -> Any:
        """Have the server carry out a command, once; return its answer."""
        with self._exchange():
            return self._clients.server.execute_command(*words)

    def run(self, script: Script, keys: Sequence[bytes], *arguments: Any) -> Any:
        """Have the server run a script, once; return its answer.

        A server that does not know the script says so and does nothing (EVALSHA in the
        manual of Redis 8.0), and gets its text then.
        """
        server = self._clients.server
        with self._exchange():
            try:
                return server.execute_command("EVALSHA", script.sha, len(keys), *keys, *arguments)
            except NoScriptError:
                return server.execute_command("EVAL", script.text, len(keys), *keys, *arguments)

    @contextlib.contextmanager
    def _exchange(self) -> Iterator[None]:
        if not self._turns.acquire(timeout=self.timeout):
            raise OperationTimedOut(
                f"{_MOST_CONNECTIONS} other requests of this coordinator went unanswered for "
                f"{self.timeout} seconds"
            )
        try:
            if not self._open:
                raise ToozConnectionError("not connected to Redis: the coordinator was stopped")
            try:
                yield
            except (RedisConnectionError, RedisTimeout):
                self._silent = True
                raise
            self._silent = False
        finally:
            self._turns.release()

    def _connected(self, connection: Any) -> None:
        self._connections.add(connection)
        connection.on_connect()

    def _make_wakes(self) -> Wakes:
        channel = self.channels + self.id.encode()
        return Wakes(self._clients.server, channel, self.timeout)

    # -- locks --------------------------------------------------------------------------

    def new_claim(self, name: bytes, keys: tuple[bytes, bytes]) -> Claim:
        """Return a claim to a lock which no other was like."""
        token = f"{self.id}:{next(self._numbers)}"
        return Claim(name, token, keys, Lease(self.lock_timeout))

    def give_back(self, claim: Claim) -> bool:
        """Release a lock, or leave its queue; whether the lock was held."""
        answer = self.run(RELEASE, claim.keys, claim.token, self.channels, self.grace)
        self._debts.pop(claim.token, None)
        return bool(answer)

    def keep(
        self,
        claims: Sequence[Claim],
        leaders: Sequence[bytes] = (),
        members: Sequence[tuple[bytes, bytes]] = (),
        *,
        member_id: bytes = b"",
        leader_timeout: float = 1.0,
        membership_timeout: float = 1.0,
    ) -> tuple[list[bool], list[bool], list[bool]]:
        """Renew what is still ours, in one exchange; say of each whether it was.

        :param claims: locks
        :param leaders: the keys of leaderships
        :param members: those of memberships, two for each
        """
        sent = time.monotonic()
        answers = self.run(
            KEEP,
            [claim.keys[0] for claim in claims] + [*leaders, *itertools.chain(*members)],
            self.id,
            member_id,
            len(leaders),
            milliseconds(self.lock_timeout),
            milliseconds(leader_timeout),
            microseconds(membership_timeout),
            *(claim.token for claim in claims),
        )
        kept = [answer == 1 for answer in answers]
        for claim, ours in zip(claims, kept, strict=False):
            if ours:
                claim.lease.renewed(sent)
        locks, led = len(claims), len(claims) + len(leaders)
        return kept[:locks], kept[locks:led], kept[led:]

    def abandon(self, claim: Claim, error: BaseException) -> None:
        """See that a claim whose fate an error left unknown is given back.

        At once where the server may answer; else before the next acquire, with the next
        heartbeat, or when the lock expires.
        """
        self._debts[claim.token] = claim
        if isinstance(error, RedisTimeout | OperationTimedOut):
            return
        try:
            self.give_back(claim)
        except (RedisError, ToozError) as failure:
            _log.warning(
                "lock %r could not be given back yet (%s)", claim.name, type(failure).__name__
            )

    def settle(self) -> None:
        """Give back what could not be given back so far."""
        for claim in list(self._debts.values()):
            self.give_back(claim)

    def give_everything_back(self) -> None:
        """Give back also what lock objects held that nobody has any more."""
        for claim in list(self.holds.values()):
            self.holds.pop(claim.token, None)
            self._debts[claim.token] = claim
        self.settle()


def milliseconds(seconds: float) -> int:
    """Return at least as many milliseconds, and at least one, as the server's time-outs."""
    return max(1, int(-(-seconds * 1000 // 1)))


def microseconds(seconds: float) -> int:
    """Return seconds in the unit of the moments that scripts keep."""
    return int(seconds * 1_000_000)
