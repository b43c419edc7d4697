"""tooz 9.1.0, memcached: a group that is gone is still listed, though CAUSAL is claimed.

A group is deleted, and only then taken out of the list of groups: somebody who was told
that there is no such group finds it in the list, without anybody having created it again.

Usage: memcached_group_list_lags.py URL
"""

import os
import sys
import threading

from tooz import coordination

one = coordination.get_coordinator(sys.argv[1], b"one")
two = coordination.get_coordinator(sys.argv[1], b"two")
one.start()
two.start()
groups = [b"listed-%d-%d" % (os.getpid(), number) for number in range(300)]


def gone(group: bytes) -> bool:
    """Whether there is no such group any more."""
    try:
        two.get_members(group).get()
    except coordination.GroupNotCreated:
        return True
    return False


lagging = 0
for group in groups:
    one.create_group(group).get()
    deleting = threading.Thread(target=lambda name=group: one.delete_group(name).get())
    deleting.start()
    while not gone(group):
        pass
    lagging += group in two.get_groups().get()
    deleting.join()
print(f"groups that were listed after they were gone: {lagging} of {len(groups)}")
if lagging:
    sys.exit("DEFECT: an effect is seen, and then again not")
