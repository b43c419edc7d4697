"""tooz 9.1.0, mysql, postgresql: a holder whose connection broke believes that it holds.

The lock belongs to the connection, and is free when that is gone. ``acquired`` is a plain
attribute: it stays True, ``release()`` raises whenever it is called, and as the object
takes itself for the holder it can never acquire the lock again.

Usage: sql_lost_connection.py URL
"""

import os
import sys
import time

from tooz import coordination

one = coordination.get_coordinator(sys.argv[1], b"one")
two = coordination.get_coordinator(sys.argv[1], b"two")
one.start()
two.start()
name = b"lost-connection-%d" % os.getpid()
lock = one.get_lock(name)
assert lock.acquire(blocking=False)
if sys.argv[1].startswith("mysql"):
    end = f"KILL {lock._conn.thread_id()}"
else:
    end = f"SELECT pg_terminate_backend({lock._conn.get_backend_pid()})"
with two._conn.cursor() as cursor:
    cursor.execute(end)  # as an operator would, or a broken link
time.sleep(1.0)
other = two.get_lock(name)
granted, acquired = other.acquire(blocking=False), lock.acquired
answers = []
for call in (lock.release, lock.release):
    try:
        answers.append(call())
    except Exception as error:
        answers.append(f"{type(error).__name__}: {str(error)[:40]}")
other.release()
again = lock.acquire(blocking=False)
print(f"another is granted: {granted}; acquired {acquired}, release() {answers}")
print(f"the lock is free now, and the object can acquire it: {again}")
lock.acquired = False  # its destructor would complain
if granted and acquired:
    sys.exit("DEFECT: two hold one lock, and one of them for ever")
