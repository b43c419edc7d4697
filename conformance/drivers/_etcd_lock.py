"""The lock on etcd: a queue of keys, of which the first made holds.

The recipe is that of etcd's own client (package ``concurrency`` of clientv3 3.5, ``Mutex``):
each contender makes a key bound to its lease and waits for the removal of the nearest one
before it, so that a release wakes one waiter and all are served in turn. Four things are
added, so that a lock object tells the truth:

- *Keys bear a name of each acquisition's own*, not the lease's: so objects of one
  coordinator exclude each other, and a hold is never taken for another.
- *A try that may not wait makes no key* unless there is none: so it is refused only where
  the lock is held, and is never in anyone's way.
- *A contender gives up only while another is first*, in a transaction which requires that;
  else it holds.
- *A request whose reply was lost is called back*: what makes the key requires that another
  is not there, which giving it back makes. So it does not matter which comes first.

Exchanges with the server: 1 to acquire a free lock and 1 to release it, which is the least
that can be; 1 to be refused. Where half of the lease's time is gone (nobody beats), one
more to renew it. A waiter gets the lock with the server's word that who held is gone.
"""

from __future__ import annotations

import uuid
from typing import NamedTuple

from conformance.drivers._etcd_gateway import LeaseLost
from conformance.drivers._etcd_requests import (
    Kept,
    absent,
    delete,
    empty,
    listing,
    present,
    put,
)
from conformance.drivers._etcd_session import Grant, Session
from conformance.errors import NotImplemented as NotImplementedHere
from conformance.locking import Deadline, Lock, Owner

__all__ = ["EtcdLock"]

_RECHECK_SECONDS = 0.25
"""How often a waiter looks whether its coordinator was stopped; all else wakes it."""


class Hold(NamedTuple):
    """What an acquisition made."""

    key: str
    grant: Grant

    @property
    def lasts(self) -> bool:
        """Whether it is held, as far as is known here."""
        return self.key in self.grant.holds and self.grant.valid

    def end(self) -> None:
        """Note that it is no longer held."""
        self.grant.holds.pop(self.key, None)


class EtcdLock(Lock):
    """A lock whose contenders queue as keys with one prefix.

    :param name: the lock's name
    :param owner: the coordinator that makes it
    :param session: whose leases it is held with
    :param seconds: the time-out of the lease
    :param queue: what the keys of its contenders begin with, "/" included
    """

    def __init__(
        self, name: bytes, owner: Owner, session: Session, seconds: int, queue: str
    ) -> None:
        super().__init__(name, owner)
        self._session = session
        self._gateway = session.gateway
        self._seconds = seconds
        self._queue = queue
        self._listing = listing(queue, keys_only=True)
        self._hold: Hold | None = None

    def _acquire(self, deadline: Deadline, shared: bool) -> bool:
        if shared:
            raise NotImplementedHere("locks on etcd are exclusive: leave out shared=True")
        self._session.settle()
        while True:
            self._owner.check_started(f"acquiring lock {self._name!r}")
            try:
                return self._acquire_with(self._session.lease(self._seconds), deadline)
            except LeaseLost:
                continue  # nothing was held: once more, with another lease

    def _acquire_with(self, grant: Grant, deadline: Deadline) -> bool:
        key = f"{self._queue}{uuid.uuid4().hex}"
        try:
            if not self._compete(key, grant, deadline):
                return False
            grant.holds[key] = self._name
            if not grant.valid:
                raise LeaseLost(f"the lease of lock {self._name!r} ended while it was acquired")
        except LeaseLost:
            grant.holds.pop(key, None)
            grant.ended()
            raise
        except BaseException as error:
            self._session.owe(key, grant, error)
            raise
        self._hold = Hold(key, grant)
        return True

    def _release(self) -> bool:
        hold, self._hold = self._hold, None
        if hold is None:
            return False
        hold.end()
        try:
            return self._gateway.transact([present(hold.key)], [delete(hold.key)]).done
        except BaseException as error:
            self._session.owe(hold.key, hold.grant, error)
            raise

    def _is_held(self) -> bool:
        hold = self._hold
        return hold is not None and hold.lasts

    def _is_still_owner(self) -> bool:
        hold = self._hold
        if hold is None:
            return False
        there = self._gateway.transact([present(hold.key)], []).done
        if not there:
            hold.end()
        return there and hold.lasts

    def _heartbeat(self) -> bool:
        hold = self._hold
        return hold is not None and self._session.renew(hold.grant) and self._is_still_owner()

    def _break(self) -> bool:
        while queue := self._look():
            if self._gateway.transact([present(queue[0])], [delete(queue[0])]).done:
                return True
        return False

    def _drop(self) -> None:
        self._hold = None

    # -- competing ----------------------------------------------------------------------

    def _compete(self, key: str, grant: Grant, deadline: Deadline) -> bool:
        """Queue until the key is the first; False when it was not in time, and is gone."""
        conditions = [absent(self._session.voided(key))]
        entry = put(key, b"", grant.number)
        if deadline.expired:
            return self._gateway.transact([*conditions, empty(self._queue)], [entry]).done
        _, found = self._gateway.transact(conditions, [entry, self._listing]).found
        queue = _keys(found)
        while key in queue and queue[0] != key:
            if deadline.expired:
                left = self._gateway.transact([present(queue[0])], [delete(key)], [self._listing])
                if left.done:
                    return False
                queue = _keys(left.found[0])
            else:
                queue = self._wait(queue, key, grant, deadline)
        if key not in queue and not self._session.renew(grant):
            raise LeaseLost(f"the lease of a waiter for lock {self._name!r} has ended")
        # A key that is gone before its lease was broken, and only who holds is: it held,
        # and will hear of the loss as any holder does.
        return True

    def _wait(self, queue: list[str], key: str, grant: Grant, deadline: Deadline) -> list[str]:
        """Wait until the key before ours is gone, or the deadline; return the queue."""
        before = queue[queue.index(key) - 1]
        look = Deadline(self._gateway.timeout)
        with self._gateway.watching(before) as told:
            queue = self._look()
            if before in queue:
                while not told(min(deadline.remaining, _RECHECK_SECONDS)):
                    self._owner.check_started(f"waiting for lock {self._name!r}")
                    if deadline.expired:
                        return queue
                    if look.expired:  # nothing tells a silent watch from one that is cut off
                        return self._look()
                    if grant.due and not self._session.renew(grant):
                        raise LeaseLost(f"the lease of a waiter for {self._name!r} has ended")
                # Contenders come last only, so behind who held there is no need to look.
                queue = queue[1:] if before == queue[0] else self._look()
        return queue

    def _look(self) -> list[str]:
        """Return the keys in the queue, in their order."""
        return _keys(self._gateway.transact([], [self._listing]).found[0])


def _keys(found: list[Kept]) -> list[str]:
    return [kept.key for kept in found]
