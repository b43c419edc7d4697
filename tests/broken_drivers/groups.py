"""Groups: updates lost, steps that are two, wrong errors, capabilities that change."""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import TypeVar

import msgspec

from conformance.coordination import (
    CoordinatorResult,
    GroupNotCreated,
    GroupNotEmpty,
    Member,
    MemberNotJoined,
    NotImplemented,
)
from conformance.drivers import registry
from conformance.drivers.file import FileDriver
from conformance.drivers.local import _now
from conformance.drivers.registry import Registry

from .broken import THREADS, WINDOW, meant_for

T = TypeVar("T")


@meant_for({"test_no_update_is_lost": THREADS})
class LosesUpdates(FileDriver):
    """Reads all members, changes its own and writes all: one key for a group, without CAS."""

    def _update_capabilities(self, group_id: bytes, capabilities: bytes) -> None:
        session = self.session
        seen = session.read()
        changed = registry.update(
            seen, group_id, self._member_id, session.token, capabilities, _now()
        )
        time.sleep(WINDOW)
        session.step(lambda before: msgspec.structs.replace(before, groups=changed.groups))


@meant_for({"test_deleting_races_with_joining": THREADS})
class DeletesUnderMembers(FileDriver):
    """Looks whether a group is empty, then deletes it: two steps, as upstream's drivers."""

    def _delete_group(self, group_id: bytes) -> None:
        if registry.stays(self.session.read(), group_id):
            raise GroupNotEmpty(group_id)
        time.sleep(WINDOW)

        def remove(before: Registry) -> Registry:
            registry.stays(before, group_id)
            groups = {g: members for g, members in before.groups.items() if g != group_id}
            return msgspec.structs.replace(before, groups=groups)

        self.session.step(remove)


@meant_for({"test_every_method_answers_as_documented": "contract"})
class LetsForeignErrorsOut(FileDriver):
    """Lets a KeyError out of ``get()``, as drivers do that translate around the call only."""

    def _get_member(self, group_id: bytes, member_id: bytes) -> Member:
        return self._get_members(group_id)[member_id]

    def _submit(
        self, operation: str, call: Callable[..., T], *arguments: object
    ) -> CoordinatorResult[T]:
        self.check_started(operation)
        assert self._executor is not None
        return CoordinatorResult(self._executor.submit(call, *arguments), operation)


@meant_for({"test_every_method_answers_as_documented": "contract"})
class NamesTheWrongError(FileDriver):
    """Says that the member is not joined where there is no group.

    Drivers that delete a member's key without looking at the group's.
    """

    def _leave_group(self, group_id: bytes) -> None:
        try:
            super()._leave_group(group_id)
        except GroupNotCreated as error:
            raise MemberNotJoined(group_id, self._member_id) from error


@meant_for({"test_groups_are_explained": THREADS})
class LacksWhatItPromises(FileDriver):
    """Has no update of capabilities though its features say so, as upstream's file driver."""

    def _update_capabilities(self, group_id: bytes, capabilities: bytes) -> None:
        raise NotImplemented("capabilities cannot be updated")  # noqa: F901 - the API's own


@meant_for({"test_capabilities_come_back_equal": "hostile input"})
class SpeaksJson(FileDriver):
    """Stores capabilities as JSON, which has no bytes."""

    def _join_group(self, group_id: bytes, capabilities: bytes) -> None:
        super()._join_group(group_id, _through_json(capabilities))

    def _update_capabilities(self, group_id: bytes, capabilities: bytes) -> None:
        super()._update_capabilities(group_id, _through_json(capabilities))


@meant_for({"test_capabilities_come_back_equal": "hostile input"})
class CutsCapabilities(FileDriver):
    """Shows nothing of capabilities above a size, as memcached refuses values over a MiB."""

    def _update_capabilities(self, group_id: bytes, capabilities: bytes) -> None:
        kept = capabilities if len(capabilities) < 2**20 else msgspec.msgpack.encode(None)
        super()._update_capabilities(group_id, kept)


def _through_json(packed: bytes) -> bytes:
    text = json.dumps(msgspec.msgpack.decode(packed), default=lambda raw: raw.decode("latin-1"))
    return msgspec.msgpack.encode(json.loads(text))
