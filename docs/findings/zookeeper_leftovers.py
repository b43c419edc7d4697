"""tooz 9.1.0, zookeeper: every lock that was ever taken leaves a node.

Usage: zookeeper_leftovers.py URL
"""

import os
import sys
from urllib.parse import urlsplit

from kazoo.client import KazooClient
from tooz import coordination

coordinator = coordination.get_coordinator(sys.argv[1], b"one")
coordinator.start()
name = b"left-%d-" % os.getpid()
for number in range(10):
    with coordinator.get_lock(name + b"%d" % number):
        pass
coordinator.stop()
looking = KazooClient(hosts=urlsplit(sys.argv[1]).netloc)
looking.start()
left = [node for node in looking.get_children("/tooz/locks") if node.startswith(name.decode())]
looking.stop()
print(f"nodes after ten locks were released and the coordinator stopped: {len(left)}")
if left:
    sys.exit("DEFECT: the tree grows for ever")
