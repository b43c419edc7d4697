"""The leases through which a coordinator holds what it holds, and what it still owes.

etcd ends a lease that its client does not keep alive, and removes the keys that are bound
to it (etcd 3.5 manual, "etcd API", "Lease API"). It gives no less than its least TTL, which
is one and a half times its election time-out in whole seconds, and says what it gave.
"""

from __future__ import annotations

import contextlib
import logging
import threading
import time
from collections.abc import Callable, Iterable

from conformance.drivers._etcd_gateway import Gateway, LeaseLost
from conformance.drivers._etcd_requests import delete, get, put
from conformance.drivers.remote import Lease, turn
from conformance.errors import OperationTimedOut, ToozConnectionError, ToozError

__all__ = ["Grant", "Session"]

_log = logging.getLogger(__name__)


class Grant:
    """A lease that etcd granted: once it has ended, here or there, it has for good.

    :param number: the lease's at the server
    :param asked: the TTL that was asked for
    :param seconds: the TTL that was granted
    :param sent: when it was asked for, in seconds of the monotonic clock
    """

    def __init__(self, number: int, asked: int, seconds: int, sent: float) -> None:
        self.number = number
        self.asked = asked
        self.holds: dict[str, bytes] = {}
        """The names of the locks that are held with it, by their keys."""
        self._mutex = threading.Lock()
        self._over = False
        self._lease = Lease(seconds)
        self._lease.renewed(sent)

    @property
    def seconds(self) -> float:
        """How long it lasts after a renewal."""
        return self._lease.seconds

    @property
    def valid(self) -> bool:
        """Whether it certainly lasts still; never again, once it did not."""
        with self._mutex:
            self._over = self._over or not self._lease.valid
            return not self._over

    @property
    def due(self) -> bool:
        """Whether half of its time has gone by: beating in time never lets that be."""
        return self._lease.remaining < self.seconds / 2

    def renewed(self, sent: float) -> bool:
        """Note a renewal; say whether it came before the end."""
        with self._mutex:
            if not self._over:
                self._lease.renewed(sent)
            return not self._over

    def ended(self) -> None:
        """Note that it has ended, or is given up."""
        with self._mutex:
            self._over = True


class Session:
    """A coordinator's leases, one for each different time-out.

    :param gateway: the way to the server
    :param root: what all its keys begin with, "/" included
    :param times: the time-outs, in whole seconds
    :param on_loss: called with the time-out of a lease that was lost, and the names of the
        locks that were lost with it
    """

    def __init__(
        self,
        gateway: Gateway,
        root: str,
        times: Iterable[int],
        on_loss: Callable[[int, list[bytes]], None],
    ) -> None:
        self.gateway = gateway
        self.root = root
        self._times = sorted(set(times))
        self._on_loss = on_loss
        self._grants: dict[int, Grant] = {}
        self._debts: dict[str, Grant] = {}
        self._replacing = threading.Lock()

    # -- life ---------------------------------------------------------------------------

    def open(self) -> None:
        """Have the leases granted, and see that the keys may be read, which takes more."""
        self._debts = {}
        self.gateway.transact([], [get(self.root)])
        self._grants = {seconds: self._grant(seconds) for seconds in self._times}

    def close(self) -> None:
        """End the leases, and with them all that is held; or leave that to their time-outs.

        A server that did not answer the last exchange is not waited for once more.
        """
        for grant in self._grants.values():
            grant.ended()
        try:
            for grant in self._grants.values():
                if not self.gateway.hangs:
                    self._revoke(grant)
        except ToozError as error:
            _log.warning("while stopping: %s; the leases are left to their time-outs", error)
        finally:
            self.gateway.close()

    def disown(self) -> None:
        """In a forked child: let go of what is the parent's."""
        self._grants = {}
        self._debts = {}
        self._replacing = threading.Lock()
        self.gateway.disown()

    # -- leases -------------------------------------------------------------------------

    def lease(self, seconds: int) -> Grant:
        """Return the lease of a time-out, with half of its time at least to go."""
        grant = self._grants[seconds]
        if grant.valid and not (grant.due and not self.renew(grant)):
            return grant
        return self.replace(grant)

    def beat(self) -> float:
        """Keep all leases alive; return the seconds until that is due again."""
        self.settle()
        grants = [
            grant if self.renew(grant) else self.replace(grant)
            for grant in list(self._grants.values())
        ]
        return min(grant.seconds for grant in grants) / 3

    def renew(self, grant: Grant) -> bool:
        """Keep a lease alive; say whether it was alive still.

        A lease that has ended is answered without a TTL ("etcd API", "Lease API").
        """
        if not grant.valid:
            return False
        sent = time.monotonic()
        answer = self.gateway.call("/lease/keepalive", {"ID": str(grant.number)})
        if int(answer["result"].get("TTL", 0)) > 0:
            return grant.renewed(sent)
        grant.ended()
        return False

    def replace(self, lost: Grant) -> Grant:
        """Give up a lease, with all that is bound to it, and return one in its stead."""
        lost.ended()
        with turn(self._replacing, self.gateway.timeout, "etcd"):
            if self._grants[lost.asked] is lost:
                self._revoke(lost)
                names, lost.holds = sorted(set(lost.holds.values())), {}
                self._on_loss(lost.asked, names)
                self._grants[lost.asked] = self._grant(lost.asked)
            return self._grants[lost.asked]

    def _grant(self, seconds: int) -> Grant:
        sent = time.monotonic()
        answer = self.gateway.call("/lease/grant", {"TTL": str(seconds)})
        return Grant(int(answer["ID"]), seconds, int(answer["TTL"]), sent)

    def _revoke(self, grant: Grant) -> None:
        with contextlib.suppress(LeaseLost):  # then it is as it should be
            self.gateway.call("/lease/revoke", {"ID": str(grant.number)})

    # -- debts --------------------------------------------------------------------------

    def voided(self, key: str) -> str:
        """Return the key that, where it is, keeps a lock's key from being made."""
        return f"{self.root}voided/{key.rpartition('/')[2]}"

    def owe(self, key: str, grant: Grant, failure: BaseException) -> None:
        """See that a lock's key does not stay, whatever became of the requests about it.

        A server that let an exchange time out is not asked at once.
        """
        self._debts[key] = grant
        if isinstance(failure, ToozError) and not isinstance(failure, OperationTimedOut):
            try:
                self.settle()
            except (ToozConnectionError, OperationTimedOut) as error:
                _log.info("a lock is given back at the next heartbeat: %s", error)

    def settle(self) -> None:
        """Remove the keys that are owed, and keep those from being made that may yet be.

        A request whose reply was lost may be carried out later than this one.
        """
        for key, grant in list(self._debts.items()):
            if grant.valid:
                try:
                    void = put(self.voided(key), b"", grant.number)
                    self.gateway.transact([], [void, delete(key)])
                except LeaseLost:  # the key with it
                    grant.ended()
            self._debts.pop(key, None)
