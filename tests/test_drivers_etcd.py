"""What etcd's gateway answers when it does not do what it was asked, and what that means."""

from __future__ import annotations

import contextlib
import json
from urllib.parse import urlsplit

import pytest

from conformance.drivers._etcd_gateway import Gateway, LeaseLost
from conformance.errors import OperationTimedOut, ToozConnectionError, ToozError
from tests.http_servers import SECONDS, Server


def _answer(status: int, content: dict[str, object]) -> bytes:
    body = json.dumps(content).encode()
    return b"HTTP/1.1 %d Told\r\nContent-Length: %d\r\n\r\n%s" % (status, len(body), body)


_VERSION = _answer(200, {"etcdserver": "3.4.23"})


@pytest.mark.parametrize(
    ("code", "message", "expected"),
    [
        (1, "grpc: the client connection is closing", ToozConnectionError),
        (2, "etcdserver: something new", ToozError),
        (4, "context deadline exceeded", OperationTimedOut),
        (5, "etcdserver: requested lease not found", LeaseLost),
        (7, "etcdserver: permission denied", ToozConnectionError),
        (14, "etcdserver: no leader", ToozConnectionError),
        (14, "etcdserver: request timed out", OperationTimedOut),
    ],
)
def test_a_refusal_is_told_by_what_it_means(
    code: int, message: str, expected: type[ToozError]
) -> None:
    refusal = _answer(500, {"error": message, "code": code, "message": message})
    with contextlib.closing(Server(_VERSION, refusal)) as server:
        gateway = Gateway(urlsplit(f"etcd://127.0.0.1:{server.port}"), timeout=SECONDS)
        with contextlib.closing(gateway), pytest.raises(ToozError) as told:
            gateway.call("/kv/txn", {})
    assert type(told.value) is expected
