"""tooz 9.1.0, zookeeper: a holder whose session ended still believes that it holds.

A session that the server ends takes the lock's node with it. kazoo connects anew, with
another session, and tells whoever listens; the driver does not. ``acquired`` stays True,
``heartbeat()`` is content, the members are gone from their groups, and ``release()`` says
that a lock was given back that another one holds.

Usage: zookeeper_lost_session.py URL
"""

import os
import sys
import time
from urllib.parse import urlsplit

from kazoo.client import KazooClient
from tooz import coordination

name = b"lost-session-%d" % os.getpid()
one = coordination.get_coordinator(sys.argv[1], b"one", timeout=4)
two = coordination.get_coordinator(sys.argv[1], b"two", timeout=4)
one.start()
two.start()
one.create_group(name).get()
one.join_group(name).get()
lock = one.get_lock(name)
assert lock.acquire(blocking=False)
ending = KazooClient(hosts=urlsplit(sys.argv[1]).netloc, client_id=one._coord.client_id)
ending.start()
ending.stop()  # ends the session that both have
ending.close()
other = two.get_lock(name)
deadline = time.monotonic() + 20
while not (granted := other.acquire(blocking=False)) and time.monotonic() < deadline:
    time.sleep(0.2)
time.sleep(2.0)
acquired, beats, members = lock.acquired, one.heartbeat(), one.get_members(name).get()
try:
    released = lock.release()
except Exception as error:
    released = error
owner = other.is_still_owner()
print(
    f"another is granted: {granted}; acquired {acquired}, heartbeat() {beats}, members {members}, "
    f"release() {released!r}; the other is still owner: {owner}"
)
other.release()
two.stop()
if granted and (acquired or released is not False):
    sys.exit("DEFECT: the loss is not told")
