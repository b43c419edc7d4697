"""What plans are drawn from: Hypothesis strategies, one for each kind of workload.

A plan is drawn whole. Every strategy covers the small and the crowded: two clients to as
many as the profile allows, one coordinator shared by all or one for each.
"""

from __future__ import annotations

import itertools
import random
from collections.abc import Callable, Iterable, Sequence
from functools import cache
from typing import Any

import msgspec
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from conformance.workload.plan import Phase, Plan, Step

__all__ = [
    "crowds",
    "exclusive_cycles",
    "group_steps",
    "leader_steps",
    "member_steps",
    "mixed_steps",
    "numbered",
    "object_questions",
    "object_steps",
    "plans",
    "shared_cycles",
]

LOCKS = (b"lock-a", b"lock-b")
GROUPS = (b"group-a", b"group-b")

_WAIT = 5.0
"""Seconds of the longest timed acquire: longer than any plan keeps a lock."""

_WRITES = ("join_group", "update_capabilities")
"""The calls that write capabilities."""

Script = list[Step]


def crowds(most: int, *, sharing: bool) -> SearchStrategy[dict[int, int]]:
    """Draw clients and their coordinators: all share one, or each has its own."""
    return st.integers(2, most).map(
        lambda count: {client: 0 if sharing else client for client in range(count)}
    )


def plans(
    crowd: SearchStrategy[dict[int, int]],
    script: Callable[[int], SearchStrategy[Script]],
    *,
    before: Script | None = None,
    after: Callable[[dict[int, int]], dict[int, Script]] | None = None,
) -> SearchStrategy[Plan]:
    """Draw plans in which all clients run a script of their own at the same time.

    :param script: what to draw the script of a client from
    :param before: what client 0 does first, alone
    :param after: what the clients do last, when all scripts have ended
    """

    @st.composite
    def draw_plan(draw: st.DrawFn) -> Plan:
        coordinators = draw(crowd)
        scripts = {client: draw(script(client)) for client in coordinators}
        phases = [Phase(scripts)]
        if before:
            phases.insert(0, Phase({0: before}))
        if after is not None:
            phases.append(Phase(after(coordinators)))
        return Plan(coordinators, phases)

    return draw_plan()


_PAUSES = (0.0, 0.0, 0.0, 0.0005, 0.002)
"""Seconds for which a client idles: mostly none, seldom long enough to be passed."""


def _one_of(steps: Iterable[Step]) -> SearchStrategy[Step]:
    """Draw one of these steps, after a pause or none.

    Everything that can be drawn is laid out beforehand, so that a step is a single
    choice: drawing a plan must not take longer than running it.
    """
    return st.sampled_from(
        [msgspec.structs.replace(step, pause=pause) for step in steps for pause in _PAUSES]
    )


