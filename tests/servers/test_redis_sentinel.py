"""Redis behind a Sentinel: the master dies, a replica takes over, the coordinator goes on.

Master, replica and sentinel are processes of one container, whose ports are the same inside
and outside, so that the addresses which the sentinel gives are good on either side.
"""

from __future__ import annotations

import contextlib
import secrets
import socket
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from typing import Any

import pytest
import redis

from conformance.coordination import (
    Coordinator,
    OperationTimedOut,
    ToozConnectionError,
    ToozError,
    get_coordinator,
)
from conformance.gate import Settings
from tests.servers.certificates import Certificates
from tests.servers.own_server import OwnServer, own_server, until_answer
from tests.servers.tls_front import TlsFront

BACKEND = "redis"

_PASSWORD, _SENTINEL_PASSWORD = "hidden-master", "hidden-sentinel"

_DOWN_SECONDS = 1.0
"""After this long without an answer the sentinel takes the master for dead. A replica may
have been without it for ten times as long and still take over (sentinel.conf 8.0)."""

_PATIENCE = 60.0
"""Seconds within which a failover is over, however busy the machine."""

_SENTINEL = f"""\
port $SENTINEL
bind 0.0.0.0
protected-mode no
requirepass {_SENTINEL_PASSWORD}
sentinel monitor main 127.0.0.1 $MASTER 1
sentinel auth-pass main {_PASSWORD}
sentinel down-after-milliseconds main {int(_DOWN_SECONDS * 1000)}
sentinel failover-timeout main 5000
"""

_START = f"""
server=$(command -v redis-server || command -v valkey-server)
ask=$(command -v redis-cli || command -v valkey-cli)
options='--bind 0.0.0.0 --save "" --repl-diskless-sync-delay 0 --requirepass {_PASSWORD}'
cd /tmp
eval "$server --port $MASTER --masterauth {_PASSWORD} $options &"
echo $! > master.pid
eval "$server --port $REPLICA --masterauth {_PASSWORD} --replicaof 127.0.0.1 $MASTER $options &"
until REDISCLI_AUTH={_PASSWORD} $ask -p $MASTER info replication | grep -q state=online; do
  sleep 0.1  # a sentinel asks a master for its replicas at once, and then each ten seconds
done
cat > sentinel.conf <<CONF
{_SENTINEL}CONF
exec $server sentinel.conf --sentinel
"""


@dataclass(frozen=True)
class Trio:
    """A master, its replica, and the sentinel that watches them."""

    container: OwnServer
    master: redis.Redis
    replica: redis.Redis
    sentinel: redis.Redis

    def part(self) -> None:
        """Have the replica hear nothing more from its master."""
        self.replica.config_set("masterauth", "another")
        self.master.execute_command("CLIENT", "KILL", "TYPE", "replica")
        _eventually(lambda: self.replica.info("replication")["master_link_status"] == "down")

    def kill_master(self) -> None:
        """Kill the master's process."""
        self.container.execute("sh", "-c", "kill -9 $(cat /tmp/master.pid)")


@pytest.fixture
def trio(backend: str, conformance_settings: Settings) -> Iterator[Trio]:
    with contextlib.ExitStack() as stack:
        ports = _free_ports(3)
        names = dict(zip(("MASTER", "REPLICA", "SENTINEL"), map(str, ports), strict=True))
        own = stack.enter_context(
            own_server(
                *(conformance_settings, backend, ["sh", "-c", _START], ports[2]),
                published=ports,
                environment=names,
            )
        )
        passwords = (_PASSWORD, _PASSWORD, _SENTINEL_PASSWORD)
        clients = [
            stack.enter_context(redis.Redis(port=port, password=password, socket_timeout=5))
            for port, password in zip(ports, passwords, strict=True)
        ]
        made = Trio(own, *clients)
        for client in clients:
            until_answer(own, client.ping)
        _eventually(lambda: made.replica.info("replication")["master_link_status"] == "up")
        _eventually(lambda: _knows_replica(made.sentinel))
        yield made


def _knows_replica(sentinel: Any) -> bool:
    """Whether a sentinel has seen a replica that could take over."""
    return any(
        replica["flags"] == "slave" and replica["master-link-status"] == "ok"
        for replica in sentinel.sentinel_slaves("main")
    )


