"""tooz 9.1.0, memcached, zookeeper: capabilities of a megabyte lose the member or its link.

Values have a megabyte at most on memcached (its option ``-I``) and on ZooKeeper (its system
property ``jute.maxbuffer``). Neither driver looks: ZooKeeper closes the connection of whom
sends more, and memcached's answer that the object is too large comes out as it is.

Usage: large_capabilities.py URL
"""

import os
import sys

from tooz import coordination

group = b"large-%d" % os.getpid()
coordinator = coordination.get_coordinator(sys.argv[1], b"one", timeout=5)
coordinator.start(start_heart=True)
coordinator.create_group(group).get()
large = b"\0" * 2**20
try:
    coordinator.join_group(group, large).get(30)
    answer = coordinator.get_member_capabilities(group, b"one").get(30)
except Exception as error:
    answer = error
kept = answer == large
print(f"capabilities of a megabyte come back: {True if kept else repr(answer)[:100]}")
if not kept:
    sys.exit("DEFECT: what a member may store has an unnamed limit")
