"""tooz 9.1.0, mysql: names that differ in case are one lock, and long ones are refused.

The name goes to GET_LOCK() as it is. MySQL's names of locks are not case-sensitive and
have 64 characters at most (MySQL 8.4 Reference Manual, "Locking Functions").

Usage: mysql_lock_names.py URL
"""

import sys

from tooz import coordination

coordinator = coordination.get_coordinator(sys.argv[1], b"one")
coordinator.start()
held = coordinator.get_lock(b"name")
assert held.acquire(blocking=False)
granted = coordinator.get_lock(b"NAME").acquire(blocking=False)
held.release()
try:
    long = coordinator.get_lock(b"x" * 65).acquire(blocking=False)
except Exception as error:
    long = error
print(f"while b'name' is held, b'NAME' is granted: {granted}; 65 bytes: {long!r}")
if not granted or long is not True:
    sys.exit("DEFECT: names are not kept apart, or not taken")
