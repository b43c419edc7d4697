"""tooz 9.1.0, postgresql: two threads that wait for one lock object both get it.

Whether the object holds is looked at before the wait, and a session of PostgreSQL gets an
advisory lock that it holds again at once (PostgreSQL 17 manual, "Advisory Locks").

Usage: postgresql_shared_object.py URL
"""

import sys
import threading
import time

from tooz import coordination

one = coordination.get_coordinator(sys.argv[1], b"one")
two = coordination.get_coordinator(sys.argv[1], b"two")
one.start()
two.start()
held = two.get_lock(b"shared-object")
assert held.acquire()
lock = one.get_lock(b"shared-object")
granted = []
threads = [
    threading.Thread(target=lambda: granted.append(lock.acquire()), daemon=True) for _ in "ab"
]
for thread in threads:
    thread.start()
time.sleep(1.0)  # both wait by now
held.release()
for thread in threads:
    thread.join(2.0)
print(f"granted, though nobody released: {granted}")
if granted == [True, True]:
    sys.exit("DEFECT: two hold one lock")
