"""tooz 9.1.0, etcd, file, ipc, mysql, postgresql: stop() gives back no lock.

The redis and memcached drivers release what they hold when they stop.

Usage: stopped_holder.py [URL]; file without one
"""

import sys
import tempfile

from tooz import coordination

with tempfile.TemporaryDirectory() as directory:
    url = sys.argv[1] if len(sys.argv) > 1 else f"file://{directory}"
    one = coordination.get_coordinator(url, b"one")
    two = coordination.get_coordinator(url, b"two")
    one.start()
    two.start()
    lock = one.get_lock(b"stopped-holder")
    assert lock.acquire(blocking=False)
    one.stop()
    other = two.get_lock(b"stopped-holder")
    granted = other.acquire(blocking=False)
    other.release()
    two.stop()

print(f"after stop() of its holder the lock is granted to another: {granted}")
if not granted:
    sys.exit("DEFECT: the lock is still held")
