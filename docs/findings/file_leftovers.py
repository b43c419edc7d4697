"""tooz 9.1.0, file: every lock that was ever taken leaves a file behind."""

import sys
import tempfile
from pathlib import Path

from tooz import coordination

with tempfile.TemporaryDirectory() as directory:
    coordinator = coordination.get_coordinator(f"file://{directory}", b"one")
    coordinator.start()
    for number in range(10):
        with coordinator.get_lock(b"lock-%d" % number):
            pass
    coordinator.stop()
    left = len(list(Path(directory).glob("lock-*")))

print(f"files after ten locks were released and the coordinator stopped: {left}")
if left:
    sys.exit("DEFECT: the directory grows for ever")
