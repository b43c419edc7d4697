"""Carries out steps on a coordinator, for one client, and says what came of each.

Every method of the API has one function here, which calls it and brings its result into
the form that histories keep: sets as sorted lists, events as tuples. The names of locks,
groups and members get the trial's prefix on their way in and lose it on their way out,
so that trials on one server never meet.
"""

from __future__ import annotations

import os
import threading
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import msgspec

from conformance import coordination as api
from conformance.coordination import Coordinator, Event, Lock
from conformance.history import FOREIGN, Outcome, successor
from conformance.workload.journal import Journal
from conformance.workload.plan import PATIENCE, Step

__all__ = ["Party", "Performer"]

_CERTAIN = (
    api.GroupAlreadyExist,
    api.GroupNotCreated,
    api.GroupNotEmpty,
    api.LockAcquireFailed,
    api.MemberAlreadyExist,
    api.MemberNotJoined,
    api.NotImplemented,
    api.SerializationError,
    api.WatchCallbackNotFound,
)
"""Errors that say that the operation did not happen."""


_AGAIN_SECONDS = 0.02
"""How long a client idles before it makes a call again that did not succeed."""


class Party:
    """The clients that share one coordinator: its lock objects, and names made unique.

    :param mark: what is put before each name, or behind it, to keep trials apart
    """

    def __init__(self, coordinator: Coordinator, mark: bytes, at_end: bool) -> None:
        self.coordinator = coordinator
        self._mark = mark
        self._at_end = at_end
        self._locks: dict[tuple[bytes, object], Lock] = {}
        self._making = threading.Lock()

    def lock(self, name: bytes, holder: object) -> Lock:
        """Return the lock object of this name that belongs to ``holder``."""
        with self._making:
            key = (name, holder)
            if key not in self._locks:
                self._locks[key] = self.coordinator.get_lock(self.outer(name))
            return self._locks[key]

    def outer(self, name: bytes) -> bytes:
        """Return the name as the backend knows it."""
        return name + self._mark if self._at_end else self._mark + name

    def inner(self, name: bytes) -> bytes:
        """Return the name as the plan knows it."""
        return name.removesuffix(self._mark) if self._at_end else name.removeprefix(self._mark)

    def is_own(self, name: bytes) -> bool:
        """Whether a name belongs to this trial."""
        return name.endswith(self._mark) if self._at_end else name.startswith(self._mark)


class Performer:
    """Carries out the steps of one client; used by one thread."""

    def __init__(self, client: int, member: bytes, party: Party, journal: Journal) -> None:
        self.client = client
        self.member = member
        self.party = party
        self._journal = journal
        self._events: list[tuple[str, bytes, bytes]] = []
        self.heard: list[tuple[str, bytes, bytes, int]] = []
        """Every event that was ever delivered, with the monotonic nanoseconds at which it was."""
        self._callbacks: dict[tuple[str, bytes], Callable[[Event], None]] = {}

    def perform(self, step: Step) -> None:
        """Carry out a step and write it down; one that repeats others writes each down."""
        if step.pause:
            time.sleep(step.pause)
        if step.name == "cycle":
            self._cycle(step)
        elif step.name == "until":
            self._until(step)
        else:
            self._call(step)

    def _cycle(self, step: Step) -> None:
        """Acquire, hold for ``hold`` seconds and release a lock, for ``seconds`` in all.

        Each acquire waits for as long as is left, so a client that starves ends without a
        grant, on time; ``for ever`` where the arguments say so, which is until the others
        have ended. It ends early when a call fails.
        """
        for_ever = step.arguments.get("for ever", False)
        end = time.monotonic() + step.arguments["seconds"]
        while (left := end - time.monotonic()) > 0:
            waiting = {"blocking": True if for_ever else left}
            outcome, granted = self._call(Step("acquire", step.target, waiting))
            if outcome is Outcome.OK and granted is True:
                time.sleep(step.arguments["hold"])
                outcome, _ = self._call(Step("release", step.target))
            if outcome is not Outcome.OK:
                return

    def _until(self, step: Step) -> None:
        """Make one call again and again until it succeeds, for ``seconds`` at most."""
        once = Step(step.arguments["name"], step.target)
        end = time.monotonic() + step.arguments["seconds"]
        while time.monotonic() < end:
            outcome, value = self._call(once)
            if outcome is Outcome.OK and value is not False:
                return
            time.sleep(_AGAIN_SECONDS)

    def _call(self, step: Step) -> tuple[Outcome, object]:
        method = _METHODS[step.name]
        self._journal.intend(self.client, step, self.member)
        value, error, outcome = None, None, Outcome.OK
        call = time.monotonic_ns()
        try:
            value = method(self, step)
            end = time.monotonic_ns()
        except Exception as caught:
            end = time.monotonic_ns()
            outcome, error = classify(caught, self.coordinator.is_started)
        self._journal.conclude(call, end, outcome, value, error)
        if outcome is Outcome.INFO:
            self.client = successor(self.client)
        return outcome, value

    @property
    def coordinator(self) -> Coordinator:
        """The coordinator through which this client acts."""
        return self.party.coordinator

    def lock(self, step: Step) -> Lock:
        """Return this client's lock object, or the shared one that the step names."""
        shared = step.arguments.get("object")
        return self.party.lock(step.target, self.client if shared is None else ("shared", shared))

    def note(self, kind: str, linger: float = 0.0) -> Callable[[Event], None]:
        """Return a callback that keeps an event until it is asked for.

        :param linger: seconds that the callback takes
        """

        def keep(event: Event) -> None:
            moment = time.monotonic_ns()
            group = self.party.inner(event.group_id)
            told = (kind, group, self.party.inner(event.member_id))
            self.heard.append((*told, moment))
            self._events.append(told)
            if linger:
                time.sleep(linger)

        return keep

    def events(self, *kinds: str) -> list[tuple[str, bytes, bytes]]:
        """Return the events of these kinds that are new: (kind, group, member)."""
        found = [event for event in self._events if event[0] in kinds]
        self._events = [event for event in self._events if event[0] not in kinds]
        return found

    def watch(self, kind: str, group: bytes, linger: float = 0.0) -> Callable[[Event], None]:
        """Return the callback for a group, made if need be.

        :param linger: seconds that it takes
        """
        return self._callbacks.setdefault((kind, group), self.note(kind, linger))


