"""The front that speaks TLS in tests: it leaves nothing open, whenever its clients go."""

from __future__ import annotations

import gc
import socket
import ssl
import sys
import time
from pathlib import Path

import pytest

from tests.servers.certificates import Certificates, make_certificates
from tests.servers.tls_front import TlsFront


def test_clients_that_go_as_it_ends_leave_nothing_open(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    certificates = make_certificates(tmp_path)
    unraisable: list[object] = []
    monkeypatch.setattr(sys, "unraisablehook", unraisable.append)
    with socket.create_server(("127.0.0.1", 0)) as server:
        for moment in range(60):
            with TlsFront(server.getsockname(), certificates) as front:
                _visit(front, server, certificates)
                time.sleep(moment * 1e-5)  # it notices that they went in about that time
        gc.collect()
    assert not unraisable


def _visit(front: TlsFront, server: socket.socket, certificates: Certificates) -> None:
    context = ssl.create_default_context(cafile=certificates.authority)
    with (
        socket.create_connection(front.address) as plain,
        context.wrap_socket(plain, server_hostname="127.0.0.1") as client,
    ):
        client.sendall(b"x")
        served, _ = server.accept()
        with served:
            assert served.recv(1) == b"x"
