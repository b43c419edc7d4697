"""The lock on ZooKeeper: a queue of ephemeral sequence nodes, exclusive and shared.

The recipe is that of "ZooKeeper Recipes and Solutions" 3.8, "Locks" and "Shared Locks":
each contender makes a node and waits for the nearest one before it that excludes it, so
that a release wakes one waiter. Four things are added, so that a lock object tells the
truth:

- *The first in the queue holds*, whether its client knows it yet or not. So a contender
  that gives up may do so only while another is first: it removes its node in a
  transaction which requires that the first one's still is there. Else it holds. A refusal
  therefore always means that somebody held the lock at that moment, and the nodes of
  contenders about to give up never keep anyone from a free lock.
- *A shared try is not refused because of waiters*: where the first in the queue holds
  shared, it takes a place beside that one, in a transaction which requires that it still
  is there. Waiting for a shared lock is fair: behind the exclusive waiters.
- *Each contender has a name of its own in its node's*, so that the node is found again
  when the reply to its creation was lost.
- *An idle lock has no node at all*: the last to leave removes the queue.

Round trips (requests that are sent together count once): 1 to acquire a free lock, with 2
requests, and 1 to release it, with 1 request; that is the least that can be. To be refused
takes 2. Each takes 1 more where an object finds others competing that were not there when
it last looked. A hand-over takes none from the moment at which the waiter is told that who
held is gone, and 1 where who held did so shared.
"""

from __future__ import annotations

import re
import threading
import uuid
from collections.abc import Iterable
from typing import NamedTuple

from kazoo.exceptions import NodeExistsError, NoNodeError, NotEmptyError
from kazoo.protocol.states import EventType, WatchedEvent

from conformance.drivers._zookeeper_session import Session
from conformance.locking import Deadline, Lock, Owner

__all__ = ["ZookeeperLock"]

_RECHECK_SECONDS = 0.25
"""How often a waiter looks whether its coordinator was stopped; all else wakes it."""

_NODE = re.compile("([xs])-([0-9a-f]{32})-([0-9]{10})")
"""The name of a contender's node: exclusive or shared, the contender, its position."""


class Place(NamedTuple):
    """A contender's place in the queue of a lock; places sort as they are served."""

    position: int
    contender: str
    shared: bool

    @property
    def node(self) -> str:
        """The name of the node of this place."""
        return f"{_prefix(self.contender, self.shared)}{self.position:010d}"

    def beside(self, holder: Place) -> Place:
        """Return the place of this contender next to a shared holder."""
        return self._replace(position=holder.position)


