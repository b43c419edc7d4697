"""The proxy: each way in which it breaks a link, seen from both ends."""

from __future__ import annotations

import errno
import socket
import threading
import time
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from conformance.faults.proxy import Proxy

_SOON = 5.0
"""Seconds within which what is to happen has happened."""

_SILENCE = 0.1
"""Seconds for which nothing comes where nothing is to come."""


class EchoServer:
    """A server that answers each message with itself, and keeps all it received.

    :param greeting: what it says first on each connection
    """

    def __init__(self, greeting: bytes = b"") -> None:
        self._greeting = greeting
        self._listening = socket.create_server(("127.0.0.1", 0))
        self._connections: list[socket.socket] = []
        self._received = b""
        self._ended = 0
        self._changed = threading.Condition()
        self._threads = [threading.Thread(target=self._accept)]
        self._threads[0].start()
        self.address: tuple[str, int] = self._listening.getsockname()

    def close(self) -> None:
        self._listening.shutdown(socket.SHUT_RDWR)
        self._threads[0].join()
        for connection in self._connections:
            try:
                connection.shutdown(socket.SHUT_RDWR)
            except OSError:
                continue  # the other end was first
        for thread in self._threads:
            thread.join()
        for connection in (self._listening, *self._connections):
            connection.close()

    def hang_up(self) -> None:
        """End every connection from this side."""
        for connection in self._connections:
            connection.shutdown(socket.SHUT_RDWR)

    def wait_received(self, data: bytes) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: self._received == data, _SOON), self._received

    def wait_ended(self, count: int) -> None:
        with self._changed:
            assert self._changed.wait_for(lambda: self._ended == count, _SOON), self._ended

    @property
    def ended(self) -> int:
        with self._changed:
            return self._ended

    def _accept(self) -> None:
        while True:
            try:
                connection, _ = self._listening.accept()
            except OSError:
                return
            self._connections.append(connection)
            self._threads.append(threading.Thread(target=self._serve, args=(connection,)))
            self._threads[-1].start()

    def _serve(self, connection: socket.socket) -> None:
        try:
            connection.sendall(self._greeting)
            while data := connection.recv(4096):
                with self._changed:
                    self._received += data
                    self._changed.notify_all()
                connection.sendall(data)
        except OSError:
            pass
        with self._changed:
            self._ended += 1
            self._changed.notify_all()


@pytest.fixture
def server() -> Iterator[EchoServer]:
    with closing(EchoServer()) as server:
        yield server


@pytest.fixture
def proxy(server: EchoServer) -> Iterator[Proxy]:
    with Proxy(*server.address) as proxy:
        yield proxy


@pytest.fixture
def client(proxy: Proxy) -> Iterator[socket.socket]:
    with _connect(proxy) as client:
        assert _ask(client, b"hello") == b"hello"
        yield client


def _connect(proxy: Proxy) -> socket.socket:
    return socket.create_connection(proxy.address, timeout=_SOON)


def _ask(client: socket.socket, question: bytes) -> bytes:
    client.sendall(question)
    answer = b""
    while len(answer) < len(question):
        received = client.recv(4096)
        assert received, "the connection ended"
        answer += received
    return answer


def _is_silent(client: socket.socket) -> bool:
    client.settimeout(_SILENCE)
    try:
        client.recv(1)
    except TimeoutError:
        return True
    finally:
        client.settimeout(_SOON)
    return False


def _is_broken(client: socket.socket) -> bool:
    try:
        return client.recv(1) == b""
    except ConnectionResetError:
        return True


def _descriptors() -> int:
    return sum(1 for _ in Path("/proc/self/fd").iterdir())


def test_a_healthy_link_passes_all_on(proxy: Proxy) -> None:
    with _connect(proxy) as one, _connect(proxy) as other:
        assert _ask(one, b"one") == b"one"
        assert _ask(other, b"x" * 1_000_000) == b"x" * 1_000_000
        assert _ask(one, b"again") == b"again"


def test_a_server_that_speaks_first_is_heard() -> None:
    with (
        closing(EchoServer(b"welcome")) as server,
        Proxy(*server.address) as proxy,
        _connect(proxy) as client,
    ):
        assert client.recv(100) == b"welcome"


