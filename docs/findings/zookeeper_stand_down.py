"""tooz 9.1.0, zookeeper: who does not lead is told that it stood down.

``stand_down_group_leader`` answers True as soon as the coordinator has ever stood for
election in the group, or asked who leads it.

Usage: zookeeper_stand_down.py URL
"""

import os
import sys

from tooz import coordination

group = b"stand-down-%d" % os.getpid()
leader = coordination.get_coordinator(sys.argv[1], b"leader")
other = coordination.get_coordinator(sys.argv[1], b"other")
for coordinator in (leader, other):
    coordinator.start()
leader.create_group(group).get()
leader.watch_elected_as_leader(group, lambda event: None)
leader.run_elect_coordinator()
leads = other.get_leader(group).get()
answer = other.stand_down_group_leader(group)
leader.stop()
other.stop()
print(f"{leads!r} leads; the other one stands down: {answer}")
if answer:
    sys.exit("DEFECT: it never led")
