"""tooz 9.1.0, postgresql, zookeeper and others: of a silent server a call is never answered.

The link to the server stays up, and nothing comes over it any more: a switch that lost its
state, a server that is stopped. A driver with time-outs gives up; without one the caller
waits for ever.

Usage: silent_server.py URL
"""

import os
import select
import socket
import sys
import threading
from urllib.parse import urlsplit

from tooz import coordination

WAIT = 20.0
"""Seconds after which a call counts as hanging: ten time-outs of the driver."""

url = urlsplit(sys.argv[1])
silent = threading.Event()
listener = socket.create_server(("127.0.0.1", 0))


def pump(client: socket.socket) -> None:
    """Pass on what is said between a client and the server, until all falls silent."""
    server = socket.create_connection((url.hostname, url.port))
    while True:
        for end in select.select([client, server], [], [])[0]:
            if silent.is_set():
                threading.Event().wait()  # keeps the connection, and says nothing
            data = end.recv(65536)
            if not data:
                client.close()
                server.close()
                return
            (server if end is client else client).sendall(data)


def serve() -> None:
    """Take connections of clients."""
    while True:
        threading.Thread(target=pump, args=(listener.accept()[0],), daemon=True).start()


threading.Thread(target=serve, daemon=True).start()
port = listener.getsockname()[1]
through = url._replace(netloc=url.netloc.replace(f"{url.hostname}:{url.port}", f"127.0.0.1:{port}"))
one = coordination.get_coordinator(through.geturl(), b"one", timeout=2, socket_timeout=2)
one.start()
name = b"silent-%d" % os.getpid()
held, free = one.get_lock(name), one.get_lock(name + b"-free")
assert held.acquire(blocking=False)
calls = {"acquire": lambda: free.acquire(blocking=False), "release": held.release, "stop": one.stop}
silent.set()
hanging = []
for what, call in calls.items():
    answer: list[str] = []

    def ask(call=call, answer=answer) -> None:
        """Make the call, and note what it answers."""
        try:
            answer.append(repr(call()))
        except BaseException as error:
            answer.append(type(error).__name__)

    thread = threading.Thread(target=ask, daemon=True)
    thread.start()
    thread.join(WAIT)
    hanging += [what] if thread.is_alive() else []
    print(f"{what}: {'no answer' if thread.is_alive() else answer[0]}", flush=True)
if hanging:
    print(f"DEFECT: {WAIT:g} s later {', '.join(hanging)} hang", file=sys.stderr, flush=True)
os._exit(1 if hanging else 0)  # threads would keep the process
