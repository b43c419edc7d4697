"""tooz 9.1.0, etcd: a group is deleted while a member joins it, and both succeed.

``delete_group`` looks for members first, and then deletes the group in a transaction that
compares nothing but that it exists.

Usage: etcd_delete_race.py URL
"""

import os
import sys

from tooz import coordination

one = coordination.get_coordinator(sys.argv[1], b"one")
two = coordination.get_coordinator(sys.argv[1], b"two")
one.start(start_heart=True)
two.start(start_heart=True)
lost = 0
for number in range(100):
    group = b"race-%d-%d" % (os.getpid(), number)
    one.create_group(group).get()
    joining, deleting = one.join_group(group), two.delete_group(group)
    results = []
    for call in (joining, deleting):
        try:
            results.append(call.get())
        except (coordination.GroupNotCreated, coordination.GroupNotEmpty) as error:
            results.append(error)
    lost += results == [None, None]
print(f"both succeeded {lost} times in 100: the member is in no group then")
if lost:
    sys.exit("DEFECT: checking and deleting are two steps")
