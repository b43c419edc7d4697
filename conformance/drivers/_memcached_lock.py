"""The lock on memcached: an item that expires, and the line of those who wait for it.

``ms`` with the mode E ("add" in "protocol.txt" of memcached 1.6) stores an item only where
there is none: who stored it holds. The item's CAS number is the holder's token, chosen at
random, and ``ms`` and ``md`` that compare it (flag C) renew and release; so neither ever
touches another's hold, and a token whose fate is unknown can be given back unseen.

The server tells nobody of a release, so waiting is asking again. To spare it, and so that
nobody starves, one waiter at a time is *next*: it has another item, which it renews, and
asks often; the others ask seldom, for the lock and for that item. A release looks, in the
same exchange, whether somebody is next; if so, the lock object does not take the lock again
before it has been next itself, or has let the others go first for one pause. Who is next
and dies keeps the others asking seldom for two seconds, and nobody from a free lock.

Round trips: 1 to acquire a free lock, 1 to release it: the least that can be. A waiter that
became next needs 1 more, after it has the lock.
"""

from __future__ import annotations

import logging
import random
import time
from typing import NamedTuple

from pymemcache.exceptions import MemcacheError

from conformance.drivers._memcached_link import (
    ABSENT,
    DONE,
    Link,
    add,
    look,
    new_number,
    number_in,
    put,
    remove,
)
from conformance.drivers.remote import Lease
from conformance.errors import ToozError
from conformance.locking import Deadline, Lock, Owner

__all__ = ["Hold", "Ledger", "MemcachedLock", "lease"]

_log = logging.getLogger(__name__)

_EARLY = 1.25
"""Seconds by which an item may expire early. The server's clock has whole seconds, so of N
seconds up to one may have passed already ("Expiration times" in "protocol.txt": roughly
+/- 1s); the rest is for the thread that keeps that clock being late."""

_NEXT_SECONDS = 2
"""How long who is next stays so without a sign of life; a smaller number may be none."""

_NEXT_PAUSES = (0.001, 0.02)
_OTHER_PAUSES = (0.02, 0.1)
"""The first and the longest pause, in seconds, between two tries of who is next, and of the
others. A pause grows by a quarter each time, and is cut by up to a half at random."""


def lease(seconds: int) -> Lease:
    """Return how long an item certainly lasts that is stored for so many seconds."""
    return Lease(seconds - _EARLY)


class Hold(NamedTuple):
    """One hold of an item: the CAS number that proves it, and how long it lasts."""

    number: int
    lease: Lease


class _Debt(NamedTuple):
    """An item that may have been stored for us, must not stay, and will expire by then."""

    key: str
    until: float


class Ledger:
    """What a coordinator's locks hold, have lost, and have yet to give back.

    :param link: the connections
    :param grace: seconds for which a request may still be on its way
    """

    def __init__(self, link: Link, grace: float) -> None:
        self._link = link
        self._grace = grace
        self.clear()

    def clear(self) -> None:
        """Forget everything."""
        self.holding: set[MemcachedLock] = set()
        """The locks that hold: kept from being collected, so that they are released."""
        self.lapsed: list[bytes] = []
        """The names of locks whose holds ran out, until somebody is told."""
        self._debts: dict[int, _Debt] = {}

    def owe(self, key: str, number: int, seconds: float) -> None:
        """See that an item of this number is deleted, if it ever comes to be."""
        self._debts[number] = _Debt(key, time.monotonic() + seconds + self._grace)

    def settle(self) -> None:
        """Give back what is owed.

        That an item is not there does not end a debt: the request that stores it may be on
        its way, on a connection that was given up.
        """
        debts = list(self._debts.items())
        if not debts:
            return
        replies = self._link.ask(*(remove(debt.key, number) for number, debt in debts))
        for (number, debt), reply in zip(debts, replies, strict=True):
            if reply == DONE or time.monotonic() > debt.until:
                self._debts.pop(number, None)

    def settle_soon(self, error: BaseException) -> None:
        """Give back what an exchange that failed may have brought, if there is a server.

        After a time-out the next call or heartbeat does it.
        """
        if isinstance(error, TimeoutError) or not isinstance(error, Exception):
            return
        try:
            self.settle()
        except (OSError, MemcacheError, ToozError) as again:
            _log.debug("what may be held is given back later: %s", again)


