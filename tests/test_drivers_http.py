"""The session of HTTP that drivers keep with a server, on servers that misbehave."""

from __future__ import annotations

import contextlib
import os
import select
import socket
import threading
from collections.abc import Callable, Iterator

import pytest

from conformance.drivers._http import HttpSession
from tests.http_servers import Server
from tests.local_places import eventually, open_descriptors

_OK = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ntrue"


@pytest.fixture
def serve() -> Iterator[Callable[..., Server]]:
    with contextlib.ExitStack() as stack:

        def start(*answers: bytes | None) -> Server:
            server = Server(*answers)
            stack.callback(server.close)
            return server

        yield start


@pytest.fixture
def session() -> Iterator[Callable[[Server], HttpSession]]:
    with contextlib.ExitStack() as stack:

        def open_one(server: Server) -> HttpSession:
            opened = server.session
            stack.callback(opened.close)
            return opened

        yield open_one


Serve = Callable[..., Server]
Open = Callable[[Server], HttpSession]


def test_exchanges_share_a_connection(serve: Serve, session: Open) -> None:
    server = serve(_OK, _OK)
    one = session(server)
    one.headers["X-Token"] = "hush"
    assert one.get("http://elsewhere/a/b?c=d").json() is True
    answer = one.post("https://elsewhere:1/e", json={"f": 1})
    assert (answer.status_code, answer.reason, answer.text) == (200, "OK", "true")
    assert answer.headers["content-length"] == "4"
    assert len(server.connections) == one.idle == 1
    got, posted = server.requests
    assert got.startswith(b"GET /a/b?c=d HTTP/1.1\r\n")
    assert posted.startswith(b"POST /e HTTP/1.1\r\n")
    assert posted.endswith(b'\r\n\r\n{"f": 1}')
    assert all(b"X-Token: hush\r\n" in request for request in server.requests)


def test_a_connection_that_the_server_ended_is_replaced_unnoticed(
    serve: Serve, session: Open
) -> None:
    server = serve(_OK, _OK)
    one = session(server)
    one.get("http://x/")
    server.connections[0].shutdown(socket.SHUT_RDWR)
    assert one.get("http://x/").json() is True
    assert len(server.connections) == 2
    assert one.idle == 1


def test_a_request_is_never_sent_twice(serve: Serve, session: Open) -> None:
    server = serve(b"", _OK)
    one = session(server)
    with pytest.raises(ConnectionError):
        one.post("http://x/", json={})
    assert len(server.requests) == 1
    assert one.post("http://x/", json={}).json() is True


def test_a_server_that_says_nothing_is_given_up_in_time(serve: Serve, session: Open) -> None:
    server = serve(None, None)
    one = session(server)
    with pytest.raises(TimeoutError):
        one.get("http://x/")
    with pytest.raises(TimeoutError):
        one.request("GET", "http://x/", timeout=0.01)
    assert one.idle == 0


@pytest.mark.parametrize(
    "answer",
    [
        b"what?\r\n\r\n",
        b"HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nshort",
        b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\nno length\r\n",
        b"HTTP/1.1 200 OK\r\n" + b"X: y\r\n" * 200 + b"\r\n",
    ],
)
def test_what_is_no_http_is_an_error_of_the_connection(
    serve: Serve, session: Open, answer: bytes
) -> None:
    server = serve(answer)
    one = session(server)
    ending = threading.Timer(0.05, lambda: server.connections[0].shutdown(socket.SHUT_WR))
    ending.start()
    with pytest.raises(ConnectionError):
        one.get("http://x/")
    ending.join()
    assert one.idle == 0


def test_a_connection_that_the_server_means_to_end_is_not_kept(serve: Serve, session: Open) -> None:
    server = serve(b"HTTP/1.1 503 No\r\nConnection: close\r\nContent-Length: 2\r\n\r\nno", _OK)
    one = session(server)
    assert one.get("http://x/").status_code == 503
    assert one.idle == 0
    assert one.get("http://x/").json() is True


def test_a_session_closed_in_the_middle_of_an_exchange_keeps_nothing(
    serve: Serve, session: Open
) -> None:
    server = serve(None, _OK)
    one = session(server)
    got: list[object] = []
    asking = threading.Thread(
        target=lambda: got.append(one.request("GET", "http://x/", timeout=10).json())
    )
    asking.start()
    assert eventually(lambda: bool(server.requests))
    one.close()
    server.connections[0].sendall(_OK)
    asking.join()
    assert got == [True]
    assert one.idle == 0


def test_an_answer_that_goes_on_is_read_line_by_line(serve: Serve, session: Open) -> None:
    server = serve(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\none\n\r\n")
    one = session(server)
    with one.streaming("http://x/", json={}) as stream:
        assert stream.status_code == 200
        assert stream.readline() == b"one\n"
        readable = select.poll()
        readable.register(stream, select.POLLIN)
        assert not readable.poll(0)
        server.connections[0].sendall(b"4\r\ntwo\n\r\n0\r\n\r\n")
        assert readable.poll(10_000)
        assert [stream.readline(), stream.readline()] == [b"two\n", b""]
    assert one.idle == 0


def test_a_stream_that_breaks_is_at_its_end(serve: Serve, session: Open) -> None:
    server = serve(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n4\r\none\n\r\n")
    with session(server).streaming("http://x/", json={}) as stream:
        stream.readline()
        server.connections[0].sendall(b"no length\r\n")
        assert stream.readline() == b""


def test_what_a_stream_is_refused_with_can_be_read(serve: Serve, session: Open) -> None:
    server = serve(b"HTTP/1.1 400 Bad\r\nConnection: close\r\nContent-Length: 2\r\n\r\nno")
    with session(server).streaming("http://x/", json={}) as stream:
        assert (stream.status_code, stream.rest()) == (400, "no")


def test_a_forked_child_has_no_connection_of_its_parents(serve: Serve, session: Open) -> None:
    server = serve(_OK, b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", _OK)
    one = session(server)
    one.get("http://x/")
    with one.streaming("http://x/", json={}):
        numbers = [made.sock.fileno() for made in one._open]
        used = {os.readlink(f"/proc/self/fd/{number}") for number in numbers}  # noqa: PTH115
        assert len(used) == 2
        child = os.fork()
        if child == 0:
            has_some = True
            try:
                one.disown()
                has_some = one.idle > 0 or not used.isdisjoint(open_descriptors())
            finally:
                os._exit(has_some)
        assert os.waitpid(child, 0)[1] == 0
    assert one.get("http://x/").json() is True
