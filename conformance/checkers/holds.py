"""The holds of one lock, as its history tells them, and what one object alone gives away.

Each holder's operations are followed in its own order: which hold an acquire began, until
when it lasted for certain, and when it had ended at the latest. On the way, what no other
client could explain is noticed: a release that succeeds without a hold, a second grant to
an object that still holds, an answer about the hold that is not true.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable

import msgspec

from conformance.checkers.losses import Losses
from conformance.checkers.moves import end_of
from conformance.history import NEVER, MalformedHistory, Operation, Outcome

__all__ = ["Hold", "Ledger", "Lie"]


class Hold(msgspec.Struct, gc=False):
    """One hold: it began between ``called`` and ``granted``, ended between ``kept`` and ``ended``.

    Times are nanoseconds. ``proof`` is the operation that shows that it lasted until
    ``kept``, ``doubt`` the call of the first one of unknown outcome during it.
    """

    grant: Operation
    shared: bool
    called: float
    granted: float
    kept: float
    ended: float = NEVER
    proof: Operation | None = None
    doubt: float = NEVER
    beats: tuple[Operation, ...] = ()

    @property
    def definite(self) -> bool:
        """Whether there was a time at which it was held for certain."""
        return self.granted < self.kept


class Lie(Exception):
    """An answer that is wrong whatever other clients did.

    ``why`` is the rest of a sentence that begins with who called and what.
    """

    def __init__(self, operation: Operation, hold: Hold | None, why: str) -> None:
        super().__init__(why)
        self.operation = operation
        self.hold = hold
        self.why = why

    @property
    def witness(self) -> list[Operation]:
        """The operations that show it."""
        before = [] if self.hold is None else [self.hold.grant, self.hold.proof]
        return [o for o in (*before, self.operation) if o is not None]


class Ledger:
    """The holds of one lock.

    :param operations: those on the lock, and each ``stop`` of a coordinator, by call
    :param losses: when holds may be lost
    :raises Lie: an answer was wrong whatever other clients did
    """

    def __init__(self, operations: Iterable[Operation], losses: Losses) -> None:
        self.holds: list[Hold] = []
        """All holds that were granted for certain."""
        self.refused: list[Operation] = []
        """Refused acquires, but for those of objects that believed to hold."""
        self.unknown: list[Operation] = []
        """Acquires of unknown outcome."""
        self.plain = True
        """Whether the holds tell everything. Otherwise objects were used by several
        threads at once, or after a call of unknown outcome, locks were broken, or
        coordinators stopped under a call."""
        self._losses = losses
        self._open: dict[object, Hold] = {}
        self._lapsed: list[Hold] = []
        self._free_from: dict[object, float] = {}
        self._stopped: dict[bytes, float] = {}
        self._unclear: set[int] = set()
        operations = list(operations)
        self._stopping = {o.member for o in operations if o.name == "stop"}
        self._broken = any(o.name == "break_" for o in operations)
        handlers: dict[str, Callable[[Operation, object], None]] = {
            "acquire": self._acquire,
            "release": self._release,
            "is_still_owner": self._asked,
            "lock_heartbeat": self._asked,
            "acquired": self._believed,
        }
        for operation in operations:
            handler = handlers.get(operation.name)
            if handler is None:
                self._other(operation)
            elif operation.outcome is not Outcome.FAIL:
                handler(operation, self._arrived(operation))
        for hold in self._open.values():
            hold.kept = max(hold.kept, self._earliest_loss(hold))

    def _arrived(self, operation: Operation) -> object:
        """Note that an object is in use, and return it; see whether it is used in turn."""
        holder: object = operation.client
        if operation.arguments and "object" in operation.arguments:
            holder = (operation.member, operation.arguments["object"])
        call, end = operation.call, operation.end
        if call <= self._free_from.get(holder, -1):
            self.plain = False
        if self._stopped and call <= self._stopped.get(operation.member, -1):
            self.plain = False
        if operation.outcome is Outcome.INFO:
            self._unclear.add(operation.client)
            end = None
        self._free_from[holder] = NEVER if end is None else end
        return holder

    def _acquire(self, operation: Operation, holder: object) -> None:
        if operation.outcome is Outcome.INFO:
            self.unknown.append(operation)
            self._doubt(operation, holder)
        elif operation.value is True:
            former = self._open.pop(holder, None)
            if former is not None:
                self._lost(former, operation, "was granted the lock that the object still held")
            shared = operation.arguments.get("shared") is True
            hold = Hold(operation, shared, operation.call, end_of(operation), operation.call)
            self.holds.append(hold)
            self._open[holder] = hold
        elif operation.value is not False:
            raise MalformedHistory(f"an acquire answers True or False: {operation}")
        elif holder not in self._open:
            self.refused.append(operation)

    def _release(self, operation: Operation, holder: object) -> None:
        hold = self._open.get(holder)
        if operation.outcome is Outcome.INFO:
            if hold is not None:
                self._doubt(operation, holder)
                hold.kept = max(hold.kept, self._earliest_loss(hold))
                del self._open[holder]
        elif not operation.value:
            self._denied(operation, holder)
        elif hold is None:
            self._lie(operation, None, "was told that it gave back a lock that it did not hold")
        else:
            hold.kept, hold.ended, hold.proof = operation.call, end_of(operation), operation
            del self._open[holder]

    def _asked(self, operation: Operation, holder: object) -> None:
        """Note the server's word on whether the object holds."""
        hold = self._open.get(holder)
        if operation.is_info:
            self._doubt(operation, holder)
        elif not operation.value:
            self._denied(operation, holder)
        elif hold is None:
            self._lie(operation, None, "was told that it holds a lock that it did not hold")
        else:
            hold.kept, hold.proof = operation.call, operation
            if operation.name == "lock_heartbeat":
                hold.beats = (*hold.beats, operation)

    def _believed(self, operation: Operation, holder: object) -> None:
        """Note what the object itself believes; it may not have heard of a loss."""
        if operation.is_info:
            self._doubt(operation, holder)
        elif not operation.value:
            self._denied(operation, holder)
        elif holder not in self._open:
            self._lie(operation, None, "says so of a lock that it did not hold")

    def _other(self, operation: Operation) -> None:
        if operation.name != "stop" or operation.is_info:
            self.plain = False
            return
        self._stopped[operation.member] = end_of(operation)
        for hold in self._lapsed:
            if hold.grant.member == operation.member:
                hold.ended = min(hold.ended, end_of(operation))
        for holder, hold in list(self._open.items()):
            if hold.grant.member == operation.member:
                if operation.call <= self._free_from[holder]:
                    self.plain = False
                lost = min(float(operation.call), self._earliest_loss(hold))
                hold.kept, hold.ended = max(hold.kept, lost), end_of(operation)
                hold.proof = operation
                del self._open[holder]

    def _denied(self, operation: Operation, holder: object) -> None:
        """Note that the object is told that it does not hold."""
        hold = self._open.pop(holder, None)
        if hold is not None:
            self._lost(hold, operation, "was told that it does not hold")

    def _lost(self, hold: Hold, noticed: Operation, why: str) -> None:
        """Note a hold that has ended without a release by the time of an operation."""
        earliest = self._earliest_loss(hold)
        if earliest > end_of(noticed):
            early = "nothing" if earliest == NEVER else "nothing yet"
            self._lie(noticed, hold, f"{why}, although {early} could have taken it away")
        hold.kept, hold.ended = max(hold.kept, earliest), end_of(noticed)
        if self._lapse(hold) <= hold.ended:  # the backend may keep it until another holds
            hold.ended = NEVER
            self._lapsed.append(hold)

    def _doubt(self, operation: Operation, holder: object) -> None:
        hold = self._open.get(holder)
        if hold is not None:
            hold.doubt = min(hold.doubt, operation.call)

    def _earliest_loss(self, hold: Hold) -> float:
        return min(hold.doubt, self._lapse(hold))

    def _lapse(self, hold: Hold) -> float:
        """Return when a hold may have lapsed, other than by a call of unknown outcome."""
        if not self._losses.possible:
            return NEVER
        return self._losses.earliest(hold.grant, hold.beats)

    def _lie(self, operation: Operation, hold: Hold | None, why: str) -> None:
        """Raise Lie, unless what another client called may explain the answer."""
        shared = "object" in operation.arguments or operation.member in self._stopping
        if shared or self._broken or operation.client in self._unclear:
            self.plain = False
            return
        raise Lie(operation, hold, why)
