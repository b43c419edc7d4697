"""What the coordinators of one host know together changes only as the contract says."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

import msgspec
import pytest

from conformance.coordination import (
    GroupAlreadyExist,
    GroupNotCreated,
    GroupNotEmpty,
    MemberAlreadyExist,
    MemberNotJoined,
)
from conformance.drivers import registry
from conformance.drivers.registry import Registry

NOW = datetime(2026, 1, 2, 3, 4, 5, 678901, tzinfo=UTC)
LATER = NOW + timedelta(seconds=1)
GROUP = b"group"


def with_group() -> Registry:
    """A registry with two sessions, s and t, and an empty group."""
    entered = registry.enter(registry.enter(Registry(), "s"), "t")
    return registry.create_group(entered, GROUP)


def joined(member_id: bytes = b"m", session: str = "s") -> Registry:
    return registry.join(with_group(), GROUP, member_id, session, b"caps", NOW)


def test_a_document_of_a_registry_decodes_to_an_equal_one() -> None:
    led = registry.campaign(joined(b"\xff\0"), b"\0\xfe", b"\xff", "t")
    assert registry.decode(registry.encode(led)) == led


@pytest.mark.parametrize("document", [b"", b"\xc1", b"torn", registry.encode(Registry())[:-1]])
def test_what_is_no_registry_is_refused(document: bytes) -> None:
    with pytest.raises(msgspec.DecodeError):
        registry.decode(document)


def test_a_registry_of_another_format_is_refused() -> None:
    with pytest.raises(msgspec.ValidationError):
        registry.decode(msgspec.msgpack.encode({"format": 2}))


def test_a_group_is_created_once() -> None:
    with pytest.raises(GroupAlreadyExist):
        registry.create_group(with_group(), GROUP)


def test_a_group_without_members_is_deleted() -> None:
    assert registry.delete_group(with_group(), GROUP).groups == {}


def test_a_group_with_members_is_not_deleted() -> None:
    with pytest.raises(GroupNotEmpty):
        registry.delete_group(joined(), GROUP)


def test_every_change_of_an_unknown_group_is_refused() -> None:
    empty = registry.enter(Registry(), "s")
    for change in (
        lambda: registry.delete_group(empty, GROUP),
        lambda: registry.join(empty, GROUP, b"m", "s", b"", NOW),
        lambda: registry.leave(empty, GROUP, b"m", "s"),
        lambda: registry.update(empty, GROUP, b"m", "s", b"", NOW),
        lambda: registry.stays(empty, GROUP),
        lambda: registry.stay(empty, GROUP, b"m"),
        lambda: registry.owners(empty, GROUP),
    ):
        with pytest.raises(GroupNotCreated):
            change()


def test_a_stay_holds_what_was_joined_with() -> None:
    stay = registry.stay(joined(), GROUP, b"m")
    assert (stay.session, stay.capabilities) == ("s", b"caps")
    assert stay.created_at == stay.updated_at == NOW


@pytest.mark.parametrize("session", ["s", "t"])
def test_a_member_joins_once_whoever_it_is(session: str) -> None:
    with pytest.raises(MemberAlreadyExist):
        registry.join(joined(), GROUP, b"m", session, b"", NOW)


def test_each_stay_is_numbered_higher_than_all_before() -> None:
    first = joined(b"a")
    second = registry.join(first, GROUP, b"b", "t", b"", NOW)
    left = registry.leave(second, GROUP, b"b", "t")
    again = registry.join(left, GROUP, b"b", "t", b"", NOW)
    numbers = [
        registry.stay(state, GROUP, member).incarnation
        for state, member in ((first, b"a"), (second, b"b"), (again, b"b"))
    ]
    assert numbers == sorted(set(numbers))


def test_a_member_that_left_is_gone() -> None:
    assert registry.stays(registry.leave(joined(), GROUP, b"m", "s"), GROUP) == {}


def test_an_update_replaces_capabilities_and_keeps_the_stay() -> None:
    before = registry.stay(joined(), GROUP, b"m")
    updated = registry.update(joined(), GROUP, b"m", "s", b"new", LATER)
    after = registry.stay(updated, GROUP, b"m")
    assert (after.capabilities, after.updated_at) == (b"new", LATER)
    assert (after.incarnation, after.created_at) == (before.incarnation, NOW)


def test_a_stay_can_be_ended_or_changed_by_its_own_session_only() -> None:
    with pytest.raises(MemberNotJoined):
        registry.leave(joined(), GROUP, b"m", "t")
    with pytest.raises(MemberNotJoined):
        registry.update(joined(), GROUP, b"m", "t", b"", NOW)


def test_a_member_that_has_not_joined_can_do_neither() -> None:
    with pytest.raises(MemberNotJoined):
        registry.leave(with_group(), GROUP, b"m", "s")
    with pytest.raises(MemberNotJoined):
        registry.stay(with_group(), GROUP, b"m")


def test_the_first_to_campaign_leads() -> None:
    state = registry.campaign(with_group(), GROUP, b"m", "s")
    assert registry.campaign(state, GROUP, b"n", "t") is state
    assert registry.campaign(state, GROUP, b"m", "s") is state
    assert state.leaders[GROUP].member_id == b"m"
    assert registry.owner(state, GROUP) == ("s",)


def test_every_term_has_a_number_of_its_own() -> None:
    state = with_group()
    terms = []
    for group_id in (GROUP, b"other", GROUP, GROUP):
        state = registry.campaign(state, group_id, b"m", "s")
        terms.append(state.leaders[group_id].term)
        state = registry.stand_down(state, group_id, "s")
    assert len(set(terms)) == len(terms)


def test_only_the_leader_stands_down() -> None:
    state = registry.campaign(with_group(), GROUP, b"m", "s")
    assert registry.stand_down(state, GROUP, "t") is state
    assert registry.stand_down(state, b"other", "s") is state
    assert registry.stand_down(state, GROUP, "s").leaders == {}
    assert registry.owner(registry.stand_down(state, GROUP, "s"), GROUP) == ()


def test_deleting_a_group_keeps_its_leader() -> None:
    state = registry.campaign(with_group(), GROUP, b"m", "s")
    assert registry.delete_group(state, GROUP).leaders == state.leaders


def test_without_a_session_nothing_of_it_is_left() -> None:
    state = registry.join(joined(b"a", "s"), GROUP, b"b", "t", b"", NOW)
    state = registry.campaign(state, GROUP, b"a", "s")
    rest = registry.without(state, {"s"})
    assert rest.sessions == {"t"}
    assert set(registry.stays(rest, GROUP)) == {b"b"}
    assert rest.leaders == {}


def test_without_an_unknown_session_nothing_changes() -> None:
    state = joined()
    assert registry.without(state, {"unknown"}) is state


def test_numbers_go_on_when_sessions_end() -> None:
    state = joined()
    assert registry.without(state, {"s", "t"}).counter == state.counter


def test_a_registry_is_idle_without_sessions_and_groups() -> None:
    assert registry.is_idle(Registry(counter=7))
    assert not registry.is_idle(registry.enter(Registry(), "s"))
    assert not registry.is_idle(registry.create_group(Registry(), GROUP))


def test_no_change_touches_the_registry_it_starts_from() -> None:
    state = registry.campaign(joined(), GROUP, b"m", "s")
    before = registry.encode(state)
    registry.create_group(state, b"another")
    registry.join(state, GROUP, b"n", "t", b"", NOW)
    registry.leave(state, GROUP, b"m", "s")
    registry.update(state, GROUP, b"m", "s", b"new", LATER)
    registry.stand_down(state, GROUP, "s")
    registry.without(state, {"s"})
    assert registry.encode(state) == before
