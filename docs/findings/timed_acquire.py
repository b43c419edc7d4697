"""tooz 9.1.0, etcd, memcached, SQL, zookeeper: a timed wait raises instead of False.

``Lock.acquire`` documents that a number of seconds bounds the wait and that False says
that the lock was not acquired. These drivers let tenacity's RetryError out, or kazoo's
LockTimeout on zookeeper; neither is an error of tooz.

Usage: timed_acquire.py URL
"""

import sys

from tooz import coordination

one = coordination.get_coordinator(sys.argv[1], b"one")
two = coordination.get_coordinator(sys.argv[1], b"two")
one.start()
two.start()
held = one.get_lock(b"timed-acquire")
assert held.acquire(blocking=False)
try:
    answer = two.get_lock(b"timed-acquire").acquire(blocking=1.0)
except Exception as error:
    answer = error
held.release()
print(f"acquire(blocking=1.0) of a held lock: {answer!r}")
if answer is not False:
    sys.exit("DEFECT: not False")
