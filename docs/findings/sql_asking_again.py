"""tooz 9.1.0, mysql, postgresql: a holder that asks again, with a time-out, loses its lock.

``acquire`` closes the lock's connection when anything is raised in it, RetryError at the
end of a timed wait included. The connection is what holds the lock; ``acquired`` stays
True, so two hold the lock then.

Usage: sql_asking_again.py URL
"""

import sys

from tooz import coordination

one = coordination.get_coordinator(sys.argv[1], b"one")
two = coordination.get_coordinator(sys.argv[1], b"two")
one.start()
two.start()
lock = one.get_lock(b"asking-again")
assert lock.acquire(blocking=False)
try:
    print(f"asking again: {lock.acquire(blocking=0.1)}")
except Exception as error:
    print(f"asking again: {error!r}")
other = two.get_lock(b"asking-again")
both = other.acquire(blocking=1.0) and lock.acquired
print(f"another is granted the lock while the first one has it: {both}")
other.release()
lock.acquired = False  # its destructor would complain
if both:
    sys.exit("DEFECT: two hold one lock")
