"""tooz 9.1.0, redis: a join that is refused replaces the member's capabilities.

``join_group`` writes the member first and finds out afterwards that there was one.

Usage: redis_refused_join.py URL
"""

import os
import sys

from tooz import coordination

group = b"refused-join-%d" % os.getpid()
one = coordination.get_coordinator(sys.argv[1], b"same")
two = coordination.get_coordinator(sys.argv[1], b"same")
one.start()
two.start()
one.create_group(group).get()
one.join_group(group, {"of": "one"}).get()
try:
    two.join_group(group, {"of": "two"}).get()
    refused = False
except coordination.MemberAlreadyExist:
    refused = True
capabilities = one.get_member_capabilities(group, b"same").get()
one.leave_group(group).get()
one.delete_group(group).get()
print(f"second join refused: {refused}; capabilities now: {capabilities}")
if refused and capabilities != {"of": "one"}:
    sys.exit("DEFECT: what was refused took effect")
