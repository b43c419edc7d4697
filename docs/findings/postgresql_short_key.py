"""tooz 9.1.0, postgresql: the key of a lock is two bytes, so different names are one lock.

``PostgresLock`` keeps the first two bytes of the MD5 of the name: of some three hundred
names two are more likely than not the same lock.

Usage: postgresql_short_key.py URL
"""

import hashlib
import sys

from tooz import coordination

seen: dict[bytes, bytes] = {}
for number in range(100_000):
    name = b"lock-%d" % number
    short = hashlib.md5(name, usedforsecurity=False).digest()[:2]
    if short in seen:
        break
    seen[short] = name

coordinator = coordination.get_coordinator(sys.argv[1], b"one")
coordinator.start()
held = coordinator.get_lock(seen[short])
assert held.acquire(blocking=False)
granted = coordinator.get_lock(name).acquire(blocking=False)
held.release()
print(f"{len(seen)} names tried; while {seen[short]!r} is held, {name!r} is granted: {granted}")
if not granted:
    sys.exit("DEFECT: two names are one lock")
