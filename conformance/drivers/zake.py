"""The zake driver: the ZooKeeper driver, on an in-memory stand-in within this process.

``zake://NAME`` is one of the process's stand-ins, found by its name; coordinators of one
name meet, and no others do. Nothing outlives the process. The stand-in carries out one
request at a time, at once, and its sessions have no time-out: so, unlike ZooKeeper, it is
linearizable, and nobody loses anything by being slow.
"""

from __future__ import annotations

from typing import Any
from urllib.parse import SplitResult

from conformance.characteristics import Characteristics
from conformance.drivers._zookeeper_client import SessionOptions
from conformance.drivers._zookeeper_session import Session
from conformance.drivers.zookeeper import KazooDriver
from conformance.standin.client import Client
from conformance.standin.zookeeper import named_server

__all__ = ["ZakeDriver"]


class ZakeDriver(KazooDriver):
    """A coordinator on a stand-in for ZooKeeper: ``zake://[NAME]``."""

    CHARACTERISTICS = (
        Characteristics.NON_TIMEOUT_BASED,
        Characteristics.DISTRIBUTED_ACROSS_THREADS,
        Characteristics.LINEARIZABLE,
        Characteristics.SEQUENTIAL,
        Characteristics.CAUSAL,
        Characteristics.SERIALIZABLE,
    )
    Options = SessionOptions

    def _make_session(self, url: SplitResult, options: Any) -> Session:
        return Session(
            Client(named_server(url.netloc)),
            timeout=options.timeout,
            tries=options.command_retry,
            on_loss=self._note_loss,
            on_lapse=self._note_losses,
        )
