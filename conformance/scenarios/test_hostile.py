"""Hostile input: odd names and odd capabilities stay where they belong.

Names are any bytes. Two different names never exclude each other, one never shows up as
another, and none leaves its name space.
"""

from __future__ import annotations

from typing import Any

import pytest
from hypothesis import strategies as st
from hypothesis.strategies import SearchStrategy

from conformance.characteristics import Feature
from conformance.checkers.exercise import succeeded
from conformance.history import History
from conformance.scenarios import judges
from conformance.trial import Judge, Least, Trial
from conformance.verdict import Finding, Verdict
from conformance.workload.plan import Phase, Plan, Step

pytestmark = pytest.mark.scenario("hostile input")

ODD_NAMES = [
    b".",
    b"..",
    b"/",
    b"a",
    b"A",
    b"a/",
    b"a/x",
    b"a//x",
    b"a\\x",
    b"../a",
    b"../../../../tmp/a",
    b"%2e%2e",
    b"a%2fx",
    b"a\x00",
    b"a\x00x",
    b"\x00",
    b"\xff\xfe",
    b"\xc3\xa4",
    b"a\xcc\x88",
    b"a ",
    b" a",
    b"a\n",
    b"a'; DROP TABLE locks; --",
    b'a"',
    b"*",
    b"a*",
    b"a?",
    b"[a]",
    b"{a}",
    b"$HOME",
    b"locks",
    b"groups",
    b"leader",
    b"guard",
    b"registry",
    b"_tooz",
    b"x" * 64,
    b"x" * 65,
    b"x" * 255,
    b"x" * 256,
    b"x" * 5000,
    b"x" * 5000 + b"y",
]
"""Names that are one another's prefixes, look alike, or mean something to some server."""


TWINS = [
    (b"", b"/"),
    (b"", b"/x"),
    (b"", b"\0"),
    (b"", b"\0x"),
    (b"", b" "),
    (b"/x", b"//x"),
    (b"/x", b"/./x"),
    (b"a", b"A"),
    (b"\xc3\xa4", b"a\xcc\x88"),
    (b"\xff", b"\xfe"),
    (b"/", b"%2f"),
    (b"x" * 64, b"x" * 65),
    (b"x" * 255, b"x" * 256),
    (b"plumless", b"buckeroo"),
]
"""Endings that some server takes for one: by folding, cutting, decoding, as paths, as
strings of C, or by their CRC-32, which is the same for the last two behind any stem."""