def test_no_packet_waits_for_another_to_be_acknowledged(
    proxy: Proxy, client: socket.socket
) -> None:
    assert _ask(client, b"again") == b"again"
    sockets = [end._transport.get_extra_info("socket") for end in proxy._ends]
    no_delay = (socket.IPPROTO_TCP, socket.TCP_NODELAY)
    assert [bool(one.getsockopt(*no_delay)) for one in sockets] == [True, True]


def test_either_side_may_hang_up(proxy: Proxy, server: EchoServer, client: socket.socket) -> None:
    server.hang_up()
    assert client.recv(1) == b""
    with _connect(proxy) as other:
        _ask(other, b"x")
    server.wait_ended(2)


def test_connections_are_counted_while_they_are_open(
    proxy: Proxy, server: EchoServer, client: socket.socket
) -> None:
    with _connect(proxy) as other:
        assert _ask(other, b"here too") == b"here too"
        assert proxy.connections == 2
    server.wait_ended(1)
    assert proxy.connections == 1
    server.hang_up()
    assert _is_broken(client)
    assert proxy.connections == 0


def test_a_server_that_is_not_there(server: EchoServer) -> None:
    with socket.create_server(("127.0.0.1", 0)) as unused:
        address = unused.getsockname()
    with (
        Proxy(*address) as proxy,
        pytest.raises(ConnectionResetError),
        _connect(proxy) as client,
    ):
        client.recv(1)


def test_a_server_that_is_elsewhere_now(proxy: Proxy, client: socket.socket) -> None:
    with closing(EchoServer(b"welcome")) as other:
        proxy.lead_to(*other.address)
        with _connect(proxy) as later:
            assert later.recv(100) == b"welcome"
        assert _ask(client, b"x") == b"x"


def test_dropped_replies(proxy: Proxy, server: EchoServer, client: socket.socket) -> None:
    proxy.drop_replies()
    assert not proxy.wait_swallowed(0.0)
    client.sendall(b"lost")
    server.wait_received(b"hellolost")
    assert proxy.wait_swallowed(_SOON)
    assert _is_silent(client)
    proxy.heal()
    assert not proxy.wait_swallowed(0.0)
    assert _ask(client, b"found") == b"found"


def test_breaking_at_a_reply(proxy: Proxy, server: EchoServer, client: socket.socket) -> None:
    with _connect(proxy) as idle:
        _ask(idle, b"!")
        proxy.break_at_reply()
        client.sendall(b"lost")
        assert _is_broken(client)
        assert _is_broken(idle)
    assert proxy.wait_swallowed(0.0)
    server.wait_received(b"hello!lost")
    with _connect(proxy) as anew:
        assert _ask(anew, b"found") == b"found"


def test_a_stall_holds_all_back_and_loses_nothing(
    proxy: Proxy, server: EchoServer, client: socket.socket
) -> None:
    proxy.stall()
    client.sendall(b"held")
    with _connect(proxy) as late:
        late.sendall(b"late")
        assert _is_silent(client)
        assert _is_silent(late)
        server.wait_received(b"hello")
        proxy.heal()
        assert late.recv(4) == b"late"
    assert client.recv(4) == b"held"


def test_a_stall_hides_that_a_client_left(proxy: Proxy, server: EchoServer) -> None:
    with _connect(proxy) as client:
        _ask(client, b"x")
        proxy.stall()
    with _connect(proxy) as other:
        assert _is_silent(other)
    assert server.ended == 0
    proxy.heal()
    server.wait_ended(2)


def test_a_cut_resets_and_refuses(proxy: Proxy, server: EchoServer, client: socket.socket) -> None:
    proxy.cut()
    assert _is_broken(client)
    server.wait_ended(1)
    with pytest.raises(ConnectionRefusedError):
        _connect(proxy)
    proxy.heal()
    with _connect(proxy) as anew:
        assert _ask(anew, b"back") == b"back"


def test_a_cut_ends_a_stall(proxy: Proxy, client: socket.socket) -> None:
    proxy.stall()
    with _connect(proxy) as late:
        proxy.cut()
        assert _is_broken(client)
        assert _is_broken(late)


