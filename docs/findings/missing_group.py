"""tooz 9.1.0, etcd, zookeeper: of a group that is not there it is said that nobody joined.

The API has GroupNotCreated for it. Who is told MemberNotJoined takes the group for one
that is there, and joins it in vain.

Usage: missing_group.py URL
"""

import os
import sys

from tooz import coordination

group = b"missing-%d" % os.getpid()
one = coordination.get_coordinator(sys.argv[1], b"one")
one.start()
raised = {}
for what, call in {
    "leave_group": lambda: one.leave_group(group),
    "update_capabilities": lambda: one.update_capabilities(group, "new"),
    "get_member_capabilities": lambda: one.get_member_capabilities(group, b"two"),
    "get_members": lambda: one.get_members(group),
}.items():
    try:
        raised[what] = call().get()
    except Exception as error:
        raised[what] = type(error).__name__
print(f"of a group that was never created: {raised}")
if set(raised.values()) != {"GroupNotCreated"}:
    sys.exit("DEFECT: not always GroupNotCreated")