def classify(error: Exception, started: bool) -> tuple[Outcome, str]:
    """Return what an exception says about the operation, and its name for the history.

    :param started: whether the coordinator was started; one that is not does nothing
    """
    name = type(error).__name__
    if not isinstance(error, api.ToozError):
        return Outcome.INFO, f"{FOREIGN}{name}: {error}"
    if isinstance(error, _CERTAIN) or (not started and type(error) is api.ToozError):
        return Outcome.FAIL, name
    if isinstance(error, api.OperationTimedOut | api.ToozConnectionError):
        return Outcome.INFO, name
    return Outcome.INFO, f"{name}: {error}"


def _acquire(performer: Performer, step: Step) -> object:
    wanted = {key: step.arguments[key] for key in ("blocking", "shared") if key in step.arguments}
    return performer.lock(step).acquire(**wanted)


def _group_call(name: str) -> Callable[[Performer, Step], object]:
    def call(performer: Performer, step: Step) -> object:
        arguments: list[Any] = [performer.party.outer(step.target)]
        if "member" in step.arguments:
            arguments.append(performer.party.outer(step.arguments["member"]))
        if "capabilities" in step.arguments:
            arguments.append(step.arguments["capabilities"])
        return getattr(performer.coordinator, name)(*arguments).get(PATIENCE)

    return call


def _get_members(performer: Performer, step: Step) -> object:
    members = performer.coordinator.get_members(performer.party.outer(step.target))
    return sorted(performer.party.inner(name) for name in members.get(PATIENCE))


def _get_members_with_capabilities(performer: Performer, step: Step) -> object:
    read = performer.coordinator.get_members_with_capabilities(performer.party.outer(step.target))
    return {performer.party.inner(name): found for name, found in read.get(PATIENCE).items()}


def _get_leader(performer: Performer, step: Step) -> bytes | None:
    leader = performer.coordinator.get_leader(performer.party.outer(step.target)).get(PATIENCE)
    return None if leader is None else performer.party.inner(leader)


def _get_groups(performer: Performer, step: Step) -> object:
    party = performer.party
    names = performer.coordinator.get_groups().get(PATIENCE)
    return sorted(party.inner(name) for name in names if party.is_own(name))


def _campaign(performer: Performer, step: Step) -> bool:
    """Stand for election; say whether this member leads afterwards."""
    if ("elected", step.target, performer.member) in _run_elections(performer, step):
        return True
    return _get_leader(performer, step) == performer.member


def _run_elections(performer: Performer, step: Step) -> list[tuple[str, bytes, bytes]]:
    """Stand for election in this group alone; return what was reported.

    A coordinator stands in every group that it watches, so the watch ends with the call.
    """
    group = performer.party.outer(step.target)
    callback = performer.watch("elected", group)
    performer.coordinator.watch_elected_as_leader(group, callback)
    try:
        performer.coordinator.run_elect_coordinator()
    finally:
        performer.coordinator.unwatch_elected_as_leader(group, callback)
    return performer.events("elected")


def _stand_down(performer: Performer, step: Step) -> object:
    return performer.coordinator.stand_down_group_leader(performer.party.outer(step.target))


