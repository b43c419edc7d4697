"""tooz 9.1.0, file: after a refused try the lock object miscounts its holds.

``FileLock.acquire`` adds one to its count of holds before it asks for the file lock, and
does not take it off again when it is refused. After a later grant one ``release()`` gives
the lock back, but the object still says that it holds it; a second ``release()`` is
answered with True, and from then on a grant is never given back at all.
"""

import subprocess
import sys
import tempfile

from tooz import coordination

HOLDER = """
import sys
from tooz import coordination
coordinator = coordination.get_coordinator(sys.argv[1], b"other")
coordinator.start()
lock = coordinator.get_lock(b"lock")
print(lock.acquire(blocking=False), flush=True)
sys.stdin.readline()
"""


def other(url: str) -> subprocess.Popen[str]:
    """Have another process try the lock, keep it if granted, and wait."""
    command = [sys.executable, "-c", HOLDER, url]
    return subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)


with tempfile.TemporaryDirectory() as directory:
    url = f"file://{directory}"
    coordinator = coordination.get_coordinator(url, b"one")
    coordinator.start()
    lock = coordinator.get_lock(b"lock")

    holder = other(url)
    assert holder.stdout.readline() == "True\n"
    assert lock.acquire(blocking=False) is False  # refused, as it must be
    holder.communicate("\n")

    assert lock.acquire(blocking=False) is True
    assert lock.release() is True
    held = lock.acquired
    again = lock.release()
    assert lock.acquire(blocking=False) is True
    assert lock.release() is True
    holder = other(url)
    free = holder.stdout.readline() == "True\n"
    holder.communicate("\n")

print(f"after release(): acquired is {held}, a second release() says {again}")
print(f"after another acquire() and release(), another process gets the lock: {free}")
if held or again or not free:
    sys.exit("DEFECT: a refused try corrupts the lock object")
