"""tooz 9.1.0, etcd, memcached, mysql, redis, zookeeper: names that are no text are refused.

Names are bytes. These drivers decode them, or hand them to a library that does, and let
its UnicodeDecodeError out; on memcached and redis only once somebody looks, so that a
group with such a member cannot be read by anybody.

Usage: binary_names.py URL
"""

import os
import sys

from tooz import coordination

name = b"\xff\xfe-%d" % os.getpid()
group = b"binary-%d" % os.getpid()
one = coordination.get_coordinator(sys.argv[1], b"one")
one.start()
raised = {}


def attempt(what: str, call) -> None:
    try:
        call()
    except coordination.NotImplemented:
        pass
    except Exception as error:
        raised[what] = f"{type(error).__name__}: {str(error)[:60]}"


def lock() -> None:
    held = one.get_lock(name)
    if held.acquire(blocking=False):
        held.release()


def member() -> None:
    two = coordination.get_coordinator(sys.argv[1], name)
    two.start()
    two.join_group_create(group)
    one.get_members(group).get()
    one.get_member_capabilities(group, name).get()


attempt("a lock of this name", lock)
attempt("a group of this name", lambda: one.create_group(name).get())
attempt("its members", lambda: one.get_members(name).get())
attempt("a member of this name", member)
for what, error in raised.items():
    print(f"{what}: {error}")
if raised:
    sys.exit("DEFECT: names are bytes, and these are not taken")