def _free_ports(count: int) -> list[int]:
    with contextlib.ExitStack() as stack:
        free = [stack.enter_context(socket.create_server(("127.0.0.1", 0))) for _ in range(count)]
        return [one.getsockname()[1] for one in free]


def _eventually(condition: Callable[[], object]) -> None:
    end = time.monotonic() + _PATIENCE
    while not condition():
        assert time.monotonic() < end
        time.sleep(0.05)


def _coordinator(url: str, **options: Any) -> Coordinator:
    given: dict[str, Any] = {
        "sentinel": "main",
        "sentinel_password": _SENTINEL_PASSWORD,
        "timeout": 60.0,
        "socket_timeout": 3.0,
        "namespace": f"sentinel-{secrets.token_hex(6)}",
    }
    return get_coordinator(url, b"m", **given | options)


def _works(call: Callable[[], object]) -> bool:
    """Whether a call ends in time and well, where it may also end in time and badly."""
    began = time.monotonic()
    try:
        call()
    except (ToozConnectionError, OperationTimedOut):
        return False
    finally:
        assert time.monotonic() - began < _PATIENCE / 2
    return True


def test_a_coordinator_works_again_after_a_failover_and_tells_what_was_lost(trio: Trio) -> None:
    port = trio.sentinel.get_connection_kwargs()["port"]
    # The URL's sentinel is not there: the other one is asked.
    url = f"redis://:{_PASSWORD}@127.0.0.1:1"
    coordinator = _coordinator(url, sentinel_fallback=f"127.0.0.1:{port}")
    coordinator.start()
    kept, lost = coordinator.get_lock(b"kept"), coordinator.get_lock(b"lost")
    assert kept.acquire(blocking=False)
    coordinator.join_group_create(b"group")
    assert trio.master.execute_command("WAIT", 1, int(_PATIENCE * 1000)) == 1
    trio.part()
    assert lost.acquire(blocking=False)
    trio.kill_master()
    with pytest.raises((ToozConnectionError, OperationTimedOut)):
        lost.is_still_owner()
    _eventually(lambda: trio.replica.info("replication")["role"] == "master")

    told: list[str] = []

    def beat() -> None:
        try:
            coordinator.heartbeat()
        except ToozError as error:
            told.append(str(error))
            raise

    _eventually(lambda: _works(beat))
    losses = [words for words in told if "was lost" in words]
    assert len(losses) == 1
    assert "the lock b'lost'" in losses[0]
    assert "kept" not in losses[0]
    assert "group" not in losses[0]
    assert not lost.acquired
    assert kept.is_still_owner()
    assert coordinator.get_members(b"group").get() == {b"m"}
    assert lost.acquire(blocking=False)
    assert lost.release()
    assert kept.release()
    coordinator.stop()
    assert "hidden" not in "".join(told) + repr(coordinator)


def test_a_sentinel_can_be_asked_over_tls(trio: Trio, certificates: Certificates) -> None:
    port = trio.sentinel.get_connection_kwargs()["port"]
    with TlsFront(("127.0.0.1", port), certificates) as front:
        url = f"redis://:{_PASSWORD}@127.0.0.1:{front.port}"
        secure = {"sentinel_ssl": True, "ssl_ca_certs": str(certificates.authority)}
        coordinator = _coordinator(url, **secure)
        coordinator.start()
        assert coordinator.get_lock(b"lock").acquire(blocking=False)
        coordinator.stop()
        stranger = _coordinator(url, **secure | {"ssl_ca_certs": str(certificates.stranger)})
        with pytest.raises(ToozConnectionError, match="TLS") as refused:
            stranger.start()
    assert "hidden" not in f"{refused.value} {refused.value.__cause__!r}"


def test_a_sentinel_that_wants_a_password_says_so(trio: Trio) -> None:
    port = trio.sentinel.get_connection_kwargs()["port"]
    for wrong in (None, "hidden-and-wrong"):
        coordinator = _coordinator(
            f"redis://:{_PASSWORD}@127.0.0.1:{port}", sentinel_password=wrong
        )
        with pytest.raises(ToozConnectionError, match="sentinel_password") as refused:
            coordinator.start()
        assert "hidden" not in f"{refused.value} {refused.value.__cause__!r}"
