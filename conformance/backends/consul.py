"""The consul backend: one Consul server, an agent in development mode."""

from __future__ import annotations

from urllib.parse import urlsplit

from conformance.backends.served import Service, namespace, served

__all__ = ["CONSUL"]


def _ask(host: str, port: int) -> str:
    import requests

    leader = requests.get(f"http://{host}:{port}/v1/status/leader", timeout=2)
    leader.raise_for_status()
    if not leader.json():
        raise ConnectionError("Consul has no leader yet")
    agent = requests.get(f"http://{host}:{port}/v1/agent/self", timeout=2)
    agent.raise_for_status()
    return f"Consul {agent.json()['Config']['Version']}"


def _residue(url: str) -> dict[str, int]:
    """Count the keys of the namespace, not the sessions: they need bear nobody's name."""
    import requests

    keys = f"http://{urlsplit(url).netloc}/v1/kv/{namespace(url)}/?keys"
    answer = requests.get(keys, timeout=10)
    if answer.status_code == requests.codes.not_found:
        return {"keys": 0}
    answer.raise_for_status()
    return {"keys": len(answer.json())}


CONSUL = served(
    Service(
        name="consul",
        summary="a Consul server",
        image="hashicorp/consul:1.20",
        port=8500,
        url="consul://{host}:{port}",
        ask=_ask,
        residue=_residue,
        client="consul",
    )
)