class MemcachedLock(Lock):
    """A lock that is an item on memcached.

    :param name: the lock's name
    :param owner: the coordinator that makes it
    :param link: the connections
    :param ledger: the coordinator's
    :param key: of the lock's item; that of who is next is made from it
    :param seconds: after how many a hold that is not renewed ends
    """

    def __init__(
        self, name: bytes, owner: Owner, link: Link, ledger: Ledger, key: str, seconds: int
    ) -> None:
        super().__init__(name, owner)
        self._link = link
        self._ledger = ledger
        self._key = key
        self._next_key = f"{key}:next"
        self._seconds = seconds
        self._hold: Hold | None = None
        self._crowded = False
        """Whether somebody was next when this object last released."""

    # -- acquiring ----------------------------------------------------------------------

    def _acquire(self, deadline: Deadline, shared: bool) -> bool:
        if shared:
            raise NotImplementedError("locks on memcached cannot be shared")
        self._ledger.settle()
        hold = self._wait(deadline)
        if hold is None:
            return False
        self._hold = hold
        self._ledger.holding.add(self)
        return True

    def _wait(self, deadline: Deadline) -> Hold | None:
        """Take the lock before the deadline, trying at least once."""
        turn, hold = _Turn(self._link, self._next_key), None
        if deadline.expired or not self._crowded:
            hold = self._try(None)
            if hold is not None:
                return hold
        try:
            rested = self._crowded and not deadline.expired and turn.take()
            while rested or not deadline.expired:
                if not rested:
                    turn.pause(deadline)
                rested = False
                self._owner.check_started(f"waiting for lock {self._name!r}")
                hold = self._try(turn)
                if hold is not None:
                    break
        finally:
            self._crowded = False
            try:
                turn.end(self._ledger)
            except BaseException:
                if hold is not None:
                    self._ledger.owe(self._key, hold.number, self._seconds)
                raise
        return hold

    def _try(self, turn: _Turn | None) -> Hold | None:
        """Try to store the item, and to be next."""
        asking = [] if turn is None else turn.asking()
        hold = Hold(new_number(), lease(self._seconds))
        sent = time.monotonic()
        try:
            *told, stored = self._link.ask(*asking, add(self._key, b"", hold.number, self._seconds))
        except BaseException as error:
            self._ledger.owe(self._key, hold.number, self._seconds)
            self._ledger.settle_soon(error)
            raise
        if turn is not None:
            turn.told(told, sent)
        if stored != DONE:
            return None
        hold.lease.renewed(sent)
        if not hold.lease.valid:  # the reply came too late to rely on it
            self._ledger.owe(self._key, hold.number, self._seconds)
            return None
        return hold

    # -- holding ------------------------------------------------------------------------

    def _release(self) -> bool:
        hold = self._hold
        if hold is None:
            return False
        self._let_go(hold)
        try:
            removed, following = self._link.ask(
                remove(self._key, hold.number), look(self._next_key)
            )
        except BaseException as error:
            self._ledger.owe(self._key, hold.number, self._seconds)
            self._ledger.settle_soon(error)
            raise
        self._crowded = following != ABSENT
        return removed == DONE

    def _is_held(self) -> bool:
        hold = self._hold
        if hold is None:
            return False
        if hold.lease.valid:
            return True
        self._lapse(hold)
        return False

    def _is_still_owner(self) -> bool:
        hold = self._hold
        if hold is None:
            return False
        (reply,) = self._link.ask(look(self._key))
        if number_in(reply) != hold.number:
            self._let_go(hold)
        return self._hold is hold and self._is_held()

    def _heartbeat(self) -> bool:
        hold, command = self._hold, self.renewal()
        if hold is None or command is None:
            return False
        sent = time.monotonic()
        (reply,) = self._link.ask(command)
        self.renewed(hold, reply, sent)
        return self._hold is hold and self._is_held()

    @property
    def hold(self) -> Hold | None:
        """The hold, if it lasts still."""
        return self._hold if self._is_held() else None

    def renewal(self) -> bytes | None:
        """Return the command that renews the hold; None when there is none."""
        hold = self.hold
        if hold is None:
            return None
        return put(self._key, b"", hold.number, hold.number, self._seconds)

    def renewed(self, hold: Hold, reply: bytes, sent: float) -> bool:
        """Note what a renewal was answered; say whether the hold turned out to be lost."""
        if reply == DONE:
            hold.lease.renewed(sent)
            return False
        return self._let_go(hold)

    def _let_go(self, hold: Hold) -> bool:
        """Hold no longer; say whether it was held until now."""
        with self._changed:
            if self._hold is not hold:
                return False
            self._hold = None
            self._ledger.holding.discard(self)
            self._changed.notify_all()
            return True

    def _lapse(self, hold: Hold) -> None:
        """Give up a hold that ran out for good, though the server may keep it for a moment."""
        if self._hold is hold:
            self._hold = None
            self._ledger.holding.discard(self)
            self._ledger.lapsed.append(self._name)
            self._ledger.owe(self._key, hold.number, _EARLY)

    def _break(self) -> bool:
        """Remove the hold; one that has just run out may count as one."""
        (reply,) = self._link.ask(remove(self._key))
        return reply == DONE

    def _drop(self) -> None:
        self._hold = None


class _Turn:
    """One waiter's place in the line: next, or not yet."""

    def __init__(self, link: Link, key: str) -> None:
        self._link = link
        self._key = key
        self._number = new_number()
        self._renewed: float | None = None
        self._pause = _OTHER_PAUSES[0]

    def take(self) -> bool:
        """Become next, if nobody is; say whether that was so."""
        sent = time.monotonic()
        self.told(self._link.ask(*self.asking()), sent)
        return self._renewed is not None

    def asking(self) -> list[bytes]:
        """Return the command to become or stay next, if it is time for it."""
        if self._renewed is None:
            return [add(self._key, b"", self._number, _NEXT_SECONDS)]
        if time.monotonic() - self._renewed > _NEXT_SECONDS / 8:
            return [put(self._key, b"", self._number, self._number, _NEXT_SECONDS)]
        return []

    def told(self, replies: list[bytes], sent: float) -> None:
        """Note the reply to that command."""
        for reply in replies:
            was_next = self._renewed is not None
            self._renewed = sent if reply == DONE else None
            if was_next != (self._renewed is not None):
                self._pause = (_OTHER_PAUSES if was_next else _NEXT_PAUSES)[0]

    def pause(self, deadline: Deadline) -> None:
        """Sleep until the next try is due."""
        time.sleep(min(self._pause * random.uniform(0.5, 1.0), deadline.remaining))  # noqa: S311
        longest = (_OTHER_PAUSES if self._renewed is None else _NEXT_PAUSES)[1]
        self._pause = min(1.25 * self._pause, longest)

    def end(self, ledger: Ledger) -> None:
        """Let another be next. What cannot be told to the server expires there."""
        if self._renewed is None:
            return
        ledger.owe(self._key, self._number, _NEXT_SECONDS)
        try:
            ledger.settle()
        except (OSError, MemcacheError, ToozError) as error:
            _log.debug("a place in the line is given up later: %s", error)
