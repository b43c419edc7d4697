"""The consul backend: one Consul server, an agent in development mode."""

from __future__ import annotations

from conformance.backends.served import Service, served

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


CONSUL = served(
    Service(
        name="consul",
        summary="a Consul server",
        image="hashicorp/consul:1.20",
        port=8500,
        url="consul://{host}:{port}",
        ask=_ask,
        client="consul",
    )
)
