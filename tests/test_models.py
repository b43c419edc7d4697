"""What the models specify: each call in each kind of state, and how results are predicted."""

from __future__ import annotations

from random import Random
from typing import Any

import pytest

from conformance.history import Operation
from conformance.models import (
    GROUP_CALLS,
    LEADERSHIP_CALLS,
    LOCK_CALLS,
    STRANGER,
    Answer,
    Call,
    Coordination,
    GroupModel,
    Holder,
    Kind,
    LeadershipModel,
    LockModel,
    Model,
    Registers,
    asked,
    call_of,
    expected,
    follow,
    holder_of,
    kind_of,
    pack,
    predict,
)
from tests.histories import random_step


class Script:
    """Calls one after the other, on everything that the coordination API has."""

    def __init__(self, model: Model | None = None) -> None:
        self.model = model or Coordination()
        self.state = self.model.initial

    def call(self, client: int, name: str, target: bytes = b"x", **arguments: Any) -> Any:
        """Return what a call should answer: its value, or its error's name."""
        question = asked(name, target, arguments, client=client, member=f"m{client}".encode())
        answer, self.state = predict(self.model, self.state, question)
        return answer.value if answer.error is None else answer.error


@pytest.fixture
def script() -> Script:
    return Script()


# -- locks -------------------------------------------------------------------------------


def test_a_free_lock_is_granted_and_a_held_one_refused(script: Script) -> None:
    assert script.call(1, "acquire") is True
    assert script.call(2, "acquire") is False


def test_a_holder_that_asks_again_is_refused_and_still_holds(script: Script) -> None:
    script.call(1, "acquire")
    assert script.call(1, "acquire") is False
    assert script.call(1, "is_still_owner") is True


def test_only_the_holder_releases(script: Script) -> None:
    script.call(1, "acquire")
    assert script.call(2, "release") is False
    assert script.call(1, "release") is True
    assert script.call(1, "release") is False
    assert script.call(2, "acquire") is True


def test_shared_holds_exclude_exclusive_ones_only(script: Script) -> None:
    assert script.call(1, "acquire", shared=True) is True
    assert script.call(2, "acquire", shared=True) is True
    assert script.call(3, "acquire") is False
    assert script.call(1, "release") is True
    assert script.call(3, "acquire") is False
    assert script.call(2, "release") is True
    assert script.call(3, "acquire") is True
    assert script.call(1, "acquire", shared=True) is False


def test_locks_of_different_names_know_nothing_of_each_other(script: Script) -> None:
    assert script.call(1, "acquire", b"x") is True
    assert script.call(2, "acquire", b"y") is True


def test_a_broken_lock_is_free_and_its_holder_is_told(script: Script) -> None:
    script.call(1, "acquire")
    assert script.call(2, "break_") is True
    assert script.call(2, "break_") is False
    assert script.call(2, "acquire") is True
    assert script.call(1, "is_still_owner") is False
    assert script.call(1, "release") is False
    assert script.call(2, "is_still_owner") is True


def test_an_object_may_believe_in_a_lost_hold_until_it_is_told(script: Script) -> None:
    script.call(1, "acquire")
    script.call(2, "break_")
    acquired = call_of(asked("acquired", b"x", client=1, member=b"m1"))
    answers = {answer.value for answer, _ in script.model.steps(script.state, acquired)}
    assert answers == {True, False}
    script.call(1, "is_still_owner")
    assert script.model.steps(script.state, acquired) == ((Answer(False), script.state),)


def test_clients_that_share_an_object_hold_as_one(script: Script) -> None:
    question = asked("acquire", b"x", {"object": 1}, client=1, member=b"m")
    other = asked("release", b"x", {"object": 1}, client=2, member=b"m")
    assert holder_of(question) == holder_of(other) == Holder(b"m", 1, shared=True)
    _, state = predict(script.model, script.state, question)
    assert predict(script.model, state, other)[0] == Answer(True)


def test_entering_a_lock_takes_it_and_gives_it_back(script: Script) -> None:
    assert script.call(1, "enter") is True
    assert script.call(2, "acquire") is True
    assert script.call(1, "enter") == "LockAcquireFailed"


def test_losing_ends_the_very_hold_and_no_other() -> None:
    model, me = LockModel(), Holder(b"m", 1)
    acquire = Call(Kind.LOCK, "acquire", b"x", me, False, tenure=7)
    _, held = expected(model, model.initial, acquire)
    _, same = expected(model, held, Call(Kind.LOCK, "lose", b"x", me, None, tenure=6))
    _, free = expected(model, held, Call(Kind.LOCK, "lose", b"x", me, None, tenure=7))
    assert same == held
    assert free.holds == ()
    assert free.unaware == {me}


