"""tooz 9.1.0, etcd, mysql, postgresql: threads that share a lock object are in each other's way.

On mysql and postgresql a try that is refused closes the object's connection, also while
another thread holds the lock by it: the lock is free then, and its holder gets an error
when it gives the lock back, pymysql's "Already closed" among them. On etcd the set of held
locks is changed after the lock itself, and ``release()`` raises KeyError when another
thread was faster.

Usage: shared_object.py URL
"""

import os
import sys
import threading
import time

from tooz import coordination

one = coordination.get_coordinator(sys.argv[1], b"one")
one.start()
lock = one.get_lock(b"shared-object-%d" % os.getpid())
raised: list[str] = []
stop = time.monotonic() + 10


def turns() -> None:
    """Take the lock and give it back, again and again; note what is raised."""
    while time.monotonic() < stop and not raised:
        try:
            if lock.acquire(blocking=False):
                lock.release()
        except Exception as error:
            raised.append(f"{type(error).__name__}: {error}")


threads = [threading.Thread(target=turns) for _ in range(4)]
for thread in threads:
    thread.start()
for thread in threads:
    thread.join()
print(f"raised by acquire() and release() of one lock object in four threads: {raised}")
if sys.argv[1].startswith(("mysql", "postgresql")):
    lock.acquired = False  # its destructor would complain
if raised:
    sys.exit("DEFECT: a lock object cannot be shared by threads")
