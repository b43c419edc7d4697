"""The etcd backend: one etcd server; its variant is version 3.4."""

from __future__ import annotations

from base64 import b64encode
from dataclasses import replace
from typing import Any
from urllib.parse import urlsplit

from conformance.backends.served import Service, namespace, served

__all__ = ["ETCD"]


def _ask(host: str, port: int) -> str:
    import requests

    healthy = requests.get(f"http://{host}:{port}/health", timeout=2)
    healthy.raise_for_status()
    version = requests.get(f"http://{host}:{port}/version", timeout=2)
    version.raise_for_status()
    return f"etcd {version.json()['etcdserver']}"


def _residue(url: str) -> dict[str, int]:
    """Count the keys of the namespace, not the leases: they bear nobody's name.

    etcd 3.5, "gRPC gateway": a range goes from a key to the one behind all.
    """
    import requests

    prefix = f"{namespace(url)}/".encode()
    wanted: Any = {
        "key": b64encode(prefix).decode(),
        "range_end": b64encode(prefix[:-1] + b"0").decode(),
        "count_only": True,
    }
    answer = requests.post(f"http://{urlsplit(url).netloc}/v3/kv/range", json=wanted, timeout=10)
    answer.raise_for_status()
    return {"keys": int(answer.json().get("count", 0))}


_ETCD = Service(
    name="etcd",
    summary="an etcd server",
    image="rancher/mirrored-coreos-etcd:v3.5.16",
    port=2379,
    url="etcd://{host}:{port}",
    ask=_ask,
    residue=_residue,
    client="etcd3gw",
)

_OLDER = replace(
    _ETCD,
    name="etcd-3.4",
    variant_of=("etcd", "3.4"),
    summary="an etcd 3.4 server",
    image="rancher/mirrored-coreos-etcd:v3.4.16",
)

ETCD = served(replace(_ETCD, variants={"3.4": served(_OLDER)}))
