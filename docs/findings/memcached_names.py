"""tooz 9.1.0, memcached: names with blanks, NUL or 250 bytes are refused.

Names go into memcached's keys as they are, and its keys have no more than 250 bytes, no
control characters and no white space (memcached's protocol.txt, "Keys").

Usage: memcached_names.py URL
"""

import sys

from tooz import coordination

coordinator = coordination.get_coordinator(sys.argv[1], b"one")
coordinator.start()
refused = []
for name in (b"with blank", b"with\0nul", b"x" * 250):
    try:
        lock = coordinator.get_lock(name)
        if lock.acquire(blocking=False):
            lock.release()
    except Exception as error:
        refused.append(name)
        print(f"{name[:12]!r}… of {len(name)} bytes: {type(error).__name__}: {str(error)[:60]}")
if refused:
    sys.exit("DEFECT: names are bytes, and these are not taken")
