"""tooz 9.1.0, mysql and postgresql: each lock that is held has a connection of its own.

Servers have a limit for connections, 151 (MySQL 8.4 Reference Manual, "max_connections") or 100
(PostgreSQL 17 documentation, "Connections and Authentication"), which all their clients share.

Usage: connection_per_lock.py URL
"""

import sys
from pathlib import Path

from tooz import coordination

LOCKS = 20


def sockets() -> int:
    """Return how many sockets this process has open."""
    links = [link.readlink() for link in Path("/proc/self/fd").iterdir() if link.is_symlink()]
    return sum(str(target).startswith("socket:") for target in links)


coordinator = coordination.get_coordinator(sys.argv[1], b"one")
coordinator.start()
before = sockets()
held = [coordinator.get_lock(b"lock-%d" % number) for number in range(LOCKS)]
assert all(lock.acquire() for lock in held)
after = sockets()
for lock in held:
    lock.release()
coordinator.stop()
print(f"sockets: {before}; with {LOCKS} locks held {after}")
if after - before >= LOCKS:
    sys.exit("DEFECT: each lock that is held takes a connection")
