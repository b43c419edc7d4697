"""The error family of the coordination API.

Every failure that a driver reports is a :class:`ToozError`. Errors of a client library
or of the operating system never reach the caller raw: they are chained as the
``__cause__`` of one of these. Wrong argument types and values are the caller's own
mistakes and are plain :class:`TypeError` and :class:`ValueError`.

The names are those of OpenStack tooz 9.1.0 (``tooz.coordination``), so that code written
for it reads the same here.
"""

from __future__ import annotations

__all__ = [
    "GroupAlreadyExist",
    "GroupNotCreated",
    "GroupNotEmpty",
    "LockAcquireFailed",
    "MemberAlreadyExist",
    "MemberNotJoined",
    "NotImplemented",
    "OperationTimedOut",
    "SerializationError",
    "ToozConnectionError",
    "ToozDriverChosenPoorly",
    "ToozError",
    "WatchCallbackNotFound",
]


class ToozError(Exception):
    """Something went wrong in a driver or on its server; the base of the family."""


class ToozConnectionError(ToozError):
    """The server cannot be reached; whether a request took effect is unknown."""


class OperationTimedOut(ToozError):
    """No answer came in time; whether the operation took effect is unknown."""


class NotImplemented(ToozError, NotImplementedError):  # noqa: A001 - upstream's name
    """The driver does not have this part of the API; see its ``FEATURES``."""


class ToozDriverChosenPoorly(ToozError):
    """The driver behind a URL does not claim a characteristic that was asked for."""


class SerializationError(ToozError):
    """Capabilities cannot be stored so that they come back equal."""


class LockAcquireFailed(ToozError):
    """A lock used as a context manager could not be acquired."""


class _GroupError(ToozError):
    """An error about one group, kept as :attr:`group_id`."""

    said = "{group!r}"

    def __init__(self, group_id: bytes) -> None:
        super().__init__(self.said.format(group=group_id))
        self.group_id = group_id

    def __reduce__(self) -> tuple[type[_GroupError], tuple[bytes]]:
        return type(self), (self.group_id,)


class GroupNotCreated(_GroupError):
    """The group does not exist."""

    said = "group {group!r} does not exist: create it with create_group() first"


class GroupAlreadyExist(_GroupError):
    """The group exists already."""

    said = "group {group!r} exists already"


class GroupNotEmpty(_GroupError):
    """The group still has members, so it cannot be deleted."""

    said = "group {group!r} has members: they must leave before it can be deleted"


class _MemberError(ToozError):
    """An error about a member of a group: :attr:`group_id`, :attr:`member_id`."""

    said = "{member!r} {group!r}"

    def __init__(self, group_id: bytes, member_id: bytes) -> None:
        super().__init__(self.said.format(group=group_id, member=member_id))
        self.group_id = group_id
        self.member_id = member_id

    def __reduce__(self) -> tuple[type[_MemberError], tuple[bytes, bytes]]:
        return type(self), (self.group_id, self.member_id)


class MemberAlreadyExist(_MemberError):
    """A member of this name has joined the group already."""

    said = "member {member!r} has joined group {group!r} already"


class MemberNotJoined(_MemberError):
    """No member of this name is in the group."""

    said = "member {member!r} is not in group {group!r}"


class WatchCallbackNotFound(ToozError):
    """The callback to be removed was not watching the group."""

    def __init__(self, group_id: bytes, callback: object) -> None:
        super().__init__(f"callback {callback!r} does not watch group {group_id!r}")
        self.group_id = group_id
        self.callback = callback

    def __reduce__(self) -> tuple[type[WatchCallbackNotFound], tuple[bytes, object]]:
        return type(self), (self.group_id, self.callback)
