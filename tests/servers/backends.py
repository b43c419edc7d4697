"""What tests that are about several backends share: their names, and one use of each."""

from __future__ import annotations

from conformance.coordination import Coordinator

__all__ = ["basic", "use"]


def basic(name: str) -> str:
    """Return the backend of which a name may be a variant."""
    return name.partition(":")[0]


def use(coordinator: Coordinator) -> None:
    """Start a coordinator, use a lock, a group and a leadership, and stop it."""
    coordinator.start()
    lock = coordinator.get_lock(b"lock")
    assert lock.acquire(blocking=False)
    assert lock.is_still_owner()
    coordinator.join_group_create(b"group")
    assert coordinator.get_members(b"group").get() == {coordinator.member_id}
    coordinator.watch_elected_as_leader(b"group", lambda event: None)
    coordinator.run_elect_coordinator()
    assert coordinator.get_leader(b"group").get() == coordinator.member_id
    assert coordinator.stand_down_group_leader(b"group")
    coordinator.leave_group(b"group").get()
    coordinator.delete_group(b"group").get()
    assert lock.release()
    assert coordinator.heartbeat() > 0
    coordinator.stop()
