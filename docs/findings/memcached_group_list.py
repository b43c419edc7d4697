"""tooz 9.1.0, memcached: the group b"LIST" is the driver's own list of groups.

A group is kept under ``_TOOZ_GROUP_`` and its name, the list under ``_TOOZ_GROUP_LIST``.

Usage: memcached_group_list.py URL
"""

import os
import sys

from tooz import coordination

coordinator = coordination.get_coordinator(sys.argv[1], b"one")
coordinator.start()
group = b"any-%d" % os.getpid()
coordinator.create_group(group).get()
assert b"LIST" not in coordinator.get_groups().get()
try:
    answer = coordinator.create_group(b"LIST").get()
except Exception as error:
    answer = error
coordinator.delete_group(group).get()
print(f"create_group(b'LIST'): {answer!r}")
if answer is not None:
    sys.exit("DEFECT: an internal key is in the way")
