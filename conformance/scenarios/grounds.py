"""A ground of a scenario's own, on which can be counted what coordinators leave behind.

Three look at it. The clients' processes tell of their threads and descriptors. The link to
the server, a proxy that nobody else uses, tells how many connections they have: it stands
where a server stands, so one that is merely forgotten counts, whoever has it open, and it
does so with any server, also one that keeps no list, or has its clients' addresses changed on
the way. The server tells what it keeps for them, its own processes for connections that it
has not found closed among it; see ``Backend.residue``.
"""

from __future__ import annotations

import contextlib
import secrets
import time
from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass, field
from functools import partial

from conformance.backends import known_backends
from conformance.faults.addresses import address_of, at_address
from conformance.faults.proxy import Proxy
from conformance.trial import Trial
from conformance.workload.plan import Step
from conformance.workload.runner import Session

__all__ = ["Count", "Ground", "grown", "own_ground"]

Count = Mapping[str, int]
"""How many there are, by kind: ``{"threads": 4, "keys": 1}``."""

_SETTLING_SECONDS = 15.0
"""For how long a count may take to come down to what is expected of it: servers and threads
end what they have a moment after they were told to."""

_FIRST_SETTLING_SECONDS = 2.0
"""The same where nothing is expected, and so the whole time is taken."""

_AGAIN_SECONDS, _AT_LAST_SECONDS = 0.05, 1.0
"""How long after a count the next one is made: soon at first, then ever later, as servers
have work with each."""


@dataclass(frozen=True)
class Ground:
    """A part of a backend that only one scenario uses.

    ``url`` leads there, through ``proxy`` where there is a server.
    """

    url: str
    proxy: Proxy | None = None
    residue: Callable[[], Count] = field(default=dict)

    def settled(
        self, session: Session, clients: Iterable[int], expected: Count | None = None
    ) -> Count:
        """Count what there is, once it is no more than expected, or has had its time.

        :param clients: one in each process in which to count
        :param expected: an earlier count
        :returns: the least that was counted of each kind
        """
        seconds = _FIRST_SETTLING_SECONDS if expected is None else _SETTLING_SECONDS
        end = time.monotonic() + seconds
        least, pause = dict(self._count(session, clients)), _AGAIN_SECONDS
        while grown(expected or {}, least) and (left := end - time.monotonic()) > 0:
            time.sleep(min(pause, left))
            pause = min(2 * pause, _AT_LAST_SECONDS)
            counted = self._count(session, clients)
            least = {kind: min(number, counted.get(kind, number)) for kind, number in least.items()}
        return least

    def _count(self, session: Session, clients: Iterable[int]) -> Count:
        counted = dict(self.residue())
        if self.proxy is not None:
            counted["connections"] = self.proxy.connections
        for client in set(clients) - session.lost:
            measured: Count = session.call(client, Step("measure")).value or {}
            counted |= {f"{kind} of client {client}": n for kind, n in measured.items()}
        return counted


def grown(before: Count, after: Count) -> list[str]:
    """Return what there is more of, in words."""
    return [
        f"{number} {kind}, {before.get(kind, 0)} before"
        for kind, number in after.items()
        if number > before.get(kind, 0)
    ]


@contextlib.contextmanager
def own_ground(trial: Trial) -> Iterator[Ground]:
    """Give the trial's scenario a ground of its own, as far as its backend has such."""
    backend = known_backends().get(trial.place.backend)
    with contextlib.ExitStack() as stack:
        url = trial.place.url
        residue: Callable[[], Count] = dict
        if backend is not None:
            url = stack.enter_context(backend.private(url, secrets.token_hex(4)))
            if backend.residue is not None:
                residue = partial(backend.residue, url)
        address = address_of(url)
        if address is None:
            yield Ground(url, None, residue)
        else:
            proxy = stack.enter_context(Proxy(*address))
            yield Ground(at_address(url, *proxy.address), proxy, residue)