def _scripts(blocks: SearchStrategy[Script], steps: int) -> SearchStrategy[Script]:
    """Draw a script of about that many steps out of blocks of steps."""
    return st.lists(blocks, min_size=max(2, steps // 8), max_size=max(2, steps // 3)).map(
        lambda drawn: [step for block in drawn for step in block]
    )


_LOOKS: tuple[tuple[str, ...], ...] = (
    (),
    ("is_still_owner",),
    ("acquired",),
    ("acquire", "is_still_owner"),
)
"""What a client asks of a lock between acquiring and releasing it."""


@cache
def _cycles(shared: tuple[bool, ...]) -> list[Script]:
    """Return every cycle of acquiring a lock, looking at it and releasing it.

    One in eight releases the lock twice.
    """
    waits = (True, _WAIT, False, False, 0.002)
    choices = itertools.product(LOCKS, waits, shared, _LOOKS, _PAUSES, _PAUSES)
    cycles = []
    for number, (name, waiting, sharing, looks, pause, hold) in enumerate(choices):
        wanted = {"blocking": waiting} | ({"shared": True} if sharing else {})
        again = [Step("release", name)] if number % 8 == 0 else []
        cycles.append(_cycle(name, wanted, looks, pause, hold) + again)
    return cycles


def _cycle(
    name: bytes, wanted: dict[str, Any], looks: Sequence[str], pause: float, hold: float
) -> Script:
    trying = {"blocking": False}
    return [
        Step("acquire", name, wanted, pause),
        *(Step(look, name, trying if look == "acquire" else {}) for look in looks),
        Step("release", name, pause=hold),
    ]


@cache
def exclusive_cycles(steps: int) -> SearchStrategy[Script]:
    """Draw cycles of acquire, look, release on two locks; a holder never waits."""
    return _scripts(st.sampled_from(_cycles((False,))), steps)


@cache
def shared_cycles(steps: int) -> SearchStrategy[Script]:
    """Draw the same with shared and exclusive holds."""
    return _scripts(st.sampled_from(_cycles((True, True, False))), steps)


_ASKED = ("release", "acquired", "is_still_owner", "lock_heartbeat")
"""What may be called on a lock object at any time, whoever holds."""


@cache
def object_steps(steps: int, shared: int | None) -> SearchStrategy[Script]:
    """Draw calls on one lock: cycles of acquire, look, release, and others in between.

    Every acquire is followed by a release of the same client, so that whoever waits gets it.
    One call in between out of nine breaks the lock.

    :param shared: the lock object, where it is one that clients share
    """
    its = {} if shared is None else {"object": shared}
    looks = [[Step(name, LOCKS[0], its, pause)] for name in _ASKED[1:] for pause in _PAUSES]
    lone = [[Step(name, LOCKS[0], its)] for name in (*_ASKED * 2, "break_")]
    cycles = [
        [
            Step("acquire", LOCKS[0], {"blocking": waiting} | its, pause),
            *look,
            Step("release", LOCKS[0], its, hold),
        ]
        for waiting in (True, _WAIT, False, 0.002)
        for pause in _PAUSES
        for hold in _PAUSES
        for look in ([], *looks)
    ]
    blocks = st.one_of(st.sampled_from(cycles), st.sampled_from(lone), st.sampled_from(cycles))
    return _scripts(blocks, steps)


@cache
def object_questions(shared: int) -> SearchStrategy[Script]:
    """Draw calls on a lock object that clients share, which may hold: it does not afterwards.

    Two ask of the hold, and may give it up; then the object is to hold again, for a while.
    """
    its = {"object": shared}
    questions = [Step(name, LOCKS[0], its, pause) for name in _ASKED for pause in _PAUSES]
    again = [
        [
            Step("acquire", LOCKS[0], {"blocking": waiting} | its, pause),
            Step("acquired", LOCKS[0], its),
            Step("is_still_owner", LOCKS[0], its, hold),
            Step("release", LOCKS[0], its),
        ]
        for waiting in (False, 0.002)
        for pause in _PAUSES
        for hold in _PAUSES
    ]
    asking = st.lists(st.sampled_from(questions), min_size=2, max_size=2)
    return st.tuples(asking, st.sampled_from(again)).map(lambda parts: [*parts[0], *parts[1]])


def numbered(client: int, script: Script) -> Script:
    """Return a script whose every write has capabilities of its own: reads tell which."""
    return [
        msgspec.structs.replace(step, arguments={"capabilities": f"{client}:{number}"})
        if step.name in _WRITES
        else step
        for number, step in enumerate(script)
    ]


@cache
def group_steps(
    client: int, steps: int, *, groups: tuple[bytes, ...] = GROUPS, members: int = 8
) -> SearchStrategy[Script]:
    """Draw calls on groups by one member: creating, joining, updating, reading."""
    names = [
        *("join_group", "leave_group", "get_members") * 3,
        *("update_capabilities", "get_members_with_capabilities") * 2,
        *("create_group", "delete_group"),
    ]
    every = [Step(name, group) for name in names for group in groups]
    every += [Step("get_groups")] * len(groups)
    for number, group in enumerate(groups * 2):
        member = f"m{(client + number) % members}".encode()
        every.append(Step("get_member_capabilities", group, {"member": member}))
    script = st.lists(_one_of(every), min_size=max(3, steps // 3), max_size=steps)
    return script.map(lambda drawn: numbered(client, drawn))


@cache
def member_steps(client: int, steps: int) -> SearchStrategy[Script]:
    """Draw the stay of a member that writes its capabilities and reads everybody's."""
    names = ("update_capabilities", "get_members_with_capabilities")
    step = _one_of(Step(name, GROUPS[0]) for name in names)
    script = st.lists(step, min_size=max(2, steps // 3), max_size=steps)
    join = Step("join_group", GROUPS[0])
    return script.map(lambda drawn: numbered(client, [join, *drawn]))


@cache
def leader_steps(steps: int) -> SearchStrategy[Script]:
    """Draw campaigns, standing down and asking for the leader, in one group."""
    names = ["campaign", "campaign", "stand_down", "get_leader"]
    step = _one_of(Step(name, GROUPS[0]) for name in names)
    return st.lists(step, min_size=max(3, steps // 3), max_size=steps)


@cache
def mixed_steps(client: int, steps: int) -> SearchStrategy[Script]:
    """Draw a script over locks, groups and a leadership, all together."""
    part = max(4, steps // 3)

    @st.composite
    def mixture(draw: st.DrawFn) -> Script:
        scripts = [
            draw(exclusive_cycles(part)),
            draw(group_steps(client, part)),
            draw(leader_steps(part)),
        ]
        turns = [number for number, script in enumerate(scripts) for _ in script]
        random.Random(draw(st.integers(0, 2**32))).shuffle(turns)  # noqa: S311 - no secret
        return [scripts[number].pop(0) for number in turns]

    return mixture()
