"""tooz 9.1.0, file: a shared hold in one process keeps other processes from sharing.

The file itself is always locked exclusively; only coordinators of one process share.
"""

import subprocess
import sys
import tempfile

from tooz import coordination

OTHER = """
import sys
from tooz import coordination
coordinator = coordination.get_coordinator(sys.argv[1], b"other")
coordinator.start()
print(coordinator.get_lock(b"lock").acquire(blocking=False, shared=True))
"""

with tempfile.TemporaryDirectory() as directory:
    url = f"file://{directory}"
    coordinator = coordination.get_coordinator(url, b"one")
    coordinator.start()
    lock = coordinator.get_lock(b"lock")
    assert lock.acquire(shared=True)
    command = [sys.executable, "-c", OTHER, url]
    granted = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout.strip()
    lock.release()

print(f"another process asks to share the lock: {granted}")
if granted != "True":
    sys.exit("DEFECT: it may not")
