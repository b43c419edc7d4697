"""The journal of a client: what it called and what came back, even when it was killed.

Before each call a record of the intent is appended, after it one of the result, each
with a single write(2); whatever a killed client had written is still there, and at most
the last record is torn and ignored.
"""

from __future__ import annotations

import os
import struct
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import msgspec

from conformance.history import Operation, Outcome
from conformance.workload.plan import Step

__all__ = ["Journal", "last_heard", "read_journal"]

_LENGTH = struct.Struct("<I")


class _Intent(msgspec.Struct, frozen=True, array_like=True, tag=0):
    client: int
    step: Step
    member: bytes
    call: int


class _Result(msgspec.Struct, frozen=True, array_like=True, tag=1):
    call: int
    end: int
    outcome: Outcome
    value: Any
    error: str | None


_decoder = msgspec.msgpack.Decoder(_Intent | _Result)


class Journal:
    """Appends to the journal of one client; used by one thread."""

    def __init__(self, path: Path) -> None:
        self._descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o600)
        self._encoder = msgspec.msgpack.Encoder()

    def intend(self, client: int, step: Step, member: bytes) -> None:
        """Record what is about to be called."""
        self._append(_Intent(client, step, member, time.monotonic_ns()))

    def conclude(
        self, call: int, end: int, outcome: Outcome, value: object, error: str | None
    ) -> None:
        """Record what came of the last intent; times in nanoseconds, taken at the call."""
        self._append(_Result(call, end, outcome, value, error))

    def close(self) -> None:
        """Close the file."""
        os.close(self._descriptor)

    def _append(self, record: _Intent | _Result) -> None:
        packed = self._encoder.encode(record)
        os.write(self._descriptor, _LENGTH.pack(len(packed)) + packed)


def read_journal(path: Path) -> list[Operation]:
    """Return the operations of a journal; one without a result has the outcome INFO."""
    operations: list[Operation] = []
    intent: _Intent | None = None
    for record in _records(path):
        if isinstance(record, _Intent):
            if intent is not None:
                operations.append(_unfinished(intent))
            intent = record
        elif intent is not None:
            operations.append(_finished(intent, record))
            intent = None
    if intent is not None:
        operations.append(_unfinished(intent))
    return operations


def last_heard(path: Path) -> int:
    """Return when the client of a journal last called or returned; 0 when it never did.

    In nanoseconds of the clock of histories: a file's own times are the wall clock's, which
    may be set.
    """
    last = 0
    for record in _records(path):
        last = record.call if isinstance(record, _Intent) else record.end
    return last


def _records(path: Path) -> Iterator[_Intent | _Result]:
    if not path.exists():
        return
    content = path.read_bytes()
    offset = 0
    while offset + _LENGTH.size <= len(content):
        (length,) = _LENGTH.unpack_from(content, offset)
        offset += _LENGTH.size
        if offset + length > len(content):
            return
        yield _decoder.decode(content[offset : offset + length])
        offset += length


def _finished(intent: _Intent, result: _Result) -> Operation:
    step = intent.step
    return Operation(
        client=intent.client,
        name=step.name,
        target=step.target,
        arguments=step.arguments,
        call=result.call,
        end=result.end,
        outcome=result.outcome,
        value=result.value,
        error=result.error,
        member=intent.member,
    )


def _unfinished(intent: _Intent) -> Operation:
    step = intent.step
    return Operation(
        client=intent.client,
        name=step.name,
        target=step.target,
        arguments=step.arguments,
        call=intent.call,
        end=None,
        outcome=Outcome.INFO,
        member=intent.member,
    )
