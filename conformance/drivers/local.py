"""What the drivers whose coordinators meet on one host share: coordinator and lock.

The driver gives the medium. How the coordinators find out who lives, and how a step is
made atomic, is in ``session``; what a step does is in ``registry``.
"""

from __future__ import annotations

import abc
from collections.abc import Iterable, Mapping
from datetime import UTC, datetime
from functools import partial
from typing import Annotated, ClassVar
from urllib.parse import SplitResult

import msgspec

from conformance.coordination import (
    Characteristics,
    Coordinator,
    Deadline,
    DriverOptions,
    Feature,
    Lock,
    Member,
    ToozConnectionError,
    ToozError,
)
from conformance.drivers import registry
from conformance.drivers.bell import Bell
from conformance.drivers.medium import EXCLUSIVE, SHARED, Descriptor, Medium, safe_name
from conformance.drivers.registry import Registry, Stay
from conformance.drivers.session import Session

__all__ = ["LocalCoordinator", "LocalLock", "LocalOptions"]

_LOOK_SECONDS = 0.01
"""After how long at the latest who waits tries again. Nobody rings for a killed holder."""

_ONE_DAY = 86_400.0


class LocalOptions(DriverOptions, frozen=True, kw_only=True):
    """Options of every host-local driver.

    ``timeout``: seconds to wait at most for another process's change to end. Nobody is
    taken for dead because of it.
    """

    timeout: Annotated[float, msgspec.Meta(gt=0, le=_ONE_DAY)] = 10.0


class LocalCoordinator(Coordinator):
    """A coordinator of one host: a session in a medium.

    A membership or leadership belongs to the coordinator that joined or was elected:
    another of the same member's name can neither end nor change it.
    """

    CHARACTERISTICS: tuple[Characteristics, ...] = (
        Characteristics.NON_TIMEOUT_BASED,
        Characteristics.DISTRIBUTED_ACROSS_THREADS,
        Characteristics.DISTRIBUTED_ACROSS_PROCESSES,
        Characteristics.LINEARIZABLE,
        Characteristics.SEQUENTIAL,
        Characteristics.CAUSAL,
        Characteristics.SERIALIZABLE,
    )
    FEATURES: ClassVar[frozenset[Feature]] = frozenset(Feature)
    Options: ClassVar[type[DriverOptions]] = LocalOptions

    _USABLE: ClassVar[str]
    """What the URL must name, for error messages."""

    def __init__(self, member_id: bytes, url: SplitResult, options: LocalOptions) -> None:
        super().__init__(member_id, url, options)
        self._timeout = options.timeout
        self._session: Session | None = None
        self.holding: set[LocalLock] = set()
        """The locks that hold: kept from being collected, which would free them."""

    @property
    def session(self) -> Session:
        """The session; raises ToozError when the coordinator is not started."""
        session = self._session
        if session is None:
            raise ToozError("the coordinator is not started: call start() first")
        return session

    @abc.abstractmethod
    def _medium(self) -> Medium:
        """Return the medium, ready for use."""

    def _start(self) -> None:
        self._session = Session(self._medium(), self._timeout)

    def _stop(self) -> None:
        session, self._session = self.session, None
        session.end()

    def _heartbeat(self) -> float:
        """Nothing expires; look whether the session is still there."""
        self.session.check()
        return self._timeout

    def _forget_parent(self) -> None:
        super()._forget_parent()
        self._session = None
        self.holding.clear()

    # -- groups -----------------------------------------------------------------------

    def _create_group(self, group_id: bytes) -> None:
        self.session.step(partial(registry.create_group, group_id=group_id))

    def _delete_group(self, group_id: bytes) -> None:
        self.session.step(partial(registry.delete_group, group_id=group_id))

    def _get_groups(self) -> Iterable[bytes]:
        return self.session.read().groups

    def _join_group(self, group_id: bytes, capabilities: bytes) -> None:
        session = self.session
        session.step(
            lambda before: registry.join(
                before, group_id, self._member_id, session.token, capabilities, _now()
            )
        )

    def _leave_group(self, group_id: bytes) -> None:
        session = self.session
        session.step(
            lambda before: registry.leave(before, group_id, self._member_id, session.token)
        )

    def _get_members(self, group_id: bytes) -> Mapping[bytes, Member]:
        seen = self.session.read(partial(registry.owners, group_id=group_id))
        return {
            member_id: _member(member_id, stay)
            for member_id, stay in registry.stays(seen, group_id).items()
        }

    def _get_member(self, group_id: bytes, member_id: bytes) -> Member:
        def owner(seen: Registry) -> Iterable[str]:
            return (registry.stay(seen, group_id, member_id).session,)

        seen = self.session.read(owner)
        return _member(member_id, registry.stay(seen, group_id, member_id))

    def _update_capabilities(self, group_id: bytes, capabilities: bytes) -> None:
        session = self.session
        session.step(
            lambda before: registry.update(
                before, group_id, self._member_id, session.token, capabilities, _now()
            )
        )

    # -- leadership -------------------------------------------------------------------

    def _get_leader(self, group_id: bytes) -> bytes | None:
        led = self._leadership(group_id)
        return None if led is None else led.member_id

    def _campaign(self, group_id: bytes) -> object | None:
        session = self.session
        led = self._leadership(group_id)
        if led is None:
            _, after = session.step(
                lambda before: registry.campaign(before, group_id, self._member_id, session.token)
            )
            led = after.leaders[group_id]
        return led.term if led.session == session.token else None

    def _stand_down(self, group_id: bytes) -> bool:
        session = self.session
        led = self._leadership(group_id)
        if led is None or led.session != session.token:
            return False
        before, after = session.step(
            lambda before: registry.stand_down(before, group_id, session.token)
        )
        return after is not before

    def _leadership(self, group_id: bytes) -> registry.Leadership | None:
        seen = self.session.read(partial(registry.owner, group_id=group_id))
        return seen.leaders.get(group_id)

    # -- errors -----------------------------------------------------------------------

    def _translate(self, error: Exception) -> ToozError | None:
        if isinstance(error, OSError):
            return ToozConnectionError(
                f"{self._url.geturl()} cannot be used ({error}): see that it is "
                f"{self._USABLE}, and that no limit of the system is reached"
            )
        return None


