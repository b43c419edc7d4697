"""The lock on Consul: a queue of keys, each held by the session of a contender.

A contender takes a key of its own below the lock's, and lists what is there, in one
transaction. Keys are made in the order of the server's log ("HTTP API", "KV Store" of
Consul 1.8: CreateIndex), so whoever made the first holds the lock, and who waits watches
the key before its own by a blocking query: a release wakes one waiter, and none starves.

- *The first in the queue holds*, whether its client knows it yet or not. A contender that
  gives up may do so only while another is first: it removes its key in a transaction that
  requires that the first one's is there. Else it holds. So a refusal always means that
  somebody held the lock at that moment.
- *Each key has a name that was never used*, so that what became of a request whose reply
  was lost is known by it, and two objects of one coordinator exclude each other.
- *An idle lock has no key at all.*

Round trips: 1 to acquire a free lock, 1 to release it, which is the least that can be. To
be refused takes 1 where the lock was found contended before, else 2; a hand-over 1 from
the moment at which the waiter is told.
"""

from __future__ import annotations

import uuid
from typing import NamedTuple

from conformance.drivers._consul_client import Entry, Operation, Refused
from conformance.drivers._consul_session import Session, Sessions
from conformance.errors import NotImplemented as NotImplementedByDriver
from conformance.locking import Deadline, Lock, Owner

__all__ = ["ConsulLock"]

_SLICE_SECONDS = 0.5
"""For how long a waiter waits at a time, before it looks whether its coordinator was
stopped and whether its session lasts."""


class Hold(NamedTuple):
    """A key, and the session that holds it."""

    session: Session
    key: str


class ConsulLock(Lock):
    """A lock whose contenders queue by the keys that they make.

    :param name: the lock's name
    :param owner: the coordinator that makes it
    :param sessions: where the session is to be had with which it is held
    :param queue: what the keys of its contenders begin with
    """

    def __init__(self, name: bytes, owner: Owner, sessions: Sessions, queue: str) -> None:
        super().__init__(name, owner)
        self._sessions = sessions
        self._client = sessions.client
        self._queue = queue
        self._held: Hold | None = None
        self._contended = False
        """Whether others were in the queue when it was last seen: a guess, no more."""

    def _acquire(self, deadline: Deadline, shared: bool) -> bool:
        if shared:
            raise NotImplementedByDriver("ConsulDriver has no shared locks")
        self._held = None  # of a session that was lost
        self._sessions.pay(self._queue)
        if deadline.expired and self._contended and self._is_taken():
            return False
        while True:
            hold = Hold(self._sessions.current(), f"{self._queue}{uuid.uuid4().hex}")
            try:
                won = self._compete(hold, deadline)
                if won:
                    self._sessions.hold(*hold, self._name)
                    self._held = hold
                    return True
            except BaseException:
                self._sessions.owe(*hold)
                raise
            if hold.session.lasts:
                return False
            # The session was lost, and the place in the queue with it: start anew.
            self._owner.check_started(f"acquiring lock {self._name!r}")

    def _release(self) -> bool:
        hold, self._held = self._held, None
        if hold is None:
            return False
        hold.session.locks.pop(hold.key, None)
        try:
            self._client.change(hold.session.having(hold.key), Operation("delete", hold.key))
        except Refused:
            return False
        except BaseException:
            self._sessions.owe(*hold)
            raise
        return True

    def _is_held(self) -> bool:
        hold = self._held
        return hold is not None and hold.session.lasts

    def _is_still_owner(self) -> bool:
        hold = self._held
        if hold is None:
            return False
        entry = self._client.get(hold.key)
        if entry is not None and entry.session == hold.session.identity:
            return hold.session.lasts
        hold.session.locks.pop(hold.key, None)
        if self._held is hold:
            self._held = None
        return False

    def _heartbeat(self) -> bool:
        hold = self._held
        return hold is not None and self._sessions.renew(hold.session) and self._is_still_owner()

    def _break(self) -> bool:
        while True:
            queue = self._look()
            if not queue:
                return False
            if self._remove(queue[0].key, while_there=queue[0]):
                return True

    def _drop(self) -> None:
        self._held = None

    # -- competing ----------------------------------------------------------------------

    def _compete(self, mine: Hold, deadline: Deadline) -> bool:
        """Queue until the lock is ours; False when it was not in time, or the session ended.

        No key is left then.
        """
        queue = self._queue_up(mine)
        while mine.session.lasts:
            keys = [entry.key for entry in queue]
            if mine.key not in keys:
                # Only holders' keys are broken: the lock had become ours, so we acquired
                # it, and will hear of the loss as any holder does. Or the session is gone.
                return self._sessions.renew(mine.session)
            place = keys.index(mine.key)
            if place == 0:
                return True
            if deadline.expired and self._remove(mine.key, while_there=queue[0]):
                return False
            if not deadline.expired:
                self._wait_for_end(queue[place - 1], mine.session, deadline)
            queue = self._look(mine.key)
        return False

    def _queue_up(self, mine: Hold) -> list[Entry]:
        """Make a key in the queue; return the queue, which is empty if the session is gone."""
        taking = mine.session.taking(mine.key, b"")
        try:
            entries = self._client.change(taking, Operation("get-tree", self._queue))
        except Refused as refusal:
            if not refusal.lost_session:
                raise
            self._sessions.end(mine.session)
            return []
        return self._note(entries[1:], mine.key)

    def _wait_for_end(self, before: Entry, session: Session, deadline: Deadline) -> None:
        """Wait until a key is gone, or the deadline, or something else is to be seen."""
        while session.lasts and not deadline.expired:
            self._owner.check_started(f"waiting for lock {self._name!r}")
            if self._client.is_gone(before, min(deadline.remaining, _SLICE_SECONDS)):
                return

    def _is_taken(self) -> bool:
        """Whether somebody holds the lock; asked without queueing."""
        return bool(self._look())

    def _remove(self, key: str, while_there: Entry) -> bool:
        """Delete a key, in case another is there; say whether it was."""
        try:
            self._client.change(Operation("get", while_there.key), Operation("delete", key))
        except Refused:
            return False
        return True

    def _look(self, mine: str = "") -> list[Entry]:
        """Return the keys of the queue, in their order."""
        return self._note(self._client.below(self._queue), mine)

    def _note(self, queue: list[Entry], mine: str) -> list[Entry]:
        self._contended = any(entry.key != mine for entry in queue)
        return sorted(queue, key=lambda entry: entry.create_index)
