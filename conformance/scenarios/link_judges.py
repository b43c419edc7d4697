"""The judges of what becomes of clients whose links to the server break."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial

from conformance.characteristics import Characteristics
from conformance.checkers import check_groups
from conformance.checkers.losses import SEVERING
from conformance.history import NEVER, Fault, History, Operation, lane
from conformance.scenarios import judges
from conformance.scenarios.links import TIMEOUT
from conformance.trial import Judge, Trial
from conformance.verdict import Finding, Verdict

__all__ = [
    "FAMILY",
    "groups",
    "harmless",
    "heard",
    "hears_of_a_join",
    "late",
    "lifetime",
    "locks",
    "overdue",
    "promptness",
    "recovery",
    "tells_of_a_join",
    "told",
    "wrong",
]

_PROMPT = 5
"""How many time-outs a call may take of which the server hears nothing, beyond its waiting.

It may have several things to ask, a time-out for each. No more than a client's patience,
which ends later than that for certain."""

FAMILY = (None, "OperationTimedOut", "ToozConnectionError")
"""What a call may end in of which the server hears nothing."""


def harmless(trial: Trial) -> Judge:
    """Return a judge of what a silent server may not do: keep anybody, or spoil a lock."""
    return judges.all_of(promptness, locks(trial), recovery)


def lifetime(trial: Trial) -> float | None:
    """Return the seconds after which what a client has may expire; None when it does not."""
    driver = trial.place.driver
    if Characteristics.NON_TIMEOUT_BASED in driver.claims:
        return None
    return max(TIMEOUT, driver.least_timeout)


def locks(trial: Trial) -> Judge:
    """Return a judge of all locks, which may expire where the driver claims no more."""
    return _expiring(trial, judges.locks)


def groups(trial: Trial) -> Judge:
    """Return a judge of all groups, out of which members may expire likewise."""
    return _expiring(trial, partial(check_groups, budget=trial.profile.budget))


def _expiring(trial: Trial, check: Callable[..., Finding]) -> Judge:
    ttl = lifetime(trial)
    return judges.unless_expired(trial.place.driver, ttl or TIMEOUT, check, ttl=ttl)


def promptness(history: History) -> Finding:
    """Falsified by a call on a broken link that took long, or ended in an odd error."""
    for operation in history.operations:
        if not _on_broken_link(operation, history.faults):
            continue
        if (slow := overdue(operation, TIMEOUT)) is not None:
            return slow
        if operation.error not in FAMILY:
            return wrong(
                "promptness",
                "a server that does not answer is neither OperationTimedOut nor "
                "ToozConnectionError",
                operation,
            )
    return judges.held("promptness")


def overdue(operation: Operation, timeout: float) -> Finding | None:
    """Return an objection to a call that took longer than one may on a broken link.

    :param timeout: the driver's time-out, in seconds
    """
    wait = operation.arguments.get("blocking")
    allowed = _PROMPT * timeout + (wait if isinstance(wait, float) else 0.0)
    if operation.end is not None and operation.end - operation.call <= allowed * 1e9:
        return None
    taken = "for ever" if operation.end is None else f"{_seconds(operation):.1f} s"
    return wrong(
        "promptness",
        f"of a server that does not answer, a call waited {taken}, longer than "
        f"{allowed:g} s with a time-out of {timeout:g} s",
        operation,
    )


def late(history: History) -> Finding:
    """Falsified by a waiter that hears of a break never, or of a release too late, or oddly.

    That a lock has become free need not be told over a connection that is no more, but is to
    be found out. A wait that ended in an error is to be begun anew.
    """
    for wait in history.only("acquire"):
        if not isinstance(wait.arguments.get("blocking"), float):
            continue
        if (slow := overdue(wait, TIMEOUT)) is not None:
            return slow
        if wait.error not in FAMILY:
            return wrong("waiting", "neither OperationTimedOut nor ToozConnectionError", wait)
        for release in history.only("release"):
            free = release.value is True and release.target == wait.target
            since = (wait.end or 0) - (release.end or 0)
            if wait.value is False and free and since > _PROMPT * TIMEOUT * 1e9:
                return wrong(
                    "waiting",
                    f"a lock had been free for {since / 1e9:.1f} s, with a time-out of "
                    f"{TIMEOUT:g} s, when who waited for it gave up",
                    wait,
                )
    return judges.held("waiting")


def heard(history: History) -> Finding:
    """Falsified by who watches, looks again and again, and never hears of the last join."""
    joins = [join for join in history.only("join_group") if join.is_ok]
    for watch in history.only("watch"):
        watcher = lane(watch.client)
        its = [o for o in history.only("run_watchers") if lane(o.client) == watcher and o.is_ok]
        after = [look for look in its if joins and look.call > (joins[-1].end or 0)]
        if after and not hears_of_a_join(watcher, history):
            return wrong(
                "watches", "long after all was well again, no watch told of a join", after[-1]
            )
    return judges.held("watches")


def hears_of_a_join(client: int, history: History) -> bool:
    """Whether a client's watches have told of a join."""
    looks = history.only("run_watchers")
    return any(tells_of_a_join(look) for look in looks if lane(look.client) == client)