def test_a_lapsed_lock_is_granted_or_refused_until_it_is_granted() -> None:
    model, me, other = LockModel(), Holder(b"m1", 1), Holder(b"m2", 2)
    take = Call(Kind.LOCK, "acquire", b"x", me, False, tenure=7)
    _, held = expected(model, model.initial, take)
    _, lapsed = expected(model, held, Call(Kind.LOCK, "lapse", b"x", me, None, tenure=7))
    answers = dict(model.steps(lapsed, Call(Kind.LOCK, "acquire", b"x", other, False)))
    assert answers[Answer(False)] == lapsed
    assert answers[Answer(True)].holds == ((other, 0),)
    assert answers[Answer(True)].unaware == {me}


def test_a_strangers_hold_leaves_nobody_unaware() -> None:
    model = LockModel()
    _, held = expected(model, model.initial, Call(Kind.LOCK, "acquire", b"x", STRANGER, False))
    assert expected(model, held, Call(Kind.LOCK, "lose", b"x", STRANGER))[1] == model.initial


# -- groups ------------------------------------------------------------------------------


def test_a_group_is_created_once(script: Script) -> None:
    assert script.call(1, "create_group") is None
    assert script.call(2, "create_group") == "GroupAlreadyExist"


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("delete_group", {}),
        ("join_group", {"capabilities": 1}),
        ("leave_group", {}),
        ("get_members", {}),
        ("get_members_with_capabilities", {}),
        ("get_member_capabilities", {"member": b"m1"}),
        ("get_member_info", {"member": b"m1"}),
        ("update_capabilities", {"capabilities": 1}),
    ],
)
def test_calls_need_the_group(script: Script, name: str, arguments: dict[str, Any]) -> None:
    assert script.call(1, name, **arguments) == "GroupNotCreated"


@pytest.mark.parametrize(
    ("name", "arguments"),
    [
        ("leave_group", {}),
        ("get_member_capabilities", {"member": b"m1"}),
        ("get_member_info", {"member": b"m1"}),
        ("update_capabilities", {"capabilities": 1}),
    ],
)
def test_calls_need_the_member(script: Script, name: str, arguments: dict[str, Any]) -> None:
    script.call(2, "create_group")
    assert script.call(1, name, **arguments) == "MemberNotJoined"


def test_a_member_joins_once(script: Script) -> None:
    script.call(1, "create_group")
    assert script.call(1, "join_group", capabilities="a") is None
    assert script.call(1, "join_group", capabilities="b") == "MemberAlreadyExist"
    assert script.call(2, "get_member_capabilities", member=b"m1") == "a"


def test_members_and_capabilities_are_read_as_written(script: Script) -> None:
    script.call(1, "create_group")
    script.call(2, "join_group", capabilities={"b": [1, None, b"raw"]})
    script.call(1, "join_group")
    assert script.call(3, "get_members") == [b"m1", b"m2"]
    assert script.call(3, "get_members_with_capabilities") == {
        b"m1": None,
        b"m2": {"b": [1, None, b"raw"]},
    }
    script.call(1, "update_capabilities", capabilities=2.5)
    assert script.call(3, "get_member_capabilities", member=b"m1") == 2.5
    assert script.call(3, "get_member_info", member=b"m1") == {"capabilities": 2.5}


def test_losing_ends_the_very_stay_and_no_other() -> None:
    model = GroupModel()
    _, created = expected(model, model.initial, Call(Kind.GROUP, "create_group", b"x"))
    join = Call(Kind.GROUP, "join_group", b"x", b"m1", pack(None), tenure=7)
    _, joined = expected(model, created, join)
    _, same = expected(model, joined, Call(Kind.GROUP, "lose", b"x", b"m1", None, tenure=6))
    _, left = expected(model, joined, Call(Kind.GROUP, "lose", b"x", b"m1", None, tenure=7))
    assert (same, left) == (joined, created)


def test_losing_ends_the_very_term_and_no_other() -> None:
    model = LeadershipModel()
    _, led = expected(model, None, Call(Kind.LEADERSHIP, "campaign", b"x", b"m1", None, tenure=7))
    _, same = expected(model, led, Call(Kind.LEADERSHIP, "lose", b"x", b"m1", None, tenure=6))
    _, over = expected(model, led, Call(Kind.LEADERSHIP, "lose", b"x", b"m1", None, tenure=7))
    assert (same, over) == (led, None)


def test_a_group_with_members_is_not_deleted(script: Script) -> None:
    script.call(1, "create_group")
    script.call(1, "join_group")
    assert script.call(2, "delete_group") == "GroupNotEmpty"
    assert script.call(1, "leave_group") is None
    assert script.call(2, "delete_group") is None
    assert script.call(2, "delete_group") == "GroupNotCreated"