def _now() -> datetime:
    return datetime.now(UTC)


def _member(member_id: bytes, stay: Stay) -> Member:
    return Member(member_id, stay.capabilities, stay.incarnation, stay.created_at, stay.updated_at)


class LocalLock(Lock):
    """A lock that is the flock of an object of the medium.

    The kernel frees it when the holder's process ends, and keeps it while that is
    paused. The name leads to the object as long as nobody breaks the lock, so to hold is
    to have the flock of an object that has its name still. The object stays open between
    holds.

    Who waits sleeps until a release rings the object's bell for it, and tries again now and
    then all the same, because a killed holder rings no bell. A blocking flock(2) can be
    given no time, nor be ended by ``stop()``. A named semaphore would leave traces: glibc
    2.36 makes one by way of a file of a random name in /dev/shm, and a kill at that moment
    leaves it there.

    Who comes while others wait joins them without trying, once: else who releases and
    acquires again at once would always be quicker than those who must wake up first.
    """

    def __init__(self, name: bytes, owner: LocalCoordinator) -> None:
        super().__init__(name, owner)
        self._coordinator = owner
        self._object = f"lock.{safe_name(name)}"
        self._opened: Descriptor | None = None
        self._bell: Bell | None = None
        self._holds = False

    def _acquire(self, deadline: Deadline, shared: bool) -> bool:
        try:
            if not self._take(SHARED if shared else EXCLUSIVE, deadline):
                return False
            self._coordinator.holding.add(self)
            self._holds = True
        except BaseException:
            self._give_up()
            raise
        return True

    def _take(self, kind: int, deadline: Deadline) -> bool:
        """Take the flock before the deadline, trying at least once."""
        _, bell = self._open()
        rung = bell.join()
        if rung is None or deadline.expired:
            if self._try(kind):
                return True
            if deadline.expired:
                return False
            _, bell = self._open()
            rung = bell.want()
            if self._try(kind):
                return True
        operation = f"waiting for lock {self._name!r}"
        while not deadline.expired:
            bell.wait(rung, min(_LOOK_SECONDS, deadline.remaining))
            _, bell = self._open()
            rung = bell.want()
            if self._try(kind):
                if kind == SHARED:
                    bell.ring(for_everybody=True)
                return True
            self._coordinator.check_started(operation)
        return False

    def _give_up(self) -> None:
        """After an error, or an interruption at any point: hold nothing."""
        opened = self._opened
        self._drop()
        if opened is not None:
            opened.unlock()

    def _release(self) -> bool:
        opened, bell = self._opened, self._bell
        if opened is None or bell is None:
            return False
        self._holds = False
        opened.unlock()
        bell.ring()
        self._coordinator.holding.discard(self)
        return True

    def _is_held(self) -> bool:
        opened = self._opened
        return self._holds and opened is not None and opened.is_linked()

    def _is_still_owner(self) -> bool:
        opened = self._opened
        return opened is not None and self._coordinator.session.owns_lock(self._object, opened)

    def _break(self) -> bool:
        """Remove all holds.

        One that is just being acquired or released by somebody may count as a hold.
        """
        return self._coordinator.session.break_lock(self._object)

    def retire(self) -> None:
        """Release for good, and close the object."""
        super().retire()
        with self._changed:
            self._leave()

    def _leave(self) -> None:
        """Forget the object; where it held and lost its name, tell whoever broke the lock."""
        if self._holds and self._bell is not None:
            self._bell.leave()
        self._drop()

    def _drop(self) -> None:
        """Forget the object, which closes it as soon as no other thread looks at it."""
        self._holds = False
        self._opened = self._bell = None
        self._coordinator.holding.discard(self)

    # -- trying and waiting -----------------------------------------------------------

    def _open(self) -> tuple[Descriptor, Bell]:
        """Return the object, open, and its bell."""
        opened, bell = self._opened, self._bell
        if opened is None or bell is None:
            opened = self._coordinator.session.open_lock(self._object)
            bell = Bell(opened)
            self._opened, self._bell = opened, bell
        return opened, bell

    def _try(self, kind: int) -> bool:
        """Take the flock; return False when another has it.

        An object that lost its name counts for nothing, whoever has its flock. Only
        holders lock one that has its name, so a refusal means that there is one.
        """
        while True:
            opened, _ = self._open()
            taken = opened.try_flock(kind)
            if opened.is_linked():
                return taken
            self._leave()
