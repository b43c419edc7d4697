"""The zookeeper backend: one Apache ZooKeeper server; its variant is version 3.8."""

from __future__ import annotations

import re
import socket
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

from conformance.backends.served import Service, namespace, served

__all__ = ["ZOOKEEPER"]


def _ask(host: str, port: int) -> str:
    """Ask by ``srvr``, a four-letter word (Administrator's Guide 3.9, "The Four Letter Words")."""
    with socket.create_connection((host, port), timeout=2) as connection:
        connection.sendall(b"srvr")
        answer = b"".join(iter(lambda: connection.recv(4096), b"")).decode()
    found = re.search(r"version: ([0-9.]+)", answer)
    if found is None or "Mode:" not in answer:
        raise ConnectionError(f"ZooKeeper says {answer.strip() or 'nothing'!r}")
    return f"ZooKeeper {found[1]}"


def _residue(url: str) -> dict[str, int]:
    """Count the nodes of the namespace."""
    from kazoo.client import KazooClient

    client = KazooClient(hosts=urlsplit(url).netloc, timeout=10)
    client.start(timeout=10)
    try:
        return {"nodes": _below(client, f"/{namespace(url)}")}
    finally:
        client.stop()
        client.close()


def _below(client: Any, path: str) -> int:
    if client.exists(path) is None:
        return 0
    return sum(1 + _below(client, f"{path}/{child}") for child in client.get_children(path))


_ZOOKEEPER = Service(
    name="zookeeper",
    summary="an Apache ZooKeeper server",
    image="zookeeper:3.9",
    port=2181,
    url="zookeeper://{host}:{port}",
    ask=_ask,
    residue=_residue,
    client="kazoo",
)

_OLDER = replace(
    _ZOOKEEPER,
    name="zookeeper-3.8",
    variant_of=("zookeeper", "3.8"),
    summary="an Apache ZooKeeper 3.8 server",
    image="zookeeper:3.8",
)

ZOOKEEPER = served(replace(_ZOOKEEPER, variants={"3.8": served(_OLDER)}))
