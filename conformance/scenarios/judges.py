"""How the scenarios have histories judged: checkers bound to what a scenario looks at."""

from __future__ import annotations

from collections.abc import Callable
from itertools import pairwise

import msgspec

from conformance.characteristics import Characteristics
from conformance.checkers import check_groups, check_leadership, check_lock
from conformance.history import NEVER, History, Operation
from conformance.implementations import Driver
from conformance.trial import Judge, Trial
from conformance.verdict import Finding, Verdict

__all__ = [
    "all_of",
    "elected",
    "elections",
    "groups",
    "held",
    "leadership",
    "locks",
    "starvation",
    "unless_expired",
]

_ENOUGH_GRANTS = 20
"""How many grants to others, during one refused wait, are starvation and not bad luck."""

_EARLY = 0.5
"""The part of a time-out after which what rests on it may be gone at the earliest: a server
may keep whole seconds, less one, or a TTL of half of it."""


def held(rule: str) -> Finding:
    """Return a finding without objection."""
    return Finding(Verdict.HELD, rule)


def all_of(*judging: Judge) -> Judge:
    """Return a judge that asks several and gives the first objection, or the first doubt."""

    def judge(history: History) -> Finding:
        findings = [one(history) for one in judging]
        for worse in (Verdict.FALSIFIED, Verdict.INCONCLUSIVE):
            for finding in findings:
                if finding.verdict is worse:
                    return finding
        return findings[0]

    return judge


def unless_expired(
    driver: Driver,
    timeout: float,
    check: Callable[..., Finding],
    *,
    ttl: float | None = None,
) -> Judge:
    """Return a judge of what hearts keep alive, which a slow machine may stop for too long.

    Where the driver does not claim that nothing expires, an objection that something expired
    would explain is a doubt: no history tells of each beat of a heart.

    :param timeout: the driver's time-out, in seconds
    :param check: takes a history and, by the name of ``ttl``, what may expire after
    :param ttl: what is taken for granted; None for nothing to expire
    """
    if Characteristics.NON_TIMEOUT_BASED in driver.claims:
        return check

    def judge(history: History) -> Finding:
        finding = check(history, ttl=ttl)
        if finding.verdict is not Verdict.FALSIFIED:
            return finding
        if check(history, ttl=_EARLY * timeout).verdict is Verdict.FALSIFIED:
            return finding
        reason = f"unless something expired on a machine too slow to keep it: {finding.reason}"
        return msgspec.structs.replace(finding, verdict=Verdict.INCONCLUSIVE, reason=reason)

    return judge


def locks(history: History, ttl: float | None = None) -> Finding:
    """Judge every lock of a history on its own."""
    return check_lock(history, ttl=ttl)


def leadership(history: History, ttl: float | None = None) -> Finding:
    """Judge the leadership of every group of a history on its own."""
    return check_leadership(history, ttl=ttl)


def groups(trial: Trial) -> Judge:
    """Return a judge of all groups of a history, which keeps the order of each client."""

    def judge(history: History) -> Finding:
        return check_groups(history, budget=trial.profile.budget)

    return judge


def elected(history: History) -> int:
    """How many elections were reported."""
    return sum(len(operation.value or ()) for operation in history.only("run_elections"))


def elections(history: History) -> Finding:
    """Falsified by an election that is reported twice in one term, or to another.

    What is reported to a member begins a term of its own, which ends when it stands down;
    terms must not overlap, and there is one when somebody is said to lead.
    """
    begun: dict[bytes, Operation] = {}
    terms: list[tuple[Operation, float]] = []
    for operation in history.operations:
        if operation.name == "run_elections" and operation.is_ok:
            for _, group, member in operation.value:
                if (member, group) != (operation.member, operation.target):
                    return _wrong(f"the election of {member!r} in {group!r}", operation)
                if member in begun:
                    return _wrong("an election a second time in one term", operation)
                begun[member] = operation
        elif operation.name == "stand_down" and operation.value is True:
            if operation.member not in begun:
                return _wrong("no election, although it led", operation)
            terms.append((begun.pop(operation.member), operation.call))
        elif operation.name == "get_leader" and operation.value not in {None, *begun}:
            return _wrong(f"no election of {operation.value!r}, which leads", operation)
    terms += [(first, NEVER) for first in begun.values()]
    terms.sort(key=lambda term: term[0].call)
    for (one, end), (other, _) in pairwise(terms):
        if (other.end or NEVER) < end and one.end is not None and one.end < other.call:
            return _wrong(f"an election in the term of {one.member!r}", other)
    return held("elections")


def _wrong(told: str, operation: Operation) -> Finding:
    reason = f"client {operation.client} was told of {told}: {operation}"
    return Finding(Verdict.FALSIFIED, "elections", reason, [operation])


def starvation(history: History) -> Finding:
    """Falsified when a client that waited long got nothing while others got a lot."""
    acquires = history.only("acquire")
    for refused in acquires:
        wanted = refused.arguments.get("blocking")
        if not isinstance(wanted, float) or not refused.is_ok or refused.value or wanted < 1:
            continue
        others = [
            grant
            for grant in acquires
            if grant.value is True
            and grant.target == refused.target
            and grant.client != refused.client
            and refused.call < (grant.end or 0) < (refused.end or 0)
        ]
        if len(others) >= _ENOUGH_GRANTS:
            return Finding(
                Verdict.FALSIFIED,
                "starvation",
                f"client {refused.client} waited {wanted} s for {refused.target!r} in vain while "
                f"others got it {len(others)} times",
                [refused, others[0], others[-1]],
            )
    return held("starvation")
