"""tooz 9.1.0, etcd, memcached, redis: the holder of a lock that expired believes it holds.

``acquired`` is kept in the coordinator and never looked at again; on etcd ``heartbeat()``
says True as well, for it does not look at what the server answers.

Usage: expired_lock.py URL
"""

import sys
import time

from tooz import coordination

one = coordination.get_coordinator(sys.argv[1], b"one", timeout=2, lock_timeout=2)
two = coordination.get_coordinator(sys.argv[1], b"two", timeout=2, lock_timeout=2)
one.start()
two.start()
lock = one.get_lock(b"expired")
assert lock.acquire(blocking=False)
time.sleep(4.0)  # no heart: the hold expires
other = two.get_lock(b"expired")
assert other.acquire(blocking=False)
acquired = lock.acquired
try:
    beats = lock.heartbeat()
except Exception as error:
    beats = error
print(f"another holds the lock; the first one's acquired is {acquired}, heartbeat() {beats!r}")
other.release()
if acquired or beats is not False:
    sys.exit("DEFECT: the loss is not told")
