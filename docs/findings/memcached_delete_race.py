"""tooz 9.1.0, memcached: deleting a group races with creating it, and raises KeyError.

The group and its entry in the list of groups are two keys, changed one after the other.
Whoever creates a group that is being deleted finds it in the list still, and its entry is
taken out by the one who deletes: the group exists and is not listed. Whoever deletes it
then gets a KeyError, though the group is gone.

Usage: memcached_delete_race.py URL
"""

import os
import sys
import threading

from tooz import coordination

group = b"race-%d" % os.getpid()
seen: list[str] = []


def create_and_delete(number: int) -> None:
    """Create the group and delete it, again and again; note what is raised."""
    coordinator = coordination.get_coordinator(sys.argv[1], b"member-%d" % number)
    coordinator.start()
    for _ in range(300):
        for call in (coordinator.create_group, coordinator.delete_group):
            try:
                call(group).get()
            except coordination.ToozError:
                pass  # the other one was first
            except Exception as error:
                seen.append(f"{call.__name__}: {error!r}")
    coordinator.stop()


threads = [threading.Thread(target=create_and_delete, args=(number,)) for number in range(3)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(f"raised by create_group and delete_group: {len(seen)}, for instance {seen[:1]}")
if seen:
    sys.exit("DEFECT: a group and its entry in the list are two steps")
