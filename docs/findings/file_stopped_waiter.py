"""tooz 9.1.0, file: a thread that waits for a lock goes on waiting after stop()."""

import os
import tempfile
import threading

from tooz import coordination

with tempfile.TemporaryDirectory() as directory:
    one = coordination.get_coordinator(f"file://{directory}", b"one")
    two = coordination.get_coordinator(f"file://{directory}", b"two")
    one.start()
    two.start()
    held = one.get_lock(b"lock")
    assert held.acquire()
    waiter = threading.Thread(target=two.get_lock(b"lock").acquire, daemon=True)
    waiter.start()
    two.stop()
    waiter.join(5.0)
    waiting = waiter.is_alive()

print(f"5 s after stop() the thread still waits: {waiting}", flush=True)
os._exit(1 if waiting else 0)  # it would keep the interpreter from ending in order
