"""tooz 9.1.0, file, memcached: creating a group races with deleting it, with odd errors.

A group is several things, made and removed one after the other: on memcached its members
and its entry in the list of groups, on file its directory and what is in that. Whoever
comes in between gets a KeyError, or is told of a file that is not there.

Usage: delete_race.py [URL]; file without one
"""

import os
import sys
import tempfile
import threading

from tooz import coordination

OWN = (
    coordination.GroupAlreadyExist,
    coordination.GroupNotCreated,
    coordination.GroupNotEmpty,
)
group = b"race-%d" % os.getpid()
seen: list[str] = []


def create_and_delete(url: str, number: int) -> None:
    """Create the group and delete it, again and again; note what is raised."""
    coordinator = coordination.get_coordinator(url, b"member-%d" % number)
    coordinator.start()
    for _ in range(300):
        for call in (coordinator.create_group, coordinator.delete_group):
            try:
                call(group).get()
            except OWN:
                pass  # the other one was first
            except Exception as error:
                seen.append(f"{call.__name__}: {error!r}")
    coordinator.stop()


with tempfile.TemporaryDirectory() as directory:
    url = sys.argv[1] if len(sys.argv) > 1 else f"file://{directory}"
    threads = [
        threading.Thread(target=create_and_delete, args=(url, number)) for number in range(3)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
print(f"raised by create_group and delete_group: {len(seen)}, for instance {seen[:1]}")
if seen:
    sys.exit("DEFECT: creating and deleting are several steps")
