"""tooz 9.1.0, zookeeper: after ``stop()`` a lock object still holds, and is of no use again.

``stop()`` ends the session, and with it the hold. Nobody tells the object: ``acquired``
stays True, and when the coordinator is started again, it refuses the free lock.

Usage: zookeeper_stopped_lock.py URL
"""

import os
import sys

from tooz import coordination

one = coordination.get_coordinator(sys.argv[1], b"one")
two = coordination.get_coordinator(sys.argv[1], b"two")
one.start()
two.start()
name = b"stopped-lock-%d" % os.getpid()
lock, other = one.get_lock(name), two.get_lock(name)
assert lock.acquire(blocking=False)
one.stop()
free, acquired = other.acquire(blocking=False), lock.acquired
other.release()
one.start()
again = lock.acquire(blocking=False)
print(f"after stop(): another gets the lock: {free}, acquired {acquired}")
print(f"started again, the lock is free, acquire(): {again}")
one.stop()
two.stop()
if (free and acquired) or not again:
    sys.exit("DEFECT: the object believes in a hold that is over")
