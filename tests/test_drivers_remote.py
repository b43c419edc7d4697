"""What the drivers of servers share, where no server is needed."""

from __future__ import annotations

import sys
import threading
from urllib.parse import urlsplit

from conformance.coordination import DriverOptions
from conformance.drivers.remote import RemoteCoordinator


class Remote(RemoteCoordinator):
    """Has no server."""

    def _start(self) -> None:
        pass

    def _stop(self) -> None:
        pass

    def _heartbeat(self) -> float:
        self._note_losses()
        return 1.0


def test_a_heartbeat_forgets_nothing_that_is_won_meanwhile() -> None:
    one = Remote(b"member", urlsplit("remote://"), DriverOptions())
    one.start()
    ended = threading.Event()

    def beat() -> None:
        while not ended.is_set():
            one.heartbeat()

    beating, interval = threading.Thread(target=beat), sys.getswitchinterval()
    sys.setswitchinterval(1e-6)
    beating.start()
    try:
        for number in range(2000):
            one._terms[b"%d" % number] = number
    finally:
        ended.set()
        beating.join()
        sys.setswitchinterval(interval)
    assert len(one._terms) == 2000
