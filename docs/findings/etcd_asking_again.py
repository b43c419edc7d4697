"""tooz 9.1.0, etcd: a holder that asks again loses its lock, whatever it beats.

Each try makes a lease and keeps it as the lock's, also when it is refused. Heartbeats then
renew the new lease, and the one that the lock hangs on expires.

Usage: etcd_asking_again.py URL
"""

import sys
import time

from tooz import coordination

one = coordination.get_coordinator(sys.argv[1], b"one", timeout=5, lock_timeout=2)
two = coordination.get_coordinator(sys.argv[1], b"two", timeout=5, lock_timeout=2)
one.start()
two.start()
lock = one.get_lock(b"asking-again")
assert lock.acquire(blocking=False)
assert lock.acquire(blocking=False) is False
for _ in range(10):
    time.sleep(0.5)
    one.heartbeat()
other = two.get_lock(b"asking-again")
both = other.acquire(blocking=False) and lock.acquired and lock.heartbeat()
print(f"another is granted the lock while the first one, which beat, has it: {both}")
other.release()
if both:
    sys.exit("DEFECT: two hold one lock")