def test_groups_are_listed_in_order(script: Script) -> None:
    assert script.call(1, "get_groups", b"") == []
    script.call(1, "create_group", b"y")
    script.call(1, "create_group", b"x")
    assert script.call(1, "get_groups", b"") == [b"x", b"y"]


def test_joining_may_create_the_group(script: Script) -> None:
    assert script.call(1, "join_group_create", capabilities=1) is None
    assert script.call(2, "join_group_create", capabilities=2) is None
    assert script.call(2, "join_group_create", capabilities=3) == "MemberAlreadyExist"
    assert script.call(3, "get_members_with_capabilities") == {b"m1": 1, b"m2": 2}


# -- leaderships -------------------------------------------------------------------------


def test_one_member_leads_until_it_stands_down(script: Script) -> None:
    assert script.call(1, "get_leader") is None
    assert script.call(1, "campaign") is True
    assert script.call(1, "campaign") is True
    assert script.call(2, "campaign") is False
    assert script.call(2, "stand_down") is False
    assert script.call(2, "get_leader") == b"m1"
    assert script.call(1, "stand_down") is True
    assert script.call(1, "stand_down") is False
    assert script.call(2, "campaign") is True


# -- everything together -----------------------------------------------------------------


def test_stopping_ends_all_that_a_member_has_and_nothing_else(script: Script) -> None:
    script.call(1, "create_group")
    for client in (1, 2):
        script.call(client, "join_group")
        script.call(client, "acquire", f"lock {client}".encode())
    script.call(1, "campaign")
    assert script.call(1, "stop", b"") is None
    assert script.call(2, "get_members") == [b"m2"]
    assert script.call(2, "get_leader") is None
    assert script.call(3, "acquire", b"lock 1") is True
    assert script.call(3, "acquire", b"lock 2") is False


def test_neutral_operations_change_nothing(script: Script) -> None:
    before = script.state
    assert script.call(1, "heartbeat", b"") is None
    assert script.state == before


def test_a_group_a_lock_and_a_leadership_may_have_one_name(script: Script) -> None:
    assert script.call(1, "acquire") is True
    assert script.call(2, "create_group") is None
    assert script.call(3, "campaign") is True


def test_an_unknown_result_does_what_it_can() -> None:
    model = Coordination()
    create = call_of(asked("create_group", b"x"))
    (created,) = follow(model, model.initial, create, None)
    assert follow(model, created, create, None) == (created,)
    assert follow(model, created, create, Answer()) == ()


@pytest.mark.parametrize("about", ["lock", "shared", "breakable", "group", "leadership", "cas"])
def test_what_observes_leaves_every_reachable_state(about: str) -> None:
    random = Random(about)
    model: Model = Registers() if about == "cas" else Coordination()
    state = model.initial
    for number in range(2_000):
        client = random.randrange(3)
        name, target, arguments = random_step(random, about, 3, number % 5, 2)
        call = call_of(_by(client, name, target, arguments))
        for answer, after in model.steps(state, call):
            if model.observes(call, answer):
                assert after == state
        state = expected(model, state, call)[1]


def _by(client: int, name: str, target: bytes, arguments: dict[str, Any]) -> Operation:
    return asked(name, target, arguments, client=client, member=f"m{client}".encode())


# -- registers ---------------------------------------------------------------------------


def test_registers_read_write_swap_and_append() -> None:
    script = Script(Registers(""))
    assert script.call(1, "read") == ""
    script.call(1, "write", value="a")
    script.call(1, "append", value="b")
    assert script.call(2, "read") == "ab"
    assert script.call(2, "cas", old="a", new="c") is False
    assert script.call(2, "cas", old="ab", new="c") is True
    assert script.call(2, "read") == "c"
    assert script.call(2, "read", b"y") == ""


# -- names -------------------------------------------------------------------------------


def test_every_call_has_a_kind() -> None:
    kinds = {Kind.LOCK: LOCK_CALLS, Kind.GROUP: GROUP_CALLS, Kind.LEADERSHIP: LEADERSHIP_CALLS}
    for kind, names in kinds.items():
        assert {kind_of(name) for name in names} == {kind}


def test_an_operation_that_nobody_knows_is_refused() -> None:
    with pytest.raises(ValueError, match="no model knows the operation 'dance'"):
        kind_of("dance")


@pytest.mark.parametrize("kind", list(Kind))
def test_a_call_that_a_model_does_not_know_is_refused(kind: Kind) -> None:
    model = Coordination()
    with pytest.raises(ValueError, match="'dance'"):
        model.steps(model.initial, Call(kind, "dance", b"x"))
