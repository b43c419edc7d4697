"""tooz 9.1.0, redis and others: what a coordinator does whose server is not there any more.

Connections break and new ones are refused. The API has errors of its own for that; here
``stop()`` raises those of the client library, or a call takes many time-outs.

Usage: server_gone.py URL
"""

import os
import select
import socket
import sys
import threading
import time
from urllib.parse import urlsplit

from tooz import coordination

WAIT = 20.0
"""Seconds after which a call counts as hanging: ten time-outs of the driver."""

url = urlsplit(sys.argv[1])
listener = socket.create_server(("127.0.0.1", 0))
ends: list[socket.socket] = []


def pump(client: socket.socket) -> None:
    """Pass on what is said between a client and the server."""
    server = socket.create_connection((url.hostname, url.port))
    ends.extend((client, server))
    while True:
        for end in select.select([client, server], [], [])[0]:
            try:
                data = end.recv(65536)
            except OSError:
                return
            if not data:
                return
            (server if end is client else client).sendall(data)


def serve() -> None:
    """Take connections of clients."""
    while True:
        try:
            client = listener.accept()[0]
        except OSError:
            return
        threading.Thread(target=pump, args=(client,), daemon=True).start()


threading.Thread(target=serve, daemon=True).start()
port = listener.getsockname()[1]
through = url._replace(netloc=url.netloc.replace(f"{url.hostname}:{url.port}", f"127.0.0.1:{port}"))
one = coordination.get_coordinator(through.geturl(), b"one", timeout=2, socket_timeout=2)
one.start()
name = b"gone-%d" % os.getpid()
held, free = one.get_lock(name), one.get_lock(name + b"-free")
assert held.acquire(blocking=False)
listener.shutdown(socket.SHUT_RDWR)
listener.close()
for end in ends:
    end.shutdown(socket.SHUT_RDWR)
calls = {"acquire": lambda: free.acquire(blocking=False), "release": held.release, "stop": one.stop}
wrong = []
for what, call in calls.items():
    answer: list[str] = []

    def ask(call=call, answer=answer) -> None:
        """Make the call, and note what it answers."""
        try:
            answer.append(repr(call()))
        except coordination.ToozError as error:
            answer.append(type(error).__name__)
        except Exception as error:
            answer.append(f"{type(error).__module__}.{type(error).__name__}, a foreign error")

    began = time.monotonic()
    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(WAIT)
    told = "no answer" if thread.is_alive() else answer[0]
    print(f"{what}: {told} after {time.monotonic() - began:.1f} s", flush=True)
    if thread.is_alive() or "foreign" in told:
        wrong.append(what)
if wrong:
    print(f"DEFECT: {', '.join(wrong)}", file=sys.stderr, flush=True)
os._exit(1 if wrong else 0)  # threads would keep the process
