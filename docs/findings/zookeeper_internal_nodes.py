"""tooz 9.1.0, zookeeper: the driver's own nodes show as a group and as a member.

Locks are kept beside the groups, below ``locks``, elections inside the group, below
``leader``: a group that was ever led has a member ``leader`` and cannot be deleted.

Usage: zookeeper_internal_nodes.py URL
"""

import os
import sys

from tooz import coordination

group = b"group-%d" % os.getpid()
coordinator = coordination.get_coordinator(sys.argv[1], b"one")
coordinator.start()
with coordinator.get_lock(b"any"):
    groups = coordinator.get_groups().get()
coordinator.create_group(group).get()
coordinator.watch_elected_as_leader(group, lambda event: None)
coordinator.run_elect_coordinator()
members = coordinator.get_members(group).get()
coordinator.stand_down_group_leader(group)
try:
    deleted = coordinator.delete_group(group).get()
except Exception as error:
    deleted = error
coordinator.stop()
print(f"a group 'locks': {b'locks' in groups}; members of a group nobody joined: {members}")
print(f"deleting it: {deleted!r}")
if b"locks" in groups or members:
    sys.exit("DEFECT: internal names show")
