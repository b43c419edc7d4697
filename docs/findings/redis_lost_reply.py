"""tooz 9.1.0, redis: an acquire whose reply is lost takes the lock and says that it did not.

``acquire`` is made again, with a new token, when the connection breaks. It is refused then:
by the lock that its first try took, whose token is forgotten. Nobody holds the lock, and
nobody gets it until it expires.

Usage: redis_lost_reply.py URL
"""

import os
import sys

import redis
from tooz import coordination

name = b"lost-reply-%d" % os.getpid()
one = coordination.get_coordinator(sys.argv[1], b"one", lock_timeout=30)
two = coordination.get_coordinator(sys.argv[1], b"two", lock_timeout=30)
one.start()
two.start()
lock, other = one.get_lock(name), two.get_lock(name)
other.acquire(blocking=False) and other.release()  # connections and scripts are there
read = redis.connection.AbstractConnection.read_response
lost = []


def lose_one(self, *args, **kwargs):
    """Read a reply; lose the first one."""
    answer = read(self, *args, **kwargs)
    if not lost:
        lost.append(answer)
        self.disconnect()
        raise redis.exceptions.ConnectionError("the connection broke before the reply came")
    return answer


redis.connection.AbstractConnection.read_response = lose_one
granted = lock.acquire(blocking=False)
redis.connection.AbstractConnection.read_response = read
free = other.acquire(blocking=False)
print(f"lost reply {lost}; acquire(): {granted}, acquired {lock.acquired}; lock is free: {free}")
lock.break_()
if not granted and not free:
    sys.exit("DEFECT: a lock is stuck that nobody holds")
