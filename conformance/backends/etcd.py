"""The etcd backend: one etcd server; its variant is version 3.4."""

from __future__ import annotations

from dataclasses import replace

from conformance.backends.served import Service, served

__all__ = ["ETCD"]


def _ask(host: str, port: int) -> str:
    import requests

    healthy = requests.get(f"http://{host}:{port}/health", timeout=2)
    healthy.raise_for_status()
    version = requests.get(f"http://{host}:{port}/version", timeout=2)
    version.raise_for_status()
    return f"etcd {version.json()['etcdserver']}"


_ETCD = Service(
    name="etcd",
    summary="an etcd server",
    image="rancher/mirrored-coreos-etcd:v3.5.16",
    port=2379,
    url="etcd://{host}:{port}",
    ask=_ask,
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
