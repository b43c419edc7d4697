"""The link between a client and its server, for scenarios that break it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Callable, Iterable, Iterator

import msgspec

from conformance.faults.addresses import at_address
from conformance.faults.proxy import Proxy
from conformance.history import Fault, Operation
from conformance.trial import NotExercised, Trial
from conformance.workload.plan import Step
from conformance.workload.runner import Session

__all__ = ["TIMEOUT", "Link", "Unsettled", "answered", "insist", "is_member"]

TIMEOUT = 1.0
"""The driver's time-out, in seconds."""

_AGAIN_SECONDS = 0.05
"""How long a client idles before it makes a call again that did not succeed."""


class Link:
    """The link of some clients to the server, through a proxy; a context manager.

    :param clients: who are on it, each by a coordinator of the same number
    :param address: host and port of the server; None for the one that others use too
    """

    def __init__(
        self, trial: Trial, clients: Iterable[int], address: tuple[str, int] | None = None
    ) -> None:
        address = address or trial.place.address
        if address is None:
            raise NotExercised("no link leads to the server: its URL has no host and port")
        self.proxy = Proxy(*address)
        self._clients = list(clients)
        self.urls = dict.fromkeys(self._clients, at_address(trial.place.url, *self.proxy.address))
        """The URLs of their coordinators."""

    def __enter__(self) -> Link:
        self.proxy.__enter__()
        return self

    def __exit__(self, *exception: object) -> None:
        self.proxy.__exit__(*exception)

    @contextlib.contextmanager
    def broken(self, session: Session, kind: str) -> Iterator[Proxy]:
        """Enter a fault in the history, which the body brings about; heal the link after it."""
        with self.noted(session, kind):
            try:
                yield self.proxy
            finally:
                self.proxy.heal()

    @contextlib.contextmanager
    def noted(self, session: Session, kind: str) -> Iterator[None]:
        """Enter in the history, for all clients of the link, a fault that lasts as the body."""
        begin = time.monotonic_ns()
        try:
            yield
        finally:
            end = time.monotonic_ns()
            for client in self._clients:
                session.note(Fault(kind, client, begin, end))


def answered(operation: Operation) -> bool:
    """Whether it is known what became of it."""
    return not operation.is_info


def is_member(operation: Operation) -> bool:
    """Whether a join was answered by saying that the member is in the group.

    It is in already where an earlier join of unknown outcome took effect.
    """
    return operation.is_ok or operation.error == "MemberAlreadyExist"


class Unsettled(Exception):
    """A call never came to a result to be content with: what comes next would tell no more."""


def insist(
    session: Session,
    client: int,
    step: Step,
    seconds: float,
    content: Callable[[Operation], bool] = answered,
) -> Operation | None:
    """Have a client make a call until its result is one to be content with; return that.

    A call that the driver does without is not made.

    :param seconds: how long at most
    :raises Unsettled: it never was
    """
    if step.name in session.lacks:
        return None
    end = time.monotonic() + seconds
    again = msgspec.structs.replace(step, pause=_AGAIN_SECONDS)
    operation = session.call(client, step)
    while not content(operation):
        if client in session.lost or time.monotonic() > end:
            raise Unsettled
        operation = session.call(client, again)
    return operation