def tells_of_a_join(operation: Operation) -> bool:
    """Whether what watches reported has a join in it."""
    return operation.is_ok and any(event[0] == "join" for event in operation.value)


def recovery(history: History) -> Finding:
    """Falsified when the last call of a kind that a client made since did not succeed."""
    healed = max((fault.end or 0 for fault in history.faults), default=0)
    since = [operation for operation in history.operations if operation.call > healed]
    last = {(lane(o.client), o.name, o.target): o for o in since}
    for operation in last.values():
        if operation.is_info:
            return wrong("recovery", "long after all was well again, a call failed", operation)
        if operation.name == "acquire" and operation.value is False:
            return wrong("recovery", "long after all was well again, a lock is stuck", operation)
        if operation.name == "join_group" and operation.is_fail and not _is_in(operation, since):
            return wrong("recovery", "long after all was well again, nobody can join", operation)
    return judges.held("recovery")


def _is_in(join: Operation, since: Iterable[Operation]) -> bool:
    """Whether a refused join is due to one of unknown outcome, which took effect."""
    return join.error == "MemberAlreadyExist" and any(
        o.is_info
        and (lane(o.client), o.name, o.target) == (lane(join.client), join.name, join.target)
        for o in since
    )


def told(history: History, *, expires: bool = False) -> Finding:
    """Falsified by a heartbeat that keeps quiet about a loss, or tells of it again.

    Once a heartbeat has succeeded after a fault, all is well or has been told. What the
    client then finds out, by asking for its lock and by leaving its group, it must have
    been told of; and no heartbeat tells of a loss any more. One that was not answered in
    time tells of nothing.

    :param expires: whether what no heartbeat renewed, when it said that one is due, may be
        lost anew
    """
    for fault in (fault for fault in history.faults if fault.kind in SEVERING):
        its = [o for o in history.operations if lane(o.client) == fault.client]
        all_beats = [o for o in its if o.name == "heartbeat"]
        beats = [beat for beat in all_beats if beat.call > (fault.end or NEVER)]
        well = next((beat for beat in beats if beat.is_ok), None)
        if well is None:
            continue
        for beat in beats:
            tells = beat.is_info and beat.error != "OperationTimedOut"
            if tells and beat.call > well.call and _is_fresh(beat, beats, expires):
                return wrong("heartbeat", "a loss was told after all was well", beat)
        warned = any(beat.error == "ToozConnectionError" for beat in all_beats)
        for name in ("is_still_owner", "leave_group"):
            found = next((o for o in its if o.name == name and o.call > well.call), None)
            if found is None or warned or not _is_fresh(found, beats, expires):
                continue
            if found.value is False or found.error in ("MemberNotJoined", "GroupNotCreated"):
                return wrong("heartbeat", "no heartbeat told of the loss", found)
    return judges.held("heartbeat")


def _is_fresh(operation: Operation, beats: Iterable[Operation], expires: bool) -> bool:
    """Whether no heartbeat was due between the last one before an operation and its end."""
    last = max((b for b in beats if b.is_ok and b.call < operation.call), key=lambda b: b.call)
    if not expires or not isinstance(last.value, int | float):
        return True
    return operation.end is not None and operation.end <= last.call + last.value * 1e9


def _on_broken_link(operation: Operation, faults: Iterable[Fault]) -> bool:
    return any(
        fault.kind in SEVERING
        and fault.client == lane(operation.client)
        and fault.begin <= operation.call
        and (fault.end is None or operation.call < fault.end)
        for fault in faults
    )


def _seconds(operation: Operation) -> float:
    return ((operation.end or operation.call) - operation.call) / 1e9


def wrong(rule: str, what: str, operation: Operation) -> Finding:
    """Return an objection to an operation, which is its own witness."""
    return Finding(Verdict.FALSIFIED, rule, f"{what}: {operation}", [operation])
