"""Groups: whether what clients saw of members and capabilities can have been.

In real time some things show at once, in O(n log n): a member that was in a group for
certain and is not seen, one that is seen and cannot have been in it, a group deleted
under its members. Whatever passes goes to the search, which is exact.
"""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable, Iterator, Mapping, Sequence

from conformance.checkers.losses import Losses
from conformance.checkers.order import Order
from conformance.checkers.search import Search
from conformance.checkers.settle import Case, falsified
from conformance.checkers.tenures import Tenure, Tenures, tenures_of
from conformance.checkers.translation import moves_of
from conformance.checkers.wording import Clock, did, who
from conformance.history import History, Operation
from conformance.models import GROUP_CALLS, Coordination, GroupModel, Kind
from conformance.verdict import Finding

__all__ = ["RULE", "group_cases"]

RULE = "group views"

_Stays = Mapping[bytes, Tenures]
"""The stays of each member in a group."""


def group_cases(history: History, ttl: float | None, *, local: bool) -> Finding | list[Case]:
    """Return a violation in real time that shows at once, or what has to be searched.

    :param local: whether each group is judged on its own, and a listing of all groups by
        what it says of each
    """
    losses, clock = Losses(history, ttl), Clock(history)
    about = [o for o in history.operations if o.name in GROUP_CALLS and not o.is_info]
    stays = _stays(history, losses)
    for look in about:
        if look.target:
            finding = _untrue(look, stays.get(look.target, {}), clock)
            if finding is not None:
                return finding
    moves = moves_of(history, kinds=(Kind.GROUP,), ttl=ttl, local=local)
    if not local and any(move.call.name == "get_groups" for move in moves):
        whole = Search(Coordination().component((Kind.GROUP, b"")), moves, Order.REAL_TIME)
        return [Case("all groups", RULE, whole)]
    return [
        Case(
            f"group {group!r}",
            RULE,
            Search(GroupModel(), [m for m in moves if m.call.target == group], Order.REAL_TIME),
        )
        for group in sorted({move.call.target for move in moves})
    ]


def _stays(history: History, losses: Losses) -> dict[bytes, dict[bytes, Tenures]]:
    """Return the stays of every member in every group."""
    changes: dict[tuple[bytes, bytes], list[Operation]] = defaultdict(list)
    stops: dict[bytes, list[Operation]] = defaultdict(list)
    for operation in history.operations:
        if operation.is_fail:
            continue
        if operation.name in ("join_group", "join_group_create", "leave_group"):
            changes[operation.target, operation.member].append(operation)
        elif operation.name == "stop":
            stops[operation.member].append(operation)
    stays: dict[bytes, dict[bytes, Tenures]] = defaultdict(dict)
    for (group, member), its in changes.items():
        stays[group][member] = tenures_of(
            sorted([*its, *stops[member]], key=lambda operation: operation.call),
            losses,
            grants=["join_group", "join_group_create"],
            ends=["leave_group"],
            lasting=False,
        )
    return stays


def _untrue(look: Operation, stays: _Stays, clock: Clock) -> Finding | None:
    """Return how an answer contradicts what members did."""
    for member, seen in _claims(look, stays):
        its = stays.get(member)
        stay = its.during(look) if its is not None else None
        begin = f"{who(look)} called {did(look)} ({clock.when(look)})"
        if not seen and stay is not None:
            reason = f"{begin} while {member!r} was a member all that time: {_stay(stay, clock)}"
            return falsified(RULE, reason, [look, *_shown(stay)])
        if seen and (its is None or not its.possible(look)):
            reason = f"{begin}, but {member!r} cannot have been a member then"
            return falsified(RULE, reason, [look, *_nearest(its, look)])
    return None


def _claims(look: Operation, members: Iterable[bytes]) -> Iterator[tuple[bytes, bool]]:
    """Return what an answer says of members: who is in the group, and who is not."""
    if look.error == "GroupNotCreated" or (look.name == "delete_group" and look.is_ok):
        yield from ((member, False) for member in members)
    elif look.name in ("get_members", "get_members_with_capabilities") and look.is_ok:
        named = set(look.value)
        yield from ((member, True) for member in sorted(named))
        yield from ((member, False) for member in members if member not in named)
    elif "member" in look.arguments and (look.is_ok or look.error == "MemberNotJoined"):
        yield look.arguments["member"], look.is_ok


def _nearest(tenures: Tenures | None, look: Operation) -> Sequence[Operation]:
    """Return what shows that a member was not in the group: its stay before, its next."""
    if tenures is None:
        return []
    before = [stay for stay in tenures.sure if stay.ended < look.call]
    after = [stay for stay in tenures.sure if stay.called > (look.end or 0)]
    return [*(_shown(before[-1]) if before else []), *([after[0].grant] if after else [])]


def _stay(stay: Tenure, clock: Clock) -> str:
    text = f"it had joined by {clock.at(stay.granted)} and stayed until {clock.at(stay.kept)}"
    return text if stay.proof is None else f"{text} at least, when it called {did(stay.proof)}"


def _shown(stay: Tenure) -> list[Operation]:
    return [stay.grant] if stay.proof is None else [stay.grant, stay.proof]
