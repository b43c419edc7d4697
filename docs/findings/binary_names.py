"""tooz 9.1.0, etcd, memcached, mysql, redis, zookeeper: names that are no text are refused.

Names are bytes. These drivers decode them, or hand them to a library that does, and let
its UnicodeDecodeError out. So do tooz's own errors, which decode the names that they are
about: redis and memcached take such names, but cannot say that a group is not there.

Usage: binary_names.py URL
"""

import os
import sys

import tooz
from tooz import coordination

name = b"\xff\xfe-%d" % os.getpid()
one = coordination.get_coordinator(sys.argv[1], b"one")
one.start()
raised = {}


def attempt(what: str, call) -> None:
    """Note what a call raises that it may not raise."""
    try:
        call()
    except (tooz.NotImplemented, coordination.GroupNotCreated):
        pass
    except Exception as error:
        raised[what] = f"{type(error).__name__}: {str(error)[:60]}"


def lock() -> None:
    """Take a lock of this name, and give it back."""
    held = one.get_lock(name)
    if held.acquire(blocking=False):
        held.release()


attempt("members of a group of this name, which is not there", lambda: one.get_members(name).get())
attempt("a lock of this name", lock)
attempt("a group of this name", lambda: one.create_group(name).get())
for what, error in raised.items():
    print(f"{what}: {error}")
if raised:
    sys.exit("DEFECT: names are bytes, and these are not taken")
