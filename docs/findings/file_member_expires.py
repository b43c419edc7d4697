"""tooz 9.1.0, file: claims NON_TIMEOUT_BASED, but members that are silent are not listed.

``get_members`` leaves out members whose file was not touched for ``timeout`` seconds. The
file stays, so a group with a dead member can never be deleted.
"""

import sys
import tempfile
import time

from tooz import coordination

with tempfile.TemporaryDirectory() as directory:
    url = f"file://{directory}?timeout=1"
    silent = coordination.get_coordinator(url, b"silent")
    other = coordination.get_coordinator(url, b"other")
    assert coordination.Characteristics.NON_TIMEOUT_BASED in other.CHARACTERISTICS
    silent.start()
    other.start()
    silent.create_group(b"group").get()
    silent.join_group(b"group").get()
    before = other.get_members(b"group").get()
    time.sleep(1.5)
    after = other.get_members(b"group").get()
    try:
        other.delete_group(b"group").get()
        deleted = True
    except coordination.GroupNotEmpty:
        deleted = False

print(f"members: {before}, and after 1.5 s of silence {after}; group deleted: {deleted}")
if after != before:
    sys.exit("DEFECT: a membership rests on a time-out; and whom nobody sees is in the way")
