"""tooz 9.1.0, every driver with watches: who left and joined again is not reported.

``run_watchers`` compares the names of members with those of the last look. A member that
left and joined again between two looks, with new capabilities and, after a crash, without
any memory of what it did before, is no event: nobody learns that it began anew.

Usage: watch_rejoin.py [URL], of a driver with groups and watches; file without one
"""

import os
import sys
import tempfile

from tooz import coordination

with tempfile.TemporaryDirectory() as directory:
    url = sys.argv[1] if len(sys.argv) > 1 else f"file://{directory}"
    group = b"rejoin-%d" % os.getpid()
    watcher = coordination.get_coordinator(url, b"watcher")
    member = coordination.get_coordinator(url, b"member")
    watcher.start()
    member.start()
    member.create_group(group).get()
    member.join_group(group).get()
    events = []
    watcher.watch_join_group(group, events.append)
    watcher.watch_leave_group(group, events.append)
    watcher.run_watchers()
    events.clear()
    member.leave_group(group).get()
    member.join_group(group).get()
    watcher.run_watchers()
    member.leave_group(group).get()
    member.delete_group(group).get()

print(f"events of a leave and a join: {events}")
if not events:
    sys.exit("DEFECT: a stay ended and another began, and nobody was told")
