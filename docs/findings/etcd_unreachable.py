"""tooz 9.1.0, etcd: that the server cannot be reached is told in errors of etcd3gw.

Starting and beating do not bring errors of the client library over to the API's.

Usage: etcd_unreachable.py
"""

import sys

from tooz import ToozError, coordination

coordinator = coordination.get_coordinator("etcd3+http://127.0.0.1:1", b"one", timeout=2)
try:
    coordinator.start()
except Exception as error:
    raised = error
print(f"start() where nobody listens: {type(raised).__module__}.{type(raised).__name__}")
if not isinstance(raised, ToozError):
    sys.exit("DEFECT: no error of the API")
