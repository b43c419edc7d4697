"""Clients that all want the same lock: what they do, and the figures of what came of it.

The figures are made from the history of the clients' calls, the one that the lock checker
judges. Only a lock that was exclusive has figures: one that lets two clients in is fast
because it does not work, so what was measured of it is not told.

Waits are for ever, so what is measured is waiting alone, not how a driver ends a wait that
was too long; what comes after the planned seconds, while those who wait still get the lock
one by one, is judged and not counted.

A client writes each call down before and after it, which takes it some microseconds
between its calls: little beside the hold, and no part of a wait or of a hand-off, but part
of what it takes the last holder to take the lock back. Inside one process the writers take
turns with those who wait, so a lock in memory passes on more slowly than unwatched.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import msgspec
import numpy as np

from conformance.benchmarks.distribution import (
    Samples,
    jain_index,
    measure,
    nanoseconds,
    save_samples,
)
from conformance.checkers import check_lock
from conformance.checkers.conduct import check_conduct
from conformance.history import History, Operation, lane
from conformance.results import HAND_OFF, HANDED_OVER, Benchmark
from conformance.trial import Place
from conformance.verdict import Finding, Verdict
from conformance.workload.plan import Phase, Plan, Step

__all__ = [
    "CONTENDED",
    "HOLD",
    "LOCK",
    "Contention",
    "Objection",
    "contend",
    "contention",
    "judge",
    "object_to",
    "result",
    "together",
]

LOCK = b"contended"

CONTENDED = "contended lock"

HOLD = 0.000_2
"""Seconds for which a client sleeps while it holds: as short as lets the others see that
the lock is taken, and as long as two holders at once cannot be missed."""

_GRACE = 30.0
"""Seconds beyond the planned ones after which a client that has not returned is given up."""


def contend(clients: int, seconds: float) -> Plan:
    """Return the plan of clients that acquire, hold and release one lock for a while."""
    step = Step("cycle", LOCK, {"seconds": seconds, "hold": HOLD, "for ever": True})
    everyone = range(clients)
    return Plan(
        coordinators={client: client for client in everyone},
        phases=[Phase({client: [step] for client in everyone})],
        patience=seconds + _GRACE,
    )


def judge(history: History) -> Finding:
    """Say whether the lock was exclusive, and whether every call ended as it may."""
    finding = check_conduct(history)
    return check_lock(history) if finding.verdict is Verdict.HELD else finding


@dataclass(frozen=True)
class Objection:
    """Why nothing that was measured may be used: a history, and what the judge says of it."""

    history: History
    finding: Finding
    reason: str


@dataclass(frozen=True)
class Contention:
    """What clients got of a lock that they all wanted, in one turn or in several.

    ``waits`` are from the call of each granted acquire to its return, ``holds`` from
    there to the call of the release. ``hand_offs`` are from there to the return of the next
    acquire of another client that is granted, where somebody was waiting, however often the
    last holder got the lock once more in between: of a lock that mostly goes back to its
    last holder, those moments alone at which it did not would be the lucky ones. Where it
    did go back, that is in ``take_backs`` too, from the release to the return of that
    acquire. (Neither begins with the *return* of the release: the next holder may be told
    before the last one is.) ``awaited`` counts the releases that somebody waited for and that
    a grant followed. ``grants`` are, for each turn, the acquisitions of each client,
    ``refused`` counts the waits that brought none in time, ``seconds`` are those from the
    first call of a turn to its last return.
    """

    waits: Samples
    holds: Samples
    hand_offs: Samples
    take_backs: Samples
    awaited: int
    grants: list[dict[int, int]]
    refused: int
    seconds: float

    @property
    def figures(self) -> dict[str, float]:
        """The figures, by name.

        Fairness is a matter of each turn: Jain's index is the mean of theirs, the fewest
        and the most grants are a client's in any of them, and clients without a grant are
        added up.

        :raises ValueError: nobody was granted the lock in a turn, or no time passed
        """
        turns = [list(its.values()) for its in self.grants]
        figures = {
            "grants per second": sum(map(sum, turns)) / self.seconds,
            "jain index": float(np.mean([jain_index(shares) for shares in turns])),
            "fewest grants": float(min(map(min, turns))),
            "most grants": float(max(map(max, turns))),
            "clients without a grant": float(sum(shares.count(0) for shares in turns)),
        }
        if self.awaited:
            figures[HANDED_OVER] = 1 - self.take_backs.size / self.awaited
        return figures

    @property
    def times(self) -> dict[str, Samples]:
        """The durations, by name, where there are any."""
        found = {
            "wait": self.waits,
            HAND_OFF: self.hand_offs,
            "taken back": self.take_backs,
            "hold": self.holds,
        }
        return {name: samples for name, samples in found.items() if samples.size}


def together(turns: Sequence[Contention]) -> Contention:
    """Return what came of several turns, as one."""
    return Contention(
        waits=np.concatenate([one.waits for one in turns]),
        holds=np.concatenate([one.holds for one in turns]),
        hand_offs=np.concatenate([one.hand_offs for one in turns]),
        take_backs=np.concatenate([one.take_backs for one in turns]),
        awaited=sum(one.awaited for one in turns),
        grants=[grants for one in turns for grants in one.grants],
        refused=sum(one.refused for one in turns),
        seconds=sum(one.seconds for one in turns),
    )


def contention(history: History, clients: int, seconds: float) -> Contention:
    """Return what clients 0 to ``clients`` - 1 got of the one lock in a history.

    :param history: one in which the lock was exclusive
    :param seconds: how long the clients went on; later grants and releases are not counted
    :raises ValueError: no call of the history returned
    """
    last = _last(history, seconds)
    acquires = history.only("acquire")
    grants = [o for o in acquires if o.is_ok and o.value is True and _end(o) <= last]
    ends = [_end(o) for o in history.operations if _end(o) <= last]
    if not ends:
        raise ValueError("no call returned: nothing can be said of the lock")
    releases = [o for o in history.only("release") if o.is_ok and o.value is True]
    awaited = _awaited(acquires, grants, releases)
    per_client = dict.fromkeys(range(clients), 0)
    for grant in grants:
        per_client[lane(grant.client)] += 1
    return Contention(
        waits=nanoseconds(_end(o) - o.call for o in grants),
        holds=nanoseconds(_holds(history, last)),
        hand_offs=nanoseconds(
            _end(one.to_another) - one.release.call for one in awaited if one.to_another
        ),
        take_backs=nanoseconds(
            _end(one.to_anybody) - one.release.call
            for one in awaited
            if one.to_anybody is not one.to_another
        ),
        awaited=len(awaited),
        grants=[per_client],
        refused=len(acquires) - len(grants),
        seconds=(max(ends) - history.operations[0].call) / 1e9,
    )


def result(
    histories: Sequence[History],
    *,
    test: str,
    place: Place,
    implementation: str,
    clients: int,
    seconds: float,
    run_directory: Path,
    invalid: str | None = None,
    evidence: Sequence[str] = (),
) -> Benchmark:
    """Return what turns measured, their samples saved; without figures when it is invalid.

    :param place: where it was
    :param implementation: whose lock it was
    :param seconds: how long the clients went on in each turn
    :param invalid: why nothing that was measured may be used, if so
    :param evidence: where the history is kept that shows it
    """
    measured = Benchmark(
        test=test,
        what=CONTENDED,
        backend=place.backend,
        level=place.level,
        implementation=implementation,
        clients=clients,
        invalid=invalid,
        operations=sum(map(len, histories)),
        evidence=list(evidence),
    )
    if invalid is not None:
        return measured
    found = together([contention(history, clients, seconds) for history in histories])
    name = f"contended {place.backend} {place.level} {clients} {implementation}"
    return msgspec.structs.replace(
        measured,
        times={kind: measure(samples) for kind, samples in found.times.items()},
        figures=found.figures,
        samples={
            kind: save_samples(samples, run_directory, f"{name} {kind}")
            for kind, samples in found.times.items()
        },
    )


def object_to(history: History, seconds: float) -> Objection | None:
    """Judge the history of a turn; return None when what was measured may be used.

    :param seconds: how long the clients went on
    """
    finding = judge(history)
    if finding.verdict is not Verdict.HELD:
        return Objection(history, finding, f"{finding.rule}: {finding.reason}")
    last = _last(history, seconds)
    if not any(_end(o) <= last and o.value is True for o in history.only("acquire")):
        return Objection(history, finding, "nobody was granted the lock")
    return None


def _last(history: History, seconds: float) -> int:
    """Return the last moment that counts, when clients went on for so many seconds."""
    began = history.operations[0].call if history.operations else 0
    return began + round(seconds * 1e9)


@dataclass(frozen=True)
class _Awaited:
    """A release that somebody waited for, and the first grants after it."""

    release: Operation
    to_anybody: Operation
    to_another: Operation | None
    """The first to another client than the one that released; None where there was none."""


def _awaited(
    acquires: list[Operation], grants: list[Operation], releases: list[Operation]
) -> list[_Awaited]:
    """Return the releases that somebody was waiting for and that a grant followed."""
    calls = np.array([o.call for o in acquires], dtype=np.int64)
    latest = np.maximum.accumulate([_end(o) for o in acquires])
    in_order = sorted(grants, key=_end)
    granted = np.array([_end(o) for o in in_order], dtype=np.int64)
    of_another = _next_of_another(in_order)
    found = []
    for release in releases:
        begun = int(np.searchsorted(calls, release.call))  # acquires called before it
        following = int(np.searchsorted(granted, release.call, side="right"))
        if begun and latest[begun - 1] > release.call and following < len(in_order):
            # The grant before it is that of the hold which the release ends.
            found.append(_Awaited(release, in_order[following], of_another[following - 1]))
    return found


def _next_of_another(grants: Sequence[Operation]) -> list[Operation | None]:
    """Return, for each of the grants, the next one of another client, if there is any."""
    found: list[Operation | None] = [None] * len(grants)
    for number in reversed(range(len(grants) - 1)):
        following = grants[number + 1]
        is_another = following.client != grants[number].client
        found[number] = following if is_another else found[number + 1]
    return found


def _holds(history: History, last: int) -> Iterator[int]:
    """Yield how long each hold lasted that ended in a release until then."""
    since: dict[int, int] = {}
    for operation in history.operations:  # those of one client are in its order
        if operation.is_ok and operation.value is True and _end(operation) <= last:
            if operation.name == "acquire":
                since[operation.client] = _end(operation)
            elif operation.name == "release" and operation.client in since:
                yield operation.call - since.pop(operation.client)


def _end(operation: Operation) -> int:
    """Return when the call returned; beyond every time when it never did."""
    return np.iinfo(np.int64).max if operation.end is None else operation.end
