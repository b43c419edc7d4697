"""A server that restarts under its clients, and the judges of what these make of it."""

from __future__ import annotations

import socket
from concurrent.futures import ThreadPoolExecutor

from conformance.backends import Spare
from conformance.faults.proxy import Proxy
from conformance.history import Fault, History, Operation, lane
from conformance.scenarios import judges
from conformance.scenarios.link_judges import FAMILY, overdue, wrong
from conformance.scenarios.links import Link
from conformance.trial import Inconclusive
from conformance.verdict import Finding
from conformance.workload.plan import Phase
from conformance.workload.runner import Session

__all__ = ["granted", "noticed", "promptness", "regained", "restart"]

_NO_SERVER = "no server"
"""The fault that lasts from when the server is gone for certain until it is started."""

_ANSWERING_SECONDS = 1.0
"""How long a port may take to refuse a connection before nobody is taken to be there."""


def restart(
    session: Session, link: Link, spare: Spare, *, kill: bool, gone: Phase, starting: Phase
) -> None:
    """End the server at the other end of a link, and start it again.

    Until it is gone its last words reach the clients; then the link refuses them, and leads
    to where it is as soon as it is started, ready or not.

    :param kill: kill it, or have it end by itself
    :param gone: what clients do while there is no server
    :param starting: what they do while it starts
    :raises Inconclusive: it was not gone, or no other process took its place
    """
    former, address = spare.process, spare.address
    with link.broken(session, "server kill" if kill else "server stop") as proxy:
        spare.stop(kill=kill)
        proxy.cut()
        if spare.process is not None or _accepts(address):
            raise Inconclusive("the server was not gone after it was stopped")
        with link.noted(session, _NO_SERVER):
            session.perform(gone)
        with ThreadPoolExecutor(1) as pool:
            back = pool.submit(_bring_back, spare, proxy)
            session.perform(starting)
            back.result()
    if spare.process == former:
        raise Inconclusive("the server was not restarted: it is the process that it was")


def _accepts(address: tuple[str, int]) -> bool:
    try:
        with socket.create_connection(address, _ANSWERING_SECONDS):
            return True
    except OSError:
        return False


def _bring_back(spare: Spare, proxy: Proxy) -> None:
    spare.start()
    proxy.lead_to(*spare.address)
    proxy.heal()
    spare.wait_ready()


def noticed(history: History) -> bool:
    """Whether a call failed for want of a server."""
    return any(
        operation.error in FAMILY[1:] and _without_server(operation, history)
        for operation in history.operations
    )


# -- judges -----------------------------------------------------------------------------


def promptness(history: History, timeout: float) -> Finding:
    """Falsified by a call under way without a server that took long, or ended in an odd error.

    Calls count that began before, too. That something certainly did not happen may be told
    without a server.

    :param timeout: the driver's time-out, in seconds
    """
    for operation in history.operations:
        if not any(_meet(operation, fault) for fault in history.faults):
            continue
        if (slow := overdue(operation, timeout)) is not None:
            return slow
        if operation.is_info and operation.error not in FAMILY:
            return wrong(
                "promptness",
                "a server that is not there is neither OperationTimedOut nor ToozConnectionError",
                operation,
            )
    return judges.held("promptness")


_GRANTS = frozenset(
    ("acquire", "is_still_owner", "lock_heartbeat", "create_group", "join_group", "campaign")
)
"""What only a server can say yes to."""


def granted(history: History) -> Finding:
    """Falsified by a call that was said yes to while there was no server."""
    for operation in history.operations:
        yes = operation.is_ok and operation.value is not False
        if operation.name in _GRANTS and yes and _without_server(operation, history):
            return wrong("no server", "a call succeeded while there was no server", operation)
    return judges.held("no server")


def regained(history: History) -> Finding:
    """Falsified when the last join is not reported, or the last to campaign does not lead.

    Whoever watches looks again and again, and whoever campaigns does so too, until a driver
    that works has long succeeded.
    """
    joined = next((o for o in reversed(history.only("join_group")) if o.is_ok), None)
    looks = history.only("run_watchers")
    if joined is not None and looks and looks[-1].call > joined.call:
        event = ("join", joined.target, joined.member)
        after = [look for look in looks if look.is_ok and (look.end or 0) > joined.call]
        if not any(event in map(tuple, look.value) for look in after):
            return wrong("watches", "long after all was well again, no watch told of", joined)
    campaigns = history.only("campaign")
    if campaigns and campaigns[-1].value is False:
        return wrong("recovery", "long after all was well again, nobody can lead", campaigns[-1])
    return judges.held("recovery")


def _meet(operation: Operation, fault: Fault) -> bool:
    """Whether a call of the client that a fault hit was under way during it."""
    if fault.client != lane(operation.client):
        return False
    ends = operation.end is None or operation.end > fault.begin
    return ends and (fault.end is None or operation.call < fault.end)


def _without_server(operation: Operation, history: History) -> bool:
    """Whether there was no server from the call of an operation to its end."""
    return any(
        fault.kind == _NO_SERVER
        and fault.client == lane(operation.client)
        and fault.begin <= operation.call
        and operation.end is not None
        and (fault.end is None or operation.end < fault.end)
        for fault in history.faults
    )
