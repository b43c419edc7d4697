"""tooz 9.1.0, every driver: a child believes that it holds.

``acquired`` is plain memory, and fork() copies it: the child says that it holds its
parent's lock. On ipc, whose locks do not say so, it believes that it is started.

Usage: forked_child.py [URL]; file without one
"""

import os
import sys
import tempfile

from tooz import coordination

with tempfile.TemporaryDirectory() as directory:
    url = sys.argv[1] if len(sys.argv) > 1 else f"file://{directory}"
    coordinator = coordination.get_coordinator(url, b"one")
    coordinator.start()
    lock = coordinator.get_lock(b"forked-child")
    assert lock.acquire()
    child = os.fork()
    if child == 0:
        os._exit(1 if getattr(lock, "acquired", coordinator.is_started) else 0)
    believes = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 1
    lock.release()

print(f"the child believes that it holds the lock, or is started: {believes}")
if believes:
    sys.exit("DEFECT: two processes hold one lock")