class ZookeeperLock(Lock):
    """A lock whose contenders queue below one node.

    :param name: the lock's name
    :param owner: the coordinator that makes it
    :param session: through which it is held
    :param queue: the path of the node below which its contenders queue
    """

    def __init__(self, name: bytes, owner: Owner, session: Session, queue: str) -> None:
        super().__init__(name, owner)
        self._session = session
        self._queue = queue
        self._held: Place | None = None
        self._contended = False
        """Whether others were in the queue when it was last seen: a guess, no more."""
        self._entered_in = session.number
        """In which session the node now in the queue was made."""
        self._woken = threading.Event()
        self._ended: str | None = None
        """The path of the node whose end was told last."""

    def _acquire(self, deadline: Deadline, shared: bool) -> bool:
        session, contender = self._session, uuid.uuid4().hex
        try:
            place = self._compete(contender, shared, deadline)
            if place is None:
                return False
            session.hold(contender, self._path(place), self._name, self._entered_in)
        except BaseException:
            session.abandon(contender, self._queue)
            raise
        self._held = place
        return True

    def _release(self) -> bool:
        place, self._held = self._held, None
        if place is None:
            return False
        self._session.let_go(place.contender)
        try:
            return self._remove(place)
        except BaseException:
            self._session.abandon(place.contender, self._queue)
            raise

    def _is_held(self) -> bool:
        place = self._held
        return place is not None and self._session.holds(place.contender)

    def _is_still_owner(self) -> bool:
        place = self._held
        if place is None:
            return False
        if self._session.confirm(self._path(place)):
            return True
        self._session.let_go(place.contender)
        return False

    def _break(self) -> bool:
        broken: set[int] = set()
        self._session.client.sync_async(self._queue)  # lest a holder be overlooked
        while True:
            queue = self._look()
            # Who took a place beside a holder that is broken goes with it.
            doomed = [
                place
                for place in queue
                if place.position in broken or not (broken or _obstacle(place, queue))
            ]
            if not doomed:
                self._session.client.delete_async(self._queue)  # refused while others compete
                return bool(broken)
            change = self._session.client.transaction()
            for place in doomed:
                change.delete(self._path(place))
            try:
                self._session.commit(change)
            except NoNodeError:
                continue
            broken |= {place.position for place in doomed}

    def _drop(self) -> None:
        self._held = None

    # -- competing ----------------------------------------------------------------------

    def _compete(self, contender: str, shared: bool, deadline: Deadline) -> Place | None:
        """Queue until the lock is ours; None when it was not in time, and no node is left."""
        while True:
            if deadline.expired and self._contended and self._is_taken(shared):
                return None
            mine, queue = self._queue_up(contender, shared)
            while mine in queue:
                obstacle = _obstacle(mine, queue)
                if obstacle is None:
                    return mine
                if deadline.expired:
                    return self._withdraw(mine, queue)
                if self._wait_for_end(obstacle, deadline) and self._is_next(obstacle, queue):
                    return mine
                queue = self._look()
            if not self._is_outdated():
                return mine

    def _is_taken(self, shared: bool) -> bool:
        """Whether the lock is held so that it cannot be had; asked without queueing."""
        queue = self._look()
        if not queue or (shared and queue[0].shared):
            return False
        return self._session.confirm(self._path(queue[0]))

    def _queue_up(self, contender: str, shared: bool) -> tuple[Place, list[Place]]:
        """Make a node in the queue, and the queue if need be; return it and the queue.

        Whether there is a queue is guessed from the last look, and the listing sent along.
        """
        client, prefix = self._session.client, f"{self._queue}/{_prefix(contender, shared)}"
        while True:
            self._entered_in = self._session.number
            guess = self._contended
            change = client.transaction()
            if not guess:
                change.create(self._queue)
            change.create(prefix, ephemeral=True, sequence=True)
            committed = change.commit_async()
            listing = client.get_children_async(self._queue)
            try:
                path = self._session.results(committed)[-1]
            except NodeExistsError:
                self._contended = True
            except NoNodeError:
                if not guess:
                    raise  # not even the node above the queue is there
                self._contended = False
            else:
                (names,) = self._session.seen(listing)
                (mine,) = _places([path.rpartition("/")[2]])
                return mine, self._note(_places(names or ()))

    def _wait_for_end(self, place: Place, deadline: Deadline) -> bool:
        """Wait until a node is gone, or the deadline, or something else is to be seen.

        Say whether it is gone for certain.
        """
        self._woken.clear()
        self._ended = None
        # One watcher for all waits: kazoo keeps each different one until its node goes.
        path = self._path(place)
        (found,) = self._session.read(lambda client: [client.get_async(path, watch=self._wake)])
        if found is None:
            return True
        while not self._woken.wait(min(deadline.remaining, _RECHECK_SECONDS)):
            self._owner.check_started(f"waiting for lock {self._name!r}")
            if deadline.expired:
                return False
        return self._ended == path

    def _wake(self, event: WatchedEvent) -> None:
        if event.type == EventType.DELETED:
            self._ended = event.path
        self._woken.set()

    def _is_next(self, gone: Place, queue: list[Place]) -> bool:
        """Whether the lock is ours for certain, as a place in our way is gone.

        It is if that one was the first, and exclusive: beside it there can be no other, and
        others come last only. But our own node must be there still, so a session that may be
        over does not do: who was paused for long hears of old ends too.
        """
        if gone.shared or gone != queue[0] or self._is_outdated():
            return False
        return self._session.lasts

    def _withdraw(self, mine: Place, queue: list[Place]) -> Place | None:
        """Leave the queue, unless the lock is ours; return our place if it is."""
        client = self._session.client
        while mine in queue:
            if _obstacle(mine, queue) is None:
                return mine
            first = queue[0]
            beside = mine.beside(first) if mine.shared and first.shared else None
            change = client.transaction()
            change.check(self._path(first), -1)
            change.delete(self._path(mine))
            if beside is not None:
                change.create(self._path(beside), ephemeral=True)
            try:
                self._session.commit(change)
            except NoNodeError:
                queue = self._look()
            else:
                return beside
        return None if self._is_outdated() else mine

    def _is_outdated(self) -> bool:
        """Whether our node is gone because the session is: nothing was held yet.

        Else somebody broke the lock, and only holders' nodes are broken: the lock had
        become ours, so we acquired it, and will hear of the loss as any holder does.
        """
        return self._entered_in != self._session.number

    def _remove(self, place: Place) -> bool:
        """Delete a node of ours, and the queue if it was the last; False if it was gone."""
        client = self._session.client
        if not self._contended:
            change = client.transaction()
            change.delete(self._path(place))
            change.delete(self._queue)
            try:
                self._session.commit(change)
            except NotEmptyError:
                self._contended = True
            except NoNodeError:
                return False
            else:
                return True
        removal = client.delete_async(self._path(place))
        client.delete_async(self._queue)  # refused while others compete
        try:
            self._session.answers(removal)
        except NoNodeError:
            return False
        return True

    def _look(self) -> list[Place]:
        """Return the places in the queue, in their order."""
        (names,) = self._session.read(lambda client: [client.get_children_async(self._queue)])
        return self._note(_places(names or ()))

    def _note(self, queue: list[Place]) -> list[Place]:
        self._contended = len(queue) > 1
        return queue

    def _path(self, place: Place) -> str:
        return f"{self._queue}/{place.node}"


def _prefix(contender: str, shared: bool) -> str:
    return f"{'s' if shared else 'x'}-{contender}-"


def _places(nodes: Iterable[str]) -> list[Place]:
    """Return the places that nodes' names tell, sorted; nodes of others are passed over."""
    matches = filter(None, map(_NODE.fullmatch, nodes))
    return sorted(Place(int(match[3]), match[2], match[1] == "s") for match in matches)


def _obstacle(mine: Place, queue: list[Place]) -> Place | None:
    """Return the nearest place before mine that excludes it; None when mine holds."""
    for place in reversed(queue):
        if place.position < mine.position and not (place.shared and mine.shared):
            return place
    return None
