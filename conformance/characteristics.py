"""What a driver may claim (characteristics) and what it implements (features).

A claim is refutable: docs/characteristics.md gives, for each, the experiment that can
falsify it. A feature only says which part of the API is there at all.
"""

from __future__ import annotations

import enum

__all__ = ["Characteristics", "Feature"]


class Characteristics(enum.Enum):
    """A property that a driver claims for its locks, groups and leadership.

    The ten members and their meaning are those of OpenStack tooz
    (``tooz.coordination.Characteristics``).
    """

    DISTRIBUTED_ACROSS_THREADS = "DISTRIBUTED_ACROSS_THREADS"
    """Used by several threads, coordinators work as if used by a single thread."""

    DISTRIBUTED_ACROSS_PROCESSES = "DISTRIBUTED_ACROSS_PROCESSES"
    """Used by several processes, coordinators work as if used by a single thread."""

    DISTRIBUTED_ACROSS_HOSTS = "DISTRIBUTED_ACROSS_HOSTS"
    """Used by several hosts, coordinators work as if used by a single thread."""

    NON_TIMEOUT_BASED = "NON_TIMEOUT_BASED"
    """No client loses a lock, a membership or a leadership because it was slow.

    Operations do not rest on the time-outs of other clients: a holder that is paused
    keeps what it holds, and what a dead client held becomes free without a time-out
    having to pass."""

    LINEARIZABLE = "LINEARIZABLE"
    """Each operation takes effect at one moment between its call and its return, so an
    operation called after another returned takes effect after it."""

    SEQUENTIAL = "SEQUENTIAL"
    """All operations take effect in one order, in which those of each client keep the
    order in which that client called them; not necessarily between call and return."""

    CAUSAL = "CAUSAL"
    """Causally related operations are seen in their order by every client; unrelated
    ones may be seen in different orders by different clients."""

    SERIALIZABLE = "SERIALIZABLE"
    """The history of all operations equals one in which they took effect one at a time,
    in some order, with no bound on time or order."""

    SAME_VIEW_UNDER_PARTITIONS = "SAME_VIEW_UNDER_PARTITIONS"
    """A client of a server that is cut off from the others sees the same data as a
    client on the other side, typically because writes are refused meanwhile."""

    SAME_VIEW_ACROSS_CLIENTS = "SAME_VIEW_ACROSS_CLIENTS"
    """A client of one server always sees what every other client sees, whichever server
    it is connected to: an acknowledged write shows in each read that begins later."""


class Feature(enum.Enum):
    """A part of the API that a driver may lack; it then raises ``NotImplemented``."""

    GROUPS = "GROUPS"
    """Creating, deleting, listing, joining and leaving groups, and their members."""

    CAPABILITIES = "CAPABILITIES"
    """Capabilities of members: stored at joining, read, and updated."""

    WATCHES = "WATCHES"
    """Callbacks on joins and leaves, run by ``run_watchers()``."""

    LEADERSHIP = "LEADERSHIP"
    """Election, ``get_leader()`` and ``stand_down_group_leader()``."""

    LOCKS = "LOCKS"
    """Exclusive locks."""

    SHARED_LOCKS = "SHARED_LOCKS"
    """``acquire(shared=True)``: several shared holders, or one exclusive holder."""

    BREAKING = "BREAKING"
    """``Lock.break_()``: taking a lock away from whoever holds it."""