def _watch(performer: Performer, step: Step) -> None:
    """Watch a group's joins and leaves; ``linger`` are the seconds that a callback takes."""
    group, linger = performer.party.outer(step.target), step.arguments.get("linger", 0.0)
    performer.coordinator.watch_join_group(group, performer.watch("join", group, linger))
    performer.coordinator.watch_leave_group(group, performer.watch("leave", group, linger))


def _watch_elected(performer: Performer, step: Step) -> None:
    """Stand for election in a group from now on, whenever watchers run."""
    group, linger = performer.party.outer(step.target), step.arguments.get("linger", 0.0)
    callback = performer.watch("elected", group, linger)
    performer.coordinator.watch_elected_as_leader(group, callback)


def _unwatch(performer: Performer, step: Step) -> None:
    group = performer.party.outer(step.target)
    performer.coordinator.unwatch_join_group(group, performer.watch("join", group))
    performer.coordinator.unwatch_leave_group(group, performer.watch("leave", group))


def _run_watchers(performer: Performer, step: Step) -> object:
    """Look at all that is watched, however long that takes: after a time-out some is left out."""
    performer.coordinator.run_watchers()
    return performer.events("join", "leave", "elected")


def _enter(performer: Performer, step: Step) -> bool:
    """Use the lock as a context manager, without waiting; say that it was held inside."""
    with performer.lock(step)(blocking=False) as lock:
        return lock.acquired


def _join_oddly(performer: Performer, step: Step) -> object:
    """Join with capabilities that cannot be stored."""
    group = performer.party.outer(step.target)
    return performer.coordinator.join_group(group, {"odd": object()}).get(PATIENCE)


def _start_again(performer: Performer, step: Step) -> str | None:
    """Start a coordinator that is started; return the error that it owes."""
    try:
        performer.coordinator.start()
    except api.ToozError as error:
        return type(error).__name__
    return None


def _measure(performer: Performer, step: Step) -> dict[str, int]:
    """Count what this process has open."""
    descriptors = sum(1 for _ in Path("/proc/self/fd").iterdir())
    return {"threads": threading.active_count(), "descriptors": descriptors}


def _fork(performer: Performer, step: Step) -> dict[str, object]:
    """Fork; return what the child makes of what it inherited.

    The child lives on for some seconds, doing nothing, and ends without any clean-up. An
    exception must not leave it: this process would go on twice.
    """
    lock = performer.lock(step)
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            report = {name: getattr(lock, name) for name in step.arguments["asked"]}
            report["is_started"] = performer.coordinator.is_started
            os.write(writing, msgspec.msgpack.encode(report))
            os.close(writing)
            time.sleep(step.arguments["linger"])
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as pipe:
        told = pipe.read()
    threading.Thread(target=os.waitpid, args=(child, 0), daemon=True).start()
    if not told:
        raise RuntimeError("the forked child ended without a word")
    answer: dict[str, object] = msgspec.msgpack.decode(told)
    return answer


def _idle(performer: Performer, step: Step) -> None:
    """Do nothing for a while, without a sign of life."""
    time.sleep(step.arguments["seconds"])


def _join_create(performer: Performer, step: Step) -> None:
    performer.coordinator.join_group_create(
        performer.party.outer(step.target), step.arguments.get("capabilities")
    )


_METHODS: dict[str, Callable[[Performer, Step], object]] = {
    "acquire": _acquire,
    "release": lambda p, s: p.lock(s).release(),
    "acquired": lambda p, s: p.lock(s).acquired,
    "is_still_owner": lambda p, s: p.lock(s).is_still_owner(),
    "lock_heartbeat": lambda p, s: p.lock(s).heartbeat(),
    "break_": lambda p, s: p.lock(s).break_(),
    "get_groups": _get_groups,
    "get_members": _get_members,
    "get_members_with_capabilities": _get_members_with_capabilities,
    "get_leader": _get_leader,
    "campaign": _campaign,
    "run_elections": _run_elections,
    "stand_down": _stand_down,
    "watch": _watch,
    "watch_elected": _watch_elected,
    "heard": lambda p, s: p.heard,
    "unwatch": _unwatch,
    "run_watchers": _run_watchers,
    "join_group_create": _join_create,
    "heartbeat": lambda p, s: p.coordinator.heartbeat(),
    "start": lambda p, s: p.coordinator.start(start_heart=s.arguments.get("heart", False)),
    "start_again": _start_again,
    "stop": lambda p, s: p.coordinator.stop(),
    "is_started": lambda p, s: p.coordinator.is_started,
    "enter": _enter,
    "join_oddly": _join_oddly,
    "measure": _measure,
    "fork": _fork,
    "idle": _idle,
} | {
    name: _group_call(name)
    for name in (
        "create_group",
        "delete_group",
        "join_group",
        "leave_group",
        "get_member_capabilities",
        "get_member_info",
        "update_capabilities",
    )
}
