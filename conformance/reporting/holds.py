"""Who held what, when: the holds and terms that a history shows, and where they overlap.

For drawing only: checkers judge histories, and by rules of their own.
"""

from __future__ import annotations

import itertools
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from conformance.history import Fault, History, Operation

__all__ = ["Hold", "Overlap", "find_holds", "find_overlaps", "key_of"]

_OPENING = {"acquire": "holds", "campaign": "leads"}
_CLOSING = {"release": "acquire", "stand_down": "campaign"}

Holder = tuple[str, bytes, object]


@dataclass(frozen=True)
class Hold:
    """A hold or a term as its holder saw it.

    From the return of the ``opening`` operation to the call of the ``closing`` one, in
    nanoseconds; ``end`` is None when the holder never gave up what it had.
    """

    opening: Operation
    begin: int
    end: int | None
    closing: Operation | None

    @property
    def what(self) -> str:
        """``holds`` or ``leads``."""
        return _OPENING[self.opening.name]

    @property
    def is_shared(self) -> bool:
        """Whether others may hold too."""
        return self.opening.arguments.get("shared") is True


@dataclass(frozen=True)
class Overlap:
    """Two holds that exclude each other, and the time for which both lasted.

    ``end`` is None when neither was ever given up.
    """

    first: Hold
    second: Hold
    begin: int
    end: int | None


def key_of(operation: Operation) -> tuple[int, int, str]:
    """Return what tells an operation of a history from all others."""
    return operation.client, operation.call, operation.name


def find_holds(history: History) -> list[Hold]:
    """Return the holds and terms in a history, in the order of their beginnings.

    A hold ends when its holder calls ``release`` or ``stop``, whatever comes of it, when
    the lock is broken, when its holder is told that it acquired anew, or is killed.
    """
    ended: list[Hold] = []
    held: dict[Holder, Operation] = {}
    for moment, happening in _happenings(history):
        for holder in _released_by(happening, held):
            closing = None if isinstance(happening, Fault) else happening
            ended.append(_hold(held.pop(holder), moment, closing))
        if isinstance(happening, Operation) and happening.name in _OPENING:
            held[_holder(happening)] = happening
    ended += [_hold(opening, None, None) for opening in held.values()]
    return sorted(ended, key=lambda hold: (hold.begin, hold.opening.client))


def find_overlaps(holds: Iterable[Hold], witness: Sequence[Operation]) -> list[Overlap]:
    """Return where holds that exclude each other overlap, of those the witness shows.

    Other overlaps are not marked: a hold may have expired by rights.
    """
    shown = {key_of(operation) for operation in witness}
    suspects = [
        hold
        for hold in holds
        if any(o and key_of(o) in shown for o in (hold.opening, hold.closing))
    ]
    return [
        Overlap(first, second, second.begin, _earlier(first.end, second.end))
        for first, second in itertools.combinations(suspects, 2)
        if _exclude(first, second) and (first.end is None or second.begin < first.end)
    ]


def _happenings(history: History) -> list[tuple[int, Operation | Fault]]:
    """Return what begins or ends holds, in the order of time."""
    moments: list[tuple[int, int, Operation | Fault]] = []
    for operation in history.operations:
        if operation.name in _OPENING:
            if operation.is_ok and operation.value is True and operation.end is not None:
                moments.append((operation.end, 0, operation))
        elif operation.name in _CLOSING or operation.name == "stop" or _breaks(operation):
            moments.append((operation.call, 1, operation))
    moments += [(f.end or f.begin, 1, f) for f in history.faults if f.kind == "kill"]
    moments.sort(key=lambda moment: moment[:2])
    return [(moment, happening) for moment, _, happening in moments]


def _breaks(operation: Operation) -> bool:
    return operation.name == "break_" and operation.is_ok and operation.value is True


def _released_by(happening: Operation | Fault, held: dict[Holder, Operation]) -> list[Holder]:
    """Return the holders whose holds this ends."""
    if isinstance(happening, Fault):
        return [h for h, opening in held.items() if opening.client == happening.client]
    if happening.name == "stop":
        return [h for h, opening in held.items() if _same_coordinator(opening, happening)]
    if happening.name == "break_":
        return [h for h in held if h[:2] == ("acquire", happening.target)]
    holder = _holder(happening)
    return [holder] if holder in held else []


def _holder(operation: Operation) -> Holder:
    """Return who would hold by this operation, or give up: a lock object or a client."""
    kind = _CLOSING.get(operation.name, operation.name)
    shared_object = operation.arguments.get("object")
    if shared_object is not None:
        return kind, operation.target, (operation.member, shared_object)
    return kind, operation.target, operation.client


def _same_coordinator(one: Operation, other: Operation) -> bool:
    return one.client == other.client or bool(one.member and one.member == other.member)


def _hold(opening: Operation, end: int | None, closing: Operation | None) -> Hold:
    assert opening.end is not None  # what never returned opens nothing
    return Hold(opening, opening.end, end, closing)


def _exclude(first: Hold, second: Hold) -> bool:
    return (
        first.opening.name == second.opening.name
        and first.opening.target == second.opening.target
        and not (first.is_shared and second.is_shared)
    )


def _earlier(one: int | None, other: int | None) -> int | None:
    return min((end for end in (one, other) if end is not None), default=None)