def test_what_is_stranded_is_silent_for_ever_and_what_is_new_is_served(
    proxy: Proxy, server: EchoServer, client: socket.socket
) -> None:
    proxy.strand()
    client.sendall(b"lost")
    with _connect(proxy) as anew:
        assert _ask(anew, b"new") == b"new"
        proxy.heal()
        assert _ask(anew, b"!") == b"!"
    assert _is_silent(client)
    server.wait_received(b"hellonew!")


def test_of_a_stranded_connection_neither_side_learns_that_the_other_left(
    proxy: Proxy, server: EchoServer, client: socket.socket
) -> None:
    with _connect(proxy) as leaving:
        _ask(leaving, b"x")
        proxy.strand()
    with _connect(proxy) as other:
        assert _ask(other, b"y") == b"y"
    server.wait_ended(1)
    server.hang_up()
    assert _is_silent(client)


def test_keepalive_finds_out_about_a_stranded_connection(
    proxy: Proxy, client: socket.socket
) -> None:
    client.setsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT, 100)
    proxy.strand()
    client.sendall(b"lost")
    with pytest.raises(TimeoutError) as told:
        client.recv(1)
    assert told.value.errno == errno.ETIMEDOUT


def test_the_servers_end_of_a_stranded_connection_is_buried(
    proxy: Proxy, server: EchoServer, client: socket.socket
) -> None:
    with _connect(proxy) as left:
        _ask(left, b"x")
        proxy.strand(slice(1))
        assert server.ended == 0
        proxy.bury()
        server.wait_ended(1)
        assert _is_silent(client)
        assert _ask(left, b"y") == b"y"


def test_some_are_stranded_by_their_age(proxy: Proxy, client: socket.socket) -> None:
    with _connect(proxy) as second, _connect(proxy) as third:
        for each in (second, third):
            _ask(each, b"x")
        proxy.strand(slice(-1, None))
        third.sendall(b"x")
        assert _is_silent(third)
        assert _ask(second, b"x") == b"x"
        proxy.strand(slice(1))
        client.sendall(b"x")
        assert _is_silent(client)
        assert _ask(second, b"x") == b"x"


def test_a_cut_ends_stranded_connections(
    proxy: Proxy, server: EchoServer, client: socket.socket
) -> None:
    proxy.strand()
    proxy.cut()
    assert _is_broken(client)
    server.wait_ended(1)


def test_what_is_under_way_is_lost_with_a_stranded_connection(
    proxy: Proxy, server: EchoServer, client: socket.socket
) -> None:
    proxy.delay(2 * _SILENCE)
    client.sendall(b"lost")
    time.sleep(_SILENCE)
    proxy.strand()
    time.sleep(2 * _SILENCE)
    with _connect(proxy) as anew:
        assert _ask(anew, b"new") == b"new"
    server.wait_received(b"hellonew")


def test_a_delay_is_kept_in_order(proxy: Proxy, server: EchoServer, client: socket.socket) -> None:
    proxy.delay(_SILENCE)
    began = time.monotonic()
    for number in range(10):
        client.sendall(b"%d" % number)
        proxy.delay(_SILENCE / (number + 1))
    answer = b""
    while len(answer) < 10:
        answer += client.recv(10)
    assert answer == b"0123456789"
    proxy.delay(_SILENCE)
    began = time.monotonic()
    assert _ask(client, b"slow") == b"slow"
    assert time.monotonic() - began >= 2 * _SILENCE
    proxy.heal()
    assert _ask(client, b"quick") == b"quick"


def test_nothing_is_left_of_a_proxy() -> None:
    descriptors, threads = _descriptors(), threading.active_count()
    with (
        closing(EchoServer()) as server,
        Proxy("localhost", server.address[1]) as proxy,
        _connect(proxy) as client,
    ):
        _ask(client, b"x")
        proxy.stall()
        with _connect(proxy):
            proxy.cut()
        proxy.heal()
        with _connect(proxy) as other:
            _ask(other, b"y")
        with _connect(proxy) as held:
            proxy.stall()
            held.sendall(b"z")
        proxy.heal()
        with _connect(proxy) as lost, _connect(proxy) as buried:
            _ask(lost, b"z")
            _ask(buried, b"z")
            proxy.strand(slice(-1, None))
            proxy.bury()
            proxy.strand()
    assert _descriptors() == descriptors
    assert threading.active_count() == threads
