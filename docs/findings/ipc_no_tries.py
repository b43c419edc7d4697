"""tooz 9.1.0, ipc: with the wheel of sysv_ipc a lock cannot be tried, nor waited for in time.

Wheels of sysv_ipc 1.2.0 for Linux are built without semtimedop(2), and the driver then
raises NotImplemented for every ``acquire`` but one that waits for ever. Built on the
machine, ``pip install --no-binary sysv_ipc sysv_ipc``, it has time-outs.

Usage: ipc_no_tries.py
"""

import os
import sys

import sysv_ipc
from tooz import coordination

coordinator = coordination.get_coordinator("ipc://", b"one")
coordinator.start()
lock = coordinator.get_lock(b"tries-%d" % os.getpid())
try:
    answer = lock.acquire(blocking=False)
    lock.release()
except Exception as error:
    answer = error
coordinator.stop()
print(f"time-outs supported: {sysv_ipc.SEMAPHORE_TIMEOUT_SUPPORTED}; acquire(False): {answer!r}")
if answer is not True:
    sys.exit("DEFECT: a lock can only be waited for without end")
