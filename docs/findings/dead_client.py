"""tooz 9.1.0, etcd, zookeeper: NON_TIMEOUT_BASED is claimed, but the dead are waited for.

On both, what a client has hangs on a lease or a session that ends by a time-out: what a
killed process held is free when that is over, and not before.

Usage: dead_client.py URL
"""

import os
import signal
import subprocess
import sys
import time

from tooz import coordination

HOLDER = """
import sys
from tooz import coordination
coordinator = coordination.get_coordinator(sys.argv[1], b"dead", timeout=10)
coordinator.start(start_heart=True)
assert coordinator.get_lock(sys.argv[2].encode()).acquire(blocking=False)
print("holds", flush=True)
sys.stdin.readline()
"""

name = f"dead-client-{os.getpid()}"
two = coordination.get_coordinator(sys.argv[1], b"two", timeout=10)
two.start(start_heart=True)
command = [sys.executable, "-c", HOLDER, sys.argv[1], name]
holder = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)
assert holder.stdout.readline() == "holds\n"
holder.send_signal(signal.SIGKILL)
holder.wait()
killed = time.monotonic()
lock = two.get_lock(name.encode())
while not lock.acquire(blocking=False):
    time.sleep(0.1)
waited = time.monotonic() - killed
lock.release()
two.stop()
claimed = coordination.Characteristics.NON_TIMEOUT_BASED in two.CHARACTERISTICS
print(f"NON_TIMEOUT_BASED claimed: {claimed}; free {waited:.1f} s after its holder was killed")
if claimed and waited > 3.0:
    sys.exit("DEFECT: it waits for the time-out of 10 s")
