"""tooz 9.1.0, zookeeper: names are paths.

A name with a slash is a node below another: the group ``g/x`` a member of ``g``. A lock's
``.`` and ``./`` and slashes at its end are taken out by kazoo, so different names are one
lock; a group named ``..`` or ``.`` raises ValueError.

Usage: zookeeper_names.py URL
"""

import os
import sys

from tooz import coordination

name = b"names-%d" % os.getpid()
one = coordination.get_coordinator(sys.argv[1], b"one")
two = coordination.get_coordinator(sys.argv[1], b"two")
one.start()
two.start()
found = []
held = one.get_lock(name)
assert held.acquire(blocking=False)
for other in (name + b"/", b"/" + name):
    try:
        lock = two.get_lock(other)
        granted = lock.acquire(blocking=False)
        granted and lock.release()
    except Exception as error:
        granted = repr(error)
    if granted is not True:
        found.append(f"while {name!r} is held, {other!r}: {granted}")
held.release()
one.create_group(name).get()
one.create_group(name + b"/x").get()
members = one.get_members(name).get()
if members:
    found.append(f"a group below {name!r} is its member: {members}")
try:
    one.create_group(b"..").get()
    one.delete_group(b"..").get()
except Exception as error:
    found.append(f"a group '..': {error!r}")
one.delete_group(name + b"/x").get()
one.delete_group(name).get()
one.stop()
two.stop()
print("\n".join(found))
if found:
    sys.exit("DEFECT: names are not kept apart, or not taken")
