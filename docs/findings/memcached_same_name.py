"""tooz 9.1.0, memcached: a holder that lost its lock gives back another one's.

A lock's value is the member's name, so two lock objects of one coordinator cannot tell
whose hold it is: the first, whose hold expired, is told that it is still the owner, and
its ``release()`` frees the lock that the second one holds.

Usage: memcached_same_name.py URL
"""

import sys
import time

from tooz import coordination

one = coordination.get_coordinator(sys.argv[1], b"one", timeout=1)
two = coordination.get_coordinator(sys.argv[1], b"two", timeout=1)
one.start()
two.start()
first, second = one.get_lock(b"same-name"), one.get_lock(b"same-name")
assert first.acquire(blocking=False)
time.sleep(3.0)  # no heart: the hold expires
assert second.acquire(blocking=False)
owner = first.is_still_owner()
released = first.release()
third = two.get_lock(b"same-name")
both = third.acquire(blocking=False) and second.acquired
third.release()
print(f"first.is_still_owner() {owner}, first.release() {released}; two holders: {both}")
if owner or released or both:
    sys.exit("DEFECT: a hold is taken for another")
