"""tooz 9.1.0, redis: a timed wait gives up before its time.

redis-py asks again every 0.1 s, and gives up as soon as the next time would be too late.
A lock that is released in between is not taken.

Usage: redis_early_refusal.py URL
"""

import os
import sys
import time

from tooz import coordination

one = coordination.get_coordinator(sys.argv[1], b"one")
two = coordination.get_coordinator(sys.argv[1], b"two")
one.start()
two.start()
name = b"early-%d" % os.getpid()
held = one.get_lock(name)
assert held.acquire(blocking=False)
waits = {}
for seconds in (0.09, 0.2, 0.35):
    began = time.monotonic()
    assert two.get_lock(name).acquire(blocking=seconds) is False
    waits[seconds] = round(time.monotonic() - began, 3)
held.release()
print(f"seconds waited, by seconds asked for: {waits}")
if any(waited < 0.9 * seconds for seconds, waited in waits.items()):
    sys.exit("DEFECT: refused before the time was over")
