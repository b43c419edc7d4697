"""Elections: whether each term was reported to its leader once, and to nobody else."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence

from conformance.checkers.losses import Losses
from conformance.checkers.moves import end_of
from conformance.checkers.settle import falsified
from conformance.checkers.wording import Clock, did, who
from conformance.history import History, Operation, lane
from conformance.verdict import Finding, Verdict

__all__ = ["RULE", "check_elections"]

RULE = "elections"


def check_elections(history: History, *, ttl: float | None = None) -> Finding:
    """Say whether elections were reported to who was elected, once for each term.

    A client stands for election from its first ``campaign`` in a group on. That
    ``campaign`` consumes the event of a term that it wins; one that is won by
    ``run_watchers`` is among the events that this returns, as (``elected``, group, member).
    Of clients that share a member name only the recipients are judged.

    :param ttl: the driver's time-out in seconds after which a leadership may expire when
        its leader showed no sign of life; None when it lasts
    :returns: HELD or FALSIFIED with a witness
    :raises MalformedHistory: no run can produce the history
    """
    history = History.of(history.operations, history.faults)
    clock, losses = Clock(history), Losses(history, ttl)
    lanes: dict[bytes, set[int]] = defaultdict(set)
    by_member: dict[bytes, list[Operation]] = defaultdict(list)
    for operation in history.operations:
        if operation.name in ("campaign", "run_watchers", "stand_down", "stop"):
            lanes[operation.member].add(lane(operation.client))
        by_member[operation.member].append(operation)
    objection = _to_others(history, clock)
    if objection is not None:
        return objection
    campaigns = history.only("campaign")
    for member, its in by_member.items():
        if len(lanes[member]) == 1:
            for group in sorted({o.target for o in campaigns if o.member == member}):
                objection = _terms(group, its, losses, clock)
                if objection is not None:
                    return objection
    count = sum(len(_elected(run)) for run in history.only("run_watchers"))
    return Finding(Verdict.HELD, RULE, f"{len(campaigns)} campaigns, {count} events")


def _elected(run: Operation) -> list[tuple[bytes, bytes]]:
    """Return the elections that a run of watchers reported: group and member."""
    return [(group, member) for kind, group, member in run.value or () if kind == "elected"]


def _to_others(history: History, clock: Clock) -> Finding | None:
    """Return an election that was reported to somebody who was not, or does not stand."""
    stands: set[tuple[int, bytes]] = set()
    for operation in history.operations:
        if operation.name == "campaign":
            stands.add((lane(operation.client), operation.target))
        if operation.name != "run_watchers" or not operation.is_ok:
            continue
        begin = f"{who(operation)} was told ({clock.when(operation)})"
        for group, member in _elected(operation):
            if member != operation.member:
                reason = f"{begin} that {member!r} leads {group!r}: it is {operation.member!r}"
                return falsified(RULE, reason, [operation])
            if (lane(operation.client), group) not in stands:
                reason = f"{begin} that it leads {group!r}, where it does not stand for election"
                return falsified(RULE, reason, [operation])
    return None


def _terms(
    group: bytes, operations: Sequence[Operation], losses: Losses, clock: Clock
) -> Finding | None:
    """Follow the terms of one member in one group; return what is wrong with the reports.

    :param operations: all of the member, by call
    """
    won: Operation | None = None  # what told the member of its current term, if it has one
    silent: list[Operation] = []  # runs since its last term ended that told of no other
    unsure = False  # whether a campaign or its end had an unknown outcome
    for operation in operations:
        about = operation.target == group
        if operation.name == "run_watchers" and operation.is_ok:
            events = sum(its == group for its, _ in _elected(operation))
            ended = unsure or (won is not None and losses.earliest(won) <= end_of(operation))
            if events > 1 or (events == 1 and won is not None and not ended):
                return _twice(group, won or operation, operation, clock)
            if events:
                won, silent, unsure = operation, [], False
            elif won is None:
                silent.append(operation)
        elif operation.is_info and (about or operation.name in ("run_watchers", "stop")):
            unsure = unsure or operation.name in ("campaign", "stand_down", "run_watchers", "stop")
        elif operation.name == "campaign":
            if not about:
                unsure = True  # it stood here too, and consumed the event of winning
            elif operation.value is True:
                won, silent, unsure = operation, [], False
            else:
                silent = []
        elif operation.name == "stand_down" and about:
            if operation.value is True and won is None and silent and not unsure:
                return _never(group, silent, operation, clock)
            won, silent, unsure = None, [], False
        elif operation.name == "stop":
            won, silent, unsure = None, [], True
    return None


def _twice(group: bytes, first: Operation, run: Operation, clock: Clock) -> Finding:
    reason = (
        f"{who(run)} was told twice of its election in {group!r}, with no end of a term in "
        f"between: {did(first)}, {clock.when(first)}; {did(run)}, {clock.when(run)}"
    )
    return falsified(RULE, reason, [first] if first is run else [first, run])


def _never(group: bytes, silent: Sequence[Operation], proof: Operation, clock: Clock) -> Finding:
    reason = (
        f"{who(proof)} led {group!r}, as {did(proof)} shows ({clock.when(proof)}), but "
        f"none of its {len(silent)} runs of watchers told it of its election"
    )
    return falsified(RULE, reason, [*silent[-3:], proof])
