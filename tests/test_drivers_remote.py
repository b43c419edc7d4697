"""What the drivers of servers share, where no server is needed."""

from __future__ import annotations

from collections.abc import ItemsView
from typing import Any
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
        return 1.0


class WonMeanwhile(dict[bytes, object]):
    """Terms to which another thread adds one while they are gone through, or changed."""

    def items(self) -> ItemsView[bytes, object]:
        before = dict(self)
        self[b"won"] = 2
        return before.items()

    def pop(self, *arguments: Any) -> Any:
        self[b"won"] = 2
        return super().pop(*arguments)


def test_a_loss_forgets_nothing_that_is_won_meanwhile() -> None:
    one = Remote(b"member", urlsplit("remote://"), DriverOptions())
    one._terms = WonMeanwhile({b"lost": 1})
    one._note_losses(led=[b"lost"])
    assert dict.keys(one._terms) == {b"won"}