def _names(count: int) -> SearchStrategy[list[bytes]]:
    """Draw different names: odd ones, any bytes, and twins, one of them in either half."""
    odd = st.sampled_from(ODD_NAMES)
    some = st.binary(min_size=1, max_size=40)
    twins = st.tuples(odd | some, st.sampled_from(TWINS)).map(
        lambda drawn: (drawn[0] + drawn[1][0], drawn[0] + drawn[1][1])
    )
    pair = st.one_of(twins, twins, twins, st.tuples(odd | some, odd | some))
    pairs = st.lists(pair, min_size=max(1, count // 4), max_size=count // 2)
    halves = pairs.map(lambda drawn: [pair[half] for half in (0, 1) for pair in drawn])
    return halves.map(lambda names: list(dict.fromkeys(names))).filter(lambda names: len(names) > 1)


EVERY_TWIN = [b"stem" + ending for ending in dict.fromkeys(e for pair in TWINS for e in pair)]
"""Names in which all twins are. What is drawn may lack some, whatever the number of trials."""


def _try(trial: Trial, plan: Plan, judge: Judge) -> None:
    """Run one plan, before others are drawn."""
    trial.conclude(trial.run(plan), judge, plan)


@pytest.mark.scenario("hostile input", needs=(Feature.LOCKS,))
def test_locks_of_different_names_are_different(trial: Trial) -> None:
    """Whoever holds a lock keeps others from that lock, and from no other."""

    def hold_all(names: list[bytes], marked_at_end: bool = False) -> Plan:
        half = len(names) // 2
        mine, others = names[:half], names[half:]
        return Plan(
            {0: 0, 1: 1},
            [
                Phase({0: [Step("acquire", name, {"blocking": False}) for name in mine]}),
                Phase({1: [Step("acquire", name, {"blocking": False}) for name in names]}),
                Phase({0: [Step("acquire", name, {"blocking": False}) for name in others]}),
                Phase({0: [Step("release", name) for name in mine]}),
                Phase({1: [Step("is_still_owner", name) for name in others]}),
                Phase({1: [Step("release", name) for name in others]}),
            ],
            marked_at_end=marked_at_end,
        )

    _try(trial, hold_all(EVERY_TWIN), judges.locks)
    trial.explore(
        st.builds(hold_all, _names(12), st.booleans()),
        judges.locks,
        least=[Least("successful operations", 4 * trial.profile.trials, succeeded)],
    )


@pytest.mark.scenario("hostile input", needs=(Feature.LOCKS,), levels=("processes",))
def test_many_locks_are_all_different(trial: Trial) -> None:
    """Of thousands of locks no two are one: a short hash is no name."""
    many = min(_MANY_TRIED, 32 * trial.profile.trials)
    held = [b"held-%d" % number for number in range(_MANY_HELD)]
    tries = {
        client: [b"tried-%d-%d" % (client, number) for number in range(many)]
        for client in range(1, 5)
    }
    plan = Plan(
        {client: client for client in range(5)},
        [
            Phase({0: [Step("acquire", name, {"blocking": False}) for name in held]}),
            Phase({client: _tries(names) for client, names in tries.items()}),
            Phase({0: [Step("release", name) for name in held]}),
        ],
    )
    history = trial.run(plan)
    trial.conclude(history, judges.locks, plan)


_MANY_HELD, _MANY_TRIED = 500, 200
"""How many locks one client holds while four others try that many others each: with a
hash of 16 bits, 0.2 % of such runs have no two names with the same."""


def _tries(names: list[bytes]) -> list[Step]:
    """Return steps that take each lock and give it back."""
    return [
        step
        for name in names
        for step in (Step("acquire", name, {"blocking": False}), Step("release", name))
    ]


@pytest.mark.scenario("hostile input", needs=(Feature.GROUPS,))
def test_groups_and_members_of_different_names_are_different(trial: Trial) -> None:
    """Groups and members keep their names, their members and their capabilities."""

    def fill_all(names: list[bytes], members: list[bytes], marked_at_end: bool = False) -> Plan:
        half = len(names) // 2
        scripts: dict[int, list[Step]] = {0: [], 1: []}
        for number, name in enumerate(names):
            scripts[0].append(Step("create_group", name))
            for client in (0, 1) if number < half else (1,):
                scripts[client].append(
                    Step("join_group", name, {"capabilities": f"{client}:{number}"})
                )
        looks = [Step("get_members", name) for name in names]
        looks += [Step("get_members_with_capabilities", name) for name in names]
        looks += [
            Step("get_member_capabilities", name, {"member": member})
            for name in names
            for member in members
        ]
        return Plan(
            {0: 0, 1: 1},
            [
                Phase({0: [step for step in scripts[0] if step.name == "create_group"]}),
                Phase({0: [step for step in scripts[0] if step.name != "create_group"]}),
                Phase({1: scripts[1]}),
                Phase({1: [*looks, Step("get_groups")]}),
                Phase({1: [Step("leave_group", name) for name in names]}),
                Phase({0: [*looks, *(Step("delete_group", name) for name in names)]}),
            ],
            members=dict(enumerate(members)),
            marked_at_end=marked_at_end,
        )

    _try(trial, fill_all(EVERY_TWIN, list(TWINS[-1])), judges.groups(trial))
    trial.explore(
        st.builds(fill_all, _names(8), _names(2), st.booleans()),
        judges.groups(trial),
        least=[Least("successful operations", 10 * trial.profile.trials, succeeded)],
    )


@pytest.mark.scenario("hostile input", needs=(Feature.LEADERSHIP,))
def test_leaders_of_different_groups_are_different(trial: Trial) -> None:
    """Leading one group says nothing about another."""

    def lead_half(names: list[bytes], marked_at_end: bool = False) -> Plan:
        half = len(names) // 2
        looks = [Step("get_leader", name) for name in names]
        return Plan(
            {0: 0, 1: 1},
            [
                Phase({0: [Step("campaign", name) for name in names[:half]]}),
                Phase({1: looks}),
                Phase({1: [Step("campaign", name) for name in names]}),
                Phase({0: [*looks, *(Step("stand_down", name) for name in names)]}),
                Phase({1: looks}),
            ],
            marked_at_end=marked_at_end,
        )

    _try(trial, lead_half(EVERY_TWIN), judges.leadership)
    trial.explore(
        st.builds(lead_half, _names(8), st.booleans()),
        judges.leadership,
        least=[Least("successful operations", 10 * trial.profile.trials, succeeded)],
    )


@pytest.mark.scenario("hostile input", needs=(Feature.GROUPS, Feature.CAPABILITIES))
def test_capabilities_come_back_equal(trial: Trial) -> None:
    """Capabilities of any shape and of a megabyte come back as they were given."""
    group = b"group-a"
    scalars = (
        st.none()
        | st.booleans()
        | st.integers(-(2**63), 2**63 - 1)
        | st.floats(allow_nan=False)
        | st.text(st.characters(codec="utf-8"), max_size=20)
        | st.binary(max_size=20)
    )
    nested: SearchStrategy[Any] = st.recursive(
        scalars,
        lambda inner: (
            st.lists(inner, max_size=4)
            | st.dictionaries(st.text(st.characters(codec="utf-8")), inner, max_size=4)
        ),
        max_leaves=12,
    )
    large = st.sampled_from([b"\x00" * 2**20, "\u00e4" * 2**19, ["x" * 2**10] * 2**10])

    @st.composite
    def store(draw: st.DrawFn) -> Plan:
        values = draw(st.lists(nested, min_size=1, max_size=6))
        if draw(st.integers(0, 7)) == 0:
            values.append(draw(large))
        script = [Step("join_group", group, {"capabilities": values[0]})]
        looks = [Step("get_member_capabilities", group, {"member": b"m0"})]
        for value in values[1:]:
            script += [Step("update_capabilities", group, {"capabilities": value}), *looks]
        return Plan(
            {0: 0, 1: 1},
            [Phase({0: [Step("create_group", group), *script]}), Phase({1: looks})],
        )

    trial.explore(
        store(),
        _read_is_written,
        least=[Least("successful operations", 3 * trial.profile.trials, succeeded)],
    )


def _read_is_written(history: History) -> Finding:
    """Falsified by a read that is not equal, types included, to the last write."""
    written: Any = None
    for operation in history.operations:
        if operation.name in ("join_group", "update_capabilities") and operation.is_ok:
            written = operation.arguments["capabilities"]
        elif operation.name == "get_member_capabilities" and _differ(operation.value, written):
            return Finding(
                Verdict.FALSIFIED,
                "round trip",
                f"wrote {_short(written)}, read {_short(operation.value)}",
                [operation],
            )
    return judges.held("round trip")


def _differ(read: object, written: object) -> bool:
    """Whether two values differ, in type too: 1 is not True, nor 1.0, nor 0.0 the same as -0.0."""
    return _spelled(read) != _spelled(written)


def _spelled(value: object) -> tuple[str, object]:
    """Return what tells a value from all others; the keys of a dict have no order."""
    its: object = repr(value)
    if isinstance(value, dict):
        its = {_spelled(key): _spelled(inner) for key, inner in value.items()}
    elif isinstance(value, list):
        its = [_spelled(inner) for inner in value]
    return type(value).__name__, its


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else f"{text[:60]}… ({len(text)} characters)"
