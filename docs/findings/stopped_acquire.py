"""tooz 9.1.0, several drivers: a coordinator that was stopped still acquires locks.

Nothing keeps such a lock alive, and nobody gives it back.

Usage: stopped_acquire.py [URL]; file without one
"""

import os
import sys
import tempfile

from tooz import ToozError, coordination

with tempfile.TemporaryDirectory() as directory:
    url = sys.argv[1] if len(sys.argv) > 1 else f"file://{directory}"
    coordinator = coordination.get_coordinator(url, b"one")
    coordinator.start()
    lock = coordinator.get_lock(b"stopped-acquire-%d" % os.getpid())
    coordinator.stop()
    try:
        answer = lock.acquire(blocking=False)
    except Exception as error:
        answer = error
    if answer is True:
        lock.release()

print(f"acquire() after stop(): {answer!r}")
if not isinstance(answer, ToozError):
    sys.exit("DEFECT: not refused with an error of the API")
