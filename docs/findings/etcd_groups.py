"""tooz 9.1.0, etcd: members show as groups, and groups as members of others.

Keys are ``tooz/groups/GROUP/`` and ``tooz/groups/GROUP/MEMBER``; ``get_groups`` takes all
of them for groups, and cuts their last byte, ``get_members`` all that begin with the group's.

Usage: etcd_groups.py URL
"""

import os
import sys

from tooz import coordination

group = b"group-%d" % os.getpid()
coordinator = coordination.get_coordinator(sys.argv[1], b"member")
coordinator.start()
coordinator.create_group(group).get()
coordinator.create_group(group + b"/x").get()
members = coordinator.get_members(group).get()
coordinator.join_group(group).get()
groups = [name for name in coordinator.get_groups().get() if name.startswith(group)]
coordinator.leave_group(group).get()
coordinator.delete_group(group + b"/x").get()
coordinator.delete_group(group).get()
print(f"groups: {groups}; members before anyone joined: {members}")
if sorted(groups) != [group, group + b"/x"] or members:
    sys.exit("DEFECT: groups and members are mixed up")
