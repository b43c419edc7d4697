"""tooz 9.1.0, file: a lock's name is a path, so different names are one lock.

``FileDriver.get_lock`` joins the name to its directory and normalises the path; it also
decodes the name as UTF-8, so other bytes are refused with a plain UnicodeDecodeError.
"""

import sys
import tempfile

from tooz import coordination

with tempfile.TemporaryDirectory() as directory:
    one = coordination.get_coordinator(f"file://{directory}", b"one")
    two = coordination.get_coordinator(f"file://{directory}", b"two")
    one.start()
    two.start()
    held = one.get_lock(b"a")
    assert held.acquire(blocking=False)
    granted = two.get_lock(b"./a").acquire(blocking=False)
    try:
        two.get_lock(b"\xff")
        raised = None
    except Exception as error:
        raised = error

print(f"while b'a' is held, b'./a' is granted: {granted}; b'\\xff' raises {raised!r}")
if not granted or raised is not None:
    sys.exit("DEFECT: names are not kept apart, or not taken")
