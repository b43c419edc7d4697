"""tooz 9.1.0, every driver: a thread that waits for a lock waits on after ``stop()``.

Nothing that waits looks at whether the coordinator is still started.

Usage: stopped_waiter.py [URL]; file without one
"""

import os
import sys
import tempfile
import threading
import time

from tooz import coordination

with tempfile.TemporaryDirectory() as directory:
    url = sys.argv[1] if len(sys.argv) > 1 else f"file://{directory}"
    one = coordination.get_coordinator(url, b"one")
    two = coordination.get_coordinator(url, b"two")
    one.start()
    two.start()
    name = b"stopped-waiter-%d" % os.getpid()
    held = one.get_lock(name)
    assert held.acquire()

    def wait() -> None:
        """Wait for the lock."""
        try:
            print(f"the wait ended with {two.get_lock(name).acquire(blocking=True)}")
        except Exception as error:
            print(f"the wait ended with {error!r}")

    waiter = threading.Thread(target=wait, daemon=True)
    waiter.start()
    time.sleep(0.5)
    two.stop()
    waiter.join(5.0)
    waits = waiter.is_alive()

print(f"five seconds after stop() the wait goes on: {waits}", flush=True)
if waits:
    print("DEFECT: a stopped coordinator still waits for a lock", file=sys.stderr, flush=True)
    os._exit(1)  # the thread would keep the process
