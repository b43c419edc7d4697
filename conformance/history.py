"""Operations, their outcomes, and histories: what clients did and what they were told.

A history is plain data. Recording it belongs to ``workload``, judging it to ``checkers``.
All times are nanoseconds of CLOCK_MONOTONIC, which the processes of one machine share.
"""

from __future__ import annotations

import enum
import math
from collections.abc import Iterable, Sequence
from pathlib import Path
from typing import Any

import msgspec

__all__ = [
    "FOREIGN",
    "NEVER",
    "Fault",
    "History",
    "MalformedHistory",
    "Operation",
    "Outcome",
    "brief",
    "lane",
    "load_history",
    "save_history",
    "successor",
]

NEVER = math.inf
"""The return time of an operation that never returned, where a number is needed."""


FOREIGN = "foreign "
"""What the error of an exception from outside the API's family begins with."""

_LONGEST = 200
"""Characters of the longest value that is written out whole."""

_SUCCESSOR = 100
"""What is added to a client's number when a new client takes its place."""


def successor(client: int) -> int:
    """Return the client that takes over after ``client`` had an unknown outcome."""
    return client + _SUCCESSOR


def lane(client: int) -> int:
    """Return the planned client in whose place ``client`` acts."""
    return client % _SUCCESSOR


def brief(value: object) -> str:
    """Return a value as it is written in Python, cut where it is too long to be read."""
    text = repr(value)
    return text if len(text) <= _LONGEST else f"{text[: _LONGEST // 2]}… ({len(text)} characters)"


class Outcome(enum.Enum):
    """What a client knows about an operation."""

    OK = "ok"
    """It happened, with this result."""

    FAIL = "fail"
    """It certainly did not happen; the error says why, and is itself an observation."""

    INFO = "info"
    """Unknown: timed out, connection lost, client killed. It may take effect at any
    later time, or never."""


class MalformedHistory(ValueError):
    """A history that no run can produce; nothing is concluded from it."""


class Operation(msgspec.Struct, frozen=True, gc=False):
    """One call of the coordination API by one client.

    ``client`` is one sequential caller; ``name`` the API's method (``acquire``,
    ``join_group`` …); ``target`` the lock or group; ``arguments`` what else was passed.
    ``call`` and ``end`` are nanoseconds; ``end`` is None when the call never returned.
    ``value`` is the result of an ok, ``error`` the class name of the exception
    otherwise. ``member`` is the name under which the client's coordinator acts. Sets are
    recorded as sorted lists.
    """

    client: int
    name: str
    target: bytes
    arguments: dict[str, Any]
    call: int
    end: int | None
    outcome: Outcome
    value: Any = None
    error: str | None = None
    member: bytes = b""

    @property
    def is_ok(self) -> bool:
        """Whether it happened."""
        return self.outcome is Outcome.OK

    @property
    def is_fail(self) -> bool:
        """Whether it certainly did not happen."""
        return self.outcome is Outcome.FAIL

    @property
    def is_info(self) -> bool:
        """Whether nobody knows if it happened."""
        return self.outcome is Outcome.INFO

    def __str__(self) -> str:
        arguments = ", ".join(f"{k}={brief(v)}" for k, v in self.arguments.items())
        result = {Outcome.OK: brief(self.value), Outcome.FAIL: f"! {self.error}"}.get(
            self.outcome, f"? {self.error or 'no answer'}"
        )
        return f"client {self.client}: {self.name} {brief(self.target)} ({arguments}) -> {result}"


class Fault(msgspec.Struct, frozen=True):
    """Something done to a client, a server or the network during a run.

    ``kind`` is ``pause``, ``kill`` …; ``client`` whom it hit, if a client; ``begin`` and
    ``end`` nanoseconds, ``end`` None for what was never undone. A kill ends when the process
    is known to be gone: it may have gone on until then.
    """

    kind: str
    client: int | None
    begin: int
    end: int | None = None


class History(msgspec.Struct, frozen=True):
    """All operations of one run, in the order of their calls, and the faults in it."""

    operations: list[Operation]
    faults: list[Fault] = []

    def __len__(self) -> int:
        return len(self.operations)

    @classmethod
    def of(cls, operations: Iterable[Operation], faults: Iterable[Fault] = ()) -> History:
        """Return the history of these operations, sorted by call, after checking them.

        :raises MalformedHistory: a client with two operations at once, an end before its
            call, a known outcome without an end
        """
        ordered = sorted(operations, key=lambda operation: operation.call)
        _check(ordered)
        return cls(ordered, list(faults))

    def only(self, *names: str) -> list[Operation]:
        """Return the operations of these names, in the order of their calls."""
        return [operation for operation in self.operations if operation.name in names]

    def by_target(self) -> dict[bytes, list[Operation]]:
        """Return the operations on each lock or group, in the order of their calls."""
        targets: dict[bytes, list[Operation]] = {}
        for operation in self.operations:
            targets.setdefault(operation.target, []).append(operation)
        return targets

    def by_client(self) -> dict[int, list[Operation]]:
        """Return the operations of each client, in the order of their calls."""
        clients: dict[int, list[Operation]] = {}
        for operation in self.operations:
            clients.setdefault(operation.client, []).append(operation)
        return clients


def _check(operations: Sequence[Operation]) -> None:
    free_from: dict[int, float] = {}
    for operation in operations:
        end = operation.end
        if end is None and operation.outcome is not Outcome.INFO:
            raise MalformedHistory(f"known outcome without an end: {operation}")
        if end is not None and end < operation.call:
            raise MalformedHistory(f"end {end} before call {operation.call}: {operation}")
        if operation.call < free_from.get(operation.client, -NEVER):
            raise MalformedHistory(f"called while the client's last was open: {operation}")
        free_from[operation.client] = NEVER if end is None else end


def save_history(history: History, path: Path) -> None:
    """Write a history as MessagePack, which keeps bytes apart from text."""
    path.write_bytes(msgspec.msgpack.encode(history))


def load_history(path: Path) -> History:
    """Read a history and check it.

    :raises MalformedHistory: it is no history, or one no run can produce
    """
    try:
        history = msgspec.msgpack.decode(path.read_bytes(), type=History)
    except msgspec.DecodeError as error:
        raise MalformedHistory(f"{path} is not a history: {error}") from error
    return History.of(history.operations, history.faults)
