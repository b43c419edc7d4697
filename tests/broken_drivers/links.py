"""Links: what drivers make of silence, lost replies, broken connections, restarts."""

from __future__ import annotations

import contextlib
import itertools
import threading
import time
from collections import deque
from contextlib import AbstractContextManager
from multiprocessing.connection import Connection
from typing import Any, cast

from conformance.coordination import Deadline, Lock, OperationTimedOut, ToozConnectionError
from conformance.watching import Watches

from .broken import meant_for
from .served import ServedDriver, ServedLock

_AGAIN_SECONDS = 0.05
"""How long a driver that cannot connect waits before it tries again."""

_TRIES = 3
"""How often a request is made again for which there was no connection or no session."""

_LATE = ("lock.acquire", "_join_group", "heartbeat")
"""The requests whose answers may come late."""

_SILENCE = "test_a_server_that_never_answers"
_ACQUIRE = "test_a_lost_reply_to_an_acquire"
_RELEASE = "test_a_lost_reply_to_a_release"
_BREAK = "test_a_connection_that_breaks"
_IDLE = "test_idle_connections_that_are_forgotten"
_WAIT = "test_a_wait_over_connections_that_are_forgotten"
_TOGETHER = "test_threads_that_ask_a_silent_server_together"
_STOP = "test_a_server_that_is_stopped_and_started"
_KILL = "test_a_server_that_is_killed_and_started"
_BELIEFS = "test_nobody_believes_in_a_hold_that_was_cut_off"
_RESTARTS = {_STOP: "restarts", _KILL: "restarts"}


_ALL = (_SILENCE, _TOGETHER, _ACQUIRE, _RELEASE, _BREAK, _IDLE, _WAIT, _BELIEFS, *_RESTARTS)


@meant_for({}, spares=_ALL)
class Served(ServedDriver):
    """Is not broken: what the others add is their own."""


@meant_for({}, spares=(_ACQUIRE, _RELEASE, _BREAK))
class AnswersLate(ServedDriver):
    """Hears of every second success of a kind too late: on a slow machine, not broken."""

    def ask(self, name: str, *arguments: Any) -> Any:
        result = super().ask(name, *arguments)
        if name in _LATE and next(self._done[name]) % 2:
            raise OperationTimedOut("no answer")
        return result

    def _start(self) -> None:
        self._done = {name: itertools.count() for name in _LATE}
        super()._start()


@meant_for({_SILENCE: "links"})
class WaitsForEver(ServedDriver):
    """Waits for an answer without end: a socket without a time-out, which is the default."""

    def patience(self) -> float | None:
        return None


@meant_for({_SILENCE: "links"} | _RESTARTS)
class LetsErrorsThrough(ServedDriver):
    """Leaves it to the caller to know what its sockets raise."""

    def named(self, error: Exception) -> Exception:
        return error


@meant_for({_ACQUIRE: "links"})
class ForgetsTheDoubtful(ServedDriver):
    """Takes a lock for refused when the reply is lost, and its heart keeps it for ever."""

    def give_back(self, name: bytes, own: str) -> None:
        pass


class _Credulous(ServedLock):
    """A lock that takes its word for the server's, until a release has succeeded."""

    def _acquire(self, deadline: Deadline, shared: bool) -> bool:
        self._held = super()._acquire(deadline, shared)
        return self._held

    _held = False

    def _release(self) -> bool:
        released = self._ask("release")
        self._held = False
        return released

    def _is_held(self) -> bool:
        return self._held

    def _is_still_owner(self) -> bool:
        return self._held


@meant_for({_RELEASE: "links", _BREAK: "links"} | _RESTARTS)
class BelievesItself(ServedDriver):
    """Takes a lock for held until it hears otherwise, which it never asks for."""

    def _make_lock(self, name: bytes) -> Lock:
        return _Credulous(name, self)


class _Believing(ServedLock):
    """A lock that is held for all that its object knows until the server is heard again."""

    def _is_held(self) -> bool:
        return self._session is not None and self._session == self._coordinator.token


@meant_for({_BELIEFS: "truth after loss"}, spares=(_RELEASE, _BREAK, *_RESTARTS))
class BelievesInSilence(ServedDriver):
    """Learns from the server alone that a session has ended: nothing is counted on this side."""

    def _make_lock(self, name: bytes) -> Lock:
        return _Believing(name, self)


@meant_for({_BREAK: "links"} | _RESTARTS)
class KeepsADeadConnection(ServedDriver):
    """Goes on using the connection that broke."""

    def broke(self) -> None:
        pass


@meant_for({_BREAK: "links"} | _RESTARTS)
class LosesInSilence(ServedDriver):
    """Begins another session without a word of what was lost with the former."""

    def ask(self, name: str, *arguments: Any) -> Any:
        for _ in range(_TRIES):
            try:
                return super().ask(name, *arguments)
            except ToozConnectionError:
                continue
        return super().ask(name, *arguments)

    def lost(self) -> None:
        self._begin()


