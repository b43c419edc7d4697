"""Links: what drivers make of silence, lost replies, broken connections, restarts."""

from __future__ import annotations

import itertools
import time
from typing import Any

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
_STOP = "test_a_server_that_is_stopped_and_started"
_KILL = "test_a_server_that_is_killed_and_started"
_BELIEFS = "test_nobody_believes_in_a_hold_that_was_cut_off"
_RESTARTS = {_STOP: "restarts", _KILL: "restarts"}


@meant_for({}, spares=(_SILENCE, _ACQUIRE, _RELEASE, _BREAK, _BELIEFS, *_RESTARTS))
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
