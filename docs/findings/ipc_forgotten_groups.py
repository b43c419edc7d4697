"""tooz 9.1.0, ipc: whoever stops first takes the groups of all others along.

``stop()`` removes the shared memory in which the groups are listed. Who started before
still sees the old list, who starts afterwards gets a new one: groups are there for some.

Usage: ipc_forgotten_groups.py
"""

import os
import sys

from tooz import coordination

group = b"forgotten-%d" % os.getpid()
one, two, three = (coordination.get_coordinator("ipc://", name) for name in (b"1", b"2", b"3"))
one.start()
two.start()
one.create_group(group).get()
two.stop()
three.start()
views = [group in coordinator.get_groups().get() for coordinator in (one, three)]
one.delete_group(group).get()
one.stop()
three.stop()
print(f"the group is there for who started before and after another stopped: {views}")
if views != [True, True]:
    sys.exit("DEFECT: groups are lost")
