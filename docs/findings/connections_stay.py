"""tooz 9.1.0, redis and zookeeper: a stopped coordinator leaves its connections open.

They are closed when the garbage collector comes by, which may be much later: it counts
objects, not connections.

Usage: connections_stay.py URL
"""

import contextlib
import gc
import sys
from pathlib import Path

from tooz import coordination

LIVES = 20
GROUP = b"connections"


def sockets() -> int:
    """Return how many sockets this process has open."""
    links = [link.readlink() for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
    return sum(str(target).startswith("socket:") for target in links)


def live() -> None:
    """Start a coordinator, use a lock and a group, and stop it."""
    one = coordination.get_coordinator(sys.argv[1], b"one")
    one.start()
    with one.get_lock(b"connections"):
        with contextlib.suppress(coordination.GroupAlreadyExist):
            one.create_group(GROUP).get()
        one.join_group(GROUP).get()
        one.leave_group(GROUP).get()
    one.stop()


live()
gc.collect()
gc.disable()
before = sockets()
for _ in range(LIVES):
    live()
after = sockets()
gc.collect()
print(f"sockets: {before}; after {LIVES} lives {after}, once garbage is collected {sockets()}")
if after - before >= LIVES:
    sys.exit("DEFECT: stop() leaves connections open")
