"""tooz 9.1.0, every driver with watches: who joined one after another is told of in any order.

``run_watchers`` reports what one set of names has and another has not, in the order of the set.

Usage: watch_order.py [URL], of a driver with groups and watches; file without one
"""

import os
import sys
import tempfile

from tooz import coordination

with tempfile.TemporaryDirectory() as directory:
    url = sys.argv[1] if len(sys.argv) > 1 else f"file://{directory}"
    group = b"order-%d" % os.getpid()
    watcher = coordination.get_coordinator(url, b"watcher")
    watcher.start()
    watcher.create_group(group).get()
    told = []
    watcher.watch_join_group(group, lambda event: told.append(event.member_id))
    watcher.run_watchers()
    joined = [b"member-%d" % number for number in range(8)]
    members = [coordination.get_coordinator(url, name) for name in joined]
    for member in members:
        member.start()
        member.join_group(group).get()
    watcher.run_watchers()
    for member in members:
        member.leave_group(group).get()
    watcher.delete_group(group).get()

print(f"joined: {joined}\ntold:   {told}")
if told != joined:
    sys.exit("DEFECT: the events are not in the order of what happened")