class _Channel:
    """A connection that is kept when an answer does not come in time.

    The answer is skipped when it comes later; where it never does, no other comes either.
    """

    def __init__(self, driver: ServedDriver) -> None:
        self._driver = driver
        self._alone = threading.RLock()
        self._connection: Connection | None = None
        self._owed = 0

    def exchange(self, name: str, *arguments: Any) -> Any:
        """Send a request and wait for its answer."""
        with self._alone:
            sent = time.monotonic()
            try:
                answer = self._converse(name, *arguments)
            except (OSError, EOFError) as error:
                if not isinstance(error, TimeoutError):
                    self.close()
                raise self._driver.named(error) from error
        return self._driver.result_of(sent, *answer)

    def close(self) -> None:
        """Close the connection."""
        if self._connection is not None:
            self._connection.close()
        self._connection, self._owed = None, 0

    def _converse(self, name: str, *arguments: Any) -> Any:
        if self._connection is None:
            self._connection = self._driver.connect()
        self._connection.send((self._driver.token, name, *arguments))
        self._owed += 1
        while self._owed:
            if not self._connection.poll(self._driver.patience()):
                raise TimeoutError
            answer = self._connection.recv()
            self._owed -= 1
        return answer


class _Channelled(ServedDriver):
    """A driver with a channel beside its connection, for some of what it asks."""

    def _start(self) -> None:
        self.channel = _Channel(self)
        super()._start()

    def _stop(self) -> None:
        super()._stop()
        self.channel.close()


@meant_for({_IDLE: "links"}, spares=(_SILENCE, _BREAK))
class KeepsASilentConnection(_Channelled):
    """Waits for what comes late over the connection that it has, for as long as that lasts."""

    def exchange(self, name: str, *arguments: Any) -> Any:
        return self.channel.exchange(name, *arguments)


@meant_for({_IDLE: "links"}, spares=(_SILENCE, _BREAK, _WAIT))
class TriesEachOldConnection(ServedDriver):
    """Has a connection for each thread, and finds out one by one that they are no more."""

    def _start(self) -> None:
        self._idle: deque[Connection] = deque()
        super()._start()

    def _stop(self) -> None:
        super()._stop()
        while self._idle:
            self._idle.pop().close()

    def turns(self) -> AbstractContextManager[Any]:
        return contextlib.nullcontext()

    def exchange(self, name: str, *arguments: Any) -> Any:
        connection: Connection | None = None
        sent = time.monotonic()
        try:
            connection = self._idle.popleft() if self._idle else self.connect()
            connection.send((self.token, name, *arguments))
            if not connection.poll(self.patience()):
                raise TimeoutError
            answer = connection.recv()
        except (OSError, EOFError) as error:
            if connection is not None:
                connection.close()
            raise self.named(error) from error
        self._idle.append(connection)
        return self.result_of(sent, *answer)


class _Trusting(ServedLock):
    """A lock for which one connection asks, in vain if need be, for as long as the wait lasts."""

    def _acquire(self, deadline: Deadline, shared: bool) -> bool:
        if super()._acquire(Deadline(0.0), shared):
            return True
        owner = cast("_Channelled", self._owner)
        while not deadline.expired:
            with contextlib.suppress(OperationTimedOut):
                if owner.channel.exchange("lock.acquire", self._name, self._own):
                    self._session = owner.token
                    return True
                time.sleep(_AGAIN_SECONDS)
        return False


@meant_for({_WAIT: "links"}, spares=(_SILENCE, _IDLE))
class WaitsOnOneConnection(_Channelled):
    """Is told over one connection when a lock has become free, and over no other."""

    def _make_lock(self, name: bytes) -> Lock:
        return _Trusting(name, self)


@meant_for({_WAIT: "links"}, spares=(_SILENCE, _IDLE))
class ShowsWhatItSawLast(_Channelled):
    """Takes no news of a group for good news."""

    def _get_members(self, group_id: bytes) -> Any:
        seen = self.__dict__.setdefault("seen", {})
        try:
            seen[group_id] = self.channel.exchange("_get_members", group_id)
        except OperationTimedOut:
            if group_id not in seen:
                raise
        return seen[group_id]


@meant_for({_TOGETHER: "links"}, spares=(_SILENCE,))
class AsksOneAfterTheOther(ServedDriver):
    """Lets each thread wait for its turn, however long those before it wait for an answer."""

    def turns(self) -> AbstractContextManager[Any]:
        return self._exchanging


@meant_for(_RESTARTS, spares=(_SILENCE, _BREAK))
class WaitsForAServer(ServedDriver):
    """Asks again, for as long as it takes, when it cannot connect."""

    def exchange(self, name: str, *arguments: Any) -> Any:
        while True:
            try:
                return super().exchange(name, *arguments)
            except ToozConnectionError as error:
                if not isinstance(error.__cause__, ConnectionRefusedError):
                    raise
                time.sleep(_AGAIN_SECONDS)


class _Obliging(ServedLock):
    """A lock that is had where nobody is there to refuse it."""

    def _acquire(self, deadline: Deadline, shared: bool) -> bool:
        try:
            return super()._acquire(deadline, shared)
        except ToozConnectionError as error:
            return isinstance(error.__cause__, ConnectionRefusedError)


@meant_for(_RESTARTS, spares=(_SILENCE,))
class GrantsByItself(ServedDriver):
    """Takes a lock for granted when there is no server to ask."""

    def _make_lock(self, name: bytes) -> Lock:
        return _Obliging(name, self)


@meant_for(_RESTARTS, spares=(_BREAK,))
class ForgetsWhatItWatched(ServedDriver):
    """Begins another session without the watches of the former."""

    def lost(self) -> None:
        self._watches = Watches()
        super().lost()
