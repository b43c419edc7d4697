"""tooz 9.1.0, file: a forked child believes that it holds its parent's lock."""

import os
import sys
import tempfile

from tooz import coordination

with tempfile.TemporaryDirectory() as directory:
    coordinator = coordination.get_coordinator(f"file://{directory}", b"one")
    coordinator.start()
    lock = coordinator.get_lock(b"lock")
    assert lock.acquire()
    child = os.fork()
    if child == 0:
        os._exit(1 if lock.acquired and lock.is_still_owner() else 0)
    believes = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1
    lock.release()

print(f"the child believes that it holds the lock: {believes}")
if believes:
    sys.exit("DEFECT: two processes hold one lock")
