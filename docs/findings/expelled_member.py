"""tooz 9.1.0, etcd, memcached, redis: a member that is expelled is not told.

A member that did not beat in time is taken out of its groups. Its next heartbeat is
content, on etcd with a new lease, and it is a member no more.

Usage: expelled_member.py URL
"""

import os
import sys
import time

from tooz import coordination

group = b"expelled-%d" % os.getpid()
one = coordination.get_coordinator(sys.argv[1], b"one", timeout=2, membership_timeout=2)
two = coordination.get_coordinator(sys.argv[1], b"two", timeout=30)
one.start()
two.start()
one.create_group(group).get()
one.join_group(group).get()
time.sleep(4.0)  # no heart: the membership expires
two.get_members(group).get()
try:
    beats = one.heartbeat()
except Exception as error:
    beats = error
members = two.get_members(group).get()
print(f"heartbeat() {beats!r}; members {members}")
two.delete_group(group).get()
if not members and not isinstance(beats, Exception):
    sys.exit("DEFECT: the loss is not told")
